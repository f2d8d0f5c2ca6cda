package session

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// redacted replaces a text that holds a secret.
const redacted = "[redacted]"

// secrets are the secret values of one request. No text may show one.
type secrets []string

// in reports whether text holds one of the secrets: as it is, trimmed, without
// control characters, or escaped, in upper or lower case. A secret of less than 8
// bytes must stand between characters that are neither letters nor digits, so that
// the code "1" does not hide every support ID.
func (s secrets) in(text string) bool {
	text = strings.ToLower(text)
	for _, secret := range s {
		for _, plain := range [...]string{secret, strings.TrimSpace(secret), withoutControls(secret)} {
			escaped := url.QueryEscape(plain)
			for _, form := range [...]string{plain, escaped, strings.ReplaceAll(escaped, "+", "%20"), url.PathEscape(plain)} {
				if holds(text, strings.ToLower(form), len(plain) < 8) {
					return true
				}
			}
		}
	}
	return false
}

// holds reports whether text has form in it. If alone is true, no letter or digit
// may stand next to it.
func holds(text, form string, alone bool) bool {
	if form == "" {
		return false
	}
	for from := 0; ; {
		i := strings.Index(text[from:], form)
		if i < 0 {
			return false
		}
		from += i
		left, _ := utf8.DecodeLastRuneInString(text[:from])
		right, _ := utf8.DecodeRuneInString(text[from+len(form):])
		if !alone || !isAlphanumeric(left) && !isAlphanumeric(right) {
			return true
		}
		from++
	}
}

func isAlphanumeric(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

// inError reports whether err, or an error that it wraps, holds one of the secrets.
func (s secrets) inError(err error) bool {
	return anyError(err, func(err error) bool { return s.in(err.Error()) })
}

// anyError reports whether f is true of err or of an error that it wraps.
func anyError(err error, f func(error) bool) bool {
	switch e := err.(type) {
	case nil:
		return false
	case interface{ Unwrap() error }:
		return f(err) || anyError(e.Unwrap(), f)
	case interface{ Unwrap() []error }:
		return f(err) || slices.ContainsFunc(e.Unwrap(), func(err error) bool { return anyError(err, f) })
	}
	return f(err)
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
	plain := withoutControls(text)
	if s.in(text) || s.in(plain) {
		return redacted
	}
	if len(plain) > 256 {
		plain = strings.ToValidUTF8(plain[:256], "")
	}
	return plain
}

// cleanType returns an error type without a secret. It keeps the names that this
// package knows: they are words of the API, even if a password is the same word.
func (s secrets) cleanType(kind string) string {
	group, name := splitType(kind)
	switch known := isRefusalName(name) || name == regionMismatch; {
	case !s.in(kind), known && !s.in(group):
		return kind
	case known:
		return name
	case group != "" && !s.in(group):
		return group + "/redacted"
	}
	return "redacted"
}

// transportError is an error of the transport, whose text may quote what the server
// sent. Its own text is safe to show. [errors.Is] finds every error in it.
// [errors.As] finds them only if none of their texts may hold a secret. It has no
// Unwrap method, so that code that prints a chain of errors stops here.
type transportError struct {
	op        string // what was being done
	outcome   error  // ErrNotSent or ErrOutcomeUnknown; nil if the answer was cut off
	text      string
	cause     func() error // a function, since fmt prints every other kind of field
	exposed   bool         // errors.As may see cause
	previous  error        // the answer that an earlier attempt got
	permanent bool         // the next attempt would fail in the same way
}

// newTransportError returns the error of an exchange that failed with err under ctx.
// If the request was not sent, every text without a secret is safe, since the server
// has not answered anything yet.
func newTransportError(ctx context.Context, r *request, outcome, err error) *transportError {
	err = withoutURL(err)
	unsent := outcome == ErrNotSent
	if unsent && r.mayHaveArrived { // by an earlier attempt
		outcome = ErrOutcomeUnknown
	}
	e := &transportError{
		op:        r.op,
		outcome:   outcome,
		text:      r.secrets.clean(shownText(ctx, err, unsent)),
		exposed:   (unsent || isContextEnd(ctx, err) || !quotesWire(err)) && !r.secrets.inError(err),
		previous:  r.answered,
		permanent: errors.As(err, new(*tls.CertificateVerificationError)) || errors.Is(err, errProxyAuth),
	}
	if isTimeout(err) {
		err = errors.Join(err, context.DeadlineExceeded)
	}
	if ctx.Err() != nil {
		err = errors.Join(err, contextError(ctx))
	}
	e.cause = func() error { return err }
	return e
}

func (e *transportError) Error() string {
	if e.outcome == nil {
		return e.text
	}
	return "session: " + e.op + ": " + e.outcome.Error() + ": " + e.text
}

// Is reports whether an error that e holds matches target.
func (e *transportError) Is(target error) bool {
	return target == e.outcome || errors.Is(e.cause(), target) || errors.Is(e.previous, target)
}

// As finds an error that e holds, if it may be shown.
func (e *transportError) As(target any) bool {
	return errors.As(e.previous, target) || e.exposed && errors.As(e.cause(), target)
}

// contextError returns the error of a context that has ended, and its cause.
func contextError(ctx context.Context) error {
	if cause := context.Cause(ctx); cause != ctx.Err() {
		return fmt.Errorf("%w: %w", ctx.Err(), cause)
	}
	return ctx.Err()
}

// isContextEnd reports whether err says that ctx has ended.
func isContextEnd(ctx context.Context, err error) bool {
	return ctx.Err() != nil && (errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx)))
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// withoutURL removes the method and the URL that http.Client puts before an error.
// Our own text names the host.
func withoutURL(err error) error {
	for outer, ok := err.(*url.Error); ok; outer, ok = err.(*url.Error) {
		err = outer.Err
	}
	return err
}

// shownText returns the text of err, or a description of err if its text may quote
// the server.
func shownText(ctx context.Context, err error, unsent bool) string {
	var operation *net.OpError
	switch {
	case ctx.Err() != nil:
		return contextError(ctx).Error()
	case err == io.EOF:
		return "the server closed the connection without an answer"
	case unsent || !quotesWire(err):
		return err.Error()
	case isTimeout(err):
		return context.DeadlineExceeded.Error()
	case errors.As(err, &operation) && !quotesWire(operation):
		return operation.Error()
	case strings.Contains(err.Error(), "malformed HTTP"):
		return "the answer is not HTTP"
	case strings.Contains(err.Error(), "http2: "), strings.Contains(err.Error(), "stream error: "):
		return "the server ended the HTTP/2 stream or connection"
	case strings.Contains(err.Error(), "net/http: "):
		return "the answer is not valid HTTP"
	}
	return "the exchange failed; the error is not shown, since it may quote the server"
}

// quotesWire reports whether the text of err may quote what a server sent, as the
// errors of net/http and of the packages below it do. Such an error is recognized by
// the package of its type, or by a quotation mark in its text.
func quotesWire(err error) bool {
	return anyError(err, func(err error) bool {
		pkg, _, _ := strings.Cut(strings.TrimPrefix(fmt.Sprintf("%T", err), "*"), ".")
		return pkg == "http" || pkg == "http2" || pkg == "textproto" || strings.Contains(err.Error(), `"`)
	})
}
