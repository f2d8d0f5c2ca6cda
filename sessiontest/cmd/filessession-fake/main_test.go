package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/filescom/session/sessiontest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestMain runs the program itself when the test asks for it.
func TestMain(m *testing.M) {
	if os.Getenv("FAKE_TEST_RUN") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// running is a program that runs, in this process or another one.
type running struct {
	api, control string // origins
	lines        *bufio.Scanner
	printed      []string
}

// next returns the next line that the program prints.
func (p *running) next(t *testing.T) string {
	t.Helper()
	require.True(t, p.lines.Scan(), "%q", p.printed)
	p.printed = append(p.printed, p.lines.Text())
	return p.lines.Text()
}

// await reads until the program serves.
func (p *running) await(t *testing.T) {
	t.Helper()
	for p.api == "" {
		line := p.next(t)
		if _, origin, found := strings.Cut(line, "control API on "); found {
			p.control = origin
		}
		if _, rest, found := strings.Cut(line, "serving "); found {
			p.api = strings.TrimSuffix(rest, "/api/rest/v1/")
		}
	}
}

// startFake runs the program in this process until the test ends.
func startFake(t *testing.T, args ...string) *running {
	t.Helper()
	var stderr bytes.Buffer
	c, err := parseFlags(append([]string{"-addr", "127.0.0.1:0", "-control", "127.0.0.1:0"}, args...), &stderr)
	require.NoError(t, err, stderr.String())
	ctx, cancel := context.WithCancel(context.Background())
	out, in := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, c, in)
		in.CloseWithError(io.EOF)
		ended <- err
	}()
	p := &running{lines: bufio.NewScanner(out)}
	p.await(t)
	rest := make(chan bool)
	go func() { // the program does not wait for its reader
		for p.lines.Scan() {
			p.printed = append(p.printed, p.lines.Text())
		}
		close(rest)
	}()
	t.Cleanup(func() {
		cancel()
		assert.NoError(t, <-ended)
		<-rest
	})
	return p
}

// startProcess runs the program as a process until it serves. Nobody reads what it prints
// afterwards. The test stops it after a minute.
func startProcess(t *testing.T, args ...string) (p *running, cmd *exec.Cmd, stdout io.Closer) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	cmd = exec.CommandContext(ctx, self, append([]string{"-addr", "127.0.0.1:0", "-control", "off"}, args...)...)
	cmd.Env = []string{"FAKE_TEST_RUN=1"}
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	_, err = cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		cancel()
		cmd.Wait()
	})
	p = &running{lines: bufio.NewScanner(out)}
	p.lines.Buffer(nil, 1<<20)
	p.await(t)
	return p, cmd, out
}

// request makes a request that is refused, and logged in a line of about 60 KB.
func (p *running) request(t *testing.T) {
	t.Helper()
	client := http.Client{Timeout: 20 * time.Second}
	resp, err := client.Get(p.api + "/api/rest/v1/" + strings.Repeat("x", 60_000))
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, 401, resp.StatusCode)
}

// terminate ends a process by SIGTERM. On Windows no program can send a signal.
func terminate(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("no program can send a signal here")
	}
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
}

func TestAReaderThatStopsReadingStopsNeitherRequestsNorTheEnd(t *testing.T) {
	t.Parallel()
	p, cmd, _ := startProcess(t)
	for range 40 { // more than a pipe and the program hold
		p.request(t)
	}
	terminate(t, cmd)
	assert.NoError(t, cmd.Wait())
}

func TestAReaderThatClosesItsEndDoesNotEndTheProgram(t *testing.T) {
	t.Parallel()
	p, cmd, stdout := startProcess(t)
	require.NoError(t, stdout.Close())
	for range 3 {
		p.request(t)
	}
	terminate(t, cmd)
	assert.NoError(t, cmd.Wait())
}

func TestAtItsEndTheProgramPrintsTheLinesThatWait(t *testing.T) {
	t.Parallel()
	p, cmd, _ := startProcess(t)
	for range 10 { // more than a pipe holds
		p.request(t)
	}
	terminate(t, cmd)
	for range 10 {
		assert.Contains(t, p.next(t), " 401 (no X-FilesAPI-Auth header)")
	}
	assert.Contains(t, p.next(t), "{Logins:0 ")
	assert.False(t, p.lines.Scan())
	assert.NoError(t, cmd.Wait())
}

func TestConnectionsEndThoughNobodyReadsStandardError(t *testing.T) {
	t.Parallel()
	p, cmd, _ := startProcess(t, "-tls", filepath.Join(t.TempDir(), "ca.pem"))
	for range 1000 { // each logs an error of about 115 bytes
		conn, err := net.Dial("tcp", strings.TrimPrefix(p.api, "https://"))
		require.NoError(t, err)
		require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
		_, err = io.WriteString(conn, "no TLS\r\n")
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, conn)
		conn.Close()
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	}
	terminate(t, cmd)
	assert.NoError(t, cmd.Wait())
}

func TestTheFlagCORSIsForTheAPIAndNotForTheControlAPI(t *testing.T) {
	t.Parallel()
	preflight := func(url string) *http.Response {
		req, err := http.NewRequestWithContext(t.Context(), "OPTIONS", url, nil)
		require.NoError(t, err)
		req.Header.Set("Origin", "http://localhost:5173")
		req.Header.Set("Access-Control-Request-Method", "POST")
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		resp.Body.Close()
		return resp
	}
	on, off := startFake(t, "-cors"), startFake(t)
	assert.Equal(t, "*", preflight(on.api+"/api/rest/v1/sessions").Header.Get("Access-Control-Allow-Origin"))
	for _, url := range []string{on.control + "/counts", off.control + "/counts", off.api + "/api/rest/v1/sessions"} {
		resp := preflight(url)
		assert.GreaterOrEqual(t, resp.StatusCode, 400)
		for name := range resp.Header {
			assert.NotContains(t, name, "Access-Control")
		}
	}
}

func TestLocalhostIsServedOnBothFamiliesAndPrintedOnce(t *testing.T) {
	t.Parallel()
	trial, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skip("this machine has no IPv6: ", err)
	}
	trial.Close()
	p := startFake(t, "-addr", "localhost:0")
	u, err := url.Parse(p.api)
	require.NoError(t, err)
	for _, host := range []string{u.Host, "127.0.0.1:" + u.Port(), "[::1]:" + u.Port()} {
		resp, err := http.PostForm("http://"+host+"/api/rest/v1/sessions", url.Values{"username": {"alice"}, "password": {"secret"}})
		require.NoError(t, err)
		resp.Body.Close()
		assert.Equal(t, 201, resp.StatusCode, host)
	}
}

// refused runs parseFlags on invalid flags.
func refused(t *testing.T, args ...string) (text string) {
	t.Helper()
	var stderr bytes.Buffer
	_, err := parseFlags(args, &stderr)
	require.Error(t, err, "%q", args)
	first, _, _ := strings.Cut(stderr.String(), "\n")
	return strings.TrimPrefix(first, "filessession-fake: ")
}

func TestItServesAndEndsOnASignal(t *testing.T) {
	t.Parallel()
	p, cmd, _ := startProcess(t, "-user", "alice:secret:sms:7", "-user", "bob:secret:totp")
	assert.Regexp(t, "user alice, second factor sms$", p.printed[0])
	assert.Regexp(t, "user bob, TOTP secret [A-Z2-7]{16}$", p.printed[1])
	resp, err := http.PostForm(p.api+"/api/rest/v1/sessions", url.Values{"username": {"alice"}, "password": {"secret"}, "otp": {"7"}})
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, 201, resp.StatusCode)
	assert.Contains(t, p.next(t), "POST   /api/rest/v1/sessions 201 alice")
	if runtime.GOOS == "windows" { // no program can send it a signal there
		require.NoError(t, cmd.Process.Kill())
		cmd.Wait()
		return
	}
	require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
	assert.Contains(t, p.next(t), "{Logins:1 Refused:0 Logouts:0 Live:1 SMS:0 Emails:0}")
	assert.NoError(t, cmd.Wait())
	assert.NotContains(t, strings.Join(p.printed, "\n"), "password")
}

func TestTheExitStatusIs0AfterHelp1AfterAFailureAnd2AfterAWrongFlag(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	require.NoError(t, err)
	for flag, status := range map[string]int{"-help": 0, "-nonsense": 2, "-addr=nonsense": 1} {
		cmd := exec.CommandContext(t.Context(), self, flag)
		cmd.Env = []string{"FAKE_TEST_RUN=1"}
		out, _ := cmd.CombinedOutput()
		assert.Equal(t, status, cmd.ProcessState.ExitCode(), "%s", out)
		assert.NotEmpty(t, out)
	}
}

// runSession runs a session of curl against the program, and compares its output
// with the comments in it, if there are any.
func runSession(t *testing.T, script string) {
	t.Helper()
	for _, name := range []string{"sh", "curl"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skip(name, " is not installed")
		}
	}
	p := startFake(t, "-user", "alice:secret")
	var want strings.Builder
	for _, line := range strings.Split(script, "\n") {
		if text, found := strings.CutPrefix(line, "# "); found {
			want.WriteString(text + "\n")
		}
	}
	script = strings.NewReplacer("http://127.0.0.1:4041", p.api, "http://127.0.0.1:4042", p.control).Replace(script)
	out, err := exec.CommandContext(t.Context(), "sh", "-ec", script).CombinedOutput()
	require.NoError(t, err, "%s", out)
	if want.Len() > 0 {
		assert.Equal(t, want.String(), string(out))
	}
}

func TestTheCurlSessionOfTheREADMEWorksAsPrinted(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../../README.md")
	require.NoError(t, err)
	script := regexp.MustCompile("(?s)```sh\n(url=.*?)```").FindSubmatch(readme)
	require.NotNil(t, script)
	runSession(t, string(script[1]))
}

func TestTheCurlSessionOfTheDocumentationWorksAsPrinted(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("main.go")
	require.NoError(t, err)
	script := regexp.MustCompile(`(?s)//\turl=.*?\npackage`).FindString(string(source))
	require.NotEmpty(t, script)
	runSession(t, strings.TrimSuffix(strings.ReplaceAll(script, "//\t", ""), "package"))
}

func TestTLSWritesTheCertificateThatClientsTrust(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(file, []byte("of an earlier run"), 0o600))
	p := startFake(t, "-tls", file, "-tls-name", "files", "-tls-name", "10.1.2.3")
	pem, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.NotContains(t, string(pem), "PRIVATE KEY")
	info, err := os.Stat(file)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o644), info.Mode().Perm())
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(pem))
	_, port, _ := strings.Cut(strings.TrimPrefix(p.api, "https://"), ":")
	for _, name := range []string{"127.0.0.1", "localhost", "files", "10.1.2.3"} {
		conn, err := tls.Dial("tcp", "127.0.0.1:"+port, &tls.Config{RootCAs: pool, ServerName: name})
		require.NoError(t, err, name)
		assert.False(t, conn.ConnectionState().PeerCertificates[0].IsCA)
		conn.Close()
	}
	_, err = tls.Dial("tcp", "127.0.0.1:"+port, &tls.Config{RootCAs: pool, ServerName: "other"})
	assert.Error(t, err)
	left, err := filepath.Glob(file + "*")
	require.NoError(t, err)
	assert.Equal(t, []string{file}, left)
}

func TestAServerOnAllAddressesPrintsAddressesThatWork(t *testing.T) {
	t.Parallel()
	p := startFake(t, "-addr", "0.0.0.0:0")
	srv, err := sessiontest.Listen("0.0.0.0:0", sessiontest.User{Username: "alice", Password: "secret"})
	require.NoError(t, err)
	defer srv.Close()
	assert.Contains(t, p.api, "http://127.0.0.1:")
	all := origins(srv, "0.0.0.0:4041")
	assert.Len(t, all, 1+len(machineIPs()))
	for _, origin := range append(all, p.api) {
		resp, err := http.PostForm(origin+"/api/rest/v1/sessions", url.Values{"username": {"alice"}, "password": {"secret"}})
		require.NoError(t, err)
		resp.Body.Close()
		assert.Equal(t, 201, resp.StatusCode, origin)
	}
}

func TestEverySettingHasAFlag(t *testing.T) {
	t.Parallel()
	var stderr bytes.Buffer
	c, err := parseFlags([]string{"-lifetime", "1h", "-lock-out", "3", "-lock-out-period", "2h", "-lock-out-window", "3h",
		"-rate-limit", "4", "-rate-limit-window", "5s", "-bind-user-agent", "-region-host", "eu.files.com", "-region-form", "401-json",
		"-recording", "2021", "-seed", "6"}, &stderr)
	require.NoError(t, err)
	srv := sessiontest.NewServer(c.users...)
	defer srv.Close()
	c.apply(srv)
	post := func() map[string]any {
		resp, err := http.PostForm(srv.URL+"/api/rest/v1/sessions", url.Values{"username": {"alice"}, "password": {"secret"}})
		require.NoError(t, err)
		defer resp.Body.Close()
		var body map[string]any
		require.NoError(t, json.NewDecoder(resp.Body).Decode(&body))
		return body
	}
	moved := post()
	assert.Equal(t, map[string]any{"host": "eu.files.com"}, moved["data"])
	assert.Equal(t, 401.0, moved["http-code"])
	assert.Contains(t, moved, "errors", "of 2021")
	srv.MoveTo("", "")
	for range 4 {
		assert.NotContains(t, post(), "error")
	}
	assert.Equal(t, "rate-limited/too-many-login-attempts", post()["type"])
	srv.Advance(time.Hour)
	assert.Empty(t, srv.Sessions())
}

func TestLockOutsAndUserAgentsHaveFlags(t *testing.T) {
	t.Parallel()
	var stderr bytes.Buffer
	c, err := parseFlags([]string{"-lock-out", "2", "-lock-out-period", "2h", "-lock-out-window", "1m", "-bind-user-agent"}, &stderr)
	require.NoError(t, err)
	srv := sessiontest.NewServer(c.users...)
	defer srv.Close()
	c.apply(srv)
	try := func(password string) int {
		resp, err := http.PostForm(srv.URL+"/api/rest/v1/sessions", url.Values{"username": {"alice"}, "password": {password}})
		require.NoError(t, err)
		resp.Body.Close()
		return resp.StatusCode
	}
	try("guess")
	srv.Advance(time.Minute)
	try("guess")
	assert.Equal(t, 201, try("secret"), "the first try has left the window")
	req, err := http.NewRequestWithContext(t.Context(), "GET", srv.URL+"/api/rest/v1/site", nil)
	require.NoError(t, err)
	req.Header.Set("X-FilesAPI-Auth", srv.Sessions()[0])
	req.Header.Set("User-Agent", "another")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, 401, resp.StatusCode)
	try("guess")
	try("guess")
	srv.Advance(2*time.Hour - time.Minute)
	assert.Equal(t, 401, try("secret"))
	srv.Advance(time.Minute)
	assert.Equal(t, 201, try("secret"))
}

func TestSessionsSlideUnlessAFlagSaysOtherwise(t *testing.T) {
	t.Parallel()
	for live, args := range [][]string{{"-sliding=false"}, nil} {
		var stderr bytes.Buffer
		c, err := parseFlags(args, &stderr)
		require.NoError(t, err)
		srv := sessiontest.NewServer(c.users...)
		defer srv.Close()
		c.apply(srv)
		resp, err := http.PostForm(srv.URL+"/api/rest/v1/sessions", url.Values{"username": {"alice"}, "password": {"secret"}})
		require.NoError(t, err)
		resp.Body.Close()
		srv.Advance(5 * time.Hour)
		req, err := http.NewRequestWithContext(t.Context(), "GET", srv.URL+"/api/rest/v1/site", nil)
		require.NoError(t, err)
		req.Header.Set("X-FilesAPI-Auth", srv.Sessions()[0])
		resp, err = http.DefaultClient.Do(req)
		require.NoError(t, err)
		resp.Body.Close()
		assert.Equal(t, 200, resp.StatusCode)
		srv.Advance(time.Hour)
		assert.Len(t, srv.Sessions(), live)
	}
}

func TestInvalidFlagsAreRefused(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ flag, value, text string }{
		{"-lifetime", "0", "-lifetime is 0s; it must be above 0"},
		{"-lock-out", "-1", "-lock-out is -1; it must not be negative"},
		{"-lock-out-window", "-1s", "-lock-out-window is -1s; it must be above 0"},
		{"-rate-limit", "-2", "-rate-limit is -2; it must not be negative"},
		{"-region-form", "a", `-region-form is "a"; use 403-json, 401-json or 403-text`},
		{"-recording", "2022", `-recording is "2022"; use 2025 or 2021`},
		{"-tls-name", "files", `-tls-name "files" requires -tls`},
		{"-user", "alice", `-user number 1: write name:password, name:password:method or name:password:method:code; for a password with a colon, write JSON such as {"username":"alice","password":"a:b"}`},
		{"-user", "alice:secret:topt", `-user number 1: unknown method "topt"; use totp, sms, email, static, yubi, u2f, webauthn`},
		{"-user", `{"username":"alice","password":"secret","totp":"1"}`, "-user number 1: User.TOTP is not base32: it must consist of A-Z and 2-7, and may have spaces and hyphens between groups"},
		{"-user", `{"username":"alice","pasword":"secret"}`, `-user number 1: unknown field "pasword"`},
	} {
		text := refused(t, tc.flag, tc.value)
		assert.Equal(t, tc.text, text)
		assert.NotContains(t, text, "secret")
	}
	assert.Equal(t, `unexpected argument "serve"; every setting is a flag, see -help`, refused(t, "serve"))
}

func TestAControlAddressThatIsTakenIsNamed(t *testing.T) {
	t.Parallel()
	p := startFake(t)
	var stderr bytes.Buffer
	c, err := parseFlags([]string{"-addr", "127.0.0.1:0", "-control", strings.TrimPrefix(p.control, "http://")}, &stderr)
	require.NoError(t, err)
	assert.ErrorContains(t, run(t.Context(), c, io.Discard), "name another address with -control, or turn the control API off with -control off")
}
