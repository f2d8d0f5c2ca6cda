package sessiontest

import (
	"io"
	"net/http"
	"slices"
	"strings"
)

const (
	apiRoot      = "/api/rest/v1/"
	sessionsPath = apiRoot + "sessions"
	sitePath     = apiRoot + "site"
)

func isLogin(r *http.Request) bool {
	return r.URL.Path == sessionsPath && r.Method == http.MethodPost
}

func isSite(r *http.Request) bool {
	return r.URL.Path == sitePath && r.Method == http.MethodGet
}

// answer is an answer of the API. It is a failure if kind is set. Otherwise it has
// body, if that is not nil.
type answer struct {
	status        int
	user          string
	header        http.Header
	kind, message string
	reason        string // for the journal
	data, body    any    // a string is sent as text, any other body as JSON
}

// refuse returns a failure. kind is its type, reason is for the journal alone.
func refuse(status int, kind, message, reason string) answer {
	return answer{status: status, kind: kind, message: message, reason: reason}
}

// ServeHTTP answers a request as the API would, or as a [Fault] demands.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.allowOrigin(w, r) {
		return
	}
	var form loginForm
	switch {
	case isLogin(r):
		form = readLogin(r)
	case s.Handler == nil:
		io.CopyN(io.Discard, r.Body, maxBody) // net/http notices that the client leaves only after this
	}
	f := s.strikes(r)
	left := f != nil && !f.After && !s.pause(r, f.Delay)
	if !left && !f.preventsEffect() {
		if user, ok := s.handles(r); ok {
			s.callHandler(w, r, user, f)
			return
		}
	}
	s.finish(w, r, s.serve(r, form, f, left), f, left)
}

// finish sends a reply, unless the client has left.
func (s *Server) finish(w http.ResponseWriter, r *http.Request, rep reply, f *Fault, left bool) {
	if left || f != nil && f.After && !s.pause(r, f.Delay) {
		panic(http.ErrAbortHandler) // net/http then closes the connection, and logs nothing
	}
	f.compress(&rep, s.closing)
	s.send(w, r, rep, f)
}

// serve makes a request take effect and records it. If the client has left, the
// request has no effect.
func (s *Server) serve(r *http.Request, form loginForm, f *Fault, left bool) reply {
	s.order.Lock() // so that the journal has the order of the effects
	defer s.order.Unlock()
	s.mu.Lock()
	var a answer
	if !left && !f.preventsEffect() {
		a = s.answer(r, form)
	}
	rep := s.render(r, a, f)
	if left {
		rep.status, a.reason = 0, "the client left during the Delay"
	}
	s.mu.Unlock()
	s.record(Request{Method: r.Method, Path: r.URL.Path, Status: rep.status, User: a.user, Reason: a.reason, Fault: f != nil})
	return rep
}

// answer makes a request take effect. s.mu is held.
func (s *Server) answer(r *http.Request, form loginForm) answer {
	if isLogin(r) {
		a := s.logIn(r, form)
		if a.status == http.StatusCreated {
			s.counts.Logins++
		} else {
			s.counts.Refused++
		}
		return a
	}
	l, refusal := s.access(r)
	if refusal != nil {
		return *refusal
	}
	a := answer{status: 200, user: l.username, body: map[string]any{}}
	switch {
	case r.URL.Path == sessionsPath && r.Method == http.MethodDelete:
		s.end(l.id, "the session was logged out")
		s.counts.Logouts++
		if s.recording != Recording2021 {
			a.status, a.body = 204, nil
		}
	case r.URL.Path == sessionsPath:
		a = refuse(422, "bad-request/method-not-allowed", "Method not allowed.", "only POST and DELETE are served here")
		a.user = l.username
	case isSite(r):
		a.body = map[string]any{"session": l.model()}
	case strings.HasPrefix(r.URL.Path, apiRoot+"folders"):
		a.body = []any{}
	}
	return a
}

// reading lists the methods that a read-only session may use.
var reading = []string{http.MethodGet, http.MethodHead, http.MethodOptions}

// find returns the live session of a request, or why there is none. s.mu is held.
func (s *Server) find(r *http.Request) (l *login, reason string) {
	id := r.Header.Get("X-FilesAPI-Auth")
	l = s.sessions[id]
	switch {
	case id == "":
		return nil, "no X-FilesAPI-Auth header"
	case l == nil && s.ended[id] != "":
		return nil, s.ended[id]
	case l == nil:
		return nil, "no such session"
	case !s.now().Before(l.until):
		return nil, "the session has timed out"
	case s.bindUserAgent && l.userAgent != r.UserAgent():
		return nil, "another User-Agent made the session"
	}
	return l, ""
}

// access returns the session of a request, and moves its end if sessions slide. If
// there is none, or if it may not make this request, access returns the answer
// instead. s.mu is held.
func (s *Server) access(r *http.Request) (*login, *answer) {
	l, reason := s.find(r)
	outside := !strings.HasPrefix(r.URL.Path, apiRoot)
	var a answer
	switch {
	case outside && (r.Header.Get("X-FilesAPI-Auth") == "" || l != nil && s.Handler == nil):
		a = refuse(404, "not-found", "Not Found.  This may be related to your permissions.", "the path does not begin with "+apiRoot)
	case l == nil:
		a = refuse(401, "not-authenticated/invalid-credentials",
			"The API key or Session token provided could not be used to validate this request.", reason)
	case r.URL.Path == sessionsPath:
		return l, nil
	case l.fields["two_factor_setup_needed"] == true:
		a = refuse(403, "not-authorized/two-factor-authentication-required", "You must set up two-factor authentication.",
			"the session has two_factor_setup_needed")
		a.user = l.username
	case l.fields["read_only"] == true && !slices.Contains(reading, r.Method):
		a = refuse(403, "not-authorized/read-only-session", "This session is read-only.", "the session is read_only")
		a.user = l.username
	default:
		if s.sliding {
			l.until = s.now().Add(l.lifetime)
		}
		return l, nil
	}
	return nil, &a
}
