// Package sessiontest is the Files.com Session API in memory, for tests and
// examples: real HTTP on loopback, answers as the API was recorded to give.
//
//	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: "secret"})
//	defer srv.Close()
//	c, err := session.NewClient(session.WithBaseURL(srv.URL))
//
// It imports nothing outside the standard library, and not testing.
package sessiontest

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	apiRoot      = "/api/rest/v1/"
	sessionsPath = apiRoot + "sessions"
)

// User is who may log in.
type User struct {
	Username string
	Password string
	OTP      string         // not empty: a second factor is wanted, and this is it
	Methods  []string       // of the second factor; nil means totp
	Session  map[string]any // fields of the login's answer, over those that it has by itself
}

// Request is what the server was asked, without secrets.
type Request struct {
	Method string
	Path   string
	Status int
	User   string // who logged in, or whose session it was; empty when refused
}

// Server is a running server. It is safe for concurrent use.
type Server struct {
	URL string // origin, for session.WithBaseURL

	http     *httptest.Server
	mu       sync.Mutex
	users    map[string]User
	sessions []login
	partial  map[string]string // user name by partial session ID
	requests []Request
}

type login struct {
	id, username string
	until        time.Time
}

// NewServer starts a server on loopback over plain HTTP.
func NewServer(users ...User) *Server { return newServer(httptest.NewServer, users) }

// NewTLSServer starts a server on loopback over TLS, with HTTP/1.1. Only the
// client that [Server.Client] returns trusts its certificate.
func NewTLSServer(users ...User) *Server { return newServer(httptest.NewTLSServer, users) }

func newServer(start func(http.Handler) *httptest.Server, users []User) *Server {
	s := &Server{users: map[string]User{}, partial: map[string]string{}}
	for _, u := range users {
		s.AddUser(u)
	}
	s.http = start(s)
	s.URL = s.http.URL
	return s
}

// Client returns an HTTP client that trusts the server's certificate and whose
// connections end with the server.
func (s *Server) Client() *http.Client { return s.http.Client() }

// Close stops the server, once the requests under way are answered.
func (s *Server) Close() { s.http.Close() }

// AddUser adds a user, or replaces the one of that name. It panics when Session
// has no JSON form.
func (s *Server) AddUser(u User) {
	if _, err := json.Marshal(u.Session); err != nil {
		panic("sessiontest: User.Session: " + err.Error())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users[u.Username] = u
}

// Expire ends a session, as its timeout would. It reports whether it was live.
func (s *Server) Expire(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.end(id)
}

func (s *Server) end(id string) bool {
	before := len(s.sessions)
	s.sessions = slices.DeleteFunc(s.sessions, func(l login) bool { return l.id == id })
	return len(s.sessions) < before
}

// Sessions returns the IDs of the live sessions, oldest first.
func (s *Server) Sessions() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := []string{}
	for _, l := range s.sessions {
		if time.Now().Before(l.until) {
			ids = append(ids, l.id)
		}
	}
	return ids
}

// Requests returns what the server was asked, oldest first.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// ServeHTTP answers a request as the API would.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	params, malformed := readParams(r)
	s.mu.Lock()
	a := s.answer(r, params, malformed)
	s.requests = append(s.requests, Request{r.Method, r.URL.Path, a.status, a.user})
	s.mu.Unlock()

	h := w.Header()
	instance := randomHex(16)
	h.Set("Cache-Control", "no-cache, no-store, max-age=0, must-revalidate")
	h.Set("Expires", "Fri, 01 Jan 1990 00:00:00 GMT")
	h.Set("Pragma", "no-cache")
	h.Set("Server", "files.com")
	h.Set("X-Request-Id", instance)
	if a.kind != "" {
		h.Set("X-Files-Error-Class", a.kind)
		failure := map[string]any{"error": a.message, "http-code": a.status, "instance": instance, "title": title(a.kind), "type": a.kind}
		if a.data != nil {
			failure["data"] = a.data
		}
		a.body = failure
	}
	if a.body == nil {
		w.WriteHeader(a.status)
		return
	}
	body, _ := json.Marshal(a.body)
	h.Set("Content-Type", "application/json")
	w.WriteHeader(a.status)
	w.Write(body)
}

// answer is what ServeHTTP writes: a failure when kind is set, else body, if any.
type answer struct {
	status        int
	user          string
	kind, message string
	data, body    any
}

func (s *Server) answer(r *http.Request, params map[string]string, malformed *answer) answer {
	user, live := s.whose(r.Header.Get("X-FilesAPI-Auth"))
	switch {
	case !strings.HasPrefix(r.URL.Path, apiRoot):
		return answer{status: 404, kind: "not-found", message: "Not Found.  This may be related to your permissions."}
	case r.URL.Path == sessionsPath && r.Method == http.MethodPost:
		if r.Header.Get("X-FilesAPI-Key") != "" {
			return answer{status: 403, kind: "not-authorized/cannot-login-while-using-key",
				message: "You cannot log in while using an API key."}
		}
		if malformed != nil {
			return *malformed
		}
		return s.logIn(params)
	case !live:
		return answer{status: 401, kind: "not-authenticated/invalid-credentials",
			message: "The API key or Session token provided could not be used to validate this request."}
	case r.URL.Path == sessionsPath && r.Method == http.MethodDelete:
		s.end(r.Header.Get("X-FilesAPI-Auth"))
		return answer{status: 204, user: user}
	case r.URL.Path == sessionsPath:
		return answer{status: 405, user: user, kind: "bad-request/method-not-allowed", message: "Method not allowed."}
	case strings.HasPrefix(r.URL.Path, apiRoot+"folders"):
		return answer{status: 200, user: user, body: []any{}}
	}
	return answer{status: 200, user: user, body: map[string]any{}}
}

func (s *Server) whose(id string) (username string, live bool) {
	for _, l := range s.sessions {
		if l.id == id && id != "" && time.Now().Before(l.until) {
			return l.username, true
		}
	}
	return "", false
}

func (s *Server) logIn(params map[string]string) answer {
	username, otp, partial := params["username"], params["otp"], params["partial_session_id"]
	u, known := s.users[username]
	byKey, byCode := methods(u)
	byPartial := partial != "" && s.partial[partial] == username
	switch {
	case !known, params["password"] != u.Password && !byPartial:
		return answer{status: 401, kind: "not-authenticated/invalid-username-or-password", message: "Invalid username or password"}
	case u.OTP == "":
	case otp == "":
		data := map[string]any{"two_factor_authentication_methods": u.Methods}
		if u.Methods == nil {
			data["two_factor_authentication_methods"] = []string{"totp"}
		}
		if byKey {
			id := randomHex(20)
			s.partial[id] = username
			data["partial_session_id"] = id
		}
		return answer{status: 401, kind: "not-authenticated/two-factor-authentication-error", data: data,
			message: "2FA Authentication error: Enter your second factor."}
	case otp != u.OTP, byPartial && !byKey, !byPartial && !byCode:
		return answer{status: 401, kind: "not-authenticated/one-time-password-incorrect", message: "One time password is incorrect."}
	}
	delete(s.partial, partial)
	l := login{id: randomHex(20), username: username, until: time.Now().Add(6 * time.Hour)}
	body := map[string]any{
		"id": l.id, "language": nil, "max_dir_listing_size": 100000, "sftp_insecure_ciphers": false,
		"ssl_required": true, "timeout_at": l.until.Format(time.RFC3339), "tls_disabled": false,
		"calculate_file_checksums_crc32": false, "calculate_file_checksums_md5": false,
		"calculate_file_checksums_sha1": false, "calculate_file_checksums_sha256": false,
		"legacy_checksums_mode": true, "user_belongs_to_parent_site": false,
	}
	maps.Copy(body, u.Session)
	if id, ok := body["id"].(string); ok {
		l.id = id
	}
	s.sessions = append(s.sessions, l)
	return answer{status: 201, user: username, body: body}
}

// methods tells which forms a user's second factor may be sent in: a key's
// answer with a partial session ID, a code with the password.
func methods(u User) (byKey, byCode bool) {
	for _, m := range u.Methods {
		switch m {
		case "yubi", "u2f", "webauthn":
			byKey = true
		default:
			byCode = true
		}
	}
	return byKey, byCode || len(u.Methods) == 0
}

// readParams reads a form or a flat JSON object.
func readParams(r *http.Request) (map[string]string, *answer) {
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, 1<<20))
	if err != nil {
		return nil, &answer{status: 422, kind: "bad-request/request-body-too-large", message: "Request body too large."}
	}
	params := map[string]string{}
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case len(body) == 0:
	case media == "application/json":
		if json.Unmarshal(body, &params) != nil {
			return nil, &answer{status: 422, kind: "bad-request/invalid-body", message: "Invalid body."}
		}
	case media == "application/x-www-form-urlencoded":
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return nil, &answer{status: 422, kind: "bad-request/invalid-body", message: "Invalid body."}
		}
		for name := range form {
			params[name] = form.Get(name)
		}
	default:
		return nil, &answer{status: 415, kind: "bad-request/unsupported-media-type", message: "Unsupported media type."}
	}
	return params, nil
}

// title turns a type into its title, as "not-authenticated/locked-out" into "Locked Out".
func title(kind string) string {
	_, name, found := strings.Cut(kind, "/")
	if !found {
		name = kind
	}
	words := strings.Split(name, "-")
	for i, word := range words {
		if word != "" {
			words[i] = strings.ToUpper(word[:1]) + word[1:]
		}
	}
	return strings.Join(words, " ")
}

func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return hex.EncodeToString(b)
}
