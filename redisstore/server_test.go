//go:build unix

package redisstore_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/filescom/session/autologin"
	"github.com/filescom/session/redisstore"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// server is a redis-server on loopback.
type server struct {
	t    testing.TB
	addr string
	args []string
	cmd  *exec.Cmd
}

// startServer starts a redis-server with a folder of its own until the test ends.
func startServer(t testing.TB, args ...string) *server {
	t.Helper()
	program, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("redis-server is not installed; CI must install it")
		}
		t.Skip("redis-server is not installed; install it to run this test")
	}
	for range 5 {
		ports := freePorts(t, 2)
		s := &server{t: t, addr: net.JoinHostPort("127.0.0.1", ports[0])}
		s.args = append([]string{program, "--bind", "127.0.0.1", "--port", ports[0], "--cluster-port", ports[1], "--dir", t.TempDir(), "--save", ""}, args...)
		if s.start() {
			t.Cleanup(s.stop)
			return s
		}
	}
	t.Fatal("redis-server ends as soon as it is started")
	return nil
}

// freePorts returns ports that were free a moment ago. Another program may have
// taken one since.
func freePorts(t testing.TB, n int) (ports []string) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close()
		ports = append(ports, strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
	}
	return ports
}

// start starts the server, and reports whether it takes connections.
func (s *server) start() bool {
	s.t.Helper()
	s.cmd = exec.Command(s.args[0], s.args[1:]...)
	stdout, err := s.cmd.StdoutPipe()
	require.NoError(s.t, err)
	require.NoError(s.t, s.cmd.Start())
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "Ready to accept connections") {
			go func() {
				for lines.Scan() { // so that the server never waits for its reader
				}
			}()
			return true
		}
	}
	_ = s.cmd.Wait()
	return false
}

// stop ends the server. It may be called more than once.
func (s *server) stop() {
	if s.cmd != nil {
		_ = s.cmd.Process.Signal(syscall.SIGCONT)
		_ = s.cmd.Process.Signal(syscall.SIGTERM)
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

// client returns a client of the server that does not try again.
func (s *server) client() *redis.Client {
	return newClient(s.t, &redis.Options{Addr: s.addr, MaxRetries: -1, DialerRetries: 1})
}

func TestTheStoreKeepsItsContractOnAServer(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	testContract(t, func(t *testing.T) redis.UniversalClient { return newClient(t, &redis.Options{Addr: s.addr}) })
}

func TestTheStoreKeepsItsContractOnAServerWithAPassword(t *testing.T) {
	t.Parallel()
	s := startServer(t, "--requirepass", "canary")
	testContract(t, func(t *testing.T) redis.UniversalClient {
		return newClient(t, &redis.Options{Addr: s.addr, Password: "canary"})
	})
	for password, text := range map[string]string{
		"":             "the server asks for a password; set it in the options of the client",
		"wrong-canary": "the server refuses the user name or the password; set them in the options of the client",
	} {
		client := newClient(t, &redis.Options{Addr: s.addr, Password: password})
		_, err := redisstore.New(client, "session").Load(t.Context())
		require.ErrorContains(t, err, text)
		assertQuiet(t, err)
		_, err = redisstore.New(client, "session").TryLock(t.Context())
		require.ErrorContains(t, err, text)
	}
}

func TestTheStoreKeepsItsContractInACluster(t *testing.T) {
	t.Parallel()
	s := startServer(t, "--cluster-enabled", "yes")
	require.NoError(t, s.client().ClusterAddSlotsRange(t.Context(), 0, 16383).Err())
	require.Eventually(t, func() bool {
		return strings.Contains(s.client().ClusterInfo(t.Context()).Val(), "cluster_state:ok")
	}, 10*time.Second, 10*time.Millisecond)
	for _, key := range []string{"session", "fleet:session", "{fleet}session", "a{fleet}b{other}", "open{brace", "{"} {
		lockKey, err := redisstore.LockKey(redisstore.New(s.client(), key))
		require.NoError(t, err)
		assert.Equal(t, s.client().ClusterKeySlot(t.Context(), key).Val(), s.client().ClusterKeySlot(t.Context(), lockKey).Val(), key)
	}
	testContract(t, func(t *testing.T) redis.UniversalClient {
		client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{s.addr}, RouteRandomly: true})
		t.Cleanup(func() { client.Close() })
		return client
	})
}

func TestAUserWhoMayOnlyReadLoadsTheRecordAndLocksNothing(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	require.NoError(t, s.client().Do(t.Context(), "ACL", "SETUSER", "reader", "on", ">secret", "~*", "+@read", "+@connection", "+eval", "+evalsha").Err())
	require.NoError(t, s.client().Set(t.Context(), "session", "record", 0).Err())
	store := redisstore.New(newClient(t, &redis.Options{Addr: s.addr, Username: "reader", Password: "secret"}), "session")
	assert.Equal(t, "record", load(t, store))
	_, err := store.TryLock(t.Context())
	require.ErrorContains(t, err, "allow EVAL, EVALSHA, GET, SET, DEL and PEXPIRE on the keys of record and lock")
}

func TestTheDocumentedRightsAreEnough(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	require.NoError(t, s.client().Do(t.Context(), "ACL", "SETUSER", "worker", "on", ">secret", "~session", "~{session}:lock",
		"+eval", "+evalsha", "+get", "+set", "+del", "+pexpire").Err())
	scripts := make(tap, 10)
	client := newClient(t, &redis.Options{Addr: s.addr, Username: "worker", Password: "secret"})
	client.AddHook(scripts)
	store := redisstore.New(client, "session")
	l := lock(t, store)
	require.NoError(t, l.Save(t.Context(), []byte("record"), time.Hour))
	assert.Equal(t, "record", load(t, store))
	for range 3 {
		<-scripts
	}
	<-scripts // extends the lease
	require.NoError(t, l.Remove(t.Context()))
	l.Unlock()
}

func TestTheErrorNamesTheCommandsThatTheServerDoesNotKnow(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"EVAL", "EVALSHA"} {
		client := startServer(t, "--rename-command", name, "").client()
		_, err := redisstore.New(client, "session").TryLock(t.Context())
		require.ErrorContains(t, err, `cannot lock the session in Redis at "session": the server does not know EVAL, EVALSHA or GET, which the store needs; allow them, for example by a configuration without rename-command`, name)
		assertQuiet(t, err)
	}
	client := startServer(t, "--rename-command", "DEL", "").client()
	l := lock(t, redisstore.New(client, "session"))
	err := l.Remove(t.Context())
	require.ErrorContains(t, err, "scripts on the server do not know GET, SET, DEL or PEXPIRE, which the store needs; allow them, for example by a configuration without rename-command")
	assertQuiet(t, err)
}

func TestTheErrorNamesTheCommandsThatAUserMayNotRun(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	for _, command := range []string{"eval", "evalsha", "set"} {
		require.NoError(t, s.client().Do(t.Context(), "ACL", "SETUSER", command, "on", ">canary", "~*", "+@all", "-"+command).Err())
		client := newClient(t, &redis.Options{Addr: s.addr, Username: command, Password: "canary"})
		_, err := redisstore.New(client, "session").TryLock(t.Context())
		require.ErrorContains(t, err, "the user of Redis may not do that; allow EVAL, EVALSHA, GET, SET, DEL and PEXPIRE on the keys of record and lock", command)
		assertQuiet(t, err)
	}
}

func TestAScriptThatRunsTooLongIsNamedAndItsEndFreesTheStore(t *testing.T) {
	t.Parallel()
	s := startServer(t, "--lua-time-limit", "50")
	store, another := redisstore.New(s.client(), "session"), redisstore.New(s.client(), "another")
	l := lock(t, store)
	require.NoError(t, l.Save(t.Context(), []byte("record"), 0))
	admin, other, ended := s.client(), s.client(), make(chan struct{})
	go func() {
		defer close(ended)
		other.Eval(context.Background(), "while true do end", nil)
	}()
	defer admin.ScriptKill(context.Background()) // else the server does not stop
	require.Eventually(t, func() bool {
		return redis.HasErrorPrefix(admin.Get(t.Context(), "session").Err(), "BUSY")
	}, 10*time.Second, 10*time.Millisecond)

	_, loadErr := store.Load(t.Context())
	_, lockErr := another.TryLock(t.Context())
	for _, err := range []error{loadErr, lockErr, l.Save(t.Context(), []byte("canary"), 0), l.Remove(t.Context())} {
		require.ErrorContains(t, err, "a script of another program runs for too long, and the server does nothing else; wait until it ends, or end it by SCRIPT KILL or FUNCTION KILL")
		assertQuiet(t, err)
	}
	require.NoError(t, admin.ScriptKill(t.Context()).Err())
	<-ended
	assert.Equal(t, "record", load(t, store))
	require.NoError(t, l.Save(t.Context(), []byte("new"), 0), "the lock is still held")
}

func TestAReplicaIsReadButNotLocked(t *testing.T) {
	t.Parallel()
	primary := startServer(t)
	require.NoError(t, primary.client().Set(t.Context(), "session", "record", 0).Err())
	host, port, _ := strings.Cut(primary.addr, ":")
	store := redisstore.New(startServer(t, "--replicaof", host+" "+port).client(), "session")
	require.Eventually(t, func() bool {
		record, err := store.Load(t.Context())
		return err == nil && string(record) == "record"
	}, 20*time.Second, 10*time.Millisecond)
	_, err := store.TryLock(t.Context())
	require.ErrorContains(t, err, "the server is a read-only replica; connect to the primary")
}

func TestAServerThatTakesNoWritesKeepsTheOldRecord(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	store := redisstore.New(s.client(), "session")
	l := lock(t, store)
	require.NoError(t, l.Save(t.Context(), []byte("record"), 0))
	require.NoError(t, s.client().ConfigSet(t.Context(), "min-replicas-to-write", "1").Err())
	require.ErrorContains(t, l.Save(t.Context(), []byte("new"), 0), "the server has too few replicas to take writes")
	assert.Equal(t, "record", load(t, store))
	require.NoError(t, s.client().ConfigSet(t.Context(), "min-replicas-to-write", "0").Err())

	require.NoError(t, s.client().ConfigSet(t.Context(), "maxmemory", "1").Err())
	require.ErrorContains(t, l.Save(t.Context(), []byte("new"), 0), "the memory of the server is full; raise its maxmemory")
	assert.Equal(t, "record", load(t, store))
	require.NoError(t, s.client().ConfigSet(t.Context(), "maxmemory", "0").Err())
	require.NoError(t, l.Save(t.Context(), []byte("new"), 0))
}

func TestAKeyThatHoldsAnotherKindOfValueIsRefusedAndKept(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	require.NoError(t, s.client().RPush(t.Context(), "session", "canary").Err())
	require.NoError(t, s.client().RPush(t.Context(), "{locked}:lock", "canary").Err())
	store := redisstore.New(s.client(), "session")
	l := lock(t, store)
	_, loadErr := store.Load(t.Context())
	_, lockErr := redisstore.New(s.client(), "locked").TryLock(t.Context())
	for _, err := range []error{loadErr, lockErr, l.Save(t.Context(), []byte("record"), 0), l.Remove(t.Context())} {
		require.ErrorContains(t, err, "the key, or that of its lock, holds another kind of value; use another key")
		assertQuiet(t, err)
	}
	assert.EqualValues(t, 1, s.client().LLen(t.Context(), "session").Val())
	assert.EqualValues(t, 1, s.client().LLen(t.Context(), "{locked}:lock").Val())
}

func TestAServerThatWasGoneIsUsedAgain(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	store := redisstore.New(s.client(), "session")
	l := lock(t, store)
	require.NoError(t, l.Save(t.Context(), []byte("record"), 0))
	s.stop()
	_, err := store.Load(t.Context())
	require.Error(t, err)
	_, err = store.Load(t.Context())
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	require.ErrorContains(t, err, "the connection failed; check that the server runs at the address of the client")
	_, err = store.TryLock(t.Context())
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	require.ErrorIs(t, l.Save(t.Context(), []byte("late"), 0), syscall.ECONNREFUSED)

	require.True(t, s.start())
	assert.Empty(t, load(t, store), "the server kept nothing")
	require.ErrorIs(t, l.Save(t.Context(), []byte("late"), 0), autologin.ErrLockLost)
	next := lock(t, store)
	require.NoError(t, next.Save(t.Context(), []byte("next"), 0))
	require.ErrorIs(t, l.Remove(t.Context()), autologin.ErrLockLost)
	l.Unlock()
	assert.Equal(t, "next", load(t, store))
}

func TestALockOutlivesARestartOfAServerThatSavesIt(t *testing.T) {
	t.Parallel()
	s := startServer(t, "--appendonly", "yes", "--appendfsync", "always")
	scripts := make(tap, 10)
	client := s.client()
	client.AddHook(scripts)
	store := redisstore.New(client, "session")
	l := lock(t, store)
	require.NoError(t, l.Save(t.Context(), []byte("record"), 0))
	s.stop()
	require.True(t, s.start())
	for range 2 {
		<-scripts
	}
	<-scripts // extends the lease
	_, err := store.TryLock(t.Context())
	require.ErrorIs(t, err, autologin.ErrLocked)
	require.NoError(t, l.Save(t.Context(), []byte("new"), 0))
	assert.Equal(t, "new", load(t, store))
}

func TestEveryMethodEndsWithItsContextWhenTheServerHangs(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	store := redisstore.New(s.client(), "session")
	saving, removing := lock(t, store), lock(t, redisstore.New(s.client(), "another"))
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGSTOP))
	short := func() context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	start := time.Now()
	_, err := store.Load(short())
	require.ErrorIs(t, err, context.DeadlineExceeded)
	_, err = store.TryLock(short())
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorIs(t, saving.Save(short(), []byte("record"), 0), context.DeadlineExceeded)
	require.ErrorIs(t, removing.Remove(short()), context.DeadlineExceeded)
	assert.Less(t, time.Since(start), time.Second)

	start = time.Now()
	saving.Unlock()
	assert.InDelta(t, 5, time.Since(start).Seconds(), 0.5)
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGCONT))
}

// A proxy keeps back the answer of Redis, which has taken the lock.
func TestALockIsFreedIfItsAnswerDoesNotArrive(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	proxy := newProxy(t, s.addr)
	client := newClient(t, &redis.Options{Addr: proxy.Addr().String(), ReadTimeout: time.Second})
	store := redisstore.New(client, "session")
	lock(t, store).Unlock()
	require.Empty(t, s.client().Keys(t.Context(), "*").Val())

	ctx, cancel := context.WithCancel(t.Context())
	proxy.keepBack <- cancel // cancels when the answer is there
	_, err := store.TryLock(ctx)
	require.ErrorIs(t, err, context.Canceled)
	assert.Eventually(t, func() bool {
		l, err := redisstore.New(s.client(), "session").TryLock(t.Context())
		if err != nil {
			return false
		}
		l.Unlock()
		return true
	}, 5*time.Second, 10*time.Millisecond, "long before the lease ends")
}

// proxy forwards connections. It keeps back the next answer after each function that
// it is given, and calls the function instead.
type proxy struct {
	net.Listener
	keepBack chan func()
}

func newProxy(t *testing.T, addr string) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{l, make(chan func(), 1)}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go p.forward(conn, addr)
		}
	}()
	return p
}

func (p *proxy) forward(client net.Conn, addr string) {
	defer client.Close()
	server, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer server.Close()
	go func() {
		defer server.Close()
		pump(client, server, func() bool { return true })
	}()
	pump(server, client, func() bool {
		select {
		case f := <-p.keepBack:
			f()
			return false
		default:
			return true
		}
	})
}

// pump copies from one connection to another, except the pieces for which pass
// returns false.
func pump(from, to net.Conn, pass func() bool) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 && pass() {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// startHolder starts a process that locks the record and saves "record". When its
// input is closed, it saves "late".
func startHolder(t *testing.T, s *server) (*exec.Cmd, io.Closer, *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "REDISSTORE_HOLD="+s.addr)
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(stdout)
	require.True(t, lines.Scan())
	require.Equal(t, "locked", lines.Text())
	return cmd, stdin, lines
}

func TestTheLockOfAKilledProcessIsFreeWithin15Seconds(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes 15 s")
	}
	s := startServer(t)
	cmd, _, _ := startHolder(t, s)
	require.NoError(t, cmd.Process.Kill())
	cmd.Wait()

	start := time.Now()
	store := redisstore.New(s.client(), "session")
	require.Eventually(t, func() bool {
		l, err := store.TryLock(t.Context())
		if err != nil {
			assert.ErrorIs(t, err, autologin.ErrLocked)
			return false
		}
		l.Unlock()
		return true
	}, 20*time.Second, 50*time.Millisecond)
	t.Logf("free after %s", time.Since(start))
	assert.LessOrEqual(t, time.Since(start), 15500*time.Millisecond)
	assert.Equal(t, "record", load(t, store))
}

func TestAStoppedProcessThatLostItsLeaseSavesNothing(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes 15 s")
	}
	s := startServer(t)
	cmd, stdin, lines := startHolder(t, s)
	require.NoError(t, cmd.Process.Signal(syscall.SIGSTOP))

	store := redisstore.New(s.client(), "session")
	var next autologin.Lock
	var err error
	require.Eventually(t, func() bool {
		next, err = store.TryLock(t.Context())
		return err == nil
	}, 20*time.Second, 50*time.Millisecond)
	require.NoError(t, next.Save(t.Context(), []byte("next"), 0))
	require.NoError(t, cmd.Process.Signal(syscall.SIGCONT))
	require.NoError(t, stdin.Close())
	require.True(t, lines.Scan())
	assert.Equal(t, "lost", lines.Text())
	require.NoError(t, cmd.Wait())
	assert.Equal(t, "next", load(t, store))
	require.NoError(t, next.Save(t.Context(), []byte("still held"), 0))
	next.Unlock()
}

func TestALockIsFreedIfAnErrorAnswersTheSecondTryOfTheClient(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	proxy := newProxy(t, server.addr)
	client := newClient(t, &redis.Options{Addr: proxy.Addr().String(), ReadTimeout: 300 * time.Millisecond,
		MaxRetries: 3, MinRetryBackoff: 50 * time.Millisecond, MaxRetryBackoff: 50 * time.Millisecond})
	store := redisstore.New(client, "session")
	lock(t, store).Unlock()
	admin := server.client()
	proxy.keepBack <- func() { // Redis has given the lock, and refuses the second try
		go admin.Do(context.Background(), "REPLICAOF", "127.0.0.1", "1")
	}
	_, err := store.TryLock(t.Context())
	require.Error(t, err)
	require.NoError(t, admin.Do(t.Context(), "REPLICAOF", "NO", "ONE").Err())
	require.Eventually(t, func() bool {
		l, err := redisstore.New(admin, "session").TryLock(t.Context())
		if err == nil {
			l.Unlock()
		}
		return err == nil
	}, 5*time.Second, 20*time.Millisecond, "nobody holds the lock")
}
