//go:build unix

package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/filescom/session"
	"github.com/filescom/session/autologin"
	"github.com/filescom/session/filestore"
	"github.com/filescom/session/sessiontest"
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

func TestALockOutIsPostedOnceWhetherOrNotASessionIsKept(t *testing.T) {
	t.Parallel()
	for _, kept := range []bool{false, true} {
		f := newFixture(t)
		if kept {
			f.logIn(t, "alice")
		}
		f.Inject(sessiontest.Fault{Method: "POST", Status: 401, Times: -1,
			Body: `{"type":"not-authenticated/locked-out","http-code":401,"error":"locked out"}`})
		for range 3 {
			_, stderr, status := f.run("login", "--url", f.URL, "--user", "alice", "--store", "file", "--password-file", "password")
			assert.Equal(t, 1, status)
			assert.Contains(t, stderr, "the site has locked the user out")
		}
		assert.Equal(t, 1, f.requests("POST", 401), "kept: %v", kept)
		stdout, stderr, status := f.run("header")
		assert.Equal(t, kept, status == 0, stderr)
		assert.Equal(t, kept, strings.Contains(stdout, session.AuthHeader))
	}
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
	for _, before := range []int{0, 1} {
		f := newFixture(t)
		if before == 1 {
			f.logIn(t, "alice")
		}
		first := f.login(t, "alice")
		first.await("Password of")
		second := f.login(t, "alice")
		second.await("Waiting for another run, which asks for the password of alice…")
		first.enter(password + "\n")
		second.await("Logged in as alice")
		assert.Zero(t, first.status())
		assert.Zero(t, second.status())
		assert.NotContains(t, second.String(), "Password of")
		assert.Equal(t, before+1, f.Counts().Logins)
		assert.Equal(t, 1, f.Counts().Live)
	}
}

func TestOneOfTwoTerminalsAsksForACode(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	first := f.login(t, "totp", "--password-file", "password")
	first.await("Code (")
	second := f.login(t, "totp", "--password-file", "password")
	second.await("Waiting for another run, which asks for the password of totp…")
	first.enter(code + "\n")
	second.await("Logged in as totp")
	assert.Zero(t, first.status())
	assert.Zero(t, second.status())
	assert.NotContains(t, second.String(), "Code (")
	assert.Equal(t, 1, f.Counts().Logins)
}

func TestControlCAtThePromptKeepsTheRefusalOfThePasswordFile(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.logIn(t, "alice")
	f.ExpireUser("alice")
	changed := users()[0]
	changed.Password = "canary-changed"
	f.AddUser(changed)
	for range 3 {
		_, _, status := f.run("header")
		assert.Equal(t, 1, status)
		s := f.login(t, "alice")
		s.await("Password of")
		s.enter("\x03")
		assert.Equal(t, 130, s.status())
	}
	assert.Equal(t, 1, f.requests("POST", 401))
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

// lockAccounts keeps other runs from changing the list of accounts.
func (f *fixture) lockAccounts(t *testing.T) autologin.Lock {
	t.Helper()
	lock, err := filestore.New(f.path("config/filessession/accounts.json")).TryLock(t.Context())
	require.NoError(t, err)
	return lock
}

// Where the list of accounts cannot be saved, it must still name a session that works, and no
// other session may stay.
func TestALoginThatCannotBeListedLeavesNoSessionThatNobodyFinds(t *testing.T) {
	t.Parallel()
	for _, before := range []int{0, 1} {
		f := newFixture(t)
		url, posted, answer := f.hold(t, "POST", int32(before)+1)
		if before == 1 {
			f.logIn(t, "alice", "--url", url)
		}
		cmd := exec.Command("filessession-impatient", "login", "--url", url, "--user", "alice", "--store", "file", "--password-file", "password")
		cmd.Env, cmd.Dir, cmd.SysProcAttr = f.env(), f.home, withoutTerminal()
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		require.NoError(t, cmd.Start())
		await(t, posted)
		accounts := f.lockAccounts(t)
		answer()
		assert.Error(t, cmd.Wait())
		accounts.Unlock()
		assert.Equal(t, "filessession: waited 50ms for another run, which changes the list of accounts; let that run end, or stop it, then run this command again\n", stderr.String())
		assert.Equal(t, before, f.Counts().Live)
		_, _, status := f.run("status")
		assert.Equal(t, before == 1, status == 0)
		f.run("logout")
		assert.Zero(t, f.Counts().Live)
	}
}

func TestControlCAfterALoginLeavesTheNewSessionAlone(t *testing.T) {
	t.Parallel()
	for _, before := range []int{0, 1} {
		f := newFixture(t)
		url, posted, answer := f.hold(t, "POST", int32(before)+1)
		if before == 1 {
			f.logIn(t, "alice", "--url", url)
		}
		old := f.Sessions()
		cmd, out := f.start(t, "login", "--url", url, "--user", "alice", "--store", "file", "--password-file", "password")
		await(t, posted)
		accounts := f.lockAccounts(t)
		answer()
		require.Eventually(t, func() bool { return f.keepsAnother(old) }, 15*time.Second, time.Millisecond)
		require.NoError(t, cmd.Process.Signal(os.Interrupt))
		accounts.Unlock()
		assert.NoError(t, cmd.Wait(), out)
		assert.Equal(t, 1, f.Counts().Live)
		_, stderr, status := f.run("status")
		assert.Zero(t, status, stderr)
	}
}

// keepsAnother reports whether a file has a live session that is none of old.
func (f *fixture) keepsAnother(old []string) bool {
	names, _ := filepath.Glob(f.path("config/filessession/*.json"))
	for _, name := range names {
		record, _ := os.ReadFile(name)
		for _, id := range f.Sessions() {
			if !slices.Contains(old, id) && bytes.Contains(record, []byte(id)) {
				return true
			}
		}
	}
	return false
}

func TestALogoutEndsASessionThatAppearsBeforeItForgetsTheAccount(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.logIn(t, "alice")
	accounts := f.lockAccounts(t)
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
