package session

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// What errors of this package match by [errors.Is].
var (
	// ErrInvalidParams: a parameter or an option is refused, nothing was sent.
	ErrInvalidParams = errors.New("invalid parameters")
	// ErrNotAuthenticated: the API refuses who is asking: a wrong password or
	// code, a lock-out, a second factor wanted, a dead session. A region
	// mismatch is not one.
	ErrNotAuthenticated = errors.New("not authenticated")
	// ErrInvalidUsernameOrPassword: the API says so.
	ErrInvalidUsernameOrPassword = errors.New("invalid username or password")
	// ErrOneTimePasswordIncorrect: the API refuses the second factor.
	ErrOneTimePasswordIncorrect = errors.New("one-time password incorrect")
	// ErrLockedOut: too many failed logins; how long it lasts is a setting of the site.
	ErrLockedOut = errors.New("locked out")
	// ErrRateLimited: too many requests; see APIError.RetryAfter.
	ErrRateLimited = errors.New("rate limited")
	// ErrSessionEnded: the API does not know the session, or not any more.
	ErrSessionEnded = errors.New("session ended")
	// ErrInvalidResponse: an answer of success that proves no session.
	ErrInvalidResponse = errors.New("invalid response")
	// ErrNotSent: no connection was had, or the context had ended before one was
	// tried, so the server knows nothing of it.
	ErrNotSent = errors.New("not sent")
	// ErrOutcomeUnknown: the server may have done it or not: the connection
	// broke after the request, or the answer was a 5xx or an invalid success.
	// After a login a session may exist that nobody holds.
	ErrOutcomeUnknown = errors.New("outcome unknown")
	// ErrSourceClosed: the Source was closed.
	ErrSourceClosed = errors.New("source closed")
)

// APIError is an answer other than success. It matches the Err variables by its
// type, and by its status where that alone says enough; each is reliable
// without the other, since the API pairs them loosely.
//
// Type, Title, Message and Instance are the server's words: cleaned of control
// characters, cut to 256 bytes, and redacted where they repeat a secret of the
// request. Data is as the server sent it, may hold a partial session ID, and is
// not printed.
type APIError struct {
	StatusCode int             // from the status line, whatever the body says
	Type       string          // such as "not-authenticated/locked-out"; from the body, else from X-Files-Error-Class
	Title      string          // the type in words
	Message    string          // for people, in the language of WithLanguage
	Instance   string          // names the request to Files.com support; from the body, else X-Request-Id
	RetryAfter time.Duration   // as the header says; 0 when it did not say, or more than 24 hours
	Data       json.RawMessage // what the type adds

	op  string // what was being done
	err error  // what was wrong with the answer, nil when nothing
}

// Error holds no secret and no text of an answer that is not JSON.
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
	if message := e.Message; message != "" {
		b.WriteString(": " + message)
	} else if text := http.StatusText(e.StatusCode); text != "" && e.Type == "" {
		b.WriteString(" " + text)
	}
	if e.err != nil {
		b.WriteString(": " + e.err.Error())
	}
	if e.Instance != "" {
		b.WriteString(" (instance " + e.Instance + ")")
	}
	return b.String()
}

// Unwrap returns what was wrong with the answer, nil when it was whole.
func (e *APIError) Unwrap() error { return e.err }

// Is matches the Err variables.
func (e *APIError) Is(target error) bool {
	group, name := splitType(e.Type)
	switch target {
	case ErrNotAuthenticated:
		return name != regionMismatch && (e.StatusCode == http.StatusUnauthorized || group == "not-authenticated" ||
			notAuthenticated(name))
	case ErrInvalidUsernameOrPassword:
		return name == invalidUsernameOrPassword
	case ErrOneTimePasswordIncorrect:
		return name == oneTimePasswordIncorrect
	case ErrLockedOut:
		return name == lockedOut
	case ErrRateLimited:
		return group == "rate-limited" || e.StatusCode == http.StatusTooManyRequests
	case ErrSessionEnded:
		return sessionEnded(name)
	case ErrInvalidResponse:
		return e.StatusCode/100 == 2
	case ErrOutcomeUnknown:
		return e.StatusCode/100 == 2 || e.StatusCode/100 == 5
	}
	return false
}

// Format prints what Error returns, whatever the verb.
func (e APIError) Format(f fmt.State, verb rune) {
	fmt.Fprintf(f, fmt.FormatString(f, verb), e.Error())
}

// MarshalText marshals what Error returns: no encoding shows a secret.
func (e APIError) MarshalText() ([]byte, error) { return []byte(e.Error()), nil }

// LogValue logs status, type, message and instance.
func (e APIError) LogValue() slog.Value {
	return slog.GroupValue(slog.Int("status", e.StatusCode), slog.String("type", e.Type),
		slog.String("message", e.Message), slog.String("instance", e.Instance))
}

// TwoFactorError says that the password is right and a second factor is
// wanted. It matches ErrNotAuthenticated, and [errors.As] finds the [APIError].
//
// It may be kept, with the parameters of the first call, while a person looks
// for the code: [TwoFactorError.Answer] then makes the parameters of the second
// call. Printing, logging and marshalling it shows no secret: to store it
// outside the process, store its fields.
type TwoFactorError struct {
	Methods          []string // "totp", "sms", "yubi", "u2f", "webauthn" and others, as the API spells them
	PartialSessionID string   // secret: stands in for the password; empty when the API sent none
	U2FSignRequests  []U2FSignRequest
	Err              error // the *APIError
}

// U2FSignRequest is what a U2F key signs, as in the FIDO U2F JavaScript API 1.1.
type U2FSignRequest struct{ AppID, Challenge, Version, KeyHandle string }

// Error names the methods and holds no secret.
func (e *TwoFactorError) Error() string {
	text := "second factor wanted"
	if len(e.Methods) > 0 {
		text += " (" + strings.Join(e.Methods, ", ") + ")"
	}
	if e.Err == nil {
		return "session: " + text
	}
	return e.Err.Error() + ": " + text
}

// Unwrap returns the answer, an *APIError.
func (e *TwoFactorError) Unwrap() error { return e.Err }

// Answer returns the parameters of the second call: those of the first one and
// the code, without the white space around it. A blank code is refused by
// [Client.Create].
//
// What a key answers (methods yubi, u2f, webauthn) is sent with the partial
// session ID and without the password, a code of digits with the password: the
// two forms that the official command-line tool sends.
func (e *TwoFactorError) Answer(params CreateParams, code string) CreateParams {
	code = strings.TrimSpace(code)
	keys := 0
	for _, method := range e.Methods {
		switch method {
		case "yubi", "u2f", "webauthn":
			keys++
		}
	}
	answer := CreateParams{Username: params.Username, OTP: code}
	if e.PartialSessionID != "" && keys > 0 && (keys == len(e.Methods) || !digits(code)) {
		answer.PartialSessionID = e.PartialSessionID
	} else {
		answer.Password = params.Password
	}
	if code == "" {
		answer.OTP = " " // blank, where an empty one would be a first call again
	}
	return answer
}

// Format prints what Error returns, whatever the verb.
func (e TwoFactorError) Format(f fmt.State, verb rune) {
	fmt.Fprintf(f, fmt.FormatString(f, verb), e.Error())
}

// MarshalText marshals what Error returns: no encoding shows a secret.
func (e TwoFactorError) MarshalText() ([]byte, error) { return []byte(e.Error()), nil }

// LogValue logs the methods and the answer.
func (e TwoFactorError) LogValue() slog.Value {
	return slog.GroupValue(slog.Any("methods", e.Methods), slog.Any("error", e.Err))
}

// RegionMismatchError says that the site is served from another host, to which
// the login was not moved: see [WithTrustedHosts].
type RegionMismatchError struct {
	Host string // could be followed if it were trusted; empty when the API named no such host
	Err  error  // the *APIError
}

// Error names the host.
func (e *RegionMismatchError) Error() string {
	text := "the site is served from another host"
	if e.Host != "" {
		text = "the site is served from " + e.Host
	}
	if e.Err == nil {
		return "session: " + text
	}
	return e.Err.Error() + ": " + text
}

// Unwrap returns the answer, an *APIError.
func (e *RegionMismatchError) Unwrap() error { return e.Err }

// CheckResponse is for the caller's own calls to the API. It returns nil for a
// 2xx, else the typed error of the answer: an *[APIError], *[TwoFactorError] or
// *[RegionMismatchError]. It reads at most 64 KiB of the body, and leaves it to
// be read again from its start, and to be closed, by the caller.
func CheckResponse(resp *http.Response) error {
	if resp == nil {
		return fmt.Errorf("session: check a response: %w: response is nil", ErrInvalidParams)
	}
	if resp.StatusCode/100 == 2 {
		return nil
	}
	ctx := context.Background()
	r := &request{op: "call"}
	if resp.Request != nil {
		ctx = resp.Request.Context()
		if resp.Request.URL != nil {
			r.base = resp.Request.URL.Scheme + "://" + resp.Request.URL.Host
			r.op = cmp.Or(resp.Request.Method, http.MethodGet) + " "
		}
		reauthentication := resp.Request.Header.Get("X-Files-Reauthentication")
		r.secrets = secrets{resp.Request.Header.Get(AuthHeader), resp.Request.Header.Get("X-FilesAPI-Key"),
			reauthentication, strings.TrimPrefix(reauthentication, "password:")}
	}
	a := &answer{status: resp.StatusCode, header: resp.Header}
	if resp.Body != nil && resp.StatusCode >= 200 {
		data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(data), resp.Body), resp.Body}
		if a.body, err = decompress(data, err); err != nil {
			a.err = quiet(ctx, err, r.secrets, false)
		}
	}
	return a.error(r)
}

// The names of the types that have a meaning here.
const (
	invalidUsernameOrPassword = "invalid-username-or-password"
	oneTimePasswordIncorrect  = "one-time-password-incorrect"
	lockedOut                 = "locked-out"
	twoFactorWanted           = "two-factor-authentication-error"
	regionMismatch            = "lockout-region-mismatch"
)

// sessionEnded: which of them the API answers to a dead session is not known.
func sessionEnded(name string) bool {
	return name == "invalid-credentials" || name == "invalid-session" || name == "authentication-required"
}

// notAuthenticated are the names that say so in any group, and under any status.
func notAuthenticated(name string) bool {
	switch name {
	case invalidUsernameOrPassword, oneTimePasswordIncorrect, lockedOut, twoFactorWanted:
		return true
	}
	return sessionEnded(name)
}

// splitType splits "group/name". The API of 2021 also spelled a name after a
// status, as in "401-invalid-username-or-password".
func splitType(kind string) (group, name string) {
	group, name, found := strings.Cut(kind, "/")
	if !found {
		group, name = "", kind
	}
	return group, strings.TrimPrefix(name, "401-")
}
