package sessiontest_test

import (
	"encoding/base32"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/filescom/session/sessiontest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const good, wrong = "username=alice&password=secret", "username=alice&password=guess"

func kind(r result) string { k, _ := r.body["type"].(string); return k }

func TestAUserIsLockedOutForAPeriod(t *testing.T) {
	t.Parallel()
	srv := newServer(t, alice, sessiontest.User{Username: "bob", Password: "secret"})
	srv.SetLockOut(3, time.Hour)
	logIn(t, srv, wrong)
	logIn(t, srv, wrong)
	assert.Equal(t, 201, logIn(t, srv, good).status, "this resets the count")
	for range 3 {
		assert.Equal(t, "not-authenticated/invalid-username-or-password", kind(logIn(t, srv, wrong)))
	}
	locked := logIn(t, srv, good)
	assert.Equal(t, 401, locked.status)
	assert.Equal(t, "not-authenticated/locked-out", kind(locked))
	assert.Equal(t, 201, logIn(t, srv, "username=bob&password=secret").status, "another user is not locked out")
	srv.Advance(time.Hour)
	assert.Equal(t, 201, logIn(t, srv, good).status)
}

func TestWrongCodesLockOutToo(t *testing.T) {
	t.Parallel()
	srv := newServer(t, sessiontest.User{Username: "alice", Password: "secret", OTP: "123456"})
	srv.SetLockOut(2, time.Hour)
	for range 2 {
		assert.Equal(t, "not-authenticated/one-time-password-incorrect", kind(logIn(t, srv, good+"&otp=1")))
	}
	assert.Equal(t, "not-authenticated/locked-out", kind(logIn(t, srv, good+"&otp=123456")))
}

func TestSessionsLiveAsLongAsSet(t *testing.T) {
	t.Parallel()
	srv := newServer(t, alice)
	srv.SetSliding(false)
	srv.SetLifetime(time.Minute)
	body := logIn(t, srv, good).body
	until, err := time.Parse(time.RFC3339, body["timeout_at"].(string))
	require.NoError(t, err)
	assert.WithinDuration(t, time.Now().Add(time.Minute), until, 5*time.Second)
	id := body["id"].(string)
	srv.Advance(59 * time.Second)
	assert.Equal(t, 200, send(t, srv, "GET", "/api/rest/v1/x", "", "", id).status)
	srv.Advance(time.Second)
	assert.Equal(t, 401, send(t, srv, "GET", "/api/rest/v1/x", "", "", id).status)
	assert.Empty(t, srv.Sessions())
	assert.False(t, srv.Expire(id))
}

func TestASessionIsBoundToItsUserAgent(t *testing.T) {
	t.Parallel()
	srv := newServer(t, alice)
	srv.BindUserAgent()
	id := logIn(t, srv, good).body["id"].(string)
	req, err := http.NewRequestWithContext(t.Context(), "GET", srv.URL+"/api/rest/v1/x", nil)
	require.NoError(t, err)
	req.Header.Set("X-FilesAPI-Auth", id)
	for agent, status := range map[string]int{"Go-http-client/1.1": 200, "other/1": 401} {
		req.Header.Set("User-Agent", agent)
		resp, err := srv.Client().Do(req)
		require.NoError(t, err)
		resp.Body.Close()
		assert.Equal(t, status, resp.StatusCode)
	}
}

func TestLoginsAreLimited(t *testing.T) {
	t.Parallel()
	srv := newServer(t, alice)
	srv.SetRateLimit(2, time.Minute)
	logIn(t, srv, good)
	srv.Advance(10 * time.Second)
	logIn(t, srv, wrong)
	limited := logIn(t, srv, good)
	assert.Equal(t, 429, limited.status)
	assert.Equal(t, "rate-limited/too-many-login-attempts", kind(limited))
	assert.Equal(t, "50", limited.header.Get("Retry-After"))
	srv.Advance(50 * time.Second)
	assert.Equal(t, 201, logIn(t, srv, good).status)
	assert.Equal(t, 429, logIn(t, srv, good).status)
}

func TestARegionMismatchHasThreeForms(t *testing.T) {
	t.Parallel()
	home, srv := newServer(t, alice), newServer(t, alice)
	host := strings.TrimPrefix(home.URL, "http://")
	srv.MoveTo(home.URL, sessiontest.Region403JSON)
	a := logIn(t, srv, good)
	assert.Equal(t, 403, a.status)
	assert.Equal(t, "not-authenticated/lockout-region-mismatch", kind(a))
	assert.Equal(t, map[string]any{"host": host}, a.body["data"])
	assert.Equal(t, host, a.header.Get("X-Files-Host"))

	srv.MoveTo(home.URL, sessiontest.Region401JSON)
	b := logIn(t, srv, good)
	assert.Equal(t, 401, b.status)
	assert.Equal(t, "not-authenticated/lockout-region-mismatch", kind(b))
	assert.Equal(t, map[string]any{"host": home.URL}, b.body["data"])
	assert.Empty(t, b.header.Get("X-Files-Host"))

	srv.MoveTo("mysite.files.com", sessiontest.Region403Text)
	c := logIn(t, srv, good)
	assert.Equal(t, 403, c.status)
	assert.Equal(t, "text/plain", c.header.Get("Content-Type"))
	assert.Equal(t, "mysite.files.com", c.header.Get("X-Files-Host"))
	assert.Equal(t, "You have connected to a URL that has different security settings than those required for your site.", c.raw)

	srv.MoveTo("", "")
	assert.Equal(t, 201, logIn(t, srv, good).status)
}

func TestAnSMSIsSentOnce(t *testing.T) {
	t.Parallel()
	srv := newServer(t, sessiontest.User{Username: "alice", Password: "secret", OTP: "123456", Methods: []string{"sms"}})
	assert.Equal(t, "not-authenticated/two-factor-authentication-error", kind(logIn(t, srv, good)))
	again := logIn(t, srv, good)
	assert.Equal(t, 422, again.status)
	assert.Equal(t, "processing-failure/two-factor-authentication-code-already-sent", kind(again))
	assert.Equal(t, 1, srv.Counts().SMS)
	assert.Equal(t, 201, logIn(t, srv, good+"&otp=123456").status)
	assert.Equal(t, 401, logIn(t, srv, good).status)
	srv.Advance(10 * time.Minute)
	assert.Equal(t, 401, logIn(t, srv, good).status)
	assert.Equal(t, 3, srv.Counts().SMS)
}

func TestPartialSessionsAndCodesBySMSLastTenMinutes(t *testing.T) {
	t.Parallel()
	srv := newServer(t, sessiontest.User{Username: "alice", Password: "secret", OTP: "123456", Methods: []string{"yubi"}},
		sessiontest.User{Username: "bob", Password: "secret", OTP: "123456", Methods: []string{"sms"}})
	for wait, status := range map[time.Duration]int{10*time.Minute - time.Second: 201, 10 * time.Minute: 401} {
		partial := logIn(t, srv, good).body["data"].(map[string]any)["partial_session_id"].(string)
		logIn(t, srv, "username=bob&password=secret")
		srv.Advance(wait)
		assert.Equal(t, status, logIn(t, srv, "username=alice&otp=123456&partial_session_id="+partial).status)
		assert.Equal(t, status, logIn(t, srv, "username=bob&password=secret&otp=123456").status)
		srv.Advance(time.Hour)
	}
}

func TestACodeIsGoodOnce(t *testing.T) {
	t.Parallel()
	user := sessiontest.User{Username: "alice", Password: "secret", OTP: "123456", SingleUse: true}
	srv := newServer(t, user)
	assert.Equal(t, 201, logIn(t, srv, good+"&otp=123456").status)
	assert.Equal(t, "not-authenticated/one-time-password-incorrect", kind(logIn(t, srv, good+"&otp=123456")))
	srv.AddUser(user)
	assert.Equal(t, 201, logIn(t, srv, good+"&otp=123456").status)
}

func TestTOTPCodesFollowRFC6238(t *testing.T) {
	t.Parallel()
	secret := base32.StdEncoding.EncodeToString([]byte("12345678901234567890")) // of RFC 6238, appendix B
	srv := newServer(t, sessiontest.User{Username: "alice", Password: "secret", TOTP: secret})
	srv.Advance(time.Until(time.Unix(2000000000, 0)))
	assert.Equal(t, "279037", srv.Code("alice"))
	assert.Equal(t, "not-authenticated/two-factor-authentication-error", kind(logIn(t, srv, good)))
	old := srv.Code("alice")
	srv.Advance(30 * time.Second)
	assert.Equal(t, 201, logIn(t, srv, good+"&otp="+old).status, "a step late")
	assert.Equal(t, 401, logIn(t, srv, good+"&otp="+old).status, "good once")
	fresh := srv.Code("alice")
	assert.Equal(t, 201, logIn(t, srv, good+"&otp="+fresh).status)
	srv.Advance(30 * time.Second)
	assert.Equal(t, 401, logIn(t, srv, good+"&otp="+fresh).status)
	srv.Advance(time.Minute)
	assert.Equal(t, 401, logIn(t, srv, good+"&otp="+fresh).status, "too late")
	assert.Panics(t, func() { srv.AddUser(sessiontest.User{TOTP: "not base32!"}) })
	srv.AddUser(alice)
	assert.Panics(t, func() { srv.Code("alice") })
	assert.Panics(t, func() { srv.Code("nobody") })
}

func TestALoginMayDemandANewPasswordFirst(t *testing.T) {
	t.Parallel()
	srv := newServer(t, sessiontest.User{Username: "alice", Password: "secret", ChangePassword: true})
	change := logIn(t, srv, good)
	assert.Equal(t, 403, change.status)
	assert.Equal(t, "not-authorized/password-change-required", kind(change))
}

func TestMessagesAreTranslated(t *testing.T) {
	t.Parallel()
	srv := newServer(t, alice)
	for language, message := range map[string]string{
		"":                "Invalid username or password",
		"fr":              "Invalid username or password",
		"de-AT, de;q=0.9": "Ungültiger Benutzername oder ungültiges Passwort",
	} {
		req, err := http.NewRequestWithContext(t.Context(), "POST", srv.URL+sessions, strings.NewReader(wrong))
		require.NoError(t, err)
		req.Header.Set("Content-Type", form)
		req.Header.Set("Accept-Language", language)
		assert.Equal(t, message, do(t, srv, req).body["error"])
	}
}

func TestTheRecordingOf2021IsFollowed(t *testing.T) {
	t.Parallel()
	srv := newServer(t, alice, sessiontest.User{Username: "bob", Password: "secret", OTP: "1", Methods: []string{"u2f"}})
	srv.SetRecording(sessiontest.Recording2021)
	refused := logIn(t, srv, wrong)
	recorded(t, "error_invalid_password_401_live_2021.json", withoutErrors(refused))
	assert.Equal(t, "nginx", refused.header.Get("Server"))
	assert.Regexp(t, "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", refused.body["instance"])
	assert.Equal(t, refused.body["instance"], refused.header.Get("X-Request-Id"))
	item := refused.body["errors"].([]any)[0].(map[string]any)
	assert.Equal(t, "401-invalid-username-or-password", item["type"])
	assert.Empty(t, refused.header.Get("X-Files-Error-Class"))

	in := logIn(t, srv, good)
	assert.Len(t, in.body, 5)
	assert.NotContains(t, in.body, "timeout_at")
	out := send(t, srv, "DELETE", sessions, "", "", in.body["id"].(string))
	assert.Equal(t, 200, out.status)
	assert.Equal(t, "{}", out.raw)

	demand := logIn(t, srv, "username=bob&password=secret")
	assert.Contains(t, demand.body["error"], "2FA Authenication error")
	item = demand.body["errors"].([]any)[0].(map[string]any)
	assert.Equal(t, "401-two-factor-authentication-error", item["type"])
	assert.Equal(t, demand.body["data"], item["data"])
	srv.SetRecording(sessiontest.Recording2025)
	assert.NotContains(t, logIn(t, srv, wrong).body, "errors")
}

// withoutErrors removes the list of errors, since each of them holds an instance.
func withoutErrors(r result) result {
	copied := map[string]any{}
	for key, value := range r.body {
		copied[key] = value
	}
	item := copied["errors"].([]any)[0].(map[string]any)
	item["instance"] = "b338f027-2c8c-4b8c-84cd-0e5e20ce8eff"
	r.body = copied
	return r
}

func TestWatchGetsEachRequest(t *testing.T) {
	t.Parallel()
	srv := newServer(t, alice)
	var got []sessiontest.Request
	srv.Watch(func(r sessiontest.Request) { got = append(got, r) })
	logIn(t, srv, good)
	assert.Equal(t, srv.Requests(), got)
}

func TestWatchIsCalledOnceAtATimeInOrder(t *testing.T) {
	t.Parallel()
	srv := newServer(t, alice)
	var seen []sessiontest.Request
	srv.Watch(func(r sessiontest.Request) {
		seen = append(seen, r)
		assert.Equal(t, len(seen), len(srv.Requests()))
	})
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			send(t, srv, "GET", fmt.Sprint("/api/rest/v1/", i), "", "", "")
		}()
	}
	wg.Wait()
	assert.Equal(t, srv.Requests(), seen)
}

func TestEveryLoginWithoutASessionCountsAsRefused(t *testing.T) {
	t.Parallel()
	srv := newServer(t, alice)
	send(t, srv, "POST", sessions, form, "%zz", "")
	send(t, srv, "POST", sessions, "text/plain", "x", "")
	logIn(t, srv, wrong)
	assert.Equal(t, sessiontest.Counts{Refused: 3}, srv.Counts())
}
