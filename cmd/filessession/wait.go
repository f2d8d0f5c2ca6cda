package main

import (
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/term"
)

// startWaiting prints the thing that the program waits for, if that takes longer than a
// second. stop erases the line. If standard error is not a terminal, nothing is printed.
// If NO_COLOR is set, there is no escape sequence, and the line stays.
func startWaiting(thing string) (stop func()) {
	if !term.IsTerminal(int(os.Stderr.Fd())) {
		return func() {}
	}
	before, after := "\x1b[2m", "\x1b[0m"
	erase := "\r\x1b[K"
	if os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		before, after, erase = "", "\n", ""
	}
	var mu sync.Mutex
	stopped, printed := false, false
	timer := time.AfterFunc(time.Second, func() {
		mu.Lock()
		defer mu.Unlock()
		if !stopped {
			printed = true
			fmt.Fprintf(os.Stderr, "%sWaiting for %s…%s", before, visible(thing), after)
		}
	})
	return func() {
		timer.Stop()
		mu.Lock()
		defer mu.Unlock()
		if printed && !stopped {
			fmt.Fprint(os.Stderr, erase)
		}
		stopped = true
	}
}
