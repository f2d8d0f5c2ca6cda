package session

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Use [errors.Is] to compare errors of this package with these.
var (
	// ErrInvalidParams is matched if a parameter or an option is refused. The
	// refused value was not sent.
	ErrInvalidParams = errors.New("invalid parameters")
	// ErrNotAuthenticated is matched if the API refuses the user: the password or
	// the code is wrong, the user is locked out, a second factor is required, or the
	// session has ended. A 401 of unknown type also matches. A region mismatch does
	// not.
	ErrNotAuthenticated = errors.New("not authenticated")
	// ErrInvalidUsernameOrPassword is matched if the API refuses the user name or the
	// password.
	ErrInvalidUsernameOrPassword = errors.New("invalid username or password")
	// ErrOneTimePasswordIncorrect is matched if the API refuses the second factor.
	ErrOneTimePasswordIncorrect = errors.New("one-time password incorrect")
	// ErrLockedOut is matched after too many failed logins. How long a lock-out
	// lasts is a setting of the site.
	ErrLockedOut = errors.New("locked out")
	// ErrRateLimited is matched after too many requests. APIError.RetryAfter says
	// how long to wait, if the server sent that.
	ErrRateLimited = errors.New("rate limited")
	// ErrSessionEnded is matched if a request carried a session that the API does
	// not know, or no longer knows. No error of Create matches it.
	ErrSessionEnded = errors.New("session ended")
	// ErrInvalidResponse is matched if the answer to a login has a status of success
	// but no valid session.
	ErrInvalidResponse = errors.New("invalid response")
	// ErrNotSent is matched if the request was not sent: no connection was
	// established, or the context had already ended.
	ErrNotSent = errors.New("not sent")
	// ErrOutcomeUnknown is matched if it is unknown whether the request took effect:
	// the connection broke after the request was sent, or the answer was a 5xx or an
	// invalid success. After a login, a session may exist that nobody knows. It ends
	// by itself.
	ErrOutcomeUnknown = errors.New("outcome unknown")
)

// APIError is an answer of the server that is not a success. It matches the Err
// variables by Type or by StatusCode. One of the two is enough, since the API does
// not always send the same pairs. These statuses match without a type: 401
// ErrNotAuthenticated, 429 ErrRateLimited, 2xx ErrInvalidResponse and
// ErrOutcomeUnknown, 5xx ErrOutcomeUnknown.
//
// Type, Title, Message and Instance are texts of the server. They have no control
// characters, are cut to 256 bytes, and are redacted if they repeat a secret of the
// request. Data is as the server sent it. It may hold a partial session ID, so it is
// not printed.
type APIError struct {
	StatusCode int             // from the status line, whatever the body says
	Type       string          // such as "not-authenticated/locked-out"; from the body, else from X-Files-Error-Class
	Title      string          // the type in words
	Message    string          // for people, in the language of WithLanguage
	Instance   string          // identifies the request to Files.com support; from the body, else from X-Request-Id
	RetryAfter time.Duration   // from the header; 0 if the server sent none, or one of more than 24 hours
	Data       json.RawMessage // depends on Type; nil if there is none

	op          string // what was being done
	err         error  // what is wrong with the answer, or what to do; may be nil
	withSession bool   // the request carried a session
}

// Error returns a text without secrets. It quotes no answer that is not JSON.
func (e *APIError) Error() string {
	var b strings.Builder
	b.WriteString("session: ")
	if e.op != "" {
		b.WriteString(e.op + ": ")
	}
	b.WriteString(strconv.Itoa(e.StatusCode))
	if e.Type != "" {
		b.WriteString(" " + e.Type)
	}
	if e.Message != "" {
		b.WriteString(": " + strings.TrimSuffix(e.Message, "."))
	} else if text := http.StatusText(e.StatusCode); text != "" && e.Type == "" {
		b.WriteString(" " + text)
	}
	if e.err != nil {
		b.WriteString(": " + e.err.Error())
	}
	switch {
	case e.RetryAfter > 0:
		b.WriteString(": try again in " + e.RetryAfter.String())
	case e.Is(ErrRateLimited):
		b.WriteString(": try again later; the server does not say when")
	}
	if e.Instance != "" {
		b.WriteString(" (instance " + e.Instance + ")")
	}
	return b.String()
}

// Unwrap returns the error that makes the answer unusable, such as a body that was
// cut off, or nil.
func (e *APIError) Unwrap() error { return e.err }

// Is reports whether e matches target, one of the Err variables.
func (e *APIError) Is(target error) bool {
	group, name := splitType(e.Type)
	meaning := meanings[name]
	switch target {
	case ErrNotAuthenticated:
		return meaning != errRegionMismatch && (meaning != nil || group == "not-authenticated" || e.StatusCode == http.StatusUnauthorized)
	case ErrRateLimited:
		return group == "rate-limited" || e.StatusCode == http.StatusTooManyRequests
	case ErrSessionEnded:
		return meaning == ErrSessionEnded && e.withSession
	case ErrInvalidResponse:
		return e.StatusCode/100 == 2
	case ErrOutcomeUnknown:
		return e.StatusCode/100 == 2 || e.StatusCode/100 == 5
	}
	return meaning == target && target != nil
}

// meanings returns what the name of an error type means, whatever the group and the
// status. The documentation of the API does not say which of the last three it sends.
var meanings = map[string]error{
	"invalid-username-or-password":    ErrInvalidUsernameOrPassword,
	"one-time-password-incorrect":     ErrOneTimePasswordIncorrect,
	"locked-out":                      ErrLockedOut,
	"two-factor-authentication-error": errSecondFactor,
	"lockout-region-mismatch":         errRegionMismatch,
	"invalid-credentials":             ErrSessionEnded,
	"invalid-session":                 ErrSessionEnded,
	"authentication-required":         ErrSessionEnded,
}

var (
	errSecondFactor   = errors.New("a second factor is required")
	errRegionMismatch = errors.New("the site is served from another host")
)

// provesSession reports whether the API refused a request for another reason than its
// session. An answer without a type may be that of a proxy.
func (e *APIError) provesSession() bool {
	return e.StatusCode/100 == 4 && e.Type != "" && !e.Is(ErrSessionEnded) && !e.Is(ErrRateLimited)
}

// Format prints the text of Error, for every verb.
func (e APIError) Format(f fmt.State, verb rune) {
	fmt.Fprintf(f, fmt.FormatString(f, verb), e.Error())
}

// MarshalText returns the text of Error, so that no encoding shows a secret.
func (e APIError) MarshalText() ([]byte, error) { return []byte(e.Error()), nil }

// TwoFactorError says that the password is right and that the API requires a
// second factor, or another code than the one that was sent. It matches
// ErrNotAuthenticated, and [errors.As] finds the [APIError]. If it answers a code, it
// also matches ErrOneTimePasswordIncorrect.
//
// [WithOTP] lets Create ask for the code. Otherwise a program may keep the error,
// with the parameters of the first call, while a person looks for the code.
// [TwoFactorError.Answer] then returns the parameters of the second call. Printing,
// logging and marshalling a TwoFactorError shows no secret: to store it outside the
// process, store its fields.
type TwoFactorError struct {
	Methods          []string // "totp", "sms", "yubi", "u2f", "webauthn" and others, as the API spells them; at most 32
	PartialSessionID string   // secret: takes the place of the password; empty if the API sent none
	U2FSignRequests  []U2FSignRequest
	Err              error // the *APIError

	codeRefused bool // the login had a code
}

// U2FSignRequest is the request that a U2F key signs, as in the FIDO U2F JavaScript
// API 1.1.
type U2FSignRequest struct{ AppID, Challenge, Version, KeyHandle string }

// Error returns a text for people. It names the methods and holds no secret.
func (e *TwoFactorError) Error() string {
	text := "a second factor is required; log in again with a code"
	if e.codeRefused {
		text = "the code was not accepted; log in again with another code"
	}
	if len(e.Methods) > 0 {
		text += " (" + strings.Join(e.Methods, ", ") + ")"
	}
	if e.Err == nil {
		return "session: " + text
	}
	return e.Err.Error() + ": " + text
}

// Unwrap returns the *APIError.
func (e *TwoFactorError) Unwrap() error { return e.Err }

// Is reports whether target is ErrOneTimePasswordIncorrect and e answers a code.
func (e *TwoFactorError) Is(target error) bool {
	return e.codeRefused && target == ErrOneTimePasswordIncorrect
}

// Answer returns the parameters of the second call: those of the first call and the
// code. It takes a code as people have it: it drops white space and invisible
// characters, turns digits of every script into ASCII, and drops hyphens and dots
// from a code of digits. [Client.Create] refuses a blank code. Answer modifies
// neither e nor params.
//
// The answer of a key (methods yubi, u2f and webauthn) is sent as it is, with the
// partial session ID and without the password. A code of digits is sent with the
// password, unless only keys are offered. The official command-line tool does the
// same.
func (e *TwoFactorError) Answer(params CreateParams, code string) CreateParams {
	keys := 0
	for _, method := range e.Methods {
		if method == "yubi" || method == "u2f" || method == "webauthn" {
			keys++
		}
	}
	clean, digits := cleanCode(code)
	ofKey := keys > 0 && !digits
	if ofKey {
		clean = strings.TrimFunc(code, isInvisible)
	}
	answer := CreateParams{Username: params.Username, OTP: clean}
	switch {
	case clean == "": // without credentials, which would make this a first call again
		answer.OTP = code
	case e.PartialSessionID != "" && (ofKey || keys > 0 && keys == len(e.Methods)):
		answer.PartialSessionID = e.PartialSessionID
	default:
		answer.Password = params.Password
	}
	return answer
}

// Format prints the text of Error, for every verb.
func (e TwoFactorError) Format(f fmt.State, verb rune) {
	fmt.Fprintf(f, fmt.FormatString(f, verb), e.Error())
}

// MarshalText returns the text of Error, so that no encoding shows a secret.
func (e TwoFactorError) MarshalText() ([]byte, error) { return []byte(e.Error()), nil }

// RegionMismatchError says that the site is served from another host, to which the
// login was not moved. See [WithTrustedHosts].
type RegionMismatchError struct {
	Host string // in lower case; empty if the API named no host that could be trusted
	Err  error  // the *APIError
}

// Error returns a text that names the host and says how to use it.
func (e *RegionMismatchError) Error() string {
	text := "the site is served from another host; ask Files.com for its base URL"
	if e.Host != "" {
		text = fmt.Sprintf("the site is served from %s; use its base URL, or WithTrustedHosts(%q)", e.Host, e.Host)
	}
	if e.Err == nil {
		return "session: " + text
	}
	return e.Err.Error() + ": " + text
}

// Unwrap returns the *APIError.
func (e *RegionMismatchError) Unwrap() error { return e.Err }

// CheckResponse checks the answer to a call that the caller made. It returns nil for
// a 2xx, whose body it does not read. For any other status it returns an
// *[APIError], a *[TwoFactorError] or a *[RegionMismatchError], and reads at most 64
// KiB of the body. The caller can still read the whole body, including an error at
// its end, and must close it. The error matches [ErrSessionEnded] only if the
// request carried [AuthHeader]. It matches [ErrInvalidParams] if resp is nil.
func CheckResponse(resp *http.Response) error {
	return checkResponse(resp, resp != nil && resp.Request != nil && resp.Request.Header.Get(AuthHeader) != "")
}

// checkResponse is CheckResponse. withSession says that the request carried a session.
func checkResponse(resp *http.Response, withSession bool) error {
	if resp == nil {
		return fmt.Errorf("session: check a response: %w: the *http.Response is nil", ErrInvalidParams)
	}
	if resp.StatusCode/100 == 2 {
		return nil
	}
	ctx := context.Background()
	r := &request{op: "call", withSession: withSession}
	a := &answer{status: resp.StatusCode, header: resp.Header}
	if req := resp.Request; req != nil {
		ctx = req.Context()
		if req.URL != nil {
			r.base = req.URL.Scheme + "://" + req.URL.Host
			r.op = cmp.Or(req.Method, http.MethodGet) + " " + req.URL.Host
		}
		if !withSession && resp.StatusCode == http.StatusUnauthorized && req.Header.Get("X-FilesAPI-Key") == "" {
			a.err = errNoSession
		}
		reauthentication := req.Header.Get("X-Files-Reauthentication")
		r.secrets = secrets{req.Header.Get(AuthHeader), req.Header.Get("X-FilesAPI-Key"),
			reauthentication, strings.TrimPrefix(reauthentication, "password:")}
	}
	if resp.Body != nil && resp.StatusCode >= 200 {
		data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(data), resp.Body), resp.Body}
		if a.body = data; err != nil {
			a.err = newTransportError(ctx, r, nil, err)
		}
	}
	return a.error(r)
}

var (
	errNoSession = errors.New("the request carried no session; send it to the origin of Session.BaseURL, with AuthHeader")
	errRedirect  = errors.New("redirects are not followed; use the base URL of the site itself")
)

// invalid returns the error of a 2xx that proves nothing.
func (a *answer) invalid(r *request, reason error) error {
	media, _, _ := mime.ParseMediaType(a.header.Get("Content-Type"))
	return &APIError{
		StatusCode:  a.status,
		Instance:    r.secrets.clean(a.header.Get("X-Request-Id")),
		op:          r.op,
		err:         fmt.Errorf("%w (%s): %w", ErrInvalidResponse, cmp.Or(r.secrets.clean(media), "no media type"), reason),
		withSession: r.withSession,
	}
}

// failure returns the error of an answer that is no success, or nil.
func (a *answer) failure(r *request) error {
	switch {
	case a.status/100 != 2:
		return a.error(r)
	case a.err != nil:
		return a.invalid(r, a.err)
	}
	return nil
}

// error returns the typed error of an answer whose status is not 2xx.
func (a *answer) error(r *request) error {
	body, data, hide := a.parseError()
	hide = append(hide, r.secrets...)
	err := &APIError{
		StatusCode:  a.status,
		Type:        hide.cleanType(body.Type),
		Title:       hide.clean(body.Title),
		Message:     hide.clean(body.Message),
		Instance:    hide.clean(body.Instance),
		RetryAfter:  retryAfter(a.header, time.Now()),
		Data:        body.Data,
		op:          r.op,
		err:         a.err,
		withSession: r.withSession,
	}
	_, name := splitType(body.Type)
	switch {
	case meanings[name] == errSecondFactor:
		return data.challenge(hide, err)
	case a.isRegionMismatch(body.Type):
		mismatch := &RegionMismatchError{Host: hostOf(regionOrigin(r.base, string(data.Host))), Err: err}
		if hide.in(mismatch.Host) { // no text may show it, so no request goes there
			mismatch.Host = ""
		}
		return mismatch
	}
	return err
}

// isRegionMismatch reports whether the answer says that the site is served from
// another host. The API has three forms of such an answer, one of them without a
// type.
func (a *answer) isRegionMismatch(kind string) bool {
	_, name := splitType(kind)
	return meanings[name] == errRegionMismatch || kind == "" && a.status == http.StatusForbidden && a.header.Get("X-Files-Host") != "" &&
		bytes.HasPrefix(a.body, []byte("You have connected to a URL that has different security settings"))
}

// splitType splits "group/name". The API of 2021 also put a status before a name,
// as in "401-invalid-username-or-password".
func splitType(kind string) (group, name string) {
	group, name, found := strings.Cut(kind, "/")
	if !found {
		group, name = "", kind
	}
	return group, strings.TrimPrefix(name, "401-")
}
