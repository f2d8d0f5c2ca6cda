package main

import (
	"context"
	"errors"
	"net/http"
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
			srv.ExpireUser("alice")
		}
		if call == 9 {
			cancel() // as a signal does
		}
	})
	assert.NoError(t, err)
	assert.Empty(t, srv.Sessions())
	assert.Equal(t, 5, srv.Counts().Logins)
}

// after3 ends the session after the third call, and makes the next login fail.
func after3(srv *sessiontest.Server, fault sessiontest.Fault) func(call int) {
	fault.Method, fault.Status = "POST", 503
	return func(call int) {
		if call == 3 {
			srv.Inject(fault)
			srv.ExpireUser("alice")
		}
	}
}

func TestACallWaitsForALoginThatMayStartSoon(t *testing.T) {
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: "secret"})
	defer srv.Close()
	err := run(t.Context(), srv.URL, session.CreateParams{Username: "alice", Password: "secret"}, time.Millisecond, 9, after3(srv, sessiontest.Fault{}))
	assert.NoError(t, err)
	assert.Equal(t, sessiontest.Counts{Logins: 2, Logouts: 1}, srv.Counts())
}

func TestTheDaemonGoesOnWhileNoLoginMayStart(t *testing.T) {
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: "secret"})
	defer srv.Close()
	err := run(t.Context(), srv.URL, session.CreateParams{Username: "alice", Password: "secret"}, time.Millisecond, 9,
		after3(srv, sessiontest.Fault{Header: http.Header{"Retry-After": {"60"}}}))
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
