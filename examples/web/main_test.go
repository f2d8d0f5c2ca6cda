package main

import (
	"context"
	"io"
	"net"
	"regexp"
	"testing"
	"time"

	"github.com/filescom/session/sessiontest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// startCommand runs the command until the test ends or stop is called. It returns
// the address that the command prints.
func startCommand(t *testing.T, args ...string) (address string, out *safeBuffer, stop func()) {
	t.Helper()
	out = &safeBuffer{}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- run(ctx, append([]string{"-addr", "127.0.0.1:0"}, args...), out, &safeBuffer{}) }()
	printed := regexp.MustCompile(`Open (https?://127\.0\.0\.1:\d+) in a browser`)
	require.Eventually(t, func() bool { return printed.MatchString(out.String()) }, 10*time.Second, 5*time.Millisecond)
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			assert.NoError(t, <-done)
		}
	}
	t.Cleanup(stop)
	return printed.FindStringSubmatch(out.String())[1], out, stop
}

func TestTheCommandPrintsItsAddressAndTheTwoUsers(t *testing.T) {
	address, out, _ := startCommand(t)
	assert.Contains(t, out.String(), "alice, password secret\n")
	assert.Contains(t, out.String(), "bob, password secret, code 123456\n")
	v := newVisitor(t, address)
	requireRedirect(t, v.signIn("alice", "secret"), "/files")
	assert.Contains(t, v.get("/files").body, "Contracts")
	requireRedirect(t, v.signOut(), "/signed-out")
	requireRedirect(t, v.signIn("bob", "secret"), "/code")
	requireRedirect(t, v.sendCode("123456"), "/files")
	assert.Contains(t, v.get("/files").body, "Contracts")
}

func TestTheCommandLogsAllUsersOutWhenItStops(t *testing.T) {
	fake := sessiontest.NewServer(testUser("alice"), testUser("dora"))
	defer fake.Close()
	address, out, stop := startCommand(t, "-url", fake.URL)
	assert.NotContains(t, out.String(), "fake")
	for _, name := range []string{"alice", "dora"} {
		requireRedirect(t, newVisitor(t, address).signIn(name, "secret"), "/files")
	}
	assert.Equal(t, 2, fake.Counts().Live)
	stop()
	assert.Zero(t, fake.Counts().Live)
}

func TestASlowClientIsCutOff(t *testing.T) {
	w := startWorld(t)
	srv := newServer(w.site.handler(), w.site.log)
	srv.ReadHeaderTimeout, srv.ReadTimeout = srv.ReadHeaderTimeout/50, srv.ReadTimeout/50 // 100 ms and 200 ms
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	go srv.Serve(listener)
	defer srv.Close()
	for _, start := range []string{"", "GET / HT", "POST /sign-in HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nuser"} {
		conn, err := net.Dial("tcp", listener.Addr().String())
		require.NoError(t, err)
		defer conn.Close()
		io.WriteString(conn, start)
		conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		_, err = io.ReadAll(conn)
		assert.NoError(t, err, "the server closes the connection")
	}
	assert.NotZero(t, srv.WriteTimeout)
	assert.NotZero(t, srv.IdleTimeout)
	assert.Empty(t, w.fake.Requests())
}

func TestPlainHTTPIsServedToThisMachineOnly(t *testing.T) {
	for _, addr := range []string{":8080", "0.0.0.0:8080", "192.0.2.1:8080", "[::]:8080", "example.com:80"} {
		err := run(t.Context(), []string{"-addr", addr}, &safeBuffer{}, &safeBuffer{})
		assert.ErrorContains(t, err, "give -cert and -key", addr)
	}
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0", "localhost:0"} {
		assert.True(t, isLoopback(addr), addr)
	}
	assert.Error(t, run(t.Context(), []string{"-cert", "none.pem", "-key", "none.pem"}, &safeBuffer{}, &safeBuffer{}))
	assert.Error(t, run(t.Context(), []string{"-url", "ftp://x"}, &safeBuffer{}, &safeBuffer{}))
	assert.ErrorContains(t, run(t.Context(), []string{"127.0.0.1:0"}, &safeBuffer{}, &safeBuffer{}), "not a flag")
}
