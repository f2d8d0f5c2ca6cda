package session

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// redacted replaces a text that holds a secret.
const redacted = "[redacted]"

// secrets are the secret values of one request. No text may show one.
type secrets []string

// in reports whether text holds one of the secrets, as it is or escaped. A secret of
// less than 8 bytes must stand between characters that are neither letters nor
// digits, so that the code "1" does not hide every support ID.
func (s secrets) in(text string) bool {
	text = unescape(text)
	return slices.ContainsFunc(s, func(secret string) bool {
		plain := strings.TrimSpace(unescape(secret))
		if len(secret) >= 8 || plain == "" {
			return plain != "" && strings.Contains(text, plain)
		}
		alone := `(^|[^\pL\p{Nd}])` + regexp.QuoteMeta(plain) + `([^\pL\p{Nd}]|$)`
		return regexp.MustCompile(alone).MatchString(text)
	})
}

var (
	percentEscape = regexp.MustCompile(`%[0-9a-fA-F]{2}`)
	jsonEscapes   = regexp.MustCompile(`(\\u[0-9a-fA-F]{4}|\\["\\/bfnrt])+`)
)

// unescape removes what HTML, URLs, forms and JSON escape, up to four times over. The
// result is in lower case and without control characters. Texts that were escaped in
// different ways become the same text.
func unescape(text string) string {
	for range 4 {
		before := text
		text = html.UnescapeString(text)
		text = percentEscape.ReplaceAllStringFunc(text, func(hex string) string {
			b, _ := strconv.ParseUint(hex[1:], 16, 8)
			return string([]byte{byte(b)})
		})
		text = jsonEscapes.ReplaceAllStringFunc(text, func(escapes string) (plain string) {
			json.Unmarshal([]byte(`"`+escapes+`"`), &plain)
			return plain
		})
		if text = strings.ReplaceAll(text, "+", " "); text == before {
			break
		}
	}
	return strings.ToLower(withoutControls(text))
}

func withoutControls(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, text)
}

// clean returns a text of the server without control characters and cut to 256
// bytes, or "[redacted]" for a text that holds a secret.
func (s secrets) clean(text string) string {
	if s.in(text) {
		return redacted
	}
	plain := withoutControls(text)
	if len(plain) > 256 {
		plain = strings.ToValidUTF8(plain[:256], "")
	}
	return plain
}

// cleanType returns an error type without a secret. It keeps the names that this
// package knows: they are words of the API, even if a password is the same word.
func (s secrets) cleanType(kind string) string {
	if !s.in(kind) {
		return kind
	}
	if _, name := splitType(kind); meanings[name] != nil {
		return name
	}
	return "redacted"
}

// transportError is an error of the transport. Its text is safe to show. [errors.Is]
// finds every error in it, and [errors.As] if their texts are shown. It has no Unwrap
// method, so that code that prints a chain of errors stops here.
type transportError struct {
	op      string // what was being done
	outcome error  // ErrNotSent or ErrOutcomeUnknown; nil if the answer was cut off
	text    string
	cause   error
	exposed bool // errors.As may see cause
}

// newTransportError returns the error of an exchange that failed with err under ctx.
// It shows the text of an err that quotes nothing that a server sent. Before a
// connection is established, no error does.
func newTransportError(ctx context.Context, r *request, outcome, err error) *transportError {
	for outer, ok := err.(*url.Error); ok; outer, ok = err.(*url.Error) {
		err = outer.Err // without the method and the URL; op names the host
	}
	var timeout net.Error
	shown := true
	switch {
	case ctx.Err() != nil:
		err = contextError(ctx)
	case outcome == ErrNotSent, errors.As(err, new(*net.OpError)), err == errTooLarge, err == errTooManyConnections:
	case errors.As(err, &timeout) && timeout.Timeout():
		err = context.DeadlineExceeded
	case err == io.EOF:
		err = errNoAnswer
	default:
		shown = r.ownTransport && !strings.Contains(err.Error(), `"`)
	}
	e := &transportError{op: r.op, outcome: outcome, cause: err, exposed: shown && !r.secrets.in(err.Error())}
	if e.text = r.secrets.clean(err.Error()); !shown {
		e.text = "there was no valid answer; the error is not shown, since it may quote the server"
	}
	if outcome == ErrNotSent && r.mayHaveArrived { // by an earlier attempt
		e.outcome = ErrOutcomeUnknown
	}
	return e
}

var errNoAnswer = errors.New("the server closed the connection without an answer")

func (e *transportError) Error() string {
	if e.outcome == nil {
		return e.text
	}
	return "session: " + e.op + ": " + e.outcome.Error() + ": " + e.text
}

// Is reports whether an error that e holds matches target.
func (e *transportError) Is(target error) bool {
	return target == e.outcome || errors.Is(e.cause, target)
}

// As finds an error that e holds, if it may be shown.
func (e *transportError) As(target any) bool { return e.exposed && errors.As(e.cause, target) }

// permanent reports whether the next attempt would fail in the same way.
func (e *transportError) permanent() bool {
	return errors.As(e.cause, new(*tls.CertificateVerificationError)) || errors.Is(e.cause, errProxyAuth) || e.cause == errTooManyConnections
}

// Format prints the text of Error.
func (e transportError) Format(f fmt.State, verb rune) {
	fmt.Fprintf(f, fmt.FormatString(f, verb), e.Error())
}

// contextError returns the error of a context that has ended, and its cause.
func contextError(ctx context.Context) error {
	if cause := context.Cause(ctx); cause != ctx.Err() {
		return fmt.Errorf("%w: %w", ctx.Err(), cause)
	}
	return ctx.Err()
}
