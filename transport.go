package session

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
)

// Transport is an [http.RoundTripper] that sends the session of a [Source] with each
// request to the origin that created the session. It passes every other request on
// untouched. Each hop of a redirect counts as a separate request. A request whose
// Host or opaque URL names another host counts as a request to another origin.
// Before the first session the origin is not known, so every request waits for a
// session.
//
// If an answer of 401 or 403 says that the session has ended, the Transport logs
// in and sends the request once more. If that login fails, RoundTrip returns its
// error. The request is not sent again if the new session is of another origin,
// or if [http.Request.GetBody] does not return the body again: then the caller
// gets the 401 or 403, perhaps with no more than the first 64 KiB of its body.
// Every other answer is returned as it is: see [CheckResponse].
//
// A Transport is safe for concurrent use, and several may share a Source. But if the
// server accepts the requests of one Transport and refuses those of another, for
// example because of their addresses, each refusal costs a login.
type Transport struct {
	Source *Source           // required
	Base   http.RoundTripper // nil means http.DefaultTransport
}

// RoundTrip implements [http.RoundTripper].
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	k, err := t.sessionFor(req)
	if err != nil {
		return nil, err
	}
	if k == nil {
		return t.base().RoundTrip(req)
	}
	resp, ended, err := t.send(req, k)
	if !ended || hasBody(req) && req.GetBody == nil {
		return resp, err
	}
	return t.sendAgain(req, resp)
}

// CloseIdleConnections closes the idle connections of Base, if Base can do that.
func (t *Transport) CloseIdleConnections() {
	if base, ok := t.base().(interface{ CloseIdleConnections() }); ok {
		base.CloseIdleConnections()
	}
}

func (t *Transport) base() http.RoundTripper {
	if t.Base == nil {
		return http.DefaultTransport
	}
	return t.Base
}

// sessionFor returns the session to send with req, or nil if req goes to another
// origin. It closes the body of req if it fails.
func (t *Transport) sessionFor(req *http.Request) (*keptSession, error) {
	failed := true // until the end, in case Login panics
	defer func() {
		if failed && req.Body != nil {
			req.Body.Close()
		}
	}()
	switch {
	case t.Source == nil:
		return nil, usageError("Transport.Source is nil; set it to a Source")
	case req.URL == nil:
		return nil, usageError("the request has no URL; create it by http.NewRequest")
	}
	if origin := t.Source.origin.Load(); origin != nil && !sameOrigin(*origin, req) {
		failed = false
		return nil, nil
	}
	k, err := t.Source.get(req.Context())
	if err != nil {
		return nil, err
	}
	failed = false
	if !sameOrigin(k.origin, req) {
		return nil, nil
	}
	return k, nil
}

// send sends req with the session. It reports whether the answer says that the
// session has ended.
func (t *Transport) send(req *http.Request, k *keptSession) (resp *http.Response, ended bool, err error) {
	resp, err = t.base().RoundTrip(k.authenticate(req))
	if err != nil || resp == nil {
		return resp, false, err
	}
	if sessionHasEnded(resp) {
		t.Source.Invalidate(k.session)
		return resp, true, nil
	}
	if !k.accepted.Load() {
		k.accepted.Store(true)
	}
	return resp, false, nil
}

// sendAgain sends req with the session of a new login. It returns the first
// answer if req cannot be sent again.
func (t *Transport) sendAgain(req *http.Request, first *http.Response) (*http.Response, error) {
	if first.Body != nil { // frees the connection during the login
		start, _ := io.ReadAll(io.LimitReader(first.Body, maxAnswer))
		first.Body.Close()
		first.Body = io.NopCloser(bytes.NewReader(start))
	}
	k, err := t.Source.get(req.Context())
	if err != nil {
		return nil, err
	}
	if !sameOrigin(k.origin, req) {
		return first, nil
	}
	if hasBody(req) {
		body, err := req.GetBody()
		if err != nil || body == nil {
			return first, nil
		}
		req = req.WithContext(req.Context())
		req.Body = body
	}
	resp, _, err := t.send(req, k)
	return resp, err
}

func hasBody(req *http.Request) bool { return req.Body != nil && req.Body != http.NoBody }

// sessionHasEnded reports whether resp says that the session has ended. The body can
// still be read from its start.
func sessionHasEnded(resp *http.Response) bool {
	denied := resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden
	return denied && errors.Is(checkResponse(resp, true), ErrSessionEnded)
}

// authenticate returns a copy of req that carries the session. The copy shares the
// header values, without spare capacity, so that an append does not modify those of
// req.
func (k *keptSession) authenticate(req *http.Request) *http.Request {
	header := make(http.Header, len(req.Header)+2)
	if k.userAgent != nil {
		header["User-Agent"] = k.userAgent
	}
	for name, values := range req.Header {
		switch { // the keys of a map may be spelled in any way
		case len(name) == len(authHeader) && strings.EqualFold(name, authHeader):
			continue
		case len(name) == len("User-Agent") && strings.EqualFold(name, "User-Agent"):
			name = "User-Agent"
		}
		header[name] = values[:len(values):len(values)]
	}
	header[authHeader] = k.id
	req = req.WithContext(req.Context())
	req.Header = header
	return req
}

// sameOrigin reports whether req goes to origin, which parseOrigin returned, and
// names no other host.
func sameOrigin(origin string, req *http.Request) bool {
	u := req.URL
	if u.Opaque != "" || req.Host != "" && req.Host != u.Host {
		return false
	}
	scheme, host, _ := strings.Cut(origin, "://")
	if u.Scheme == scheme && u.Host == host {
		return true
	}
	target, err := parseOrigin(u.Scheme + "://" + u.Host)
	return err == nil && target == origin
}

// authHeader is AuthHeader in its canonical form.
const authHeader = "X-Filesapi-Auth"

func checkResponse(resp *http.Response, _ bool) error {
	err := CheckResponse(resp)
	if e, ok := err.(*APIError); ok {
		e.withSession = true
	}
	return err
}
