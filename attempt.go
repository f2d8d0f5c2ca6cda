package session

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
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
	trace := &requestTrace{cancel: cancel}
	req := c.rest.R().SetContext(trace.attach(ctx))
	if r.session == nil {
		req.SetHeader("Content-Type", "application/x-www-form-urlencoded").SetBody(bytes.NewReader(r.form))
	} else {
		req.SetHeader(AuthHeader, r.session.ID)
		if r.session.UserAgent != "" {
			req.SetHeader("User-Agent", r.session.UserAgent)
		}
	}
	resp, err := req.Execute(r.method, r.base+sessionsPath)
	switch {
	case err == nil:
		return readAnswer(ctx, r, resp.RawResponse), nil
	case trace.established.Load() > maxConnections: // the trace has canceled it
		return nil, newTransportError(context.Background(), r, ErrOutcomeUnknown, errTooManyConnections)
	case trace.neverConnected(c.http.Transport == nil):
		return nil, newTransportError(ctx, r, ErrNotSent, err)
	}
	return nil, newTransportError(ctx, r, ErrOutcomeUnknown, err)
}

// requestTrace records what the transport does with one request. Goroutines of the
// transport set its fields.
type requestTrace struct {
	cancel      context.CancelFunc // ends the attempt
	asked       atomic.Bool        // the transport looked for a connection
	established atomic.Int32       // connections that the request got
	http2       atomic.Bool        // the last of them speaks HTTP/2
	written     atomic.Bool        // the request was written to its end
	bodyUsed    atomic.Bool        // the body was read, or asked for again
}

// maxConnections limits the connections of one attempt. net/http repeats a
// request by itself, without limit, when an HTTP/2 server resets its stream.
const maxConnections = 3

type traceKey struct{}

// attach returns a context that records the events of a request in t.
func (t *requestTrace) attach(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(context.WithValue(ctx, traceKey{}, t), &httptrace.ClientTrace{
		GetConn: func(string) { t.asked.Store(true) },
		GotConn: func(httptrace.GotConnInfo) {
			t.http2.Store(false)
			if t.established.Add(1) > maxConnections {
				t.cancel()
			}
		},
		WroteHeaderField: func(key string, _ []string) {
			if strings.HasPrefix(key, ":") {
				t.http2.Store(true)
			}
		},
		WroteRequest: func(info httptrace.WroteRequestInfo) {
			if info.Err == nil {
				t.written.Store(true)
			}
		},
	})
}

// neverConnected reports whether no connection was established, so that no byte of
// the request can have reached the server. It is false if the RoundTripper traces
// nothing. The shared transport traces everything: if it did not even look for a
// connection, the proxy of the environment is not valid.
func (t *requestTrace) neverConnected(sharedTransport bool) bool {
	return t.established.Load() == 0 && !t.bodyUsed.Load() && (t.asked.Load() || sharedTransport)
}

// getBody returns the body of a request again, unless HTTP/2 has sent it already.
// HTTP/1.1 asks for it only if an idle connection turned out to be closed. Until
// then the request was written to a buffer only.
func (t *requestTrace) getBody(again func() (io.ReadCloser, error)) (io.ReadCloser, error) {
	t.bodyUsed.Store(true)
	if t.written.Load() && t.http2.Load() {
		return nil, errSentWhole
	}
	return again()
}

// watchedBody reports each read to trace.
type watchedBody struct {
	io.ReadCloser
	trace *requestTrace
}

func (b watchedBody) Read(p []byte) (int, error) {
	b.trace.bodyUsed.Store(true)
	return b.ReadCloser.Read(p)
}

var (
	errSentWhole          = errors.New("the server closed the stream after the request was sent; the request is not repeated")
	errTooManyConnections = errors.New("the server closed three connections or streams without an answer")
	errTooLarge           = errors.New("the answer is larger than 64 KiB")
)

// onceTransport is the RoundTripper between the http.Client and the transport. It
// prevents the transport from sending a login twice, and net/http from following
// redirects.
type onceTransport struct{ base http.RoundTripper }

// RoundTrip removes the Location header of a redirect. Without it, net/http neither
// follows the redirect nor quotes a bad Location in an error.
func (t onceTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	once := *req
	if req.ContentLength == 0 { // resty adds an empty body to a log-out, which net/http would have to probe
		once.Body, once.GetBody = nil, nil
	} else if trace, ok := req.Context().Value(traceKey{}).(*requestTrace); ok {
		once.GetBody = func() (io.ReadCloser, error) { return trace.getBody(req.GetBody) }
		// An *http.Transport reads no body without a connection. It would write a
		// body of an unknown type after the header, in a separate packet.
		if _, standard := t.base.(*http.Transport); !standard {
			once.Body = watchedBody{req.Body, trace}
		}
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
	a := &answer{status: resp.StatusCode, header: resp.Header}
	if a.status < 200 { // the body of a 101 is a connection
		resp.Body.Close()
		return a
	}
	var err error
	if a.body, err = readBody(ctx, resp); err != nil {
		a.err = newTransportError(ctx, r, nil, err)
	} else if a.status/100 == 3 {
		a.err = errRedirect
	}
	return a
}

// readBody reads the body of resp under ctx and closes it. In HTTP/2, either call
// may wait for other requests on the connection, even after ctx has ended. So
// readBody does not wait for them after that.
func readBody(ctx context.Context, resp *http.Response) ([]byte, error) {
	if resp.ProtoMajor < 2 {
		return readAndClose(resp.Body)
	}
	type result struct {
		data []byte
		err  error
	}
	done := make(chan result, 1)
	go func() {
		data, err := readAndClose(resp.Body)
		done <- result{data, err}
	}()
	select {
	case r := <-done:
		return r.data, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func readAndClose(body io.ReadCloser) ([]byte, error) {
	defer body.Close()
	data, err := readLimited(body)
	if err != nil {
		return data, err
	}
	return decompress(data)
}

// maxAnswer limits the bytes of an answer, before and after decompression. The
// answer to a login has about 500.
const maxAnswer = 64 << 10

func readLimited(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxAnswer+1))
	if len(data) > maxAnswer {
		return data[:maxAnswer], errTooLarge
	}
	return data, err
}

// decompress decodes data if it is gzip, whatever its Content-Encoding says.
// Requests ask for no compression, since net/http would decode an answer of any
// size.
func decompress(data []byte) ([]byte, error) {
	if !bytes.HasPrefix(data, []byte("\x1f\x8b")) {
		return data, nil
	}
	zr, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return readLimited(zr)
}
