package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/filescom/session/autologin"
	"github.com/filescom/session/redisstore"
	"github.com/filescom/session/storetest"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// TestMain runs the part of another process in a process that a test starts.
func TestMain(m *testing.M) {
	redis.SetLogger(quiet{})
	if addr := os.Getenv("REDISSTORE_HOLD"); addr != "" {
		holdForEver(addr)
	}
	goleak.VerifyTestMain(m)
}

// quiet is a logger for a client that is expected to fail.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

// newClient returns a client that is closed with the test.
func newClient(t testing.TB, options *redis.Options) *redis.Client {
	client := redis.NewClient(options)
	t.Cleanup(func() { client.Close() })
	return client
}

// newMini returns a Redis in memory and a client of it.
func newMini(t testing.TB) (*miniredis.Miniredis, *redis.Client) {
	mini := miniredis.RunT(t)
	return mini, newClient(t, &redis.Options{Addr: mini.Addr()})
}

// lock locks the record of store until the test ends.
func lock(t *testing.T, store autologin.Store) autologin.Lock {
	t.Helper()
	l, err := store.TryLock(t.Context())
	require.NoError(t, err)
	t.Cleanup(l.Unlock)
	return l
}

func load(t *testing.T, store autologin.Store) string {
	t.Helper()
	record, err := store.Load(t.Context())
	require.NoError(t, err)
	return string(record)
}

// breakable is a Store that loses its lock, as when its lease ends.
type breakable struct {
	*redisstore.Store
	t      *testing.T
	client redis.UniversalClient
}

func (s breakable) BreakLock() {
	key, err := redisstore.LockKey(s.Store)
	assert.NoError(s.t, err)
	assert.NoError(s.t, s.client.Del(s.t.Context(), key).Err())
}

// testContract runs the tests of storetest, with one client for each Store.
func testContract(t *testing.T, newClient func(*testing.T) redis.UniversalClient) {
	t.Helper()
	storetest.Run(t, func(t *testing.T) autologin.Store {
		client := newClient(t)
		return breakable{redisstore.New(client, "files:session"), t, client}
	})
}

func TestTheStoreKeepsItsContract(t *testing.T) {
	t.Parallel()
	mini := miniredis.RunT(t)
	testContract(t, func(t *testing.T) redis.UniversalClient { return newClient(t, &redis.Options{Addr: mini.Addr()}) })
}

func TestTheLockHasTheHashSlotOfTheRecord(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]string{
		"session":          "{session}:lock",
		"fleet:session":    "{fleet:session}:lock",
		"{fleet}session":   "{fleet}session:lock",
		"a{fleet}b{other}": "a{fleet}b{other}:lock",
		"open{brace":       "{open{brace}:lock",
		"{":                "{{}:lock",
	} {
		got, err := redisstore.LockKey(redisstore.New(newClient(t, &redis.Options{}), key))
		require.NoError(t, err, key)
		assert.Equal(t, want, got)
	}
}

func TestAKeyWithoutACommonSlotIsRefusedByTheFirstCall(t *testing.T) {
	t.Parallel()
	_, client := newMini(t)
	for _, tt := range []struct {
		store *redisstore.Store
		text  string
	}{
		{redisstore.New(client, "a}b"), `no lock can have the hash slot of the key "a}b"; put a part of the key in braces, as in {session}:alice, or use no braces`},
		{redisstore.New(client, "{}a"), `no lock can have the hash slot of the key "{}a"`},
		{redisstore.New(client, ""), "the key of the store is empty; give redisstore.New a name for the record"},
		{&redisstore.Store{}, "the store has no client"},
	} {
		assertUnusable(t, tt.store, tt.text)
	}
}

// assertUnusable checks that the methods of a Store return an Error with a text, and send
// nothing.
func assertUnusable(t *testing.T, store *redisstore.Store, text string) {
	t.Helper()
	_, loadErr := store.Load(t.Context())
	_, lockErr := store.TryLock(t.Context())
	for _, err := range []error{loadErr, lockErr} {
		require.ErrorContains(t, err, text)
		var unusable *redisstore.Error
		require.ErrorAs(t, err, &unusable)
		assert.Empty(t, unusable.Op)
		assert.NotErrorIs(t, err, redis.Nil)
	}
}

func TestANilClientIsRefusedByTheFirstCall(t *testing.T) {
	t.Parallel()
	for name, store := range map[string]*redisstore.Store{
		"nil":            redisstore.New(nil, "session"),
		"*Client":        redisstore.New((*redis.Client)(nil), "session"),
		"*ClusterClient": redisstore.New((*redis.ClusterClient)(nil), "session"),
		"*Ring":          redisstore.New((*redis.Ring)(nil), "session"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assertUnusable(t, store, "the store has no client; make it by redisstore.New, with a client such as redis.NewClient returns")
		})
	}
}

func TestRedisForgetsARecordAfterItsTTL(t *testing.T) {
	t.Parallel()
	mini, client := newMini(t)
	store := redisstore.New(client, "session")
	l := lock(t, store)
	for ttl, want := range map[time.Duration]time.Duration{
		time.Hour:               time.Hour,
		0:                       0, // kept for ever
		1500 * time.Microsecond: time.Millisecond,
		time.Nanosecond:         time.Millisecond,
		-time.Second:            time.Millisecond,
	} {
		require.NoError(t, l.Save(t.Context(), []byte("record"), ttl))
		assert.Equal(t, want, mini.TTL("session"), "ttl %s", ttl)
	}
	require.NoError(t, l.Save(t.Context(), []byte("record"), time.Hour))
	mini.FastForward(time.Hour)
	assert.Empty(t, load(t, store))
}

// tap is a hook that sends each script that has run.
type tap chan redis.Cmder

func (tap) DialHook(next redis.DialHook) redis.DialHook                                  { return next }
func (tap) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook { return next }
func (c tap) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if strings.HasPrefix(cmd.Name(), "eval") && err == nil {
			c <- cmd
		}
		return err
	}
}

func TestTheLeaseLasts15SecondsAndIsExtendedEvery3(t *testing.T) {
	t.Parallel()
	mini, client := newMini(t)
	scripts := make(tap, 10)
	client.AddHook(scripts)
	lock(t, redisstore.New(client, "session"))
	<-scripts
	start := time.Now()
	for range 2 {
		assert.Equal(t, 15*time.Second, mini.TTL("{session}:lock"))
		mini.FastForward(14 * time.Second)
		assert.Equal(t, time.Second, mini.TTL("{session}:lock"))
		<-scripts
	}
	assert.InDelta(t, 6, time.Since(start).Seconds(), 1)
	assert.Equal(t, 15*time.Second, mini.TTL("{session}:lock"))
}

func TestALockWhoseLeaseEndedIsLostAndNotExtended(t *testing.T) {
	t.Parallel()
	mini, client := newMini(t)
	scripts := make(tap, 10)
	client.AddHook(scripts)
	l := lock(t, redisstore.New(client, "session"))
	<-scripts
	mini.FastForward(15 * time.Second)
	other := newClient(t, &redis.Options{Addr: mini.Addr()})
	next := lock(t, redisstore.New(other, "session"))
	owner, err := mini.Get("{session}:lock")
	require.NoError(t, err)

	<-scripts // that would extend it
	require.ErrorIs(t, l.Save(t.Context(), []byte("late"), 0), autologin.ErrLockLost)
	require.ErrorIs(t, l.Remove(t.Context()), autologin.ErrLockLost)
	l.Unlock()
	got, err := mini.Get("{session}:lock")
	require.NoError(t, err)
	assert.Equal(t, owner, got)
	require.NoError(t, next.Save(t.Context(), []byte("next"), 0))
	assert.Equal(t, "next", load(t, redisstore.New(other, "session")))
}

// gate is a hook that holds each script back until the test runs it.
type gate chan heldScript

type heldScript struct{ opened, ended chan struct{} }

// run lets the script run, and returns when it has ended.
func (s heldScript) run() {
	close(s.opened)
	<-s.ended
}

func (gate) DialHook(next redis.DialHook) redis.DialHook { return next }
func (gate) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (g gate) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if strings.HasPrefix(cmd.Name(), "eval") {
			s := heldScript{make(chan struct{}), make(chan struct{})}
			g <- s
			<-s.opened
			defer close(s.ended)
		}
		return next(context.WithoutCancel(ctx), cmd)
	}
}

// newGate returns a gate, a Store of the record "session" behind it, and one that is
// not. The server knows the scripts already, so that each is sent once.
func newGate(t *testing.T) (scripts gate, held, other autologin.Store) {
	t.Helper()
	mini, client := newMini(t)
	other = redisstore.New(newClient(t, &redis.Options{Addr: mini.Addr()}), "session")
	l := lock(t, other)
	require.NoError(t, l.Save(t.Context(), []byte("record"), 0))
	require.NoError(t, l.Remove(t.Context()))
	l.Unlock()
	scripts = make(gate)
	client.AddHook(scripts)
	return scripts, redisstore.New(client, "session"), other
}

func TestALockThatRedisGivesAfterTryLockHasReturnedIsFreed(t *testing.T) {
	t.Parallel()
	scripts, store, other := newGate(t)
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := store.TryLock(ctx)
		failed <- err
	}()
	late := <-scripts
	cancel()
	require.ErrorIs(t, <-failed, context.Canceled)
	select {
	case <-scripts:
		t.Fatal("the lock is freed before Redis gives it")
	case <-time.After(50 * time.Millisecond):
	}
	late.run()
	_, err := other.TryLock(t.Context())
	require.ErrorIs(t, err, autologin.ErrLocked)
	(<-scripts).run()
	lock(t, other)
}

func TestALockChangesNothingAfterAChangeWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(context.Context, autologin.Lock) error{
		"Save":   func(ctx context.Context, l autologin.Lock) error { return l.Save(ctx, []byte("late"), 0) },
		"Remove": func(ctx context.Context, l autologin.Lock) error { return l.Remove(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			scripts, store, other := newGate(t)
			go func() { (<-scripts).run() }()
			l, err := store.TryLock(t.Context())
			require.NoError(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			failed := make(chan error, 1)
			go func() { failed <- change(ctx, l) }()
			late := <-scripts
			cancel()
			require.ErrorIs(t, <-failed, context.Canceled)
			ctx, cancel = context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			require.ErrorIs(t, l.Save(ctx, []byte("record"), 0), autologin.ErrLockLost, "the late change could undo it")
			require.ErrorIs(t, l.Remove(ctx), autologin.ErrLockLost)

			go func() { (<-scripts).run() }()
			l.Unlock()
			next := lock(t, other)
			require.NoError(t, next.Save(t.Context(), []byte("next"), 0))
			late.run()
			assert.Equal(t, "next", load(t, other))
		})
	}
}

func TestALockKeepsTheRecordOfAnotherKey(t *testing.T) {
	t.Parallel()
	_, client := newMini(t)
	alice, bob := redisstore.New(client, "alice"), redisstore.New(client, "bob")
	require.NoError(t, lock(t, alice).Save(t.Context(), []byte("alice's"), 0))
	require.NoError(t, lock(t, bob).Save(t.Context(), []byte("bob's"), 0))
	assert.Equal(t, "alice's", load(t, alice))
	assert.Equal(t, "bob's", load(t, bob))
}

// Redis is a cluster client of two servers: reads go to a replica that has an old
// record.
func TestLoadReadsFromThePrimaryWhereTheClientReadsFromReplicas(t *testing.T) {
	t.Parallel()
	primary, replica := miniredis.RunT(t), miniredis.RunT(t)
	require.NoError(t, primary.Set("session", "new"))
	require.NoError(t, replica.Set("session", "old"))
	client := redis.NewClusterClient(&redis.ClusterOptions{
		ReadOnly: true,
		ClusterSlots: func(context.Context) ([]redis.ClusterSlot, error) {
			return []redis.ClusterSlot{{Start: 0, End: 16383, Nodes: []redis.ClusterNode{{Addr: primary.Addr()}, {Addr: replica.Addr()}}}}, nil
		},
	})
	t.Cleanup(func() { client.Close() })
	require.Equal(t, "old", client.Get(t.Context(), "session").Val(), "this client reads from the replica")
	for range 20 {
		assert.Equal(t, "new", load(t, redisstore.New(client, "session")))
	}
}

func TestErrorsHaveNoTextOfTheServerOrTheClient(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ answer, text string }{
		{"ERR canary", "the server answered an error that is not known here; look at the log of the server"},
		{"ERR unknown command 'evalsha', with args beginning with: 'canary' 'MOVED'", "the server does not know EVAL, EVALSHA or GET, which the store needs; allow them"},
		{"BUSY Valkey is busy running a script. canary", "a script of another program runs for too long"},
		{"ERR Error running script (call to f_1): @user_script:1: @user_script: 1: -READONLY You can't write against a read only replica. canary", "the server is a read-only replica; connect to the primary"},
		{"NOPERM this user canary has no permissions", "allow EVAL, EVALSHA, GET, SET, DEL and PEXPIRE on the keys of record and lock"},
		{"MOVED 1234 canary:6379", "the server is a part of a cluster; use redis.NewClusterClient"},
		{"OOM command not allowed, canary", "the memory of the server is full; raise its maxmemory"},
	} {
		mini := miniredis.RunT(t)
		client := newClient(t, &redis.Options{Addr: mini.Addr(), MaxRetries: -1})
		store := redisstore.New(client, "session")
		l := lock(t, store)
		mini.SetError(tt.answer)
		_, loadErr := store.Load(t.Context())
		_, lockErr := store.TryLock(t.Context())
		for _, err := range []error{loadErr, lockErr, l.Save(t.Context(), []byte("canary"), 0), l.Remove(t.Context())} {
			require.ErrorContains(t, err, tt.text)
			assert.ErrorContains(t, err, `in Redis at "session"`)
			assertQuiet(t, err)
			var answer redis.Error
			assert.False(t, errors.As(err, &answer))
			var failure *redisstore.Error
			require.ErrorAs(t, err, &failure)
			assert.Equal(t, "session", failure.Key)
			assert.Contains(t, failure.Problem, tt.text)
		}
		mini.SetError("")
	}
}

// assertQuiet checks that err shows "canary" by no verb.
func assertQuiet(t *testing.T, err error) {
	t.Helper()
	for _, verb := range []string{"%v", "%+v", "%#v", "%q", "%x"} {
		text := fmt.Sprintf(verb, err)
		assert.NotContains(t, text, "canary")
		assert.NotContains(t, text, fmt.Sprintf("%x", "canary"))
	}
	assert.NoError(t, errors.Unwrap(err))
}

func TestErrorsMatchThoseOfTheClient(t *testing.T) {
	t.Parallel()
	mini, client := newMini(t)
	store := redisstore.New(client, "session")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := store.Load(ended)
	require.ErrorIs(t, err, context.Canceled)
	assert.NotErrorIs(t, err, context.DeadlineExceeded)
	assert.ErrorContains(t, err, context.Canceled.Error())

	record, err := store.Load(t.Context())
	require.NoError(t, err, "redis.Nil is no error")
	assert.Empty(t, record)

	client.Close()
	_, err = store.Load(t.Context())
	require.ErrorIs(t, err, redis.ErrClosed)
	assert.ErrorContains(t, err, "the client is closed; close it after the last use of the store")

	addr := mini.Addr()
	mini.Close()
	_, err = redisstore.New(newClient(t, &redis.Options{Addr: addr, DialerRetries: 1, MaxRetries: -1}), "session").Load(t.Context())
	require.ErrorContains(t, err, "the connection failed; check that the server runs at the address of the client")
	assert.NotErrorIs(t, err, redis.Nil)
	assert.NotContains(t, err.Error(), addr)
}

func TestTheErrorSaysThatAllConnectionsAreInUse(t *testing.T) {
	t.Parallel()
	mini := miniredis.RunT(t)
	client := newClient(t, &redis.Options{Addr: mini.Addr(), PoolSize: 1, PoolTimeout: time.Millisecond, MaxRetries: -1})
	conn := client.Conn()
	defer conn.Close()
	require.NoError(t, conn.Ping(t.Context()).Err())
	_, err := redisstore.New(client, "session").Load(t.Context())
	require.ErrorIs(t, err, redis.ErrPoolTimeout)
	assert.ErrorContains(t, err, "all connections of the client are in use; raise its PoolSize")
}

// holdForEver locks and saves. When its input ends, it saves again.
func holdForEver(addr string) {
	ctx := context.Background()
	l, err := redisstore.New(redis.NewClient(&redis.Options{Addr: addr}), "session").TryLock(ctx)
	if err == nil {
		err = l.Save(ctx, []byte("record"), 0)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("locked")
	io.Copy(io.Discard, os.Stdin)
	if errors.Is(l.Save(ctx, []byte("late"), 0), autologin.ErrLockLost) {
		fmt.Println("lost")
	}
	os.Exit(0)
}
