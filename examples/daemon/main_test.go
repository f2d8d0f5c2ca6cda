package main

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/filescom/session"
	"github.com/filescom/session/sessiontest"
	"github.com/stretchr/testify/assert"
)

func TestTheDaemonLogsInAgainAfterASessionEndsAndLogsOut(t *testing.T) {
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: "secret"})
	defer srv.Close()
	ctx, cancel := context.WithCancel(t.Context())
	err := run(ctx, srv.URL, session.CreateParams{Username: "alice", Password: "secret"}, time.Millisecond, 0, func(call int) {
		if call%2 == 0 {
			srv.Expire(srv.Sessions()[0])
		}
		if call == 9 {
			cancel() // as a signal does
		}
	})
	assert.NoError(t, err)
	assert.Empty(t, srv.Sessions())
	assert.Equal(t, 5, srv.Counts().Logins)
}

func TestTheDaemonGoesOnAfterALoginThatFails(t *testing.T) {
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: "secret"})
	defer srv.Close()
	err := run(t.Context(), srv.URL, session.CreateParams{Username: "alice", Password: "secret"}, time.Millisecond, 9, func(call int) {
		if call == 3 {
			srv.Expire(srv.Sessions()[0])
			srv.Inject(sessiontest.Fault{Method: "POST", Status: 503})
		}
	})
	assert.NoError(t, err)
	assert.Equal(t, sessiontest.Counts{Logins: 1}, srv.Counts())
}

func TestTheDaemonEndsWhenItIsRefused(t *testing.T) {
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: "secret"})
	defer srv.Close()
	err := run(t.Context(), srv.URL, session.CreateParams{Username: "alice", Password: "old"}, time.Millisecond, 0, func(int) {})
	assert.True(t, errors.Is(err, session.ErrInvalidUsernameOrPassword))
	assert.Len(t, srv.Requests(), 1)
}
