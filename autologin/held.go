package autologin

import (
	"cmp"
	"math"
	"math/rand/v2"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/filescom/session"
)

// held is a session in use. Once it is in use, only its atomic fields change.
type held struct {
	session  *session.Session
	origin   origin        // where the session lives
	own      bool          // this Source logged in
	ends     time.Time     // by the wall clock; zero if not reported
	heldAt   time.Time     // with a monotonic reading
	lifetime time.Duration // from heldAt
	early    atomic.Int64  // a time.Duration: how long before the end the renewal is due
	accepted atomic.Bool   // an answer did not say that the session has ended
}

// newHeld returns s for use from now on. It lives at baseURL if it names no origin. The
// renewal is due 1 minute before the end, or at half of what is left, and up to 10% later
// at random, so that many Sources do not log in at the same time.
func newHeld(s *session.Session, baseURL string, now time.Time) *held {
	h := &held{session: s, origin: parseOrigin(cmp.Or(s.BaseURL, baseURL)), ends: s.TimeoutAt, heldAt: now}
	h.lifetime = h.ends.Sub(now)
	early := max(0, min(time.Minute, h.left(now)/2))
	h.early.Store(int64(early - rand.N(early/10+1)))
	return h
}

// left returns how long h lasts by the wall clock or by the monotonic clock, whichever
// says less. The monotonic clock stands still while a machine sleeps, and the wall clock
// may be set back.
func (h *held) left(now time.Time) time.Duration {
	if h.ends.IsZero() {
		return math.MaxInt64
	}
	return min(h.ends.Sub(now), h.lifetime-now.Sub(h.heldAt))
}

// good reports whether h has not reached its end.
func (h *held) good(now time.Time) bool { return h != nil && h.left(now) > 0 }

// fresh reports whether no renewal of h is due.
func (h *held) fresh(now time.Time) bool {
	return h != nil && h.left(now) > time.Duration(h.early.Load())
}

// has reports whether h is the session s.
func (h *held) has(s *session.Session) bool { return h != nil && s != nil && h.session.ID == s.ID }

// continues reports whether later, which is the same session, lasts so much longer than h
// that the renewal of h is no longer due.
func (h *held) continues(later *held, now time.Time) bool {
	return later.ends.After(h.ends) && later.left(now) > time.Duration(h.early.Load())
}

// postpone makes the next renewal due at half of what is left of h, after a renewal that
// brought no decision.
func (h *held) postpone(now time.Time) {
	if h != nil {
		h.early.Store(max(0, int64(h.left(now)/2)))
	}
}

// wasAccepted reports whether the API accepted h, as far as is known. After a minute it
// counts as accepted, since a program may send it without a Transport.
func (h *held) wasAccepted(now time.Time) bool {
	return h.accepted.Load() || now.Sub(h.heldAt) > time.Minute
}

// dropImplausibleEnd removes a TimeoutAt that is less than 1 second or more than 1 year
// ahead: the clock of this machine or of the server is wrong. s is then used until the API
// says that it has ended.
func dropImplausibleEnd(s *session.Session, now time.Time) {
	if left := s.TimeoutAt.Sub(now); left < time.Second || left > 365*24*time.Hour {
		s.TimeoutAt = time.Time{}
	}
}

// origin is a scheme and a host in lower case. The host has a port, unless that is the
// default port of the scheme.
type origin struct{ scheme, host string }

func parseOrigin(baseURL string) origin {
	u, _ := url.Parse(strings.TrimSpace(baseURL)) // package session has checked it
	return originOf(u)
}

var defaultPorts = map[string]string{"https": ":443", "http": ":80"}

func originOf(u *url.URL) origin {
	return origin{u.Scheme, strings.TrimSuffix(strings.ToLower(u.Host), defaultPorts[u.Scheme])}
}
