package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/filescom/session"
)

// shared is the contest of many callers who wait for one login: what each of
// them allocates, and how long the slowest takes to leave when its context ends.
func shared() []contest {
	c := contest{name: "shared login", rounds: *rounds, columns: []string{"allocs", "leaves, ms"}}
	for _, n := range []int{1_000, 10_000} {
		c.contenders = append(c.contenders, contender{fmt.Sprintf("%d waiters", n), func() []float64 {
			// A collection would throw away what the runtime keeps for a goroutine that
			// waits, after the first crowd had it allocated.
			defer debug.SetGCPercent(debug.SetGCPercent(-1))
			slowest := leave(newCrowd(n))
			return []float64{float64(stay(newCrowd(n))) / float64(n), ms(slowest)}
		}})
	}
	return []contest{c}
}

// crowd is many goroutines about to call the same Source.
type crowd struct {
	start chan struct{} // to be closed, has them call
	login chan struct{} // to be closed, ends the login
	leave []context.CancelFunc
	back  chan error // the outcome of each
}

func newCrowd(n int) *crowd {
	c := &crowd{make(chan struct{}), make(chan struct{}), make([]context.CancelFunc, n), make(chan error, n)}
	src := &session.Source{Login: func(ctx context.Context) (*session.Session, error) {
		select {
		case <-c.login:
			return &session.Session{ID: "1"}, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}}
	var ready sync.WaitGroup
	ready.Add(n)
	for i := range n {
		ctx, cancel := context.WithCancel(ctx)
		ctx.Done() // makes the channel
		c.leave[i] = cancel
		go func() {
			ready.Done()
			<-c.start
			_, err := src.Session(ctx)
			c.back <- err
		}()
	}
	ready.Wait()
	return c
}

// call has all of c call, and returns when they wait.
func (c *crowd) call() {
	close(c.start)
	time.Sleep(50 * time.Millisecond)
}

// leave cancels the context of each, one after the other, and returns how long
// the slowest took to notice.
func leave(c *crowd) (slowest time.Duration) {
	c.call()
	for _, cancel := range c.leave {
		start := time.Now()
		cancel()
		<-c.back
		slowest = max(slowest, time.Since(start))
	}
	return slowest
}

// stay returns how much all allocate until they have the session.
func stay(c *crowd) (allocs uint64) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	c.call()
	close(c.login)
	for range c.leave {
		check(<-c.back)
	}
	runtime.ReadMemStats(&after)
	for _, cancel := range c.leave {
		cancel()
	}
	return after.Mallocs - before.Mallocs
}
