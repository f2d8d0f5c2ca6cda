package session_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/filescom/session"
	"github.com/filescom/session/sessiontest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestErrorsOfTheAPI(t *testing.T) {
	t.Parallel()
	sentinels := []error{session.ErrNotAuthenticated, session.ErrInvalidUsernameOrPassword, session.ErrOneTimePasswordIncorrect,
		session.ErrLockedOut, session.ErrRateLimited, session.ErrSessionEnded, session.ErrInvalidResponse, session.ErrOutcomeUnknown,
		session.ErrNotSent, session.ErrInvalidParams}
	for name, tc := range map[string]struct {
		status  int
		body    string
		header  string // X-Files-Error-Class
		kind    string
		message string
		is      []error
	}{
		"wrong password 2025": {401, payload(t, "error_invalid_password_401_live_2025.json"), "", "not-authenticated/invalid-username-or-password",
			"Invalid username or password", []error{session.ErrNotAuthenticated, session.ErrInvalidUsernameOrPassword}},
		"wrong password 2021": {401, payload(t, "error_invalid_password_401_live_2021.json"), "", "bad-request/invalid-username-or-password",
			"Invalid username or password", []error{session.ErrNotAuthenticated, session.ErrInvalidUsernameOrPassword}},
		"wrong password under 422": {422, `{"type":"bad-request/invalid-username-or-password"}`, "", "bad-request/invalid-username-or-password", "",
			[]error{session.ErrNotAuthenticated, session.ErrInvalidUsernameOrPassword}},
		"old spelling in errors alone": {401, `{"errors":[{"type":"401-invalid-username-or-password"}]}`, "", "401-invalid-username-or-password", "",
			[]error{session.ErrNotAuthenticated, session.ErrInvalidUsernameOrPassword}},
		"invalid credentials": {401, payload(t, "error_invalid_credentials_401_live_2024.json"), "", "not-authenticated/invalid-credentials",
			"The API key or Session token provided could not be used to validate this request.", []error{session.ErrNotAuthenticated, session.ErrSessionEnded}},
		"invalid credentials API1": {401, payload(t, "error_invalid_credentials_401_api1.json"), "", "not-authenticated/invalid-credentials",
			"The API key or Session token provided could not be used to validate this request. Internal Error Code: API1",
			[]error{session.ErrNotAuthenticated, session.ErrSessionEnded}},
		"old group of a dead session": {403, `{"type":"not-authorized/authentication-required"}`, "", "not-authorized/authentication-required", "",
			[]error{session.ErrNotAuthenticated, session.ErrSessionEnded}},
		"locked out": {401, `{"type":"not-authenticated/locked-out","error":"Locked"}`, "", "not-authenticated/locked-out", "Locked",
			[]error{session.ErrNotAuthenticated, session.ErrLockedOut}},
		"locked out under 403":    {403, `{"type":"not-authenticated/locked-out"}`, "", "not-authenticated/locked-out", "", []error{session.ErrNotAuthenticated, session.ErrLockedOut}},
		"wrong code":              {401, `{"type":"not-authenticated/one-time-password-incorrect"}`, "", "not-authenticated/one-time-password-incorrect", "", []error{session.ErrNotAuthenticated, session.ErrOneTimePasswordIncorrect}},
		"rate limited by type":    {403, `{"type":"rate-limited/too-many-login-attempts"}`, "", "rate-limited/too-many-login-attempts", "", []error{session.ErrRateLimited}},
		"rate limited by status":  {429, ``, "", "", "", []error{session.ErrRateLimited}},
		"401 alone":               {401, ``, "", "", "", []error{session.ErrNotAuthenticated}},
		"type of the header":      {403, `<html>`, "not-authenticated/locked-out", "not-authenticated/locked-out", "", []error{session.ErrNotAuthenticated, session.ErrLockedOut}},
		"bad type, good header":   {403, `{"type":"Not A Type"}`, "not-authenticated/locked-out", "not-authenticated/locked-out", "", []error{session.ErrNotAuthenticated, session.ErrLockedOut}},
		"bad type, bad header":    {403, `{"type":7}`, "No Type", "", "", nil},
		"no slash":                {404, payload(t, "error_not_found_404_slashless_type.json"), "", "not-found", "Not Found.  This may be related to your permissions.", nil},
		"model save":              {422, payload(t, "error_model_save_422_captured_2021.json"), "", "processing-failure/model-save-error", "Hidden reason can't be blank", nil},
		"destination exists":      {422, payload(t, "error_destination_exists_422_live_2022.json"), "", "processing-failure/destination-exists", "The destination exists.", nil},
		"bad request":             {400, payload(t, "error_bad_request_400_live_2023.json"), "", "bad-request/datetime-parse", "provided_mtime must contain valid date and time", nil},
		"catch-all":               {500, payload(t, "error_500_catchall.json"), "", "", "Internal server error, please contact support or the person who created your account.", []error{session.ErrOutcomeUnknown}},
		"2016":                    {500, payload(t, "error_500_legacy_2016.json"), "", "", "xxxxxxxx", []error{session.ErrOutcomeUnknown}},
		"empty array":             {422, payload(t, "legacy_2016_empty_array_422.json"), "", "", "", nil},
		"mock":                    {400, payload(t, "mock_missing_param_400.json"), "", "", "username is missing", nil},
		"HTML":                    {502, payload(t, "html_502.html"), "", "", "", []error{session.ErrOutcomeUnknown}},
		"text":                    {404, `404 Not Found`, "", "", "", nil},
		"null":                    {400, `null`, "", "", "", nil},
		"number":                  {400, `7`, "", "", "", nil},
		"empty 405":               {405, ``, "", "", "", nil},
		"http-code bool":          {403, `{"type":"not-authenticated/locked-out","http-code":true}`, "", "not-authenticated/locked-out", "", []error{session.ErrNotAuthenticated, session.ErrLockedOut}},
		"http-code object":        {403, `{"http-code":{"a":[1]},"type":"not-authenticated/locked-out"}`, "", "not-authenticated/locked-out", "", []error{session.ErrNotAuthenticated, session.ErrLockedOut}},
		"http-code lies":          {401, `{"http-code":200,"type":"not-authenticated/locked-out"}`, "", "not-authenticated/locked-out", "", []error{session.ErrNotAuthenticated, session.ErrLockedOut}},
		"data list":               {403, `{"data":[],"type":"not-authenticated/locked-out"}`, "", "not-authenticated/locked-out", "", []error{session.ErrNotAuthenticated, session.ErrLockedOut}},
		"errors of strings":       {403, `{"errors":["a","b"],"type":"not-authenticated/locked-out"}`, "", "not-authenticated/locked-out", "", []error{session.ErrNotAuthenticated, session.ErrLockedOut}},
		"errors not a list":       {403, `{"errors":"a","type":"not-authenticated/locked-out","error":["x"],"title":1,"instance":{}}`, "", "not-authenticated/locked-out", "", []error{session.ErrNotAuthenticated, session.ErrLockedOut}},
		"mismatch is no refusal":  {401, payload(t, "error_region_mismatch_401.json"), "", "not-authenticated/lockout-region-mismatch", "Your account must login using a different server, https://test.host.", nil},
		"mismatch under 422":      {422, `{"type":"not-authenticated/lockout-region-mismatch"}`, "", "not-authenticated/lockout-region-mismatch", "", nil},
		"too large, header type":  {403, `{"x":"` + strings.Repeat("x", 64<<10) + `"}`, "not-authenticated/locked-out", "not-authenticated/locked-out", "", []error{session.ErrNotAuthenticated, session.ErrLockedOut}},
		"second factor, no list":  {401, `{"type":"401-two-factor-authentication-error","data":"x"}`, "", "401-two-factor-authentication-error", "", []error{session.ErrNotAuthenticated}},
		"names alone, 2021":       {400, `{"type":"401-locked-out"}`, "", "401-locked-out", "", []error{session.ErrNotAuthenticated, session.ErrLockedOut}},
		"names alone, code":       {400, `{"type":"bad-request/one-time-password-incorrect"}`, "", "bad-request/one-time-password-incorrect", "", []error{session.ErrNotAuthenticated, session.ErrOneTimePasswordIncorrect}},
		"second factor under 400": {400, `{"errors":[{"type":"401-two-factor-authentication-error"}]}`, "", "401-two-factor-authentication-error", "", []error{session.ErrNotAuthenticated}},
		"service unavailable":     {503, ``, "", "", "", []error{session.ErrOutcomeUnknown}},
		"long type":               {403, `{"type":"` + strings.Repeat("a", 129) + `"}`, "", "", "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := answer(t, tc.status, tc.body, "X-Files-Error-Class", tc.header, "X-Request-Id", "req-7")
			_, err := client(t, srv).Create(t.Context(), alice)
			api := apiError(t, err)
			assert.Equal(t, tc.status, api.StatusCode)
			assert.Equal(t, tc.kind, api.Type)
			assert.Equal(t, tc.message, api.Message)
			assert.NotEmpty(t, api.Instance)
			for _, sentinel := range sentinels {
				want := slices.Contains(tc.is, sentinel) && sentinel != session.ErrSessionEnded // an error of a login never matches it
				assert.Equal(t, want, errors.Is(err, sentinel), "%v", sentinel)
			}
			assert.Contains(t, err.Error(), fmt.Sprint(tc.status))
			assertHidesSecrets(t, err)
			assert.Len(t, srv.seen(), 1)

			// the caller's own calls get the same error
			req, err := http.NewRequest("GET", srv.URL+"/api/rest/v1/folders", nil)
			require.NoError(t, err)
			req.Header.Set(session.AuthHeader, idCanary)
			resp, err := srv.Client().Do(req)
			require.NoError(t, err)
			defer resp.Body.Close()
			err = session.CheckResponse(resp)
			assert.Equal(t, tc.kind, apiError(t, err).Type)
			for _, sentinel := range sentinels {
				assert.Equal(t, slices.Contains(tc.is, sentinel), errors.Is(err, sentinel), "%v", sentinel)
			}
			assertHidesSecrets(t, err)
			again, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			assert.Equal(t, tc.body, string(again))
		})
	}
}

func TestServerTextsAreCleaned(t *testing.T) {
	t.Parallel()
	echo := func(text string) string { data, _ := json.Marshal(text); return string(data) }
	for name, tc := range map[string]struct{ sent, shown string }{
		"controls":       {"a\x1b[31mb\r\nc\x7f\u0085", "a[31mbc"},
		"long":           {strings.Repeat("ü", 200), strings.Repeat("ü", 128)},
		"cut rune":       {"a" + strings.Repeat("ü", 200), "a" + strings.Repeat("ü", 127)},
		"password":       {"wrong: " + passwordCanary, "[redacted]"},
		"escaped":        {"wrong: password=" + url.QueryEscape(passwordCanary), "[redacted]"},
		"code":           {otpCanary, "[redacted]"},
		"partial":        {"x" + partialCanary, "[redacted]"},
		"under controls": {strings.ReplaceAll(partialCanary, "/", "\x00/"), "[redacted]"},
		"across the cut": {strings.Repeat("x", 250) + passwordCanary, "[redacted]"},
		"nothing":        {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := answer(t, 422, `{"type":"bad-request/x","title":`+echo(tc.sent)+`,"error":`+echo(tc.sent)+`,"instance":`+echo(tc.sent)+`}`)
			_, err := client(t, srv).Create(t.Context(), session.CreateParams{Username: "alice", Password: passwordCanary, OTP: otpCanary, PartialSessionID: partialCanary})
			api := apiError(t, err)
			assert.Equal(t, []string{tc.shown, tc.shown, tc.shown}, []string{api.Title, api.Message, api.Instance})
			assertHidesSecrets(t, err)
		})
	}
}

func TestASecretWithControlCharactersIsRedacted(t *testing.T) {
	t.Parallel()
	srv := answer(t, 422, `{"error":"hun\u0007ter2"}`)
	_, err := client(t, srv).Create(t.Context(), session.CreateParams{Username: "alice", Password: "hun\ater2"})
	assert.Equal(t, "[redacted]", apiError(t, err).Message)
}

func TestEscapesOfASecretAreRedactedInEitherCase(t *testing.T) {
	t.Parallel()
	for name, echo := range map[string]string{
		"form":                    "pass+word%2Bcanary%261",
		"form, lower case":        "pass+word%2bcanary%261",
		"path":                    "pass%20word+canary&1",
		"query":                   "pass%20word%2Bcanary%261",
		"upper case":              "PASS WORD+CANARY&1",
		"HTML":                    "pass word+canary&amp;1",
		"HTML, by number":         "pass&#32;word&#x2b;canary&#38;1",
		"JSON":                    `pass word+canary\u00261`,
		"JSON, all of it":         `\u0070\u0061\u0073\u0073 word\u002Bcanary\u00261`,
		"form in a form":          "pass%2Bword%252Bcanary%25261",
		"HTML in JSON":            `pass word+canary\u0026amp;1`,
		"form in HTML":            "pass&#37;20word&#37;2Bcanary&#37;261",
		"a % before it":           "%pass word+canary&1",
		"broken escapes about it": "%zz pass word%2Bcanary&1 \\u00 &#",
	} {
		err := refused(t, 422, `{"error":`+jsonString("cannot parse "+echo)+`}`, http.Header{})
		assert.Equal(t, "[redacted]", apiError(t, err).Message, name)
	}
}

// A character before or after a secret can make an escape of a part of it.
func TestASecretThatItsNeighboursHideIsRedacted(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ password, message string }{
		{password: "123456", message: "Invalid code: 123456\nTry again"},
		{password: "hunter2", message: "\tpassword:\thunter2\n\tinterface: x"},
		{password: `Passw0rd1\`, message: `password "Passw0rd1\" is wrong`},
		{password: `bluebird99`, message: `no user CORP\bluebird99`},
		{password: `nopassword`, message: `no user CORP\nopassword`},
		{password: "Passw0rd1%", message: "bad Passw0rd1%20x"},
		{password: "Passw0rd1&l", message: "bad Passw0rd1&lt"},
	} {
		srv := answer(t, 422, `{"error":`+jsonString(tc.message)+`}`)
		_, err := client(t, srv).Create(t.Context(), session.CreateParams{Username: "alice", Password: tc.password})
		assert.Equal(t, "[redacted]", apiError(t, err).Message, tc.message)
	}
}

// "%87" is an escape in a form.
func TestAnIDAfterAPercentSignIsRedacted(t *testing.T) {
	t.Parallel()
	const id = "87828d660ada5ee2951d00f46a871d602512b617"
	for _, before := range []string{"%", "&#", "&#x", `\u00`, `\`} {
		srv := answer(t, 403, `{"error":`+jsonString("bad session "+before+id)+`}`)
		err := client(t, srv).Delete(t.Context(), &session.Session{ID: id})
		assert.Equal(t, "[redacted]", apiError(t, err).Message, before)
	}
}

func TestASecretThatLooksEscapedIsRedacted(t *testing.T) {
	t.Parallel()
	for _, password := range []string{"100%41bcdefg", "a&amp;bcdefgh", `a\u0041bcdef`, "a+b c%20d%2e", `"quoted\\"`} {
		for _, echo := range []string{password, url.QueryEscape(password), html.EscapeString(password), jsonString(password)} {
			srv := answer(t, 422, `{"error":`+jsonString("cannot parse "+echo)+`}`)
			_, err := client(t, srv).Create(t.Context(), session.CreateParams{Username: "alice", Password: password})
			assert.Equal(t, "[redacted]", apiError(t, err).Message, "%s as %s", password, echo)
		}
	}
}

func TestAShortSecretHidesOnlyTheTextWhereItStandsAlone(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ password, otp, message, want string }{
		{password: "secret", otp: "1", message: "instance 7f1a1", want: "instance 7f1a1"},
		{password: "a", otp: "123456", message: "a password is wrong", want: "[redacted]"},
		{password: "a", otp: "123456", message: "password is wrong", want: "password is wrong"},
		{password: "secret", otp: "123456", message: "code 123456 is wrong", want: "[redacted]"},
		{password: "secret", otp: "123456", message: "request 91234567", want: "request 91234567"},
		{password: "secret", otp: "123456", message: "12345612345 123456", want: "[redacted]"},
		{password: "ü", otp: "1", message: "müde", want: "müde"},
		{password: "a+b", otp: "1", message: "password=a%2bb", want: "[redacted]"},
		{password: "12345678", otp: "1", message: "request 9123456789", want: "[redacted]"},
		{password: "secret", otp: "1", message: "instance 8d11", want: "instance 8d11"},
		{password: "secret\n", otp: "12345678\n", message: "instance x12345678x", want: "[redacted]"},
		{password: "sec\aret", otp: "1", message: "password secret", want: "[redacted]"},
	} {
		srv := answer(t, 422, `{"error":`+jsonString(tc.message)+`}`)
		_, err := client(t, srv).Create(t.Context(), session.CreateParams{Username: "alice", Password: tc.password, OTP: tc.otp})
		assert.Equal(t, tc.want, apiError(t, err).Message, "%+v", tc)
	}
}

func TestALoginTokenIsRedacted(t *testing.T) {
	t.Parallel()
	srv := answer(t, 422, `{"error":"`+tokenCanary+`"}`)
	err := client(t, srv).Delete(t.Context(), &session.Session{ID: idCanary, LoginToken: tokenCanary})
	assert.Equal(t, "[redacted]", apiError(t, err).Message)
}

func TestARateLimitSaysWhenToTryAgain(t *testing.T) {
	t.Parallel()
	err := refused(t, 429, `{"type":"rate-limited/too-many-login-attempts","error":"Slow down."}`, http.Header{"Retry-After": {"90"}})
	assert.EqualError(t, err, "session: log in at app.files.com: 429 rate-limited/too-many-login-attempts: Slow down: try again in 1m30s")
}

func TestAPasswordThatIsAWordOfTheAPIDoesNotHideTheType(t *testing.T) {
	t.Parallel()
	for _, password := range []string{"password", "incorrect", "e"} {
		srv := answer(t, 403, `{"type":"not-authenticated/one-time-password-incorrect"}`)
		_, err := client(t, srv).Create(t.Context(), session.CreateParams{Username: "alice", Password: password})
		assert.Contains(t, apiError(t, err).Type, "one-time-password-incorrect")
		assert.ErrorIs(t, err, session.ErrOneTimePasswordIncorrect)
	}
	for kind, shown := range map[string]string{
		"not-authenticated/no-hunter2": "not-authenticated/redacted",
		"hunter2/locked-out":           "locked-out",
		"a/hunter2":                    "a/redacted",
		"hunter2":                      "redacted",
	} {
		srv := answer(t, 403, `{"type":"`+kind+`"}`)
		_, err := client(t, srv).Create(t.Context(), session.CreateParams{Username: "alice", Password: "hunter2"})
		assert.Equal(t, shown, apiError(t, err).Type)
		assert.NotContains(t, err.Error(), "hunter2")
	}
}

func TestRetryAfterIsReportedAndNotWaitedFor(t *testing.T) {
	t.Parallel()
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: passwordCanary})
	defer srv.Close()
	srv.SetRateLimit(1, time.Hour)
	c := newClient(t, session.WithSite(srv.URL), session.WithHTTPClient(srv.Client()))
	_, err := c.Create(t.Context(), alice)
	require.NoError(t, err)
	_, err = c.Create(t.Context(), alice)
	assert.ErrorIs(t, err, session.ErrRateLimited)
	assert.InDelta(t, time.Hour, apiError(t, err).RetryAfter, float64(time.Minute))
	assert.Len(t, srv.Requests(), 2)
}

func TestALockOutIsReportedInTheLanguageOfTheClient(t *testing.T) {
	t.Parallel()
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: passwordCanary})
	defer srv.Close()
	srv.SetLockOut(1, time.Hour)
	c := newClient(t, session.WithSite(srv.URL), session.WithHTTPClient(srv.Client()), session.WithLanguage("de"))
	_, err := c.Create(t.Context(), session.CreateParams{Username: "alice", Password: "guess"})
	assert.ErrorIs(t, err, session.ErrInvalidUsernameOrPassword)
	_, err = c.Create(t.Context(), alice)
	assert.ErrorIs(t, err, session.ErrLockedOut)
	assert.Equal(t, "Ihr Konto ist gesperrt.", apiError(t, err).Message)
	srv.Advance(time.Hour)
	_, err = c.Create(t.Context(), alice)
	assert.NoError(t, err)
}

func TestTheAnswersOf2021AreUnderstood(t *testing.T) {
	t.Parallel()
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: passwordCanary, OTP: "cccc", Methods: []string{"u2f"}})
	defer srv.Close()
	srv.SetRecording(sessiontest.Recording2021)
	var asked atomic.Int32
	c := newClient(t, session.WithSite(srv.URL), session.WithHTTPClient(srv.Client()), otp("cccc", &asked))
	_, err := c.Create(t.Context(), session.CreateParams{Username: "alice", Password: "guess"})
	assert.ErrorIs(t, err, session.ErrInvalidUsernameOrPassword)
	assert.Equal(t, "bad-request/invalid-username-or-password", apiError(t, err).Type)
	s, err := c.Create(t.Context(), alice)
	require.NoError(t, err)
	assert.True(t, s.TimeoutAt.IsZero())
	assert.NoError(t, c.Delete(t.Context(), s))
	assert.Empty(t, srv.Sessions())
}

// refused returns the error of a login that is answered by status, body and header.
func refused(t testing.TB, status int, body string, header http.Header) error {
	t.Helper()
	hc := &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
	})}
	_, err := session.Create(t.Context(), alice, session.WithHTTPClient(hc))
	return err
}

func TestRetryAfterIsReadAsSecondsOrAsADate(t *testing.T) {
	t.Parallel()
	const now = "Fri, 02 Jan 2026 03:04:05 GMT"
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, "86400": 24 * time.Hour, "86401": 0, "-1": 0, "+7": 0, "1.5": 0, "x": 0, " 7": 0,
		"4294967296": 0, "99999999999999999999": 0,
		"Fri, 02 Jan 2026 03:04:15 GMT":  10 * time.Second,
		"Friday, 02-Jan-26 03:04:15 GMT": 10 * time.Second,
		"Fri, 02 Jan 2026 03:04:04 GMT":  0,
		"Fri, 02 Jan 2099 03:04:04 GMT":  0,
	} {
		err := refused(t, 503, "", http.Header{"Retry-After": {value}, "Date": {now}})
		assert.Equal(t, want, apiError(t, err).RetryAfter, value)
	}
	in := time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)
	err := refused(t, 503, "", http.Header{"Retry-After": {in}})
	assert.InDelta(t, time.Hour, apiError(t, err).RetryAfter, float64(10*time.Second), "by the clock of the client if the server sends no Date")
}

func TestCheckResponse(t *testing.T) {
	t.Parallel()
	assert.ErrorIs(t, session.CheckResponse(nil), session.ErrInvalidParams)
	assert.NoError(t, session.CheckResponse(&http.Response{StatusCode: 204}))
	assert.EqualError(t, session.CheckResponse(&http.Response{StatusCode: 404}), "session: call: 404 Not Found")
	req, err := http.NewRequest("GET", "https://mysite.files.com/api/rest/v1/folders/x?y=z", nil)
	require.NoError(t, err)
	req.Header.Set(session.AuthHeader, idCanary)
	resp := &http.Response{StatusCode: 401, Request: req, Body: http.NoBody, Header: http.Header{"X-Request-Id": {"for " + idCanary}}}
	assert.EqualError(t, session.CheckResponse(resp), "session: GET mysite.files.com: 401 Unauthorized (instance [redacted])")

	req.Header.Set("X-Files-Reauthentication", "password:"+passwordCanary)
	resp.Header = http.Header{"X-Request-Id": {passwordCanary}}
	assertHidesSecrets(t, session.CheckResponse(resp))

	resp.Body = failingBody{errBroken}
	err = session.CheckResponse(resp)
	assert.ErrorIs(t, err, errBroken)
	assert.ErrorIs(t, err, session.ErrNotAuthenticated)
	_, err = resp.Body.Read(make([]byte, 1))
	assert.ErrorIs(t, err, errBroken)
}

type failingBody struct{ err error }

func (b failingBody) Read([]byte) (int, error) { return 0, b.err }
func (b failingBody) Close() error             { return nil }

// A program that logs in again after ErrSessionEnded must not do so for a request
// that carried no session.
func TestErrSessionEndedRequiresASessionInTheRequest(t *testing.T) {
	t.Parallel()
	body := payload(t, "error_invalid_credentials_401_live_2024.json")
	for _, tc := range []struct {
		name, header string
		ended, told  bool
	}{
		{name: "with a session", header: session.AuthHeader, ended: true},
		{name: "with an API key", header: "X-FilesAPI-Key"},
		{name: "with neither", header: "Accept", told: true},
	} {
		srv := answer(t, 401, body)
		req, err := http.NewRequest("GET", srv.URL+"/api/rest/v1/folders", nil)
		require.NoError(t, err)
		req.Header.Set(tc.header, idCanary)
		resp, err := srv.Client().Do(req)
		require.NoError(t, err)
		err = session.CheckResponse(resp)
		resp.Body.Close()
		assert.ErrorIs(t, err, session.ErrNotAuthenticated, tc.name)
		assert.Equal(t, tc.ended, errors.Is(err, session.ErrSessionEnded), tc.name)
		assert.Equal(t, tc.told, strings.Contains(err.Error(), "the request carried no session"), tc.name)
		assertHidesSecrets(t, err)
	}
	assert.NotErrorIs(t, refused(t, 401, body, http.Header{}), session.ErrSessionEnded, "a login has none")
	assert.NotErrorIs(t, &session.APIError{Type: "not-authenticated/invalid-session"}, session.ErrSessionEnded, "nobody knows of which request")
}

func FuzzDecodeError(f *testing.F) {
	names, err := filepath.Glob("testdata/*")
	require.NoError(f, err)
	for _, name := range names {
		if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() {
			data, err := os.ReadFile(name)
			require.NoError(f, err)
			f.Add(401, string(data), "", "")
		}
	}
	f.Add(403, "You have connected to a URL that has different security settings", "", "mysite.files.com")
	f.Add(422, `{"type":"a","errors":[{"type":"b"}],"data":[]}`, "not-authenticated/locked-out", "")
	f.Add(401, `{"type":"not-authenticated/two-factor-authentication-error","data":{"two_factor_authentication_methods":["a","\u0062"],"partial_session_id":7}}`, "", "")
	f.Fuzz(func(t *testing.T, status int, body, class, host string) {
		if status < 200 || status > 999 || status/100 == 2 {
			return
		}
		err := refused(t, status, body, http.Header{"X-Files-Error-Class": {class}, "X-Files-Host": {host}, "X-Request-Id": {class}})
		var api *session.APIError
		if !errors.As(err, &api) || api.StatusCode != status {
			t.Fatal("no APIError with the status")
		}
		assertNoSecret(t, err.Error())
		for _, shown := range []string{api.Type, api.Title, api.Message, api.Instance} {
			if len(shown) > 256 || strings.ContainsAny(shown, "\x00\x1b\r\n\x7f") {
				t.Fatalf("not clean: %q", shown)
			}
		}
		if !regexp.MustCompile(`^[a-z0-9/_-]{0,128}$`).MatchString(api.Type) {
			t.Fatalf("not a type: %q", api.Type)
		}
		if text := err.Error(); len(text) > 16<<10 {
			t.Fatalf("%d bytes of text", len(text))
		}
		var moved *session.RegionMismatchError
		if errors.As(err, &moved) && moved.Host != "" && !regexp.MustCompile(`^[a-z0-9.-]+$`).MatchString(moved.Host) {
			t.Fatalf("not a host to go to: %q", moved.Host)
		}
		var challenge *session.TwoFactorError
		var whole struct {
			Data struct {
				Methods []string `json:"two_factor_authentication_methods"`
			}
		}
		if errors.As(err, &challenge) && json.Unmarshal([]byte(body), &whole) == nil && len(whole.Data.Methods) > 0 && utf8.ValidString(body) &&
			strings.Count(body, "two_factor_authentication_methods") == 1 && len(challenge.Methods) == 0 && strings.Join(whole.Data.Methods, "") != "" {
			t.Fatalf("the methods %q are lost", whole.Data.Methods)
		}
	})
}

func FuzzRetryAfter(f *testing.F) {
	for _, value := range []string{"7", "-1", "", "Fri, 02 Jan 2026 03:04:15 GMT", "99999999999999999999"} {
		f.Add(value, "Fri, 02 Jan 2026 03:04:10 GMT")
		f.Add(value, "")
	}
	f.Fuzz(func(t *testing.T, value, date string) {
		err := refused(t, 429, "", http.Header{"Retry-After": {value}, "Date": {date}})
		if wait := apiError(t, err).RetryAfter; wait < 0 || wait > 24*time.Hour {
			t.Fatalf("%q at %q is %v", value, date, wait)
		}
	})
}
