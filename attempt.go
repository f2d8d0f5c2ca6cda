package session

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
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

// timeoutError is the cause of an exchange that took longer than [WithTimeout].
type timeoutError time.Duration

func (e timeoutError) Error() string { return "no answer within " + time.Duration(e).String() }
func (e timeoutError) Unwrap() error { return context.DeadlineExceeded }

// attempt sends r once and reads the answer. Its error is a *transportError.
func (c *Client) attempt(ctx context.Context, r *request) (*answer, error) {
	if ctx.Err() != nil {
		return nil, newTransportError(ctx, r, ErrNotSent, ctx.Err())
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout, timeoutError(c.timeout))
	defer cancel()
	conn := &connection{cancel: cancel}
	req := c.rest.R().SetContext(conn.trace(ctx))
	body := bytes.NewReader(r.form)
	if r.session == nil {
		req.SetHeader("Content-Type", "application/x-www-form-urlencoded").SetBody(body)
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
	case conn.established.Load() > maxConnections:
		return nil, newTransportError(context.WithoutCancel(ctx), r, ErrOutcomeUnknown, errTooManyConnections)
	case conn.isMissing(c.http.Transport == nil) && body.Len() == len(r.form): // nobody has read the body
		return nil, newTransportError(ctx, r, ErrNotSent, err)
	}
	return nil, newTransportError(ctx, r, ErrOutcomeUnknown, err)
}

// connection tells what became of one request. Goroutines of the transport set
// its fields.
type connection struct {
	cancel      context.CancelFunc // ends the attempt
	asked       atomic.Bool        // the transport looked for a connection
	established atomic.Int32       // connections that the request got
	http1       atomic.Bool        // the last of them speaks HTTP/1.1 over TLS
	written     atomic.Bool        // the request was written to its end
	repeated    atomic.Bool        // the transport asked for the body again
}

// maxConnections limits the connections of one attempt. net/http repeats a
// request by itself, without limit, when an HTTP/2 server resets its stream.
const maxConnections = 3

type connectionKey struct{}

// trace returns a context under which a request tells c what becomes of it.
func (c *connection) trace(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(context.WithValue(ctx, connectionKey{}, c), &httptrace.ClientTrace{
		GetConn: func(string) { c.asked.Store(true) },
		GotConn: func(info httptrace.GotConnInfo) {
			conn, ok := info.Conn.(*tls.Conn)
			c.http1.Store(ok && conn.ConnectionState().NegotiatedProtocol != "h2")
			if c.established.Add(1) > maxConnections {
				c.cancel()
			}
		},
		WroteRequest: func(info httptrace.WroteRequestInfo) {
			if info.Err == nil {
				c.written.Store(true)
			}
		},
	})
}

// isMissing reports whether no connection was established, so that no byte of the
// request can have reached the server. A RoundTripper that traces nothing does not
// say. The shared transport traces everything: if it did not even look for a
// connection, the proxy of the environment is not valid.
func (c *connection) isMissing(sharedTransport bool) bool {
	return c.established.Load() == 0 && !c.repeated.Load() && (c.asked.Load() || sharedTransport)
}

// getBody returns the body of a request again, unless it was sent already. Over
// HTTP/1.1 net/http asks for it only if a kept connection took no byte, and says
// that it was written before it notices.
func (c *connection) getBody(again func() (io.ReadCloser, error)) (io.ReadCloser, error) {
	if c.written.Load() && !c.http1.Load() {
		return nil, errSentWhole
	}
	c.repeated.Store(true)
	return again()
}

var (
	errSentWhole          = errors.New("the server ended the exchange after the request was sent; it is not sent twice")
	errTooManyConnections = errors.New("the server ended the exchange on three connections")
	errNoResponse         = errors.New("the RoundTripper returned neither a response nor an error")
	errTooLarge           = errors.New("the answer is larger than 64 KiB")
)

// onceTransport is the RoundTripper between the http.Client and the transport. It
// keeps the transport from sending a login twice.
type onceTransport struct{ base http.RoundTripper }

// RoundTrip removes the Location header of a redirect: net/http parses that before
// it calls CheckRedirect, and quotes a bad one in its error.
func (t onceTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	once := *req
	if req.ContentLength == 0 { // resty gives a log-out an empty body, which net/http would have to probe
		once.Body, once.GetBody = nil, nil
	} else if conn, ok := req.Context().Value(connectionKey{}).(*connection); ok {
		once.GetBody = func() (io.ReadCloser, error) { return conn.getBody(req.GetBody) }
	}
	resp, err := t.base.RoundTrip(&once)
	if err == nil && resp == nil {
		err = errNoResponse
	}
	if err == nil && resp.StatusCode/100 == 3 {
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

// readBody reads the body of resp under ctx and closes it. In HTTP/2 both may
// wait for other requests on the connection, whatever the context: so neither is
// waited for once ctx has ended.
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

// maxAnswer is how many bytes are read of an answer, and how many of it after
// decompression. The answer to a login has about 500.
const maxAnswer = 64 << 10

func readLimited(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxAnswer+1))
	if len(data) > maxAnswer {
		return data[:maxAnswer], errTooLarge
	}
	return data, err
}

// decompress decodes data if it is a gzip, whatever its label says. A request
// asks for no compression, so that net/http, which does not limit the bytes that
// it decodes, decodes nothing.
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
