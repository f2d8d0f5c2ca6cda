package session_test

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/filescom/session"
	"github.com/filescom/session/sessiontest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCheckTellsWhenASessionEnds(t *testing.T) {
	t.Parallel()
	fake := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: passwordCanary})
	defer fake.Close()
	c := newClient(t, session.WithSite(fake.URL), session.WithHTTPClient(fake.Client()))
	s, err := c.Create(t.Context(), alice)
	require.NoError(t, err)
	before := *s
	fake.Advance(time.Hour)
	checked, err := c.Check(t.Context(), s)
	require.NoError(t, err)
	assert.WithinDuration(t, s.TimeoutAt.Add(time.Hour), checked.TimeoutAt, 2*time.Second, "sessions slide")
	assert.Equal(t, before.TimeoutAt, s.TimeoutAt, "Check does not modify its session")
	checked.TimeoutAt = s.TimeoutAt
	assert.Equal(t, &before, checked, "everything else is as it was")

	require.NoError(t, c.Delete(t.Context(), s))
	checked, err = c.Check(t.Context(), s)
	assert.ErrorIs(t, err, session.ErrSessionEnded)
	assert.Nil(t, checked)
	assertHidesSecrets(t, err)
}

func TestCheckSendsTheSessionToItsOrigin(t *testing.T) {
	t.Parallel()
	srv := answer(t, 200, `{"session":{"timeout_at":"2030-01-02T03:04:05-04:00"}}`)
	s := &session.Session{ID: idCanary, BaseURL: srv.URL, UserAgent: "login/1"}
	checked, err := newClient(t, session.WithHTTPClient(srv.Client())).Check(t.Context(), s)
	require.NoError(t, err)
	assert.True(t, checked.TimeoutAt.Equal(time.Date(2030, 1, 2, 7, 4, 5, 0, time.UTC)))
	require.Len(t, srv.seen(), 1)
	got := srv.seen()[0]
	assert.Equal(t, "GET /api/rest/v1/site", got.method+" "+got.path)
	assert.Empty(t, got.body)
	assert.Equal(t, idCanary, got.header.Get(session.AuthHeader))
	assert.Equal(t, "login/1", got.header.Get("User-Agent"))
	assert.Empty(t, got.header.Get("Content-Type"))
}

func TestWhatAnAnswerSaysOfASession(t *testing.T) {
	t.Parallel()
	end := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, tc := range map[string]struct {
		status int
		body   string
		want   error // nil: the session is alive
	}{
		"no session member":         {status: 200, body: `{"id":1}`},
		"no timeout":                {status: 200, body: `{"session":{}}`},
		"null":                      {status: 200, body: `{"session":{"timeout_at":null}}`},
		"odd timeout":               {status: 200, body: `{"session":{"timeout_at":"soon"}}`},
		"odd session":               {status: 200, body: `{"session":7}`},
		"no permission":             {status: 403, body: `{"type":"not-authorized/insufficient-permission-for-site"}`},
		"read-only":                 {status: 403, body: `{"type":"not-authorized/read-only-session"}`},
		"set a second factor first": {status: 403, body: `{"type":"not-authorized/two-factor-authentication-required"}`},
		"unknown path":              {status: 404, body: `{"type":"not-found"}`},
		"ended":                     {status: 401, body: payload(t, "error_invalid_credentials_401_live_2024.json"), want: session.ErrSessionEnded},
		"invalid session":           {status: 401, body: `{"type":"not-authenticated/invalid-session"}`, want: session.ErrSessionEnded},
		"ended in another way":      {status: 401, body: `{"type":"not-authenticated/session-expired"}`, want: session.ErrNotAuthenticated},
		"a proxy that speaks JSON":  {status: 401, body: `{"type":"error"}`, want: session.ErrNotAuthenticated},
		"moved":                     {status: 401, body: mismatch("b.files.com"), want: &session.APIError{}},
		"401 of a proxy":            {status: 401, body: `<html>`, want: session.ErrNotAuthenticated},
		"403 of a proxy":            {status: 403, body: `<html>`, want: &session.APIError{}},
		"404 of a proxy":            {status: 404, body: ``, want: &session.APIError{}},
		"200 of a portal":           {status: 200, body: `<html>`, want: session.ErrInvalidResponse},
		"no content":                {status: 204, body: ``, want: session.ErrInvalidResponse},
		"rate limit":                {status: 429, body: `{"type":"rate-limited/too-many-requests"}`, want: session.ErrRateLimited},
		"server error":              {status: 500, body: `{"type":"processing-failure/x"}`, want: session.ErrOutcomeUnknown},
		"redirect":                  {status: 302, body: `{"type":"not-found"}`, want: &session.APIError{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := answer(t, tc.status, tc.body)
			s := &session.Session{ID: idCanary, BaseURL: srv.URL, TimeoutAt: end}
			checked, err := client(t, srv, session.WithRetries(0)).Check(t.Context(), s)
			assertHidesSecrets(t, err)
			if tc.want == nil {
				require.NoError(t, err)
				assert.Equal(t, end, checked.TimeoutAt)
				return
			}
			assert.Nil(t, checked)
			assert.Equal(t, tc.status, apiError(t, err).StatusCode)
			if _, any := tc.want.(*session.APIError); !any {
				assert.ErrorIs(t, err, tc.want)
			}
			if tc.want != session.ErrSessionEnded {
				assert.NotErrorIs(t, err, session.ErrSessionEnded)
			}
		})
	}
}

func TestCheckIsTriedAgain(t *testing.T) {
	t.Parallel()
	calls := 0
	srv := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if calls++; calls < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.Write([]byte(`{}`))
	})
	_, err := client(t, srv).Check(t.Context(), &session.Session{ID: idCanary})
	assert.NoError(t, err)
	assert.Len(t, srv.seen(), 3)
}

func TestACheckThatIsCutOffIsTriedAgain(t *testing.T) {
	t.Parallel()
	origin, connections := listen(t, func(n int, conn net.Conn) {
		readRequest(conn)
		length := 13
		if n == 1 {
			length = 100
		}
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n{\"session\":0}", length)
	})
	c := newClient(t, session.WithSite(origin), session.WithHTTPClient(&http.Client{Transport: freshTransport(t)}))
	_, err := c.Check(t.Context(), &session.Session{ID: idCanary})
	assert.NoError(t, err)
	assert.Equal(t, 2, connections())
}

func TestValidateSaysWhatIsWrongWithASession(t *testing.T) {
	t.Parallel()
	for _, s := range []*session.Session{{ID: "1"}, {ID: "1", BaseURL: "https://mysite.files.com", UserAgent: "a/1"}} {
		assert.NoError(t, s.Validate())
	}
	for want, s := range map[string]*session.Session{
		"*Session is nil":   nil,
		"ID is empty":       {},
		"visible ASCII":     {ID: "a " + idCanary},
		"Session.UserAgent": {ID: idCanary, UserAgent: "a\nb"},
		"Session.BaseURL":   {ID: idCanary, BaseURL: "http://mysite.files.com/" + tokenCanary},
		"512 bytes":         {ID: strings.Repeat("a", 513)},
	} {
		err := s.Validate()
		assert.ErrorIs(t, err, session.ErrInvalidParams)
		assert.ErrorContains(t, err, want)
		assertHidesSecrets(t, err)
		_, err = newClient(t).Check(t.Context(), s)
		assert.ErrorIs(t, err, session.ErrInvalidParams)
		assert.ErrorContains(t, err, want)
	}
	_, err := (*session.Client)(nil).Check(t.Context(), &session.Session{ID: "1"})
	assert.ErrorIs(t, err, session.ErrInvalidParams)
	_, err = newClient(t).Check(nil, &session.Session{ID: "1"}) //lint:ignore SA1012 this is the mistake
	assert.ErrorIs(t, err, session.ErrInvalidParams)
}
