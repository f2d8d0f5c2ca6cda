package main

import (
	"net/http"
	"testing"

	"github.com/filescom/session/sessiontest"
	"github.com/stretchr/testify/assert"
)

func TestAFailureOfALoginIsASentence(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		says    string
		prepare func(*fixture)
	}{
		{"filessession: there were too many requests; try again in 7s\n", func(f *fixture) {
			f.Inject(sessiontest.Fault{Method: "POST", Status: 429, Header: http.Header{"Retry-After": {"7"}}})
		}},
		{"filessession: too many logins have failed, so the site has locked the user out", func(f *fixture) {
			f.Inject(sessiontest.Fault{Method: "POST", Status: 401, Body: `{"type":"not-authenticated/locked-out"}`})
		}},
		{"; if a session was made, it ends by itself\n", func(f *fixture) {
			f.Inject(sessiontest.Fault{Method: "POST", Status: 503, Body: sessiontest.EdgeHTML})
		}},
		{"filessession: no Files.com site answers there; check its name: ", func(f *fixture) {
			f.Inject(sessiontest.Fault{Method: "POST", Status: 404, Body: "<html>"})
		}},
		{"filessession: the site is served from another host; if you trust it, log in with --url https://other.example.com\n", func(f *fixture) {
			f.MoveTo("other.example.com", sessiontest.Region403JSON)
		}},
		{"filessession: the site cannot be reached: ", func(f *fixture) { f.Close() }},
	} {
		f := newFixture(t)
		tc.prepare(f)
		_, stderr, status := f.run("login", "--url", f.URL, "--user", "alice", "--store", "file", "--password-file", "password")
		assert.Equal(t, 1, status)
		assert.Contains(t, stderr, tc.says)
		assert.NotContains(t, stderr, ": session: ", "the name of the library")
	}
}

func TestALoginSoonAfterAFailureSaysWhenToTryAgain(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.Inject(sessiontest.Fault{Method: "POST", Status: 503, Header: http.Header{"Retry-After": {"5"}}})
	args := []string{"login", "--url", f.URL, "--user", "alice", "--store", "file", "--password-file", "password"}
	f.run(args...)
	_, stderr, status := f.run(args...)
	assert.Equal(t, 1, status)
	assert.Regexp(t, `^filessession: the last login failed: .*\. Try again in [56]s\n$`, stderr)
	assert.Len(t, f.Requests(), 1)
}

func TestAUserWhoMustAddASecondFactorIsToldSo(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.AddUser(sessiontest.User{Username: "alice", Password: password, Session: map[string]any{"two_factor_setup_needed": true}})
	_, stderr, status := f.run("login", "--url", f.URL, "--user", "alice", "--store", "file", "--password-file", "password")
	assert.Zero(t, status)
	assert.Contains(t, stderr, "The site requires that you add a second factor first")
}

func TestAConnectionThatBreaksIsASentence(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.logIn(t, "alice")
	f.Inject(sessiontest.Fault{Method: "GET", Reset: true, Times: -1})
	_, stderr, status := f.run("header")
	assert.Equal(t, 1, status)
	assert.Contains(t, stderr, "filessession: the site cannot be reached: ")
}
