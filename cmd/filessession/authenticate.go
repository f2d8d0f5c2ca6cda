package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/filescom/session"
)

// The most refusals in one run: of a typed password or code, and of the codes of a TOTP
// secret. More could lock the user out.
const (
	maxAttempts     = 3
	maxTOTPAttempts = 2
)

// authentication is one login: it gets the password and the code from files, or from
// the user at the terminal.
type authentication struct {
	client         *session.Client // it calls answer
	account        account
	passwordFile   string         // empty: the user types the password
	totpSecretFile string         // empty: the user types the code
	terminal       *terminal      // nil: nobody is asked
	codes          *authenticator // nil before the first code of the file

	password  string
	challenge *session.TwoFactorError // nil: the user has to type no code so far
	typedCode string                  // empty: none was typed since the last attempt
	refusals  int
}

// newAuthentication returns a login by files, and by a terminal where there is no file.
func newAuthentication(a account, passwordFile, totpSecretFile string, t *terminal) (*authentication, error) {
	login := &authentication{account: a, passwordFile: passwordFile, totpSecretFile: totpSecretFile, terminal: t}
	var err error
	login.client, err = a.client(session.WithOTP(login.answer))
	return login, err
}

// question returns what the user has to type before the next attempt, and where it goes, nil
// if nothing is missing.
func (a *authentication) question() (prompt string, answer *string) {
	switch {
	case a.passwordFile == "" && a.password == "":
		return fmt.Sprintf("Password of %s: ", a.account), &a.password
	case a.challenge != nil && a.typedCode == "":
		return describe(a.challenge), &a.typedCode
	}
	return "", nil
}

// params returns the parameters of the next attempt. After a wrong code they have another
// code alone.
func (a *authentication) params() (session.CreateParams, error) {
	if a.password == "" {
		var err error
		if a.password, err = readPassword(a.passwordFile); err != nil {
			return session.CreateParams{}, err
		}
	}
	params := session.CreateParams{Username: a.account.User, Password: a.password}
	if a.challenge != nil {
		params = a.challenge.Answer(params, a.typedCode)
	}
	return params, nil
}

// answer is an OTPFunc. It returns the code of the file. If the user has to type one, the
// challenge is the error.
func (a *authentication) answer(_ context.Context, challenge *session.TwoFactorError) (string, error) {
	if a.totpSecretFile == "" || !offersTOTP(challenge) {
		return "", challenge
	}
	if a.codes == nil {
		secret, err := readTOTPSecret(a.totpSecretFile)
		if err != nil {
			return "", err
		}
		a.codes = &authenticator{secret: secret}
	}
	return a.codes.code()
}

// refused prepares the next attempt after a refusal. It returns err if there is no next
// attempt.
func (a *authentication) refused(ctx context.Context, params session.CreateParams, err error) error {
	a.typedCode = ""
	wrongCode := errors.Is(err, session.ErrOneTimePasswordIncorrect)
	wrongPassword := errors.Is(err, session.ErrInvalidUsernameOrPassword)
	if challenge := challengeOf(err); challenge != nil && a.codes == nil {
		a.challenge = challenge
		if params.OTP == "" { // a demand, not a refusal
			return a.canAsk()
		}
		wrongCode = true
	}
	if !wrongCode && !wrongPassword || errors.Is(err, session.ErrLockedOut) {
		return err
	}
	a.refusals++
	if wrongPassword && params.Password == "" { // the challenge of the key is too old; the password makes a new one
		a.challenge, wrongCode = nil, true
	}
	if !a.mayTryAgain(wrongCode) {
		return a.lastRefusal(err)
	}
	if a.terminal != nil {
		a.terminal.say(a.refusalText(wrongCode))
	}
	switch {
	case !wrongCode:
		a.password, a.challenge = "", nil
	case a.codes != nil:
		return a.codes.wait(ctx)
	}
	return nil
}

// canAsk returns an error if nobody can type the code.
func (a *authentication) canAsk() error {
	switch {
	case a.terminal != nil:
		return nil
	case a.totpSecretFile != "":
		return fmt.Errorf("the site requires a second factor by %s, which a TOTP secret does not answer; run %s at a terminal", strings.Join(a.challenge.Methods, " or "), a.account.loginCommand())
	}
	return fmt.Errorf("the site requires a second factor; give login --totp-secret-file F, or run %s at a terminal", a.account.loginCommand())
}

// mayTryAgain reports whether another attempt can succeed. A second one with the password
// of a file cannot. One with the next code of a TOTP secret can, since another run may
// have used the first code.
func (a *authentication) mayTryAgain(wrongCode bool) bool {
	if wrongCode && a.codes != nil {
		return a.refusals < maxTOTPAttempts
	}
	fromFile := !wrongCode && a.passwordFile != ""
	return !fromFile && a.terminal != nil && a.refusals < maxAttempts
}

// refusalText names the refused part and counts the attempts.
func (a *authentication) refusalText(wrongCode bool) string {
	text := "The user name or the password is wrong."
	if wrongCode {
		text = "The code is wrong or too old."
	} else if hint := spaceHint(a.password); hint != "" {
		text += " " + hint
	}
	most := maxAttempts
	if wrongCode && a.codes != nil {
		most = maxTOTPAttempts
	}
	return fmt.Sprintf("%s This was attempt %d of %d. The site may lock the user out after several.", text, a.refusals, most)
}

// lastRefusal returns the error of the last attempt.
func (a *authentication) lastRefusal(err error) error {
	hint := ""
	if errors.Is(err, session.ErrInvalidUsernameOrPassword) {
		hint = spaceHint(a.password)
	}
	refusal := &refusalError{attempts: a.refusals, hint: hint, passwordFile: a.passwordFile, err: err}
	if a.codes != nil {
		refusal.totpSecretFile = a.totpSecretFile
	}
	return refusal
}

// refusalError is the error of the last attempt.
type refusalError struct {
	attempts       int
	hint           string
	passwordFile   string // empty: it was typed
	totpSecretFile string // empty: the code was typed
	err            error
}

func (e *refusalError) Error() string { return e.err.Error() }
func (e *refusalError) Unwrap() error { return e.err }

// spaceHint warns of white space that a paste may have added to a password.
func spaceHint(password string) string {
	starts, ends := strings.TrimLeft(password, " \t") != password, strings.TrimRight(password, " \t") != password
	switch {
	case starts && ends:
		return "The password starts and ends with a space. If you pasted it, leave them out."
	case starts:
		return "The password starts with a space. If you pasted it, leave that out."
	case ends:
		return "The password ends with a space. If you pasted it, leave that out."
	}
	return ""
}
