package main

import (
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/filescom/session/sessiontest"
)

// methods lists the second factors of the API.
var methods = []string{"totp", "sms", "email", "static", "yubi", "u2f", "webauthn"}

// defaultCode is the second factor of a user for whom none was given.
const defaultCode = "123456"

// parseUser reads the value of -user. The note shows the secrets that parseUser
// chose itself, and no others.
func parseUser(text string) (u sessiontest.User, note string, err error) {
	if strings.HasPrefix(text, "{") {
		u, err = decode[sessiontest.User](strings.NewReader(text))
		if err == nil {
			err = checkUser(u)
		}
		return u, "user " + u.Username, err
	}
	part := strings.SplitN(text, ":", 4)
	if len(part) < 2 || slices.Contains(part, "") {
		return u, "", errors.New(`write name:password, name:password:method or name:password:method:code; for a password with a colon, write JSON such as {"username":"alice","password":"a:b"}`)
	}
	u = sessiontest.User{Username: part[0], Password: part[1]}
	note = "user " + u.Username
	if len(part) > 2 {
		u.Methods = []string{part[2]}
		switch {
		case len(part) == 4:
			u.OTP = part[3]
			note += fmt.Sprintf(", second factor %s", part[2])
		case part[2] == "totp":
			secret := make([]byte, 10)
			rand.Read(secret)
			u.TOTP = base32.StdEncoding.EncodeToString(secret)
			note += fmt.Sprintf(", TOTP secret %s", u.TOTP)
		default:
			u.OTP = defaultCode
			note += fmt.Sprintf(", second factor %s: %s", part[2], u.OTP)
		}
	}
	return u, note, checkUser(u)
}

// checkUser refuses a user that could not log in as described.
func checkUser(u sessiontest.User) error {
	for _, m := range u.Methods {
		if !slices.Contains(methods, m) {
			return fmt.Errorf("unknown method %q; use %s", m, strings.Join(methods, ", "))
		}
	}
	if len(u.Methods) > 0 && u.OTP == "" && u.TOTP == "" {
		return fmt.Errorf("user %q has methods but no second factor; add otp or totp", u.Username)
	}
	return u.Validate()
}
