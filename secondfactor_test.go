package session_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/filescom/session"
	"github.com/filescom/session/sessiontest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// otp answers every challenge with a code and counts them.
func otp(code string, asked *atomic.Int32) session.Option {
	return session.WithOTP(func(context.Context, *session.TwoFactorError) (string, error) {
		asked.Add(1)
		return code, nil
	})
}

func TestSecondFactorIsAskedForAndSent(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		methods  []string
		typed    string // as a person types it
		code     string // as it is sent
		password bool   // true: the second call has the password; false: it has the partial session ID
	}{
		"totp":                      {methods: []string{"totp"}, typed: "123456", code: "123456", password: true},
		"sms":                       {methods: []string{"sms"}, typed: " 123456\r\n", code: "123456", password: true},
		"totp, in groups":           {methods: []string{"totp"}, typed: "123 456", code: "123456", password: true},
		"totp, no-break space":      {methods: []string{"totp"}, typed: "123\u00a0456", code: "123456", password: true},
		"totp, with a hyphen":       {methods: []string{"totp"}, typed: "123-456", code: "123456", password: true},
		"totp, with dots":           {methods: []string{"totp"}, typed: "12.34.56", code: "123456", password: true},
		"totp, with a long dash":    {methods: []string{"totp"}, typed: "123 – 456", code: "123456", password: true},
		"totp, copied from a page":  {methods: []string{"totp"}, typed: "\ufeff12\u200b34\u00ad56\u200e", code: "123456", password: true},
		"totp, full-width digits":   {methods: []string{"totp"}, typed: "１２３４５６", code: "123456", password: true},
		"totp, Arabic digits":       {methods: []string{"totp"}, typed: "١٢٣ ٤٥٦", code: "123456", password: true},
		"totp, bold digits":         {methods: []string{"totp"}, typed: "\U0001D7D2\U0001D7D8\U0001D7E2", code: "400", password: true},
		"email, letters and digits": {methods: []string{"email"}, typed: " AB-12 cd\u200b34\n", code: "AB-12cd34", password: true},
		"unknown method":            {methods: []string{"pigeon"}, typed: "coo coo", code: "coocoo", password: true},
		"yubi":                      {methods: []string{"yubi"}, typed: "\ufeff cccccccccccb\n", code: "cccccccccccb"},
		"webauthn":                  {methods: []string{"webauthn"}, typed: ` {"a": "１-2"}` + "\n", code: `{"a": "１-2"}`},
		"yubi or totp: the key":     {methods: []string{"yubi", "totp"}, typed: "cccccccccccb", code: "cccccccccccb"},
		"yubi or totp: the code":    {methods: []string{"yubi", "totp", "sms"}, typed: "123456", code: "123456", password: true},
		"yubi or totp: in groups":   {methods: []string{"yubi", "totp", "sms"}, typed: "123 456", code: "123456", password: true},
		"a key that answers digits": {methods: []string{"u2f"}, typed: "123456", code: "123456"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fake := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: passwordCanary, OTP: tc.code, Methods: tc.methods})
			defer fake.Close()
			srv := serve(t, fake.ServeHTTP)
			var asked atomic.Int32
			s, err := client(t, srv, otp(tc.typed, &asked)).Create(t.Context(), alice)
			require.NoError(t, err)
			assert.Equal(t, fake.Sessions(), []string{s.ID})
			assert.EqualValues(t, 1, asked.Load())
			require.Len(t, srv.seen(), 2)
			second, err := url.ParseQuery(srv.seen()[1].body)
			require.NoError(t, err)
			assert.Equal(t, tc.code, second.Get("otp"))
			assert.Equal(t, tc.password, second.Has("password"))
			assert.Equal(t, !tc.password, second.Has("partial_session_id"))
		})
	}
}

func TestADemandForASecondFactorIsATwoFactorError(t *testing.T) {
	t.Parallel()
	srv := answer(t, 401, payload(t, "error_2fa_u2f_401_captured_2021.json"))
	_, err := client(t, srv).Create(t.Context(), alice)
	var challenge *session.TwoFactorError
	require.ErrorAs(t, err, &challenge)
	assert.Equal(t, []string{"u2f"}, challenge.Methods)
	assert.Equal(t, "XXX", challenge.PartialSessionID)
	assert.Equal(t, []session.U2FSignRequest{{AppID: "https://dustin.files.com", Challenge: "XXXX", Version: "U2F_V2", KeyHandle: "XXXX"}}, challenge.U2FSignRequests)
	assert.ErrorIs(t, err, session.ErrNotAuthenticated)
	assert.Equal(t, 401, apiError(t, err).StatusCode)
	assert.Equal(t, "session: log in at "+strings.TrimPrefix(srv.URL, "http://")+
		": 401 not-authenticated/two-factor-authentication-error: 2FA Authenication error: Insert your U2F/FIDO key and press its button"+
		" (instance [redacted]): a second factor is required; log in again with a code (u2f)", err.Error(), "the instance of the recording is the partial session ID")
}

func TestUnusualDemandsForASecondFactorAreUnderstood(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		body, partial string
		methods       []string
	}{
		"totp":            {payload(t, "error_2fa_totp_401_constructed.json"), "", []string{"totp"}},
		"several":         {payload(t, "error_2fa_multi_401_constructed.json"), "PARTIAL", []string{"yubi", "totp", "sms"}},
		"in errors alone": {`{"errors":["x",{"type":"401-two-factor-authentication-error","data":{"two_factor_authentication_methods":["sms"],"partial_session_id":"P"}}]}`, "P", []string{"sms"}},
		"string, number":  {`{"type":"not-authenticated/two-factor-authentication-error","data":{"two_factor_authentication_methods":"sms","partial_session_id":77}}`, "77", []string{"sms"}},
		"no data":         {`{"type":"not-authenticated/two-factor-authentication-error"}`, "", nil},
		"data list":       {`{"type":"not-authenticated/two-factor-authentication-error","data":["x"]}`, "", nil},
		"odd members":     {`{"type":"not-authenticated/two-factor-authentication-error","data":{"two_factor_authentication_methods":[1,null,{"x":"y"},"totp"],"partial_session_id":{},"u2f_sign_requests":{}}}`, "", []string{"totp"}},
	} {
		srv := answer(t, 401, tc.body)
		_, err := client(t, srv).Create(t.Context(), alice)
		var challenge *session.TwoFactorError
		require.ErrorAs(t, err, &challenge, name)
		assert.Equal(t, tc.methods, challenge.Methods, name)
		assert.Equal(t, tc.partial, challenge.PartialSessionID, name)
		assertHidesSecrets(t, err)
	}
}

func TestSecretsInADemandAreNotShown(t *testing.T) {
	t.Parallel()
	srv := answer(t, 401, `{"type":"not-authenticated/two-factor-authentication-error","error":"`+partialCanary+`","data":{"partial_session_id":"`+partialCanary+
		`","two_factor_authentication_methods":["totp","`+passwordCanary+`","a\u001bb"],"x":"`+tokenCanary+`"}}`)
	_, err := client(t, srv).Create(t.Context(), alice)
	var challenge *session.TwoFactorError
	require.ErrorAs(t, err, &challenge)
	assert.Equal(t, partialCanary, challenge.PartialSessionID)
	assert.Equal(t, []string{"totp", "[redacted]", "ab"}, challenge.Methods)
	assertHidesSecrets(t, err)
	assertHidesSecrets(t, *challenge)
	assertHidesSecrets(t, *apiError(t, err))
	assert.Contains(t, string(apiError(t, err).Data), tokenCanary)
}

func TestAnOTPInTheParamsIsNotReplacedByTheCallback(t *testing.T) {
	t.Parallel()
	srv := answer(t, 401, payload(t, "error_2fa_totp_401_constructed.json"))
	var asked atomic.Int32
	params := alice
	params.OTP = otpCanary
	_, err := client(t, srv, otp("1", &asked)).Create(t.Context(), params)
	var challenge *session.TwoFactorError
	assert.ErrorAs(t, err, &challenge)
	assert.Zero(t, asked.Load())
	assert.Len(t, srv.seen(), 1)
}

func TestTheCodeIsAskedForOnce(t *testing.T) {
	t.Parallel()
	t.Run("second demand", func(t *testing.T) {
		t.Parallel()
		srv := answer(t, 401, payload(t, "error_2fa_totp_401_constructed.json"))
		var asked atomic.Int32
		_, err := client(t, srv, otp("1", &asked)).Create(t.Context(), alice)
		var challenge *session.TwoFactorError
		assert.ErrorAs(t, err, &challenge)
		assert.EqualValues(t, 1, asked.Load())
		assert.Len(t, srv.seen(), 2)
	})
	t.Run("refused code", func(t *testing.T) {
		t.Parallel()
		srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: passwordCanary, OTP: "123456"})
		defer srv.Close()
		var asked atomic.Int32
		_, err := session.Create(t.Context(), alice, session.WithSite(srv.URL), session.WithHTTPClient(srv.Client()), otp(otpCanary, &asked))
		assert.ErrorIs(t, err, session.ErrOneTimePasswordIncorrect)
		assertHidesSecrets(t, err)
		assert.EqualValues(t, 1, asked.Load())
		assert.Len(t, srv.Requests(), 2)
	})
}

func TestABlankCodeIsRefused(t *testing.T) {
	t.Parallel()
	for _, methods := range []string{`"totp"`, `"yubi"`} {
		srv := answer(t, 401, `{"type":"not-authenticated/two-factor-authentication-error","data":{"partial_session_id":"p","two_factor_authentication_methods":[`+methods+`]}}`)
		var asked atomic.Int32
		_, err := client(t, srv, otp(" \r\n", &asked)).Create(t.Context(), alice)
		assert.ErrorIs(t, err, session.ErrInvalidParams)
		assert.ErrorContains(t, err, "the code of the second factor is blank")
		assert.Len(t, srv.seen(), 1)
	}
}

func TestTheSecondAnswerDoesNotShowSecretsOfTheFirstCall(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"totp", "yubi"} { // one sends the password, the other one the partial session ID
		n := 0
		srv := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			if n++; n == 1 {
				w.WriteHeader(401)
				fmt.Fprintf(w, `{"type":"not-authenticated/two-factor-authentication-error","data":{"partial_session_id":"%s","two_factor_authentication_methods":["%s"]}}`, partialCanary, method)
				return
			}
			w.WriteHeader(422)
			fmt.Fprintf(w, `{"type":"bad-request/x","error":"%s","title":"%s","instance":"%s"}`, passwordCanary, partialCanary, otpCanary)
		})
		var asked atomic.Int32
		_, err := client(t, srv, otp(otpCanary, &asked)).Create(t.Context(), alice)
		assert.Equal(t, 422, apiError(t, err).StatusCode)
		assertHidesSecrets(t, err)
	}
}

func TestADemandIsReadFromBothPlacesInTheAnswer(t *testing.T) {
	t.Parallel()
	srv := answer(t, 401, `{"type":"not-authenticated/two-factor-authentication-error","error":"`+partialCanary+`","title":"775",
		"data":{"partial_session_id":"`+partialCanary+`"},
		"errors":[{"data":{"partial_session_id":775,"two_factor_authentication_methods":["`+strings.Repeat(`sms","`, 100)+`totp"]}}]}`)
	_, err := client(t, srv).Create(t.Context(), alice)
	var challenge *session.TwoFactorError
	require.ErrorAs(t, err, &challenge)
	assert.Equal(t, partialCanary, challenge.PartialSessionID)
	assert.Len(t, challenge.Methods, 32, "bounded")
	assert.Equal(t, "[redacted]", apiError(t, err).Title)
	assertHidesSecrets(t, err)
}

func TestTheErrorMatchesAContextThatEndsInTheCallback(t *testing.T) {
	t.Parallel()
	srv := answer(t, 401, payload(t, "error_2fa_totp_401_constructed.json"))
	cause := errors.New("gave up on " + passwordCanary)
	ctx, cancel := context.WithCancelCause(t.Context())
	_, err := client(t, srv, session.WithOTP(func(context.Context, *session.TwoFactorError) (string, error) {
		cancel(cause)
		return "", errBroken
	})).Create(ctx, alice)
	for _, want := range []error{errBroken, context.Canceled, cause} {
		assert.ErrorIs(t, err, want)
	}
	assertHidesSecrets(t, err)
}

func TestAnErrorOfTheCallbackEndsTheLogin(t *testing.T) {
	t.Parallel()
	srv := answer(t, 401, payload(t, "error_2fa_totp_401_constructed.json"))
	_, err := client(t, srv, session.WithOTP(func(_ context.Context, challenge *session.TwoFactorError) (string, error) {
		return "", fmt.Errorf("%w: %v", errBroken, challenge)
	})).Create(t.Context(), alice)
	assert.ErrorIs(t, err, errBroken)
	assert.NotErrorIs(t, err, session.ErrNotAuthenticated)
	assertHidesSecrets(t, err)
	assert.Len(t, srv.seen(), 1)
}

func TestTheTimeoutDoesNotLimitTheOTPFunc(t *testing.T) {
	t.Parallel()
	srv := answer(t, 401, payload(t, "error_2fa_totp_401_constructed.json"))
	_, err := client(t, srv, session.WithTimeout(time.Minute), session.WithOTP(func(ctx context.Context, _ *session.TwoFactorError) (string, error) {
		_, limited := ctx.Deadline()
		assert.False(t, limited)
		return "", errBroken
	})).Create(t.Context(), alice)
	assert.ErrorIs(t, err, errBroken)
}

func TestADemandThatAnswersACodeSaysThatTheCodeWasRefused(t *testing.T) {
	t.Parallel()
	srv := answer(t, 401, payload(t, "error_2fa_totp_401_constructed.json"))
	first := alice
	_, err := client(t, srv).Create(t.Context(), first)
	assert.NotErrorIs(t, err, session.ErrOneTimePasswordIncorrect)
	assert.ErrorContains(t, err, "a second factor is required; log in again with a code (totp)")

	first.OTP = otpCanary
	_, given := client(t, srv).Create(t.Context(), first)
	var asked atomic.Int32
	_, typed := client(t, srv, otp("123456", &asked)).Create(t.Context(), alice)
	for _, err := range []error{given, typed} {
		var challenge *session.TwoFactorError
		require.ErrorAs(t, err, &challenge)
		assert.ErrorIs(t, err, session.ErrOneTimePasswordIncorrect)
		assert.ErrorIs(t, err, session.ErrNotAuthenticated)
		assert.ErrorContains(t, err, "the code was not accepted; log in again with another code (totp)")
		assertHidesSecrets(t, err)
	}
}

// A blank code must not turn the second call into another first call, which could
// send an SMS.
func TestTheAnswerOfABlankCodeIsRefused(t *testing.T) {
	t.Parallel()
	for _, methods := range [][]string{{"totp"}, {"yubi"}, {"yubi", "totp"}, nil} {
		for _, code := range []string{"", " ", "\u200b\ufeff"} {
			challenge := &session.TwoFactorError{Methods: methods, PartialSessionID: partialCanary}
			srv := answer(t, 201, `{"id":"1"}`)
			_, err := client(t, srv).Create(t.Context(), challenge.Answer(alice, code))
			assert.ErrorIs(t, err, session.ErrInvalidParams)
			assert.Empty(t, srv.seen())
		}
	}
}

func TestANullInADemandIsNoEntry(t *testing.T) {
	t.Parallel()
	err := refused(t, 401, `{"type":"not-authenticated/two-factor-authentication-error",
		"data":{"two_factor_authentication_methods":null,"u2f_sign_requests":null},
		"errors":[null,{"data":{"two_factor_authentication_methods":["totp",null],"u2f_sign_requests":[null]}}]}`, http.Header{})
	var challenge *session.TwoFactorError
	require.ErrorAs(t, err, &challenge)
	assert.Equal(t, []string{"totp"}, challenge.Methods)
	assert.Empty(t, challenge.U2FSignRequests)
}

func TestADemandForASecondFactorIsLoggedAtDebug(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	logger := session.WithLogger(slog.New(slog.NewTextHandler(&out, nil))) // Info and above
	srv := answer(t, 401, payload(t, "error_2fa_totp_401_constructed.json"))
	_, err := client(t, srv, logger).Create(t.Context(), alice)
	require.Error(t, err)
	assert.Empty(t, out.String(), "it is no failure")
	params := alice
	params.OTP = otpCanary
	_, err = client(t, srv, logger).Create(t.Context(), params)
	require.Error(t, err)
	assert.Contains(t, out.String(), "level=WARN", "the code was refused")
	assertNoSecret(t, out.String())
}
