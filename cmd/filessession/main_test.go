package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/filescom/session/sessiontest"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	password   = "canary-password"
	code       = "424242"
	totpSecret = "JBSWY3DPEHPK3PXP"
)

// TestMain makes commands in PATH, which are the test program itself.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"filessession": main,
		"filessession-impatient": func() {
			maxWait = 50 * time.Millisecond
			main()
		},
		"count-interrupts": countInterrupts,
	})
}

// countInterrupts exits by 40 and the number of interrupts of half a second.
func countInterrupts() {
	received := make(chan os.Signal, 8)
	signal.Notify(received, os.Interrupt)
	fmt.Println("ready")
	time.Sleep(500 * time.Millisecond)
	os.Exit(40 + len(received))
}

// users returns the users of every fake server.
func users() []sessiontest.User {
	return []sessiontest.User{
		{Username: "alice", Password: password},
		{Username: "space", Password: password + " "},
		{Username: "totp", Password: password, OTP: code, Methods: []string{"totp"}},
		{Username: "sms", Password: password, OTP: code, Methods: []string{"sms"}},
		{Username: "key", Password: password, OTP: code, Methods: []string{"yubi"}},
		{Username: "secret", Password: password, TOTP: totpSecret},
	}
}

// fixture is a fake server and a home folder.
type fixture struct {
	*sessiontest.Server
	home string
	bus  string // the address of the D-Bus of a keyring
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{sessiontest.NewServer(users()...), t.TempDir(), "unix:path=/nonexistent"}
	t.Cleanup(f.Close)
	require.NoError(t, os.WriteFile(f.path("password"), []byte(password+"\n"), 0o600))
	return f
}

func (f *fixture) path(name string) string { return filepath.Join(f.home, name) }

// sessionFile returns the path of the session that status names.
func (f *fixture) sessionFile(t *testing.T) string {
	t.Helper()
	stdout, _, _ := f.run("status", "--json")
	var r report
	require.NoError(t, json.Unmarshal([]byte(stdout), &r))
	return r.Path
}

// command returns a run of the program in the home of the fixture.
func (f *fixture) command(args ...string) *exec.Cmd {
	cmd := exec.Command("filessession", args...)
	cmd.Env = f.env()
	cmd.Dir = f.home
	return cmd
}

func (f *fixture) env(more ...string) []string {
	return append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + f.home, "XDG_CONFIG_HOME=" + f.path("config"), "TERM=xterm",
		"DBUS_SESSION_BUS_ADDRESS=" + f.bus, "PS1=$ ",
		"GORACE=atexit_sleep_ms=10"}, more...)
}

// run runs the program to its end without a terminal.
func (f *fixture) run(args ...string) (stdout, stderr string, status int) {
	cmd := f.command(args...)
	cmd.SysProcAttr = withoutTerminal()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); cmd.ProcessState == nil {
		return "", err.Error(), -1
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// start starts the program without a terminal. It returns its output, which may be read after
// the end.
func (f *fixture) start(t *testing.T, args ...string) (cmd *exec.Cmd, out *bytes.Buffer) {
	t.Helper()
	cmd, out = f.command(args...), &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = out, out, withoutTerminal()
	require.NoError(t, cmd.Start())
	return cmd, out
}

// logIn logs a user in by a file.
func (f *fixture) logIn(t *testing.T, user string, more ...string) {
	t.Helper()
	_, stderr, status := f.run(append([]string{"login", "--url", f.URL, "--user", user, "--store", "file", "--password-file", f.path("password")}, more...)...)
	require.Zero(t, status, stderr)
}

// requirePrograms skips a test if a program is not installed. In CI the test fails.
func requirePrograms(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil && os.Getenv("CI") == "true" {
			t.Fatalf("%s is not installed; CI must install it", name)
		} else if err != nil {
			t.Skipf("%s is not installed; install it to run this test", name)
		}
	}
}

// hold starts a server before that of the fixture. It holds the nth request of a method
// until release, and then sends it on.
func (f *fixture) hold(t *testing.T, method string, nth int32) (url string, held <-chan struct{}, release func()) {
	t.Helper()
	arrived, goOn := make(chan struct{}), make(chan struct{})
	var n atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == method && n.Add(1) == nth {
			close(arrived)
			<-goOn
		}
		f.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	release = sync.OnceFunc(func() { close(goOn) })
	t.Cleanup(release)
	return srv.URL, arrived, release
}

// await waits until a channel is closed.
func await(t *testing.T, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(15 * time.Second):
		t.Fatal("waited 15 s in vain")
	}
}

// faultOf makes the next request of a method slow.
func faultOf(method string, delay time.Duration) sessiontest.Fault {
	return sessiontest.Fault{Method: method, Delay: delay}
}

func TestTheCommandsInARow(t *testing.T) {
	t.Parallel()
	serverOf := func(ts *testscript.TestScript) *sessiontest.Server { return ts.Value("server").(*sessiontest.Server) }
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			srv := sessiontest.NewServer(users()...)
			env.Defer(srv.Close)
			env.Values["server"] = srv
			env.Setenv("URL", srv.URL)
			env.Setenv("XDG_CONFIG_HOME", env.Getenv("WORK")+"/config")
			env.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent")
			env.Setenv("GORACE", "atexit_sleep_ms=10")
			return os.WriteFile(filepath.Join(env.WorkDir, "bom"), []byte("\ufeff"+password+"\r\n"), 0o600)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			// status checks the exit status of a command.
			"status": func(ts *testscript.TestScript, neg bool, args []string) {
				err := ts.Exec(args[1], args[2:]...)
				got := 0
				if exit, ok := err.(*exec.ExitError); ok {
					got = exit.ExitCode()
				} else if err != nil {
					ts.Fatalf("%v", err)
				}
				if fmt.Sprint(got) != args[0] {
					ts.Fatalf("exit status %d, not %s", got, args[0])
				}
			},
			// expire ends the sessions of a user at the server.
			"expire": func(ts *testscript.TestScript, neg bool, args []string) { serverOf(ts).ExpireUser(args[0]) },
			// unreachable stops the server.
			"unreachable": func(ts *testscript.TestScript, neg bool, args []string) { serverOf(ts).Close() },
			// counts checks the logins, the refusals, the log-outs and the live sessions.
			"counts": func(ts *testscript.TestScript, neg bool, args []string) {
				c := serverOf(ts).Counts()
				if got := fmt.Sprint(c.Logins, c.Refused, c.Logouts, c.Live); got != strings.Join(args, " ") {
					ts.Fatalf("the server counts %s, not %s", got, strings.Join(args, " "))
				}
			},
		},
	})
}

func TestStatusInJSONHasNoSecret(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.logIn(t, "alice")
	stdout, _, status := f.run("status", "--json")
	assert.Zero(t, status)
	assert.Contains(t, stdout, `"works": true`)
	assert.NotContains(t, stdout, f.Sessions()[0])
}

func TestOnlyAnAnswerOfTheAPICountsAsWorking(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.logIn(t, "alice")
	for _, tc := range []struct {
		fault  sessiontest.Fault
		status int
		says   string
	}{
		{sessiontest.Fault{Method: "GET", Status: 502, Body: sessiontest.EdgeHTML, Times: 3}, 1, "works  unknown"},
		{sessiontest.Fault{Method: "GET", Status: 401, Body: "<html>"}, 1, "works  unknown"},
		{sessiontest.Fault{Method: "GET", Status: 403, Body: `{"type":"not-authorized/insufficient-permission-for-params","http-code":403}`}, 0, "works  yes"},
	} {
		f.Inject(tc.fault)
		stdout, stderr, status := f.run("status")
		assert.Equal(t, tc.status, status, stderr)
		assert.Contains(t, stdout, tc.says)
	}
}

func TestASessionOfAnotherSiteIsSentNowhere(t *testing.T) {
	t.Parallel()
	f, other := newFixture(t), newFixture(t)
	f.logIn(t, "alice")
	name := f.sessionFile(t)
	data, err := os.ReadFile(name)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(name, bytes.ReplaceAll(data, []byte(f.URL), []byte(other.URL)), 0o600))
	for _, args := range [][]string{{"status"}, {"header"}, {"logout"}, {"login", "--password-file", "password"}} {
		_, stderr, status := f.run(args...)
		assert.Equal(t, 1, status)
		assert.Equal(t, fmt.Sprintf("filessession: %s holds a session of another site, %q, for alice at %s; remove it there, then log in again\n",
			name, other.URL, f.URL), stderr)
	}
	assert.Empty(t, other.Requests())
	require.NoError(t, os.Remove(name))
	f.logIn(t, "alice")
}

func TestControlCharactersOfArgumentsAreNotPrinted(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const name = "al\x1b[31mice\u202e\n"
	f.AddUser(sessiontest.User{Username: name, Password: password})
	f.logIn(t, name)
	stdout, _, _ := f.run("__complete", "status", "--user", "")
	assert.NotContains(t, stdout, "\x1b")
	for _, args := range [][]string{{"status"}, {"status", "--user", name + "\x1b"}, {"login", name}, {name}, {"login", "--" + name},
		{"login", "--password-file", "nothing" + name}, {"login", "--store", name},
		{"exec", "--", name}, {"login", "--user", name, "--password-file", "password"}, {"logout"}} {
		stdout, stderr, _ := f.run(args...)
		assert.Contains(t, stdout+stderr, "\\x1b", args)
		assert.NotContains(t, stdout+stderr, "\x1b", args)
		assert.NotContains(t, stdout+stderr, "\u202e", args)
	}
	_, stderr, _ := f.run("login", "--site", name)
	assert.Contains(t, stderr, "the value is not a site", "it may be a URL with a password in it")
}

func TestOnlyFilesOfMode0600HoldASession(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.logIn(t, "alice")
	id := f.Sessions()[0]
	holders := 0
	require.NoError(t, filepath.WalkDir(f.path("config"), func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o600), info.Mode().Perm(), path)
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.NotContains(t, string(data), password, path)
		if strings.Contains(string(data), id) {
			holders++
		}
		return nil
	}))
	assert.Equal(t, 1, holders)
}

func TestACodeOfATOTPSecretIsSentOnce(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("waits for the next code, up to 30 s")
	}
	f := newFixture(t)
	require.NoError(t, os.WriteFile(f.path("totp"), []byte("jbsw y3dp-ehpk 3pxp\n"), 0o600))
	for range 2 { // the second run starts with the code of the first one, and waits for the next
		f.logIn(t, "secret", "--totp-secret-file", f.path("totp"))
	}
	counts := f.Counts()
	assert.Equal(t, 2, counts.Logins)
	assert.Equal(t, 1, counts.Live)
	f.AddUser(sessiontest.User{Username: "secret", Password: password, TOTP: totpSecret}) // forgets the code that was used
	f.ExpireUser("secret")
	stdout, stderr, status := f.run("header")
	assert.Zero(t, status, stderr)
	assert.Contains(t, stdout, f.Sessions()[0], "header logs in again by both files")
}
