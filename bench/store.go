package main

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/filescom/session/autologin"
	"github.com/filescom/session/filestore"
)

// sharedSource returns the benchmarks of a Source with a Store: it uses a session,
// loads one, or logs in and saves one. The Store in a file is in folder.
func sharedSource(folder string) []benchmark {
	stores := []autologin.Store{&memoryStore{}, filestore.New(filepath.Join(folder, "session"))}
	c := (&freshLogins{}).client()
	use := func(store autologin.Store) func() sample {
		src := newSource(c, store)
		must(src.Session(ctx))
		return func() sample { return perCall(func() error { _, err := src.Session(ctx); return err }) }
	}
	load := func(store autologin.Store) func() sample {
		must(newSource(c, store).Session(ctx))
		return func() sample {
			return perCall(func() error { _, err := newSource(c, store).Session(ctx); return err })
		}
	}
	renew := func(store autologin.Store) func() sample {
		return func() sample {
			src := newSource(c, store)
			return perCall(func() error {
				s, err := src.Session(ctx)
				src.Invalidate(s)
				src.Reset() // clears the failure: no answer accepts these sessions
				return err
			})
		}
	}
	names := []string{"memory", "filestore"}
	return []benchmark{
		{"Source.Session, with a session in use", formatTime, []string{"no Store", names[0], names[1]},
			inTurns(use(nil), use(stores[0]), use(stores[1]))},
		{"Source.Session of a new Source, with a session in the Store", formatTime, names, inTurns(load(stores[0]), load(stores[1]))},
		{"Source.Session, with a login and its two saves", formatTime, names, inTurns(renew(stores[0]), renew(stores[1]))},
	}
}

// manySources returns the benchmark of Sources that share a Store without a session and
// need one at once: the time until all have it. A login takes 200 ms. The Stores in
// files are in folder.
func manySources(folder string) []benchmark {
	const sources = 1000
	serve := func(open func(round int64) autologin.Store) func() sample {
		var rounds atomic.Int64
		return func() sample {
			store, answers := open(rounds.Add(1)), &freshLogins{wait: 200 * time.Millisecond}
			c := answers.client()
			took := concurrently(sources, sources, func() error { _, err := newSource(c, store).Session(ctx); return err })
			if n := answers.count.Load(); n != 1 {
				check(fmt.Errorf("%d Sources made %d logins", sources, n))
			}
			return sample{float64(took)}
		}
	}
	return []benchmark{{"Source.Session of 1,000 Sources at once, one login of 200 ms", formatTime, []string{"memory", "filestore"}, inTurns(
		serve(func(int64) autologin.Store { return &memoryStore{} }),
		serve(func(round int64) autologin.Store {
			return filestore.New(filepath.Join(folder, fmt.Sprint("many", round)))
		}))}}
}

// memoryStore is a Store in memory.
type memoryStore struct {
	mu     sync.Mutex
	record []byte
	owner  *memoryLock
}

type memoryLock struct{ *memoryStore }

func (s *memoryStore) Load(context.Context) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.record, nil
}

func (s *memoryStore) TryLock(context.Context) (autologin.Lock, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.owner != nil {
		return nil, autologin.ErrLocked
	}
	s.owner = &memoryLock{s}
	return s.owner, nil
}

func (l *memoryLock) Save(_ context.Context, record []byte, _ time.Duration) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.owner != l {
		return autologin.ErrLockLost
	}
	l.record = record
	return nil
}

func (l *memoryLock) Remove(ctx context.Context) error { return l.Save(ctx, nil, 0) }

func (l *memoryLock) Unlock() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.owner == l {
		l.owner = nil
	}
}
