package main

import (
	"bufio"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

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

func TestItServesAndEndsOnASignal(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), self, "-addr", "127.0.0.1:0", "-user", "alice:secret:sms:7", "-user", "bob:secret:totp")
	cmd.Env = []string{"FAKE_TEST_RUN=1"}
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(out)
	next := func() string { lines.Scan(); return lines.Text() }

	_, serving, found := strings.Cut(next(), "serving ")
	require.True(t, found)
	endpoint, _, _ := strings.Cut(serving, ",")
	assert.Contains(t, next(), "user alice, password secret, second factor sms: 7")
	assert.Contains(t, next(), "user bob, password secret, codes of the TOTP secret ")
	resp, err := http.PostForm(endpoint, url.Values{"username": {"alice"}, "password": {"secret"}, "otp": {"7"}})
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, 201, resp.StatusCode)
	assert.Contains(t, next(), "POST   /api/rest/v1/sessions 201 alice")
	require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
	assert.Contains(t, next(), "{Logins:1 Refused:0 Logouts:0 Live:1 SMS:0 Emails:0}")
	assert.NoError(t, cmd.Wait())
}

// The README's curl session works as printed, but for the port.
func TestTheCurlSessionOfTheREADMEWorks(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("no curl here")
	}
	readme, err := os.ReadFile("../../../README.md")
	require.NoError(t, err)
	script := regexp.MustCompile("(?s)```sh\n(url=.*?)```").FindSubmatch(readme)
	require.NotNil(t, script)
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: "secret"})
	defer srv.Close()
	out, err := exec.CommandContext(t.Context(), "sh", "-c", strings.ReplaceAll(string(script[1]), "http://127.0.0.1:4041", srv.URL)).CombinedOutput()
	require.NoError(t, err)
	assert.Equal(t, "[]204\n", string(out))
	assert.Equal(t, sessiontest.Counts{Logins: 1, Logouts: 1}, srv.Counts(), "%v", srv)
}

func TestUsersAreRead(t *testing.T) {
	for given, want := range map[string]sessiontest.User{
		"a:b":           {Username: "a", Password: "b"},
		"a:b:yubi":      {Username: "a", Password: "b", OTP: "123456", Methods: []string{"yubi"}},
		"a:b:totp:42:1": {Username: "a", Password: "b", OTP: "42:1", Methods: []string{"totp"}},
	} {
		got, err := parseUser(given)
		assert.NoError(t, err)
		assert.Equal(t, want, got)
	}
	got, err := parseUser("a:b:totp")
	assert.NoError(t, err)
	assert.Len(t, got.TOTP, 16)
	for _, bad := range []string{"", "a", "a:", ":b", "a:b:", "a:b:totp:"} {
		_, err := parseUser(bad)
		assert.Error(t, err, bad)
	}
}
