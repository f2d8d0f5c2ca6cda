package session

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// answer is an answer of the server, read to its end or to maxAnswer.
type answer struct {
	to     *request
	status int
	header http.Header
	body   []byte
	err    error // what is wrong with the answer, or what to do; safe to show
}

// maxAnswer limits the bytes of an answer. The answer to a login has about 500.
const maxAnswer = 64 << 10

// maxRepeats limits the connections that all attempts of one request get after the first
// one, since net/http itself repeats a request that has no body, over HTTP/2 without limit.
func (c *Client) maxRepeats() int64 { return int64(max(2, c.retries)) }

var (
	errTooLarge           = errors.New("the answer is larger than 64 KiB")
	errNoAnswer           = errors.New("the server closed the connection without an answer")
	errTooManyConnections = errors.New("the request was repeated too often by the transport")
	errRedirect           = errors.New("redirects are not followed; use the base URL of the site itself")
)

// timeoutError is the cause of an exchange that took longer than [WithTimeout].
type timeoutError time.Duration

func (e timeoutError) Error() string { return "no answer within " + time.Duration(e).String() }

// attempt sends r once and reads the answer. Its error is a *transportError.
func (c *Client) attempt(ctx context.Context, r *request) (*answer, error) {
	if ctx.Err() != nil {
		return nil, newTransportError(ctx, r, ErrNotSent, ctx.Err())
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout, timeoutError(c.timeout))
	defer cancel()
	trace := &requestTrace{}
	req := c.rest.R().SetContext(httptrace.WithClientTrace(context.WithValue(ctx, traceKey{}, trace), &httptrace.ClientTrace{
		GetConn: func(string) { trace.asked.Store(true) },
		GotConn: func(httptrace.GotConnInfo) {
			again := trace.connected.Swap(true) && trace.bodyRead.Load() // a RoundTripper of the caller sends the body again
			if r.connections.Add(1)-1 > c.maxRepeats() || again {
				trace.repeated.Store(true)
				cancel()
			}
		},
	}))
	if r.sessionID == "" {
		req.SetHeader("Content-Type", "application/x-www-form-urlencoded").SetBody(bytes.NewReader(r.form))
	} else {
		req.SetHeader(AuthHeader, r.sessionID).SetHeader("User-Agent", r.userAgent)
	}
	resp, err := req.Execute(r.method, r.base+r.path)
	switch {
	case err == nil:
		return r.readAnswer(ctx, resp.RawResponse), nil
	case trace.repeated.Load(): // the trace has canceled ctx
		return nil, newTransportError(context.Background(), r, ErrOutcomeUnknown, errTooManyConnections)
	// A RoundTripper that does not ask traces nothing, or it is the shared transport
	// and the proxy of the environment is not valid.
	case !trace.connected.Load() && !trace.bodyRead.Load() && (trace.asked.Load() || c.http.Transport == nil):
		return nil, newTransportError(ctx, r, ErrNotSent, err)
	}
	return nil, newTransportError(ctx, r, ErrOutcomeUnknown, err)
}

// requestTrace records what the transport does with one request. Goroutines of the
// transport set its fields.
type requestTrace struct {
	asked     atomic.Bool // for a connection
	connected atomic.Bool
	repeated  atomic.Bool // more often than allowed
	bodyRead  atomic.Bool // by a RoundTripper of the caller that is no *http.Transport
}

type traceKey struct{}

// watchedBody reports each read to trace.
type watchedBody struct {
	io.ReadCloser
	trace *requestTrace
}

func (b watchedBody) Read(p []byte) (int, error) {
	b.trace.bodyRead.Store(true)
	return b.ReadCloser.Read(p)
}

// onceTransport is the RoundTripper between the http.Client and the transport. It
// prevents the transport from sending a login twice, and net/http from following
// redirects.
type onceTransport struct{ base http.RoundTripper }

// RoundTrip removes GetBody from the request, so that no transport can send the body
// again. It removes Location from a redirect, so that net/http does not follow it and
// no error quotes it.
func (t onceTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	once := *req
	once.GetBody = nil
	// An *http.Transport reads no body before it has a connection, and would send a
	// watched one in a packet of its own.
	_, standard := t.base.(*http.Transport)
	if req.ContentLength == 0 { // resty adds an empty body to a log-out
		once.Body = nil
	} else if trace, ok := req.Context().Value(traceKey{}).(*requestTrace); ok && !standard {
		once.Body = watchedBody{req.Body, trace}
	}
	resp, err := t.base.RoundTrip(&once)
	if err == nil && resp != nil && resp.StatusCode/100 == 3 {
		plain := *resp
		plain.Header = resp.Header.Clone()
		plain.Header.Del("Location")
		resp = &plain
	}
	return resp, err
}

func (r *request) readAnswer(ctx context.Context, resp *http.Response) *answer {
	defer resp.Body.Close()
	a := &answer{to: r, status: resp.StatusCode, header: resp.Header}
	if a.status < 200 { // the body of a 101 is a connection
		return a
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if len(data) > maxAnswer {
		data, err = data[:maxAnswer], errTooLarge
	}
	a.body = data
	switch {
	case err != nil:
		a.err = newTransportError(ctx, r, nil, err)
	case a.status/100 == 3:
		a.err = errRedirect
	}
	return a
}

// transportError is an error of the transport. Its text is safe to show. [errors.Is]
// finds every error in cause. [errors.As] finds them only if the text of cause is
// shown. There is no Unwrap method, so that code that prints a chain of errors stops
// here.
type transportError struct {
	op      string // what was being done
	outcome error  // ErrNotSent or ErrOutcomeUnknown; nil for a part of another error
	text    string
	cause   error
	exposed bool // errors.As may find cause
}

// newTransportError returns the error of an exchange that failed with err under ctx.
// It shows the text of an err that quotes nothing that a server sent. Before a
// connection is established, nobody has a secret of the request, so every text is
// shown.
func newTransportError(ctx context.Context, r *request, outcome, err error) *transportError {
	for outer, ok := err.(*url.Error); ok; outer, ok = err.(*url.Error) {
		err = outer.Err // without the method and the URL; op names the host
	}
	shown := true
	switch {
	case ctx.Err() != nil:
		err = contextError(ctx)
	case outcome == ErrNotSent, err == errTooLarge, err == errTooManyConnections:
	case isTimeout(err):
		err = context.DeadlineExceeded
	case err == io.EOF:
		err = errNoAnswer
	default:
		ofNet := errors.As(err, new(*net.OpError))
		shown = (ofNet || r.callersTransport) && !strings.Contains(err.Error(), `"`)
	}
	e := &transportError{op: r.op, outcome: outcome, text: r.secrets.clean(err.Error()), cause: err}
	e.exposed = shown && e.text != redacted
	if !shown {
		e.text = "there was no valid answer; the error is not shown, since it may quote the server"
	}
	if outcome == ErrNotSent && r.mayHaveArrived { // by an earlier attempt
		e.outcome = ErrOutcomeUnknown
	}
	return e
}

func (e *transportError) Error() string {
	if e.outcome == nil {
		return e.text
	}
	return "session: " + e.op + ": " + e.outcome.Error() + ": " + e.text
}

// Is reports whether an error that e holds matches target.
func (e *transportError) Is(target error) bool {
	return target == e.outcome || errors.Is(e.cause, target) || target == context.DeadlineExceeded && isTimeout(e.cause)
}

// As finds an error that e holds, if it may be shown.
func (e *transportError) As(target any) bool { return e.exposed && errors.As(e.cause, target) }

// permanent reports whether the next attempt would fail in the same way. A transport of
// the caller reports the 407 of a proxy by its status text.
func (e *transportError) permanent() bool {
	return errors.As(e.cause, new(*tls.CertificateVerificationError)) || errors.Is(e.cause, errProxyAuth) ||
		e.cause == errTooManyConnections || e.cause.Error() == http.StatusText(http.StatusProxyAuthRequired)
}

// Format prints the text of Error.
func (e transportError) Format(f fmt.State, verb rune) { format(f, verb, e.Error()) }

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// contextError returns the error of a context that has ended, and its cause.
func contextError(ctx context.Context) error {
	if cause := context.Cause(ctx); cause != ctx.Err() {
		return fmt.Errorf("%w: %w", ctx.Err(), cause)
	}
	return ctx.Err()
}
