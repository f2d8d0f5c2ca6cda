package main

import (
	"context"
	"errors"
	"time"

	"github.com/filescom/session"
)

// withoutSession is a Store that hides a session which is to be replaced, so that a
// Source logs in, or uses the session that another run has saved since.
type withoutSession struct {
	session.Store
	id string // of the session
}

// Load returns the record, none if it has that session.
func (w withoutSession) Load(ctx context.Context) ([]byte, error) {
	record, err := w.Store.Load(ctx)
	if err != nil || w.isIn(ctx, record) {
		return nil, err
	}
	return record, nil
}

func (w withoutSession) isIn(ctx context.Context, record []byte) bool {
	s, err := session.LoadSession(ctx, memory(record))
	return err == nil && s != nil && s.ID == w.id
}

// keptUntilReplaced is a withoutSession that keeps the session in the record until
// another one replaces it, so that a login that fails, or is killed, changes nothing.
type keptUntilReplaced struct{ withoutSession }

// TryLock locks the record.
func (k keptUntilReplaced) TryLock(ctx context.Context) (session.Lock, error) {
	lock, err := k.Store.TryLock(ctx)
	if err != nil {
		return nil, err
	}
	return keptLock{lock, k.withoutSession}, nil
}

// keptLock is the lock of a keptUntilReplaced.
type keptLock struct {
	session.Lock
	hidden withoutSession
}

// Save saves a record that has a session. Instead of one that has none it saves the
// record with the old session again: if that fails, a session could not be saved either.
func (l keptLock) Save(ctx context.Context, record []byte, ttl time.Duration) error {
	if s, err := session.LoadSession(ctx, memory(record)); err == nil && s == nil {
		current, err := l.hidden.Store.Load(ctx)
		if err != nil {
			return err
		}
		if l.hidden.isIn(ctx, current) {
			record = current
		}
	}
	return l.Lock.Save(ctx, record, ttl)
}

// memory is a Store of a record that was loaded.
type memory []byte

func (m memory) Load(context.Context) ([]byte, error) { return m, nil }

func (m memory) TryLock(context.Context) (session.Lock, error) {
	return nil, errors.New("a record in memory cannot be locked")
}
