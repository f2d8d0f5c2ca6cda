// Package interop tests that the fake server works with the official SDK of
// Files.com, with this project's client, with curl, and with the standard
// libraries of Python and Node, and that this project's client works with
// OpenTelemetry. It is a module of its own, so that these are in no user's go.sum.
package interop

import (
	"errors"
	"io"
	"net/http"
	"os/exec"
	"testing"
	"time"

	files "github.com/Files-com/files-sdk-go/v3"
	"github.com/Files-com/files-sdk-go/v3/folder"
	sdk "github.com/Files-com/files-sdk-go/v3/session"
	"github.com/filescom/session"
	"github.com/filescom/session/autologin"
	"github.com/filescom/session/sessiontest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func config(srv *sessiontest.Server, sessionID string) files.Config {
	return files.Config{EndpointOverride: srv.URL, SessionId: sessionID}.Init()
}

func list(config files.Config) error {
	it, err := (&folder.Client{Config: config}).ListFor(files.FolderListForParams{})
	if err != nil {
		return err
	}
	for it.Next() {
	}
	return it.Err()
}

func newSource(t *testing.T, srv *sessiontest.Server) *autologin.Source {
	c, err := session.NewClient(session.WithSite(srv.URL))
	require.NoError(t, err)
	return autologin.New(c, session.CreateParams{Username: "alice", Password: "secret"})
}

func TestTheOfficialSDKLogsInAndOutOfTheFakeServer(t *testing.T) {
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: "secret", OTP: "123456"})
	defer srv.Close()
	c := sdk.Client{Config: config(srv, "")}

	_, err := c.Create(files.SessionCreateParams{Username: "alice", Password: "wrong"})
	var refused files.ResponseError
	require.True(t, errors.As(err, &refused))
	assert.Equal(t, "not-authenticated/invalid-username-or-password", refused.Type)

	_, err = c.Create(files.SessionCreateParams{Username: "alice", Password: "secret"})
	require.True(t, errors.As(err, &refused))
	assert.Equal(t, "not-authenticated/two-factor-authentication-error", refused.Type)
	assert.Equal(t, []string{"totp"}, refused.Data.TwoFactorAuthenticationMethod)

	s, err := c.Create(files.SessionCreateParams{Username: "alice", Password: "secret", Otp: "123456"})
	require.NoError(t, err)
	assert.Equal(t, []string{s.Id}, srv.Sessions())

	require.NoError(t, (&sdk.Client{Config: config(srv, s.Id)}).Delete())
	assert.Empty(t, srv.Sessions())
}

func TestTheOfficialSDKListsAFolderWithOurSession(t *testing.T) {
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: "secret"})
	defer srv.Close()
	s, err := session.Create(t.Context(), session.CreateParams{Username: "alice", Password: "secret"}, session.WithSite(srv.URL))
	require.NoError(t, err)

	require.NoError(t, list(config(srv, s.ID)))
	last := srv.Requests()[1]
	assert.Equal(t, "alice", last.User)
	assert.Equal(t, http.StatusOK, last.Status)

	srv.Expire(s.ID)
	var refused files.ResponseError
	require.True(t, errors.As(list(config(srv, s.ID)), &refused))
	assert.Equal(t, "not-authenticated/invalid-credentials", refused.Type)
}

func TestTheOfficialSDKStaysLoggedInThroughOurTransport(t *testing.T) {
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: "secret"})
	defer srv.Close()
	src := newSource(t, srv)
	through := files.Config{EndpointOverride: srv.URL}.Init().SetCustomClient(&http.Client{Transport: &autologin.Transport{Source: src}})
	for range 20 {
		require.NoError(t, list(through))
		srv.Expire(srv.Sessions()[0])
	}
	assert.Equal(t, 20, srv.Counts().Logins)
	require.NoError(t, src.Close(t.Context()))
	assert.Empty(t, srv.Sessions())
}

// readOnce hides that a body can be read again, as some RoundTrippers do.
type readOnce struct{ http.RoundTripper }

func (t readOnce) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.GetBody = nil
	return t.RoundTripper.RoundTrip(r)
}

func TestNoCallOfTheOfficialSDKFailsWhenTheSessionEndsAtEveryThirdOne(t *testing.T) {
	for name, wrap := range map[string]func(http.RoundTripper) http.RoundTripper{
		"bodies that can be read again": func(rt http.RoundTripper) http.RoundTripper { return rt },
		"bodies that cannot":            func(rt http.RoundTripper) http.RoundTripper { return readOnce{rt} },
	} {
		t.Run(name, func(t *testing.T) {
			srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: "secret"})
			defer srv.Close()
			var bodies []string
			srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				if r.Method == http.MethodGet {
					w.Write([]byte("[]"))
					return
				}
				body, err := io.ReadAll(r.Body)
				assert.NoError(t, err)
				bodies = append(bodies, string(body))
				w.Write([]byte("{}"))
			})
			src := newSource(t, srv)
			hc := &http.Client{Transport: wrap(&autologin.Transport{Source: src})}
			through := files.Config{EndpointOverride: srv.URL}.Init().SetCustomClient(hc)
			const calls = 60
			var sent []string
			for i := 1; i <= calls; i++ {
				if i%3 == 0 {
					assert.Equal(t, 1, srv.ExpireUser("alice"))
				}
				if i%2 == 0 {
					require.NoError(t, list(through), "call %d", i)
					continue
				}
				when := time.Unix(int64(i), 0).UTC()
				_, err := (&folder.Client{Config: through}).Create(files.FolderCreateParams{Path: "folder", ProvidedMtime: &when})
				require.NoError(t, err, "call %d", i)
				sent = append(sent, `{"provided_mtime":"`+when.Format(time.RFC3339)+`"}`)
			}
			assert.Equal(t, sent, bodies)
			assert.Equal(t, 1+calls/3, srv.Counts().Logins)
			require.NoError(t, src.Close(t.Context()))
			assert.Empty(t, srv.Sessions())
		})
	}
}

// A session that the SDK knows keeps it from sending the API key of the
// environment. The Transport replaces that session after it has ended.
func TestTheOfficialSDKSendsNoAPIKeyBesideOurSession(t *testing.T) {
	t.Setenv("FILES_API_KEY", "canary")
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: "secret"})
	defer srv.Close()
	var keys, agents []string
	srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		keys = append(keys, r.Header.Get("X-FilesAPI-Key"))
		agents = append(agents, r.UserAgent())
		w.Header().Set("Content-Type", "application/json")
		w.Write([]byte("[]"))
	})
	src := newSource(t, srv)
	defer src.Close(t.Context())
	s, err := src.Session(t.Context())
	require.NoError(t, err)
	hc := &http.Client{Transport: &autologin.Transport{Source: src}}
	through := files.Config{EndpointOverride: srv.URL, SessionId: s.ID, UserAgent: s.UserAgent}.Init().SetCustomClient(hc)
	require.NoError(t, list(through))
	srv.Expire(s.ID)
	require.NoError(t, list(through))
	assert.Equal(t, 2, srv.Counts().Logins)
	assert.Equal(t, []string{"", ""}, keys)
	assert.Equal(t, []string{s.UserAgent, s.UserAgent}, agents)

	require.NoError(t, list(files.Config{EndpointOverride: srv.URL}.Init().SetCustomClient(hc)))
	assert.Equal(t, "canary", keys[2], "without SessionId the SDK sends the key")
}

// The SDK behaves against the fake server as the contract says of the real one.
func TestTheOfficialSDKBehavesAsTheContractSays(t *testing.T) {
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: "secret"})
	defer srv.Close()
	c := sdk.Client{Config: config(srv, "")}
	logIn := func(password string) error {
		_, err := c.Create(files.SessionCreateParams{Username: "alice", Password: password})
		return err
	}
	kind := func(err error) string {
		var refused files.ResponseError
		errors.As(err, &refused)
		return refused.Type
	}

	srv.Inject(sessiontest.Fault{Status: 503, Times: 100})
	assert.Error(t, logIn("secret"))
	assert.Len(t, srv.Requests(), 4, "it posts a failing login four times")

	srv = sessiontest.NewServer(sessiontest.User{Username: "alice", Password: "secret"})
	defer srv.Close()
	c = sdk.Client{Config: config(srv, "")}
	srv.SetLockOut(2, time.Hour)
	for range 2 {
		assert.Equal(t, "not-authenticated/invalid-username-or-password", kind(logIn("guess")))
	}
	assert.Equal(t, "not-authenticated/locked-out", kind(logIn("secret")))
	srv.Advance(time.Hour)
	srv.MoveTo("mysite.files.com", sessiontest.Region401JSON)
	assert.Equal(t, "not-authenticated/lockout-region-mismatch", kind(logIn("secret")))
	srv.MoveTo("", "")
	srv.SetRecording(sessiontest.Recording2021)
	assert.Equal(t, "bad-request/invalid-username-or-password", kind(logIn("guess")))
	assert.NoError(t, logIn("secret"))
	assert.Equal(t, 1, srv.Counts().Live)
}

// The defects of section 8 of the contract show against our faults.
func TestTheOfficialSDKFailsAsTheContractSays(t *testing.T) {
	alice := sessiontest.User{Username: "alice", Password: "secret"}
	start := func(u sessiontest.User) *sessiontest.Server {
		srv := sessiontest.NewServer(u)
		t.Cleanup(srv.Close)
		return srv
	}
	logIn := func(srv *sessiontest.Server, password string, faults ...sessiontest.Fault) (files.Session, error) {
		for _, f := range faults {
			srv.Inject(f)
		}
		c := sdk.Client{Config: config(srv, "")}
		return c.Create(files.SessionCreateParams{Username: "alice", Password: password})
	}

	srv := start(alice)
	_, err := logIn(srv, "secret", sessiontest.Fault{Reset: true, Times: 9})
	assert.Error(t, err)
	assert.Len(t, srv.Requests(), 4, "a login is posted again after a reset")

	for _, empty := range []sessiontest.Fault{{Status: 201, Body: "{}"}, {Status: 204}} {
		s, err := logIn(start(alice), "secret", empty)
		assert.NoError(t, err)
		assert.Empty(t, s.Id, "a success without a session is none")
	}
	_, err = logIn(start(alice), "secret", sessiontest.Fault{Body: sessiontest.EdgeHTML})
	assert.EqualError(t, err, "invalid character '<' looking for beginning of value")

	srv = start(sessiontest.User{Username: "alice", Password: "secret", Session: map[string]any{"id": 7}})
	_, err = logIn(srv, "secret")
	assert.ErrorContains(t, err, "cannot unmarshal number")
	assert.Equal(t, []string{"7"}, srv.Sessions(), "a live session is lost")

	srv = start(alice)
	srv.SetRecording(sessiontest.Recording2021)
	s, err := logIn(srv, "secret")
	require.NoError(t, err)
	assert.Panics(t, func() { (&sdk.Client{Config: config(srv, s.Id)}).Delete() }, "a log-out that is answered")

	for _, code := range []any{7.5, true, []any{1}, map[string]any{}} {
		assert.Panics(t, func() { logIn(start(alice), "guess", sessiontest.Fault{HTTPCode: code}) })
	}

	srv, home := start(alice), start(alice)
	_, err = logIn(srv, "secret", sessiontest.Fault{Status: 307, Header: http.Header{"Location": {home.URL + "/api/rest/v1/sessions"}}})
	assert.NoError(t, err)
	assert.Equal(t, 1, home.Counts().Logins, "the password went along with the redirect")

	srv.MoveTo(home.URL, sessiontest.Region403Text)
	_, err = logIn(srv, "secret")
	var refused files.ResponseError
	assert.False(t, errors.As(err, &refused), "form c has no type")
}

func TestCurlBehavesAsTheContractSays(t *testing.T) {
	path := program(t, "curl")
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: "secret"})
	defer srv.Close()
	curl := func(args ...string) string {
		out, err := exec.CommandContext(t.Context(), path, append([]string{"-s", "-w", "\n%{http_code} %{content_type}"}, args...)...).CombinedOutput()
		require.NoError(t, err, "%s", out)
		return string(out)
	}
	sessions := srv.URL + "/api/rest/v1/sessions"
	assert.Regexp(t, `"type":"not-authenticated/invalid-username-or-password"}\n401 application/json$`, curl("-d", "username=alice&password=guess", sessions))
	assert.Regexp(t, `"type":"not-authenticated/invalid-credentials"}\n401 application/json$`, curl("-X", "DELETE", sessions))
	assert.Regexp(t, `"id":"[0-9a-f]{40}".*\n201 application/json$`, curl("-H", "Content-Type: application/json", "-d", `{"username":"alice","password":"secret"}`, sessions))
	auth := "X-FilesAPI-Auth: " + srv.Sessions()[0]
	assert.Equal(t, "[]\n200 application/json", curl("-H", auth, srv.URL+"/api/rest/v1/folders/"))
	assert.Equal(t, "\n204 ", curl("-X", "DELETE", "-H", auth, sessions))
	assert.Equal(t, sessiontest.Counts{Logins: 1, Refused: 1, Logouts: 1}, srv.Counts(), "%v", srv)
}
