package main

import (
	"bytes"
	"encoding/base64"
	"os"
	"os/exec"
	"strings"
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

// newKey returns a key of one repeated byte.
func newKey(b byte) string {
	return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{b}, 32))
}

// worker is a process of a fleet for alice.
type worker struct {
	*exec.Cmd
	output bytes.Buffer
}

func startWorker(t *testing.T, env ...string) *worker {
	t.Helper()
	w := &worker{Cmd: exec.Command(os.Args[0])}
	w.Env = append(os.Environ(), "FLEET_WORKER=1", "FILES_USERNAME=alice", "FILES_PASSWORD=secret-canary", "FILES_SESSION_KEY="+newKey(1))
	w.Env = append(w.Env, env...)
	w.Stdout, w.Stderr = &w.output, &w.output
	require.NoError(t, w.Start())
	return w
}

// stop ends the worker. No call of it may have failed: it has printed one line.
func (w *worker) stop(t *testing.T) {
	t.Helper()
	require.NoError(t, w.Process.Signal(os.Interrupt))
	require.NoError(t, w.Wait())
	assert.Regexp(t, `^.* working for alice at http://127\.0\.0\.1:[0-9]+\n$`, w.output.String())
}

// calls counts the calls of workers that succeed.
type calls chan struct{}

func watch(srv *sessiontest.Server) calls {
	c := make(calls, 10_000)
	srv.Watch(func(r sessiontest.Request) {
		if r.Method == "GET" && r.Status == 200 {
			c <- struct{}{}
		}
	})
	return c
}

// wait returns after n more calls.
func (c calls) wait(t *testing.T, n int) {
	t.Helper()
	timeout := time.After(30 * time.Second)
	for range n {
		select {
		case <-c:
		case <-timeout:
			require.FailNow(t, "the workers make no calls")
		}
	}
}

func TestWorkersLogInOnceAndOnceMoreWhenTheSessionHasEnded(t *testing.T) {
	t.Parallel()
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: "secret-canary"})
	defer srv.Close()
	succeed := watch(srv)
	mini := miniredis.RunT(t)
	var workers [4]*worker
	for i := range workers {
		workers[i] = startWorker(t, "FILES_SITE="+srv.URL, "REDIS_URL=redis://"+mini.Addr())
	}
	succeed.wait(t, 2*len(workers))
	assert.Equal(t, 1, srv.Counts().Logins)
	srv.ExpireUser("alice")
	succeed.wait(t, 2*len(workers))
	assert.Equal(t, 2, srv.Counts().Logins)
	record, err := mini.Get("files:" + srv.URL + ":alice")
	require.NoError(t, err)
	assert.NotContains(t, record, srv.Sessions()[0], "the record is encrypted")

	for _, w := range workers {
		w.stop(t)
	}
	assert.Len(t, srv.Sessions(), 1, "nobody was logged out")
}

// A key is replaced in three deployments, each of which restarts one worker after the
// other.
func TestAKeyIsReplacedWithoutALoginOrAFailedCall(t *testing.T) {
	t.Parallel()
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: "secret-canary"})
	defer srv.Close()
	succeed := watch(srv)
	mini := miniredis.RunT(t)
	start := func(keys ...string) *worker {
		return startWorker(t, "FILES_SITE="+srv.URL, "REDIS_URL=redis://"+mini.Addr(), "FILES_SESSION_KEY="+keys[0], "FILES_SESSION_KEY_NEXT="+strings.Join(keys[1:], ""))
	}
	var workers [2]*worker
	deploy := func(keys ...string) {
		for i, old := range workers {
			if old != nil {
				old.stop(t)
			}
			workers[i] = start(keys...)
			succeed.wait(t, 2*len(workers))
		}
	}
	deploy(newKey(1))
	deploy(newKey(1), newKey(2))
	deploy(newKey(2), newKey(1))
	assert.Equal(t, 1, srv.Counts().Logins)
	srv.ExpireUser("alice")
	succeed.wait(t, 2*len(workers))
	deploy(newKey(2))
	assert.Equal(t, 2, srv.Counts().Logins)
	for _, w := range workers {
		w.stop(t)
	}
}

func TestAWorkerNamesTheVariableThatIsWrongAndShowsNoSecret(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ variable, text string }{
		{"FILES_SITE=", "FILES_SITE is not set"},
		{"FILES_USERNAME=", "FILES_USERNAME is not set"},
		{"FILES_PASSWORD=", "FILES_PASSWORD is not set"},
		{"REDIS_URL=", "REDIS_URL is not set"},
		{"FILES_SESSION_KEY=", "FILES_SESSION_KEY is not set"},
		{"FILES_SITE=my_site", "my_site"},
		{"REDIS_URL=redis://:secret-canary@ho st", "REDIS_URL"},
		{"FILES_SESSION_KEY=c2VjcmV0LWNhbmFyeQ==", "FILES_SESSION_KEY is not 32 bytes in base64; make it by: openssl rand -base64 32"},
		{"FILES_SESSION_KEY=secret-canary", "FILES_SESSION_KEY is not 32 bytes in base64"},
		{"FILES_SESSION_KEY_NEXT=secret-canary", "FILES_SESSION_KEY_NEXT is not 32 bytes in base64"},
	} {
		w := startWorker(t, "FILES_SITE=http://127.0.0.1:1", "REDIS_URL=redis://127.0.0.1:1", tt.variable)
		require.Error(t, w.Wait())
		assert.Contains(t, w.output.String(), tt.text)
		assert.NotContains(t, w.output.String(), "canary")
	}
}
