package storetest_test

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/filescom/session"
	"github.com/filescom/session/sessiontest"
)

// memory is a record that the Stores of one process share.
type memory struct {
	mu     sync.Mutex
	record []byte
	owner  *memoryLock // nil when the record is not locked
}

type memoryStore struct{ *memory }

type memoryLock struct{ *memory }

func (s memoryStore) Load(ctx context.Context) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]byte(nil), s.record...), ctx.Err()
}

func (s memoryStore) TryLock(ctx context.Context) (session.Lock, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if s.owner != nil {
		return nil, session.ErrLocked
	}
	s.owner = &memoryLock{s.memory}
	return s.owner, nil
}

func (l *memoryLock) Save(ctx context.Context, record []byte, _ time.Duration) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.owner != l {
		return session.ErrLockLost
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	l.record = append([]byte(nil), record...)
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

// String keeps the record out of prints.
func (m *memory) String() string { return "memory" }

// GoString keeps the record out of %#v.
func (m *memory) GoString() string { return "memory" }

// A Store in memory. Run tests it:
//
//	func TestMemoryStore(t *testing.T) {
//		m := &memory{}
//		storetest.Run(t, func(*testing.T) session.Store { return memoryStore{m} })
//	}
func Example() {
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: "secret"})
	defer srv.Close()
	c, err := session.NewClient(session.WithSite(srv.URL))
	if err != nil {
		fmt.Println(err)
		return
	}
	store := memoryStore{&memory{}}
	for range 3 { // as three processes would
		lock, err := store.TryLock(context.Background())
		if err != nil {
			fmt.Println(err)
			return
		}
		record, _ := store.Load(context.Background())
		if len(record) == 0 {
			s, err := c.Create(context.Background(), session.CreateParams{Username: "alice", Password: "secret"})
			if err != nil {
				fmt.Println(err)
				return
			}
			lock.Save(context.Background(), []byte(s.ID), time.Hour)
		}
		lock.Unlock()
	}
	fmt.Println(srv.Counts().Logins, "login")
	// Output: 1 login
}
