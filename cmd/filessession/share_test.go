package main

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/filescom/session/autologin"
	"github.com/filescom/session/filestore"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// interrupted is a Store that ends a context when it has saved a session, before the login
// gets to know that.
type interrupted struct {
	autologin.Store
	end context.CancelFunc
}

func (i interrupted) TryLock(ctx context.Context) (autologin.Lock, error) {
	lock, err := i.Store.TryLock(ctx)
	if err != nil {
		return nil, err
	}
	return interruptedLock{lock, i.end}, nil
}

type interruptedLock struct {
	autologin.Lock
	end context.CancelFunc
}

func (l interruptedLock) Save(ctx context.Context, record []byte, ttl time.Duration) error {
	err := l.Lock.Save(ctx, record, ttl)
	if bytes.Contains(record, []byte(`"session":`)) {
		l.end()
	}
	return err
}

func TestASessionSavedAtControlCCounts(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := account{Origin: f.URL, User: "alice", Store: inFile}
	login, err := newAuthentication(a, f.path("password"), "", nil)
	require.NoError(t, err)
	ctx, end := context.WithCancel(t.Context())
	defer end()
	s, own, err := login.logIn(ctx, interrupted{filestore.New(f.path("record")), end}, nil)
	require.NoError(t, err)
	require.Error(t, ctx.Err())
	assert.True(t, own)
	assert.Equal(t, f.Sessions(), []string{s.ID})
}

func TestAStepThatOutlivesASignalEndsSoon(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("waits for the end of the step, 5 s")
	}
	ctx, end := context.WithCancel(t.Context())
	longer, stop := outlive(ctx)
	defer stop()
	end()
	start := time.Now()
	require.NoError(t, longer.Err())
	await(t, longer.Done())
	assert.GreaterOrEqual(t, time.Since(start), graceTime-time.Second)
}
