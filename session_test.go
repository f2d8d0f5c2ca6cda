package session_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/filescom/session"
	"github.com/filescom/session/sessiontest"
	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLoginAndLogout(t *testing.T) {
	t.Parallel()
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: passwordCanary})
	defer srv.Close()
	c := newClient(t, session.WithSite(srv.URL), session.WithHTTPClient(srv.Client()))

	s, err := c.Create(t.Context(), alice)
	require.NoError(t, err)
	assert.Equal(t, srv.Sessions(), []string{s.ID})
	assert.Equal(t, srv.URL, s.BaseURL)
	assert.WithinDuration(t, time.Now().Add(6*time.Hour), s.TimeoutAt, time.Minute)
	assert.Contains(t, string(s.Raw), "legacy_checksums_mode")
	assert.Empty(t, s.Username+s.Password+s.OTP+s.PartialSessionID)

	require.NoError(t, c.Delete(t.Context(), s))
	assert.Empty(t, srv.Sessions())
	assert.NotEmpty(t, s.ID, "Delete does not touch the session")
	require.NoError(t, c.Delete(t.Context(), s), "a session that has ended is no error")
}

func TestLoginWorksOverTLS(t *testing.T) {
	t.Parallel()
	srv := sessiontest.NewTLSServer(sessiontest.User{Username: "alice", Password: passwordCanary})
	defer srv.Close()
	s, err := session.Create(t.Context(), alice, session.WithSite(srv.URL), session.WithHTTPClient(srv.Client()))
	require.NoError(t, err)
	require.NoError(t, session.Delete(t.Context(), s))
	assert.Empty(t, srv.Sessions())
}

func TestPackageFunctionsShareConnections(t *testing.T) {
	srv := answer(t, 201, `{"id":"1"}`)
	for range 20 {
		s, err := session.Create(t.Context(), alice, session.WithSite(srv.URL), session.WithTimeout(time.Minute))
		require.NoError(t, err)
		require.NoError(t, session.Delete(t.Context(), s))
		require.NoError(t, session.Delete(t.Context(), &session.Session{ID: "1", BaseURL: srv.URL}))
	}
	connections := map[string]bool{}
	for _, r := range srv.seen() {
		connections[r.from] = true
	}
	assert.Len(t, srv.seen(), 60)
	assert.Len(t, connections, 1)
}

func TestDeleteUsesTheClientThatCreatedTheSession(t *testing.T) {
	t.Parallel()
	srv := answer(t, 201, `{"id":"1"}`)
	var through atomic.Int32
	hc := &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		through.Add(1)
		return srv.Client().Transport.RoundTrip(r)
	})}
	s, err := session.Create(t.Context(), alice, session.WithSite(srv.URL), session.WithHTTPClient(hc), session.WithUserAgent("gate/1"))
	require.NoError(t, err)
	assert.Equal(t, "gate/1 filescom-session-go", s.UserAgent)
	require.NoError(t, session.Delete(t.Context(), s))
	assert.EqualValues(t, 2, through.Load())
	assert.Equal(t, "gate/1 filescom-session-go", srv.seen()[1].header.Get("User-Agent"))
}

func TestDeleteOfALoadedSessionGoesToItsOrigin(t *testing.T) {
	t.Parallel()
	srv := answer(t, 201, `{"id":"`+idCanary+`","timeout_at":"2025-05-23T20:51:16-04:00","site_id":7,"tls_disabled":true}`)
	made, err := client(t, srv, session.WithUserAgent("cli/2")).Create(t.Context(), alice)
	require.NoError(t, err)
	stored, err := json.Marshal(made)
	require.NoError(t, err)
	assert.Contains(t, string(stored), idCanary, "the JSON form is how a session is stored")

	var loaded session.Session
	require.NoError(t, json.Unmarshal(stored, &loaded))
	assert.Equal(t, made.ID, loaded.ID)
	assert.True(t, made.TimeoutAt.Equal(loaded.TimeoutAt))
	assert.EqualValues(t, 7, *loaded.SiteID)
	assert.True(t, loaded.TLSDisabled)

	require.NoError(t, session.Delete(t.Context(), &loaded, session.WithHTTPClient(srv.Client()), session.WithSite("elsewhere")))
	last := srv.seen()[1]
	assert.Equal(t, http.MethodDelete, last.method)
	assert.Equal(t, "/api/rest/v1/sessions", last.path)
	assert.Equal(t, idCanary, last.header.Get(session.AuthHeader))
	assert.Equal(t, "cli/2 filescom-session-go", last.header.Get("User-Agent"))
	assert.Empty(t, last.body)
	assert.Empty(t, last.header.Get("Content-Type"))
	assert.Empty(t, last.header.Get("Transfer-Encoding"))
}

func TestLoginFormIsByteForByte(t *testing.T) {
	t.Parallel()
	srv := answer(t, 201, `{"id":"1"}`)
	c := client(t, srv)
	for _, odd := range []string{
		"plain", " spaces around ", `"quotes' and \`, "100%", "a+b&c=d;e#f?", "Grüße, 世界 🔑", "\xff\xfe\x00\r\n\t", "0001-01-01T00:00:00Z", "%2B",
	} {
		params := session.CreateParams{Username: odd, Password: odd + "p", OTP: odd + "o", PartialSessionID: odd + "s"}
		_, err := c.Create(t.Context(), params)
		require.NoError(t, err)
		form, err := url.ParseQuery(srv.seen()[len(srv.seen())-1].body)
		require.NoError(t, err)
		assert.Equal(t, url.Values{"username": {odd}, "password": {odd + "p"}, "otp": {odd + "o"}, "partial_session_id": {odd + "s"}}, form)
	}
}

func TestEmptyParametersAreLeftOut(t *testing.T) {
	t.Parallel()
	srv := answer(t, 201, `{"id":"1"}`)
	_, err := client(t, srv).Create(t.Context(), session.CreateParams{Username: "testuser", Password: "good+password"})
	require.NoError(t, err)
	assert.Equal(t, strings.TrimSpace(payload(t, "request_login_form.txt")), srv.seen()[0].body)
}

func TestLoginCarriesOnlyItsOwnHeaders(t *testing.T) {
	for _, name := range []string{"FILES_API_KEY", "FILES_SESSION_ID", "FILES_USERNAME", "FILES_SUBDOMAIN"} {
		t.Setenv(name, "from-the-environment")
	}
	srv := answer(t, 201, `{"id":"1"}`, "Set-Cookie", "user=alice")
	jar := &cookieJar{}
	hc := srv.Client()
	hc.Jar = jar
	c := newClient(t, session.WithSite(srv.URL), session.WithHTTPClient(hc), session.WithLanguage("de"))
	for range 2 {
		_, err := c.Create(t.Context(), alice)
		require.NoError(t, err)
	}
	require.NoError(t, c.Delete(t.Context(), &session.Session{ID: "1"}))
	for _, r := range srv.seen()[:2] {
		assert.Equal(t, http.Header{
			"Accept":          {"application/json"},
			"Accept-Encoding": {"identity"},
			"Accept-Language": {"de"},
			"Content-Length":  {fmt.Sprint(len(r.body))},
			"Content-Type":    {"application/x-www-form-urlencoded"},
			"User-Agent":      {"filescom-session-go"},
		}, r.header)
	}
	assert.Empty(t, srv.seen()[2].header.Get("Cookie"))
	assert.Zero(t, jar.used.Load(), "the caller's jar is not for sessions of several users")
}

type cookieJar struct{ used atomic.Int32 }

func (j *cookieJar) SetCookies(*url.URL, []*http.Cookie) { j.used.Add(1) }

func (j *cookieJar) Cookies(*url.URL) (none []*http.Cookie) { j.used.Add(1); return }

func TestBadParametersAreRefusedAndNotSent(t *testing.T) {
	t.Parallel()
	srv := answer(t, 201, `{"id":"1"}`)
	c := client(t, srv)
	for _, tc := range []struct {
		name, wants string
		params      session.CreateParams
	}{
		{"nothing", "username", session.CreateParams{}},
		{"no username", "username", session.CreateParams{Password: passwordCanary, OTP: otpCanary}},
		{"no password", "password", session.CreateParams{Username: "alice", OTP: otpCanary}},
		{"blank code", "otp", session.CreateParams{Username: "alice", Password: passwordCanary, OTP: " \n"}},
		{"blank code for a key", "otp", session.CreateParams{Username: "alice", PartialSessionID: partialCanary, OTP: " "}},
	} {
		_, err := c.Create(t.Context(), tc.params)
		assert.ErrorIs(t, err, session.ErrInvalidParams, tc.name)
		assert.ErrorContains(t, err, tc.wants, tc.name)
		assertHidesSecrets(t, err)
	}
	assert.Empty(t, srv.seen())
}

func TestBadSessionsAreRefusedAndNotSent(t *testing.T) {
	t.Parallel()
	srv := answer(t, 204, "")
	c := client(t, srv)
	for name, s := range map[string]*session.Session{
		"nil":            nil,
		"no id":          {},
		"space":          {ID: idCanary + " "},
		"line end":       {ID: idCanary + "\r\nX: y"},
		"control":        {ID: idCanary + "\x00"},
		"not ASCII":      {ID: idCanary + "ü"},
		"513 bytes":      {ID: strings.Repeat("a", 513)},
		"http":           {ID: idCanary, BaseURL: "http://app.files.com"},
		"userinfo":       {ID: idCanary, BaseURL: "https://" + tokenCanary + "@app.files.com"},
		"path":           {ID: idCanary, BaseURL: "https://app.files.com/" + tokenCanary},
		"broken":         {ID: idCanary, BaseURL: "https://a:" + tokenCanary + "@%"},
		"bad user agent": {ID: idCanary, UserAgent: "a\r\nb"},
	} {
		err := c.Delete(t.Context(), s)
		assert.ErrorIs(t, err, session.ErrInvalidParams, name)
		assertHidesSecrets(t, err)
		assert.ErrorIs(t, session.Delete(t.Context(), s), session.ErrInvalidParams, name)
	}
	var none context.Context
	assert.ErrorIs(t, c.Delete(none, &session.Session{ID: "1"}), session.ErrInvalidParams)
	_, err := c.Create(none, alice)
	assert.ErrorIs(t, err, session.ErrInvalidParams)
	assert.Empty(t, srv.seen())
	assert.NoError(t, c.Delete(t.Context(), &session.Session{ID: strings.Repeat("~", 512)}))
}

func TestASuccessWithoutAValidSessionIsAnError(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		status int
		body   string
	}{
		"empty":           {201, ""},
		"empty 200":       {200, ""},
		"no content":      {204, ""},
		"accepted":        {202, `{"id":"` + idCanary + `"}`},
		"partial content": {206, `{"id":"` + idCanary + `"}`},
		"empty object":    {201, `{}`},
		"null":            {201, `null`},
		"array":           {201, `[{"id":"` + idCanary + `"}]`},
		"string":          {201, `"` + idCanary + `"`},
		"HTML":            {200, `<html>` + idCanary + `</html>`},
		"cut off":         {201, `{"id":"` + idCanary + `"`},
		"trailing":        {201, `{"id":"` + idCanary + `"}}`},
		"two objects":     {201, `{"id":"` + idCanary + `"} {"id":"2"}`},
		"null id":         {201, `{"id":null}`},
		"empty id":        {201, `{"id":""}`},
		"true id":         {201, `{"id":true}`},
		"negative id":     {201, `{"id":-1}`},
		"fraction id":     {201, `{"id":1.5}`},
		"object id":       {201, `{"id":{"id":"` + idCanary + `"}}`},
		"space in id":     {201, `{"id":"` + idCanary + ` x"}`},
		"line end in id":  {201, `{"id":"` + idCanary + `\r\nX: y"}`},
		"long id":         {201, `{"id":"` + strings.Repeat("a", 513) + `"}`},
		"nested too deep": {201, `{"id":"` + idCanary + `","x":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`},
		"too large":       {201, `{"id":"` + idCanary + `","x":"` + strings.Repeat("x", 64<<10) + `"}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := answer(t, tc.status, tc.body, "X-Request-Id", "req-7", "Content-Type", "text/odd; charset=x")
			s, err := client(t, srv).Create(t.Context(), alice)
			assert.Nil(t, s)
			api := apiError(t, err)
			assert.Equal(t, tc.status, api.StatusCode)
			assert.Equal(t, "req-7", api.Instance)
			assert.ErrorIs(t, err, session.ErrInvalidResponse)
			assert.ErrorIs(t, err, session.ErrOutcomeUnknown)
			assert.NotErrorIs(t, err, session.ErrNotAuthenticated)
			assert.ErrorContains(t, err, "text/odd")
			assertHidesSecrets(t, err)
			assert.Len(t, srv.seen(), 1)
		})
	}
}

func TestTheContentTypeOfTheAnswerDoesNotMatter(t *testing.T) {
	t.Parallel()
	for _, label := range []string{"", "text/plain", "application/json; charset=utf-8", "text/html", ";;"} {
		srv := answer(t, 201, "\ufeff \n{\"id\":\"1\"}\n", "Content-Type", label)
		_, err := client(t, srv).Create(t.Context(), alice)
		assert.NoError(t, err, label)
	}
}

func TestAnAnswerThatIsCutOffAtAnyByteIsAnError(t *testing.T) {
	t.Parallel()
	body := strings.TrimSpace(payload(t, "session_201_live_2025.json"))
	head := fmt.Sprintf("HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nX-Request-Id: req-7\r\nContent-Length: %d\r\n\r\n", len(body))
	for _, whole := range []bool{false, true} { // true: Content-Length counts only the bytes that are sent
		for cut := range len(body) {
			part := head + body[:cut]
			if whole {
				part = strings.Replace(part, fmt.Sprint(len(body)), fmt.Sprint(cut), 1)
			}
			mock := roundTripper(func(r *http.Request) (*http.Response, error) { return readResponse(part, r) })
			s, err := session.Create(t.Context(), alice, session.WithHTTPClient(&http.Client{Transport: mock}))
			require.Nil(t, s)
			require.ErrorIs(t, err, session.ErrInvalidResponse, "%d bytes", cut)
			require.ErrorIs(t, err, session.ErrOutcomeUnknown)
			require.Equal(t, "req-7", apiError(t, err).Instance)
			require.NotContains(t, err.Error(), "87828d")
			if !whole {
				require.ErrorIs(t, err, io.ErrUnexpectedEOF)
			}
		}
	}
}

func TestAConnectionCutInsideTheHeadersLeavesTheOutcomeUnknown(t *testing.T) {
	t.Parallel()
	answer := "HTTP/1.1 201 Created\r\nX-Echo: " + idCanary + "\r\nContent-Length: 10\r\n\r\n"
	origin, connections := listen(t, func(n int, conn net.Conn) {
		readRequest(conn)
		io.WriteString(conn, answer[:n-1])
	})
	c := newClient(t, session.WithSite(origin), session.WithHTTPClient(&http.Client{Transport: freshTransport(t)}))
	for n := range len(answer) {
		_, err := c.Create(t.Context(), alice)
		require.ErrorIs(t, err, session.ErrOutcomeUnknown, "%d bytes", n)
		require.NotErrorIs(t, err, session.ErrNotSent)
		assertHidesSecrets(t, err)
	}
	assert.Equal(t, len(answer), connections())
}

func TestDeleteSucceeds(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		status int
		body   string
	}{
		"204":                     {204, ""},
		"200 with the old body":   {200, payload(t, "delete_fixture_2021_body.json")},
		"200 with an array":       {200, "[]"},
		"200 with HTML":           {200, "<html>"},
		"200 and too large":       {200, strings.Repeat("x", 70<<10)},
		"299":                     {299, "x"},
		"invalid credentials":     {401, payload(t, "error_invalid_credentials_401_live_2024.json")},
		"invalid session":         {401, `{"type":"not-authenticated/invalid-session"}`},
		"ended under 500":         {500, `{"type":"not-authenticated/invalid-session"}`},
		"authentication required": {403, `{"type":"not-authorized/authentication-required"}`},
	} {
		srv := answer(t, tc.status, tc.body)
		assert.NoError(t, client(t, srv).Delete(t.Context(), &session.Session{ID: idCanary}), name)
		assert.Len(t, srv.seen(), 1, name)
	}
}

func TestDeleteFails(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		status int
		body   string
		tries  int
	}{
		"bare 401":     {401, "", 1},
		"rate limited": {429, "", 1},
		"forbidden":    {403, `{"type":"not-authorized/x","error":"` + idCanary + `"}`, 1},
		"500":          {500, "", 3},
		"503":          {503, `{"error":"` + idCanary + `"}`, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := answer(t, tc.status, tc.body)
			err := client(t, srv).Delete(t.Context(), &session.Session{ID: idCanary})
			assert.Equal(t, tc.status, apiError(t, err).StatusCode)
			assertHidesSecrets(t, err)
			assert.Len(t, srv.seen(), tc.tries)
		})
	}
}

func TestDeleteIsTriedAgain(t *testing.T) {
	t.Parallel()
	origin, connections := listen(t, func(n int, conn net.Conn) {
		readRequest(conn)
		if n == 3 {
			io.WriteString(conn, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
		}
	})
	s := &session.Session{ID: idCanary, BaseURL: origin}
	hc := session.WithHTTPClient(&http.Client{Transport: freshTransport(t)})
	assert.NoError(t, session.Delete(t.Context(), s, hc))
	assert.Equal(t, 3, connections())

	err := session.Delete(t.Context(), s, hc, session.WithRetries(0))
	assert.ErrorIs(t, err, session.ErrOutcomeUnknown)
	assertHidesSecrets(t, err)
	assert.Equal(t, 4, connections())
}

// The answer is a fixture of the vendor: a 204 with a body, which net/http reports.
// net/http repeats a log-out over an idle connection that turns out to be broken.
func TestALogOutReportsTheAnswerOfItsLastConnection(t *testing.T) {
	t.Parallel()
	srv := answer(t, 503, "")
	tr := freshTransport(t)
	var failing atomic.Bool
	dials := 0
	tr.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		if dials++; dials > 1 {
			return conn, err
		}
		return failingConn{conn, &failing}, err
	}
	c := newClient(t, session.WithSite(srv.URL), session.WithHTTPClient(&http.Client{Transport: tr}))
	_, err := c.Create(t.Context(), alice)
	assert.Equal(t, 503, apiError(t, err).StatusCode)
	failing.Store(true)
	err = c.Delete(t.Context(), &session.Session{ID: idCanary})
	assert.Equal(t, 503, apiError(t, err).StatusCode)
	assert.Len(t, srv.seen(), 3, "the login, and the log-out over two more connections")
}

func TestDeleteAcceptsA204WithABody(t *testing.T) {
	t.Parallel()
	origin, _ := listen(t, func(_ int, conn net.Conn) {
		readRequest(conn)
		io.WriteString(conn, "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
	})
	hc := session.WithHTTPClient(&http.Client{Transport: freshTransport(t)})
	assert.NoError(t, session.Delete(t.Context(), &session.Session{ID: idCanary, BaseURL: origin}, hc))
}

func TestTheErrorOfADeleteThatWasAnsweredIsNotErrNotSent(t *testing.T) {
	t.Parallel()
	var stop func() error
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	stop = l.Close
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		readRequest(conn)
		stop()
		io.WriteString(conn, "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
	}()
	s := &session.Session{ID: idCanary, BaseURL: "http://" + l.Addr().String()}
	err = session.Delete(t.Context(), s, session.WithHTTPClient(&http.Client{Transport: freshTransport(t)}))
	assert.ErrorContains(t, err, "connection refused")
	assert.ErrorIs(t, err, session.ErrOutcomeUnknown)
	assert.NotErrorIs(t, err, session.ErrNotSent)
}

func TestHTTPMockCanAnswerInPlaceOfTheAPI(t *testing.T) {
	t.Parallel()
	mock := httpmock.NewMockTransport()
	mock.RegisterResponder("POST", "https://app.files.com/api/rest/v1/sessions", httpmock.NewStringResponder(201, payload(t, "session_documented_public.json")))
	mock.RegisterResponder("DELETE", "https://app.files.com/api/rest/v1/sessions", httpmock.NewStringResponder(204, ""))
	c := newClient(t, session.WithHTTPClient(&http.Client{Transport: mock}))
	s, err := c.Create(t.Context(), alice)
	require.NoError(t, err)
	assert.Equal(t, "60525f92e859c4c3d74cb02fd176b1525901b525", s.ID)
	assert.True(t, s.ReadOnly)
	assert.NoError(t, c.Delete(t.Context(), s))
	assert.Equal(t, 2, mock.GetTotalCallCount())
}

func TestTheErrorOfAMockWithoutAResponderIsShown(t *testing.T) {
	t.Parallel()
	_, err := session.Create(t.Context(), alice, session.WithHTTPClient(&http.Client{Transport: httpmock.NewMockTransport()}))
	assert.ErrorIs(t, err, httpmock.NoResponderFound)
	assert.ErrorContains(t, err, "no responder found")
}

func TestManyUsersLogInAndOutAtTheSameTime(t *testing.T) {
	t.Parallel()
	var users []sessiontest.User
	for i := range 500 {
		users = append(users, sessiontest.User{Username: fmt.Sprint("user", i), Password: fmt.Sprint("p", i)})
	}
	srv := sessiontest.NewServer(users...)
	defer srv.Close()
	c := newClient(t, session.WithSite(srv.URL), session.WithHTTPClient(srv.Client()), session.WithLanguage("en"))
	var wg sync.WaitGroup
	var ids sync.Map
	for _, u := range users {
		wg.Add(1)
		go func() {
			defer wg.Done()
			s, err := c.Create(t.Context(), session.CreateParams{Username: u.Username, Password: u.Password})
			if !assert.NoError(t, err) {
				return
			}
			_, twice := ids.LoadOrStore(s.ID, true)
			assert.False(t, twice)
			assert.NoError(t, c.Delete(t.Context(), s))
		}()
	}
	wg.Wait()
	assert.Empty(t, srv.Sessions())
	assert.Len(t, srv.Requests(), 1000)
}

func TestTheZeroClientBehavesLikeAClientWithoutOptions(t *testing.T) {
	t.Parallel()
	srv := answer(t, 201, `{"id":"1"}`)
	var c session.Client
	assert.NoError(t, c.Delete(t.Context(), &session.Session{ID: "1", BaseURL: srv.URL}))
	_, err := c.Create(t.Context(), session.CreateParams{})
	assert.ErrorIs(t, err, session.ErrInvalidParams)
	assert.Len(t, srv.seen(), 1)
}

// If somebody forgot to assign the client, no password may be posted to the default
// host.
func TestANilClientSendsNothing(t *testing.T) {
	t.Parallel()
	srv := answer(t, 201, `{"id":"1"}`)
	var c *session.Client
	_, err := c.Create(t.Context(), alice)
	assert.EqualError(t, err, "session: log in: invalid parameters: the *Client is nil; create one with NewClient")
	assert.ErrorIs(t, c.Delete(t.Context(), &session.Session{ID: "1", BaseURL: srv.URL}), session.ErrInvalidParams)
	assert.Empty(t, srv.seen())
}
