package main

import (
	"bytes"
	"os"
	"os/exec"
	"testing"

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
func login(t *testing.T, env ...string) (stdout, stderr string, ok bool) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append([]string{"LOGIN_TEST_RUN=1"}, env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err == nil
}

func TestTheDemoNeedsNothing(t *testing.T) {
	t.Parallel()
	stdout, stderr, ok := login(t)
	assert.True(t, ok)
	assert.Empty(t, stderr)
	for _, step := range []string{"fake Files.com", "second factor (totp)", "Logged in", "200 OK", "Logged out"} {
		assert.Contains(t, stdout, step)
	}
}

func TestAFailureIsPrintedWithoutThePassword(t *testing.T) {
	t.Parallel()
	for site, says := range map[string]string{"a_b": "is not a site", "mysite": "username is empty"} {
		stdout, stderr, ok := login(t, "FILES_SITE="+site, "FILES_PASSWORD=canary-password")
		assert.False(t, ok)
		assert.Contains(t, stderr, says)
		assert.NotContains(t, stdout+stderr, "canary")
	}
}
