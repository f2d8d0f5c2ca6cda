package sessiontest

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// settings say how logins and sessions behave. Reset keeps them.
type settings struct {
	lifetime      time.Duration
	sliding       bool
	tries         int // before a lock-out; 0: any number
	lockedFor     time.Duration
	lockWithin    time.Duration
	bindUserAgent bool
	cors          bool
	limit         int // of logins within a window; 0: any number
	window        time.Duration
	moved         string // host that the site is served from
	form          RegionForm
	recording     Recording
	seed          uint64
	watch         func(Request)
}

func (s *Server) set(change func(*settings)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.settings)
}

// century keeps the clock within the range of a time.Duration.
const century = 100 * 365 * 24 * time.Hour

// Advance moves the server's clock, not the client's: forward, or back if d is
// negative. Sessions, lock-outs, codes and rate limits follow this clock. Delays of
// faults do not. The clock stays within 100 years of the real one.
func (s *Server) Advance(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d = min(max(d, -century), century)
	s.offset = min(max(s.offset+d, -century), century)
}

// Now returns the time by the server's clock.
func (s *Server) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now()
}

func (s *Server) now() time.Time { return time.Now().Add(s.offset) }

// SetLifetime sets the lifetime of sessions that are created from now on. The
// default is 6 hours, as in the recording.
func (s *Server) SetLifetime(d time.Duration) {
	s.set(func(c *settings) { c.lifetime = d })
}

// SetSliding sets whether a session ends a lifetime after its last request, or a
// lifetime after its login. The default is true, since the vendor says that a session
// ends after a time of inactivity. A request that the server refuses, or that a
// [Fault] answers instead, does not move the end. Turned off, SetSliding leaves the
// ends of live sessions where they are.
func (s *Server) SetSliding(on bool) {
	s.set(func(c *settings) { c.sliding = on })
}

// SetLockOut sets how many failed tries lock a user out, and for how long. Tries
// count for 6 hours, or for the window of [Server.SetLockOutWindow], and until the
// user logs in. If tries is 0, which is the default, nobody is locked out.
func (s *Server) SetLockOut(tries int, period time.Duration) {
	s.set(func(c *settings) { c.tries, c.lockedFor = tries, period })
}

// SetLockOutWindow sets how long a failed try counts towards a lock-out. The default
// is 6 hours.
func (s *Server) SetLockOutWindow(d time.Duration) {
	s.set(func(c *settings) { c.lockWithin = d })
}

// SetRateLimit allows n logins within a window. The server answers further logins
// with 429 and a Retry-After. If n is 0, which is the default, there is no limit.
func (s *Server) SetRateLimit(n int, window time.Duration) {
	s.set(func(c *settings) { c.limit, c.window = n, window })
}

// BindUserAgent makes the server refuse a session that comes with a User-Agent other
// than that of its login.
func (s *Server) BindUserAgent() {
	s.set(func(c *settings) { c.bindUserAgent = true })
}

// Seed sets the seed of the random numbers for Fault.Chance. The default is 1.
func (s *Server) Seed(seed uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seed = seed
	s.rng = rand.New(rand.NewPCG(seed, 1))
}

// RegionForm is a form in which the API says that a site is served from another
// host.
type RegionForm string

const (
	Region403JSON RegionForm = "403-json" // names a host in its data and in the header X-Files-Host
	Region401JSON RegionForm = "401-json" // names an origin in its data
	Region403Text RegionForm = "403-text" // names a host in the header X-Files-Host
)

// MoveTo makes the server answer logins with a region mismatch that names host. host
// may be an origin, such as the URL of another server. An empty host turns this off.
// MoveTo panics if form is not one of the constants, unless host is empty.
func (s *Server) MoveTo(host string, form RegionForm) {
	switch form {
	case Region403JSON, Region401JSON, Region403Text:
	default:
		if host != "" {
			panic(fmt.Sprintf("sessiontest: %q is not a RegionForm; use Region403JSON, Region401JSON or Region403Text", form))
		}
	}
	s.set(func(c *settings) { c.moved, c.form = host, form })
}

// Recording is a set of recorded answers. The answers of the server have the same
// form.
type Recording string

const (
	Recording2025 Recording = "2025" // as today
	Recording2021 Recording = "2021" // with errors inside errors, and no timeout_at
)

// SetRecording sets which recording the answers follow. The default is
// Recording2025. It panics if r is not one of the constants.
func (s *Server) SetRecording(r Recording) {
	if r != Recording2025 && r != Recording2021 {
		panic(fmt.Sprintf("sessiontest: %q is not a Recording; use Recording2025 or Recording2021", r))
	}
	s.set(func(c *settings) { c.recording = r })
}
