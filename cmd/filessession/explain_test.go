package main

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/filescom/session/sessiontest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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
		{"filessession: the site has failed; try again later: log in at ", func(f *fixture) {
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

func TestAFailureOfStatusAndLogoutIsASentence(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.logIn(t, "alice")
	for _, tc := range []struct {
		command, says string
		fault         sessiontest.Fault
	}{
		{"status", "the site has failed; try again later: ", sessiontest.Fault{Method: "GET", Status: 503, Times: 3}},
		{"logout", "the site has failed; try again later: ", sessiontest.Fault{Method: "DELETE", Status: 503, Times: 3}},
		{"status", "the site redirects to another address; check its name, ", sessiontest.Fault{Method: "GET", Status: 302}},
		{"status", "the site refuses the request and does not say why; ", sessiontest.Fault{Method: "GET", Status: 401, Body: "<html>"}},
	} {
		f.Inject(tc.fault)
		_, stderr, status := f.run(tc.command)
		assert.Equal(t, 1, status)
		assert.Contains(t, stderr, "filessession: "+tc.says)
		assert.NotContains(t, stderr, "session may have been made")
	}
}

func TestALoginWithoutASessionInItsAnswerIsASentence(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.Inject(sessiontest.Fault{Method: "POST", Status: 201, Body: "<html>"})
	args := []string{"login", "--url", f.URL, "--user", "alice", "--store", "file", "--password-file", "password"}
	for _, says := range []string{
		"^filessession: the answer holds no session; check the name of the site, .*; a session may have been made, which ends by itself\n$",
		"^filessession: the last login failed: the answer holds no session; .*: 201 Created; another run tried to log in. Try again in [12]s\n$",
	} {
		_, stderr, status := f.run(args...)
		assert.Equal(t, 1, status)
		assert.Regexp(t, says, stderr)
	}
}

func TestAnErrorOfTheListOfAccountsDoesNotSpeakOfASession(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.logIn(t, "alice")
	name := f.path("config/filessession/accounts.json")
	require.NoError(t, os.WriteFile(name, make([]byte, 65<<10), 0o600))
	_, stderr, status := f.run("status")
	assert.Equal(t, 1, status)
	assert.Regexp(t, `^filessession: the file ".*/accounts.json" has more than 65536 bytes, so it holds no list of accounts; remove it\n$`, stderr)
	require.NoError(t, os.RemoveAll(filepath.Dir(name)))
	require.NoError(t, os.WriteFile(filepath.Dir(name), nil, 0o600))
	_, stderr, status = f.run("status")
	assert.Equal(t, 1, status)
	assert.Regexp(t, `^filessession: ".*/filessession" is a regular file; remove it, since a folder is needed there\n$`, stderr)
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

func TestALoginSaysThatTheUserMustAddASecondFactor(t *testing.T) {
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
