package sessiontest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// login is a session.
type login struct {
	id, username, userAgent string
	serial                  int
	lifetime                time.Duration
	until                   time.Time
	recording               Recording
	fields                  map[string]any // User.Session
}

// logIn answers a login. s.mu is held.
func (s *Server) logIn(r *http.Request, form loginForm) answer {
	now := s.now()
	switch {
	case r.Header.Get("X-FilesAPI-Key") != "":
		return refuse(403, "not-authorized/cannot-login-while-using-key", "You cannot log in while using an API key.",
			"the login carries an X-FilesAPI-Key")
	case form.refusal != nil:
		return *form.refusal
	case s.moved != "":
		return s.mismatch()
	}
	if wait := s.limited(now); wait > 0 {
		a := refuse(429, "rate-limited/too-many-login-attempts", "Too many login attempts.",
			fmt.Sprintf("more than %d logins within %v", s.limit, s.window))
		a.header = http.Header{"Retry-After": {strconv.Itoa(int((wait + time.Second - 1) / time.Second))}}
		return a
	}
	u := s.users[form.username]
	switch {
	case u == nil && form.username == "":
		return wrongPassword("the body has no username; a JSON body requires Content-Type: application/json")
	case u == nil:
		return wrongPassword("no such user")
	}
	if a, ok := s.check(u, form, now); !ok {
		return a
	}
	delete(u.partial, form.partial)
	u.failed, u.sent = nil, time.Time{}
	return s.begin(r, u, now)
}

// check reports whether the user may log in. If not, it returns the answer.
func (s *Server) check(u *account, form loginForm, now time.Time) (refusal answer, ok bool) {
	byKey, byCode := u.forms()
	byPartial := now.Before(u.partial[form.partial])
	switch {
	case now.Before(u.locked):
		return refuse(401, "not-authenticated/locked-out", "Your account is locked out.",
			fmt.Sprintf("user %s is locked out for another %v", u.Username, u.locked.Sub(now).Round(time.Second))), false
	case form.password != u.Password && !byPartial && form.partial != "" && form.password == "":
		return s.fail(u, now, wrongPassword("the partial session is unknown, used or too old")), false
	case form.password != u.Password && !byPartial:
		return s.fail(u, now, wrongPassword("wrong password of user "+u.Username)), false
	case u.ChangePassword:
		return refuse(403, "not-authorized/password-change-required", "You must change your password.",
			"the password must be changed first"), false
	case u.OTP == "" && u.secret == nil:
		return answer{}, true
	case form.otp == "":
		return s.challenge(u, now), false
	case byPartial && !byKey:
		return s.fail(u, now, wrongCode("the second factor requires the password, not a partial session")), false
	case !byPartial && !byCode:
		return s.fail(u, now, wrongCode("the second factor requires a partial session, not the password")), false
	}
	if reason := u.useCode(form.otp, now); reason != "" {
		return s.fail(u, now, wrongCode(reason)), false
	}
	return answer{}, true
}

func wrongPassword(reason string) answer {
	return refuse(401, "not-authenticated/invalid-username-or-password", "Invalid username or password", reason)
}

func wrongCode(reason string) answer {
	return refuse(401, "not-authenticated/one-time-password-incorrect", "One time password is incorrect.", reason)
}

// fail counts a failed try, and locks the user out after too many.
func (s *Server) fail(u *account, now time.Time, a answer) answer {
	if s.tries <= 0 {
		return a
	}
	u.failed = slices.DeleteFunc(u.failed, func(t time.Time) bool { return now.Sub(t) >= s.lockWithin })
	u.failed = append(u.failed, now)
	if len(u.failed) >= s.tries {
		u.failed, u.locked = nil, now.Add(s.lockedFor)
	}
	return a
}

// limited returns how long the rate limit makes a login wait, or 0.
func (s *Server) limited(now time.Time) time.Duration {
	if s.limit <= 0 {
		return 0
	}
	s.recent = slices.DeleteFunc(s.recent, func(t time.Time) bool { return t.After(now) || !now.Before(t.Add(s.window)) })
	if len(s.recent) >= s.limit {
		return s.recent[0].Add(s.window).Sub(now)
	}
	s.recent = append(s.recent, now)
	return 0
}

// mismatch answers that the site is served from another host.
func (s *Server) mismatch() answer {
	_, host, found := strings.Cut(s.moved, "://")
	if !found {
		host = s.moved
	}
	const policy = "You have connected to a URL that has different security settings than those required for your site."
	a := refuse(403, "not-authenticated/lockout-region-mismatch", policy, "the site has moved to "+s.moved)
	a.data = map[string]any{"host": host}
	a.header = http.Header{"X-Files-Host": {host}}
	switch s.form {
	case Region401JSON:
		a.status, a.header = 401, nil
		a.data = map[string]any{"host": s.moved}
		a.message = fmt.Sprintf("Your account must login using a different server, %s.", s.moved)
	case Region403Text:
		a.kind, a.body = "", policy
		a.header.Set("Content-Type", "text/plain")
	}
	return a
}

// begin makes a session and its answer.
func (s *Server) begin(r *http.Request, u *account, now time.Time) answer {
	if s.serial++; s.serial%1024 == 0 {
		s.forget()
	}
	l := &login{id: randomHex(20), username: u.Username, userAgent: r.UserAgent(), serial: s.serial,
		lifetime: s.lifetime, until: now.Add(s.lifetime), recording: s.recording, fields: u.Session}
	switch id := u.Session["id"].(type) {
	case nil:
	case string:
		if id != "" {
			l.id = id
		}
	default:
		text, _ := json.Marshal(id) // such as 7; Validate has checked that it has a JSON form
		l.id = string(text)
	}
	s.sessions[l.id] = l
	delete(s.ended, l.id)
	return answer{status: 201, user: u.Username, body: l.model()}
}

// model returns the fields of a session as the API answers them.
func (l *login) model() map[string]any {
	m := map[string]any{"id": l.id, "language": nil, "max_dir_listing_size": 100000, "ssl_required": true, "tls_disabled": false}
	if l.recording != Recording2021 {
		maps.Copy(m, map[string]any{
			"sftp_insecure_ciphers": false, "timeout_at": recordedZone(l.until).Format(time.RFC3339),
			"calculate_file_checksums_crc32": false, "calculate_file_checksums_md5": false,
			"calculate_file_checksums_sha1": false, "calculate_file_checksums_sha256": false,
			"legacy_checksums_mode": true, "user_belongs_to_parent_site": false,
		})
	}
	maps.Copy(m, l.fields)
	return m
}

// recordedZone converts a time to the zone of the recorded answer, that of New York.
// If the process has the same offset, recordedZone uses the winter offset. Otherwise
// a client that ignores the offset could pass a test by chance.
func recordedZone(t time.Time) time.Time {
	const hour = 60 * 60
	offset := -4 * hour
	if _, local := t.Local().Zone(); local == offset {
		offset = -5 * hour
	}
	return t.In(time.FixedZone("", offset))
}
