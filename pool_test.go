package session

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// pooled is a client with a transport as the shared one, that trusts srv.
func pooled(t *testing.T, srv *httptest.Server) *Client {
	tr := newTransport()
	tr.TLSClientConfig.RootCAs = x509.NewCertPool()
	tr.TLSClientConfig.RootCAs.AddCert(srv.Certificate())
	t.Cleanup(tr.CloseIdleConnections)
	c, err := NewClient(WithBaseURL(srv.URL), WithHTTPClient(&http.Client{Transport: tr}))
	require.NoError(t, err)
	return c
}

// together calls f n times at once and waits for all.
func together(n int, f func()) {
	var wg sync.WaitGroup
	for range n {
		wg.Add(1)
		go func() { defer wg.Done(); f() }()
	}
	wg.Wait()
}

func TestManyLoginsConnectEightAtATimeAndResume(t *testing.T) {
	t.Parallel()
	const logins = 64
	var inside, arrived, handshakes, most, full atomic.Int32
	all := make(chan struct{})
	var eight [1 + logins/8]chan struct{}
	for i := range eight {
		eight[i] = make(chan struct{})
	}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		switch inside.Add(1) {
		case 1:
			w.Header().Set("Connection", "close") // or it would serve another login
		case 1 + logins:
			close(all)
		default:
			<-all
		}
		w.WriteHeader(http.StatusCreated)
		io.WriteString(w, `{"id":"1"}`)
	}))
	srv.TLS = &tls.Config{
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			n := arrived.Add(1) - 1 // 0 is the first login's
			for at := handshakes.Add(1); ; {
				if m := most.Load(); at <= m || most.CompareAndSwap(m, at) {
					break
				}
			}
			if n%8 == 0 {
				close(eight[n/8])
			}
			<-eight[(n+7)/8] // a handshake waits until eight are under way
			handshakes.Add(-1)
			return nil, nil
		},
		VerifyConnection: func(state tls.ConnectionState) error {
			if !state.DidResume {
				full.Add(1)
			}
			return nil
		},
	}
	srv.StartTLS()
	defer srv.Close()
	c := pooled(t, srv)
	logIn := func() {
		_, err := c.Create(t.Context(), CreateParams{Username: "alice", Password: "secret"})
		assert.NoError(t, err)
	}
	logIn()
	together(logins, logIn)
	assert.EqualValues(t, 8, most.Load())
	assert.EqualValues(t, 1, full.Load(), "the others resumed")
}

func TestTheSharedTransportSpeaksHTTP2(t *testing.T) {
	t.Parallel()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "HTTP/2.0", r.Proto)
		w.WriteHeader(http.StatusCreated)
		io.WriteString(w, `{"id":"1"}`)
	}))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	c := pooled(t, srv)
	together(100, func() {
		s, err := c.Create(t.Context(), CreateParams{Username: "alice", Password: "secret"})
		if assert.NoError(t, err) {
			assert.NoError(t, c.Delete(t.Context(), s))
		}
	})
}

func TestNoConnectionIsMadeThatNobodyWaitsFor(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	tr := newTransport()
	dial := func(x *exchange) error {
		_, err := tr.DialTLSContext(context.WithoutCancel(x), "tcp", l.Addr().String())
		return err
	}
	wanting := func(ctx context.Context) *exchange {
		x := &exchange{Context: ctx}
		x.getConn("")
		return x
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := wanting(ctx)
	served.gotConn(httptrace.GotConnInfo{})
	assert.ErrorIs(t, dial(served), context.Canceled, "by another connection")

	served.getConn("") // again, since that one had died
	var wg sync.WaitGroup
	hang := func(x *exchange) {
		wg.Add(1)
		go func() { defer wg.Done(); assert.ErrorIs(t, dial(x), context.Canceled) }()
		conn, err := l.Accept()
		require.NoError(t, err)
		t.Cleanup(func() { conn.Close() }) // and no handshake
	}
	for i := range 8 {
		x := served
		if i > 0 {
			x = wanting(ctx)
		}
		hang(x)
	}
	over, end := context.WithCancel(t.Context())
	end()
	assert.ErrorIs(t, dial(wanting(over)), context.Canceled, "before there was a place")
	hang(wanting(ctx)) // in a place that is given back after a second
	cancel()
	wg.Wait()
}

// A proxy that accepts and says nothing is left with the login.
func TestAProxyThatHangsIsLeft(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	tr := newTransport()
	tr.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: l.Addr().String()})
	c, err := NewClient(WithHTTPClient(&http.Client{Transport: tr}), WithRetries(0))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		_, err := c.Create(ctx, CreateParams{Username: "alice", Password: "secret"})
		left <- err
	}()
	conn, err := l.Accept()
	require.NoError(t, err)
	defer conn.Close()
	connect, err := http.ReadRequest(bufio.NewReader(conn))
	require.NoError(t, err)
	assert.Equal(t, "CONNECT app.files.com:443", connect.Method+" "+connect.Host)
	cancel()
	assert.ErrorIs(t, <-left, ErrNotSent)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(30*time.Second)))
	_, err = conn.Read(make([]byte, 1))
	assert.ErrorIs(t, err, io.EOF)
}

// A login goes through a proxy's tunnel, which outlives it and serves the next.
func TestALoginGoesThroughAProxy(t *testing.T) {
	t.Parallel()
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusCreated)
		io.WriteString(w, `{"id":"1"}`)
	}))
	defer srv.Close()
	var tunnels atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tunnels.Add(1)
		there, err := net.Dial("tcp", srv.Listener.Addr().String())
		if !assert.NoError(t, err) {
			return
		}
		here, _, err := http.NewResponseController(w).Hijack()
		if !assert.NoError(t, err) {
			return
		}
		io.WriteString(here, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { io.Copy(there, here); there.Close() }()
		io.Copy(here, there)
		here.Close()
	}))
	defer proxy.Close()
	c := pooled(t, srv)
	proxyURL, err := url.Parse(proxy.URL)
	require.NoError(t, err)
	c.http.Transport.(*http.Transport).Proxy = http.ProxyURL(proxyURL)
	for range 3 {
		_, err := c.Create(t.Context(), CreateParams{Username: "alice", Password: "secret"})
		require.NoError(t, err)
	}
	assert.EqualValues(t, 1, tunnels.Load())
}
