//go:build unix

package main

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// screen is a terminal in which a program runs.
type screen struct {
	t    *testing.T
	tty  *os.File
	cmd  *exec.Cmd
	done chan struct{} // closed when the screen has ended

	mu   sync.Mutex
	text bytes.Buffer // everything that was printed
	seen int          // the length of the part that await has passed
}

// show starts a program in a terminal of its own. No secret may be on the screen.
func (f *fixture) show(t *testing.T, cmd *exec.Cmd) *screen {
	t.Helper()
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 200})
	require.NoError(t, err)
	s := &screen{t: t, tty: tty, cmd: cmd, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		buffer := make([]byte, 4096)
		for {
			n, err := tty.Read(buffer)
			s.mu.Lock()
			s.text.Write(buffer[:n])
			s.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		tty.Close()
		<-s.done
		if t.Failed() {
			t.Logf("the screen:\n%s", s.String())
		}
		for _, secret := range append(f.Sessions(), password, code, totpSecret, "canary") {
			assert.NotContains(t, s.String(), secret, "on the screen")
		}
	})
	return s
}

// login starts a login of a user at a terminal.
func (f *fixture) login(t *testing.T, user string, more ...string) *screen {
	t.Helper()
	return f.show(t, f.command(append([]string{"login", "--url", f.URL, "--user", user, "--store", "file"}, more...)...))
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// await waits until text is on the screen, behind the text that was awaited last.
func (s *screen) await(text string) {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		at := strings.Index(s.text.String()[s.seen:], text)
		if at >= 0 {
			s.seen += at + len(text)
		}
		return at >= 0
	}, 15*time.Second, 5*time.Millisecond, "%q is not on the screen:\n%s", text, s)
}

// enter types text.
func (s *screen) enter(text string) {
	s.t.Helper()
	_, err := s.tty.WriteString(text)
	require.NoError(s.t, err)
}

// status waits for the end of the program and returns its exit status.
func (s *screen) status() int {
	s.t.Helper()
	timeout := time.AfterFunc(20*time.Second, func() { s.cmd.Process.Kill() })
	defer timeout.Stop()
	s.cmd.Wait()
	return s.cmd.ProcessState.ExitCode()
}

// echoes reports whether the terminal shows the input.
func (s *screen) echoes() bool {
	termios, err := unix.IoctlGetTermios(int(s.tty.Fd()), getTermios)
	require.NoError(s.t, err)
	return termios.Lflag&unix.ECHO != 0
}

func TestALoginAtTheTerminal(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := f.login(t, "alice")
	s.await("Password of alice at " + f.URL + ": ")
	assert.False(t, s.echoes())
	s.enter(password + "\n")
	s.await("Logged in as alice at " + f.URL)
	assert.Zero(t, s.status())
	assert.True(t, s.echoes())
	assert.Equal(t, 1, f.Counts().Logins)
}

func TestALoginWithATypedPasswordKeepsTheRememberedFile(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.logIn(t, "alice")
	s := f.login(t, "alice")
	s.await("Password of")
	s.enter(password + "\n")
	s.await("After it has ended, header and exec log in again by " + f.path("password"))
	assert.Zero(t, s.status())
	f.ExpireUser("alice")
	_, stderr, status := f.run("header")
	assert.Zero(t, status, stderr)
}

func TestStandardInputAndOutputStayFree(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	cmd := exec.Command("sh", "-c", `echo data | (filessession login --url "$1" --user alice --store file && cat) >out 2>err`, "sh", f.URL)
	cmd.Env, cmd.Dir = f.env(), f.home
	s := f.show(t, cmd)
	s.await("Password of alice")
	s.enter(password + "\n")
	assert.Zero(t, s.status())
	out, err := os.ReadFile(f.path("out"))
	require.NoError(t, err)
	assert.Equal(t, "data\n", string(out))
}

func TestControlDAtTheHiddenPromptEndsTheLogin(t *testing.T) {
	t.Parallel()
	for _, typed := range []string{"\x04", "canary\x04\x04"} {
		f := newFixture(t)
		s := f.login(t, "alice")
		s.await("Password of")
		s.enter(typed)
		s.await("the input ended before a line was typed; run the command again")
		assert.Equal(t, 1, s.status())
		assert.True(t, s.echoes())
		assert.Zero(t, f.Counts().Refused)
	}
}

func TestThePasswordStaysHiddenAfterControlZAndFg(t *testing.T) {
	t.Parallel()
	requirePrograms(t, "bash")
	f := newFixture(t)
	cmd := exec.Command("bash", "--norc", "--noprofile", "-i")
	cmd.Env = f.env()
	s := f.show(t, cmd)
	s.await("$ ")
	s.enter("filessession login --url " + f.URL + " --user alice --store file\n")
	for range 2 {
		s.await("Password of alice at " + f.URL + ": ")
		s.enter("canary\x1a") // the text before ^Z is dropped
		s.await("Stopped")
		s.await("$ ")
		s.enter("echo visible=$((6*7))\n")
		s.await("visible=42")
		s.enter("fg\n")
	}
	s.await("Password of alice at " + f.URL + ": ")
	assert.False(t, s.echoes())
	s.enter(password + "\n")
	s.await("Logged in as alice")
	s.await("$ ")
	s.enter("exit\n")
	assert.Zero(t, s.status())
	assert.Equal(t, 1, f.Counts().Logins)
	assert.Zero(t, f.Counts().Refused)
}

func TestThePasswordStaysHiddenAfterTheProcessWasStopped(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := f.login(t, "alice")
	s.await("Password of")
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGSTOP))
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGCONT))
	s.await("Password of")
	assert.False(t, s.echoes())
	s.enter("\x1a") // no shell could resume this process, so ^Z does nothing
	s.enter(password + "\n")
	assert.Zero(t, s.status())
	assert.True(t, s.echoes())
}

func TestAnEmptyLineIsAskedAgain(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := f.login(t, "totp")
	for range 2 {
		s.await("Password of")
		s.enter("\n")
		s.await("The line is empty.")
	}
	s.await("Password of")
	s.enter(password + "\n")
	s.await("Code (from your authenticator app): ")
	s.enter("\n")
	s.await("The line is empty.")
	s.await("Code (")
	s.enter("424 242\n")
	assert.Zero(t, s.status())
	assert.Equal(t, 1, f.Counts().Refused, "the demand for a code")
}

func TestAWrongCodeAsksForACodeAndNotForThePassword(t *testing.T) {
	t.Parallel()
	for user, prompt := range map[string]string{"totp": "your authenticator app", "sms": "the SMS", "key": "your YubiKey: touch it"} {
		f := newFixture(t)
		s := f.login(t, user)
		s.await("Password of")
		s.enter(password + "\n")
		s.await("Code (from " + prompt + "): ")
		assert.False(t, s.echoes())
		s.enter("000000\n")
		s.await("The code is wrong or too old. This was attempt 1 of 3.")
		s.await("Code (from " + prompt + "): ")
		s.enter(code + "\n")
		s.await("Logged in as " + user)
		assert.Zero(t, s.status())
		assert.Equal(t, 1, strings.Count(s.String(), "Password of"))
	}
}

func TestTheCodeOfAnEarlierSMSIsAccepted(t *testing.T) {
	t.Parallel()
	for _, byFile := range []bool{false, true} {
		f := newFixture(t)
		logIn := func() *screen {
			if byFile {
				return f.login(t, "sms", "--password-file", "password")
			}
			s := f.login(t, "sms")
			s.await("Password of")
			s.enter(password + "\n")
			return s
		}
		s := logIn()
		s.await("Code (from the SMS): ")
		s.enter("\x03")
		require.Equal(t, 130, s.status())
		s = logIn()
		s.await("Code (from the SMS): ")
		s.enter(code + "\n")
		assert.Zero(t, s.status())
		assert.Equal(t, 1, f.Counts().SMS)
	}
}

func TestThreeRefusalsEndTheLogin(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := f.login(t, "alice")
	for n, says := range []string{"wrong. This was attempt 1 of 3.", "wrong. This was attempt 2 of 3.", "wrong; 3 attempts have failed"} {
		s.await("Password of")
		s.enter("canary-wrong" + strings.Repeat("!", n) + "\n")
		s.await("he user name or the password is " + says)
	}
	assert.Equal(t, 1, s.status())
	assert.Equal(t, 3, f.Counts().Refused)
}

func TestALockOutEndsTheLogin(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.SetLockOut(1, time.Hour)
	s := f.login(t, "alice")
	s.await("Password of")
	s.enter("canary-wrong\n")
	s.await("attempt 1 of 3")
	s.await("Password of")
	s.enter(password + "\n")
	s.await("the site has locked the user out")
	assert.Equal(t, 1, s.status())
}

func TestControlCExitsBy130(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := f.login(t, "totp")
	s.await("Password of")
	s.enter(password + "\n")
	s.await("Code (")
	s.enter("\x03")
	assert.Equal(t, 130, s.status())
	assert.True(t, s.echoes())
}

func TestControlCEndsARequest(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.Inject(faultOf("POST", time.Minute))
	s := f.login(t, "alice")
	s.await("Password of")
	s.enter(password + "\n")
	s.await("Waiting for " + f.URL)
	s.enter("\x03")
	assert.Equal(t, 130, s.status())
}

func TestASignalLeavesTheTerminalWithItsEcho(t *testing.T) {
	t.Parallel()
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT} {
		f := newFixture(t)
		s := f.login(t, "alice")
		s.await("Password of")
		require.False(t, s.echoes())
		require.NoError(t, s.cmd.Process.Signal(signal))
		assert.Equal(t, 128+int(signal), s.status())
		assert.True(t, s.echoes(), signal)
	}
}

func TestAPastedPasswordWithASpaceGetsAHint(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := f.login(t, "alice")
	s.await("Password of")
	s.enter(password + " \n")
	s.await("The password ends with a space. If you pasted it, leave that out.")
	s.await("Password of")
	s.enter("\ufeff" + password + "\n")
	s.await("Logged in")
	assert.Zero(t, s.status())
	s = f.login(t, "space")
	s.await("Password of")
	s.enter(password + " \n") // a password may end with one
	s.await("Logged in")
	assert.Zero(t, s.status())
}

func TestASlowRequestIsNamedOnlyOnATerminal(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.logIn(t, "alice")
	for _, env := range []string{"", "NO_COLOR=1"} {
		f.Inject(faultOf("GET", 1500*time.Millisecond))
		cmd := f.command("status")
		cmd.Env = append(cmd.Env, env)
		s := f.show(t, cmd)
		s.await("Waiting for " + f.URL + "…")
		assert.Zero(t, s.status())
		<-s.done
		assert.Equal(t, env == "", strings.Contains(s.String(), "\x1b"))
	}
	f.Inject(faultOf("GET", 1500*time.Millisecond))
	_, stderr, status := f.run("status")
	assert.Zero(t, status)
	assert.Empty(t, stderr)
}

func TestAKilledLoginLeavesTheSessionAndNoLock(t *testing.T) {
	t.Parallel()
	for _, loggedIn := range []bool{false, true} {
		f := newFixture(t)
		if loggedIn {
			f.logIn(t, "alice")
		}
		s := f.login(t, "alice")
		s.await("Password of")
		require.NoError(t, s.cmd.Process.Kill())
		s.status()
		_, stderr, status := f.run("status")
		assert.Equal(t, loggedIn, status == 0, stderr)
		s = f.login(t, "alice")
		s.await("Password of")
		s.enter(password + "\n")
		s.await("Logged in")
		assert.Zero(t, s.status())
		assert.Equal(t, 1, f.Counts().Live)
	}
}

func TestAFailedLoginLeavesTheSession(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.logIn(t, "alice")
	for _, typed := range []string{"\x03", "\x04"} {
		s := f.login(t, "alice")
		s.await("Password of")
		s.enter(typed)
		assert.NotZero(t, s.status())
		stdout, stderr, status := f.run("header")
		assert.Zero(t, status, stderr)
		assert.Contains(t, stdout, f.Sessions()[0])
	}
	assert.Equal(t, 1, f.Counts().Logins)
}

func TestControlCReachesAProgramOfExecOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.logIn(t, "alice")
	s := f.show(t, f.command("exec", "--", "count-interrupts"))
	s.await("ready")
	s.enter("\x03")
	assert.Equal(t, 41, s.status())
}

func TestExecPassesSignalsOn(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.logIn(t, "alice")
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1} {
		cmd := f.command("exec", "--", "sh", "-c", "echo ready; exec sleep 20")
		cmd.SysProcAttr = withoutTerminal()
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		_, err = out.Read(make([]byte, 6))
		require.NoError(t, err)
		require.NoError(t, cmd.Process.Signal(signal))
		cmd.Wait()
		assert.Equal(t, 128+int(signal), cmd.ProcessState.ExitCode())
	}
}
