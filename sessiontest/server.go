// Package sessiontest is a Files.com Session API in memory, for tests and examples.
// It serves real HTTP on loopback. Its answers have the form of recorded answers of
// the API.
//
//	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: "secret"})
//	defer srv.Close()
//	c, err := session.NewClient(session.WithSite(srv.URL))
//
// A test adds users, sets what happens to their logins, makes requests fail with
// [Server.Inject] and moves the clock with [Server.Advance]. [Server.Counts] and
// [Server.Requests] report what happened, and [Server.String] prints it for the log
// of a failed test. [Server.Handler] adds other endpoints.
//
// # Bodies
//
// The server reads a login as Ruby Grape and Rack would, since the API is built on them.
// It accepts a form, a JSON object and multipart. It answers 422 to
//
//   - any other Content-Type, also one such as application/vnd.api+json
//   - JSON that begins with a byte order mark
//   - a compressed body, whatever its Content-Encoding says
//
// A byte order mark before a form becomes a part of the first name. The server ignores
// that parameter, as it ignores any name that it does not know.
//
// # Other languages
//
// The command filessession-fake, in a folder of this package, serves the same API
// to programs in other languages.
//
// The package imports only the standard library, without package testing.
package sessiontest

import (
	"crypto/tls"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Server is a running server. Its methods are safe for concurrent use. Set its
// fields before the first request.
type Server struct {
	// URL is the origin of the server, for session.WithSite. Its host is a
	// loopback address if the server listens on all addresses.
	URL string

	// Handler, if not nil, answers each request that carries a live session, at any
	// path, except those of the sessions and GET /api/rest/v1/site. The server itself
	// answers all other requests: those with a dead session with 401, at any path.
	// [UserOf] names the user of a request in Handler. Handler may call the methods of
	// the server, except Close.
	Handler http.Handler

	http     *httptest.Server
	initial  []User // for Reset
	closing  chan struct{}
	close    sync.Once
	hijacked sync.WaitGroup // connections

	order    sync.Mutex // keeps effects and calls to watch in order; locked before mu
	mu       sync.Mutex // guards the rest
	users    map[string]*account
	sessions map[string]*login
	ended    map[string]string // why a session has ended, by ID
	serial   int               // of the last session
	requests []Request
	counts   Counts
	faults   []*Fault
	rng      *rand.Rand
	offset   time.Duration // of the clock
	recent   []time.Time   // logins within the window of the rate limit
	settings
}

// NewServer starts a server on loopback over plain HTTP. Like the functions below, it
// panics with the error of [User.Validate] if a user is not valid.
func NewServer(users ...User) *Server {
	s := newServer(users)
	s.http = httptest.NewUnstartedServer(s)
	s.http.Start()
	s.URL = s.http.URL
	return s
}

// NewTLSServer starts a server on loopback over TLS, with HTTP/1.1. Only the
// client that [Server.Client] returns trusts its certificate.
func NewTLSServer(users ...User) *Server {
	s := newServer(users)
	s.http = httptest.NewUnstartedServer(s)
	s.http.StartTLS()
	s.URL = s.http.URL
	return s
}

// Listen starts a server on an address of TCP, such as "127.0.0.1:4041" or ":0",
// over plain HTTP. On "localhost:4041" it serves both 127.0.0.1 and ::1, if the machine
// has both.
func Listen(addr string, users ...User) (*Server, error) {
	listeners, err := listen(addr)
	if err != nil {
		return nil, err
	}
	s := newServer(users)
	s.http = &httptest.Server{Listener: listeners[0], Config: &http.Server{Handler: s}}
	s.URL = "http://" + loopback(listeners[0].Addr())
	s.http.Start()
	for _, l := range listeners[1:] {
		go s.http.Config.Serve(l)
	}
	return s, nil
}

// ListenTLS is [Listen] over TLS, with HTTP/1.1 and the certificate cert. The client
// that [Server.Client] returns trusts the certificate.
func ListenTLS(addr string, cert tls.Certificate, users ...User) (*Server, error) {
	listeners, err := listen(addr)
	if err != nil {
		return nil, err
	}
	s := newServer(users)
	s.http = &httptest.Server{Listener: listeners[0], Config: &http.Server{Handler: s},
		TLS: &tls.Config{Certificates: []tls.Certificate{cert}}}
	s.URL = "https://" + loopback(listeners[0].Addr())
	s.http.StartTLS()
	for _, l := range listeners[1:] {
		go s.http.Config.Serve(tls.NewListener(l, s.http.TLS))
	}
	return s, nil
}

// listen listens on addr: for the host localhost, on the loopback addresses of both IPv4
// and IPv6. Package net itself would choose one of them.
func listen(addr string) ([]net.Listener, error) {
	host, port, _ := net.SplitHostPort(addr)
	for tries := 0; ; tries++ {
		l, err := net.Listen("tcp", addr)
		if err != nil || !strings.EqualFold(host, "localhost") {
			return []net.Listener{l}, err
		}
		first := l.Addr().(*net.TCPAddr)
		other := "::1"
		if first.IP.To4() == nil {
			other = "127.0.0.1"
		}
		second, err := net.Listen("tcp", net.JoinHostPort(other, strconv.Itoa(first.Port)))
		switch {
		case err == nil:
			return []net.Listener{l, second}, nil
		case !hasAddress(other):
			return []net.Listener{l}, nil
		}
		l.Close() // another program serves that port of the other address
		if port != "0" || tries == 10 {
			return nil, err
		}
	}
}

// hasAddress reports whether this machine can listen on the address ip.
func hasAddress(ip string) bool {
	trial, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		return false
	}
	trial.Close()
	return true
}

// loopback returns the address under which this machine reaches a listener. A
// listener on an unspecified address listens on all IPv4 and IPv6 addresses, as
// package net documents.
func loopback(addr net.Addr) string {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return addr.String()
	}
	host := "127.0.0.1"
	if !hasAddress(host) {
		host = "::1"
	}
	return net.JoinHostPort(host, strconv.Itoa(tcp.Port))
}

func newServer(users []User) *Server {
	s := &Server{
		closing:  make(chan struct{}),
		settings: settings{lifetime: 6 * time.Hour, sliding: true, lockWithin: 6 * time.Hour, recording: Recording2025, seed: 1},
	}
	for _, u := range users {
		s.initial = append(s.initial, newAccount(u).User) // a copy
	}
	s.Reset()
	return s
}

// Client returns an HTTP client that trusts the server's certificate and whose
// connections end with the server.
func (s *Server) Client() *http.Client { return s.http.Client() }

// Close stops the server and cuts off requests under way. It waits for calls to
// [Server.Handler] and to the function of [Server.Watch], but not for clients. It
// may be called more than once, and by several goroutines at the same time.
func (s *Server) Close() {
	s.close.Do(func() { close(s.closing) })
	s.http.Config.Close()
	s.http.Close()
	s.hijacked.Wait()
}

// Reset forgets what has happened: sessions, partial sessions, failed tries, the
// journal and its counts, faults, and moves of the clock. The users are those that
// the server was started with. The settings made by the Set methods,
// [Server.BindUserAgent], [Server.MoveTo], [Server.Seed] and [Server.Watch] remain.
func (s *Server) Reset() {
	accounts := map[string]*account{}
	for _, u := range s.initial {
		accounts[u.Username] = newAccount(u)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users = accounts
	s.sessions = map[string]*login{}
	s.ended = map[string]string{}
	s.requests, s.counts, s.faults = nil, Counts{}, nil
	s.rng = rand.New(rand.NewPCG(s.seed, 1))
	s.offset, s.recent = 0, nil
}

// AddUser adds a user. It replaces a user of the same name, and forgets that user's
// failed tries, used codes and partial sessions. It panics with the error of
// [User.Validate], if there is one.
func (s *Server) AddUser(u User) {
	a := newAccount(u)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users[u.Username] = a
}

// Expire ends a session, as its timeout would. It reports whether the session was
// live.
func (s *Server) Expire(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget()
	return s.end(id, endedByTest)
}

// ExpireUser ends the sessions of a user, as their timeout would. It returns how
// many were live.
func (s *Server) ExpireUser(username string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, l := range s.live() {
		if l.username == username && s.end(l.id, endedByTest) {
			n++
		}
	}
	return n
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

// LiveByUser returns the number of live sessions by user. It leaves out users
// without one.
func (s *Server) LiveByUser() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := map[string]int{}
	for _, l := range s.live() {
		n[l.username]++
	}
	return n
}

// live returns the live sessions, oldest first.
func (s *Server) live() []*login {
	s.forget()
	return slices.SortedFunc(maps.Values(s.sessions), func(a, b *login) int { return a.serial - b.serial })
}

// forget ends the sessions that have timed out.
func (s *Server) forget() {
	now := s.now()
	for id, l := range s.sessions {
		if !now.Before(l.until) {
			s.end(id, "the session has timed out")
		}
	}
}

// endedByTest is the reason of a session that Expire or ExpireUser has ended.
const endedByTest = "the test has ended the session"

// maxEnded limits the memory that ended sessions take.
const maxEnded = 100_000

// end ends a session and keeps the reason for the journal. It reports whether
// there was such a session.
func (s *Server) end(id, reason string) bool {
	if s.sessions[id] == nil {
		return false
	}
	delete(s.sessions, id)
	if len(s.ended) >= maxEnded {
		clear(s.ended)
	}
	s.ended[id] = reason
	return true
}
