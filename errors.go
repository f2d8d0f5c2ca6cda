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
	"path"
	"slices"
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
	// ErrInvalidResponse is matched if an answer has a status of success, but not the
	// content that the call requires.
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
	name := e.Type
	if name == "" && e.Message == "" {
		name = http.StatusText(e.StatusCode)
	}
	parts := []string{"session", e.op, strings.TrimSpace(strconv.Itoa(e.StatusCode) + " " + name), strings.TrimSuffix(e.Message, ".")}
	if e.err != nil {
		parts = append(parts, e.err.Error())
	}
	switch {
	case e.RetryAfter > 0:
		parts = append(parts, "try again in "+e.RetryAfter.String())
	case e.Is(ErrRateLimited):
		parts = append(parts, "try again later; the server does not say when")
	}
	text := strings.Join(slices.DeleteFunc(parts, func(part string) bool { return part == "" }), ": ")
	if e.Instance != "" {
		text += " (instance " + e.Instance + ")"
	}
	return text
}

// Unwrap returns the error that makes the answer unusable, such as a body that was
// cut off, or nil.
func (e *APIError) Unwrap() error { return e.err }

// Is reports whether e matches target, one of the Err variables.
func (e *APIError) Is(target error) bool {
	meaning := meaningOf(e.Type)
	switch target {
	case ErrNotAuthenticated:
		return meaning != errRegionMismatch && (meaning != nil || strings.HasPrefix(e.Type, "not-authenticated/") || e.StatusCode == http.StatusUnauthorized)
	case ErrRateLimited:
		return strings.HasPrefix(e.Type, "rate-limited/") || e.StatusCode == http.StatusTooManyRequests
	case ErrSessionEnded:
		return meaning == ErrSessionEnded && e.withSession
	case ErrInvalidResponse:
		return e.StatusCode/100 == 2
	case ErrOutcomeUnknown:
		return e.StatusCode/100 == 2 || e.StatusCode/100 == 5
	}
	return meaning == target
}

// meanings maps the name of an error type to its meaning, whatever the group and the
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

// These only mark a meaning. No text shows them.
var (
	errSecondFactor   = errors.New("a second factor is required")
	errRegionMismatch = errors.New("the site is served from another host")
)

// showsLiveSession reports whether the API refused a request for another reason than its
// session. An answer without a type may be that of a proxy. Nobody knows all types that a
// 401 has after the end of a session.
func (e *APIError) showsLiveSession() bool {
	return e.StatusCode/100 == 4 && e.StatusCode != http.StatusUnauthorized && e.Type != "" &&
		!e.Is(ErrNotAuthenticated) && !e.Is(ErrRateLimited)
}

// Format prints the text of Error, for every verb.
func (e APIError) Format(f fmt.State, verb rune) { format(f, verb, e.Error()) }

// MarshalText returns the text of Error, so that JSON, XML and YAML show no secret.
func (e APIError) MarshalText() ([]byte, error) { return []byte(e.Error()), nil }

// TwoFactorError says that the password is right and that the API requires a
// second factor, or another code than the one that was sent. It matches
// ErrNotAuthenticated, and [errors.As] finds the [APIError]. If it answers a code, it
// also matches ErrOneTimePasswordIncorrect.
//
// [WithOTP] lets Create ask for the code. Otherwise a program may keep the error,
// with the parameters of the first call, while a person looks for the code.
// [TwoFactorError.Answer] then returns the parameters of the second call. Printing,
// logging and marshalling a TwoFactorError shows no secret, except by gob: to store it
// outside the process, store its fields.
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

// Is reports whether target is ErrOneTimePasswordIncorrect, if e answers a code: only
// Create knows that one was sent.
func (e *TwoFactorError) Is(target error) bool {
	return e.codeRefused && target == ErrOneTimePasswordIncorrect
}

// Format prints the text of Error, for every verb.
func (e TwoFactorError) Format(f fmt.State, verb rune) { format(f, verb, e.Error()) }

// MarshalText returns the text of Error, so that JSON, XML and YAML show no secret.
func (e TwoFactorError) MarshalText() ([]byte, error) { return []byte(e.Error()), nil }

// RegionMismatchError says that the site is served from another host, to which the
// login was not moved. See [WithTrustedHosts].
type RegionMismatchError struct {
	Host string // in lower case; empty if the API named no host that could be trusted
	Err  error  // the *APIError

	origin string // of Host
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
	if resp == nil {
		return fmt.Errorf("session: check a response: %w: the *http.Response is nil", ErrInvalidParams)
	}
	if resp.StatusCode/100 == 2 {
		return nil
	}
	ctx := context.Background()
	r := &request{op: "call"}
	a := &answer{to: r, status: resp.StatusCode, header: resp.Header}
	if req := resp.Request; req != nil {
		ctx = req.Context()
		r.sessionID = req.Header.Get(AuthHeader)
		if req.URL != nil {
			r.base = req.URL.Scheme + "://" + req.URL.Host
			r.op = cmp.Or(req.Method, http.MethodGet) + " " + req.URL.Host
		}
		if r.sessionID == "" && resp.StatusCode == http.StatusUnauthorized && req.Header.Get("X-FilesAPI-Key") == "" {
			a.err = errNoSession
		}
		reauthentication := req.Header.Get("X-Files-Reauthentication")
		r.secrets = secrets{r.sessionID, req.Header.Get("X-FilesAPI-Key"),
			reauthentication, strings.TrimPrefix(reauthentication, "password:")}
	}
	if resp.Body != nil && resp.StatusCode >= 200 {
		data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(data), resp.Body), resp.Body}
		a.body = data
		if err != nil {
			a.err = newTransportError(ctx, r, nil, err)
		}
	}
	return a.error()
}

var errNoSession = errors.New("the request carried no session; send it to the origin of Session.BaseURL, with AuthHeader")

// invalid returns the error of a 2xx that proves nothing.
func (a *answer) invalid(reason error) error {
	media, _, _ := mime.ParseMediaType(a.header.Get("Content-Type"))
	return &APIError{
		StatusCode:  a.status,
		Instance:    a.to.secrets.clean(a.header.Get("X-Request-Id")),
		op:          a.to.op,
		err:         fmt.Errorf("%w (%s): %w", ErrInvalidResponse, cmp.Or(a.to.secrets.clean(media), "no media type"), reason),
		withSession: a.to.sessionID != "",
	}
}

// failure returns the error of an answer that is no success, or nil.
func (a *answer) failure() error {
	switch {
	case a.status/100 != 2:
		return a.error()
	case a.err != nil:
		return a.invalid(a.err)
	}
	return nil
}

// error returns the typed error of an answer whose status is not 2xx.
func (a *answer) error() error {
	body, data, hide := a.parseError()
	hide = append(hide, a.to.secrets...)
	err := &APIError{
		StatusCode:  a.status,
		Type:        hide.cleanType(body.Type),
		Title:       hide.clean(body.Title),
		Message:     hide.clean(body.Message),
		Instance:    hide.clean(body.Instance),
		RetryAfter:  retryAfter(a.header, time.Now()),
		Data:        body.Data,
		op:          a.to.op,
		err:         a.err,
		withSession: a.to.sessionID != "",
	}
	switch {
	case meaningOf(body.Type) == errSecondFactor:
		return data.challenge(hide, err)
	case a.isRegionMismatch(body.Type):
		origin := regionOrigin(a.to.base, string(data.Host))
		if hide.in(hostOf(origin)) { // no text may show it, so no request goes there
			origin = ""
		}
		return &RegionMismatchError{Host: hostOf(origin), Err: err, origin: origin}
	}
	return err
}

// isRegionMismatch reports whether the answer says that the site is served from
// another host. The API has three forms of such an answer, one of them without a
// type.
func (a *answer) isRegionMismatch(kind string) bool {
	switch a.status {
	case http.StatusUnauthorized:
		return meaningOf(kind) == errRegionMismatch
	case http.StatusForbidden:
		return meaningOf(kind) == errRegionMismatch || kind == "" && a.header.Get("X-Files-Host") != "" &&
			bytes.HasPrefix(a.body, []byte("You have connected to a URL that has different security settings"))
	}
	return false
}

// meaningOf returns what an error type means, or nil. It ignores the group, and the
// status that the API of 2021 put before a name, as in "401-locked-out".
func meaningOf(kind string) error { return meanings[strings.TrimPrefix(path.Base(kind), "401-")] }
