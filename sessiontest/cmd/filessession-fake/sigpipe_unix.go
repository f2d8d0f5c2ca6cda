//go:build unix

package main

import (
	"os/signal"
	"syscall"
)

// init ignores SIGPIPE, which would end the program when the reader of its output has
// left.
func init() { signal.Ignore(syscall.SIGPIPE) }
