package session

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"reflect"
	"strings"
	"unicode"
	"unicode/utf8"
)

// redacted stands in a text for a secret.
const redacted = "[redacted]"

// secrets are the secret values of one request. No text may show one.
type secrets []string

// in reports whether text holds one of the secrets: as it is or escaped, in
// upper or lower case. A secret of less than 8 bytes counts only between
// characters that are neither letters nor digits, so that the code "1" does
// not hide every support ID.
func (s secrets) in(text string) bool {
	text = strings.ToLower(text)
	for _, secret := range s {
		if secret == "" {
			continue
		}
		for _, form := range [...]string{secret, url.QueryEscape(secret), url.PathEscape(secret)} {
			if containsForm(text, strings.ToLower(form), len(secret) < 8) {
				return true
			}
		}
	}
	return false
}

// containsForm reports whether text contains form, if alone is set between
// characters that are neither letters nor digits.
func containsForm(text, form string, alone bool) bool {
	for {
		before, after, found := strings.Cut(text, form)
		if !found {
			return false
		}
		left, _ := utf8.DecodeLastRuneInString(before)
		right, _ := utf8.DecodeRuneInString(after)
		if !alone || !isAlphanumeric(left) && !isAlphanumeric(right) {
			return true
		}
		_, size := utf8.DecodeRuneInString(form)
		text = text[len(before)+size:]
	}
}

func isAlphanumeric(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

// clean returns a text of the server without control characters and cut to 256
// bytes, or "[redacted]" for a text that holds a secret.
func (s secrets) clean(text string) string {
	plain := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, text)
	if s.in(text) || s.in(plain) {
		return redacted
	}
	if len(plain) > 256 {
		plain = strings.ToValidUTF8(plain[:256], "")
	}
	return plain
}

// cleanType returns an error type without a secret. It keeps the names that this
// package knows: they are words of the API, even if a password is one of them too.
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

// transportError is an error of the transport, whose text may quote what the
// server sent. Its own text is safe to show. [errors.Is] sees all that it holds.
// [errors.As] finds an error whose text is safe. It has no Unwrap method: code
// that prints a chain of errors stops here.
type transportError struct {
	op        string // what was being done
	outcome   error  // ErrNotSent or ErrOutcomeUnknown; nil if there is an answer, which broke off
	text      string
	safe      func(error) bool
	cause     func() error // a function, since fmt can print every other kind of field
	previous  error        // the answer that an earlier attempt got
	permanent bool         // the next attempt would fail in the same way
}

// newTransportError makes the error of an exchange under ctx, which returned err.
// If the request was not sent, every text without a secret is safe: the server
// had nothing to answer yet.
func newTransportError(ctx context.Context, r *request, outcome, err error) *transportError {
	unsent := outcome == ErrNotSent
	cause := err
	var network net.Error
	if errors.As(err, &network) && network.Timeout() {
		cause = errors.Join(cause, context.DeadlineExceeded)
	}
	if ctx.Err() != nil {
		cause = errors.Join(cause, contextError(ctx))
	}
	var certificate *tls.CertificateVerificationError
	return &transportError{
		op:        r.String(),
		outcome:   outcome,
		text:      r.secrets.clean(shownText(ctx, err, unsent)),
		safe:      func(err error) bool { return (unsent || !quotesWire(err)) && !r.secrets.in(err.Error()) },
		cause:     func() error { return cause },
		permanent: errors.As(err, &certificate) || errors.Is(err, errProxyAuth),
	}
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

// As sets target to the first error of its type, if the text of that is safe.
func (e *transportError) As(target any) bool {
	if errors.As(e.previous, target) {
		return true
	}
	value := reflect.ValueOf(target).Elem()
	found := reflect.New(value.Type())
	if !errors.As(e.cause(), found.Interface()) {
		return false
	}
	if err, ok := found.Elem().Interface().(error); !ok || !e.safe(err) {
		return false
	}
	value.Set(found.Elem())
	return true
}

// contextError returns the error of a context that has ended, and its cause.
func contextError(ctx context.Context) error {
	if cause := context.Cause(ctx); cause != ctx.Err() {
		return fmt.Errorf("%w: %w", ctx.Err(), cause)
	}
	return ctx.Err()
}

// shownText returns the text of err, or what it means if it may quote the wire.
func shownText(ctx context.Context, err error, unsent bool) string {
	var outer *url.Error
	if errors.As(err, &outer) { // our own text names the host already
		err = outer.Err
	}
	switch {
	case ctx.Err() != nil:
		return contextError(ctx).Error()
	case unsent || !quotesWire(err):
		return err.Error()
	case strings.Contains(err.Error(), "malformed HTTP"):
		return "the answer is not HTTP"
	case strings.Contains(err.Error(), "http2: ") || strings.Contains(err.Error(), "stream error: "):
		return "the server ended the HTTP/2 stream or connection"
	}
	return "the answer is not valid HTTP"
}

// quotesWire reports whether the text of err may quote what a server sent, as the
// errors of net/http and of the packages below it do. Such an error is known by
// its type or by a quotation mark in its text.
func quotesWire(err error) bool {
	for ; err != nil; err = errors.Unwrap(err) {
		kind := strings.TrimPrefix(fmt.Sprintf("%T", err), "*")
		pkg, _, _ := strings.Cut(kind, ".")
		_, joined := err.(interface{ Unwrap() []error })
		if joined || pkg == "http" || pkg == "http2" || pkg == "textproto" || strings.Contains(err.Error(), `"`) {
			return true
		}
	}
	return false
}
