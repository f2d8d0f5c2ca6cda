package session_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/filescom/session"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// canaries are the secrets of the tests. No text may hold one.
const (
	passwordCanary = "pass word+canary&1"
	otpCanary      = "otp%canary=2"
	partialCanary  = "partial/canary/3"
	idCanary       = "id-canary-4-0123456789abcdef"
	tokenCanary    = "@tok-canary-5"
	awsCanary      = "aws/secret+canary=6"
)

var (
	alice    = session.CreateParams{Username: "alice", Password: passwordCanary}
	canaries = []string{passwordCanary, otpCanary, partialCanary, idCanary, tokenCanary, awsCanary}
)

// assertNoSecret checks that text holds no canary, as it is or escaped.
func assertNoSecret(t *testing.T, text string) {
	t.Helper()
	for _, canary := range canaries {
		quoted, _ := json.Marshal(canary)
		for _, form := range []string{canary, url.QueryEscape(canary), url.PathEscape(canary),
			fmt.Sprintf("%x", canary), fmt.Sprintf("%X", canary), strings.Trim(string(quoted), `"`)} {
			if strings.Contains(text, form) {
				t.Errorf("a secret (%s) is shown: %s", canary, text)
				return
			}
		}
	}
}

// assertHidesSecrets checks that no way of printing, logging or marshalling v shows a
// canary, nor does any error that v wraps.
func assertHidesSecrets(t *testing.T, v any) {
	t.Helper()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%e", "%c", "%U", "%o", "%b", "%T", "%10.3v", "%+q"} {
		assertNoSecret(t, fmt.Sprintf(verb, v))
	}
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelError} {
		var out bytes.Buffer
		opts := &slog.HandlerOptions{Level: slog.LevelDebug}
		slog.New(slog.NewTextHandler(&out, opts)).Log(t.Context(), level, "m", "v", v)
		slog.New(slog.NewJSONHandler(&out, opts)).Log(t.Context(), level, "m", "v", v)
		slog.New(slog.NewJSONHandler(&out, opts)).WithGroup("g").With("v", v).Log(t.Context(), level, "m")
		assertNoSecret(t, out.String())
	}
	if data, err := json.Marshal(v); err == nil {
		assertNoSecret(t, string(data))
	}
	switch e := v.(type) {
	case interface{ Unwrap() error }:
		if e.Unwrap() != nil {
			assertHidesSecrets(t, e.Unwrap())
		}
	case interface{ Unwrap() []error }:
		for _, err := range e.Unwrap() {
			assertHidesSecrets(t, err)
		}
	}
}

func payload(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	require.NoError(t, err)
	return string(data)
}

// seen is a request as a server received it.
type seen struct {
	method, path, body, from string
	header                   http.Header
}

// server answers with a handler and keeps the requests.
type server struct {
	*httptest.Server
	mu       sync.Mutex
	requests []seen
}

func (s *server) seen() []seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

func serve(t *testing.T, handler http.HandlerFunc) *server {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.requests = append(s.requests, seen{r.Method, r.URL.Path, string(body), r.RemoteAddr, r.Header})
		s.mu.Unlock()
		r.Body = io.NopCloser(bytes.NewReader(body))
		handler(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// answer serves one answer to every request.
func answer(t *testing.T, status int, body string, header ...string) *server {
	t.Helper()
	return serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = nil
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
	})
}

// client returns a client of s with its own transport.
func client(t *testing.T, s *server, opts ...session.Option) *session.Client {
	t.Helper()
	return newClient(t, append([]session.Option{session.WithSite(s.URL), session.WithHTTPClient(s.Client())}, opts...)...)
}

func newClient(t *testing.T, opts ...session.Option) *session.Client {
	t.Helper()
	c, err := session.NewClient(opts...)
	require.NoError(t, err)
	return c
}

// listen serves every connection with a function that gets its number, from 1.
func listen(t *testing.T, each func(n int, conn net.Conn)) (origin string, connections func() int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var (
		mu   sync.Mutex
		n    int
		done sync.WaitGroup
	)
	done.Add(1)
	go func() {
		defer done.Done()
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			n++
			number := n
			mu.Unlock()
			done.Add(1)
			go func() {
				defer done.Done()
				defer conn.Close()
				each(number, conn)
			}()
		}
	}()
	t.Cleanup(func() { l.Close(); done.Wait() })
	return "http://" + l.Addr().String(), func() int { mu.Lock(); defer mu.Unlock(); return n }
}

// readRequest reads one request with its body from a connection.
func readRequest(conn net.Conn) {
	buf := make([]byte, 64<<10)
	got := ""
	for {
		n, err := conn.Read(buf)
		got += string(buf[:n])
		head, body, whole := strings.Cut(got, "\r\n\r\n")
		if err != nil {
			return
		}
		if !whole {
			continue
		}
		var length int
		for _, line := range strings.Split(head, "\r\n") {
			fmt.Sscanf(strings.ToLower(line), "content-length: %d", &length)
		}
		if len(body) >= length {
			return
		}
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func apiError(t *testing.T, err error) *session.APIError {
	t.Helper()
	var api *session.APIError
	require.ErrorAs(t, err, &api)
	return api
}

// freshTransport returns a transport with its own connections, which end with the
// test.
func freshTransport(t *testing.T) *http.Transport {
	t.Helper()
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

var errBroken = errors.New("broken")

// readResponse parses an answer as it would come over the wire.
func readResponse(text string, r *http.Request) (*http.Response, error) {
	return http.ReadResponse(bufio.NewReader(strings.NewReader(text)), r)
}

func jsonString(s string) string { data, _ := json.Marshal(s); return string(data) }

// allocated returns how many bytes are allocated while f runs, also by other
// goroutines.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}
