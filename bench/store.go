package main

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/filescom/session"
	"github.com/filescom/session/filestore"
)

// sharedSource returns the benchmarks of a Source with a Store: it uses a session,
// loads one, or logs in and saves one. The Store in a file is in folder.
func sharedSource(folder string) []benchmark {
	stores := []session.Store{&memoryStore{}, filestore.New(filepath.Join(folder, "session"))}
	expiry := time.Now().Add(6 * time.Hour)
	logins := 0
	login := func(context.Context) (*session.Session, error) {
		logins++
		return &session.Session{ID: fmt.Sprintf("%040d", logins), UserAgent: "maker/1", TimeoutAt: expiry}, nil
	}
	source := func(store session.Store) *session.Source { return &session.Source{Login: login, Store: store} }
	use := func(store session.Store) func() sample {
		src := source(store)
		must(src.Session(ctx))
		return func() sample { return perCall(func() error { _, err := src.Session(ctx); return err }) }
	}
	load := func(store session.Store) func() sample {
		must(source(store).Session(ctx))
		return func() sample {
			return perCall(func() error { _, err := source(store).Session(ctx); return err })
		}
	}
	renew := func(store session.Store) func() sample {
		return func() sample {
			src := source(store)
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

func (s *memoryStore) TryLock(context.Context) (session.Lock, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.owner != nil {
		return nil, session.ErrLocked
	}
	s.owner = &memoryLock{s}
	return s.owner, nil
}

func (l *memoryLock) Save(_ context.Context, record []byte, _ time.Duration) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.owner != l {
		return session.ErrLockLost
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
