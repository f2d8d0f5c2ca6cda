package main

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/filescom/session"
)

// withoutSession is a Store that hides an old session. So a Source logs in, or uses the
// session that another run has saved since.
type withoutSession struct {
	session.Store
	id string // of the session
}

// Load returns the record, none if it has that session.
func (w withoutSession) Load(ctx context.Context) ([]byte, error) {
	record, err := w.Store.Load(ctx)
	if err != nil || !w.isIn(ctx, record) {
		return record, err
	}
	return withSessionOf(record, nil)
}

// withSessionOf returns a record with the session of another one, or without a session if
// other is nil. The other members stay, such as a lock-out: a Source that does not hide the
// session uses it all the same.
func withSessionOf(record, other []byte) ([]byte, error) {
	fields, others := map[string]json.RawMessage{}, map[string]json.RawMessage{}
	if err := json.Unmarshal(record, &fields); err != nil {
		return nil, err
	}
	delete(fields, "session")
	if other != nil {
		if err := json.Unmarshal(other, &others); err != nil {
			return nil, err
		}
		fields["session"] = others["session"]
	}
	return json.Marshal(fields)
}

func (w withoutSession) isIn(ctx context.Context, record []byte) bool {
	s, err := session.LoadSession(ctx, memory(record))
	return err == nil && s != nil && s.ID == w.id
}

// keptUntilReplaced is a withoutSession that keeps the old session in the record until a
// new one replaces it. So a login that fails, or is killed, changes nothing.
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

// Save saves a record. If it has no session, Save adds the old one. It saves in either
// case, since a Source finds out by it whether it can save the session of a login.
func (l keptLock) Save(ctx context.Context, record []byte, ttl time.Duration) error {
	if s, err := session.LoadSession(ctx, memory(record)); err == nil && s == nil {
		current, err := l.hidden.Store.Load(ctx)
		if err != nil {
			return err
		}
		if l.hidden.isIn(ctx, current) {
			if record, err = withSessionOf(record, current); err != nil {
				return err
			}
		}
	}
	return l.Lock.Save(ctx, record, ttl)
}

// memory is a Store of a record in memory.
type memory []byte

func (m memory) Load(context.Context) ([]byte, error) { return m, nil }

func (m memory) TryLock(context.Context) (session.Lock, error) {
	return nil, errors.New("a record in memory cannot be locked")
}
