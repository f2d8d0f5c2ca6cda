package sessiontest_test

import (
	"encoding/base32"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/filescom/session/sessiontest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// shape replaces each string, so that two values can be compared by their shape.
func shape(v any) any {
	switch v := v.(type) {
	case string:
		return ""
	case []any:
		items := []any{}
		for _, item := range v {
			items = append(items, shape(item))
		}
		return items
	case map[string]any:
		members := map[string]any{}
		for name, value := range v {
			members[name] = shape(value)
		}
		return members
	}
	return v
}

func TestAU2FDemandHasItsSignRequestsAsCaptured(t *testing.T) {
	t.Parallel()
	srv := newServer(t, sessiontest.User{Username: "alice", Password: "secret", OTP: "c", Methods: []string{"u2f"}})
	data, err := os.ReadFile("../testdata/error_2fa_u2f_401_captured_2021.json")
	require.NoError(t, err)
	var captured map[string]any
	require.NoError(t, json.Unmarshal(data, &captured))

	srv.SetRecording(sessiontest.Recording2021)
	demand := logIn(t, srv, good)
	assert.Equal(t, shape(captured), shape(demand.body))
	assert.Equal(t, captured["error"], demand.body["error"])
	assert.Equal(t, captured["type"], demand.body["type"])
	request := demand.body["data"].(map[string]any)["u2f_sign_requests"].([]any)[0].(map[string]any)
	assert.Equal(t, srv.URL, request["app_id"])
	assert.Equal(t, "U2F_V2", request["sign_request"].(map[string]any)["version"])

	srv.SetRecording(sessiontest.Recording2025)
	assert.Equal(t, shape(captured["data"]), shape(logIn(t, srv, good).body["data"]))
}

func TestOnlyU2FHasSignRequests(t *testing.T) {
	t.Parallel()
	srv := newServer(t, sessiontest.User{Username: "alice", Password: "secret", OTP: "1", Methods: []string{"yubi", "totp"}})
	assert.NotContains(t, logIn(t, srv, good).body["data"], "u2f_sign_requests")
}

func TestACodeByEmailLastsFiveMinutes(t *testing.T) {
	t.Parallel()
	srv := newServer(t, sessiontest.User{Username: "alice", Password: "secret", OTP: "123456", Methods: []string{"email"}})
	for _, tc := range []struct {
		after  time.Duration
		status int
	}{{5*time.Minute - time.Second, 201}, {5 * time.Minute, 401}} {
		logIn(t, srv, good)
		srv.Advance(tc.after)
		assert.Equal(t, tc.status, logIn(t, srv, good+"&otp=123456").status)
		srv.Advance(time.Hour)
	}
}

func TestACodeByEmailIsGoodOnceUntilAnotherIsSent(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"email", "sms"} {
		srv := newServer(t, sessiontest.User{Username: "alice", Password: "secret", OTP: "123456", Methods: []string{method}})
		logIn(t, srv, good)
		assert.Equal(t, 201, logIn(t, srv, good+"&otp=123456").status, method)
		again := logIn(t, srv, good+"&otp=123456")
		assert.Equal(t, "not-authenticated/one-time-password-incorrect", kind(again), method)
		logIn(t, srv, good)
		assert.Equal(t, 201, logIn(t, srv, good+"&otp=123456").status, method)
	}
}

func TestALoginThatComesAgainExpectsTheEmailSentBefore(t *testing.T) {
	t.Parallel()
	srv := newServer(t, sessiontest.User{Username: "alice", Password: "secret", OTP: "123456", Methods: []string{"email"}})
	for range 3 {
		assert.Equal(t, "not-authenticated/two-factor-authentication-error", kind(logIn(t, srv, good)))
		srv.Advance(time.Minute)
	}
	assert.Equal(t, sessiontest.Counts{Refused: 3, Emails: 1}, srv.Counts())
	srv.Advance(2 * time.Minute)
	logIn(t, srv, good)
	assert.Equal(t, 2, srv.Counts().Emails)
}

func TestATOTPSecretMayComeInGroupsAndLowerCase(t *testing.T) {
	t.Parallel()
	secret := base32.StdEncoding.EncodeToString([]byte("1234567890123456")) // with padding
	plain := strings.TrimRight(secret, "=")
	grouped := plain[:4] + " " + plain[4:8] + "-" + plain[8:]
	srv := newServer(t)
	srv.Advance(time.Until(time.Unix(2000000000, 0)))
	codes := map[string]bool{}
	for _, text := range []string{secret, plain, strings.ToLower(plain), grouped, " " + strings.ToLower(grouped) + " "} {
		srv.AddUser(sessiontest.User{Username: "alice", Password: "secret", TOTP: text})
		codes[srv.Code("alice")] = true
	}
	assert.Len(t, codes, 1)
}

func TestAUserThatCouldNotLogInIsRefused(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	for name, tc := range map[string]struct {
		user  sessiontest.User
		fault string
	}{
		"no name":    {sessiontest.User{Password: "secret"}, "User.Username is empty"},
		"not base32": {sessiontest.User{Username: "alice", TOTP: "not base32!"}, "User.TOTP is not base32: it must consist of A-Z and 2-7, and may have spaces and hyphens between groups"},
		"no secret":  {sessiontest.User{Username: "alice", TOTP: " - "}, "User.TOTP is not base32: it must consist of A-Z and 2-7, and may have spaces and hyphens between groups"},
		"no JSON":    {sessiontest.User{Username: "alice", Session: map[string]any{"x": func() {}}}, "User.Session has no JSON form: json: unsupported type: func()"},
	} {
		assert.EqualError(t, tc.user.Validate(), tc.fault, name)
		assert.PanicsWithValue(t, "sessiontest: "+tc.fault, func() { srv.AddUser(tc.user) }, name)
	}
}

func TestACodeOfTOTPIsNotGoodAgainAfterTheClockMovedBack(t *testing.T) {
	t.Parallel()
	srv := newServer(t, sessiontest.User{Username: "alice", Password: "secret", TOTP: "JBSWY3DPEHPK3PXP"})
	code := srv.Code("alice")
	assert.Equal(t, 201, logIn(t, srv, good+"&otp="+code).status)
	srv.Advance(-time.Hour)
	assert.Equal(t, 401, logIn(t, srv, good+"&otp="+srv.Code("alice")).status)
	srv.Advance(time.Hour + time.Minute)
	assert.Equal(t, 201, logIn(t, srv, good+"&otp="+srv.Code("alice")).status)
}
