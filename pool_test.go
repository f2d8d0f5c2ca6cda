package session

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

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
	var inside, handshakes, most, full atomic.Int32
	all := make(chan struct{})
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if inside.Add(1) == 1+logins { // the first login was alone
			close(all)
		} else if inside.Load() > 1 {
			<-all
		}
		w.WriteHeader(http.StatusCreated)
		io.WriteString(w, `{"id":"1"}`)
	}))
	srv.TLS = &tls.Config{
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			for n := handshakes.Add(1); ; {
				if m := most.Load(); n <= m || most.CompareAndSwap(m, n) {
					return nil, nil
				}
			}
		},
		VerifyConnection: func(state tls.ConnectionState) error {
			handshakes.Add(-1)
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
	assert.LessOrEqual(t, most.Load(), int32(8))
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

func TestALoginThatEndsWaitsForNoConnection(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	tr := newTransport()
	dial := func(ctx context.Context) error {
		_, err := tr.DialTLSContext(context.WithoutCancel(&exchange{Context: ctx}), "tcp", l.Addr().String())
		return err
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	for range 8 {
		wg.Add(1)
		go func() { defer wg.Done(); assert.Error(t, dial(t.Context())) }()
		conn, err := l.Accept()
		require.NoError(t, err)
		defer conn.Close() // until then there is no handshake
	}
	assert.ErrorIs(t, dial(ctx), context.Canceled)
}
