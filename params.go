package session

import (
	"context"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"unicode"
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
	for _, param := range [...][2]string{{"username", p.Username}, {"password", p.Password},
		{"otp", p.OTP}, {"partial_session_id", p.PartialSessionID}} {
		if param[1] != "" {
			form += "&" + param[0] + "=" + url.QueryEscape(param[1])
		}
	}
	return []byte(strings.TrimPrefix(form, "&"))
}

func (p CreateParams) validate() error {
	problem := ""
	switch {
	case p.OTP != "" && strings.TrimFunc(p.OTP, isInvisible) == "":
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
	case clean == "": // with credentials, Create would log in without a code
		answer.OTP = code
	case e.PartialSessionID != "" && (ofKey || keys > 0 && keys == len(e.Methods)):
		answer.PartialSessionID = e.PartialSessionID
	default:
		answer.Password = params.Password
	}
	return answer
}

// cleanCode returns a code without white space and invisible characters, and with
// ASCII for the digits of other scripts. From a code of digits it also drops hyphens
// and dots.
func cleanCode(code string) (clean string, digits bool) {
	clean = strings.Map(func(r rune) rune {
		if isInvisible(r) {
			return -1
		}
		return asciiDigit(r)
	}, code)
	if joined := separators.ReplaceAllString(clean, ""); isDigits(joined) {
		return joined, true
	}
	return clean, false
}

// separators are the characters that people put between the digits of a code.
var separators = regexp.MustCompile(`[.\p{Pd}]`)

// isInvisible reports whether r is white space, a zero-width character, a byte order
// mark or a soft hyphen.
func isInvisible(r rune) bool { return unicode.IsSpace(r) || unicode.Is(unicode.Cf, r) }

// asciiDigit returns the ASCII digit of a decimal digit, and any other r as it is.
// Unicode has the digits of a script in order, and begins each run of digits with a 0.
func asciiDigit(r rune) rune {
	if !unicode.IsDigit(r) {
		return r
	}
	zero := r
	for unicode.IsDigit(zero - 1) {
		zero--
	}
	return '0' + (r-zero)%10
}

// summary returns the parameters that are not secret.
func (p CreateParams) summary() string { return fmt.Sprintf("CreateParams{Username: %q}", p.Username) }

// Format prints the user name.
func (p CreateParams) Format(f fmt.State, verb rune) { format(f, verb, p.summary()) }

// MarshalText returns the text that Format prints, so that JSON, XML and YAML show no
// secret.
func (p CreateParams) MarshalText() ([]byte, error) { return []byte(p.summary()), nil }
