package autologin

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/filescom/session"
)

// Store keeps one record that many processes share. It does not interpret the record; a
// [Source] does. A Store is safe for concurrent use, and while one Store holds the lock
// of a record, no other Store of that record gets it. Every method returns soon after
// its context ends. If the context has already ended, it changes nothing and returns the
// error of the context. No error of a Store holds a part of the record. The package
// storetest tests a Store.
type Store interface {
	// Load returns the record, or nil if there is none. It takes no lock, and never
	// returns a part of a record that is being saved. The caller may modify the result.
	Load(ctx context.Context) ([]byte, error)
	// TryLock locks the record. It does not wait for another Lock: if the record is
	// locked, it returns an error that matches ErrLocked at once. The end of ctx does
	// not release the lock. If the error is not nil, the Lock is nil.
	TryLock(ctx context.Context) (Lock, error)
}

// Lock is the lock of a record, held until Unlock. After the lock was lost, and after
// Unlock, Save and Remove change nothing and return an error that matches [ErrLockLost].
type Lock interface {
	// Save replaces the record, whole or not at all. It does not retain record, and may
	// refuse a record of more than 2,500 bytes. The Store may forget the record when the
	// ttl of the last Save has passed. If ttl is 0, it keeps the record forever.
	Save(ctx context.Context, record []byte, ttl time.Duration) error
	// Remove removes the record. It is no error if there is none.
	Remove(ctx context.Context) error
	// Unlock releases the lock. It takes at most 5 seconds, and may be called more than
	// once.
	Unlock()
}

var (
	// ErrLocked is matched by the error of TryLock while another Lock of the record is
	// held.
	ErrLocked = errors.New("the record is locked")
	// ErrLockLost is matched if a lock was lost, or unlocked, before it was used.
	ErrLockLost = errors.New("the lock of the record is lost")
)

// Load returns the stored session, or nil if there is none. It is for programs that only
// look at a session; to share one, use [Source.Store]. It does not check whether the session
// is still good.
//
// The error is that of the Store, or says that the record is encrypted or of a newer
// version. It matches [session.ErrInvalidParams] if ctx or store is nil. A damaged record
// counts as none.
func Load(ctx context.Context, store Store) (*session.Session, error) {
	if ctx == nil || store == nil {
		return nil, misuse("Load requires a context and a Store; one of them is nil")
	}
	r, err := loadRecord(ctx, store)
	return r.Session, err
}

// memory is the Store of a Source that has none. It is the Lock of its record too.
type memory struct {
	lock   sync.Mutex
	record atomic.Value // []byte
}

func (m *memory) Load(context.Context) ([]byte, error) {
	record, _ := m.record.Load().([]byte)
	return record, nil
}

func (m *memory) TryLock(context.Context) (Lock, error) {
	if !m.lock.TryLock() {
		return nil, ErrLocked
	}
	return m, nil
}

func (m *memory) Save(_ context.Context, record []byte, _ time.Duration) error {
	m.record.Store(record)
	return nil
}

func (m *memory) Remove(ctx context.Context) error { return m.Save(ctx, nil, 0) }

func (m *memory) Unlock() { m.lock.Unlock() }
