package main

import (
	"bytes"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/filescom/session/sessiontest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// TestMain runs a worker in a process that a test starts.
func TestMain(m *testing.M) {
	if os.Getenv("FLEET_WORKER") != "" {
		main()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// startWorker starts a worker of a fleet for alice.
func startWorker(t *testing.T, output *bytes.Buffer, env ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "FLEET_WORKER=1", "FILES_USERNAME=alice", "FILES_PASSWORD=secret-canary",
		"FILES_SESSION_KEY=MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")
	cmd.Env = append(cmd.Env, env...)
	cmd.Stdout, cmd.Stderr = output, output
	require.NoError(t, cmd.Start())
	return cmd
}

func TestWorkersLogInOnceAndOnceMoreWhenTheSessionHasEnded(t *testing.T) {
	t.Parallel()
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: "secret-canary"})
	defer srv.Close()
	calls := make(chan int, 1000) // the status of each call
	srv.Watch(func(r sessiontest.Request) {
		if r.Method == "GET" {
			calls <- r.Status
		}
	})
	mini := miniredis.RunT(t)
	var workers [4]*exec.Cmd
	var outputs [len(workers)]bytes.Buffer
	for i := range workers {
		workers[i] = startWorker(t, &outputs[i], "FILES_URL="+srv.URL, "REDIS_URL=redis://"+mini.Addr())
	}
	succeed := func(n int) {
		timeout := time.After(30 * time.Second)
		for n > 0 {
			select {
			case status := <-calls:
				if status == 200 {
					n--
				}
			case <-timeout:
				require.FailNow(t, "the workers make no calls")
			}
		}
	}
	succeed(2 * len(workers))
	assert.Equal(t, 1, srv.Counts().Logins)
	srv.Expire(srv.Sessions()[0])
	succeed(2 * len(workers))
	assert.Equal(t, 2, srv.Counts().Logins)
	record, err := mini.Get("files:" + srv.URL + ":alice")
	require.NoError(t, err)
	assert.NotContains(t, record, srv.Sessions()[0], "the record is encrypted")

	for i, worker := range workers {
		require.NoError(t, worker.Process.Signal(os.Interrupt))
		require.NoError(t, worker.Wait())
		assert.Empty(t, outputs[i].String(), "no call has failed")
	}
	assert.Len(t, srv.Sessions(), 1, "nobody was logged out")
}

func TestAWorkerNamesTheVariableThatIsWrongAndShowsNoSecret(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ variable, text string }{
		{"FILES_URL=my_site", "my_site"},
		{"REDIS_URL=redis://:secret-canary@ho st", "REDIS_URL"},
		{"FILES_SESSION_KEY=c2VjcmV0LWNhbmFyeQ==", "key 1 has 13 bytes"},
		{"FILES_SESSION_KEY=secret-canary", "FILES_SESSION_KEY is not base64; make it by: openssl rand -base64 32"},
	} {
		var output bytes.Buffer
		err := startWorker(t, &output, "FILES_URL=http://127.0.0.1:1", "REDIS_URL=redis://127.0.0.1:1", tt.variable).Wait()
		require.Error(t, err)
		assert.Contains(t, output.String(), tt.text)
		assert.NotContains(t, output.String(), "canary")
	}
}
