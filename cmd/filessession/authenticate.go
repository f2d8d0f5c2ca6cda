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
	run            context.Context // of the command; a signal ends it
	client         *session.Client
	account        account
	passwordFile   string         // empty: the user types the password
	totpSecretFile string         // empty: the user types the code
	terminal       *terminal      // nil: nobody is asked
	codes          *authenticator // nil before the first code

	password  string
	challenge *session.TwoFactorError // nil: no code is required so far
	typedCode string                  // empty: none was typed since the last attempt
	refusals  int
}

// login is a Source.Login. It returns a question if the user has to type the password or
// a code. After a wrong code it asks for a code alone.
func (a *authentication) login(ctx context.Context) (*session.Session, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(a.run, func() { cancel(context.Cause(a.run)) })()
	for {
		params, err := a.params(ctx)
		if err != nil {
			return nil, err
		}
		stop := startWaiting(a.account.Origin)
		s, err := a.client.Create(ctx, params)
		stop()
		if err == nil {
			return s, nil
		}
		if err := a.refused(params, err); err != nil {
			return nil, err
		}
	}
}

// params returns the parameters of the next attempt.
func (a *authentication) params(ctx context.Context) (session.CreateParams, error) {
	if a.password == "" {
		if a.passwordFile == "" {
			return session.CreateParams{}, a.passwordQuestion()
		}
		var err error
		if a.password, err = readPassword(a.passwordFile); err != nil {
			return session.CreateParams{}, err
		}
	}
	params := session.CreateParams{Username: a.account.User, Password: a.password}
	if a.challenge == nil {
		return params, nil
	}
	code, err := a.code(ctx)
	if err != nil {
		return session.CreateParams{}, err
	}
	return a.challenge.Answer(params, code), nil
}

func (a *authentication) passwordQuestion() question {
	return question{fmt.Sprintf("Password of %s: ", a.account), &a.password}
}

// code returns the second factor.
func (a *authentication) code(ctx context.Context) (string, error) {
	byFile := a.totpSecretFile != ""
	switch {
	case byFile && offersTOTP(a.challenge):
		if a.codes == nil {
			secret, err := readTOTPSecret(a.totpSecretFile)
			if err != nil {
				return "", err
			}
			a.codes = &authenticator{secret: secret}
		}
		return a.codes.code(ctx)
	case a.typedCode != "":
		code := a.typedCode
		a.typedCode = ""
		return code, nil
	case a.terminal != nil:
		return "", question{describe(a.challenge), &a.typedCode}
	case byFile:
		return "", fmt.Errorf("the site requires a second factor by %s, which a TOTP secret does not answer; run %s at a terminal", strings.Join(a.challenge.Methods, " or "), a.account.loginCommand())
	}
	return "", fmt.Errorf("the site requires a second factor; give login --totp-secret-file F, or run %s at a terminal", a.account.loginCommand())
}

// refused prepares the next attempt after a refusal. It returns err if there is no next
// attempt.
func (a *authentication) refused(params session.CreateParams, err error) error {
	hadCode := a.challenge != nil
	challenge := challengeOf(err)
	if challenge != nil {
		a.challenge = challenge
		if !hadCode {
			return nil // a demand, not a refusal
		}
	}
	wrongCode := hadCode && (challenge != nil || errors.Is(err, session.ErrOneTimePasswordIncorrect))
	wrongPassword := errors.Is(err, session.ErrInvalidUsernameOrPassword)
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
	if !wrongCode {
		a.password, a.challenge = "", nil
	}
	return nil
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
