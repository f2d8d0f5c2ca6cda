package autologin_test

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/filescom/session/autologin"
	"github.com/filescom/session/storetest"
)

// memoryStore is a Store as a user would write it: a record in memory. Its lock is held by
// the last Lock that TryLock returned, until that is unlocked.
type memoryStore struct {
	mu     sync.Mutex
	record []byte
	holder *memoryLock
}

type memoryLock struct{ store *memoryStore }

func (s *memoryStore) Load(ctx context.Context) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Clone(s.record), ctx.Err()
}

func (s *memoryStore) TryLock(ctx context.Context) (autologin.Lock, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if s.holder != nil {
		return nil, autologin.ErrLocked
	}
	s.holder = &memoryLock{s}
	return s.holder, nil
}

// Format keeps the record out of prints.
func (s *memoryStore) Format(f fmt.State, _ rune) { fmt.Fprint(f, "memoryStore") }

func (l *memoryLock) Save(ctx context.Context, record []byte, _ time.Duration) error {
	l.store.mu.Lock()
	defer l.store.mu.Unlock()
	if l.store.holder != l {
		return autologin.ErrLockLost
	}
	if ctx.Err() == nil {
		l.store.record = bytes.Clone(record)
	}
	return ctx.Err()
}

func (l *memoryLock) Remove(ctx context.Context) error { return l.Save(ctx, nil, 0) }

func (l *memoryLock) Unlock() {
	l.store.mu.Lock()
	defer l.store.mu.Unlock()
	if l.store.holder == l {
		l.store.holder = nil
	}
}

func TestAStoreInMemoryPassesTheStoreTests(t *testing.T) {
	t.Parallel()
	s := &memoryStore{}
	storetest.Run(t, func(*testing.T) autologin.Store { return s })
}
