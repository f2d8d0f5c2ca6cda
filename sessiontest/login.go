package sessiontest

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// settings are how logins and sessions behave.
type settings struct {
	offset        time.Duration // of the clock
	lifetime      time.Duration
	tries         int // before a lock-out; 0: any number
	lockedFor     time.Duration
	bindUserAgent bool
	limit         int // of logins within a window; 0: any number
	window        time.Duration
	recent        []time.Time // logins within the window
	moved         string      // host that the site is served from
	form          byte        // of the region mismatch
	recorded      int         // the year whose shapes are answered
	watch         func(Request)
}

// account is a User and what it went through.
type account struct {
	User
	seed    []byte
	failed  int
	locked  time.Time            // until when
	partial map[string]time.Time // when they end, by ID
	smsSent time.Time
	used    bool  // OTP
	step    int64 // of the last code of TOTP
}

// Advance moves the server's clock forward, not the client's. Sessions time out
// and lock-outs end by it, delays of faults do not.
func (s *Server) Advance(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offset += d
}

func (s *Server) now() time.Time { return time.Now().Add(s.offset) }

// SetLifetime sets how long sessions live that are made from now on. It is 6
// hours at first, as timeout_at says of the recorded one.
func (s *Server) SetLifetime(d time.Duration) {
	s.set(func(c *settings) { c.lifetime = d })
}

// SetLockOut locks a user out for a period after so many failed tries in a row.
func (s *Server) SetLockOut(tries int, period time.Duration) {
	s.set(func(c *settings) { c.tries, c.lockedFor = tries, period })
}

// SetRateLimit answers 429 and a Retry-After to logins beyond n within a window.
func (s *Server) SetRateLimit(n int, window time.Duration) {
	s.set(func(c *settings) { c.limit, c.window = n, window })
}

// BindUserAgent refuses a session to any User-Agent but the one that made it.
func (s *Server) BindUserAgent() {
	s.set(func(c *settings) { c.bindUserAgent = true })
}

// MoveTo answers logins with a region mismatch that names host, in one of the
// forms that are known: 'a' is a 403 of JSON, 'b' a 401 of JSON that names an
// origin, 'c' a 403 of text. host may be an origin, such as another server's
// URL; an empty one ends it. It panics for any other form.
func (s *Server) MoveTo(host string, form byte) {
	if host != "" && (form < 'a' || form > 'c') {
		panic("sessiontest: a region mismatch has the forms 'a', 'b' and 'c'")
	}
	s.set(func(c *settings) { c.moved, c.form = host, form })
}

// Recorded answers in the shapes of a year: 2021, or 2025 as at first. It panics
// for any other year.
func (s *Server) Recorded(year int) {
	if year != 2021 && year != 2025 {
		panic("sessiontest: 2021 and 2025 were recorded")
	}
	s.set(func(c *settings) { c.recorded = year })
}

// Watch calls f with each request as it is answered, one at a time and in the
// order of [Server.Requests]. The server answers nothing else meanwhile, and f may
// not close it.
func (s *Server) Watch(f func(Request)) {
	s.set(func(c *settings) { c.watch = f })
}

func (s *Server) set(change func(*settings)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.settings)
}

func (s *Server) logIn(r *http.Request, params map[string]string, malformed *answer) answer {
	now := s.now()
	switch {
	case r.Header.Get("X-FilesAPI-Key") != "":
		return answer{status: 403, kind: "not-authorized/cannot-login-while-using-key",
			message: "You cannot log in while using an API key."}
	case malformed != nil:
		return *malformed
	case s.moved != "":
		return s.mismatch()
	}
	if wait := s.limited(now); wait > 0 {
		return answer{status: 429, kind: "rate-limited/too-many-login-attempts", message: "Too many login attempts.",
			header: http.Header{"Retry-After": {strconv.Itoa(int((wait + time.Second - 1) / time.Second))}}}
	}
	username, otp, partial := params["username"], params["otp"], params["partial_session_id"]
	wrong := answer{status: 401, kind: "not-authenticated/invalid-username-or-password", message: "Invalid username or password"}
	u := s.users[username]
	if u == nil {
		return wrong
	}
	byKey, byCode := methods(u.User)
	byPartial := now.Before(u.partial[partial])
	fail := func(a answer) answer {
		if u.failed++; s.tries > 0 && u.failed >= s.tries {
			u.failed, u.locked = 0, now.Add(s.lockedFor)
		}
		return a
	}
	switch {
	case now.Before(u.locked):
		return answer{status: 401, kind: "not-authenticated/locked-out", message: "Your account is locked out."}
	case params["password"] != u.Password && !byPartial:
		return fail(wrong)
	case u.ChangePassword:
		return answer{status: 403, kind: "not-authorized/password-change-required", message: "You must change your password."}
	case u.OTP == "" && u.seed == nil:
	case otp == "":
		return s.challenge(u, byKey, now)
	case byPartial && !byKey, !byPartial && !byCode, !u.accepts(otp, now):
		return fail(answer{status: 401, kind: "not-authenticated/one-time-password-incorrect", message: "One time password is incorrect."})
	}
	delete(u.partial, partial)
	u.failed, u.smsSent = 0, time.Time{}
	return s.begin(r, u, now)
}

// begin makes a session and its answer.
func (s *Server) begin(r *http.Request, u *account, now time.Time) answer {
	if s.serial++; s.serial%1024 == 0 {
		s.forget()
	}
	l := &login{id: randomHex(20), username: u.Username, userAgent: r.UserAgent(), serial: s.serial, until: now.Add(s.lifetime)}
	body := map[string]any{"id": l.id, "language": nil, "max_dir_listing_size": 100000, "ssl_required": true, "tls_disabled": false}
	if s.recorded != 2021 {
		maps.Copy(body, map[string]any{
			"sftp_insecure_ciphers": false, "timeout_at": l.until.Format(time.RFC3339),
			"calculate_file_checksums_crc32": false, "calculate_file_checksums_md5": false,
			"calculate_file_checksums_sha1": false, "calculate_file_checksums_sha256": false,
			"legacy_checksums_mode": true, "user_belongs_to_parent_site": false,
		})
	}
	maps.Copy(body, u.Session)
	if id := body["id"]; id != nil && id != "" {
		l.id = fmt.Sprint(id)
	}
	s.sessions[l.id] = l
	return answer{status: 201, user: u.Username, body: body}
}

// codeLife is how long an SMS is good for, and here a partial session too.
const codeLife = 10 * time.Minute

// challenge demands the second factor. A login by SMS alone sends the code, once
// while it is good.
func (s *Server) challenge(u *account, byKey bool, now time.Time) answer {
	names := u.Methods
	if names == nil {
		names = []string{"totp"}
	}
	if len(names) == 1 && names[0] == "sms" {
		if !u.smsSent.IsZero() && now.Before(u.smsSent.Add(codeLife)) {
			return answer{status: 422, kind: "processing-failure/two-factor-authentication-code-already-sent", message: "The code was already sent."}
		}
		u.smsSent = now
		s.counts.SMS++
	}
	data := map[string]any{"two_factor_authentication_methods": names}
	if byKey {
		id := randomHex(20)
		if u.partial == nil {
			u.partial = map[string]time.Time{}
		}
		maps.DeleteFunc(u.partial, func(_ string, until time.Time) bool { return !now.Before(until) })
		u.partial[id] = now.Add(codeLife)
		data["partial_session_id"] = id
	}
	return answer{status: 401, kind: "not-authenticated/two-factor-authentication-error", data: data,
		message: "2FA Authentication error: Enter your second factor."}
}

// limited returns how long the limit keeps a login from now.
func (s *Server) limited(now time.Time) time.Duration {
	if s.limit == 0 {
		return 0
	}
	for len(s.recent) > 0 && !now.Before(s.recent[0].Add(s.window)) {
		s.recent = s.recent[1:]
	}
	if len(s.recent) >= s.limit {
		return s.recent[0].Add(s.window).Sub(now)
	}
	s.recent = append(s.recent, now)
	return 0
}

// mismatch answers that the site is served from elsewhere.
func (s *Server) mismatch() answer {
	_, host, found := strings.Cut(s.moved, "://")
	if !found {
		host = s.moved
	}
	const policy = "You have connected to a URL that has different security settings than those required for your site."
	a := answer{status: 403, kind: "not-authenticated/lockout-region-mismatch", message: policy,
		data: map[string]any{"host": host}, header: http.Header{"X-Files-Host": {host}}}
	switch s.form {
	case 'b':
		a.status, a.header = 401, nil
		a.data = map[string]any{"host": s.moved}
		a.message = fmt.Sprintf("Your account must login using a different server, %s.", s.moved)
	case 'c':
		a.kind, a.body = "", policy
		a.header.Set("Content-Type", "text/plain")
	}
	return a
}

// age gives a failure the shape of 2021.
func (s *Server) age(failure map[string]any) {
	kind := failure["type"].(string)
	if kind == "not-authenticated/invalid-username-or-password" {
		failure["type"] = "bad-request/invalid-username-or-password"
	}
	failure["error"] = strings.Replace(failure["error"].(string), "2FA Authentication", "2FA Authenication", 1)
	_, name, _ := strings.Cut(kind, "/")
	inner := maps.Clone(failure)
	inner["type"] = "401-" + name
	failure["errors"] = []any{inner}
}

// methods tells which forms a user's second factor may be sent in: a key's
// answer with a partial session ID, a code with the password.
func methods(u User) (byKey, byCode bool) {
	for _, m := range u.Methods {
		switch m {
		case "yubi", "u2f", "webauthn":
			byKey = true
		default:
			byCode = true
		}
	}
	return byKey, byCode || len(u.Methods) == 0
}

// accepts checks a code, and uses it up where it is good once. A code of TOTP
// may be one step late.
func (u *account) accepts(otp string, now time.Time) bool {
	late := !u.smsSent.IsZero() && !now.Before(u.smsSent.Add(codeLife))
	if u.OTP != "" && otp == u.OTP && !(u.SingleUse && u.used) && !late {
		u.used = true
		return true
	}
	if u.seed == nil {
		return false
	}
	for _, step := range []int64{now.Unix() / 30, now.Unix()/30 - 1} {
		if step > u.step && otp == code(u.seed, step) {
			u.step = step
			return true
		}
	}
	return false
}

// Code returns the code that a user's TOTP secret has now, by the server's
// clock. It panics for a user without one.
func (s *Server) Code(username string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.users[username]
	if u == nil || u.seed == nil {
		panic("sessiontest: no TOTP for " + username)
	}
	return code(u.seed, s.now().Unix()/30)
}

// code is the six digits of RFC 6238 for a step of 30 s.
func code(seed []byte, step int64) string {
	mac := hmac.New(sha1.New, seed)
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(step)))
	sum := mac.Sum(nil)
	at := sum[len(sum)-1] & 15
	return fmt.Sprintf("%06d", binary.BigEndian.Uint32(sum[at:])&0x7fffffff%1_000_000)
}

func decodeSeed(secret string) []byte {
	seed, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(strings.ToUpper(strings.TrimRight(secret, "=")))
	if err != nil {
		panic("sessiontest: User.TOTP is not base32")
	}
	return seed
}

// translate says a message in the language of an Accept-Language header, as the
// API does: here in German or not at all.
func translate(message, accept string) string {
	german := map[string]string{
		"Invalid username or password": "Ungültiger Benutzername oder ungültiges Passwort",
		"Your account is locked out.":  "Ihr Konto ist gesperrt.",
		"The API key or Session token provided could not be used to validate this request.": "Der API-Schlüssel oder das Sitzungstoken konnte diese Anfrage nicht bestätigen.",
	}
	if text, known := german[message]; known && strings.HasPrefix(strings.ToLower(accept), "de") {
		return text
	}
	return message
}
