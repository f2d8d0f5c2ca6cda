package main

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/filescom/session/sessiontest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestMain runs the program itself when login asks for it.
func TestMain(m *testing.M) {
	if os.Getenv("LOGIN_TEST_RUN") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// login runs the program and returns its output and whether it exited by 0.
func login(t *testing.T, env []string, stdin string, args ...string) (stdout, stderr string, ok bool) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = append([]string{"LOGIN_TEST_RUN=1"}, env...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err == nil
}

func TestTheDemoNeedsNothing(t *testing.T) {
	t.Parallel()
	stdout, stderr, ok := login(t, nil, "")
	assert.True(t, ok)
	assert.Empty(t, stderr)
	for _, step := range []string{"fake Files.com", "second factor (totp)", "Logged in", "200 OK", "Logged out"} {
		assert.Contains(t, stdout, step)
	}
}

func TestPipedInputLogsIn(t *testing.T) {
	t.Parallel()
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: " pass word ", OTP: "123456", Session: map[string]any{"id": "short"}})
	defer srv.Close()
	for _, input := range []string{" pass word \n123456\n", " pass word \r\n123456\r\n", " pass word \n123456"} {
		stdout, stderr, ok := login(t, nil, input, "-url", srv.URL, "-user", "alice")
		assert.True(t, ok, stderr)
		assert.Contains(t, stdout, "Logged out.")
		assert.NotContains(t, stdout+stderr, "short", "the session ID")
		assert.NotContains(t, stdout+stderr, "pass word")
	}
	_, stderr, ok := login(t, []string{"FILES_URL=" + srv.URL, "FILES_USERNAME=alice", "FILES_PASSWORD= pass word "}, "123456\n")
	assert.True(t, ok, stderr)
	_, stderr, ok = login(t, []string{"FILES_SITE=elsewhere", "FILES_PASSWORD= pass word "}, "123456\n", "-url", srv.URL, "-user", "alice")
	assert.True(t, ok, "a flag goes before the environment: %s", stderr)
	assert.Empty(t, srv.Sessions())
}

func TestFailuresAreASentence(t *testing.T) {
	t.Parallel()
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: "secret", OTP: "123456"})
	defer srv.Close()
	gone := sessiontest.NewServer()
	gone.Close()
	for _, tc := range []struct {
		says, stdin string
		args        []string
	}{
		{"user name or the password is wrong", "guess\n", []string{"-url", srv.URL, "-user", "alice"}},
		{"the code is wrong", "secret\n000000\n", []string{"-url", srv.URL, "-user", "alice"}},
		{"standard input ended", "secret\n", []string{"-url", srv.URL, "-user", "alice"}},
		{"standard input ended", "", []string{"-url", srv.URL, "-user", "alice"}},
		{"password is empty", "\n", []string{"-url", srv.URL, "-user", "alice"}},
		{"cannot be reached", "secret\n", []string{"-url", gone.URL, "-user", "alice"}},
		{"there is no host no-such-site.invalid", "secret\n", []string{"-url", "https://no-such-site.invalid", "-user", "alice"}},
		{"is a host name; use WithBaseURL", "secret\n", []string{"-site", "a.b", "-user", "alice"}},
		{"where to?", "secret\n", []string{"-user", "alice"}},
		{"where to?", "secret\n", []string{"-user", "alice", "-site", "a", "-url", srv.URL}},
		{"what is \"extra\"?", "", []string{"extra"}},
		{"who logs in?", "secret\n", []string{"-site", "mysite"}},
	} {
		stdout, stderr, ok := login(t, nil, tc.stdin, tc.args...)
		assert.False(t, ok)
		assert.Contains(t, stderr, tc.says)
		assert.NotContains(t, stdout+stderr, "guess")
	}
	assert.Empty(t, srv.Sessions())
}
