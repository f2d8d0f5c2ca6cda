package main

import (
	"os"
	"os/exec"
	"testing"

	"github.com/filescom/session/sessiontest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestMain runs the program itself when a test asks for it.
func TestMain(m *testing.M) {
	if os.Getenv("LIST_TEST_RUN") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestItLogsInListsTheRootFolderAndLogsOut(t *testing.T) {
	t.Parallel()
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: "secret"})
	defer srv.Close()
	run := func(password string) (string, error) {
		self, err := os.Executable()
		require.NoError(t, err)
		cmd := exec.CommandContext(t.Context(), self)
		cmd.Env = append(os.Environ(), "LIST_TEST_RUN=1", "FILES_URL="+srv.URL, "FILES_USERNAME=alice", "FILES_PASSWORD="+password)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}

	out, err := run("secret")
	require.NoError(t, err, "%s", out)
	assert.Equal(t, "[]", out)
	assert.Equal(t, sessiontest.Counts{Logins: 1, Logouts: 1}, srv.Counts())

	out, err = run("canary-password")
	assert.Error(t, err)
	assert.Contains(t, out, "invalid-username-or-password")
	assert.NotContains(t, out, "canary")
}
