package session

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"unicode"
)

// CreateParams are the parameters of a login. They are sent byte for byte, the
// empty ones not at all.
//
// Username and Password are wanted; PartialSessionID stands in for either
// one. OTP may be sent at once by a user who has it: after an SMS, that is the
// way in while the API answers that one was already sent.
// Printing, logging and marshalling CreateParams shows no secret; the limits
// that [Session] names hold here too.
type CreateParams struct {
	Username         string
	Password         string // secret
	OTP              string // secret: the second factor, a code or what a key answered
	PartialSessionID string // secret: from TwoFactorError, see TwoFactorError.Answer
}

// OTPFunc answers the demand for a second factor, mostly by asking a person.
// It gets the context of the login, which it should honour; no timeout of the
// client runs meanwhile. An error of it ends the login and is wrapped by the
// one that [Client.Create] returns. It may be called by several goroutines at
// a time, and the challenge is its own.
type OTPFunc func(ctx context.Context, challenge *TwoFactorError) (code string, err error)

// encode returns the form body.
func (p CreateParams) encode() []byte {
	b := make([]byte, 0, 64+len(p.Username)+len(p.Password)+len(p.OTP)+len(p.PartialSessionID))
	add := func(name, value string) {
		if value == "" {
			return
		}
		if len(b) > 0 {
			b = append(b, '&')
		}
		b = append(b, name...)
		b = append(b, '=')
		b = appendEscaped(b, value)
	}
	add("username", p.Username)
	add("password", p.Password)
	add("otp", p.OTP)
	add("partial_session_id", p.PartialSessionID)
	return b
}

// appendEscaped is url.QueryEscape into b: no copy of a secret more.
func appendEscaped(b []byte, value string) []byte {
	for i := range len(value) {
		switch c := value[i]; {
		case 'a' <= c|0x20 && c|0x20 <= 'z', '0' <= c && c <= '9', c == '-', c == '.', c == '_', c == '~':
			b = append(b, c)
		case c == ' ':
			b = append(b, '+')
		default:
			b = append(b, '%', "0123456789ABCDEF"[c>>4], "0123456789ABCDEF"[c&15])
		}
	}
	return b
}

func (p CreateParams) validate() error {
	switch {
	case p.OTP != "" && strings.TrimSpace(p.OTP) == "":
		return fmt.Errorf("session: log in: %w: otp is blank", ErrInvalidParams)
	case p.PartialSessionID != "":
		return nil
	case p.Username == "":
		return fmt.Errorf("session: log in: %w: username is missing", ErrInvalidParams)
	case p.Password == "":
		return fmt.Errorf("session: log in: %w: password is missing", ErrInvalidParams)
	}
	return nil
}

func (p CreateParams) secrets() secrets {
	return secrets{p.Password, p.OTP, p.PartialSessionID}
}

// safe shows the user name, and which secrets are set.
func (p CreateParams) safe() string {
	var b strings.Builder
	fmt.Fprintf(&b, "CreateParams{Username: %q", p.Username)
	for _, secret := range [...]struct{ name, value string }{
		{"Password", p.Password}, {"OTP", p.OTP}, {"PartialSessionID", p.PartialSessionID},
	} {
		if secret.value != "" {
			b.WriteString(", " + secret.name + ": " + redacted)
		}
	}
	b.WriteByte('}')
	return b.String()
}

// Format prints the user name and which secrets are set, whatever the verb.
func (p CreateParams) Format(f fmt.State, verb rune) {
	fmt.Fprintf(f, fmt.FormatString(f, verb), p.safe())
}

// MarshalText marshals what Format prints: no encoding shows a secret.
func (p CreateParams) MarshalText() ([]byte, error) { return []byte(p.safe()), nil }

// LogValue logs the user name.
func (p CreateParams) LogValue() slog.Value {
	return slog.GroupValue(slog.String("username", p.Username))
}

const redacted = "[redacted]"

// secrets are the values of a request that no text may show.
type secrets [4]string

// forms returns how they may stand in a text: as they are, escaped, and with
// their invalid UTF-8 replaced as JSON does.
func (s secrets) forms() forms {
	var f forms
	for _, secret := range s {
		if secret != "" {
			f = append(f, secret, url.QueryEscape(secret), url.PathEscape(secret), string([]rune(secret)))
		}
	}
	return f
}

type forms []string

func (f forms) in(text string) bool {
	return slices.ContainsFunc(f, func(form string) bool { return strings.Contains(text, form) })
}

// clean returns a text of the server's without control characters and cut to
// 256 bytes, or "[redacted]" for one that holds a secret.
func (f forms) clean(text string) string {
	plain := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, text)
	if f.in(text) || f.in(plain) {
		return redacted
	}
	if len(plain) > 256 {
		plain = strings.ToValidUTF8(plain[:256], "")
	}
	return plain
}

// cleanType redacts the parts of a type that hold a secret. The parts that this
// package knows are the API's own words, which a password may be as well.
func (f forms) cleanType(kind string) string {
	if !f.in(kind) {
		return kind
	}
	group, name := splitType(kind)
	if !notAuthenticated(name) && name != regionMismatch {
		name = "redacted"
	}
	switch group {
	case "not-authenticated", "rate-limited", "bad-request", "not-authorized":
		return group + "/" + name
	}
	return name
}
