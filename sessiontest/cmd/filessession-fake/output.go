package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// maxPending limits the memory that lines take until the reader takes them.
const maxPending = 1 << 20

// output writes lines for a reader that may be slow, stop reading, or leave. A write
// to it never waits and never fails.
type output struct {
	wake chan struct{} // has a token while there is something to write
	done chan struct{} // closed after the last write

	mu      sync.Mutex // guards the rest
	pending []byte     // whole lines
	dropped int        // lines after them
	closed  bool
}

func newOutput(w io.Writer) *output {
	o := &output{wake: make(chan struct{}, 1), done: make(chan struct{})}
	go func() {
		defer close(o.done)
		for range o.wake {
			w.Write(o.take()) // an error means that the reader has left
		}
	}()
	return o
}

// Write adds a line. It drops the line if the reader is too far behind.
func (o *output) Write(line []byte) (int, error) {
	o.add(line, maxPending)
	return len(line), nil
}

// kept is an output that drops no line. It is for lines whose number has a limit.
type kept struct{ *output }

func (k kept) Write(line []byte) (int, error) {
	k.add(line, 0)
	return len(line), nil
}

// add adds a line, unless more than limit bytes would then be pending. Without a
// limit it always adds the line.
func (o *output) add(line []byte, limit int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	if limit > 0 && (o.dropped > 0 || len(o.pending)+len(line) > limit) {
		o.dropped++
	} else {
		o.noteDropped()
		o.pending = append(o.pending, line...)
	}
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// take removes and returns what is pending.
func (o *output) take() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.noteDropped()
	lines := o.pending
	o.pending = nil
	return lines
}

// noteDropped adds a line that says how many lines are missing. o.mu is held.
func (o *output) noteDropped() {
	if o.dropped > 0 {
		o.pending = fmt.Appendf(o.pending, "%s lines dropped, since nobody read them: %d\n", time.Now().Format(time.TimeOnly), o.dropped)
		o.dropped = 0
	}
}

// close writes what is pending. It waits for the reader at most as long as given.
func (o *output) close(wait time.Duration) {
	o.mu.Lock()
	o.closed = true
	close(o.wake)
	o.mu.Unlock()
	select {
	case <-o.done:
	case <-time.After(wait):
	}
}
