package sessiontest_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/filescom/session/sessiontest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// try posts a login. It returns as much of the answer as can be read.
func try(t *testing.T, srv *sessiontest.Server) (resp *http.Response, body string, err error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "POST", srv.URL+sessions, strings.NewReader(good))
	require.NoError(t, err)
	req.Header.Set("Content-Type", form)
	resp, err = srv.Client().Transport.RoundTrip(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return resp, string(data), err
}

// dial connects to a server over plain TCP.
func dial(t *testing.T, srv *sessiontest.Server) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(srv.URL, "http://"))
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

func TestAFaultReplacesTheAnswer(t *testing.T) {
	t.Parallel()
	srv := newServer(t, alice)
	srv.Inject(sessiontest.Fault{Status: 502, Body: sessiontest.EdgeHTML, Header: http.Header{"x-edge": {"1"}}})
	resp, body, err := try(t, srv)
	require.NoError(t, err)
	assert.Equal(t, 502, resp.StatusCode)
	assert.Equal(t, sessiontest.EdgeHTML, body)
	assert.Contains(t, resp.Header.Get("Content-Type"), "text/html")
	assert.Equal(t, "1", resp.Header.Get("X-Edge"))
	assert.Empty(t, srv.Sessions(), "no effect")

	srv.Inject(sessiontest.Fault{After: true, Status: 504})
	resp, _, err = try(t, srv)
	require.NoError(t, err)
	assert.Equal(t, 504, resp.StatusCode)
	assert.Len(t, srv.Sessions(), 1, "the effect, and another answer")

	srv.Inject(sessiontest.Fault{Status: 307, Header: http.Header{"Location": {"https://elsewhere.example"}}})
	resp, _, err = try(t, srv)
	require.NoError(t, err)
	assert.Equal(t, "https://elsewhere.example", resp.Header.Get("Location"))
	assert.Equal(t, []sessiontest.Request{
		{Method: "POST", Path: sessions, Status: 502, Fault: true},
		{Method: "POST", Path: sessions, Status: 504, User: "alice", Fault: true},
		{Method: "POST", Path: sessions, Status: 307, Fault: true},
	}, srv.Requests())
	assert.Equal(t, "POST   /api/rest/v1/sessions 504 alice (fault)", srv.Requests()[1].String())
	resp, _, err = try(t, srv)
	require.NoError(t, err)
	assert.Equal(t, 201, resp.StatusCode, "each one once")
}

func TestAFaultStrikesMatchingRequests(t *testing.T) {
	t.Parallel()
	srv := newServer(t, alice)
	srv.Inject(sessiontest.Fault{Method: "DELETE", Status: 503})
	srv.Inject(sessiontest.Fault{Path: "/api/rest/v1/x", Status: 500, Times: 2})
	id := logIn(t, srv, good).body["id"].(string)
	for _, status := range []int{500, 500, 200} {
		assert.Equal(t, status, send(t, srv, "GET", "/api/rest/v1/x", "", "", id).status)
	}
	for _, status := range []int{503, 204} {
		assert.Equal(t, status, send(t, srv, "DELETE", sessions, "", "", id).status)
	}
}

func TestAFaultStrikesByChance(t *testing.T) {
	t.Parallel()
	run := func(seed uint64, times int) (struck []int) {
		srv := newServer(t)
		srv.Seed(seed)
		srv.Inject(sessiontest.Fault{Chance: 0.3, Times: times, Status: 500})
		for i := range 100 {
			if send(t, srv, "GET", "/api/rest/v1/x", "", "", "").status == 500 {
				struck = append(struck, i)
			}
		}
		return struck
	}
	first := run(7, 0)
	assert.InDelta(t, 30, len(first), 15)
	assert.Equal(t, first, run(7, 0), "the same seed, the same chances")
	assert.NotEqual(t, first, run(8, 0))
	assert.Len(t, run(7, 5), 5)
}

func TestAFaultResetsTheConnection(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(...sessiontest.User) *sessiontest.Server{"plain": sessiontest.NewServer, "TLS": sessiontest.NewTLSServer} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := start(alice)
			defer srv.Close()
			for live, after := range []bool{false, true} {
				srv.Inject(sessiontest.Fault{After: after, Reset: true})
				_, _, err := try(t, srv)
				assert.True(t, errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF), "%v", err)
				assert.Len(t, srv.Sessions(), live)
			}
			assert.Equal(t, 0, srv.Requests()[0].Status)
		})
	}
}

func TestAFaultDelaysTheEffectOrTheAnswer(t *testing.T) {
	t.Parallel()
	for live, after := range []bool{false, true} {
		srv := newServer(t, alice)
		struck := make(chan bool, 1)
		srv.Watch(func(sessiontest.Request) { struck <- true })
		srv.Inject(sessiontest.Fault{After: after, Delay: time.Hour})
		ctx, cancel := context.WithCancel(t.Context())
		sent := make(chan bool, 1)
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { sent <- true }})
		req, err := http.NewRequestWithContext(ctx, "POST", srv.URL+sessions, strings.NewReader(good))
		require.NoError(t, err)
		req.Header.Set("Content-Type", form)
		done := make(chan error, 1)
		go func() { _, err := srv.Client().Do(req); done <- err }()
		<-sent
		if after {
			<-struck
		}
		assert.Len(t, srv.Sessions(), live)
		cancel()
		assert.ErrorIs(t, <-done, context.Canceled)
		srv.Close() // no delay makes Close wait
		assert.Len(t, srv.Sessions(), live, "no effect, since the client has left")
	}
}

func TestAFaultThatIsNotValidIsRefused(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	for _, f := range []sessiontest.Fault{{Status: 99}, {Status: 1000}, {Chance: -1}, {Chance: 2}, {Chance: math.NaN()}, {Truncate: -1}, {Bomb: -1},
		{Delay: -1}, {Drip: -1}, {Method: "get"}, {Path: "sessions"}, {HTTPCode: func() {}}} {
		assert.Error(t, f.Validate())
		assert.PanicsWithValue(t, "sessiontest: "+f.Validate().Error(), func() { srv.Inject(f) })
	}
	assert.EqualError(t, sessiontest.Fault{Method: "POST"}.Validate(), "the Fault has no effect; set Status, Body, Reset, Delay or a field that spoils the answer")
	assert.EqualError(t, sessiontest.Fault{Path: "/sessions", Status: 503}.Validate(), `Fault.Path is "/sessions"; it must begin with /api/rest/v1/`)
	assert.EqualError(t, sessiontest.Fault{Chance: 7}.Validate(), "Fault.Chance is 7; it must be between 0 and 1")
	assert.EqualError(t, sessiontest.Fault{Method: "get"}.Validate(), `Fault.Method is "get"; write "GET"`)
}

func TestAFaultSpoilsTheAnswer(t *testing.T) {
	t.Parallel()
	srv := newServer(t, alice)
	spoil := func(f sessiontest.Fault) (resp *http.Response, body string, err error) {
		srv.Inject(f)
		return try(t, srv)
	}
	resp, body, err := spoil(sessiontest.Fault{Truncate: 10})
	assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
	assert.Equal(t, int(resp.ContentLength)-10, len(body))
	assert.Contains(t, body, `"id":`)

	resp, body, err = spoil(sessiontest.Fault{Drip: time.Microsecond})
	require.NoError(t, err)
	assert.True(t, json.Valid([]byte(body)))
	assert.Equal(t, 201, resp.StatusCode)

	resp, body, err = spoil(sessiontest.Fault{Gzip: true})
	require.NoError(t, err)
	assert.True(t, resp.Uncompressed)
	assert.True(t, json.Valid([]byte(body)))

	resp, body, err = spoil(sessiontest.Fault{Bomb: 10 << 20})
	require.NoError(t, err)
	assert.True(t, resp.Uncompressed)
	assert.Len(t, body, 10<<20)
	assert.Len(t, srv.Sessions(), 4, "all of them took effect")
}

func TestAFaultSendsSurplusBytes(t *testing.T) {
	t.Parallel()
	srv := newServer(t, alice)
	id := logIn(t, srv, good).body["id"].(string)
	srv.Inject(sessiontest.Fault{Surplus: "{}"})
	conn := dial(t, srv)
	io.WriteString(conn, "DELETE "+sessions+" HTTP/1.1\r\nHost: x\r\nX-FilesAPI-Auth: "+id+"\r\n\r\n")
	raw, err := io.ReadAll(conn)
	require.NoError(t, err)
	assert.True(t, bytes.HasPrefix(raw, []byte("HTTP/1.1 204 No Content\r\n")), "%s", raw)
	assert.True(t, bytes.HasSuffix(raw, []byte("\r\n\r\n{}")), "%s", raw)
}

func TestAFaultSetsTheHTTPCode(t *testing.T) {
	t.Parallel()
	srv := newServer(t, alice)
	for _, code := range []any{"401", 7.5, true, []any{1.0}, map[string]any{"a": "b"}} {
		srv.Inject(sessiontest.Fault{HTTPCode: code})
		r := logIn(t, srv, wrong)
		assert.Equal(t, code, r.body["http-code"])
		assert.Equal(t, 401, r.status)
	}
}

func TestCompressedFaultsAreGzip(t *testing.T) {
	t.Parallel()
	srv := newServer(t, alice)
	srv.Inject(sessiontest.Fault{Gzip: true, Status: 500, Body: "x"})
	conn := dial(t, srv)
	io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n")
	raw, err := io.ReadAll(conn)
	require.NoError(t, err)
	_, body, _ := bytes.Cut(raw, []byte("\r\n\r\n"))
	zr, err := gzip.NewReader(bytes.NewReader(body))
	require.NoError(t, err)
	plain, err := io.ReadAll(zr)
	require.NoError(t, err)
	assert.Equal(t, "x", string(plain))
}

func TestABodyReplacesTheAnswerAndAHeaderDoesNot(t *testing.T) {
	t.Parallel()
	srv := newServer(t, alice)
	srv.Inject(sessiontest.Fault{Body: sessiontest.EdgeHTML})
	resp, body, err := try(t, srv)
	require.NoError(t, err)
	assert.Equal(t, 200, resp.StatusCode)
	assert.Equal(t, sessiontest.EdgeHTML, body)
	assert.Empty(t, srv.Sessions())

	srv.Inject(sessiontest.Fault{Header: http.Header{"content-type": {"text/plain"}}})
	resp, body, err = try(t, srv)
	require.NoError(t, err)
	assert.Equal(t, 201, resp.StatusCode)
	assert.Equal(t, "text/plain", resp.Header.Get("Content-Type"))
	assert.Contains(t, body, srv.Sessions()[0])
}

func TestABodyThatIsJSONIsSentAsJSON(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		fault       sessiontest.Fault
		contentType string
	}{
		{sessiontest.Fault{Status: 403, Body: `{"type":"a/b"}`}, "application/json"},
		{sessiontest.Fault{Body: " []\n"}, "application/json"},
		{sessiontest.Fault{Body: `[]`, After: true, Surplus: "x"}, "application/json"},
		{sessiontest.Fault{Body: `{}`, Header: http.Header{"content-type": {"text/plain"}}}, "text/plain"},
		{sessiontest.Fault{Body: `{}`, Header: http.Header{"Content-Type": nil}}, ""},
		{sessiontest.Fault{Body: `{"type":`}, "text/plain; charset=utf-8"},
		{sessiontest.Fault{Body: "<html>"}, "text/html; charset=utf-8"},
		{sessiontest.Fault{Status: 503}, ""},
	} {
		srv := newServer(t, alice)
		srv.Inject(tc.fault)
		r := logIn(t, srv, good)
		assert.Equal(t, tc.contentType, r.header.Get("Content-Type"), tc.fault.Body)
		assert.Equal(t, tc.fault.Body, r.raw)

		var id string
		srv, id = handled(t, func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Content-Type", "text/csv") })
		srv.Inject(tc.fault)
		assert.Equal(t, tc.contentType, send(t, srv, "GET", "/x", "", "", id).header.Get("Content-Type"), "of a Handler")
	}
}

func TestAHEADHasNoBodyWhateverTheFault(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	srv.Inject(sessiontest.Fault{Drip: time.Microsecond})
	conn := dial(t, srv)
	io.WriteString(conn, "HEAD "+sessions+" HTTP/1.1\r\nHost: x\r\n\r\n")
	raw, err := io.ReadAll(conn)
	require.NoError(t, err)
	_, body, _ := bytes.Cut(raw, []byte("\r\n\r\n"))
	assert.Empty(t, body)
	assert.Contains(t, string(raw), "Content-Length: ")
}

// Close cuts off a client that does not send its request or does not read its
// answer.
func TestCloseWaitsForNoClient(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]*sessiontest.Fault{
		"upload":             nil,
		"answer":             {Body: strings.Repeat("x", 16<<20)},
		"answer with a trap": {Body: strings.Repeat("x", 16<<20), Surplus: "x"},
		"drip":               {Drip: time.Hour},
		"bomb":               {Bomb: 1 << 40},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := sessiontest.NewServer(alice)
			length := 100
			answered := make(chan bool, 1)
			if fault != nil {
				srv.Inject(*fault)
				srv.Watch(func(sessiontest.Request) { answered <- true })
				length = 0
			} else {
				answered <- true
			}
			conn := dial(t, srv)
			fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nContent-Type: %s\r\n\r\n", sessions, length, form)
			<-answered
			srv.Close()
			srv.Close()
		})
	}
}
