package storetest_test

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/filescom/session"
	"github.com/filescom/session/autologin"
	"github.com/filescom/session/sessiontest"
)

// memory is a Store in memory.
type memory struct {
	mu     sync.Mutex
	record []byte
	owner  *memoryLock // nil when the record is not locked
}

type memoryLock struct{ *memory }

func (m *memory) Load(ctx context.Context) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return bytes.Clone(m.record), ctx.Err()
}

func (m *memory) TryLock(ctx context.Context) (autologin.Lock, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.owner != nil || ctx.Err() != nil {
		return nil, cmp.Or(ctx.Err(), autologin.ErrLocked)
	}
	m.owner = &memoryLock{m}
	return m.owner, nil
}

func (l *memoryLock) Save(ctx context.Context, record []byte, _ time.Duration) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.owner != l {
		return autologin.ErrLockLost
	}
	if ctx.Err() == nil {
		l.record = bytes.Clone(record)
	}
	return ctx.Err()
}

func (l *memoryLock) Remove(ctx context.Context) error { return l.Save(ctx, nil, 0) }

func (l *memoryLock) Unlock() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.owner == l {
		l.owner = nil
	}
}

// Format keeps the record out of prints.
func (m *memory) Format(f fmt.State, _ rune) { io.WriteString(f, "memory") }

// A Store in memory, for Sources of one process. Run tests it:
//
//	func TestMemory(t *testing.T) {
//		m := &memory{}
//		storetest.Run(t, func(*testing.T) autologin.Store { return m })
//	}
func Example() {
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: "secret"})
	defer srv.Close()
	ctx := context.Background()
	c, err := session.NewClient(session.WithSite(srv.URL))
	if err != nil {
		fmt.Println(err)
		return
	}
	store := &memory{}
	for range 3 {
		src := autologin.New(c, session.CreateParams{Username: "alice", Password: "secret"})
		src.Store = store
		if _, err := src.Session(ctx); err != nil {
			fmt.Println(err)
		}
		src.Close(ctx) // logs nobody out
	}
	fmt.Println("logins:", srv.Counts().Logins)
	// Output: logins: 1
}
