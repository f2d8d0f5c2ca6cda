package session_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
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

// Rule 6.
func TestSecondFactorIsAskedForAndSent(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		methods  []string
		code     string
		password bool // whether the second call holds it
	}{
		"totp":                    {[]string{"totp"}, "123456", true},
		"sms":                     {[]string{"sms"}, "123456", true},
		"unknown method":          {[]string{"pigeon"}, "coo", true},
		"yubi":                    {[]string{"yubi"}, "cccccccccccb", false},
		"webauthn":                {[]string{"webauthn"}, `{"a":1}`, false},
		"yubi or totp: the key":   {[]string{"yubi", "totp"}, "cccccccccccb", false},
		"yubi or totp: the code":  {[]string{"yubi", "totp", "sms"}, "123456", true},
		"a key with digits alone": {[]string{"u2f"}, "123456", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fake := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: passwordCanary, OTP: tc.code, Methods: tc.methods})
			defer fake.Close()
			srv := serve(t, fake.ServeHTTP)
			var asked atomic.Int32
			s, err := client(t, srv, otp(" "+tc.code+"\r\n", &asked)).Create(t.Context(), alice)
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

func TestDemandOfASecondFactorIsTyped(t *testing.T) {
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
		": 401 not-authenticated/two-factor-authentication-error: 2FA Authenication error: Insert your U2F/FIDO key and press its button."+
		" (instance [redacted]): second factor wanted (u2f)", err.Error(), "the instance of the recording is the partial session ID")
}

func TestDemandsOfOddShapesAreUnderstood(t *testing.T) {
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
		assertQuiet(t, err)
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
	assertQuiet(t, err)
	assertQuiet(t, *challenge)
	assertQuiet(t, *apiError(t, err))
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
		_, err := session.Create(t.Context(), alice, session.WithBaseURL(srv.URL), session.WithHTTPClient(srv.Client()), otp(otpCanary, &asked))
		assert.ErrorIs(t, err, session.ErrOneTimePasswordIncorrect)
		assertQuiet(t, err)
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
		assert.ErrorContains(t, err, "otp")
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
		assertQuiet(t, err)
	}
}

func TestADemandInTwoPlacesIsRead(t *testing.T) {
	t.Parallel()
	srv := answer(t, 401, `{"type":"not-authenticated/two-factor-authentication-error","error":"`+partialCanary+`","title":"-77.5",
		"data":{"partial_session_id":"`+partialCanary+`"},
		"errors":[{"data":{"partial_session_id":-77.5,"two_factor_authentication_methods":["`+strings.Repeat(`sms","`, 100)+`totp"]}}]}`)
	_, err := client(t, srv).Create(t.Context(), alice)
	var challenge *session.TwoFactorError
	require.ErrorAs(t, err, &challenge)
	assert.Equal(t, partialCanary, challenge.PartialSessionID)
	assert.Len(t, challenge.Methods, 32, "bounded")
	assert.Equal(t, "[redacted]", apiError(t, err).Title)
	assertQuiet(t, err)
}

func TestAContextThatEndsInTheCallbackMatches(t *testing.T) {
	t.Parallel()
	srv := answer(t, 401, payload(t, "error_2fa_totp_401_constructed.json"))
	cause := errors.New("cause")
	ctx, cancel := context.WithCancelCause(t.Context())
	_, err := client(t, srv, session.WithOTP(func(context.Context, *session.TwoFactorError) (string, error) {
		cancel(cause)
		return "", errBroken
	})).Create(ctx, alice)
	for _, want := range []error{errBroken, context.Canceled, cause} {
		assert.ErrorIs(t, err, want)
	}
}

func TestAnErrorOfTheCallbackEndsTheLogin(t *testing.T) {
	t.Parallel()
	srv := answer(t, 401, payload(t, "error_2fa_totp_401_constructed.json"))
	_, err := client(t, srv, session.WithOTP(func(_ context.Context, challenge *session.TwoFactorError) (string, error) {
		return "", fmt.Errorf("%w: %v", errBroken, challenge)
	})).Create(t.Context(), alice)
	assert.ErrorIs(t, err, errBroken)
	assert.NotErrorIs(t, err, session.ErrNotAuthenticated)
	assertQuiet(t, err)
	assert.Len(t, srv.seen(), 1)
}

func TestAPersonTypingACodeHasAllTheTime(t *testing.T) {
	t.Parallel()
	srv := answer(t, 401, payload(t, "error_2fa_totp_401_constructed.json"))
	_, err := client(t, srv, session.WithTimeout(time.Minute), session.WithOTP(func(ctx context.Context, _ *session.TwoFactorError) (string, error) {
		_, limited := ctx.Deadline()
		assert.False(t, limited)
		return "", errBroken
	})).Create(t.Context(), alice)
	assert.ErrorIs(t, err, errBroken)
}

// Rule 8.
func mismatch(host string) string {
	return `{"type":"not-authenticated/lockout-region-mismatch","data":{"host":"` + host + `"}}`
}

func TestALoginIsMovedToATrustedHost(t *testing.T) {
	t.Parallel()
	for _, form := range []byte("abc") {
		t.Run(string(form), func(t *testing.T) {
			t.Parallel()
			user := sessiontest.User{Username: "alice", Password: passwordCanary, OTP: "123456"}
			home, srv := sessiontest.NewServer(user), sessiontest.NewServer()
			defer home.Close()
			defer srv.Close()
			srv.MoveTo(home.URL, form)
			host := strings.TrimPrefix(home.URL, "http://")
			var asked atomic.Int32
			at := []session.Option{session.WithBaseURL(srv.URL), session.WithHTTPClient(srv.Client()), otp("123456", &asked)}
			c := newClient(t, append(at, session.WithTrustedHosts("LOCALHOST:1", host))...)
			s, err := c.Create(t.Context(), alice)
			require.NoError(t, err)
			assert.Equal(t, home.URL, s.BaseURL)
			assert.EqualValues(t, 1, asked.Load())
			require.NoError(t, c.Delete(t.Context(), s))
			assert.Equal(t, sessiontest.Counts{Logins: 1, Refused: 1, Logouts: 1}, home.Counts())
			assert.Equal(t, sessiontest.Counts{Refused: 1}, srv.Counts())

			_, err = session.Create(t.Context(), alice, at...)
			var moved *session.RegionMismatchError
			require.ErrorAs(t, err, &moved, "not without trust")
			assert.Equal(t, host, moved.Host)
			assert.NotErrorIs(t, err, session.ErrNotAuthenticated)
			assertQuiet(t, err)
			assertQuiet(t, *moved)
		})
	}
}

func TestALoginIsMovedOnce(t *testing.T) {
	t.Parallel()
	first, second := sessiontest.NewServer(), sessiontest.NewServer()
	defer first.Close()
	defer second.Close()
	first.MoveTo(second.URL, 'a')
	second.MoveTo(first.URL, 'b')
	hosts := []string{strings.TrimPrefix(first.URL, "http://"), strings.TrimPrefix(second.URL, "http://")}
	_, err := session.Create(t.Context(), alice, session.WithBaseURL(first.URL), session.WithHTTPClient(first.Client()), session.WithTrustedHosts(hosts...))
	var moved *session.RegionMismatchError
	require.ErrorAs(t, err, &moved)
	assert.Equal(t, hosts[0], moved.Host)
	assert.Len(t, first.Requests(), 1)
	assert.Len(t, second.Requests(), 1)
}

func TestACodeIsAskedForAnewAfterAMove(t *testing.T) {
	t.Parallel()
	home := answer(t, 401, payload(t, "error_2fa_totp_401_constructed.json"))
	host := strings.TrimPrefix(home.URL, "http://")
	n := 0
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(401)
		if n++; n == 1 {
			io.WriteString(w, payload(t, "error_2fa_totp_401_constructed.json"))
			return
		}
		io.WriteString(w, mismatch(host))
	})
	var asked atomic.Int32
	_, err := client(t, srv, session.WithTrustedHosts(host), otp("1", &asked)).Create(t.Context(), alice)
	var challenge *session.TwoFactorError
	assert.ErrorAs(t, err, &challenge)
	assert.EqualValues(t, 2, asked.Load())
	assert.Len(t, home.seen(), 2)
	assert.NotContains(t, home.seen()[0].body, "otp")
}

// A login of files.com, as seen by a RoundTripper that no request leaves.
func TestHostsThatALoginIsMovedTo(t *testing.T) {
	t.Parallel()
	const none = ""
	for _, tc := range []struct {
		base, named, host string // host: of the error, or that was gone to
		trusted           []string
		gone              bool
	}{
		{"https://app.files.com", "mysite.files.com", "mysite.files.com", nil, true},
		{"https://app.files.com", "MySite.Files.COM", "mysite.files.com", nil, true},
		{"https://app.files.com", "https://mysite.files.com", "mysite.files.com", nil, true},
		{"https://app.files.com", "https://mysite.files.com:443", "mysite.files.com", nil, true},
		{"https://app.files.com", "mysite.files.com:443", "mysite.files.com", nil, true},
		{"https://app.files.com", "files.com", "files.com", nil, true},
		{"https://app.files.com", "files.example.com", "files.example.com", []string{"Files.Example.com"}, true},
		{"https://files.example.com", "mysite.files.com", "mysite.files.com", []string{"mysite.files.com"}, true},
		{"https://app.files.com", "files.example.com", "files.example.com", []string{"example.com"}, false},
		{"https://files.example.com", "mysite.files.com", "mysite.files.com", nil, false},
		{"https://app.files.com", "evilfiles.com", "evilfiles.com", nil, false},
		{"https://app.files.com", "files.com.evil.example", "files.com.evil.example", nil, false},
		{"https://app.files.com", "app.files.com", none, nil, false},
		{"https://app.files.com", "https://app.files.com:443", none, nil, false},
		{"https://app.files.com", "http://mysite.files.com", none, nil, false},
		{"https://app.files.com", "mysite.files.com:8443", none, nil, false},
		{"https://app.files.com", "mysite.files.com.", none, nil, false},
		{"https://app.files.com", "mysite.files.com/", none, nil, false},
		{"https://app.files.com", "https://mysite.files.com/x", none, nil, false},
		{"https://app.files.com", "u@mysite.files.com", none, nil, false},
		{"https://app.files.com", "evil.example#.files.com", none, nil, false},
		{"https://app.files.com", "evil.example?.files.com", none, nil, false},
		{"https://app.files.com", `evil.example\.files.com`, none, nil, false},
		{"https://app.files.com", "evil.example%2f.files.com", none, nil, false},
		{"https://app.files.com", "evil.example\r\n.files.com", none, nil, false},
		{"https://app.files.com", "127.0.0.1", none, nil, false},
		{"https://app.files.com", "127.1", none, nil, false},
		{"https://app.files.com", "2130706433", none, nil, false},
		{"https://app.files.com", "0x7f.0x1", none, nil, false},
		{"https://app.files.com", "[::1]", none, nil, false},
		{"https://app.files.com", "127.0.0.1:4041", none, []string{"127.0.0.1:4041"}, false},
		{"https://app.files.com", "ftp://mysite.files.com", none, nil, false},
		{"https://app.files.com", "https://", none, nil, false},
		{"https://app.files.com", "", none, nil, false},
		{"https://app.files.com", "müsite.files.com", none, nil, false},
		{"https://app.files.com", "-a.files.com", none, nil, false},
		{"https://app.files.com", strings.Repeat("a", 64) + ".files.com", none, nil, false},
		{"https://app.files.com", strings.Repeat("a.", 125) + "files.com", none, nil, false},
		{"https://127.0.0.1:9", "127.0.0.1:4041", "127.0.0.1:4041", []string{"127.0.0.1:4041"}, true},
		{"https://127.0.0.1:9", "https://localhost:4041", "localhost:4041", []string{"localhost:4041"}, true},
		{"https://[::1]:9", "[::1]:4041", "[::1]:4041", []string{"[::1]:4041"}, true},
		{"https://127.0.0.1:9", "127.0.0.1:4041", "127.0.0.1:4041", nil, false},
		{"https://127.0.0.1:9", "http://127.0.0.1:4041", none, []string{"127.0.0.1:4041"}, false},
		{"https://127.0.0.1:9", "10.0.0.1:4041", none, nil, false},
		{"https://127.0.0.1:9", "127.0.0.1:9", none, []string{"127.0.0.1:9"}, false},
		{"https://127.0.0.1:9", "[::1%lo]:4041", none, nil, false},
		{"https://app.files.com", "\u212Aelvin.files.com", none, nil, false},
	} {
		var hosts []string
		hc := &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			hosts = append(hosts, r.URL.Scheme+"://"+r.URL.Host)
			body := `{"id":"1"}`
			status := 201
			if len(hosts) == 1 {
				named, _ := url.QueryUnescape(url.QueryEscape(tc.named))
				body, status = fmt.Sprintf(`{"type":"not-authenticated/lockout-region-mismatch","data":{"host":%s}}`, jsonString(named)), 401
			}
			return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
		})}
		c := newClient(t, session.WithBaseURL(tc.base), session.WithHTTPClient(hc), session.WithTrustedHosts(tc.trusted...))
		s, err := c.Create(t.Context(), alice)
		if tc.gone {
			require.NoError(t, err, "%s names %s", tc.base, tc.named)
			assert.Equal(t, []string{tc.base, "https://" + tc.host}, hosts)
			assert.Equal(t, "https://"+tc.host, s.BaseURL)
			continue
		}
		var moved *session.RegionMismatchError
		require.ErrorAs(t, err, &moved, "%s names %s", tc.base, tc.named)
		assert.Equal(t, tc.host, moved.Host, "%s names %s", tc.base, tc.named)
		assert.Equal(t, []string{tc.base}, hosts)
	}
}

func TestAHostThatHoldsASecretIsNotShown(t *testing.T) {
	t.Parallel()
	srv := answer(t, 401, mismatch("hunter2.example.com"))
	_, err := client(t, srv).Create(t.Context(), session.CreateParams{Username: "alice", Password: "hunter2"})
	var moved *session.RegionMismatchError
	require.ErrorAs(t, err, &moved)
	assert.NotContains(t, fmt.Sprintf("%v %+v %#v", err, err, *moved), "hunter2")
}

func TestTheHostOfAMismatchIsFoundWhereItIs(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		`{"type":"not-authenticated/lockout-region-mismatch","data":{"host":null}}`,
		`{"type":"not-authenticated/lockout-region-mismatch","errors":[{"data":{"host":"mysite.files.com"}}]}`,
	} {
		srv := answer(t, 401, body, "X-Files-Host", "mysite.files.com")
		_, err := client(t, srv).Create(t.Context(), alice)
		var moved *session.RegionMismatchError
		require.ErrorAs(t, err, &moved)
		assert.Equal(t, "mysite.files.com", moved.Host)
	}
}

func TestDeleteIsNeverMoved(t *testing.T) {
	t.Parallel()
	home := answer(t, 204, "")
	host := strings.TrimPrefix(home.URL, "http://")
	srv := answer(t, 403, mismatch(host))
	err := client(t, srv, session.WithTrustedHosts(host)).Delete(t.Context(), &session.Session{ID: idCanary})
	var moved *session.RegionMismatchError
	assert.ErrorAs(t, err, &moved)
	assert.Empty(t, home.seen())
}

// Rule 9.
func TestALoginIsPostedOnceWhateverTheAnswer(t *testing.T) {
	t.Parallel()
	for _, status := range []int{400, 401, 403, 404, 408, 409, 421, 422, 425, 429, 500, 502, 503, 504} {
		srv := answer(t, status, "", "Retry-After", "0")
		_, err := client(t, srv, session.WithRetries(5)).Create(t.Context(), alice)
		assert.Equal(t, status, apiError(t, err).StatusCode)
		assert.Len(t, srv.seen(), 1)
	}
}

func TestALoginIsPostedOnceWhenTheConnectionBreaks(t *testing.T) {
	t.Parallel()
	for name, serve := range map[string]func(net.Conn){
		"at once":           func(net.Conn) {},
		"after the request": func(conn net.Conn) { readRequest(conn) },
		"reset after it":    func(conn net.Conn) { readRequest(conn); conn.(*net.TCPConn).SetLinger(0) },
		"not HTTP":          func(conn net.Conn) { readRequest(conn); io.WriteString(conn, idCanary+" "+passwordCanary+"\r\n\r\n") },
		"bad header": func(conn net.Conn) {
			readRequest(conn)
			io.WriteString(conn, "HTTP/1.1 201 Created\r\n"+idCanary+"\r\n\r\n")
		},
		"bad status": func(conn net.Conn) { readRequest(conn); io.WriteString(conn, "HTTP/1.1 "+idCanary+" x\r\n\r\n") },
		"bad length": func(conn net.Conn) {
			readRequest(conn)
			io.WriteString(conn, "HTTP/1.1 201 OK\r\nContent-Length: "+idCanary+"\r\n\r\n")
		},
		"bad encoding": func(conn net.Conn) {
			readRequest(conn)
			io.WriteString(conn, "HTTP/1.1 201 OK\r\nTransfer-Encoding: "+idCanary+"\r\n\r\n")
		},
		"headers without end": func(conn net.Conn) {
			readRequest(conn)
			io.WriteString(conn, "HTTP/1.1 201 OK\r\n"+strings.Repeat("X: "+idCanary+"\r\n", 1<<10))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			origin, connections := listen(t, func(_ int, conn net.Conn) { serve(conn) })
			c := newClient(t, session.WithBaseURL(origin), session.WithHTTPClient(&http.Client{Transport: freshTransport(t)}), session.WithRetries(5))
			_, err := c.Create(t.Context(), alice)
			assert.ErrorIs(t, err, session.ErrOutcomeUnknown)
			assert.NotErrorIs(t, err, session.ErrNotSent)
			assertQuiet(t, err)
			assert.Equal(t, 1, connections())
		})
	}
}

func TestABrokenChunkIsAnInvalidResponse(t *testing.T) {
	t.Parallel()
	origin, _ := listen(t, func(_ int, conn net.Conn) {
		readRequest(conn)
		io.WriteString(conn, "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{\"id\r\n"+idCanary+"\r\n")
	})
	_, err := session.Create(t.Context(), alice, session.WithBaseURL(origin), session.WithHTTPClient(&http.Client{Transport: freshTransport(t)}))
	assert.Equal(t, 201, apiError(t, err).StatusCode)
	assert.ErrorIs(t, err, session.ErrInvalidResponse)
	assertQuiet(t, err)
}

// failingDialer fails a number of times, then connects.
func failingDialer(t *testing.T, fail int32, with error) (*http.Client, *atomic.Int32) {
	var dials atomic.Int32
	tr := freshTransport(t)
	tr.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if dials.Add(1) <= fail {
			return nil, with
		}
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	return &http.Client{Transport: tr}, &dials
}

func TestALoginIsTriedAgainWhenNoConnectionWasHad(t *testing.T) {
	t.Parallel()
	srv := answer(t, 201, `{"id":"1"}`)
	hc, dials := failingDialer(t, 2, errBroken)
	_, err := session.Create(t.Context(), alice, session.WithBaseURL(srv.URL), session.WithHTTPClient(hc))
	assert.NoError(t, err)
	assert.EqualValues(t, 3, dials.Load())
	assert.Len(t, srv.seen(), 1)

	for retries := range 2 {
		hc, dials = failingDialer(t, 100, errBroken)
		_, err = session.Create(t.Context(), alice, session.WithBaseURL(srv.URL), session.WithHTTPClient(hc), session.WithRetries(retries))
		assert.ErrorIs(t, err, session.ErrNotSent)
		assert.NotErrorIs(t, err, session.ErrOutcomeUnknown)
		assert.ErrorIs(t, err, errBroken)
		assert.ErrorContains(t, err, "broken")
		assert.EqualValues(t, retries+1, dials.Load())
	}
	assert.Len(t, srv.seen(), 1)
}

func TestARefusedConnectionIsNotSent(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l.Close()
	_, err = session.Create(t.Context(), alice, session.WithBaseURL("http://"+l.Addr().String()), session.WithRetries(0))
	assert.ErrorIs(t, err, session.ErrNotSent)
	assert.ErrorContains(t, err, "connection refused")
	var op *net.OpError
	assert.ErrorAs(t, err, &op)
	assertQuiet(t, err)
}

func TestACertificateThatDoesNotVerifyIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	var handshakes atomic.Int32
	srv := httptest.NewUnstartedServer(http.NotFoundHandler())
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { handshakes.Add(1); return nil, nil }}
	srv.StartTLS()
	defer srv.Close()
	_, err := session.Create(t.Context(), alice, session.WithBaseURL(srv.URL))
	assert.ErrorIs(t, err, session.ErrNotSent)
	var cert *tls.CertificateVerificationError
	assert.ErrorAs(t, err, &cert)
	assert.EqualValues(t, 1, handshakes.Load())
}

func TestARefusingProxyIsNotSent(t *testing.T) {
	t.Parallel()
	origin, connections := listen(t, func(_ int, conn net.Conn) {
		readRequest(conn)
		io.WriteString(conn, "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
	})
	tr := freshTransport(t)
	proxy, _ := url.Parse(origin)
	tr.Proxy = http.ProxyURL(proxy)
	_, err := session.Create(t.Context(), alice, session.WithHTTPClient(&http.Client{Transport: tr}), session.WithRetries(1))
	assert.ErrorIs(t, err, session.ErrNotSent)
	assert.ErrorContains(t, err, "Proxy Authentication Required")
	assert.Equal(t, 2, connections())
}

func TestARoundTripperThatTracesNothingIsNeverUnsent(t *testing.T) {
	t.Parallel()
	for _, broken := range []error{errBroken, &net.OpError{Op: "dial", Net: "tcp", Err: errBroken}} {
		calls := 0
		hc := &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) { calls++; return nil, broken })}
		_, err := session.Create(t.Context(), alice, session.WithHTTPClient(hc))
		assert.ErrorIs(t, err, session.ErrOutcomeUnknown)
		assert.NotErrorIs(t, err, session.ErrNotSent)
		assert.ErrorIs(t, err, errBroken)
		assert.ErrorContains(t, err, "broken", "an error of the caller's own is shown")
		assert.Equal(t, 1, calls)
	}
}

func TestAnErrorThatQuotesASecretIsNotShown(t *testing.T) {
	t.Parallel()
	for _, text := range []string{passwordCanary, "x " + url.QueryEscape(passwordCanary), `"` + idCanary + `"`} {
		hc := &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) { return nil, errors.New(text) })}
		_, err := session.Create(t.Context(), alice, session.WithHTTPClient(hc))
		assert.ErrorIs(t, err, session.ErrOutcomeUnknown)
		assertQuiet(t, err)
	}
}

// carrier is an error type of a caller's own RoundTripper.
type carrier struct{ text string }

func (e *carrier) Error() string { return e.text }

func TestErrorsOfTheCallersRoundTripperAreFound(t *testing.T) {
	t.Parallel()
	for text, found := range map[string]bool{"circuit open": true, passwordCanary: false} {
		for _, wrap := range []func(error) error{
			func(err error) error { return err },
			func(err error) error { return fmt.Errorf("wrapped: %w", err) },
			func(err error) error { return &net.OpError{Op: "dial", Err: err} },
		} {
			sent := wrap(&carrier{text})
			hc := &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) { return nil, sent })}
			_, err := session.Create(t.Context(), alice, session.WithHTTPClient(hc))
			var own *carrier
			assert.Equal(t, found, errors.As(err, &own))
			assert.ErrorIs(t, err, sent)
			assert.NotErrorIs(t, err, context.Canceled)
			assertQuiet(t, err)
		}
	}
}

func TestABodyOfHTTP2ThatBlocksIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	unblock := make(chan struct{})
	done := make(chan struct{})
	hc := &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 201, ProtoMajor: 2, Header: http.Header{}, Request: r, Body: blockedBody{unblock, done}}, nil
	})}
	_, err := session.Create(t.Context(), alice, session.WithHTTPClient(hc), session.WithTimeout(20*time.Millisecond))
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	assert.ErrorIs(t, err, session.ErrInvalidResponse)
	assert.ErrorContains(t, err, "no answer within 20ms")
	close(unblock)
	<-done
}

type blockedBody struct{ unblock, done chan struct{} }

func (b blockedBody) Read([]byte) (int, error) { <-b.unblock; return 0, io.EOF }
func (b blockedBody) Close() error             { close(b.done); return nil }

func TestARoundTripperThatReturnsNothingIsAnError(t *testing.T) {
	t.Parallel()
	hc := &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) { return nil, nil })}
	_, err := session.Create(t.Context(), alice, session.WithHTTPClient(hc))
	assert.ErrorIs(t, err, session.ErrOutcomeUnknown)
	hc.Transport = roundTripper(func(r *http.Request) (*http.Response, error) { return &http.Response{StatusCode: 201, Request: r}, nil })
	_, err = session.Create(t.Context(), alice, session.WithHTTPClient(hc))
	assert.ErrorIs(t, err, session.ErrInvalidResponse)
}

// Rule 11.
func TestADeadContextSendsNothing(t *testing.T) {
	t.Parallel()
	srv := answer(t, 201, `{"id":"1"}`)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errBroken)
	_, err := client(t, srv).Create(ctx, alice)
	for _, want := range []error{session.ErrNotSent, context.Canceled, errBroken} {
		assert.ErrorIs(t, err, want)
		assert.ErrorIs(t, client(t, srv).Delete(ctx, &session.Session{ID: "1"}), want)
	}
	assert.Empty(t, srv.seen())
}

func TestACancelledLoginMatchesItsCause(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := make(chan struct{})
	srv := serve(t, func(http.ResponseWriter, *http.Request) { cancel(errBroken); <-stop })
	_, err := client(t, srv).Create(ctx, alice)
	close(stop)
	for _, want := range []error{session.ErrOutcomeUnknown, context.Canceled, errBroken} {
		assert.ErrorIs(t, err, want)
	}
	assertQuiet(t, err)
}

func TestATimeoutBoundsTheExchangeAndItsBody(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]string{"no answer": "", "drip": "HTTP/1.1 201 Created\r\nContent-Length: 1000\r\n\r\n{\"id\":\"" + idCanary} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			origin, _ := listen(t, func(_ int, conn net.Conn) {
				readRequest(conn)
				io.WriteString(conn, begin)
				conn.Read(make([]byte, 1)) // until the client hangs up
			})
			hc := session.WithHTTPClient(&http.Client{Transport: freshTransport(t)})
			_, err := session.Create(t.Context(), alice, session.WithBaseURL(origin), hc, session.WithTimeout(50*time.Millisecond))
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			assert.ErrorIs(t, err, session.ErrOutcomeUnknown)
			assertQuiet(t, err)

			callers := session.WithHTTPClient(&http.Client{Transport: freshTransport(t), Timeout: 50 * time.Millisecond})
			_, err = session.Create(t.Context(), alice, session.WithBaseURL(origin), callers)
			assert.ErrorIs(t, err, context.DeadlineExceeded, "the caller's Timeout is kept")
			assertQuiet(t, err)
		})
	}
}

func TestTheWaitBeforeARetryEndsWithTheContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	hc, dials := failingDialer(t, 100, errBroken)
	quit := &cancelOnWarn{cancel: cancel}
	_, err := session.Create(ctx, alice, session.WithHTTPClient(hc), session.WithRetries(1000), session.WithLogger(slog.New(quit)))
	for _, want := range []error{session.ErrNotSent, context.Canceled, errBroken} {
		assert.ErrorIs(t, err, want)
	}
	assert.EqualValues(t, 3, dials.Load())

	srv := answer(t, 503, "")
	ctx, cancel = context.WithCancel(t.Context())
	quit = &cancelOnWarn{cancel: cancel}
	err = client(t, srv, session.WithRetries(1000), session.WithLogger(slog.New(quit))).Delete(ctx, &session.Session{ID: idCanary})
	assert.ErrorIs(t, err, context.Canceled)
	assert.ErrorIs(t, err, session.ErrOutcomeUnknown)
	assert.Equal(t, 503, apiError(t, err).StatusCode)
}

// cancelOnWarn cancels a while after the third warning, in the wait that follows it.
type cancelOnWarn struct {
	slog.Handler
	cancel context.CancelFunc
	n      int
}

func (h *cancelOnWarn) Enabled(context.Context, slog.Level) bool { return true }
func (h *cancelOnWarn) Handle(context.Context, slog.Record) error {
	if h.n++; h.n == 3 {
		time.AfterFunc(20*time.Millisecond, h.cancel)
	}
	return nil
}

// Rule 12.
func TestAnswersAreBoundedAfterDecompression(t *testing.T) {
	t.Parallel()
	pad := func(n int) string { return `{"id":"1","x":"` + strings.Repeat("x", n-17) + `"}` }
	zip := func(text string) string {
		var b bytes.Buffer
		zw := gzip.NewWriter(&b)
		io.WriteString(zw, text)
		zw.Close()
		return b.String()
	}
	for _, uncompress := range []bool{true, false} { // by net/http, or by us
		create := func(body, encoding string) error {
			srv := answer(t, 201, body, "Content-Encoding", encoding)
			tr := freshTransport(t)
			tr.DisableCompression = !uncompress
			_, err := session.Create(t.Context(), alice, session.WithBaseURL(srv.URL), session.WithHTTPClient(&http.Client{Transport: tr}))
			return err
		}
		assert.NoError(t, create(pad(64<<10), ""))
		assert.NoError(t, create(zip(pad(64<<10)), "gzip"))
		if !uncompress {
			assert.NoError(t, create(zip(pad(1000)), "x-gzip"), "the label does not matter")
			assert.NoError(t, create(pad(1000), "gzip"))
		}
		for name, err := range map[string]error{
			"one byte more":       create(pad(64<<10+1), ""),
			"the same in gzip":    create(zip(pad(64<<10+1)), "gzip"),
			"bomb":                create(zip(pad(8<<20)), "gzip"),
			"gzip cut off":        create(zip(pad(1000))[:40], "gzip"),
			"gzip header cut off": create(zip("")[:5], "gzip"),
			"gzip header only":    create(zip("")[:10], "gzip"),
			"bad checksum":        create(zip(pad(1000))[:len(zip(pad(1000)))-8]+"12345678", "gzip"),
		} {
			assert.ErrorIs(t, err, session.ErrInvalidResponse, name)
			assert.ErrorIs(t, err, session.ErrOutcomeUnknown, name)
		}
	}
}

func TestHeadersAreBounded(t *testing.T) {
	t.Parallel()
	srv := answer(t, 201, `{"id":"1"}`, "X-Long", strings.Repeat("x", 70<<10))
	_, err := session.Create(t.Context(), alice, session.WithBaseURL(srv.URL))
	assert.ErrorIs(t, err, session.ErrOutcomeUnknown)
	assert.Len(t, srv.seen(), 1)
}

func TestOldTLSIsRefused(t *testing.T) {
	t.Parallel()
	srv := httptest.NewUnstartedServer(http.NotFoundHandler())
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.TLS = &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}
	srv.StartTLS()
	defer srv.Close()
	_, err := session.Create(t.Context(), alice, session.WithBaseURL(srv.URL), session.WithRetries(0))
	assert.ErrorIs(t, err, session.ErrNotSent)
	assert.ErrorContains(t, err, "protocol version")
}

// net/http has the body again for an HTTP/2 server that did not process it.
func TestTheBodyOfALoginCanBeHadAgain(t *testing.T) {
	t.Parallel()
	want := "username=alice&password=" + url.QueryEscape(passwordCanary)
	hc := &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		assert.EqualValues(t, len(want), r.ContentLength)
		for body := range 3 {
			if body > 0 {
				var err error
				r.Body, err = r.GetBody()
				assert.NoError(t, err)
			}
			got, err := io.ReadAll(r.Body)
			assert.NoError(t, err)
			assert.Equal(t, want, string(got))
		}
		return nil, errBroken
	})}
	_, err := session.Create(t.Context(), alice, session.WithHTTPClient(hc))
	assert.ErrorIs(t, err, errBroken)
	assertNoSecret(t, err.Error())
}

// Rule 14.
func TestLoginOverHTTP2(t *testing.T) {
	t.Parallel()
	var protocols []string
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		protocols = append(protocols, r.Proto)
		w.WriteHeader(http.StatusCreated)
		io.WriteString(w, `{"id":"1"}`)
	}))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	s, err := session.Create(t.Context(), alice, session.WithBaseURL(srv.URL), session.WithHTTPClient(srv.Client()))
	require.NoError(t, err)
	require.NoError(t, session.Delete(t.Context(), s))
	assert.Equal(t, []string{"HTTP/2.0", "HTTP/2.0"}, protocols)
}

func TestTheCallersHTTPClientIsNotTouched(t *testing.T) {
	t.Parallel()
	srv := answer(t, 201, `{"id":"1"}`)
	checked := false
	hc := &http.Client{Transport: srv.Client().Transport, Jar: &cookieJar{}, Timeout: time.Hour,
		CheckRedirect: func(*http.Request, []*http.Request) error { checked = true; return nil }}
	before := *hc
	_, err := session.Create(t.Context(), alice, session.WithBaseURL(srv.URL), session.WithHTTPClient(hc))
	require.NoError(t, err)
	assert.Equal(t, before.Transport, hc.Transport)
	assert.Equal(t, before.Jar, hc.Jar)
	assert.Equal(t, before.Timeout, hc.Timeout)
	hc.CheckRedirect(nil, nil)
	assert.True(t, checked)
}

func TestTheLogTellsEveryAttempt(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	logger := session.WithLogger(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == "time" || a.Key == "duration" {
			return slog.Attr{}
		}
		return a
	}})))
	fake := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: passwordCanary})
	defer fake.Close()
	c := newClient(t, session.WithBaseURL(fake.URL), session.WithHTTPClient(fake.Client()), logger)
	s, err := c.Create(t.Context(), alice)
	require.NoError(t, err)
	canaries := append([]string{s.ID}, canaries...)
	require.NoError(t, c.Delete(t.Context(), s))
	_, err = c.Create(t.Context(), session.CreateParams{Username: "alice", Password: otpCanary})
	instance := apiError(t, err).Instance
	broken, _ := failingDialer(t, 100, errBroken)
	_, err = session.Create(t.Context(), alice, session.WithHTTPClient(broken), session.WithRetries(1), logger)
	require.Error(t, err)
	srv := answer(t, 201, idCanary)
	_, err = client(t, srv, logger).Create(t.Context(), alice)
	require.Error(t, err)
	moving := answer(t, 401, mismatch(strings.TrimPrefix(fake.URL, "http://")))
	_, err = client(t, moving, logger, session.WithTrustedHosts(strings.TrimPrefix(fake.URL, "http://"))).Create(t.Context(), alice)
	require.NoError(t, err)

	fakeHost, host := strings.TrimPrefix(fake.URL, "http://"), strings.TrimPrefix(srv.URL, "http://")
	assert.Equal(t, strings.Join([]string{
		`level=DEBUG msg="Files.com session request" method=POST host=` + fakeHost + ` attempt=1 status=201`,
		`level=DEBUG msg="Files.com session request" method=DELETE host=` + fakeHost + ` attempt=1 status=204`,
		`level=WARN msg="Files.com session request" method=POST host=` + fakeHost + ` attempt=1 status=401 error_type=not-authenticated/invalid-username-or-password instance=` + instance,
		`level=WARN msg="Files.com session request" method=POST host=app.files.com attempt=1 error_type="not sent" error=broken`,
		`level=WARN msg="Files.com session request" method=POST host=app.files.com attempt=2 error_type="not sent" error=broken`,
		`level=WARN msg="Files.com session request" method=POST host=` + host + ` attempt=1 status=201 error_type="invalid response" instance=""`,
		`level=WARN msg="Files.com session request" method=POST host=` + strings.TrimPrefix(moving.URL, "http://") + ` attempt=1 status=401 error_type=not-authenticated/lockout-region-mismatch instance=""`,
		`level=DEBUG msg="Files.com session request" method=POST host=` + fakeHost + ` attempt=1 status=201`,
	}, "\n")+"\n", out.String())
	for _, canary := range canaries {
		assert.NotContains(t, out.String(), canary)
	}
}

func TestNothingIsWrittenToTheStandardLogger(t *testing.T) {
	var out bytes.Buffer
	log.SetOutput(&out)
	slogBefore := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})))
	stderr := os.Stderr
	r, w, err := os.Pipe()
	require.NoError(t, err)
	os.Stderr = w
	defer func() { os.Stderr = stderr; slog.SetDefault(slogBefore); log.SetOutput(stderr) }()
	for status, body := range map[int]string{201: `{"id":"` + idCanary + `"}`, 200: idCanary, 302: "", 401: `{"error":`, 500: `{"http-code":"500"}`, 503: ""} {
		srv := answer(t, status, body, "Content-Type", "application/json", "Location", "http://%"+tokenCanary)
		c := client(t, srv, session.WithRetries(1))
		c.Create(t.Context(), alice)
		c.Delete(t.Context(), &session.Session{ID: idCanary})
	}
	hc, _ := failingDialer(t, 100, errBroken)
	session.Create(t.Context(), alice, session.WithHTTPClient(hc), session.WithRetries(1))
	w.Close()
	written, err := io.ReadAll(r)
	require.NoError(t, err)
	assert.Empty(t, string(written)+out.String())
}
