//go:build unix

package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/filescom/session/filestore"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// runs are the numbers of runs that are started at once.
var runs = []int{2, 8}

// atOnce runs the program n times at once. Each run must succeed.
func (f *fixture) atOnce(t *testing.T, n int, args ...string) {
	t.Helper()
	slow := faultOf("POST", time.Second) // so that all runs have started before a login ends
	slow.Times = -1
	f.Inject(slow)
	var all sync.WaitGroup
	for range n {
		all.Add(1)
		go func() {
			defer all.Done()
			_, stderr, status := f.run(args...)
			assert.Zero(t, status, stderr)
		}()
	}
	all.Wait()
}

func TestRunsAtOnceMakeOneLogin(t *testing.T) {
	t.Parallel()
	for _, n := range runs {
		f := newFixture(t)
		f.atOnce(t, n, "login", "--url", f.URL, "--user", "alice", "--store", "file", "--password-file", "password")
		assert.Equal(t, 1, f.Counts().Logins)
		_, stderr, status := f.run("status")
		assert.Zero(t, status, stderr)
	}
}

func TestRunsAtOnceReplaceASessionOnce(t *testing.T) {
	t.Parallel()
	for _, n := range runs {
		f := newFixture(t)
		f.logIn(t, "alice")
		f.atOnce(t, n, "login", "--password-file", "password")
		counts := f.Counts()
		assert.Equal(t, 2, counts.Logins)
		assert.Equal(t, 1, f.requests("DELETE", 0))
		assert.Equal(t, 1, counts.Live)
		_, stderr, status := f.run("status")
		assert.Zero(t, status, stderr)
	}
}

func TestHeadersAtOnceLogInAgainOnce(t *testing.T) {
	t.Parallel()
	for _, n := range runs {
		f := newFixture(t)
		f.logIn(t, "alice")
		f.ExpireUser("alice")
		f.atOnce(t, n, "header")
		assert.Equal(t, 2, f.Counts().Logins)
		assert.Equal(t, 1, f.Counts().Live)
	}
}

func TestSessionsThatEndSoonAreReplacedEachTime(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.logIn(t, "alice")
	for n := range 6 {
		f.ExpireUser("alice")
		_, stderr, status := f.run("header")
		assert.Zero(t, status, stderr)
		assert.Equal(t, n+2, f.Counts().Logins)
	}
}

func TestAWrongPasswordIsPostedOnceByRunsAtOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.logIn(t, "alice")
	f.ExpireUser("alice")
	changed := users()[0]
	changed.Password = "canary-changed"
	f.AddUser(changed)
	var all sync.WaitGroup
	for range 8 {
		all.Add(1)
		go func() {
			defer all.Done()
			_, stderr, status := f.run("header")
			assert.Equal(t, 1, status)
			assert.Contains(t, stderr, "the user name or the password is wrong")
		}()
	}
	all.Wait()
	assert.Equal(t, 1, f.requests("POST", 401))
}

// The session that is kept already must not hide that the password was refused.
func TestAWrongPasswordIsPostedOnceWhileASessionIsKept(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.logIn(t, "alice")
	changed := users()[0]
	changed.Password = "canary-changed"
	f.AddUser(changed)
	for range 3 {
		_, stderr, status := f.run("login", "--password-file", "password")
		assert.Equal(t, 1, status)
		assert.Contains(t, stderr, "the user name or the password is wrong")
	}
	assert.Equal(t, 1, f.requests("POST", 401))
	_, stderr, status := f.run("header")
	assert.Zero(t, status, "the old session is still used: %s", stderr)
}

// requests counts the requests of a method that were answered by a status, or by any
// if that is 0.
func (f *fixture) requests(method string, status int) int {
	n := 0
	for _, r := range f.Requests() {
		if r.Method == method && (status == 0 || r.Status == status) {
			n++
		}
	}
	return n
}

func TestOneOfTwoTerminalsAsks(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	first := f.login(t, "alice")
	first.await("Password of")
	second := f.login(t, "alice")
	second.await("Waiting for another run, which asks for the password of alice…")
	first.enter(password + "\n")
	second.await("Logged in as alice")
	assert.Zero(t, first.status())
	assert.Zero(t, second.status())
	assert.NotContains(t, second.String(), "Password of")
	assert.Equal(t, 1, f.Counts().Logins)
}

func TestTheNextTerminalAsksAfterControlCInTheFirst(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	first := f.login(t, "alice")
	first.await("Password of")
	second := f.login(t, "alice")
	second.await("Waiting for another run")
	first.enter("\x03")
	assert.Equal(t, 130, first.status())
	second.await("Password of")
	second.enter(password + "\n")
	assert.Zero(t, second.status())
}

func TestNoOtherCommandWaitsForAnOpenPrompt(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.logIn(t, "alice")
	s := f.login(t, "alice")
	s.await("Password of")
	f.ExpireUser("alice")
	_, stderr, status := f.run("header")
	assert.Zero(t, status, stderr)
	_, stderr, status = f.run("logout")
	assert.Zero(t, status, stderr)
	s.enter(password + "\n")
	s.await("Logged in")
	assert.Zero(t, s.status())
	assert.NotContains(t, s.String(), "could not be ended")
	assert.Equal(t, 1, f.Counts().Live)
}

func TestLogoutDoesNotWaitForAnOpenPromptForACode(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	require.NoError(t, os.WriteFile(f.path("totp"), []byte(totpSecret), 0o600))
	f.logIn(t, "secret", "--totp-secret-file", f.path("totp"))
	s := f.login(t, "secret")
	s.await("Password of")
	s.enter(password + "\n")
	s.await("Code (")
	_, stderr, status := f.run("logout")
	assert.Zero(t, status, stderr)
	assert.Zero(t, f.Counts().Live)
}

func TestAHeaderThatALogoutOvertakesLeavesNoSession(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	asked, answer := make(chan struct{}), make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			asked <- struct{}{}
			<-answer
		}
		f.ServeHTTP(w, r)
	}))
	t.Cleanup(slow.Close)
	f.logIn(t, "alice", "--url", slow.URL)
	f.ExpireUser("alice")
	ended := make(chan int)
	go func() {
		_, _, status := f.run("header")
		ended <- status
	}()
	<-asked
	_, stderr, status := f.run("logout")
	assert.Zero(t, status, stderr)
	close(answer)
	assert.Equal(t, 3, <-ended)
	assert.Equal(t, 2, f.Counts().Logins, "header has logged in again")
	assert.Zero(t, f.Counts().Live)
}

func TestALogoutEndsASessionThatAppearsBeforeItForgetsTheAccount(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.logIn(t, "alice")
	accounts, err := filestore.New(f.path("config/filessession/accounts.json")).TryLock(t.Context())
	require.NoError(t, err)
	ended := make(chan int)
	go func() {
		_, _, status := f.run("logout")
		ended <- status
	}()
	require.Eventually(t, func() bool { return f.Counts().Logouts == 1 }, 15*time.Second, 5*time.Millisecond)
	_, stderr, status := f.run("header")
	assert.Zero(t, status, stderr)
	assert.Equal(t, 1, f.Counts().Live)
	accounts.Unlock()
	assert.Zero(t, <-ended)
	assert.Zero(t, f.Counts().Live)
}

func TestARunThatWaitsTooLongForAnotherOneSaysSo(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.logIn(t, "alice")
	f.ExpireUser("alice")
	lock, err := filestore.New(f.sessionFile(t)).TryLock(t.Context())
	require.NoError(t, err)
	defer lock.Unlock()
	for _, command := range []string{"header", "logout"} {
		cmd := exec.Command("filessession-impatient", command)
		cmd.Env, cmd.SysProcAttr = f.env(), withoutTerminal()
		out, err := cmd.CombinedOutput()
		assert.Error(t, err)
		assert.Equal(t, "filessession: waited 50ms for another run, which logs in as alice; let that run end, or stop it, then run this command again\n", string(out))
	}
}

func TestControlCEndsTheWaitForAnotherRun(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	first := f.login(t, "alice")
	first.await("Password of")
	second := f.login(t, "alice")
	second.await("Waiting for another run")
	second.enter("\x03")
	assert.Equal(t, 130, second.status())
}
