package autologin_test

import (
	"bytes"
	"context"
	"errors"

	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/filescom/session"
	"github.com/filescom/session/autologin"
	"github.com/filescom/session/sessiontest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// body counts its closes.
type body struct {
	io.Reader
	closed atomic.Int32
}

func (b *body) Close() error { b.closed.Add(1); return nil }

// closing reads and closes the body of a request, as a RoundTripper must.
func closing(f func(*http.Request) (int, string)) roundTripper {
	return func(r *http.Request) (*http.Response, error) {
		status, text := f(r)
		return respond(r, status, text), nil
	}
}

// fine answers 200.
var fine = closing(func(*http.Request) (int, string) { return 200, "fine" })

// only answers 200 to the nth session, and 401 to every other one. It keeps the bodies.
func only(n int, bodies *[]string) roundTripper {
	return func(r *http.Request) (*http.Response, error) {
		data := []byte{}
		if r.Body != nil {
			data, _ = io.ReadAll(r.Body)
			r.Body.Close()
		}
		if bodies != nil {
			*bodies = append(*bodies, string(data))
		}
		if r.Header.Get(session.AuthHeader) != nth(n) {
			return sessionEnded(r)
		}
		return fine(r)
	}
}

// endedBy answers that the session has ended, with the body b.
func endedBy(b io.ReadCloser) roundTripper {
	return func(r *http.Request) (*http.Response, error) {
		header := http.Header{"X-Files-Error-Class": {"not-authenticated/invalid-session"}}
		return &http.Response{StatusCode: 401, Header: header, Body: b, Request: r}, nil
	}
}

// transport returns a Transport of a Source of alice.
func (a *api) transport(t testing.TB, base http.RoundTripper, opts ...session.Option) *autologin.Transport {
	t.Helper()
	return &autologin.Transport{Source: a.source(t, nil, opts...), Base: base}
}

func newRequest(t testing.TB, method, target string, body io.Reader) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, target, body)
	require.NoError(t, err)
	return req
}

func roundTrip(t *testing.T, tr http.RoundTripper, method, target string, body io.Reader) (*http.Response, string) {
	t.Helper()
	resp, err := tr.RoundTrip(newRequest(t, method, target, body))
	require.NoError(t, err)
	data, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	resp.Body.Close()
	return resp, string(data)
}

// roundTripError returns the error of a request to the site.
func roundTripError(t *testing.T, tr http.RoundTripper) error {
	t.Helper()
	resp, err := tr.RoundTrip(newRequest(t, "GET", session.DefaultBaseURL, nil))
	require.Error(t, err)
	assert.Nil(t, resp)
	assertHidesSecrets(t, err)
	return err
}

// The contract of http.RoundTripper is that the request is not modified, and that its
// body is always closed.
func TestTransportKeepsTheRoundTripperContract(t *testing.T) {
	t.Parallel()
	broken := roundTripper(func(r *http.Request) (*http.Response, error) { r.Body.Close(); return nil, errBroken })
	changing := closing(func(r *http.Request) (int, string) {
		r.Header["X-Own"] = append(r.Header["X-Own"], "changed by the base")
		r.Header.Set("X-More", "x")
		return 200, ""
	})
	failing := &api{onLogin: breakConnection}
	moved := &api{movedTo: "eu.files.com"}
	for name, tr := range map[string]*autologin.Transport{
		"answered":      (&api{}).transport(t, changing),
		"base fails":    (&api{}).transport(t, broken),
		"dead session":  (&api{}).transport(t, closing(func(*http.Request) (int, string) { return 401, deadSession })),
		"login fails":   failing.transport(t, changing),
		"second origin": moved.transport(t, changing),
		"no source":     {Base: changing},
		"no session":    {Source: autologin.Static(nil), Base: changing},
		"other origin":  (&api{}).transport(t, changing, session.WithSite("https://other.example")),
	} {
		t.Run(name, func(t *testing.T) {
			sent := &body{Reader: strings.NewReader("body")}
			req := newRequest(t, "POST", session.DefaultBaseURL+"/x", sent)
			req.Header["X-Own"] = append(make([]string, 0, 4), "a", "b")
			header, before := req.Header.Clone(), *req
			resp, err := tr.RoundTrip(req)
			assert.Equal(t, err != nil, resp == nil)
			assert.EqualValues(t, 1, sent.closed.Load())
			if name == "other origin" {
				return // it is passed on untouched, so the base has changed it
			}
			assert.Equal(t, header, req.Header)
			assert.Empty(t, req.Header["X-Own"][:4][2])
			assert.Equal(t, before.URL, req.URL)
			assert.Equal(t, before.Host, req.Host)
			assert.Equal(t, before.Body, req.Body)
		})
	}
}

func TestTheErrorOfAMisusedTransportSaysWhatToDo(t *testing.T) {
	t.Parallel()
	_, err := (&autologin.Transport{}).RoundTrip(&http.Request{})
	assert.EqualError(t, err, "session: invalid parameters: Transport.Source is nil; set it to a Source")
	assertErrorIs(t, err, session.ErrInvalidParams)
	_, err = (&api{}).transport(t, nil).RoundTrip(&http.Request{})
	assert.ErrorContains(t, err, "the request has no URL")
	assert.ErrorContains(t, err, "create it by http.NewRequest")
	assertErrorIs(t, err, session.ErrInvalidParams)
}

func TestTransportSendsTheSessionAndItsUserAgent(t *testing.T) {
	t.Parallel()
	var got http.Header
	tr := (&api{}).transport(t, closing(func(r *http.Request) (int, string) { got = r.Header; return 200, "" }), session.WithUserAgent("maker/1"))
	roundTrip(t, tr, "GET", session.DefaultBaseURL+"/x", nil)
	s, err := tr.Source.Session(t.Context())
	require.NoError(t, err)
	assert.Contains(t, s.UserAgent, "maker/1")
	assert.Equal(t, http.Header{http.CanonicalHeaderKey(session.AuthHeader): {nth(1)}, "User-Agent": {s.UserAgent}}, got)

	for _, own := range [][]string{{"own/2"}, {""}, nil} {
		req := newRequest(t, "GET", session.DefaultBaseURL+"/x", nil)
		req.Header["User-Agent"] = own
		req.Header.Set(session.AuthHeader, "old")
		_, err := tr.RoundTrip(req)
		require.NoError(t, err)
		assert.Equal(t, own, got["User-Agent"])
		assert.Equal(t, nth(1), got.Get(session.AuthHeader))
	}
}

func TestTransportSendsTheSessionOnlyToItsOrigin(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		site, movedTo, target string
		sentTo                string // with the session; empty: the target, without one
	}{
		{target: "https://app.files.com/x", sentTo: "https://app.files.com/x"},
		{target: "https://app.files.com:443/x", sentTo: "https://app.files.com:443/x"},
		{target: "https://APP.files.com/x", sentTo: "https://APP.files.com/x"},
		{site: "https://App.Files.com:443", target: "https://app.files.com/x", sentTo: "https://app.files.com/x"},
		{site: "https://a.example:8443", target: "https://a.example:8443/x", sentTo: "https://a.example:8443/x"},
		{site: "http://127.0.0.1:4041", target: "http://127.0.0.1:4041/x", sentTo: "http://127.0.0.1:4041/x"},
		{site: "https://[2001:db8::1]", target: "https://[2001:db8::1]:443/x", sentTo: "https://[2001:db8::1]:443/x"},
		{movedTo: "eu.files.com", target: "https://app.files.com/x?a=b", sentTo: "https://eu.files.com/x?a=b"},
		{movedTo: "eu.files.com", target: "https://app.files.com:443/x", sentTo: "https://eu.files.com/x"},
		{target: "http://app.files.com/x"},
		{target: "http://app.files.com:443/x"},
		{target: "https://app.files.com:444/x"},
		{target: "https://mysite.files.com/x"},
		{target: "https://app.files.com.evil.example/x"},
		{target: "https://evil.example/app.files.com"},
		{target: "https://xapp.files.com/x"},
		{target: "https://app.file\u017f.com/x"},
		{target: "https://app.files.com./x"},
		{site: "http://127.0.0.1:4041", target: "http://127.0.0.1:4042/x"},
		{site: "http://127.0.0.1:4041", target: "https://127.0.0.1:4041/x"},
		{site: "http://127.0.0.1:4041", target: "http://localhost:4041/x"},
		{movedTo: "eu.files.com", target: "http://eu.files.com/x"},
		{movedTo: "eu.files.com", target: "https://eu.files.com:444/x"},
		{movedTo: "eu.files.com", target: "http://app.files.com/x"},
	} {
		var got *http.Request
		opts := []session.Option{}
		if tc.site != "" {
			opts = append(opts, session.WithSite(tc.site))
		}
		tr := (&api{movedTo: tc.movedTo}).transport(t, closing(func(r *http.Request) (int, string) { got = r; return 200, "" }), opts...)
		for _, first := range []bool{true, false} { // before the first session, and after
			req := newRequest(t, "GET", tc.target, nil)
			_, err := tr.RoundTrip(req)
			require.NoError(t, err)
			if tc.sentTo == "" {
				assert.Equal(t, newRequest(t, "GET", tc.target, nil), got, "passed on as it is")
			} else {
				assert.Contains(t, got.Header.Get(session.AuthHeader), idCanary, tc)
				assert.Equal(t, tc.sentTo, got.URL.String())
				assert.Contains(t, []string{"", got.URL.Host}, got.Host)
			}
			if first {
				_, err = tr.Source.Session(t.Context())
				require.NoError(t, err)
			}
		}
	}
	tr := (&api{}).transport(t, closing(func(r *http.Request) (int, string) {
		assert.Empty(t, r.Header)
		return 200, ""
	}))
	tr.RoundTrip(&http.Request{URL: &url.URL{Scheme: "http", Host: "/app.files.com"}, Header: http.Header{}})
}

func TestTheSecondOriginGetsNoSessionBeforeOneLivesThere(t *testing.T) {
	t.Parallel()
	var got []string
	a := &api{movedTo: "eu.files.com"}
	tr := a.transport(t, closing(func(r *http.Request) (int, string) {
		got = append(got, r.URL.Host+" "+r.Header.Get(session.AuthHeader))
		return 200, ""
	}))
	roundTrip(t, tr, "GET", "https://eu.files.com/x", nil)
	roundTrip(t, tr, "GET", "https://app.files.com/x", nil)
	roundTrip(t, tr, "GET", "https://eu.files.com/x", nil)
	assert.Equal(t, []string{"eu.files.com ", "eu.files.com " + nth(2), "eu.files.com " + nth(2)}, got)
}

func TestARequestThatNamesAnotherHostGetsNoSession(t *testing.T) {
	t.Parallel()
	var got http.Header
	tr := (&api{}).transport(t, closing(func(r *http.Request) (int, string) { got = r.Header; return 200, "" }))
	for _, change := range []func(*http.Request){
		func(r *http.Request) { r.Host = "evil.example" },
		func(r *http.Request) { r.URL.Opaque = "//evil.example/x" },
	} {
		req := newRequest(t, "GET", session.DefaultBaseURL+"/x", nil)
		change(req)
		_, err := tr.RoundTrip(req)
		require.NoError(t, err)
		assert.Empty(t, got)
	}
}

func TestHeaderKeysOfAnySpellingAreReplaced(t *testing.T) {
	t.Parallel()
	var got http.Header
	tr := (&api{}).transport(t, closing(func(r *http.Request) (int, string) { got = r.Header; return 200, "" }))
	req := newRequest(t, "GET", session.DefaultBaseURL+"/x", nil)
	req.Header = http.Header{session.AuthHeader: {"stale"}, "x-filesapi-auth": {"stale"}, "User-Agent": {"own/1"}}
	_, err := tr.RoundTrip(req)
	require.NoError(t, err)
	assert.Equal(t, http.Header{http.CanonicalHeaderKey(session.AuthHeader): {nth(1)}, "User-Agent": {"own/1"}}, got)
}

func TestAPanicOfLoginClosesTheBodies(t *testing.T) {
	t.Parallel()
	a, thrown := &api{}, &body{Reader: strings.NewReader(deadSession)}
	panicking := false
	tr := a.transport(t, roundTripper(func(r *http.Request) (*http.Response, error) {
		panicking = true
		return endedBy(thrown)(r)
	}))
	tr.Source.Params = func(context.Context) (session.CreateParams, error) {
		if panicking {
			panic(errBroken)
		}
		return alice, nil
	}
	req := newRequest(t, "GET", session.DefaultBaseURL, nil)
	assert.PanicsWithValue(t, errBroken, func() { tr.RoundTrip(req) })
	assert.EqualValues(t, 1, thrown.closed.Load(), "the first answer is closed")

	tr.Source.Reset()
	sent := &body{Reader: strings.NewReader("x")}
	req.Body = sent
	assert.PanicsWithValue(t, errBroken, func() { tr.RoundTrip(req) })
	assert.EqualValues(t, 1, sent.closed.Load(), "the request's body is closed")
}

func TestTransportDoesNotPanicIfTheBaseReturnsNoResponseOrNoBody(t *testing.T) {
	t.Parallel()
	for _, resp := range []*http.Response{nil, {StatusCode: 401, Header: http.Header{"X-Files-Error-Class": {"not-authenticated/invalid-session"}}}} {
		tr := (&api{}).transport(t, roundTripper(func(*http.Request) (*http.Response, error) { return resp, nil }))
		got, err := tr.RoundTrip(newRequest(t, "GET", session.DefaultBaseURL, nil))
		assert.NoError(t, err)
		assert.Equal(t, resp, got)
	}
}

// Before the fix, a request that carried the session itself carried it to the storage
// that it was redirected to.
func TestTheSessionDoesNotFollowARedirectToAnotherHost(t *testing.T) {
	t.Parallel()
	var toForeign, toHome []http.Header
	var foreignBody string
	foreign := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		data, _ := io.ReadAll(r.Body)
		toForeign, foreignBody = append(toForeign, r.Header), string(data)
	}))
	defer foreign.Close()
	home := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		toHome = append(toHome, r.Header)
		next := "/away"
		if r.URL.Path == "/away" {
			next = foreign.URL + "/here"
		}
		http.Redirect(w, r, next, http.StatusTemporaryRedirect)
	}))
	defer home.Close()
	for _, own := range []string{"", nth(1)} {
		toForeign, toHome = nil, nil
		tr := (&api{}).transport(t, freshTransport(t), session.WithSite(home.URL), session.WithUserAgent("maker/1"))
		req := newRequest(t, "POST", home.URL+"/start", strings.NewReader("body"))
		if own != "" {
			req.Header.Set(session.AuthHeader, own)
		}
		resp, err := (&http.Client{Transport: tr}).Do(req)
		require.NoError(t, err)
		resp.Body.Close()
		require.Len(t, toHome, 2)
		for _, header := range toHome {
			assert.Equal(t, nth(1), header.Get(session.AuthHeader))
		}
		require.Len(t, toForeign, 1)
		assert.Equal(t, "body", foreignBody)
		assert.Empty(t, toForeign[0].Get(session.AuthHeader))
		assert.NotContains(t, toForeign[0].Get("User-Agent"), "maker")
	}
}

func TestRequestsToOtherHostsWaitForNoLogin(t *testing.T) {
	t.Parallel()
	a := &api{}
	tr := a.transport(t, fine)
	roundTrip(t, tr, "GET", "https://elsewhere.example", nil)
	assert.Zero(t, a.posts())
	roundTrip(t, tr, "GET", session.DefaultBaseURL, nil)
	tr.Source.Invalidate(&session.Session{ID: nth(1)})
	roundTrip(t, tr, "GET", "https://elsewhere.example", nil)
	assert.Equal(t, 1, a.posts())
	a.onLogin = wrongPassword
	roundTripError(t, tr)
	roundTrip(t, tr, "GET", "https://elsewhere.example", nil)
	require.NoError(t, tr.Source.Close(t.Context()))
	roundTrip(t, tr, "GET", "https://elsewhere.example", nil)
	assert.ErrorIs(t, roundTripError(t, tr), autologin.ErrClosed)
}

func TestARequestIsRepeatedAfterTheSessionEnded(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"GET", "POST", "PUT", "DELETE"} {
		for name, sent := range map[string]func() io.Reader{
			"GetBody":         func() io.Reader { return strings.NewReader("body") },
			"without GetBody": func() io.Reader { return struct{ io.Reader }{strings.NewReader("body")} },
		} {
			t.Run(method+" "+name, func(t *testing.T) {
				var bodies []string
				a := &api{}
				resp, text := roundTrip(t, a.transport(t, only(2, &bodies)), method, session.DefaultBaseURL, sent())
				assert.Equal(t, 200, resp.StatusCode)
				assert.Equal(t, "fine", text)
				assert.Equal(t, []string{"body", "body"}, bodies)
				assert.Equal(t, 2, a.posts())
			})
		}
	}
	a := &api{}
	resp, text := roundTrip(t, a.transport(t, only(7, nil)), "GET", session.DefaultBaseURL, nil)
	assert.Equal(t, 401, resp.StatusCode, "once")
	assert.Equal(t, deadSession, text)
	assert.Equal(t, 2, a.posts())
}

func TestARequestIsNotRepeatedIfItsBodyCannotBeReadAgain(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("x", 64<<10)
	for name, tc := range map[string]struct {
		body    string
		getBody func() (io.ReadCloser, error)
		want    int
	}{
		"64 KiB":           {body: large, want: 200},
		"more than 64 KiB": {body: large + "x", want: 401},
		"GetBody fails":    {body: "body", getBody: func() (io.ReadCloser, error) { return nil, errBroken }, want: 401},
	} {
		t.Run(name, func(t *testing.T) {
			var bodies []string
			a := &api{}
			tr := a.transport(t, only(2, &bodies))
			req := newRequest(t, "POST", session.DefaultBaseURL, io.NopCloser(strings.NewReader(tc.body)))
			req.GetBody = tc.getBody
			resp, err := tr.RoundTrip(req)
			require.NoError(t, err)
			assert.Equal(t, tc.want, resp.StatusCode)
			for _, sent := range bodies {
				assert.True(t, tc.body == sent)
			}
			if tc.want == 200 {
				assert.Len(t, bodies, 2)
				return
			}
			text, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			assert.Equal(t, deadSession, string(text))
			assert.Len(t, bodies, 1)
			assert.Equal(t, 1, a.posts())
			resp, _ = roundTrip(t, tr, "POST", session.DefaultBaseURL, struct{ io.Reader }{strings.NewReader(tc.body)})
			assert.Equal(t, 200, resp.StatusCode, "the next request has a new session")
		})
	}
}

// net/http too sends no body then, whatever GetBody is.
func TestARequestWithoutABodyIsRepeatedWithoutOne(t *testing.T) {
	t.Parallel()
	for _, none := range []io.ReadCloser{nil, http.NoBody} {
		var bodies []string
		req := newRequest(t, "GET", session.DefaultBaseURL, nil)
		req.Body = none
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("of another request")), nil }
		resp, err := (&api{}).transport(t, only(2, &bodies)).RoundTrip(req)
		require.NoError(t, err)
		assert.Equal(t, 200, resp.StatusCode)
		assert.Equal(t, []string{"", ""}, bodies)
	}
}

func TestTheCallerGetsEveryOtherAnswerUnchanged(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		status int
		text   string
	}{
		"bare 401":        {status: 401, text: ""},
		"HTML":            {status: 401, text: "<html>"},
		"other type":      {status: 401, text: `{"type":"not-authenticated/locked-out"}`},
		"region mismatch": {status: 401, text: payload(t, "error_region_mismatch_401.json")},
		"second factor":   {status: 401, text: payload(t, "error_2fa_totp_401_constructed.json")},
		"403, other type": {status: 403, text: `{"type":"not-authorized/insufficient-permission-for-params"}`},
		"404":             {status: 404, text: deadSession},
		"500":             {status: 500, text: deadSession},
	} {
		a := &api{}
		resp, text := roundTrip(t, a.transport(t, answer(tc.status, tc.text)), "GET", session.DefaultBaseURL, nil)
		assert.Equal(t, tc.status, resp.StatusCode, name)
		assert.Equal(t, tc.text, text, name)
		assert.Equal(t, 1, a.posts(), name)
	}
}

// Before the fix, the caller got "the token could not be used", and the cause only from
// the next call.
func TestTheCallerGetsTheErrorOfALoginAfterTheEndOfTheSession(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 100, 10 << 20} {
		a := &api{}
		rest := strings.NewReader(strings.Repeat("x", size))
		thrown := &body{Reader: rest}
		tr := a.transport(t, endedBy(thrown))
		_, err := tr.Source.Session(t.Context())
		require.NoError(t, err)
		a.onLogin = lockedOut
		err = roundTripError(t, tr)
		assertErrorIs(t, err, session.ErrLockedOut)
		assert.Equal(t, 401, apiError(t, err).StatusCode)
		assert.EqualValues(t, 1, thrown.closed.Load(), "the 401 is closed")
		assert.LessOrEqual(t, size-rest.Len(), 128<<10, "after a bounded read")
		assert.GreaterOrEqual(t, size-rest.Len(), min(size, 64<<10))
	}
}

func TestTheCallerGetsThe401IfTheNewSessionIsOfAnotherOrigin(t *testing.T) {
	t.Parallel()
	a, requests := &api{movedTo: "eu.files.com"}, 0
	closed := &body{Reader: strings.NewReader(deadSession)}
	tr := a.transport(t, roundTripper(func(r *http.Request) (*http.Response, error) {
		a.movedTo = "us.files.com"
		requests++
		return endedBy(closed)(r)
	}))
	_, err := tr.Source.Session(t.Context())
	require.NoError(t, err)
	resp, _ := roundTrip(t, tr, "GET", "https://eu.files.com", nil)
	assert.Equal(t, 401, resp.StatusCode)
	assert.EqualValues(t, 1, closed.closed.Load())
	assert.Equal(t, 1, requests)
	assert.Equal(t, 4, a.posts(), "two logins, each moved")
}

func TestARequestToTheFirstOriginFollowsTheSessionToAnother(t *testing.T) {
	t.Parallel()
	var sentTo []string
	a := &api{movedTo: "eu.files.com"}
	tr := a.transport(t, roundTripper(func(r *http.Request) (*http.Response, error) {
		sentTo = append(sentTo, r.URL.Host)
		a.movedTo = "us.files.com"
		return only(4, nil)(r)
	}))
	resp, _ := roundTrip(t, tr, "POST", session.DefaultBaseURL, strings.NewReader("body"))
	assert.Equal(t, 200, resp.StatusCode)
	assert.Equal(t, []string{"eu.files.com", "us.files.com"}, sentTo)
}

func TestDiscardedAnswersAreReadAndClosed(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 100, 100 << 10, 10 << 20} {
		text := strings.NewReader(strings.Repeat("x", size))
		thrown := &body{Reader: text}
		first := true
		tr := (&api{}).transport(t, roundTripper(func(r *http.Request) (*http.Response, error) {
			if first {
				first = false
				return endedBy(thrown)(r)
			}
			return fine(r)
		}))
		resp, _ := roundTrip(t, tr, "GET", session.DefaultBaseURL, nil)
		assert.Equal(t, 200, resp.StatusCode)
		assert.EqualValues(t, 1, thrown.closed.Load())
		read := size - text.Len()
		assert.LessOrEqual(t, read, 128<<10, "bounded")
		assert.GreaterOrEqual(t, read, min(size, 64<<10))
	}
}

func TestA1000RequestsInFlightCostOneLogin(t *testing.T) {
	t.Parallel()
	a := &api{}
	var arrived, done sync.WaitGroup
	arrived.Add(1000)
	tr := a.transport(t, roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.Header.Get(session.AuthHeader) == nth(1) {
			arrived.Done()
			arrived.Wait() // all are in flight when the session ends
			return sessionEnded(r)
		}
		return fine(r)
	}))
	var failed atomic.Int32
	for range 1000 {
		done.Go(func() {
			if resp, err := tr.RoundTrip(newRequest(t, "GET", session.DefaultBaseURL, nil)); err != nil || resp.StatusCode != 200 {
				failed.Add(1)
			}
		})
	}
	done.Wait()
	assert.Zero(t, failed.Load())
	assert.Equal(t, 2, a.posts())
}

// The session ends after each 1,000 of 8,000 requests.
func TestRequestsSurviveEndingsOfTheSession(t *testing.T) {
	t.Parallel()
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: passwordCanary})
	defer srv.Close()
	base := freshTransport(t)
	base.MaxIdleConnsPerHost = 128
	src := autologin.New(newClient(t, session.WithSite(srv.URL), session.WithHTTPClient(&http.Client{Transport: base})), alice)
	hc := &http.Client{Transport: &autologin.Transport{Source: src, Base: base}}
	var n, endings, failed atomic.Int32
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for i := n.Add(1); i <= 8_000; i = n.Add(1) {
				if i%1000 == 0 {
					endings.Add(int32(srv.ExpireUser("alice")))
				}
				sent := io.Reader(bytes.NewReader([]byte("body")))
				if i%2 == 0 {
					sent = struct{ io.Reader }{sent} // without GetBody
				}
				resp, err := hc.Post(srv.URL+"/api/rest/v1/x", "text/plain", sent)
				if err != nil {
					failed.Add(1)
					continue
				}
				if resp.StatusCode != 200 {
					failed.Add(1)
				}
				resp.Body.Close()
			}
		})
	}
	wg.Wait()
	assert.Zero(t, failed.Load())
	assert.Positive(t, endings.Load())
	assert.LessOrEqual(t, srv.Counts().Logins, int(endings.Load())+1)
	assert.NoError(t, src.Close(t.Context()))
	assert.Empty(t, srv.Sessions())
}

func TestTransportAllocatesLittle(t *testing.T) {
	resp := &http.Response{StatusCode: 200, Body: http.NoBody}
	tr := (&api{lifetime: time.Hour}).transport(t, roundTripper(func(*http.Request) (*http.Response, error) { return resp, nil }))
	req := newRequest(t, "GET", session.DefaultBaseURL, nil)
	req.Header = http.Header{"Accept": {"a"}, "Content-Type": {"b"}, "X-More": {"c"}}
	tr.RoundTrip(req)
	assert.LessOrEqual(t, testing.AllocsPerRun(1000, func() { tr.RoundTrip(req) }), 6.0)
	assert.Equal(t, []string{"Accept", "Content-Type", "X-More"}, slices.Sorted(maps.Keys(req.Header)))
}

func TestTransportReportsTheErrorOfTheLogin(t *testing.T) {
	t.Parallel()
	hc := &http.Client{Transport: (&api{onLogin: wrongPassword}).transport(t, fine)}
	_, err := hc.Get(session.DefaultBaseURL)
	assert.True(t, errors.Is(err, session.ErrInvalidUsernameOrPassword))
	assertHidesSecrets(t, err)
}

// Before the fix, one 503 of a login made every request fail at once for a second.
func TestARequestWaitsOutAShortBackOff(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		retryAfter string
		deadline   time.Duration
		waits      time.Duration // 0: RoundTrip returns the *BackoffError at once
	}{
		"3 seconds":               {retryAfter: "3", waits: 3 * time.Second},
		"with a later deadline":   {retryAfter: "3", deadline: 4 * time.Second, waits: 3 * time.Second},
		"beyond its deadline":     {retryAfter: "3", deadline: 2 * time.Second},
		"6 seconds":               {retryAfter: "6"},
		"6, and a later deadline": {retryAfter: "6", deadline: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &api{onLogin: refuse(503, "", "Retry-After", tc.retryAfter)}
				tr := a.transport(t, fine)
				assertNoBackoff(t, roundTripError(t, tr))
				a.onLogin = nil
				backoffError(t, sessionError(t, tr.Source)) // which never waits
				ctx, cancel := t.Context(), func() {}
				if tc.deadline != 0 {
					ctx, cancel = context.WithTimeout(ctx, tc.deadline)
				}
				defer cancel()
				sent := &body{Reader: strings.NewReader("body")}
				start := time.Now()
				resp, err := tr.RoundTrip(newRequest(t, "POST", session.DefaultBaseURL, sent).WithContext(ctx))
				assert.Equal(t, tc.waits, time.Since(start))
				assert.EqualValues(t, 1, sent.closed.Load())
				if tc.waits == 0 {
					backoffError(t, err)
					assertHidesSecrets(t, err)
					return
				}
				require.NoError(t, err)
				assert.Equal(t, 200, resp.StatusCode)
			})
		})
	}
}

// Before the fix, 100 requests to such a server caused 101 logins in 0.14 seconds.
func TestAServerThatRefusesEverySessionCostsFewLogins(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &api{}
		tr := a.transport(t, only(0, nil))
		resp, text := roundTrip(t, tr, "GET", session.DefaultBaseURL, nil)
		assert.Equal(t, 401, resp.StatusCode)
		assert.Equal(t, deadSession, text)
		assert.Equal(t, 2, a.posts())
		start := time.Now()
		for range 99 { // the first of these wait for logins that may start soon
			resp, err := tr.RoundTrip(newRequest(t, "GET", session.DefaultBaseURL, nil))
			if err != nil {
				backoffError(t, err)
				assert.ErrorContains(t, err, "two sessions in a row ended before the site accepted them")
				assert.NotErrorIs(t, err, session.ErrSessionEnded)
				continue
			}
			assert.Equal(t, 401, resp.StatusCode)
		}
		assert.LessOrEqual(t, a.posts(), 2+4)
		assert.Less(t, time.Since(start), 20*time.Second)
	})
}

// Before the fix, a 403 was not understood.
func TestEveryAnswerToAnEndedSessionLeadsToALogin(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		status int
		text   string
	}{
		{status: 401, text: `{"type":"not-authenticated/invalid-credentials"}`},
		{status: 401, text: `{"type":"not-authenticated/invalid-session"}`},
		{status: 401, text: `{"type":"not-authorized/authentication-required"}`},
		{status: 403, text: `{"type":"not-authorized/authentication-required"}`},
		{status: 403, text: `{"type":"not-authenticated/invalid-session"}`},
	} {
		a := &api{}
		tr := a.transport(t, closing(func(r *http.Request) (int, string) {
			if r.Header.Get(session.AuthHeader) == nth(1) {
				return tc.status, tc.text
			}
			return 200, ""
		}))
		resp, _ := roundTrip(t, tr, "GET", session.DefaultBaseURL, nil)
		assert.Equal(t, 200, resp.StatusCode, tc.text)
		assert.Equal(t, 2, a.posts(), tc.text)
	}
}

func TestTheBaseMaySetAnyRequestInItsResponse(t *testing.T) {
	t.Parallel()
	other, err := http.NewRequest("GET", "https://other.example", nil)
	require.NoError(t, err)
	for _, claimed := range []*http.Request{nil, {}, other} {
		tr := (&api{}).transport(t, roundTripper(func(r *http.Request) (*http.Response, error) {
			resp, err := only(2, nil)(r)
			resp.Request = claimed
			return resp, err
		}))
		resp, _ := roundTrip(t, tr, "GET", session.DefaultBaseURL, nil)
		assert.Equal(t, 200, resp.StatusCode)
		assert.NotNil(t, resp.Request)
	}
}

func TestAnySessionThatWasAcceptedIsReplacedAtOnce(t *testing.T) {
	t.Parallel()
	for _, status := range []int{200, 204, 304, 401, 403, 404, 500} {
		a := &api{}
		dead := false
		tr := a.transport(t, closing(func(*http.Request) (int, string) {
			if dead {
				dead = false
				return 401, deadSession
			}
			return status, ""
		}))
		for range 10 {
			resp, _ := roundTrip(t, tr, "GET", session.DefaultBaseURL, nil)
			assert.Equal(t, status, resp.StatusCode)
			dead = true
		}
		assert.Equal(t, 10, a.posts(), status)
	}
}

func TestAnAcceptedSessionStartsTheCountOfUnacceptedOnesAnew(t *testing.T) {
	t.Parallel()
	tr := (&api{}).transport(t, fine)
	for range 5 {
		unaccepted, err := tr.Source.Session(t.Context())
		require.NoError(t, err)
		tr.Source.Invalidate(unaccepted)
		roundTrip(t, tr, "GET", session.DefaultBaseURL, nil)
		require.NoError(t, tr.Source.Revoke(t.Context()))
	}
}

func TestATransportOverAStaticSource(t *testing.T) {
	t.Parallel()
	var got []string
	tr := &autologin.Transport{Source: autologin.Static(&session.Session{ID: nth(1)}), Base: roundTripper(func(r *http.Request) (*http.Response, error) {
		got = append(got, r.Header.Get(session.AuthHeader))
		return only(2, nil)(r)
	})}
	roundTrip(t, tr, "GET", "https://elsewhere.example", nil)
	assert.ErrorIs(t, roundTripError(t, tr), session.ErrSessionEnded, "after the server has ended the session")
	assert.ErrorIs(t, roundTripError(t, tr), session.ErrSessionEnded)
	roundTrip(t, tr, "GET", "https://elsewhere.example", nil)
	assert.Equal(t, []string{"", nth(1), ""}, got)
}

func TestSeveralTransportsShareASource(t *testing.T) {
	t.Parallel()
	a := &api{}
	src := a.source(t, nil)
	var dead, failed atomic.Int32
	base := closing(func(r *http.Request) (int, string) {
		if r.Header.Get(session.AuthHeader) == nth(int(dead.Load())) {
			return 401, deadSession
		}
		return 200, ""
	})
	var wg sync.WaitGroup
	for range 8 {
		tr := &autologin.Transport{Source: src, Base: base}
		wg.Go(func() {
			for range 100 {
				if resp, err := tr.RoundTrip(newRequest(t, "GET", session.DefaultBaseURL, nil)); err != nil || resp.StatusCode != 200 {
					failed.Add(1)
				}
				dead.CompareAndSwap(0, 1)
			}
		})
	}
	wg.Wait()
	assert.Zero(t, failed.Load())
	assert.Equal(t, 2, a.posts())
}

func TestARequestThatMeetsAResetIsRepeatedWithANewSession(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	src := f.source()
	f.id(src)
	first := true
	tr := &autologin.Transport{Source: src, Base: roundTripper(func(r *http.Request) (*http.Response, error) {
		resp, err := f.Client().Transport.RoundTrip(r)
		if first {
			first = false
			src.Reset() // while the answer is on its way
		}
		return resp, err
	})}
	f.ExpireUser("alice")
	resp, _ := roundTrip(t, tr, "GET", f.URL+"/api/rest/v1/folders", nil)
	assert.Equal(t, http.StatusOK, resp.StatusCode)
}

// Before the fix, the server got no value: the request that was sent had a copy of the Trailer.
func TestATrailerThatIsSetWhileTheBodyIsReadIsSent(t *testing.T) {
	t.Parallel()
	got := make(chan string, 1)
	site := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		got <- r.Trailer.Get("X-Sum")
	}))
	t.Cleanup(site.Close)
	tr := &autologin.Transport{Source: autologin.Static(&session.Session{ID: "1", BaseURL: site.URL}), Base: freshTransport(t)}
	req := newRequest(t, "PUT", site.URL, nil)
	req.Trailer = http.Header{"X-Sum": nil}
	req.Body = io.NopCloser(io.MultiReader(strings.NewReader("body"), readerFunc(func([]byte) (int, error) {
		req.Trailer.Set("X-Sum", "1")
		return 0, io.EOF
	})))
	req.ContentLength = -1
	resp, err := tr.RoundTrip(req)
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, "1", <-got)
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
