package session

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
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
	served := wanting(t.Context())
	served.gotConn(httptrace.GotConnInfo{})
	assert.ErrorIs(t, dial(served), context.Canceled, "by another connection")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	served.getConn("") // again, since that one had died
	for i := range 8 {
		x := served
		if i > 0 {
			x = wanting(t.Context())
		}
		wg.Add(1)
		go func() { defer wg.Done(); assert.Error(t, dial(x)) }()
		conn, err := l.Accept()
		require.NoError(t, err)
		defer conn.Close() // until then there is no handshake
	}
	assert.ErrorIs(t, dial(wanting(ctx)), context.Canceled)
}
