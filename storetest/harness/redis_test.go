//go:build unix

package harness

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/filescom/session/autologin"
	"github.com/filescom/session/redisstore"
	"github.com/redis/go-redis/v9"
)

// quiet is a logger for clients whose server is expected to be gone.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

func init() {
	redis.SetLogger(quiet{})
	backends["redis"] = backend{
		open: func(addr string) (autologin.Store, error) {
			client := redis.NewClient(&redis.Options{Addr: addr})
			return autologin.Encrypt(redisstore.New(client, "files:alice"), "alice", bytes.Repeat([]byte{1}, 32))
		},
		address: startRedis,
		lease:   15 * time.Second,
	}
}

// redisServer is a redis-server on loopback that keeps nothing when it stops.
type redisServer struct {
	addr string
	args []string
	cmd  *exec.Cmd
}

// redisServers has the servers that run, by their addresses.
var redisServers = map[string]*redisServer{}

// startRedis starts a redis-server until the test ends, and returns its address.
func startRedis(t *testing.T) string {
	t.Helper()
	program, err := exec.LookPath("redis-server")
	if err != nil && os.Getenv("CI") == "true" {
		t.Fatal("redis-server is not installed; CI must install it")
	}
	if err != nil {
		t.Skip("redis-server is not installed; install it to run this test")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	l.Close()
	s := &redisServer{addr: net.JoinHostPort("127.0.0.1", port)}
	s.args = []string{program, "--bind", "127.0.0.1", "--port", port, "--dir", t.TempDir(), "--save", ""}
	s.start(t)
	t.Cleanup(s.stop)
	redisServers[s.addr] = s
	return s.addr
}

// start starts the server, and returns when it takes connections.
func (s *redisServer) start(t *testing.T) {
	t.Helper()
	s.cmd = exec.Command(s.args[0], s.args[1:]...)
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "Ready to accept connections") {
			go func() {
				for lines.Scan() { // so that the server never waits for its reader
				}
			}()
			return
		}
	}
	t.Fatal("redis-server has ended")
}

func (s *redisServer) stop() {
	s.cmd.Process.Kill()
	s.cmd.Wait()
}

func TestRedisIsGoneForAWhile(t *testing.T) {
	each(t, func(f *fleet) {
		server := redisServers[f.task.Address]
		if server == nil {
			f.Skip("the Store is not in Redis")
		}
		const gone = 5 * time.Second
		run := func() []*child {
			return f.startAll(8, func(t *task) { t.Workers, t.Calls, t.Pause = 8, 0, 20*time.Millisecond })
		}
		children := run()
		f.until("a process logs in", func() bool { return f.Counts().Logins > 0 })
		time.Sleep(time.Second) // until all have the session
		server.stop()
		time.Sleep(gone)
		server.start(t)
		sum := f.stop(children)
		f.want("failed calls while the session was alive", sum.failed(), 0)
		f.want("logins", f.Counts().Logins, 1)
		f.report("a Store that is gone costs no login", fmt.Sprintf("8 × 8 workers, Redis gone for %v, session alive", gone), "0 logins; %d calls, %d failed", sum.Calls, sum.failed())

		children = run() // Redis has lost the record
		f.until("a process logs in", func() bool { return f.Counts().Logins > 1 })
		time.Sleep(time.Second)
		server.stop()
		f.ExpireUser("alice")
		time.Sleep(gone)
		f.want("POSTs while Redis is gone", f.posts(), 2)
		server.start(t)
		f.until("a process logs in", func() bool { return f.Counts().Logins > 2 })
		time.Sleep(10 * time.Second) // the back-off of the others
		sum = f.stop(children)
		if !sum.Good {
			f.Errorf("a worker has no session: %v", sum.Failed)
		}
		f.want("logins", f.Counts().Logins, 3)
		f.report("a Store that is gone costs no login", fmt.Sprintf("8 × 8 workers, Redis gone for %v, session ended", gone), "0 logins while it is gone, 1 after; all use it")
	})
}
