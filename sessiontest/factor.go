package sessiontest

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"maps"
	"time"
)

// partialLife is how long a partial session is good for. The API does not say; this
// is the lifetime of a code by SMS.
const partialLife = 10 * time.Minute

// forms reports how the user's second factor may be sent: as the answer of a key
// with a partial session ID, or as a code with the password.
func (u *account) forms() (byKey, byCode bool) {
	for _, m := range u.methods() {
		switch m {
		case "yubi", "u2f", "webauthn":
			byKey = true
		default:
			byCode = true
		}
	}
	return byKey, byCode
}

func (u *account) methods() []string {
	if len(u.Methods) == 0 {
		return []string{"totp"}
	}
	return u.Methods
}

// sentLife returns how long a code that the login sends is good. It is 0 if the
// login sends none, for example because the user has several methods.
func (u *account) sentLife() time.Duration {
	if len(u.Methods) != 1 {
		return 0
	}
	switch u.Methods[0] {
	case "sms":
		return 10 * time.Minute
	case "email":
		return 5 * time.Minute
	}
	return 0
}

// sentCodeIsGood reports whether a code was sent that can still be used.
func (u *account) sentCodeIsGood(now time.Time) bool {
	return !u.sent.IsZero() && now.Before(u.sent.Add(u.sentLife()))
}

// challenge demands the second factor. It sends a code by SMS or e-mail, unless
// one that was sent before is still good.
func (s *Server) challenge(u *account, now time.Time) answer {
	if u.sentLife() > 0 {
		bySMS := u.Methods[0] == "sms"
		switch {
		case u.sentCodeIsGood(now) && bySMS:
			return refuse(422, "processing-failure/two-factor-authentication-code-already-sent", "The code was already sent.",
				"the SMS sent before is still good")
		case u.sentCodeIsGood(now):
		case bySMS:
			u.sent, u.used = now, false
			s.counts.SMS++
		default:
			u.sent, u.used = now, false
			s.counts.Emails++
		}
	}
	a := refuse(401, "not-authenticated/two-factor-authentication-error", "2FA Authentication error: Enter your second factor.",
		"a second factor is required")
	data := map[string]any{"two_factor_authentication_methods": u.methods()}
	if byKey, _ := u.forms(); byKey {
		maps.DeleteFunc(u.partial, func(_ string, until time.Time) bool { return !now.Before(until) })
		id := randomHex(20)
		u.partial[id] = now.Add(partialLife)
		data["partial_session_id"] = id
	}
	for _, m := range u.methods() {
		if m == "u2f" {
			a.message = "2FA Authentication error: Insert your U2F/FIDO key and press its button."
			data["u2f_redirect"] = s.URL
			data["u2f_sign_requests"] = []any{map[string]any{
				"app_id": s.URL, "challenge": randomHex(16),
				"sign_request": map[string]any{"version": "U2F_V2", "keyHandle": randomHex(32)},
			}}
		}
	}
	a.data = data
	return a
}

// useCode uses up a code. If the code is not accepted, it returns the reason. A TOTP
// code may be one step late. A code by SMS or e-mail that was never sent is accepted
// too, so that the first call of a login may carry it.
func (u *account) useCode(otp string, now time.Time) (refusal string) {
	if u.OTP != "" && otp == u.OTP {
		switch {
		case u.used && (u.SingleUse || u.sentLife() > 0):
			return "the code was used before"
		case u.sentLife() > 0 && !u.sent.IsZero() && !u.sentCodeIsGood(now):
			return "the code was sent too long ago"
		}
		u.used = true
		return ""
	}
	if u.secret == nil {
		return "wrong code"
	}
	current := now.Unix() / totpPeriod
	for _, step := range []int64{current, current - 1} {
		if otp != totpCode(u.secret, step) {
			continue
		}
		if step <= u.step {
			return "the code was used before, or a later one was"
		}
		u.step = step
		return ""
	}
	return "wrong code, or the code of another time"
}

// totpPeriod is the number of seconds that an app shows a TOTP code.
const totpPeriod = 30

// Code returns the current code of a user's TOTP secret, by the server's clock. It
// panics if there is no such user, or if the user has no TOTP secret.
func (s *Server) Code(username string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.users[username]
	if u == nil || u.secret == nil {
		panic(fmt.Sprintf("sessiontest: user %q has no TOTP secret", username))
	}
	return totpCode(u.secret, s.now().Unix()/totpPeriod)
}

// totpCode returns the code of six digits for a step, as in RFC 6238.
func totpCode(secret []byte, step int64) string {
	mac := hmac.New(sha1.New, secret)
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(step)))
	sum := mac.Sum(nil)
	at := sum[len(sum)-1] & 15
	return fmt.Sprintf("%06d", binary.BigEndian.Uint32(sum[at:])&0x7fffffff%1_000_000)
}
