package session

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// Transport sends the session of a [Source] with each request to the origin
// that made the session, and passes every other request on untouched, each hop
// of a redirect by itself. Before the first session its origin is not known, and
// every request waits for one.
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
	if origin := t.Source.origin.Load(); origin != nil && !sameOrigin(*origin, req.URL) {
		return base.RoundTrip(req)
	}
	h, err := t.Source.get(req.Context())
	if err != nil {
		closeBody(req.Body)
		return nil, err
	}
	if !sameOrigin(h.origin, req.URL) {
		return base.RoundTrip(req)
	}
	resp, err := base.RoundTrip(h.authenticate(req))
	if err != nil || resp.StatusCode != http.StatusUnauthorized || !errors.Is(CheckResponse(resp), ErrSessionEnded) {
		return resp, err
	}
	t.Source.Invalidate(h.session)
	if req.Body != nil && req.Body != http.NoBody && req.GetBody == nil {
		return resp, nil
	}
	h, err = t.Source.get(req.Context())
	if err != nil || !sameOrigin(h.origin, req.URL) {
		return resp, nil
	}
	again := h.authenticate(req)
	if req.GetBody != nil {
		if again.Body, err = req.GetBody(); err != nil {
			return resp, nil
		}
	}
	io.CopyN(io.Discard, resp.Body, maxAnswer) // so that the connection can be used again
	resp.Body.Close()
	return base.RoundTrip(again)
}

var userAgentHeader = http.CanonicalHeaderKey("User-Agent")

// authenticate returns a copy of req that carries the session. The values of
// its header are shared, with no room to append to.
func (h *held) authenticate(req *http.Request) *http.Request {
	header := make(http.Header, len(req.Header)+2)
	for name, values := range req.Header {
		header[name] = values[:len(values):len(values)]
	}
	header[authHeader] = h.id
	if _, named := header[userAgentHeader]; !named && h.agent != nil {
		header[userAgentHeader] = h.agent
	}
	req = req.WithContext(req.Context())
	req.Header = header
	return req
}

// sameOrigin reports whether u is at an origin that parseBaseURL returned.
func sameOrigin(origin string, u *url.URL) bool {
	scheme := len(u.Scheme)
	if len(origin) == scheme+len("://")+len(u.Host) && origin[:scheme] == u.Scheme &&
		strings.HasPrefix(origin[scheme:], "://") && strings.HasSuffix(origin, u.Host) {
		return true
	}
	same, err := parseBaseURL(u.Scheme + "://" + u.Host)
	return err == nil && same == origin
}

func closeBody(body io.Closer) {
	if body != nil {
		body.Close()
	}
}
