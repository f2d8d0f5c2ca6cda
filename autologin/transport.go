package autologin

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/filescom/session"
)

// Transport is an [http.RoundTripper] that sends the session of a [Source] with each
// request to its site. That is the origin where the Client logs in and, once there is a
// session, the origin where that lives: a login may be moved to another region. Requests
// to the first origin are then sent to the second. Every other request is passed on as it
// is, without a wait for a login. Only a [session.AuthHeader] that holds the session of the
// Source is removed from it. Each hop of a redirect counts as a separate request.
//
// If an answer of 401 or 403 says that the session has ended, the Transport logs in and
// sends the request once more. It does so a second time if another Source had logged in, and
// that session has ended too. It repeats a body that [http.Request.GetBody] returns, and
// any other body of up to 64 KiB. If the body cannot be repeated, the caller gets the 401
// or 403. Every other answer is returned as it is: see [session.CheckResponse].
//
// If a login fails, RoundTrip returns its error. If the next login may start within 5
// seconds, and before the deadline of the request, RoundTrip waits for it instead of
// returning a *[BackoffError].
//
// A Transport is safe for concurrent use, and several may share a Source.
type Transport struct {
	Source *Source           // required
	Base   http.RoundTripper // nil means http.DefaultTransport
}

// RoundTrip implements [http.RoundTripper].
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	h, err := t.sessionFor(req, req.Body)
	switch {
	case err != nil:
		return nil, err
	case h == nil:
		return cmp.Or(t.Base, http.DefaultTransport).RoundTrip(t.Source.withoutSession(req))
	}
	body, again := repeatable(req)
	for n := 1; ; n++ {
		resp, ended, err := t.send(req, body, h)
		if !ended || n > 2 || n == 2 && h.own { // the session of another Source may have ended as well
			return resp, err
		}
		if body, err = again(); err != nil {
			return resp, nil
		}
		closeBody(resp.Body) // frees the connection during the login
		resp.Body = http.NoBody
		switch h, err = t.sessionFor(req, body); {
		case err != nil:
			return nil, err
		case h == nil: // the new session lives at another site
			closeBody(body)
			return resp, nil
		}
	}
}

// sessionFor returns the session to send with req, or nil if req goes to another site. It
// closes body if it fails, also by a panic of the login.
func (t *Transport) sessionFor(req *http.Request, body io.Closer) (h *held, err error) {
	failed := true
	defer func() {
		if failed {
			closeBody(body)
		}
	}()
	switch {
	case t.Source == nil:
		return nil, misuse("Transport.Source is nil; set it to a Source")
	case req.URL == nil || req.Header == nil:
		return nil, misuse("the request has no URL or no Header; create it by http.NewRequest")
	}
	if err := t.Source.check(context.Background()); err != nil {
		return nil, err
	}
	target, site := requestOrigin(req), t.Source.site.Load()
	if target == t.Source.base || site != nil && target == *site {
		h, err = t.Source.getPatiently(req.Context())
	}
	failed = err != nil
	if h != nil && target != t.Source.base && target != h.origin {
		return nil, nil
	}
	return h, err
}

// requestOrigin returns where req goes, or no origin if req names two hosts.
func requestOrigin(req *http.Request) origin {
	if req.URL.Opaque != "" || req.Host != "" && req.Host != req.URL.Host {
		return origin{}
	}
	return originOf(req.URL)
}

// getPatiently is get for a request: it waits out back-offs that end before the deadline of
// the request, for 5 seconds in all.
func (src *Source) getPatiently(ctx context.Context) (*held, error) {
	for patience := 5 * time.Second; ; {
		h, err := src.get(ctx)
		backoff, ok := err.(*BackoffError)
		if !ok || backoff.Wait >= patience {
			return h, err
		}
		if deadline, ok := ctx.Deadline(); ok && backoff.Wait >= time.Until(deadline) {
			return nil, err
		}
		if err := wait(ctx, src.closing, time.After(backoff.Wait)); err != nil {
			return nil, err
		}
		patience -= backoff.Wait
	}
}

// send sends req with body and the session. It reports whether the answer says that the
// session has ended.
func (t *Transport) send(req *http.Request, body io.ReadCloser, h *held) (resp *http.Response, ended bool, err error) {
	req = h.authenticate(req, body)
	resp, err = cmp.Or(t.Base, http.DefaultTransport).RoundTrip(req)
	if err != nil || resp == nil {
		return resp, false, err
	}
	if resp.Request == nil {
		resp.Request = req
	}
	if sessionHasEnded(resp, req) {
		t.Source.Invalidate(h.session)
		return resp, true, nil
	}
	h.accepted.Store(true)
	return resp, false, nil
}

// authenticate returns a copy of req with body that carries the session, and goes to where
// that lives.
func (h *held) authenticate(req *http.Request, body io.ReadCloser) *http.Request {
	req = withoutHeaders(req, func(name string, _ []string) bool { return isAuthHeader(name) })
	req.Body = body
	req.Header[authHeader] = []string{h.session.ID}
	if _, named := req.Header["User-Agent"]; !named && h.session.UserAgent != "" {
		req.Header["User-Agent"] = []string{h.session.UserAgent}
	}
	u := *req.URL
	req.URL = &u
	if originOf(&u) != h.origin {
		u.Scheme, u.Host, req.Host = h.origin.scheme, h.origin.host, ""
	}
	return req
}

// sessionHasEnded reports whether resp, the answer to req, says that the session has
// ended. The body can still be read from its start.
func sessionHasEnded(resp *http.Response, req *http.Request) bool {
	if resp.StatusCode != http.StatusUnauthorized && resp.StatusCode != http.StatusForbidden {
		return false
	}
	answer := *resp
	answer.Request = req // a RoundTripper may have set any other
	err := session.CheckResponse(&answer)
	resp.Body = answer.Body
	return errors.Is(err, session.ErrSessionEnded)
}

// withoutSession returns a copy of req without the header that holds the session of src.
func (src *Source) withoutSession(req *http.Request) *http.Request {
	h := src.inUse.Load()
	if h == nil {
		return req
	}
	return withoutHeaders(req, func(name string, values []string) bool {
		return isAuthHeader(name) && strings.Contains(strings.Join(values, " "), h.session.ID)
	})
}

// withoutHeaders returns a copy of req without some headers. The copy shares the Trailer,
// whose values the caller may set until the end of the body.
func withoutHeaders(req *http.Request, remove func(name string, values []string) bool) *http.Request {
	without := req.WithContext(req.Context())
	without.Header = make(http.Header, len(req.Header)+2)
	for name, values := range req.Header {
		if !remove(name, values) {
			without.Header[name] = slices.Clip(values) // an append makes a copy
		}
	}
	return without
}

// authHeader is AuthHeader in its canonical form.
var authHeader = http.CanonicalHeaderKey(session.AuthHeader)

// isAuthHeader reports whether name is AuthHeader. The keys of a map may be spelled in any
// way.
func isAuthHeader(name string) bool { return strings.EqualFold(name, session.AuthHeader) }

// maxKept limits the bytes of a body that are kept for a repetition.
const maxKept = 64 << 10

// repeatable returns the body to send with req, and a function that returns it once more.
func repeatable(req *http.Request) (body io.ReadCloser, again func() (io.ReadCloser, error)) {
	switch {
	case req.Body == nil || req.Body == http.NoBody:
		return req.Body, func() (io.ReadCloser, error) { return nil, nil }
	case req.GetBody != nil:
		return req.Body, req.GetBody
	}
	kept := &keptBody{ReadCloser: req.Body, length: req.ContentLength}
	return kept, kept.again
}

// keptBody keeps the start of a body that is read.
type keptBody struct {
	io.ReadCloser
	length int64      // 0 or less if unknown
	mu     sync.Mutex // a RoundTripper may read a body after it has returned
	start  []byte
	whole  bool // start is the whole body
}

func (b *keptBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.start) <= maxKept {
		b.start = append(b.start, p[:n]...)
	}
	b.whole = len(b.start) <= maxKept && (b.whole || err == io.EOF || b.length > 0 && int64(len(b.start)) == b.length)
	return n, err
}

func (b *keptBody) again() (io.ReadCloser, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.whole {
		return nil, errors.New("the body is too large to be kept, or was not read to its end")
	}
	return io.NopCloser(bytes.NewReader(b.start)), nil
}

func closeBody(body io.Closer) {
	if body != nil {
		body.Close()
	}
}
