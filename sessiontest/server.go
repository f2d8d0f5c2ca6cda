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
	crand "crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"mime"
	"net"
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

	OTP       string   // not empty: a second factor is wanted, and this is it
	TOTP      string   // likewise, by the codes of this base32 secret, each good once
	Methods   []string // of the second factor; nil means totp
	SingleUse bool     // OTP is good once, until AddUser gives another one

	ChangePassword bool           // the login is refused until the password is changed
	Session        map[string]any // fields of the login's answer, over those that it has by itself
}

// Request is what the server was asked, without secrets but those that the
// client put into the path.
type Request struct {
	Method string
	Path   string
	Status int    // 0: no answer
	User   string // who logged in, or whose session it was; empty when refused
	Fault  bool   // a Fault struck
}

// Counts are what came of the requests.
type Counts struct {
	Logins  int // that made a session, whether or not the client got to know
	Refused int // logins that the API refused; what a Fault replaced is not among them
	Logouts int
	Live    int // sessions
	SMS     int // sent, to users whose only method it is
}

// Server is a running server. It is safe for concurrent use.
type Server struct {
	URL string // origin, for session.WithBaseURL

	http     *httptest.Server
	closing  chan struct{}
	close    sync.Once
	hijacked sync.WaitGroup // connections

	order    sync.Mutex // of effects, and of what Watch is told; locked before mu
	mu       sync.Mutex
	users    map[string]*account
	sessions map[string]*login
	serial   int
	requests []Request
	counts   Counts
	faults   []*Fault
	rng      *rand.Rand
	settings
}

type login struct {
	id, username, userAgent string
	serial                  int
	until                   time.Time
}

// NewServer starts a server on loopback over plain HTTP.
func NewServer(users ...User) *Server {
	s := newServer(users)
	s.http.Start()
	s.URL = s.http.URL
	return s
}

// NewTLSServer starts a server on loopback over TLS, with HTTP/1.1. Only the
// client that [Server.Client] returns trusts its certificate.
func NewTLSServer(users ...User) *Server {
	s := newServer(users)
	s.http.StartTLS()
	s.URL = s.http.URL
	return s
}

// Listen starts a server on an address, such as "127.0.0.1:4041", over plain
// HTTP.
func Listen(addr string, users ...User) (*Server, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	s := newServer(users)
	s.http.Listener.Close()
	s.http.Listener = l
	s.http.Start()
	s.URL = s.http.URL
	return s, nil
}

func newServer(users []User) *Server {
	s := &Server{
		closing:  make(chan struct{}),
		users:    map[string]*account{},
		sessions: map[string]*login{},
		rng:      rand.New(rand.NewPCG(1, 1)),
		settings: settings{lifetime: 6 * time.Hour},
	}
	for _, u := range users {
		s.AddUser(u)
	}
	s.http = httptest.NewUnstartedServer(s)
	return s
}

// Client returns an HTTP client that trusts the server's certificate and whose
// connections end with the server.
func (s *Server) Client() *http.Client { return s.http.Client() }

// Close stops the server. Requests under way are cut off; it waits for none but
// those that [Server.Watch] is told of.
func (s *Server) Close() {
	s.close.Do(func() { close(s.closing) })
	s.http.Config.Close()
	s.http.Close()
	s.hijacked.Wait()
}

// AddUser adds a user, or replaces the one of that name: its failed tries, used
// codes and partial sessions are forgotten. It panics when Session has no JSON
// form, or TOTP is not base32.
func (s *Server) AddUser(u User) {
	if _, err := json.Marshal(u.Session); err != nil {
		panic("sessiontest: User.Session: " + err.Error())
	}
	a := &account{User: u}
	if u.TOTP != "" {
		a.seed = decodeSeed(u.TOTP)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users[u.Username] = a
}

// Expire ends a session, as its timeout would. It reports whether it was live.
func (s *Server) Expire(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.sessions[id]
	delete(s.sessions, id)
	return l != nil && s.now().Before(l.until)
}

// Sessions returns the IDs of the live sessions, oldest first.
func (s *Server) Sessions() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := []string{}
	for _, l := range s.live() {
		ids = append(ids, l.id)
	}
	return ids
}

// forget drops the sessions that have timed out.
func (s *Server) forget() {
	now := s.now()
	maps.DeleteFunc(s.sessions, func(_ string, l *login) bool { return !now.Before(l.until) })
}

// live returns the live sessions, oldest first.
func (s *Server) live() []*login {
	s.forget()
	return slices.SortedFunc(maps.Values(s.sessions), func(a, b *login) int { return a.serial - b.serial })
}

// Requests returns all that the server was asked, oldest first; of more than a
// million, the last ones.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Counts returns what came of the requests.
func (s *Server) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.counts
	c.Live = len(s.live())
	return c
}

// String shows the counts and the requests, for the log of a test.
func (s *Server) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %+v", s.URL, s.Counts())
	for i, r := range s.Requests() {
		fmt.Fprintf(&b, "\n%4d %v", i+1, r)
	}
	return b.String()
}

// String shows a request in a line.
func (r Request) String() string {
	path := url.URL{Path: r.Path} // without control characters
	text := fmt.Sprintf("%-6s %s %d %s", r.Method, path.EscapedPath(), r.Status, r.User)
	if r.Fault {
		text += " (fault)"
	}
	return strings.TrimSpace(text)
}

// ServeHTTP answers a request as the API would, or as a [Fault] has it.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	params, malformed := readParams(r)
	f := s.strikes(r)
	left := f != nil && !f.After && !s.pause(r, f.Delay)
	reply := s.serve(r, params, malformed, f, left)
	if left || f != nil && f.After && !s.pause(r, f.Delay) {
		panic(http.ErrAbortHandler) // which net/http takes for what it is
	}
	f.compress(&reply, s.closing)
	s.send(w, r, reply, f)
}

// serve has a request take effect and be recorded, unless its client has left.
func (s *Server) serve(r *http.Request, params map[string]string, malformed *answer, f *Fault, left bool) reply {
	s.order.Lock()
	defer s.order.Unlock()
	s.mu.Lock()
	var a answer
	if !left && (f == nil || f.After || !f.replaces()) {
		a = s.answer(r, params, malformed)
	}
	reply := s.render(r, a, f)
	if left {
		reply.status = 0
	}
	record := Request{r.Method, r.URL.Path, reply.status, a.user, f != nil}
	if len(s.requests) == maxRequests {
		s.requests = slices.Delete(s.requests, 0, maxRequests/2)
	}
	s.requests = append(s.requests, record)
	watch := s.watch
	s.mu.Unlock()
	if watch != nil {
		watch(record)
	}
	return reply
}

const maxRequests = 2 << 20

// reply is an answer as bytes.
type reply struct {
	status int // 0: none
	header http.Header
	body   []byte
}

func (s *Server) render(r *http.Request, a answer, f *Fault) reply {
	h := http.Header{}
	instance := randomHex(16)
	h.Set("Cache-Control", "no-cache, no-store, max-age=0, must-revalidate")
	h.Set("Expires", "Fri, 01 Jan 1990 00:00:00 GMT")
	h.Set("Pragma", "no-cache")
	h.Set("Server", "files.com")
	h.Set("X-Request-Id", instance)
	maps.Copy(h, a.header)
	if a.kind != "" {
		failure := map[string]any{"error": translate(a.message, r.Header.Get("Accept-Language")), "http-code": a.status,
			"instance": instance, "title": title(a.kind), "type": a.kind}
		if a.data != nil {
			failure["data"] = a.data
		}
		if s.recorded == 2021 {
			s.age(failure)
		} else {
			h.Set("X-Files-Error-Class", a.kind)
		}
		if f != nil && f.HTTPCode != nil {
			failure["http-code"] = f.HTTPCode
		}
		a.body = failure
	}
	rep := reply{status: a.status, header: h}
	switch body := a.body.(type) {
	case nil:
	case string:
		rep.body = []byte(body)
	default:
		rep.body, _ = json.Marshal(body)
		h.Set("Content-Type", "application/json")
	}
	if f != nil {
		f.spoil(&rep)
	}
	return rep
}

// answer is what ServeHTTP writes: a failure when kind is set, else body, if any.
type answer struct {
	status        int
	user          string
	header        http.Header
	kind, message string
	data, body    any // a body that is a string is text
}

func (s *Server) answer(r *http.Request, params map[string]string, malformed *answer) answer {
	user, live := s.whose(r)
	switch {
	case !strings.HasPrefix(r.URL.Path, apiRoot):
		return answer{status: 404, kind: "not-found", message: "Not Found.  This may be related to your permissions."}
	case r.URL.Path == sessionsPath && r.Method == http.MethodPost:
		a := s.logIn(r, params, malformed)
		if a.status == http.StatusCreated {
			s.counts.Logins++
		} else {
			s.counts.Refused++
		}
		return a
	case !live:
		return answer{status: 401, kind: "not-authenticated/invalid-credentials",
			message: "The API key or Session token provided could not be used to validate this request."}
	case r.URL.Path == sessionsPath && r.Method == http.MethodDelete:
		delete(s.sessions, r.Header.Get("X-FilesAPI-Auth"))
		s.counts.Logouts++
		if s.recorded == 2021 {
			return answer{status: 200, user: user, body: map[string]any{}}
		}
		return answer{status: 204, user: user}
	case r.URL.Path == sessionsPath:
		return answer{status: 405, user: user, kind: "bad-request/method-not-allowed", message: "Method not allowed."}
	case strings.HasPrefix(r.URL.Path, apiRoot+"folders"):
		return answer{status: 200, user: user, body: []any{}}
	}
	return answer{status: 200, user: user, body: map[string]any{}}
}

func (s *Server) whose(r *http.Request) (username string, live bool) {
	l := s.sessions[r.Header.Get("X-FilesAPI-Auth")] // none has an empty ID
	if l == nil || !s.now().Before(l.until) || s.bindUserAgent && l.userAgent != r.UserAgent() {
		return "", false
	}
	return l.username, true
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
	crand.Read(b)
	return hex.EncodeToString(b)
}
