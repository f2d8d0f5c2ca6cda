package session

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
)

// exchange is one attempt of a request, and the context of it.
type exchange struct {
	context.Context
	answer

	url     *url.URL
	form    []byte       // of a login
	reader  bytes.Reader // of form
	session *Session     // to log out
	id      [1]string
	sent    http.Header // until its RoundTrip, or http.Client would copy it for redirects

	// What net/http tells of the connection. A RoundTripper that tells nothing may
	// have sent the request.
	trace      httptrace.ClientTrace
	asked, got atomic.Bool
	waiting    atomic.Bool // for one, now
}

type exchangeKey struct{}

// Value returns x by its key.
func (x *exchange) Value(key any) any {
	if key == (exchangeKey{}) {
		return x
	}
	return x.Context.Value(key)
}

func (x *exchange) getConn(string)                { x.asked.Store(true); x.waiting.Store(true) }
func (x *exchange) gotConn(httptrace.GotConnInfo) { x.got.Store(true); x.waiting.Store(false) }

func (x *exchange) getBody() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(x.form)), nil
}

// Format prints no secret of x, which every RoundTripper meets.
func (x *exchange) Format(f fmt.State, _ rune) { io.WriteString(f, "session.exchange") }

// complete makes the request that is meant of the bare one that resty made, to
// which a body or an address would be worth several copies.
func (x *exchange) complete(r *http.Request) {
	*r.URL, r.Host = *x.url, x.url.Host
	if x.form != nil {
		r.Method = http.MethodPost
		x.reader.Reset(x.form)
		r.Body, r.GetBody, r.ContentLength = io.NopCloser(&x.reader), x.getBody, int64(len(x.form))
	} else {
		r.Method = http.MethodDelete
		delete(r.Header, "Content-Type")
		x.id[0] = x.session.ID
		r.Header[authHeader] = x.id[:]
		if x.session.UserAgent != "" {
			r.Header["User-Agent"] = []string{x.session.UserAgent}
		}
	}
	x.sent, r.Header = r.Header, http.Header{}
}

// attempt makes one exchange.
func (c *Client) attempt(ctx context.Context, r *request) (*answer, error) {
	if ctx.Err() != nil {
		return nil, &failure{op: r.doing(), outcome: ErrNotSent, cause: quiet(ctx, ctx.Err(), r.secrets, true)}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout, c.late)
	defer cancel()
	x := &exchange{url: c.endpoint, form: r.body, session: r.session}
	if r.base != c.base {
		x.url = endpoint(r.base)
	}
	x.trace.GetConn, x.trace.GotConn = x.getConn, x.gotConn
	x.Context = httptrace.WithClientTrace(ctx, &x.trace)
	req := *c.rest
	resp, err := req.SetContext(x).Execute(http.MethodGet, "bare:") // see complete
	if err != nil {
		failed := &failure{op: r.doing(), outcome: ErrOutcomeUnknown}
		if x.asked.Load() && !x.got.Load() {
			failed.outcome = ErrNotSent
		}
		var cert *tls.CertificateVerificationError
		failed.certificate = errors.As(err, &cert)
		failed.cause = quiet(ctx, err, r.secrets, failed.outcome == ErrNotSent)
		return nil, failed
	}
	raw := resp.RawResponse
	x.status, x.header = raw.StatusCode, raw.Header
	if x.status < 200 { // the body of a 101 is a connection
		raw.Body.Close()
		return &x.answer, nil
	}
	if x.body, err = readBody(ctx, raw); err != nil {
		x.err = quiet(ctx, err, r.secrets, false)
	}
	return &x.answer, nil
}

// noRedirect sends an exchange's header, and takes the Location off a redirect:
// net/http parses it before it asks CheckRedirect, and quotes a bad one in its
// error.
type noRedirect struct{ base http.RoundTripper }

func (t noRedirect) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Header = r.Context().Value(exchangeKey{}).(*exchange).sent
	resp, err := t.base.RoundTrip(r)
	if err != nil || resp == nil || resp.StatusCode/100 != 3 {
		return resp, err
	}
	plain := *resp
	plain.Header = resp.Header.Clone()
	plain.Header.Del("Location")
	return &plain, nil
}

// authHeader is AuthHeader as net/http spells it.
const authHeader = "X-Filesapi-Auth"

// endpoint returns the address of sessions at an origin of parseBaseURL's.
func endpoint(origin string) *url.URL {
	scheme, host, _ := strings.Cut(origin, "://")
	return &url.URL{Scheme: scheme, Host: host, Path: path}
}
