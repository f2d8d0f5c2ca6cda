package session

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Transport sends the session of a [Source] with each request to the origin
// that made the session, and passes every other request on untouched, each hop
// of a redirect by itself, and one whose Host or opaque URL names another host.
// Before the first session its origin is not known, and every request waits for
// one.
//
// After a 401 that says that the session has ended it logs in once and repeats
// the request once, if its body can be had again ([http.Request.GetBody]). When
// that login fails, or leads to another origin, the caller gets the 401. Any
// other answer is the caller's as it is: see [CheckResponse].
//
// A Transport is safe for concurrent use. Several may share a Source.
type Transport struct {
	Source *Source           // required
	Base   http.RoundTripper // nil: http.DefaultTransport
}

// RoundTrip implements [http.RoundTripper].
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	base := t.Base
	if base == nil {
		base = http.DefaultTransport
	}
	if t.Source == nil || req.URL == nil {
		closeBody(req.Body)
		return nil, fmt.Errorf("session: %w: Transport wants a Source, and a request a URL", ErrInvalidParams)
	}
	h := t.Source.known()
	if h != nil && !sameOrigin(h.origin, req) {
		return base.RoundTrip(req)
	}
	if h == nil || h.session == nil {
		var err error
		if h, err = t.login(req, req.Body); err != nil {
			closeBody(req.Body)
			return nil, err
		}
		if !sameOrigin(h.origin, req) {
			return base.RoundTrip(req)
		}
	}
	resp, err := base.RoundTrip(h.authenticate(req))
	if err != nil || resp == nil || resp.StatusCode != http.StatusUnauthorized || !errors.Is(checkResponse(resp, false), ErrSessionEnded) {
		return resp, err
	}
	t.Source.Invalidate(h.session)
	sent := req.Body != nil && req.Body != http.NoBody
	if sent && req.GetBody == nil {
		return resp, nil
	}
	h, err = t.login(req, resp.Body)
	if err != nil || !sameOrigin(h.origin, req) {
		return resp, nil
	}
	again := h.authenticate(req)
	if sent {
		if again.Body, err = req.GetBody(); err != nil {
			return resp, nil
		}
	}
	closeBody(resp.Body) // of which CheckResponse has read what is worth it
	return base.RoundTrip(again)
}

// login returns a session to send. A panic of Source.Login closes body on its
// way through.
func (t *Transport) login(req *http.Request, body io.Closer) (h *sent, err error) {
	defer func() {
		if h == nil && err == nil {
			closeBody(body)
		}
	}()
	s, err := t.Source.Session(req.Context())
	if err != nil {
		return nil, err
	}
	return t.Source.send(s), nil
}

// authenticate returns a copy of req that carries the session. The values of
// its header are shared, with no room to append to.
func (h *sent) authenticate(req *http.Request) *http.Request {
	header := make(http.Header, len(req.Header)+2)
	if h.values[1] != "" {
		header["User-Agent"] = h.values[1:2:2]
	}
	for name, values := range req.Header {
		switch { // a map may have any keys
		case len(name) == len(authHeader) && strings.EqualFold(name, authHeader):
			continue
		case len(name) == len("User-Agent") && strings.EqualFold(name, "User-Agent"):
			name = "User-Agent"
		}
		header[name] = values[:len(values):len(values)]
	}
	header[authHeader] = h.values[0:1:1]
	req = req.WithContext(req.Context())
	req.Header = header
	return req
}

// sameOrigin reports whether req goes to an origin that parseOrigin returned,
// and names no other host on the way.
func sameOrigin(origin string, req *http.Request) bool {
	u := req.URL
	if u.Opaque != "" || req.Host != "" && req.Host != u.Host {
		return false
	}
	scheme := len(u.Scheme)
	if len(origin) == scheme+len("://")+len(u.Host) && origin[:scheme] == u.Scheme &&
		strings.HasPrefix(origin[scheme:], "://") && strings.HasSuffix(origin, u.Host) {
		return true
	}
	same, err := parseOrigin(u.Scheme + "://" + u.Host)
	return err == nil && same == origin
}

func closeBody(body io.Closer) {
	if body != nil {
		body.Close()
	}
}

// authHeader is AuthHeader in its canonical form.
const authHeader = "X-Filesapi-Auth"
