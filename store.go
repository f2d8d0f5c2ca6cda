package session

import (
	"context"
	"errors"
	"time"
)

// Store keeps one record that many processes share. It knows bytes and a lock. A
// [Source] decides what they mean. A Store is safe for concurrent use, and several
// Stores of one record exclude each other by its lock. Every method ends soon
// after its context. No error of a Store holds a part of the record.
type Store interface {
	// Load returns the record, nil if there is none. It takes no lock, and never
	// returns a part of a record that is being saved.
	Load(ctx context.Context) ([]byte, error)
	// TryLock locks the record. It never waits: if the record is locked, it returns
	// an error that matches ErrLocked at once.
	TryLock(ctx context.Context) (Lock, error)
}

// Lock is the lock of a record, held until Unlock. After the lock was lost, and
// after Unlock, its methods change nothing and return an error that matches
// [ErrLockLost].
type Lock interface {
	// Save replaces the record, whole or not at all. The Store may forget it after
	// ttl, and keeps it for ever if ttl is 0.
	Save(ctx context.Context, record []byte, ttl time.Duration) error
	// Remove leaves no record.
	Remove(ctx context.Context) error
	// Unlock takes at most 5 seconds. It may be called more than once.
	Unlock()
}

var (
	// ErrLocked is matched if another process, or another Source, has the lock of a
	// record.
	ErrLocked = errors.New("the record is locked")
	// ErrLockLost is matched if a lock was lost, or unlocked, before it was used.
	ErrLockLost = errors.New("the lock of the record is lost")
)
