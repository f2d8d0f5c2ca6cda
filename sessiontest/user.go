package sessiontest

import (
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// User is a user who may log in.
type User struct {
	Username string `json:"username"`
	Password string `json:"password"`

	OTP       string   `json:"otp"`        // the code of the second factor; a user without OTP and TOTP has no second factor
	TOTP      string   `json:"totp"`       // secret in base32, also in groups or in lower case; each of its codes is good once
	Methods   []string `json:"methods"`    // of the second factor, as the API spells them; nil means totp
	SingleUse bool     `json:"single_use"` // OTP is good once; a code by SMS or e-mail always is, until the next one is sent

	ChangePassword bool           `json:"change_password"` // the login is refused until the password is changed
	Session        map[string]any `json:"session"`         // fields to add to the answer to the login, or to replace in it
}

// Validate returns an error if the user could not log in as described: the
// username is empty, TOTP is not base32, or Session has no JSON form.
func (u User) Validate() error {
	if u.Username == "" {
		return errors.New("User.Username is empty")
	}
	if _, err := decodeSecret(u.TOTP); err != nil {
		return err
	}
	if _, err := json.Marshal(u.Session); err != nil {
		return fmt.Errorf("User.Session has no JSON form: %w", err)
	}
	return nil
}

// account is a User with its state.
type account struct {
	User
	secret  []byte               // of TOTP
	step    int64                // of the last code of TOTP
	used    bool                 // whether OTP was used
	sent    time.Time            // when OTP was sent by SMS or e-mail; zero: not since the last login
	failed  []time.Time          // failed tries
	locked  time.Time            // end of the lock-out
	partial map[string]time.Time // when partial sessions end, by ID
}

// newAccount copies the user. It panics if the user is not valid.
func newAccount(u User) *account {
	if err := u.Validate(); err != nil {
		panic("sessiontest: " + err.Error())
	}
	u.Methods = slices.Clone(u.Methods)
	u.Session = maps.Clone(u.Session)
	secret, _ := decodeSecret(u.TOTP)
	return &account{User: u, secret: secret, partial: map[string]time.Time{}}
}

// decodeSecret decodes base32 as it is printed for people: with or without
// padding, in groups, in either case. The secret of an empty text is nil.
func decodeSecret(text string) ([]byte, error) {
	if text == "" {
		return nil, nil
	}
	text = strings.NewReplacer(" ", "", "-", "").Replace(strings.ToUpper(text))
	secret, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(strings.TrimRight(text, "="))
	if err != nil || len(secret) == 0 {
		return nil, errors.New("User.TOTP is not base32: it must consist of A-Z and 2-7, and may have spaces and hyphens between groups")
	}
	return secret, nil
}
