package main

import (
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/term"
)

// startWaiting prints what the program waits for if that takes longer than a second,
// and erases the line at the end. It prints nothing if standard error is no terminal.
// Where NO_COLOR is set it uses no escape sequence, so the line stays.
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
