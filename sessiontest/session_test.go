package sessiontest_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/filescom/session/sessiontest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestASessionThatNeedsTwoFactorSetupIsRefusedEverywhereElse(t *testing.T) {
	t.Parallel()
	srv := newServer(t, sessiontest.User{Username: "alice", Password: "secret", Session: map[string]any{"two_factor_setup_needed": true}})
	body := logIn(t, srv, good).body
	assert.Equal(t, true, body["two_factor_setup_needed"])
	id := body["id"].(string)
	for _, path := range []string{"/api/rest/v1/folders/", "/api/rest/v1/site", "/api/rest/v1/users"} {
		r := send(t, srv, "GET", path, "", "", id)
		assert.Equal(t, 403, r.status, path)
		assert.Equal(t, "not-authorized/two-factor-authentication-required", kind(r), path)
	}
	assert.Equal(t, 204, send(t, srv, "DELETE", sessions, "", "", id).status, "it may be logged out")
}

func TestAReadOnlySessionMayNotWrite(t *testing.T) {
	t.Parallel()
	srv := newServer(t, sessiontest.User{Username: "alice", Password: "secret", Session: map[string]any{"read_only": true}})
	id := logIn(t, srv, good).body["id"].(string)
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		r := send(t, srv, method, "/api/rest/v1/files/a", "", "", id)
		assert.Equal(t, 403, r.status, method)
		assert.Equal(t, "not-authorized/read-only-session", kind(r), method)
	}
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodOptions} {
		assert.Equal(t, 200, send(t, srv, method, "/api/rest/v1/files/a", "", "", id).status, method)
	}
	assert.Equal(t, 204, send(t, srv, "DELETE", sessions, "", "", id).status, "it may be logged out")
}

func TestGETSiteAnswersTheSessionWithItsTimeout(t *testing.T) {
	t.Parallel()
	srv := newServer(t, sessiontest.User{Username: "alice", Password: "secret", Session: map[string]any{"root_path": "a"}})
	in := logIn(t, srv, good).body
	site := send(t, srv, "GET", "/api/rest/v1/site", "", "", in["id"].(string))
	assert.Equal(t, 200, site.status)
	assert.Equal(t, in, site.body["session"])
	assert.NotEmpty(t, site.body["session"].(map[string]any)["timeout_at"])
	assert.Equal(t, "a", site.body["session"].(map[string]any)["root_path"])
}

// timeoutAt asks GET /site when a session ends, and returns how long that is from now
// by the server's clock.
func timeoutAt(t *testing.T, srv *sessiontest.Server, id string) time.Duration {
	t.Helper()
	site := send(t, srv, "GET", "/api/rest/v1/site", "", "", id)
	require.Equal(t, 200, site.status, site.raw)
	until, err := time.Parse(time.RFC3339, site.body["session"].(map[string]any)["timeout_at"].(string))
	require.NoError(t, err)
	return until.Sub(srv.Now()).Round(time.Minute)
}

func TestASessionEndsALifetimeAfterItsLastRequest(t *testing.T) {
	t.Parallel()
	srv := newServer(t, alice)
	id := logIn(t, srv, good).body["id"].(string)
	srv.SetLifetime(time.Minute) // of later sessions
	for range 3 {
		srv.Advance(5 * time.Hour)
		assert.Equal(t, 200, send(t, srv, "GET", "/api/rest/v1/folders/", "", "", id).status)
	}
	srv.Advance(5 * time.Hour)
	assert.Equal(t, 6*time.Hour, timeoutAt(t, srv, id), "the question itself is a request")
	srv.Advance(6 * time.Hour)
	assert.Equal(t, 401, send(t, srv, "GET", "/api/rest/v1/site", "", "", id).status)
}

func TestTheEndOfASessionDoesNotMoveUnlessSessionsSlide(t *testing.T) {
	t.Parallel()
	srv := newServer(t, alice)
	id := logIn(t, srv, good).body["id"].(string)
	srv.Advance(time.Hour)
	assert.Equal(t, 6*time.Hour, timeoutAt(t, srv, id))
	srv.SetSliding(false)
	srv.Reset()
	id = logIn(t, srv, good).body["id"].(string)
	srv.Advance(time.Hour)
	assert.Equal(t, 5*time.Hour, timeoutAt(t, srv, id), "Reset keeps the setting")
	srv.SetSliding(true)
	assert.Equal(t, 6*time.Hour, timeoutAt(t, srv, id), "it holds for live sessions too")
	srv.SetSliding(false)
	srv.Advance(time.Hour)
	assert.Equal(t, 5*time.Hour, timeoutAt(t, srv, id), "an end that has moved stays")
}

func TestOnlyARequestThatTheServerAcceptsMovesTheEnd(t *testing.T) {
	t.Parallel()
	for _, h := range []http.Handler{nil, http.NotFoundHandler()} {
		srv := newServer(t, sessiontest.User{Username: "alice", Password: "secret", Session: map[string]any{"read_only": true}})
		srv.Handler = h
		srv.BindUserAgent()
		id := logIn(t, srv, good).body["id"].(string)
		srv.Advance(time.Hour)
		srv.Inject(sessiontest.Fault{Path: "/api/rest/v1/x", Status: 503})
		for method, path := range map[string]string{http.MethodGet: "/api/rest/v1/x", http.MethodPut: "/api/rest/v1/y", http.MethodPatch: sessions} {
			assert.GreaterOrEqual(t, send(t, srv, method, path, "", "", id).status, 400, path)
		}
		if h == nil {
			assert.Equal(t, 404, send(t, srv, "GET", "/elsewhere", "", "", id).status)
		}
		req, err := http.NewRequestWithContext(t.Context(), "GET", srv.URL+"/api/rest/v1/x", nil)
		require.NoError(t, err)
		req.Header = http.Header{"X-Filesapi-Auth": {id}, "User-Agent": {"other/1"}}
		assert.Equal(t, 401, do(t, srv, req).status)
		srv.SetSliding(false) // so that the question moves nothing either
		assert.Equal(t, 5*time.Hour, timeoutAt(t, srv, id))
	}
}

func TestARequestThatTakesEffectMovesTheEndWhateverTheFault(t *testing.T) {
	t.Parallel()
	for _, h := range []http.Handler{nil, http.NotFoundHandler()} {
		srv := newServer(t, alice)
		srv.Handler = h
		id := logIn(t, srv, good).body["id"].(string)
		srv.Advance(time.Hour)
		srv.Inject(sessiontest.Fault{Status: 502, After: true})
		assert.Equal(t, 502, send(t, srv, "GET", "/api/rest/v1/x", "", "", id).status)
		srv.SetSliding(false)
		assert.Equal(t, 6*time.Hour, timeoutAt(t, srv, id))
	}
}

func TestADeadSessionIsRefusedAtEveryPath(t *testing.T) {
	t.Parallel()
	for _, h := range []http.Handler{nil, http.NotFoundHandler()} {
		srv := newServer(t, alice)
		srv.Handler = h
		out := logIn(t, srv, good).body["id"].(string)
		send(t, srv, "DELETE", sessions, "", "", out)
		over := logIn(t, srv, good).body["id"].(string)
		srv.Advance(6 * time.Hour)
		expired := logIn(t, srv, good).body["id"].(string)
		srv.Expire(expired)
		for _, id := range []string{out, over, expired, "unknown"} {
			for _, path := range []string{"/", "/elsewhere", "/api/rest/v1/site", "/api/rest/v1/files/a", sessions} {
				r := send(t, srv, "GET", path, "", "", id)
				assert.Equal(t, 401, r.status, path)
				assert.Equal(t, "not-authenticated/invalid-credentials", kind(r), path)
			}
		}
		assert.Equal(t, 404, send(t, srv, "GET", "/elsewhere", "", "", "").status, "no session")
	}
}

func TestTimeoutAtHasAnotherOffsetThanTheProcess(t *testing.T) {
	t.Parallel()
	srv := newServer(t, alice)
	text := logIn(t, srv, good).body["timeout_at"].(string)
	until, err := time.Parse(time.RFC3339, text)
	require.NoError(t, err)
	assert.WithinDuration(t, time.Now().Add(6*time.Hour), until, 5*time.Second)
	_, offset := until.Zone()
	_, local := until.Local().Zone()
	assert.NotEqual(t, local, offset)
	assert.Regexp(t, "-0[45]:00$", text)
}

func TestTriesCountTowardsALockOutWithinAWindow(t *testing.T) {
	t.Parallel()
	srv := newServer(t, alice)
	srv.SetLockOut(3, time.Hour)
	srv.SetLockOutWindow(time.Minute)
	for range 5 { // the first of any three tries is a minute old
		assert.Equal(t, "not-authenticated/invalid-username-or-password", kind(logIn(t, srv, wrong)))
		srv.Advance(30 * time.Second)
	}
	for range 2 {
		logIn(t, srv, wrong)
	}
	assert.Equal(t, "not-authenticated/locked-out", kind(logIn(t, srv, good)))
	assert.Contains(t, srv.Requests()[7].Reason, "user alice is locked out for another ")
}

func TestTheClockMayMoveBack(t *testing.T) {
	t.Parallel()
	srv := newServer(t, alice)
	srv.SetRateLimit(1, time.Minute)
	srv.SetLockOut(2, time.Hour)
	id := logIn(t, srv, good).body["id"].(string)
	srv.Advance(-24 * time.Hour)
	assert.Equal(t, []string{id}, srv.Sessions())
	assert.Equal(t, 201, logIn(t, srv, good).status, "logins that are yet to come count towards no limit")
	srv.Advance(24*time.Hour + time.Minute)
	assert.Len(t, srv.Sessions(), 1, "the one of yesterday has timed out")
}

func TestTheClockStaysWithinAHundredYears(t *testing.T) {
	t.Parallel()
	srv := newServer(t, alice)
	for _, d := range []time.Duration{1<<63 - 1, 1<<63 - 1, -1 << 63, -1 << 63} {
		srv.Advance(d)
		assert.InDelta(t, time.Now().Year(), srv.Now().Year(), 101)
		assert.Equal(t, 201, logIn(t, srv, good).status)
	}
}

func TestExpireUserEndsTheSessionsOfAUser(t *testing.T) {
	t.Parallel()
	srv := newServer(t, alice, sessiontest.User{Username: "bob", Password: "secret"})
	for range 3 {
		logIn(t, srv, good)
	}
	logIn(t, srv, "username=bob&password=secret")
	assert.Equal(t, map[string]int{"alice": 3, "bob": 1}, srv.LiveByUser())
	assert.Equal(t, 3, srv.ExpireUser("alice"))
	assert.Equal(t, 0, srv.ExpireUser("alice"))
	assert.Equal(t, 0, srv.ExpireUser("nobody"))
	assert.Equal(t, map[string]int{"bob": 1}, srv.LiveByUser())
}

func TestResetForgetsThePastAndKeepsTheSettings(t *testing.T) {
	t.Parallel()
	srv := newServer(t, alice)
	srv.SetLockOut(2, time.Hour)
	srv.AddUser(sessiontest.User{Username: "bob", Password: "secret"})
	id := logIn(t, srv, good).body["id"].(string)
	logIn(t, srv, wrong)
	srv.Inject(sessiontest.Fault{Status: 503, Times: -1})
	srv.Advance(time.Hour)
	srv.Reset()

	assert.Zero(t, srv.Counts())
	assert.Empty(t, srv.Requests())
	assert.Empty(t, srv.Sessions())
	assert.WithinDuration(t, time.Now(), srv.Now(), time.Minute)
	assert.Equal(t, 401, send(t, srv, "GET", "/api/rest/v1/site", "", "", id).status)
	assert.Equal(t, 401, logIn(t, srv, "username=bob&password=secret").status)
	logIn(t, srv, wrong)
	assert.Equal(t, 201, logIn(t, srv, good).status, "the try before does not count")
	logIn(t, srv, wrong)
	logIn(t, srv, wrong)
	assert.Equal(t, "not-authenticated/locked-out", kind(logIn(t, srv, good)), "the lock-out is still set")
}

func TestANewSessionMayReuseTheIDOfASessionThatWasLoggedOut(t *testing.T) {
	t.Parallel()
	srv := newServer(t, sessiontest.User{Username: "alice", Password: "secret", Session: map[string]any{"id": 12345678901.0}})
	for range 2 {
		assert.Equal(t, 201, logIn(t, srv, good).status)
		assert.Equal(t, []string{"12345678901"}, srv.Sessions())
		assert.Equal(t, 204, send(t, srv, "DELETE", sessions, "", "", "12345678901").status)
	}
}

func TestUnknownRecordingsAndRegionFormsAreRefused(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	assert.PanicsWithValue(t, `sessiontest: "d" is not a RegionForm; use Region403JSON, Region401JSON or Region403Text`,
		func() { srv.MoveTo("mysite.files.com", "d") })
	assert.PanicsWithValue(t, `sessiontest: "2022" is not a Recording; use Recording2025 or Recording2021`,
		func() { srv.SetRecording("2022") })
}
