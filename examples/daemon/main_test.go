package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/filescom/session"
	"github.com/filescom/session/sessiontest"
	"github.com/stretchr/testify/assert"
)

func TestTheDaemonSurvivesEndingsAndLogsOut(t *testing.T) {
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
	logins := 0
	for _, r := range srv.Requests() {
		if r.Method == "POST" {
			logins++
		}
	}
	assert.Equal(t, 5, logins)
}

func TestTheDaemonSurvivesALoginThatFails(t *testing.T) {
	fake := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: "secret"})
	defer fake.Close()
	logins := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			if logins++; logins == 2 {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
		}
		fake.ServeHTTP(w, r)
	}))
	defer srv.Close()
	err := run(t.Context(), srv.URL, session.CreateParams{Username: "alice", Password: "secret"}, time.Millisecond, 9, func(call int) {
		if call == 3 {
			fake.Expire(fake.Sessions()[0])
		}
	})
	assert.NoError(t, err)
	assert.Equal(t, 2, logins)
}

func TestTheDaemonEndsWhenItIsRefused(t *testing.T) {
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: "secret"})
	defer srv.Close()
	err := run(t.Context(), srv.URL, session.CreateParams{Username: "alice", Password: "old"}, time.Millisecond, 0, func(int) {})
	assert.True(t, errors.Is(err, session.ErrInvalidUsernameOrPassword))
	assert.Len(t, srv.Requests(), 1)
}
