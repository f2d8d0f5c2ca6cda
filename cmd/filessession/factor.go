package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/filescom/session"
	"github.com/pquerna/otp/totp"
)

// totpStep is how long a code of an authenticator is valid.
const totpStep = 30 * time.Second

// authenticator makes the codes of a TOTP secret.
type authenticator struct {
	secret string    // in base32
	used   time.Time // the start of the step of the last code
}

// code returns the code of this step.
func (a *authenticator) code() (string, error) {
	a.used = time.Now().Truncate(totpStep)
	code, err := totp.GenerateCode(a.secret, a.used)
	if err != nil {
		return "", errors.New("the file of --totp-secret-file holds no TOTP secret; write the secret as the site shows it, in base32 (A-Z and 2-7)")
	}
	return code, nil
}

// wait waits until there is another code than the last one, since the API accepts each
// code once.
func (a *authenticator) wait(ctx context.Context) error {
	defer startWaiting("the next code of the TOTP secret")()
	for next := a.used.Add(totpStep); time.Now().Before(next); {
		select {
		case <-time.After(time.Until(next)):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// offersTOTP reports whether a code of an authenticator answers the challenge.
func offersTOTP(challenge *session.TwoFactorError) bool {
	return len(challenge.Methods) == 0 || slices.Contains(challenge.Methods, "totp")
}

// describe returns a prompt that says where to find the code.
func describe(challenge *session.TwoFactorError) string {
	var sources []string
	for _, method := range challenge.Methods {
		switch method {
		case "totp":
			method = "from your authenticator app"
		case "sms":
			method = "from the SMS"
		case "email":
			method = "from the e-mail"
		case "yubi":
			method = "from your YubiKey: touch it"
		case "u2f", "webauthn":
			method = "from your security key (" + method + ")"
		}
		sources = append(sources, method)
	}
	if len(sources) == 0 {
		return "Code: "
	}
	return fmt.Sprintf("Code (%s): ", strings.Join(sources, ", or "))
}

// challengeOf returns the demand for a second factor in err, nil if there is none.
func challengeOf(err error) *session.TwoFactorError {
	var challenge *session.TwoFactorError
	var answer *session.APIError
	switch {
	case errors.As(err, &challenge):
		return challenge
	case errors.As(err, &answer) && strings.HasSuffix(answer.Type, "code-already-sent"):
		return &session.TwoFactorError{Methods: []string{"sms"}, Err: err} // the SMS of an earlier login is still good
	}
	return nil
}
