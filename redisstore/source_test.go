//go:build unix

package redisstore_test

import (
	"bytes"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/filescom/session"
	"github.com/filescom/session/autologin"
	"github.com/filescom/session/redisstore"
	"github.com/filescom/session/sessiontest"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// newSource returns a Source whose Store is encrypted.
func newSource(t testing.TB, c *session.Client, client redis.UniversalClient) *autologin.Source {
	t.Helper()
	store, err := autologin.Encrypt(redisstore.New(client, "files:alice"), "alice", bytes.Repeat([]byte{1}, 32))
	require.NoError(t, err)
	src := autologin.New(c, session.CreateParams{Username: "alice", Password: "secret"})
	src.Store = store
	return src
}

// newAPI returns a fake API with a user, and a client of it.
func newAPI(t testing.TB) (*sessiontest.Server, *session.Client) {
	t.Helper()
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: "secret"})
	t.Cleanup(srv.Close)
	c, err := session.NewClient(session.WithSite(srv.URL))
	require.NoError(t, err)
	return srv, c
}

func TestAThousandSourcesMakeOneLogin(t *testing.T) {
	t.Parallel()
	srv, c := newAPI(t)
	srv.Inject(sessiontest.Fault{Method: "POST", Times: -1, Delay: 200 * time.Millisecond})
	client := newClient(t, &redis.Options{Addr: startServer(t).addr})
	start := time.Now()
	var group sync.WaitGroup
	for range 1000 {
		src := newSource(t, c, client)
		group.Add(1)
		go func() {
			defer group.Done()
			_, err := src.Session(t.Context())
			assert.NoError(t, err)
		}()
	}
	group.Wait()
	t.Logf("served within %s", time.Since(start))
	assert.Equal(t, 1, srv.Counts().Logins)
}

// A Store that is gone costs nothing while the session is good, and makes no login
// when it has ended.
func TestASessionInUseStaysInUseWhileRedisIsGone(t *testing.T) {
	t.Parallel()
	srv, c := newAPI(t)
	server := startServer(t, "--appendonly", "yes", "--appendfsync", "always")
	src := newSource(t, c, server.client())
	s, err := src.Session(t.Context())
	require.NoError(t, err)
	server.stop()
	for range 100 {
		got, err := src.Session(t.Context())
		require.NoError(t, err)
		require.Equal(t, s.ID, got.ID)
	}
	srv.Expire(s.ID)
	src.Invalidate(s)
	_, err = src.Session(t.Context())
	require.Error(t, err)
	assert.Equal(t, 1, srv.Counts().Logins)

	require.True(t, server.start())
	require.Eventually(t, func() bool {
		_, err = src.Session(t.Context())
		return err == nil
	}, 20*time.Second, 20*time.Millisecond, "%v", err)
	assert.Equal(t, 2, srv.Counts().Logins)
}

// BenchmarkColdLoad measures the first session of a Source, the record encrypted, and
// in turn with it a bare GET of the same client. The figures are medians.
func BenchmarkColdLoad(b *testing.B) {
	srv, c := newAPI(b)
	client := newClient(b, &redis.Options{Addr: startServer(b).addr})
	s, err := newSource(b, c, client).Session(b.Context())
	require.NoError(b, err)
	store := redisstore.New(client, "files:alice")
	steps := []struct {
		unit string
		run  func() error
	}{
		{"µs/GET", func() error { return client.Get(b.Context(), "files:alice").Err() }},
		{"µs/Store.Load", func() error {
			_, err := store.Load(b.Context())
			return err
		}},
		{"µs/Source.Session", func() error {
			got, err := newSource(b, c, client).Session(b.Context())
			if err == nil && got.ID != s.ID {
				err = errors.New("another session")
			}
			return err
		}},
	}
	times := make([][]time.Duration, len(steps))
	for b.Loop() {
		for i, step := range steps {
			start := time.Now()
			if err := step.run(); err != nil {
				b.Fatal(err)
			}
			times[i] = append(times[i], time.Since(start))
		}
	}
	for i, step := range steps {
		slices.Sort(times[i])
		b.ReportMetric(float64(times[i][len(times[i])/2].Nanoseconds())/1000, step.unit)
	}
	require.Equal(b, 1, srv.Counts().Logins)
}
