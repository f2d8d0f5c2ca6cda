package session_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/filescom/session"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	other := answer(t, 201, `{"id":"fixated"}`)
	for _, status := range []int{300, 301, 302, 303, 304, 305, 307, 308} {
		for _, location := range []string{other.URL + "/api/rest/v1/sessions?x=" + tokenCanary, "/elsewhere", "http://[" + tokenCanary, "", ":" + tokenCanary} {
			srv := answer(t, status, "", "Location", location)
			c := client(t, srv)
			_, err := c.Create(t.Context(), alice)
			assert.Equal(t, status, apiError(t, err).StatusCode)
			assert.ErrorContains(t, err, "redirects are not followed")
			assertHidesSecrets(t, err)
			err = c.Delete(t.Context(), &session.Session{ID: idCanary})
			assert.Equal(t, status, apiError(t, err).StatusCode)
			assertHidesSecrets(t, err)
			assert.Len(t, srv.seen(), 2)
		}
	}
	assert.Empty(t, other.seen())
}

func TestSwitchingProtocolsIsAnError(t *testing.T) {
	t.Parallel()
	origin, _ := listen(t, func(_ int, conn net.Conn) {
		readRequest(conn)
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"+idCanary)
		conn.Read(make([]byte, 1)) // until the client hangs up
	})
	_, err := session.Create(t.Context(), alice, session.WithSite(origin), session.WithHTTPClient(&http.Client{Transport: freshTransport(t)}))
	assert.Equal(t, 101, apiError(t, err).StatusCode)
	assertHidesSecrets(t, err)
}

func TestALoginIsPostedOnceWhateverTheAnswer(t *testing.T) {
	t.Parallel()
	for _, status := range []int{400, 401, 403, 404, 408, 409, 421, 422, 425, 429, 500, 502, 503, 504} {
		srv := answer(t, status, "", "Retry-After", "0")
		_, err := client(t, srv, session.WithRetries(5)).Create(t.Context(), alice)
		assert.Equal(t, status, apiError(t, err).StatusCode)
		assert.Len(t, srv.seen(), 1)
	}
}

func TestALoginIsPostedOnceWhenTheConnectionBreaks(t *testing.T) {
	t.Parallel()
	for name, serve := range map[string]func(net.Conn){
		"at once":           func(net.Conn) {},
		"after the request": func(conn net.Conn) { readRequest(conn) },
		"reset after it":    func(conn net.Conn) { readRequest(conn); conn.(*net.TCPConn).SetLinger(0) },
		"not HTTP":          func(conn net.Conn) { readRequest(conn); io.WriteString(conn, idCanary+" "+passwordCanary+"\r\n\r\n") },
		"bad header": func(conn net.Conn) {
			readRequest(conn)
			io.WriteString(conn, "HTTP/1.1 201 Created\r\n"+idCanary+"\r\n\r\n")
		},
		"bad status": func(conn net.Conn) { readRequest(conn); io.WriteString(conn, "HTTP/1.1 "+idCanary+" x\r\n\r\n") },
		"bad length": func(conn net.Conn) {
			readRequest(conn)
			io.WriteString(conn, "HTTP/1.1 201 OK\r\nContent-Length: "+idCanary+"\r\n\r\n")
		},
		"bad encoding": func(conn net.Conn) {
			readRequest(conn)
			io.WriteString(conn, "HTTP/1.1 201 OK\r\nTransfer-Encoding: "+idCanary+"\r\n\r\n")
		},
		"headers without end": func(conn net.Conn) {
			readRequest(conn)
			io.WriteString(conn, "HTTP/1.1 201 OK\r\n"+strings.Repeat("X: "+idCanary+"\r\n", 1<<10))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			origin, connections := listen(t, func(_ int, conn net.Conn) { serve(conn) })
			c := newClient(t, session.WithSite(origin), session.WithHTTPClient(&http.Client{Transport: freshTransport(t)}), session.WithRetries(5))
			_, err := c.Create(t.Context(), alice)
			assert.ErrorIs(t, err, session.ErrOutcomeUnknown)
			assert.NotErrorIs(t, err, session.ErrNotSent)
			assertHidesSecrets(t, err)
			assert.Equal(t, 1, connections())
		})
	}
}

func TestAnErrorThatMayQuoteTheServerIsDescribed(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]string{
		"SSH-2.0-" + tokenCanary + "\r\n":                "there was no valid answer",
		"HTTP/1.1 " + tokenCanary + "\r\n\r\n":           "there was no valid answer",
		"HTTP/1.1 201 OK\r\n" + tokenCanary + "\r\n\r\n": "there was no valid answer",
	} {
		origin, _ := listen(t, func(_ int, conn net.Conn) {
			readRequest(conn)
			io.WriteString(conn, answer)
		})
		_, err := session.Create(t.Context(), alice, session.WithSite(origin), session.WithHTTPClient(&http.Client{Transport: freshTransport(t)}))
		assert.ErrorIs(t, err, session.ErrOutcomeUnknown)
		assert.ErrorContains(t, err, want)
		assertHidesSecrets(t, err)
	}
}

func TestABrokenChunkIsAnInvalidResponse(t *testing.T) {
	t.Parallel()
	origin, _ := listen(t, func(_ int, conn net.Conn) {
		readRequest(conn)
		io.WriteString(conn, "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{\"id\r\n"+idCanary+"\r\n")
	})
	_, err := session.Create(t.Context(), alice, session.WithSite(origin), session.WithHTTPClient(&http.Client{Transport: freshTransport(t)}))
	assert.Equal(t, 201, apiError(t, err).StatusCode)
	assert.ErrorIs(t, err, session.ErrInvalidResponse)
	assertHidesSecrets(t, err)
}

// failingDialer fails a number of times, then connects.
func failingDialer(t *testing.T, fail int32, with error) (*http.Client, *atomic.Int32) {
	var dials atomic.Int32
	tr := freshTransport(t)
	tr.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if dials.Add(1) <= fail {
			return nil, with
		}
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	return &http.Client{Transport: tr}, &dials
}

func TestALoginIsTriedAgainIfNoConnectionWasEstablished(t *testing.T) {
	t.Parallel()
	srv := answer(t, 201, `{"id":"1"}`)
	hc, dials := failingDialer(t, 2, errBroken)
	_, err := session.Create(t.Context(), alice, session.WithSite(srv.URL), session.WithHTTPClient(hc))
	assert.NoError(t, err)
	assert.EqualValues(t, 3, dials.Load())
	assert.Len(t, srv.seen(), 1)

	for retries := range 2 {
		hc, dials = failingDialer(t, 100, errBroken)
		_, err = session.Create(t.Context(), alice, session.WithSite(srv.URL), session.WithHTTPClient(hc), session.WithRetries(retries))
		assert.ErrorIs(t, err, session.ErrNotSent)
		assert.NotErrorIs(t, err, session.ErrOutcomeUnknown)
		assert.ErrorIs(t, err, errBroken)
		assert.ErrorContains(t, err, "broken")
		assert.EqualValues(t, retries+1, dials.Load())
	}
	assert.Len(t, srv.seen(), 1)
}

func TestALoginIsNotSentIfTheConnectionIsRefused(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l.Close()
	_, err = session.Create(t.Context(), alice, session.WithSite("http://"+l.Addr().String()), session.WithRetries(0))
	assert.ErrorIs(t, err, session.ErrNotSent)
	assert.ErrorContains(t, err, "connection refused")
	var op *net.OpError
	assert.ErrorAs(t, err, &op)
	assertHidesSecrets(t, err)
}

func TestACertificateThatDoesNotVerifyIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	var handshakes atomic.Int32
	srv := httptest.NewUnstartedServer(http.NotFoundHandler())
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { handshakes.Add(1); return nil, nil }}
	srv.StartTLS()
	defer srv.Close()
	_, err := session.Create(t.Context(), alice, session.WithSite(srv.URL))
	assert.ErrorIs(t, err, session.ErrNotSent)
	var cert *tls.CertificateVerificationError
	assert.ErrorAs(t, err, &cert)
	assert.EqualValues(t, 1, handshakes.Load())
}

func TestALoginIsNotSentIfTheProxyRefusesTheConnection(t *testing.T) {
	t.Parallel()
	origin, connections := listen(t, func(_ int, conn net.Conn) {
		readRequest(conn)
		io.WriteString(conn, "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
	})
	tr := freshTransport(t)
	proxy, _ := url.Parse(origin)
	tr.Proxy = http.ProxyURL(proxy)
	_, err := session.Create(t.Context(), alice, session.WithHTTPClient(&http.Client{Transport: tr}), session.WithRetries(1))
	assert.ErrorIs(t, err, session.ErrNotSent)
	assert.ErrorContains(t, err, "Proxy Authentication Required")
	assert.Equal(t, 1, connections(), "another try would fail in the same way")
}

func TestNoErrorOfARoundTripperWithoutHTTPTraceIsErrNotSent(t *testing.T) {
	t.Parallel()
	for _, broken := range []error{errBroken, &net.OpError{Op: "dial", Net: "tcp", Err: errBroken}} {
		calls := 0
		hc := &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) { calls++; return nil, broken })}
		_, err := session.Create(t.Context(), alice, session.WithHTTPClient(hc))
		assert.ErrorIs(t, err, session.ErrOutcomeUnknown)
		assert.NotErrorIs(t, err, session.ErrNotSent)
		assert.ErrorIs(t, err, errBroken)
		assert.ErrorContains(t, err, "broken", "an error of the caller's own is shown")
		assert.Equal(t, 1, calls)
	}
}

// The RoundTripper posts the login by itself, and then does not get a connection.
func TestABodyThatWasReadCountsAsSent(t *testing.T) {
	t.Parallel()
	calls := 0
	hc, _ := failingDialer(t, 100, errBroken)
	dialing := hc.Transport
	hc.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
		calls++
		io.ReadAll(r.Body)
		return dialing.RoundTrip(r)
	})
	_, err := session.Create(t.Context(), alice, session.WithHTTPClient(hc), session.WithRetries(5))
	assert.ErrorIs(t, err, session.ErrOutcomeUnknown)
	assert.NotErrorIs(t, err, session.ErrNotSent)
	assert.Equal(t, 1, calls)
}

// Several libraries offer a RoundTripper that repeats requests after a 503.
func TestARoundTripperThatRepeatsALoginIsStopped(t *testing.T) {
	t.Parallel()
	srv := answer(t, 503, "")
	hc := &http.Client{Transport: roundTripper(func(r *http.Request) (resp *http.Response, err error) {
		body, _ := io.ReadAll(r.Body)
		for range 3 {
			again := r.Clone(r.Context())
			again.Body = io.NopCloser(bytes.NewReader(body))
			if resp, err = srv.Client().Transport.RoundTrip(again); err != nil {
				return nil, err
			}
			resp.Body.Close()
		}
		return resp, nil
	})}
	_, err := session.Create(t.Context(), alice, session.WithSite(srv.URL), session.WithHTTPClient(hc))
	assert.ErrorIs(t, err, session.ErrOutcomeUnknown)
	assert.NotErrorIs(t, err, context.Canceled)
	assert.ErrorContains(t, err, "the request was repeated too often by the transport")
	assert.Len(t, srv.seen(), 1)
}

func TestTheNumberOfRetriesIsNotLimited(t *testing.T) {
	t.Parallel()
	for _, n := range []int{math.MaxInt32, math.MaxInt} {
		srv := answer(t, 201, `{"id":"1"}`)
		_, err := client(t, srv, session.WithRetries(n)).Create(t.Context(), alice)
		assert.NoError(t, err)
	}
}

func TestATimeoutOfTheHandshakeMatchesDeadlineExceeded(t *testing.T) {
	t.Parallel()
	origin, _ := listen(t, func(_ int, conn net.Conn) { io.Copy(io.Discard, conn) })
	tr := freshTransport(t)
	tr.TLSHandshakeTimeout = 20 * time.Millisecond
	_, err := session.Create(t.Context(), alice, session.WithSite(strings.Replace(origin, "http", "https", 1)),
		session.WithHTTPClient(&http.Client{Transport: tr}), session.WithRetries(0))
	assert.ErrorIs(t, err, session.ErrNotSent)
	assert.ErrorIs(t, err, context.DeadlineExceeded)
}

// failingConn writes no byte after failing is set.
type failingConn struct {
	net.Conn
	failing *atomic.Bool
}

func (c failingConn) Write(p []byte) (int, error) {
	if c.failing.Load() {
		c.Conn.Close()
		return 0, errBroken
	}
	return c.Conn.Write(p)
}

// Without GetBody, net/http repeats no login, not even one of which no byte was
// written. It repeats a log-out.
func TestALoginOverABrokenIdleConnectionIsNotRepeated(t *testing.T) {
	t.Parallel()
	for name, srv := range map[string]*httptest.Server{
		"HTTP/1.1":          answer(t, 201, `{"id":"1"}`).Server,
		"HTTP/1.1 over TLS": loginServer(t, false),
		"HTTP/2":            loginServer(t, true),
	} {
		tr := freshTransport(t)
		if srv.Certificate() != nil {
			tr = overHTTP2(t, srv)
		}
		var failing atomic.Bool
		dials := 0
		tr.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			if dials++; dials > 1 {
				return conn, err
			}
			return failingConn{conn, &failing}, err
		}
		c := newClient(t, session.WithSite(srv.URL), session.WithHTTPClient(&http.Client{Transport: tr}))
		_, err := c.Create(t.Context(), alice)
		require.NoError(t, err, name)
		failing.Store(true)
		_, err = c.Create(t.Context(), alice)
		assert.ErrorIs(t, err, session.ErrOutcomeUnknown, name)
		s, err := c.Create(t.Context(), alice)
		require.NoError(t, err, name)
		assert.NoError(t, c.Delete(t.Context(), s), name)
		assert.Equal(t, 2, dials, name)
	}
}

func TestAnErrorThatQuotesASecretIsNotShown(t *testing.T) {
	t.Parallel()
	for _, text := range []string{passwordCanary, "x " + url.QueryEscape(passwordCanary), `"` + idCanary + `"`} {
		hc := &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) { return nil, errors.New(text) })}
		_, err := session.Create(t.Context(), alice, session.WithHTTPClient(hc))
		assert.ErrorIs(t, err, session.ErrOutcomeUnknown)
		assertHidesSecrets(t, err)
	}
}

func TestTheErrorOfATimeoutNamesTheTimeout(t *testing.T) {
	t.Parallel()
	origin, _ := listen(t, func(_ int, conn net.Conn) {
		readRequest(conn)
		conn.Read(make([]byte, 1)) // until the client hangs up
	})
	slow := freshTransport(t)
	slow.ResponseHeaderTimeout = 20 * time.Millisecond
	for name, opts := range map[string][]session.Option{
		"of the http.Client": {session.WithHTTPClient(&http.Client{Transport: freshTransport(t), Timeout: 20 * time.Millisecond})},
		"of the transport":   {session.WithHTTPClient(&http.Client{Transport: slow})},
		"of the client":      {session.WithHTTPClient(&http.Client{Transport: freshTransport(t)}), session.WithTimeout(20 * time.Millisecond)},
	} {
		_, err := session.Create(t.Context(), alice, append(opts, session.WithSite(origin))...)
		assert.ErrorIs(t, err, session.ErrOutcomeUnknown, name)
		assert.ErrorIs(t, err, context.DeadlineExceeded, name)
		assert.ErrorContains(t, err, "deadline exceeded", name)
		assertHidesSecrets(t, err)
	}
}

func TestErrorsAsFindsANetworkErrorAfterTheRequestWasSent(t *testing.T) {
	t.Parallel()
	origin, _ := listen(t, func(_ int, conn net.Conn) {
		readRequest(conn)
		conn.(*net.TCPConn).SetLinger(0)
	})
	hc := session.WithHTTPClient(&http.Client{Transport: freshTransport(t)})
	_, err := session.Create(t.Context(), alice, session.WithSite(origin), hc)
	var network net.Error
	assert.ErrorAs(t, err, &network)
	assert.ErrorContains(t, err, " tcp 127.0.0.1:")

	relay := &http.Client{Transport: freshTransport(t)} // its error has the URL of the caller twice
	hc = session.WithHTTPClient(&http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		return relay.Post(origin, "text/plain", r.Body)
	})})
	_, err = session.Create(t.Context(), alice, session.WithSite(origin), hc)
	assert.ErrorContains(t, err, " tcp 127.0.0.1:")
}

type stopError struct{ text string }

func (e *stopError) Error() string { return e.text }

func TestErrorsAsFindsTheCauseOfAContext(t *testing.T) {
	t.Parallel()
	for text, found := range map[string]bool{`user pressed "stop"`: true, passwordCanary: false} {
		ctx, cancel := context.WithCancelCause(t.Context())
		stop := make(chan struct{})
		srv := serve(t, func(http.ResponseWriter, *http.Request) { cancel(&stopError{text}); <-stop })
		_, err := client(t, srv).Create(ctx, alice)
		close(stop)
		var cause *stopError
		assert.Equal(t, found, errors.As(err, &cause))
		assert.ErrorIs(t, err, context.Canceled)
		assertHidesSecrets(t, err)
	}
}

// carrier is an error type of a caller's own RoundTripper.
type carrier struct{ text string }

func (e *carrier) Error() string { return e.text }

func TestErrorsAsFindsTheErrorOfTheCallersRoundTripper(t *testing.T) {
	t.Parallel()
	for text, found := range map[string]bool{"circuit open": true, passwordCanary: false} {
		for _, wrap := range []func(error) error{
			func(err error) error { return err },
			func(err error) error { return fmt.Errorf("wrapped: %w", err) },
			func(err error) error { return &net.OpError{Op: "dial", Err: err} },
		} {
			sent := wrap(&carrier{text})
			hc := &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) { return nil, sent })}
			_, err := session.Create(t.Context(), alice, session.WithHTTPClient(hc))
			var own *carrier
			assert.Equal(t, found, errors.As(err, &own))
			assert.ErrorIs(t, err, sent)
			assert.NotErrorIs(t, err, context.Canceled)
			assertHidesSecrets(t, err)
		}
	}
}

func TestARoundTripperThatReturnsNothingIsAnError(t *testing.T) {
	t.Parallel()
	hc := &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) { return nil, nil })}
	_, err := session.Create(t.Context(), alice, session.WithHTTPClient(hc))
	assert.ErrorIs(t, err, session.ErrOutcomeUnknown)
	hc.Transport = roundTripper(func(r *http.Request) (*http.Response, error) { return &http.Response{StatusCode: 201, Request: r}, nil })
	_, err = session.Create(t.Context(), alice, session.WithHTTPClient(hc))
	assert.ErrorIs(t, err, session.ErrInvalidResponse)
}

func TestAContextThatHasEndedSendsNothing(t *testing.T) {
	t.Parallel()
	srv := answer(t, 201, `{"id":"1"}`)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errBroken)
	_, err := client(t, srv).Create(ctx, alice)
	for _, want := range []error{session.ErrNotSent, context.Canceled, errBroken} {
		assert.ErrorIs(t, err, want)
		assert.ErrorIs(t, client(t, srv).Delete(ctx, &session.Session{ID: "1"}), want)
	}
	assert.Empty(t, srv.seen())
}

func TestTheErrorOfACanceledLoginMatchesItsCause(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := make(chan struct{})
	srv := serve(t, func(http.ResponseWriter, *http.Request) { cancel(errBroken); <-stop })
	_, err := client(t, srv).Create(ctx, alice)
	close(stop)
	for _, want := range []error{session.ErrOutcomeUnknown, context.Canceled, errBroken} {
		assert.ErrorIs(t, err, want)
	}
	assertHidesSecrets(t, err)
}

func TestATimeoutLimitsTheExchangeAndItsBody(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]string{"no answer": "", "drip": "HTTP/1.1 201 Created\r\nContent-Length: 1000\r\n\r\n{\"id\":\"" + idCanary} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			origin, _ := listen(t, func(_ int, conn net.Conn) {
				readRequest(conn)
				io.WriteString(conn, begin)
				conn.Read(make([]byte, 1)) // until the client hangs up
			})
			hc := session.WithHTTPClient(&http.Client{Transport: freshTransport(t)})
			_, err := session.Create(t.Context(), alice, session.WithSite(origin), hc, session.WithTimeout(50*time.Millisecond))
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			assert.ErrorIs(t, err, session.ErrOutcomeUnknown)
			assertHidesSecrets(t, err)

			callers := session.WithHTTPClient(&http.Client{Transport: freshTransport(t), Timeout: 50 * time.Millisecond})
			_, err = session.Create(t.Context(), alice, session.WithSite(origin), callers)
			assert.ErrorIs(t, err, context.DeadlineExceeded, "the caller's Timeout is kept")
			assertHidesSecrets(t, err)
		})
	}
}

func TestTheWaitBeforeARetryEndsWithTheContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	hc, dials := failingDialer(t, 100, errBroken)
	quit := &cancelOnWarn{cancel: cancel}
	_, err := session.Create(ctx, alice, session.WithHTTPClient(hc), session.WithRetries(1000), session.WithLogger(slog.New(quit)))
	for _, want := range []error{session.ErrNotSent, context.Canceled, errBroken} {
		assert.ErrorIs(t, err, want)
	}
	assert.EqualValues(t, 3, dials.Load())

	srv := answer(t, 503, "")
	ctx, cancel = context.WithCancel(t.Context())
	quit = &cancelOnWarn{cancel: cancel}
	err = client(t, srv, session.WithRetries(1000), session.WithLogger(slog.New(quit))).Delete(ctx, &session.Session{ID: idCanary})
	assert.ErrorIs(t, err, context.Canceled)
	assert.ErrorIs(t, err, session.ErrOutcomeUnknown)
	assert.Equal(t, 503, apiError(t, err).StatusCode)
}

// cancelOnWarn cancels a while after the third warning, in the wait that follows it.
type cancelOnWarn struct {
	slog.Handler
	cancel context.CancelFunc
	n      int
}

func (h *cancelOnWarn) Enabled(context.Context, slog.Level) bool { return true }

func (h *cancelOnWarn) Handle(context.Context, slog.Record) error {
	if h.n++; h.n == 3 {
		time.AfterFunc(20*time.Millisecond, h.cancel)
	}
	return nil
}

func TestTheSizeOfAnAnswerIsLimited(t *testing.T) {
	t.Parallel()
	pad := func(n int) string { return `{"id":"1","x":"` + strings.Repeat("x", n-17) + `"}` }
	_, err := created(t, pad(64<<10))
	assert.NoError(t, err)
	_, err = created(t, pad(64<<10+1))
	assert.ErrorIs(t, err, session.ErrInvalidResponse)
	assert.ErrorIs(t, err, session.ErrOutcomeUnknown)
	assert.ErrorContains(t, err, "larger than 64 KiB")
}

func TestCompressionThatNobodyAskedForIsAnInvalidResponse(t *testing.T) {
	t.Parallel()
	var body bytes.Buffer
	zw := gzip.NewWriter(&body)
	io.WriteString(zw, `{"id":"`+idCanary+`"}`)
	zw.Close()
	srv := answer(t, 201, body.String(), "Content-Encoding", "gzip")
	_, err := client(t, srv).Create(t.Context(), alice)
	assert.ErrorIs(t, err, session.ErrInvalidResponse)
	assert.Equal(t, []string{"identity"}, srv.seen()[0].header["Accept-Encoding"])
	assertHidesSecrets(t, err)
}

func TestTheSizeOfHeadersIsLimited(t *testing.T) {
	t.Parallel()
	srv := answer(t, 201, `{"id":"1"}`, "X-Long", strings.Repeat("x", 70<<10))
	_, err := session.Create(t.Context(), alice, session.WithSite(srv.URL))
	assert.ErrorIs(t, err, session.ErrOutcomeUnknown)
	assert.Len(t, srv.seen(), 1)
}

func TestOldTLSIsRefused(t *testing.T) {
	t.Parallel()
	srv := httptest.NewUnstartedServer(http.NotFoundHandler())
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.TLS = &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}
	srv.StartTLS()
	defer srv.Close()
	_, err := session.Create(t.Context(), alice, session.WithSite(srv.URL), session.WithRetries(0))
	assert.ErrorIs(t, err, session.ErrNotSent)
	assert.ErrorContains(t, err, "protocol version")
}

// With GetBody, net/http could post a login again by itself.
func TestALoginHasNoGetBody(t *testing.T) {
	t.Parallel()
	want := "username=alice&password=" + url.QueryEscape(passwordCanary)
	hc := &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		assert.Nil(t, r.GetBody)
		assert.EqualValues(t, len(want), r.ContentLength)
		got, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		assert.Equal(t, want, string(got))
		return nil, errBroken
	})}
	_, err := session.Create(t.Context(), alice, session.WithHTTPClient(hc))
	assert.ErrorIs(t, err, errBroken)
	assertNoSecret(t, err.Error())
}
