package main

import (
	"bytes"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

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

// start starts the program for alice at srv.
func start(t *testing.T, srv *sessiontest.Server, output *bytes.Buffer, password string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), "LIST_TEST_RUN=1", "FILES_SITE="+srv.URL, "FILES_USERNAME=alice", "FILES_PASSWORD="+password)
	cmd.Stdout, cmd.Stderr = output, output
	require.NoError(t, cmd.Start())
	return cmd
}

func TestItLogsInListsTheRootFolderAndLogsOut(t *testing.T) {
	t.Parallel()
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: "secret"})
	defer srv.Close()

	var out bytes.Buffer
	require.NoError(t, start(t, srv, &out, "secret").Wait(), "%s", &out)
	assert.Equal(t, "[]", out.String())
	assert.Equal(t, sessiontest.Counts{Logins: 1, Logouts: 1}, srv.Counts())

	out.Reset()
	assert.Error(t, start(t, srv, &out, "canary-password").Wait())
	assert.Contains(t, out.String(), "invalid-username-or-password")
	assert.NotContains(t, out.String(), "canary")
}

func TestAnInterruptEndsTheCallAndLogsOut(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("a process cannot interrupt another one there")
	}
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: "secret"})
	defer srv.Close()
	srv.Inject(sessiontest.Fault{Method: "GET", Delay: time.Minute})
	var out bytes.Buffer
	list := start(t, srv, &out, "secret")
	require.Eventually(t, func() bool { return srv.Counts().Logins == 1 }, 10*time.Second, time.Millisecond)
	require.NoError(t, list.Process.Signal(os.Interrupt))
	assert.Error(t, list.Wait())
	assert.NotContains(t, out.String(), "[]")
	assert.Equal(t, sessiontest.Counts{Logins: 1, Logouts: 1}, srv.Counts())
}
