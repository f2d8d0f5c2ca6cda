package session_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/filescom/session"
	"github.com/filescom/session/sessiontest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const deadSession = `{"type":"not-authenticated/invalid-credentials","http-code":401}`

// counter logs in to an origin with id1, id2, ….
type counter struct {
	origin string
	logins atomic.Int32
	fail   atomic.Bool
}

func (c *counter) source() *session.Source {
	return &session.Source{Login: func(context.Context) (*session.Session, error) {
		n := c.logins.Add(1)
		if c.fail.Load() {
			return nil, errBroken
		}
		return &session.Session{ID: fmt.Sprint("id", n), BaseURL: c.origin, UserAgent: "maker/1"}, nil
	}}
}

// body counts its closes.
type body struct {
	io.Reader
	closed atomic.Int32
}

func (b *body) Close() error { b.closed.Add(1); return nil }

// closing reads and closes the body of a request, as a RoundTripper must.
func closing(f func(*http.Request) (int, string)) roundTripper {
	return func(r *http.Request) (*http.Response, error) {
		if r.Body != nil {
			io.Copy(io.Discard, r.Body)
			r.Body.Close()
		}
		status, text := f(r)
		return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(text)), Request: r}, nil
	}
}

func roundTrip(t *testing.T, tr http.RoundTripper, method, target string, body io.Reader) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, target, body)
	require.NoError(t, err)
	resp, err := tr.RoundTrip(req)
	require.NoError(t, err)
	data, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	resp.Body.Close()
	return resp, string(data)
}

// The contract of http.RoundTripper is that the request is not modified, and that
// its body is always closed.
func TestTransportKeepsTheRoundTripperContract(t *testing.T) {
	t.Parallel()
	broken := roundTripper(func(r *http.Request) (*http.Response, error) { r.Body.Close(); return nil, errBroken })
	dead := closing(func(*http.Request) (int, string) { return 401, deadSession })
	ok := closing(func(r *http.Request) (int, string) {
		r.Header["X-Own"] = append(r.Header["X-Own"], "changed by the base")
		r.Header.Set("X-More", "x")
		return 200, ""
	})
	failing := &session.Source{Login: func(context.Context) (*session.Session, error) { return nil, errBroken }}
	for name, tr := range map[string]*session.Transport{
		"answered":     {Source: (&counter{}).source(), Base: ok},
		"base fails":   {Source: (&counter{}).source(), Base: broken},
		"dead session": {Source: (&counter{}).source(), Base: dead},
		"login fails":  {Source: failing, Base: ok},
		"no source":    {Base: ok},
		"no session":   {Source: session.StaticSource(nil), Base: ok},
		"other origin": {Source: (&counter{origin: "https://other.example"}).source(), Base: ok},
	} {
		sent := &body{Reader: strings.NewReader("body")}
		req, err := http.NewRequestWithContext(t.Context(), "POST", session.DefaultBaseURL+"/x", sent)
		require.NoError(t, err)
		req.Header["X-Own"] = append(make([]string, 0, 4), "a", "b")
		header, before := req.Header.Clone(), *req
		resp, err := tr.RoundTrip(req)
		assert.Equal(t, err != nil, resp == nil, name)
		assert.EqualValues(t, 1, sent.closed.Load(), name)
		if tr.Source == nil || strings.HasPrefix(name, "other") {
			continue // it is passed on untouched, so the base must close it
		}
		assert.Equal(t, header, req.Header, name)
		assert.Empty(t, req.Header["X-Own"][:4][2], name)
		assert.Equal(t, before.URL, req.URL, name)
		assert.Equal(t, before.Body, req.Body, name)
	}
}

func TestTheErrorOfAMisusedTransportSaysWhatToDo(t *testing.T) {
	t.Parallel()
	_, err := (&session.Transport{}).RoundTrip(&http.Request{})
	assert.EqualError(t, err, "session: Transport.Source is nil; set it to a Source")
	assert.ErrorIs(t, err, session.ErrInvalidParams)
	_, err = (&session.Transport{Source: (&counter{}).source()}).RoundTrip(&http.Request{})
	assert.EqualError(t, err, "session: the request has no URL; create it by http.NewRequest")
	assert.ErrorIs(t, err, session.ErrInvalidParams)
}

func TestTransportSendsTheSessionAndItsUserAgent(t *testing.T) {
	t.Parallel()
	var got http.Header
	tr := &session.Transport{Source: (&counter{}).source(), Base: closing(func(r *http.Request) (int, string) { got = r.Header; return 200, "" })}
	roundTrip(t, tr, "GET", session.DefaultBaseURL+"/x", nil)
	assert.Equal(t, http.Header{http.CanonicalHeaderKey(session.AuthHeader): {"id1"}, "User-Agent": {"maker/1"}}, got)

	for _, own := range [][]string{{"own/2"}, {""}, nil} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", session.DefaultBaseURL+"/x", nil)
		require.NoError(t, err)
		req.Header["User-Agent"] = own
		req.Header.Set(session.AuthHeader, "old")
		_, err = tr.RoundTrip(req)
		require.NoError(t, err)
		assert.Equal(t, own, got["User-Agent"])
		assert.Equal(t, "id1", got.Get(session.AuthHeader))
	}
}

func TestTransportSendsTheSessionOnlyToItsOrigin(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		origin, target string
		ours           bool
	}{
		{"", "https://app.files.com/x", true},
		{"", "https://app.files.com:443/x", true},
		{"", "https://APP.files.com/x", true},
		{"https://App.Files.com:443", "https://app.files.com/x", true},
		{"https://a.example:8443", "https://a.example:8443/x", true},
		{"http://127.0.0.1:4041", "http://127.0.0.1:4041/x", true},
		{"https://[2001:db8::1]", "https://[2001:db8::1]:443/x", true},
		{"", "http://app.files.com/x", false},
		{"", "http://app.files.com:443/x", false},
		{"", "https://app.files.com:444/x", false},
		{"", "https://mysite.files.com/x", false},
		{"", "https://app.files.com.evil.example/x", false},
		{"", "https://evil.example/app.files.com", false},
		{"", "https://xapp.files.com/x", false},
		{"", "https://app.file\u017f.com/x", false},
		{"", "https://app.files.com./x", false},
		{"http://127.0.0.1:4041", "http://127.0.0.1:4042/x", false},
		{"http://127.0.0.1:4041", "https://127.0.0.1:4041/x", false},
		{"http://127.0.0.1:4041", "http://localhost:4041/x", false},
	} {
		var got *http.Request
		tr := &session.Transport{Source: (&counter{origin: tc.origin}).source(), Base: closing(func(r *http.Request) (int, string) { got = r; return 200, "" })}
		for range 2 { // before the first session, and after
			req, err := http.NewRequestWithContext(t.Context(), "GET", tc.target, nil)
			require.NoError(t, err)
			_, err = tr.RoundTrip(req)
			require.NoError(t, err)
			assert.Equal(t, tc.ours, got.Header.Get(session.AuthHeader) != "", "%s to %s", tc.origin, tc.target)
			assert.Equal(t, !tc.ours, got == req, "passed on untouched")
		}
	}
	tr := &session.Transport{Source: (&counter{origin: "https://app.files.com"}).source(), Base: closing(func(r *http.Request) (int, string) {
		assert.Empty(t, r.Header)
		return 200, ""
	})}
	tr.RoundTrip(&http.Request{URL: &url.URL{Scheme: "http", Host: "/app.files.com"}, Header: http.Header{}})
}

func TestARequestThatNamesAnotherHostGetsNoSession(t *testing.T) {
	t.Parallel()
	var got http.Header
	tr := &session.Transport{Source: (&counter{}).source(), Base: closing(func(r *http.Request) (int, string) { got = r.Header; return 200, "" })}
	for _, change := range []func(*http.Request){
		func(r *http.Request) { r.Host = "evil.example" },
		func(r *http.Request) { r.URL.Opaque = "//evil.example/x" },
	} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", session.DefaultBaseURL+"/x", nil)
		require.NoError(t, err)
		change(req)
		_, err = tr.RoundTrip(req)
		require.NoError(t, err)
		assert.Empty(t, got)
	}
}

func TestHeaderKeysOfAnySpellingAreReplaced(t *testing.T) {
	t.Parallel()
	var got http.Header
	tr := &session.Transport{Source: (&counter{}).source(), Base: closing(func(r *http.Request) (int, string) { got = r.Header; return 200, "" })}
	req, err := http.NewRequestWithContext(t.Context(), "GET", session.DefaultBaseURL+"/x", nil)
	require.NoError(t, err)
	req.Header = http.Header{session.AuthHeader: {"stale"}, "x-filesapi-auth": {"stale"}, "user-agent": {"own/1"}}
	_, err = tr.RoundTrip(req)
	require.NoError(t, err)
	assert.Equal(t, http.Header{http.CanonicalHeaderKey(session.AuthHeader): {"id1"}, "User-Agent": {"own/1"}}, got)
}

func TestAPanicOfLoginClosesTheBodies(t *testing.T) {
	t.Parallel()
	c := &counter{}
	src := c.source()
	login := src.Login
	src.Login = func(ctx context.Context) (*session.Session, error) {
		if c.fail.Load() {
			panic(errBroken)
		}
		return login(ctx)
	}
	thrown := &body{Reader: strings.NewReader(deadSession)}
	tr := &session.Transport{Source: src, Base: roundTripper(func(r *http.Request) (*http.Response, error) {
		c.fail.Store(true)
		return &http.Response{StatusCode: 401, Header: http.Header{}, Body: thrown, Request: r}, nil
	})}
	req, err := http.NewRequestWithContext(t.Context(), "GET", session.DefaultBaseURL, nil)
	require.NoError(t, err)
	assert.PanicsWithValue(t, errBroken, func() { tr.RoundTrip(req) })
	assert.EqualValues(t, 1, thrown.closed.Load(), "the first answer is closed")

	src.Reset()
	sent := &body{Reader: strings.NewReader("x")}
	req.Body = sent
	assert.PanicsWithValue(t, errBroken, func() { tr.RoundTrip(req) })
	assert.EqualValues(t, 1, sent.closed.Load(), "the request's body is closed")
}

func TestTransportDoesNotPanicIfTheBaseReturnsNoResponseOrNoBody(t *testing.T) {
	t.Parallel()
	for _, resp := range []*http.Response{nil, {StatusCode: 401, Header: http.Header{"X-Files-Error-Class": {"not-authenticated/invalid-session"}}}} {
		c := &counter{}
		tr := &session.Transport{Source: c.source(), Base: roundTripper(func(*http.Request) (*http.Response, error) { return resp, nil })}
		req, err := http.NewRequestWithContext(t.Context(), "GET", session.DefaultBaseURL, http.NoBody)
		require.NoError(t, err)
		req.GetBody = func() (io.ReadCloser, error) { t.Error("nothing was sent"); return nil, nil }
		got, err := tr.RoundTrip(req)
		assert.NoError(t, err)
		assert.Equal(t, resp, got)
	}
}

func TestTheSessionDoesNotFollowARedirectToAnotherHost(t *testing.T) {
	t.Parallel()
	foreign := answer(t, 200, "foreign")
	home := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/away" {
			http.Redirect(w, r, foreign.URL+"/here", http.StatusTemporaryRedirect)
			return
		}
		http.Redirect(w, r, "/away", http.StatusTemporaryRedirect)
	})
	hc := &http.Client{Transport: &session.Transport{Source: (&counter{origin: home.URL}).source(), Base: freshTransport(t)}}
	resp, err := hc.Post(home.URL+"/start", "text/plain", strings.NewReader("body"))
	require.NoError(t, err)
	resp.Body.Close()
	for _, r := range home.seen() {
		assert.Equal(t, "id1", r.header.Get(session.AuthHeader))
	}
	require.Len(t, foreign.seen(), 1)
	assert.Equal(t, "body", foreign.seen()[0].body)
	assert.Empty(t, foreign.seen()[0].header.Get(session.AuthHeader))
	assert.NotContains(t, foreign.seen()[0].header.Get("User-Agent"), "maker")
}

func TestForeignRequestsWaitForNoLoginOnceTheOriginIsKnown(t *testing.T) {
	t.Parallel()
	c := &counter{}
	src := c.source()
	tr := &session.Transport{Source: src, Base: closing(func(*http.Request) (int, string) { return 200, "" })}
	roundTrip(t, tr, "GET", "https://elsewhere.example", nil)
	assert.EqualValues(t, 1, c.logins.Load(), "before the first session the origin is not known")
	src.Invalidate(&session.Session{ID: "id1"})
	roundTrip(t, tr, "GET", "https://elsewhere.example", nil)
	assert.EqualValues(t, 1, c.logins.Load())
	require.NoError(t, src.Close(t.Context()))
	roundTrip(t, tr, "GET", "https://elsewhere.example", nil)
	req, _ := http.NewRequestWithContext(t.Context(), "GET", session.DefaultBaseURL, nil)
	_, err := tr.RoundTrip(req)
	assert.ErrorIs(t, err, session.ErrSourceClosed)
}

func TestResetForgetsTheOrigin(t *testing.T) {
	t.Parallel()
	c := &counter{origin: "https://old.example"}
	src := c.source()
	var got []string
	tr := &session.Transport{Source: src, Base: closing(func(r *http.Request) (int, string) {
		got = append(got, r.Header.Get(session.AuthHeader))
		return 200, ""
	})}
	roundTrip(t, tr, "GET", "https://old.example", nil)
	src.Reset()
	c.origin = "https://new.example"
	roundTrip(t, tr, "GET", "https://new.example", nil)
	roundTrip(t, tr, "GET", "https://old.example", nil)
	assert.Equal(t, []string{"id1", "id2", ""}, got)
}

// ended answers 401 to every session but the nth.
func ended(n int, text string, bodies *[]string) roundTripper {
	return func(r *http.Request) (*http.Response, error) {
		data := []byte{}
		if r.Body != nil {
			data, _ = io.ReadAll(r.Body)
			r.Body.Close()
		}
		if bodies != nil {
			*bodies = append(*bodies, string(data))
		}
		resp := &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("fine")), Request: r}
		if r.Header.Get(session.AuthHeader) != fmt.Sprint("id", n) {
			resp.StatusCode, resp.Body = 401, io.NopCloser(strings.NewReader(text))
		}
		return resp, nil
	}
}

func TestARequestIsRepeatedAfterTheSessionEnded(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"GET", "POST", "PUT", "DELETE"} {
		c := &counter{}
		var bodies []string
		tr := &session.Transport{Source: c.source(), Base: ended(2, deadSession, &bodies)}
		resp, text := roundTrip(t, tr, method, session.DefaultBaseURL, strings.NewReader("body"))
		assert.Equal(t, 200, resp.StatusCode)
		assert.Equal(t, "fine", text)
		assert.Equal(t, []string{"body", "body"}, bodies)
		assert.EqualValues(t, 2, c.logins.Load())
	}
	c := &counter{}
	tr := &session.Transport{Source: c.source(), Base: ended(7, deadSession, nil)}
	resp, text := roundTrip(t, tr, "GET", session.DefaultBaseURL, nil)
	assert.Equal(t, 401, resp.StatusCode, "once")
	assert.Equal(t, deadSession, text)
	assert.EqualValues(t, 2, c.logins.Load())
}

func TestARequestIsNotRepeatedIfItsBodyCannotBeReadAgain(t *testing.T) {
	t.Parallel()
	c := &counter{}
	src := c.source()
	tr := &session.Transport{Source: src, Base: ended(2, deadSession, nil)}
	resp, text := roundTrip(t, tr, "POST", session.DefaultBaseURL, struct{ io.Reader }{strings.NewReader("body")})
	assert.Equal(t, 401, resp.StatusCode)
	assert.Equal(t, deadSession, text)
	assert.EqualValues(t, 1, c.logins.Load())
	resp, _ = roundTrip(t, tr, "POST", session.DefaultBaseURL, struct{ io.Reader }{strings.NewReader("body")})
	assert.Equal(t, 200, resp.StatusCode, "the next request has a new session")

	src.Reset()
	req, err := http.NewRequestWithContext(t.Context(), "POST", session.DefaultBaseURL, strings.NewReader("body"))
	require.NoError(t, err)
	for _, getBody := range []func() (io.ReadCloser, error){
		func() (io.ReadCloser, error) { return nil, errBroken },
		func() (io.ReadCloser, error) { return nil, nil },
	} {
		var bodies []string
		tr.Base = ended(0, deadSession, &bodies)
		req.Body, req.GetBody = io.NopCloser(strings.NewReader("body")), getBody
		resp, err = tr.RoundTrip(req)
		require.NoError(t, err)
		assert.Equal(t, 401, resp.StatusCode)
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		assert.Equal(t, deadSession, string(text))
		assert.Equal(t, []string{"body"}, bodies, "net/http refuses to send a request whose body is missing")
		src.Reset()
	}
}

func TestTheCallerGetsEveryOtherAnswerUnchanged(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		status int
		text   string
	}{
		"bare 401":        {401, ""},
		"HTML":            {401, "<html>"},
		"other type":      {401, `{"type":"not-authenticated/locked-out"}`},
		"region mismatch": {401, payload(t, "error_region_mismatch_401.json")},
		"second factor":   {401, payload(t, "error_2fa_totp_401_constructed.json")},
		"403, other type": {403, `{"type":"not-authorized/insufficient-permission-for-params"}`},
		"404":             {404, deadSession},
		"500":             {500, deadSession},
	} {
		c := &counter{}
		tr := &session.Transport{Source: c.source(), Base: closing(func(*http.Request) (int, string) { return tc.status, tc.text })}
		resp, text := roundTrip(t, tr, "GET", session.DefaultBaseURL, nil)
		assert.Equal(t, tc.status, resp.StatusCode, name)
		assert.Equal(t, tc.text, text, name)
		assert.EqualValues(t, 1, c.logins.Load(), name)
	}
}

// Before the fix, the caller got "the token could not be used", and the cause only
// from the next call.
func TestTheCallerGetsTheErrorOfALoginAfterTheEndOfTheSession(t *testing.T) {
	t.Parallel()
	refused := &session.APIError{StatusCode: 401, Type: "not-authenticated/locked-out"}
	for _, size := range []int{0, 100, 10 << 20} {
		logins := 0
		src := &session.Source{Login: func(context.Context) (*session.Session, error) {
			if logins++; logins > 1 {
				return nil, refused
			}
			return &session.Session{ID: idCanary}, nil
		}}
		rest := strings.NewReader(strings.Repeat("x", size))
		thrown := &body{Reader: rest}
		tr := &session.Transport{Source: src, Base: ended401(thrown)}
		req, err := http.NewRequestWithContext(t.Context(), "GET", session.DefaultBaseURL, nil)
		require.NoError(t, err)
		resp, err := tr.RoundTrip(req)
		assert.Nil(t, resp)
		assert.Equal(t, refused, err)
		assertHidesSecrets(t, err)
		assert.EqualValues(t, 1, thrown.closed.Load(), "the 401 is closed")
		assert.LessOrEqual(t, size-rest.Len(), 128<<10, "after a bounded read")
		assert.GreaterOrEqual(t, size-rest.Len(), min(size, 64<<10))
	}
}

// ended401 answers that the session has ended to every request.
func ended401(b io.ReadCloser) roundTripper {
	return func(r *http.Request) (*http.Response, error) {
		header := http.Header{"X-Files-Error-Class": {"not-authenticated/invalid-session"}}
		return &http.Response{StatusCode: 401, Header: header, Body: b, Request: r}, nil
	}
}

func TestTheCallerGetsThe401IfTheNewSessionIsOfAnotherOrigin(t *testing.T) {
	t.Parallel()
	long := deadSession[:len(deadSession)-1] + `,"x":"` + strings.Repeat("x", 200<<10) + `"}`
	for _, tc := range []struct{ text, want string }{{deadSession, deadSession}, {long, long[:64<<10]}} {
		closed := &body{Reader: strings.NewReader(tc.text)}
		c, requests := &counter{}, 0
		tr := &session.Transport{Source: c.source(), Base: roundTripper(func(r *http.Request) (*http.Response, error) {
			c.origin = "https://mysite.files.com"
			requests++
			return ended401(closed)(r)
		})}
		resp, text := roundTrip(t, tr, "GET", session.DefaultBaseURL, nil)
		assert.Equal(t, 401, resp.StatusCode)
		assert.True(t, tc.want == text, "the 401 has the start of its body")
		assert.EqualValues(t, 1, closed.closed.Load())
		assert.Equal(t, 1, requests)
		assert.EqualValues(t, 2, c.logins.Load())
	}
}

func TestDiscardedAnswersAreReadAndClosed(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 100, 100 << 10, 10 << 20} {
		text := strings.Repeat("x", size)
		source := strings.NewReader(text)
		thrown := &body{Reader: source}
		first := true
		tr := &session.Transport{Source: (&counter{}).source(), Base: roundTripper(func(r *http.Request) (*http.Response, error) {
			resp := &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody, Request: r}
			if first {
				resp.StatusCode, resp.Body = 401, thrown
				resp.Header.Set("X-Files-Error-Class", "not-authenticated/invalid-session")
			}
			first = false
			return resp, nil
		})}
		resp, _ := roundTrip(t, tr, "GET", session.DefaultBaseURL, nil)
		assert.Equal(t, 200, resp.StatusCode)
		assert.EqualValues(t, 1, thrown.closed.Load())
		read := size - source.Len()
		assert.LessOrEqual(t, read, 128<<10, "bounded")
		assert.GreaterOrEqual(t, read, min(size, 64<<10))
	}
}

func TestA1000RequestsInFlightCostOneLogin(t *testing.T) {
	t.Parallel()
	c := &counter{}
	var arrived sync.WaitGroup
	arrived.Add(1000)
	tr := &session.Transport{Source: c.source(), Base: roundTripper(func(r *http.Request) (*http.Response, error) {
		resp := &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody, Request: r}
		if r.Header.Get(session.AuthHeader) == "id1" {
			arrived.Done()
			arrived.Wait() // all are in flight when the session ends
			resp.StatusCode, resp.Body = 401, io.NopCloser(strings.NewReader(deadSession))
		}
		return resp, nil
	})}
	var wg sync.WaitGroup
	var failed atomic.Int32
	for range 1000 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			req, _ := http.NewRequestWithContext(t.Context(), "GET", session.DefaultBaseURL, nil)
			if resp, err := tr.RoundTrip(req); err != nil || resp.StatusCode != 200 {
				failed.Add(1)
			}
		}()
	}
	wg.Wait()
	assert.Zero(t, failed.Load())
	assert.EqualValues(t, 2, c.logins.Load())
}

// The session ends after each 1,000 of 8,000 requests. With -load it ends once a
// second during 100,000 requests.
func TestRequestsSurviveEndingsOfTheSession(t *testing.T) {
	t.Parallel()
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: passwordCanary})
	defer srv.Close()
	base := freshTransport(t)
	base.MaxIdleConnsPerHost = 128
	c := newClient(t, session.WithSite(srv.URL), session.WithHTTPClient(&http.Client{Transport: base}))
	src := &session.Source{Login: func(ctx context.Context) (*session.Session, error) { return c.Create(ctx, alice) }}
	hc := &http.Client{Transport: &session.Transport{Source: src, Base: base}}
	requests := 8_000
	var n, endings, failed atomic.Int32
	end := func() {
		for _, id := range srv.Sessions() {
			srv.Expire(id)
			endings.Add(1)
		}
	}
	if *load {
		requests = 100_000
		ticker := time.NewTicker(time.Second)
		done := make(chan bool)
		defer func() { ticker.Stop(); close(done) }()
		go func() {
			for {
				select {
				case <-ticker.C:
					end()
				case <-done:
					return
				}
			}
		}()
	}
	var wg sync.WaitGroup
	for range 128 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := int(n.Add(1)); i <= requests; i = int(n.Add(1)) {
				if !*load && i%1000 == 0 {
					end()
				}
				resp, err := hc.Post(srv.URL+"/api/rest/v1/x", "text/plain", bytes.NewReader([]byte("body")))
				if err != nil {
					failed.Add(1)
					continue
				}
				if resp.StatusCode != 200 {
					failed.Add(1)
				}
				resp.Body.Close()
			}
		}()
	}
	wg.Wait()
	assert.Zero(t, failed.Load())
	assert.LessOrEqual(t, srv.Counts().Logins, int(endings.Load())+1)
	t.Logf("%d requests, %d endings, %d logins", requests, endings.Load(), srv.Counts().Logins)
	assert.NoError(t, src.Close(t.Context()))
	assert.Empty(t, srv.Sessions())
}

func TestTransportAllocatesLittle(t *testing.T) {
	answer := &http.Response{StatusCode: 200, Body: http.NoBody}
	base := roundTripper(func(*http.Request) (*http.Response, error) { return answer, nil })
	tr := &session.Transport{Source: (&counter{}).source(), Base: base}
	req, err := http.NewRequestWithContext(t.Context(), "GET", session.DefaultBaseURL, nil)
	require.NoError(t, err)
	req.Header = http.Header{"Accept": {"a"}, "Content-Type": {"b"}, "X-More": {"c"}}
	tr.RoundTrip(req)
	assert.LessOrEqual(t, testing.AllocsPerRun(1000, func() { tr.RoundTrip(req) }), 4.0)
	assert.Equal(t, []string{"Accept", "Content-Type", "X-More"}, slices.Sorted(maps.Keys(req.Header)))
}

func TestTransportReportsTheErrorOfTheLogin(t *testing.T) {
	t.Parallel()
	refused := &session.APIError{StatusCode: 401, Type: "not-authenticated/invalid-username-or-password"}
	hc := &http.Client{Transport: &session.Transport{Source: &session.Source{Login: func(context.Context) (*session.Session, error) { return nil, refused }}}}
	_, err := hc.Get(session.DefaultBaseURL)
	assert.True(t, errors.Is(err, session.ErrInvalidUsernameOrPassword))
}

// Before the fix, a 403 was not understood.
func TestEveryAnswerToAnEndedSessionLeadsToALogin(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		status int
		text   string
	}{
		{401, `{"type":"not-authenticated/invalid-credentials"}`},
		{401, `{"type":"not-authenticated/invalid-session"}`},
		{401, `{"type":"not-authorized/authentication-required"}`},
		{403, `{"type":"not-authorized/authentication-required"}`},
		{403, `{"type":"not-authenticated/invalid-session"}`},
	} {
		c := &counter{}
		tr := &session.Transport{Source: c.source(), Base: closing(func(r *http.Request) (int, string) {
			if r.Header.Get(session.AuthHeader) == "id1" {
				return tc.status, tc.text
			}
			return 200, ""
		})}
		resp, _ := roundTrip(t, tr, "GET", session.DefaultBaseURL, nil)
		assert.Equal(t, 200, resp.StatusCode, tc.text)
		assert.EqualValues(t, 2, c.logins.Load(), tc.text)
	}
}

func TestTheBaseMaySetAnyRequestInItsResponse(t *testing.T) {
	t.Parallel()
	other, err := http.NewRequest("GET", "https://other.example", nil)
	require.NoError(t, err)
	for _, claimed := range []*http.Request{nil, {}, other} {
		c := &counter{}
		tr := &session.Transport{Source: c.source(), Base: roundTripper(func(r *http.Request) (*http.Response, error) {
			resp, err := ended(2, deadSession, nil)(r)
			resp.Request = claimed
			return resp, err
		})}
		resp, _ := roundTrip(t, tr, "GET", session.DefaultBaseURL, nil)
		assert.Equal(t, 200, resp.StatusCode)
	}
}

func TestAnySessionThatWasAcceptedIsReplacedAtOnce(t *testing.T) {
	t.Parallel()
	for _, status := range []int{200, 204, 304, 401, 403, 404, 500} {
		c := &counter{}
		var dead atomic.Bool
		tr := &session.Transport{Source: c.source(), Base: closing(func(*http.Request) (int, string) {
			if dead.Swap(false) {
				return 401, deadSession
			}
			return status, ""
		})}
		for range 10 {
			resp, _ := roundTrip(t, tr, "GET", session.DefaultBaseURL, nil)
			assert.Equal(t, status, resp.StatusCode)
			dead.Store(true)
		}
		assert.EqualValues(t, 10, c.logins.Load(), status)
	}
}

func TestAnAcceptedSessionStartsTheCountOfUnacceptedOnesAnew(t *testing.T) {
	t.Parallel()
	c := &counter{}
	src := c.source()
	src.Logout = func(context.Context, *session.Session) error { return nil }
	tr := &session.Transport{Source: src, Base: closing(func(*http.Request) (int, string) { return 200, "" })}
	for range 5 {
		unaccepted, err := src.Session(t.Context())
		require.NoError(t, err)
		src.Invalidate(unaccepted)
		roundTrip(t, tr, "GET", session.DefaultBaseURL, nil)
		require.NoError(t, src.Revoke(t.Context()))
	}
}

func TestATransportOverAStaticSource(t *testing.T) {
	t.Parallel()
	var got []string
	tr := &session.Transport{Source: session.StaticSource(&session.Session{ID: "id1"}), Base: roundTripper(func(r *http.Request) (*http.Response, error) {
		got = append(got, r.Header.Get(session.AuthHeader))
		return ended(2, deadSession, nil)(r)
	})}
	get := func(target string) error {
		req, err := http.NewRequestWithContext(t.Context(), "GET", target, nil)
		require.NoError(t, err)
		_, err = tr.RoundTrip(req)
		return err
	}
	assert.NoError(t, get("https://elsewhere.example"), "the origin is known at once")
	assert.ErrorIs(t, get(session.DefaultBaseURL), session.ErrSessionEnded, "after the server has ended the session")
	assert.ErrorIs(t, get(session.DefaultBaseURL), session.ErrSessionEnded)
	assert.NoError(t, get("https://elsewhere.example"))
	assert.Equal(t, []string{"", "id1", ""}, got)
}

func TestSeveralTransportsShareASource(t *testing.T) {
	t.Parallel()
	c := &counter{}
	src := c.source()
	var dead, failed atomic.Int32
	base := closing(func(r *http.Request) (int, string) {
		if r.Header.Get(session.AuthHeader) == fmt.Sprint("id", dead.Load()) {
			return 401, deadSession
		}
		return 200, ""
	})
	var wg sync.WaitGroup
	for range 8 {
		tr := &session.Transport{Source: src, Base: base}
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range 100 {
				req, _ := http.NewRequestWithContext(t.Context(), "GET", session.DefaultBaseURL, nil)
				if resp, err := tr.RoundTrip(req); err != nil || resp.StatusCode != 200 {
					failed.Add(1)
				}
				dead.CompareAndSwap(0, 1)
			}
		}()
	}
	wg.Wait()
	assert.Zero(t, failed.Load())
	assert.EqualValues(t, 2, c.logins.Load())
}

type idler struct {
	http.RoundTripper
	closed int
}

func (i *idler) CloseIdleConnections() { i.closed++ }

func TestIdleConnectionsCanBeClosedThroughATransport(t *testing.T) {
	t.Parallel()
	base := &idler{}
	hc := &http.Client{Transport: &session.Transport{Base: base}}
	hc.CloseIdleConnections()
	assert.Equal(t, 1, base.closed)
	hc.Transport = &session.Transport{Base: roundTripper(nil)}
	assert.NotPanics(t, hc.CloseIdleConnections, "a Base that keeps no connections")
}
