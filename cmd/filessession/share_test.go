package main

import (
	"context"
	"testing"
	"time"

	"github.com/filescom/session"
	"github.com/filescom/session/filestore"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// interrupted is a Store that ends a context when it has saved a session, before the login
// gets to know that.
type interrupted struct {
	session.Store
	end context.CancelFunc
}

func (i interrupted) TryLock(ctx context.Context) (session.Lock, error) {
	lock, err := i.Store.TryLock(ctx)
	if err != nil {
		return nil, err
	}
	return interruptedLock{lock, i.end}, nil
}

type interruptedLock struct {
	session.Lock
	end context.CancelFunc
}

func (l interruptedLock) Save(ctx context.Context, record []byte, ttl time.Duration) error {
	err := l.Lock.Save(ctx, record, ttl)
	if s, _ := session.LoadSession(ctx, memory(record)); s != nil {
		l.end()
	}
	return err
}

func TestASessionSavedAtControlCCounts(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := account{Origin: f.URL, User: "alice", Store: inFile}
	client, err := a.client()
	require.NoError(t, err)
	ctx, end := context.WithCancel(t.Context())
	defer end()
	login := &authentication{run: ctx, client: client, account: a, passwordFile: f.path("password")}
	s, own, err := login.logInShared(ctx, interrupted{filestore.New(f.path("record")), end})
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
