package session_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/filescom/session"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// pooled returns a transport like the shared one, which trusts srv.
func pooled(t *testing.T, srv *httptest.Server) *http.Transport {
	t.Helper()
	tr := session.NewTransport()
	tr.TLSClientConfig.RootCAs = x509.NewCertPool()
	tr.TLSClientConfig.RootCAs.AddCert(srv.Certificate())
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// overHTTP2 returns a transport of a caller that speaks HTTP/2 and trusts srv.
func overHTTP2(t *testing.T, srv *httptest.Server) *http.Transport {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true, IdleConnTimeout: 100 * time.Millisecond}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// loginServer answers every login over TLS.
func loginServer(t *testing.T, http2 bool) *httptest.Server {
	t.Helper()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if http2 {
			assert.Equal(t, "HTTP/2.0", r.Proto)
		}
		w.WriteHeader(http.StatusCreated)
		io.WriteString(w, `{"id":"1"}`)
	}))
	srv.EnableHTTP2 = http2
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv
}

// throughProxy returns a client of srv whose requests go through a proxy.
func throughProxy(t *testing.T, srv *httptest.Server, proxy string, opts ...session.Option) *session.Client {
	t.Helper()
	proxyURL, err := url.Parse(proxy)
	require.NoError(t, err)
	tr := pooled(t, srv)
	tr.Proxy = http.ProxyURL(proxyURL)
	return newClient(t, append([]session.Option{session.WithSite(srv.URL), session.WithHTTPClient(&http.Client{Transport: tr})}, opts...)...)
}

func TestTheSharedTransportSpeaksHTTP1(t *testing.T) {
	t.Parallel()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "HTTP/1.1", r.Proto)
		w.WriteHeader(http.StatusCreated)
		io.WriteString(w, `{"id":"1"}`)
	}))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	c := newClient(t, session.WithSite(srv.URL), session.WithHTTPClient(&http.Client{Transport: pooled(t, srv)}))
	_, err := c.Create(t.Context(), alice)
	assert.NoError(t, err)
}

func TestManyUsersLogInOverTheHTTP2OfTheCaller(t *testing.T) {
	t.Parallel()
	srv := loginServer(t, true)
	c := newClient(t, session.WithSite(srv.URL), session.WithHTTPClient(&http.Client{Transport: overHTTP2(t, srv)}))
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			s, err := c.Create(t.Context(), alice)
			if assert.NoError(t, err) {
				assert.NoError(t, c.Delete(t.Context(), s))
			}
		})
	}
	wg.Wait()
}

// Every login waits for the others, so that each needs a connection of its own.
func TestConnectionsFollowTheNumberOfCallers(t *testing.T) {
	t.Parallel()
	const logins = 300
	var arrived atomic.Int32
	all := make(chan struct{})
	srv := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if arrived.Add(1) == logins {
			close(all)
		}
		<-all
		w.WriteHeader(http.StatusCreated)
		io.WriteString(w, `{"id":"1"}`)
	})
	tr := session.NewTransport()
	defer tr.CloseIdleConnections()
	c := newClient(t, session.WithSite(srv.URL), session.WithHTTPClient(&http.Client{Transport: tr}))
	var wg sync.WaitGroup
	for range logins {
		wg.Add(1)
		go func() {
			defer wg.Done()
			_, err := c.Create(t.Context(), alice)
			assert.NoError(t, err)
		}()
	}
	wg.Wait()
}

func TestAConnectionResumesTheTLSSessionOfAnother(t *testing.T) {
	t.Parallel()
	var full, resumed atomic.Int32
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		w.WriteHeader(http.StatusCreated)
		io.WriteString(w, `{"id":"1"}`)
	}))
	srv.TLS = &tls.Config{VerifyConnection: func(state tls.ConnectionState) error {
		if state.DidResume {
			resumed.Add(1)
		} else {
			full.Add(1)
		}
		return nil
	}}
	srv.StartTLS()
	defer srv.Close()
	c := newClient(t, session.WithSite(srv.URL), session.WithHTTPClient(&http.Client{Transport: pooled(t, srv)}))
	for range 3 {
		_, err := c.Create(t.Context(), alice)
		require.NoError(t, err)
	}
	assert.EqualValues(t, 1, full.Load())
	assert.EqualValues(t, 2, resumed.Load())
}

// tunnel connects a client of a proxy to addr.
func tunnel(t *testing.T, here net.Conn, addr string) {
	there, err := net.Dial("tcp", addr)
	if !assert.NoError(t, err) {
		return
	}
	io.WriteString(here, "HTTP/1.1 200 OK\r\n\r\n")
	go func() { io.Copy(there, here); there.Close() }()
	io.Copy(here, there)
}

func TestLoginsShareATunnelThroughAProxy(t *testing.T) {
	t.Parallel()
	srv := loginServer(t, false)
	proxy, tunnels := listen(t, func(_ int, conn net.Conn) {
		readRequest(conn)
		tunnel(t, conn, srv.Listener.Addr().String())
	})
	c := throughProxy(t, srv, proxy)
	for range 3 {
		_, err := c.Create(t.Context(), alice)
		require.NoError(t, err)
	}
	assert.Equal(t, 1, tunnels())
	srv.CloseClientConnections()
}

// With a second attempt, the directory behind the proxy would count another wrong
// password.
func TestAProxyThatRequiresAuthenticationIsAskedOnce(t *testing.T) {
	t.Parallel()
	srv := loginServer(t, false)
	proxy, asked := listen(t, func(_ int, conn net.Conn) {
		readRequest(conn)
		io.WriteString(conn, "HTTP/1.1 407 "+tokenCanary+"\r\nContent-Length: 0\r\n\r\n")
	})
	c := throughProxy(t, srv, proxy, session.WithRetries(5))
	_, err := c.Create(t.Context(), alice)
	assert.ErrorIs(t, err, session.ErrNotSent)
	assert.ErrorContains(t, err, "the proxy requires authentication (407)")
	assertHidesSecrets(t, err)
	assert.Equal(t, 1, asked())
	assert.ErrorIs(t, c.Delete(t.Context(), &session.Session{ID: idCanary}), session.ErrNotSent)
	assert.Equal(t, 2, asked())
}

func TestAHungProxyDoesNotBlockLaterLogins(t *testing.T) {
	t.Parallel()
	const hung = 300
	srv := loginServer(t, false)
	var well atomic.Bool
	done := make(chan struct{})
	proxy, connections := listen(t, func(n int, conn net.Conn) {
		readRequest(conn)
		switch {
		case well.Load():
			tunnel(t, conn, srv.Listener.Addr().String())
			return
		case n%2 == 0:
			io.WriteString(conn, "H")
		}
		<-done
	})
	c := throughProxy(t, srv, proxy, session.WithRetries(0))
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range hung {
		wg.Add(1)
		go func() {
			defer wg.Done()
			_, err := c.Create(ctx, alice)
			assert.ErrorIs(t, err, session.ErrNotSent)
		}()
	}
	assert.Eventually(t, func() bool { return connections() == hung }, 20*time.Second, time.Millisecond)
	cancel()
	wg.Wait()
	well.Store(true)
	limited, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, err := c.Create(limited, alice)
	assert.NoError(t, err)
	close(done)
	srv.CloseClientConnections()
}

func TestALoginCancelledAtAProxyIsNotSent(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	tr := session.NewTransport()
	tr.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: l.Addr().String()})
	c := newClient(t, session.WithHTTPClient(&http.Client{Transport: tr}), session.WithRetries(0))
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		_, err := c.Create(ctx, alice)
		left <- err
	}()
	conn, err := l.Accept()
	require.NoError(t, err)
	defer conn.Close()
	connect, err := http.ReadRequest(bufio.NewReader(conn))
	require.NoError(t, err)
	assert.Equal(t, "CONNECT app.files.com:443", connect.Method+" "+connect.Host)
	cancel()
	assert.ErrorIs(t, <-left, session.ErrNotSent)
}

// net/http refuses the proxy of a CGI program before it looks for a connection. A
// process reads the environment once, so this test starts another process.
func TestALoginIsNotSentIfNetHTTPRefusesTheProxy(t *testing.T) {
	if os.Getenv("REQUEST_METHOD") != "" {
		_, err := session.Create(t.Context(), alice, session.WithSite("http://127.0.0.1:1"), session.WithRetries(0))
		assert.ErrorIs(t, err, session.ErrNotSent)
		assert.ErrorContains(t, err, "refusing to use HTTP_PROXY")
		return
	}
	t.Parallel()
	cmd := exec.Command(os.Args[0], "-test.run=^TestALoginIsNotSentIfNetHTTPRefusesTheProxy$")
	cmd.Env = append(os.Environ(), "HTTP_PROXY=http://127.0.0.1:1", "REQUEST_METHOD=GET")
	out, err := cmd.CombinedOutput()
	assert.NoError(t, err, "%s", out)
}
