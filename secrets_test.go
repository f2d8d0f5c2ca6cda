package session_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/filescom/session"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSecretsAreNotPrintedLoggedOrMarshalled(t *testing.T) {
	t.Parallel()
	params := session.CreateParams{Username: "alice", Password: passwordCanary, OTP: otpCanary, PartialSessionID: partialCanary}
	api := session.APIError{StatusCode: 401, Type: "not-authenticated/x", Data: json.RawMessage(`{"x":"` + partialCanary + `"}`)}
	challenge := session.TwoFactorError{Methods: []string{"totp"}, PartialSessionID: partialCanary, Err: &api}
	for _, v := range []any{params, &params, api, &api, challenge, &challenge, &session.RegionMismatchError{Host: "h", Err: &api}} {
		assertHidesSecrets(t, v)
		assertHidesSecrets(t, []any{v})
		assertHidesSecrets(t, map[string]any{"v": v})
		assertHidesSecrets(t, struct{ V any }{v})
		assertHidesSecrets(t, &struct{ V any }{v})
		assertHidesSecrets(t, fmt.Errorf("wrapped: %w", fmt.Errorf("%v, %+v, %#v", v, v, v)))
	}
	assertHidesSecrets(t, []session.CreateParams{params})
	assertHidesSecrets(t, map[string]*session.CreateParams{"v": &params})
	assertHidesSecrets(t, struct{ V session.CreateParams }{params})
	assertHidesSecrets(t, struct{ V session.TwoFactorError }{challenge})
	assertHidesSecrets(t, struct{ V session.APIError }{api})
	assertHidesSecrets(t, map[string]session.APIError{"v": api})

	// only the JSON form of a Session holds its secrets, since that is how it is stored
	s := session.Session{ID: idCanary, LoginToken: tokenCanary, AWSSecretKey: awsCanary, Username: "alice", Password: passwordCanary, OTP: otpCanary, PartialSessionID: partialCanary,
		Raw: json.RawMessage(`{"id":"` + idCanary + `"}`), BaseURL: "https://" + passwordCanary + "@app.files.com", TimeoutAt: time.Unix(1, 0)}
	for _, v := range []any{s, &s, []session.Session{s}, []*session.Session{&s}, map[string]session.Session{"v": s}, struct{ V session.Session }{s}, &struct{ V *session.Session }{&s}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%.9v"} {
			assertNoSecret(t, fmt.Sprintf(verb, v))
		}
	}
	assertHidesSecrets(t, struct{ V slog.LogValuer }{logOnly{s}})
}

// logOnly logs a session. Its JSON form is empty.
type logOnly struct{ s session.Session }

func (l logOnly) LogValue() slog.Value         { return slog.AnyValue(l.s) }
func (l logOnly) MarshalJSON() ([]byte, error) { return []byte("{}"), nil }
func (l logOnly) Format(f fmt.State, _ rune)   { fmt.Fprint(f, l.s, &l.s) }

func TestASessionIsLoggedWithoutSecrets(t *testing.T) {
	t.Parallel()
	s := session.Session{ID: idCanary, LoginToken: tokenCanary, AWSSecretKey: awsCanary, Raw: json.RawMessage(idCanary), BaseURL: "https://app.files.com", TimeoutAt: time.Unix(1, 0).UTC()}
	for _, v := range []any{s, &s} {
		assertHidesSecrets(t, logOnly{s})
		value := slog.AnyValue(v).Resolve()
		assert.Equal(t, "[base_url=https://app.files.com timeout_at=1970-01-01 00:00:01 +0000 UTC]", value.String())
	}
}

func TestPrintedFormsShowNoSecret(t *testing.T) {
	t.Parallel()
	s := session.Session{ID: idCanary, BaseURL: "https://app.files.com", TimeoutAt: time.Unix(1, 0).UTC()}
	assert.Equal(t, `Session{ID: [redacted], BaseURL: "https://app.files.com", TimeoutAt: 1970-01-01T00:00:01Z}`, fmt.Sprint(s))
	assert.Equal(t, `Session{ID: none, BaseURL: ""}`, fmt.Sprint(&session.Session{}))
	assert.Equal(t, `CreateParams{Username: "alice"}`,
		fmt.Sprintf("%+v", session.CreateParams{Username: "alice", Password: "p", PartialSessionID: "s"}))
	text, err := json.Marshal(session.CreateParams{Username: "alice", OTP: "1"})
	require.NoError(t, err)
	assert.Equal(t, `"CreateParams{Username: \"alice\"}"`, string(text))
	api := &session.APIError{StatusCode: 503}
	assert.Equal(t, "session: 503 Service Unavailable", api.Error())
	assert.Equal(t, `"session: 503 Service Unavailable"`, fmt.Sprintf("%q", api))
	assert.Equal(t, "session: a second factor is required; log in again with a code", (&session.TwoFactorError{}).Error())
	assert.Equal(t, "session: the site is served from another host; ask Files.com for its base URL", (&session.RegionMismatchError{}).Error())
	assert.Equal(t, `session: 503 Service Unavailable: the site is served from h; use its base URL, or WithTrustedHosts("h")`,
		(&session.RegionMismatchError{Host: "h", Err: api}).Error())
	assert.Equal(t, "session: 429 Too Many Requests: try again in 1m0s", (&session.APIError{StatusCode: 429, RetryAfter: time.Minute}).Error())
	assert.Equal(t, "session: 429 Too Many Requests: try again later; the server does not say when", (&session.APIError{StatusCode: 429}).Error())
}

func TestAllFieldsOfASessionExceptSecretsArePrinted(t *testing.T) {
	t.Parallel()
	size := int64(7)
	s := session.Session{ID: idCanary, LoginToken: tokenCanary, AWSSecretKey: awsCanary, Password: passwordCanary, OTP: otpCanary, PartialSessionID: partialCanary,
		Raw: json.RawMessage(`"` + idCanary + `"`), Username: "alice", RootPath: "/a", ReadOnly: true, SiteID: &size, UserAgent: "a/1",
		BaseURL: "https://app.files.com/" + tokenCanary, TimeoutAt: time.Unix(1, 0).UTC()}
	text := fmt.Sprintf("%+v", s)
	assertNoSecret(t, text)
	var printed map[string]any
	require.NoError(t, json.Unmarshal([]byte(strings.TrimPrefix(text, "Session")), &printed))
	stored, err := json.Marshal(s)
	require.NoError(t, err)
	var want map[string]any
	require.NoError(t, json.Unmarshal(stored, &want))
	for _, secret := range []string{"id", "login_token", "aws_secret_key", "password", "otp", "partial_session_id"} {
		want[secret] = "[redacted]"
	}
	delete(want, "base_url") // it holds a path, so it is no origin
	assert.Equal(t, want, printed)
	s.TimeoutAt = time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)
	assert.Equal(t, "Session", fmt.Sprintf("%+v", s), "a time that has no JSON form")
}

// A RoundTripper of the caller may print everything that it gets, except the request
// itself.
func TestTheContextOfARequestHoldsNoSecret(t *testing.T) {
	t.Parallel()
	calls := 0
	c := newClient(t, session.WithHTTPClient(&http.Client{Timeout: time.Minute, Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		calls++
		child, cancel := context.WithCancel(r.Context())
		defer cancel()
		for _, ctx := range []context.Context{r.Context(), child} {
			assertHidesSecrets(t, ctx)
			assertHidesSecrets(t, struct{ V context.Context }{ctx})
		}
		return nil, errBroken
	})}), session.WithRetries(0))
	_, err := c.Create(t.Context(), alice)
	assert.ErrorIs(t, err, errBroken)
	assert.ErrorIs(t, c.Delete(t.Context(), &session.Session{ID: idCanary}), errBroken)
	assert.Equal(t, 2, calls)
}

func TestNilPointersPrintAndLog(t *testing.T) {
	t.Parallel()
	for _, v := range []any{(*session.Session)(nil), (*session.CreateParams)(nil), (*session.TwoFactorError)(nil), (*session.APIError)(nil)} {
		assert.Equal(t, "<nil>", fmt.Sprintf("%+v", v))
		assert.NotPanics(t, func() { slog.AnyValue(v).Resolve() })
	}
}
