package session

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

// answer is an answer of the server, read to its end or to maxAnswer.
type answer struct {
	status int
	header http.Header
	body   []byte
	err    error // why body is not whole; safe to show
}

// maxAnswer limits the bytes of an answer. The answer to a login has about 500.
const maxAnswer = 64 << 10

// maxConnections limits the connections of one call: net/http repeats a request that
// has no body, over HTTP/2 without limit.
const maxConnections = 3

var (
	errTooLarge           = errors.New("the answer is larger than 64 KiB")
	errTooManyConnections = errors.New("the server closed three connections or streams without an answer")
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
	limit := int32(max(maxConnections, 1+c.retries))
	trace := &trace{}
	req := c.rest.R().SetContext(trace.attach(ctx, func() {
		if r.connections.Add(1) > limit {
			cancel()
		}
	}))
	if r.session == nil {
		req.SetHeader("Content-Type", "application/x-www-form-urlencoded").SetBody(bytes.NewReader(r.form))
	} else {
		req.SetHeader(AuthHeader, r.session.ID)
		if r.session.UserAgent != "" {
			req.SetHeader("User-Agent", r.session.UserAgent)
		}
	}
	resp, err := req.Execute(r.method, r.base+r.path)
	switch {
	case err == nil:
		return readAnswer(ctx, r, resp.RawResponse), nil
	case r.connections.Load() > limit:
		return nil, newTransportError(context.Background(), r, ErrOutcomeUnknown, errTooManyConnections)
	case trace.neverConnected(c.http.Transport == nil):
		return nil, newTransportError(ctx, r, ErrNotSent, err)
	}
	return nil, newTransportError(ctx, r, ErrOutcomeUnknown, err)
}

// trace records what the transport does with one request. Goroutines of the transport
// set its fields.
type trace struct {
	asked     atomic.Bool // for a connection
	connected atomic.Bool
	bodyRead  atomic.Bool // by a RoundTripper that is no *http.Transport
}

type traceKey struct{}

// attach returns a context that records the events of a request in t, and calls
// connected for each connection.
func (t *trace) attach(ctx context.Context, connected func()) context.Context {
	return httptrace.WithClientTrace(context.WithValue(ctx, traceKey{}, t), &httptrace.ClientTrace{
		GetConn: func(string) { t.asked.Store(true) },
		GotConn: func(httptrace.GotConnInfo) {
			t.connected.Store(true)
			connected()
		},
	})
}

// neverConnected reports whether no connection was established, so that no byte of
// the request can have reached the server. It is false if the RoundTripper traces
// nothing. The shared transport traces everything: if it did not even look for a
// connection, the proxy of the environment is not valid.
func (t *trace) neverConnected(sharedTransport bool) bool {
	return !t.connected.Load() && !t.bodyRead.Load() && (t.asked.Load() || sharedTransport)
}

// watchedBody reports each read to trace.
type watchedBody struct {
	io.ReadCloser
	trace *trace
}

func (b watchedBody) Read(p []byte) (int, error) {
	b.trace.bodyRead.Store(true)
	return b.ReadCloser.Read(p)
}

// onceTransport is the RoundTripper between the http.Client and the transport. It
// prevents the transport from sending a login twice, and net/http from following
// redirects.
type onceTransport struct{ base http.RoundTripper }

// RoundTrip removes GetBody from the request, without which no transport can send the
// body again, and Location from the answer, without which net/http neither follows a
// redirect nor quotes a bad Location in an error.
func (t onceTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	once := *req
	once.GetBody = nil
	_, standard := t.base.(*http.Transport) // reads no body without a connection
	switch trace, ok := req.Context().Value(traceKey{}).(*trace); {
	case req.ContentLength == 0: // resty adds an empty body to a log-out
		once.Body = nil
	case ok && !standard:
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

func readAnswer(ctx context.Context, r *request, resp *http.Response) *answer {
	defer resp.Body.Close()
	a := &answer{status: resp.StatusCode, header: resp.Header}
	if a.status < 200 { // the body of a 101 is a connection
		return a
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if len(data) > maxAnswer {
		data, err = data[:maxAnswer], errTooLarge
	}
	switch a.body = data; {
	case err != nil:
		a.err = newTransportError(ctx, r, nil, err)
	case a.status/100 == 3:
		a.err = errRedirect
	}
	return a
}
