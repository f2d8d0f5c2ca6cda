package session

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
)

// CreateParams are the parameters of a login. Values are sent byte for byte. Empty
// values are not sent.
//
// A login requires Username and Password. PartialSessionID may replace Password, or
// both. Set OTP in the first call if the user already has a code, for example from
// an SMS that the API does not send again.
//
// Printing, logging and marshalling CreateParams shows no secret, except in the
// cases that the documentation of [Session] lists.
type CreateParams struct {
	Username         string
	Password         string // secret
	OTP              string // secret: the second factor, a code or the answer of a key
	PartialSessionID string // secret: from a TwoFactorError, see TwoFactorError.Answer
}

// OTPFunc answers a demand for a second factor, usually by asking the user. It gets
// the context of the login, and should return when that context ends. A read of the
// terminal does not end with a context: read in another goroutine, and wait for the
// line or for the context. The timeouts of the client do not limit an OTPFunc. If it
// returns an error, [Client.Create] returns an error that wraps it. Several goroutines
// may call it at the same time. Each call gets its own challenge.
type OTPFunc func(ctx context.Context, challenge *TwoFactorError) (code string, err error)

// encode returns the form body, in the order of the fields.
func (p CreateParams) encode() []byte {
	form := ""
	for _, param := range [...]struct{ name, value string }{
		{"username", p.Username},
		{"password", p.Password},
		{"otp", p.OTP},
		{"partial_session_id", p.PartialSessionID},
	} {
		if param.value != "" {
			form += "&" + param.name + "=" + url.QueryEscape(param.value)
		}
	}
	return []byte(strings.TrimPrefix(form, "&"))
}

func (p CreateParams) validate() error {
	problem := ""
	switch {
	case p.OTP != "" && strings.TrimSpace(p.OTP) == "":
		problem = "otp is blank; set CreateParams.OTP to the code of the second factor"
	case p.PartialSessionID != "":
	case p.Username == "":
		problem = "username is empty; set CreateParams.Username"
	case p.Password == "":
		problem = "password is empty; set CreateParams.Password"
	}
	if problem != "" {
		return fmt.Errorf("session: log in: %w: %s", ErrInvalidParams, problem)
	}
	return nil
}

// summary returns the parameters that are not secret.
func (p CreateParams) summary() string { return fmt.Sprintf("CreateParams{Username: %q}", p.Username) }

// Format prints the user name, for every verb that fmt passes to it: not for %p and
// %w.
func (p CreateParams) Format(f fmt.State, verb rune) {
	fmt.Fprintf(f, fmt.FormatString(f, verb), p.summary())
}

// MarshalText returns the text that Format prints, so that no encoding shows a
// secret.
func (p CreateParams) MarshalText() ([]byte, error) { return []byte(p.summary()), nil }

// LogValue logs the user name.
func (p CreateParams) LogValue() slog.Value {
	return slog.GroupValue(slog.String("username", p.Username))
}
