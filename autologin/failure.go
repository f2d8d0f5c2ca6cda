package autologin

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"time"

	"github.com/filescom/session"
)

// failure is a failed login: what it forbids, for whom, and for how long. Its JSON form
// is what other processes read.
type failure struct {
	Kind        kind          `json:"kind"`
	At          time.Time     `json:"at"`                    // by the clock of the process that failed
	Took        time.Duration `json:"took_ns,omitempty"`     // from the start of the login to At
	Hold        time.Duration `json:"hold_ns"`               // from At on
	Count       int           `json:"count"`                 // of failures of this kind in a row
	Fingerprint uint16        `json:"fingerprint,omitempty"` // of the credentials; see record.fingerprint
	Status      int           `json:"status,omitempty"`      // of the answer; 0 if there was none
	Type        string        `json:"type,omitempty"`
	RetryAfter  time.Duration `json:"retry_after_ns,omitempty"`

	err error // nil if another process failed
}

// kind says what a failure forbids.
type kind string

const (
	refused    kind = "refused"    // logins of everyone with these credentials
	unanswered kind = "unanswered" // logins of this Source with these credentials and without a code
	wrongCode  kind = "wrong-code" // logins of this Source
	lockedOut  kind = "locked-out" // logins of everyone
	unclear    kind = "unclear"    // logins of everyone: any other answer, or none
	notPosted  kind = "not-posted" // logins of this Source
)

const (
	longestHold = 24 * time.Hour   // whatever a record says
	forgetAfter = 10 * time.Minute // after the end of its hold a failure no longer counts
	maxSkew     = 5 * time.Minute  // between the clocks of two processes
	maxRefusals = 4                // more than one, so that old passwords do not displace each other
)

// kindOf returns the kind of an error of Client.Create. Create returns an answer to the login
// as it is, and also the error that says that none came. But it wraps the error of an OTPFunc,
// which may be an answer to another request. So kindOf unwraps nothing.
func kindOf(err error) kind {
	answer, answered := err.(*session.APIError)
	_, demanded := err.(*session.TwoFactorError)
	silence := errors.Is(err, session.ErrOutcomeUnknown) && errors.Unwrap(err) == nil
	switch {
	case !answered && !demanded && !silence:
		return notPosted // also an answer that names another region
	case errors.Is(err, session.ErrLockedOut):
		return lockedOut
	case errors.Is(err, session.ErrOneTimePasswordIncorrect):
		return wrongCode
	case demanded:
		return unanswered
	case answered && answer.Type != "" && errors.Is(err, session.ErrNotAuthenticated): // without a type, a proxy may have answered
		return refused
	}
	return unclear
}

// newFailure returns the failure of a login that started at a time and failed with err now,
// the count-th of its kind in a row. The fingerprint is that of the credentials.
func newFailure(k kind, err error, count int, fingerprint uint16, start time.Time) *failure {
	f := &failure{Kind: k, At: time.Now(), Took: time.Since(start), Hold: time.Hour, Count: count, err: err}
	var answer *session.APIError
	if errors.As(err, &answer) {
		f.Status, f.Type, f.RetryAfter = answer.StatusCode, answer.Type, answer.RetryAfter
	}
	switch {
	case f.ofCredentials():
		f.Fingerprint = fingerprint
	case k == wrongCode && count == 1:
		f.Hold = 30 * time.Second
	case k == lockedOut:
		f.Hold = cmp.Or(f.RetryAfter, 15*time.Minute)
	case k == unclear, k == notPosted:
		f.Hold = max(f.RetryAfter, backoff(count, time.Second, time.Minute))
	}
	return f
}

// start returns when the login started: a Reset after that forgets f.
func (f *failure) start() time.Time { return f.At.Add(-f.Took) }

// shared reports whether the login of another process would fail in the same way. Another
// process may have a person to ask, other options, or a connection.
func (f *failure) shared() bool { return f.Kind == refused || f.Kind == lockedOut || f.Kind == unclear }

// ofCredentials reports whether f forbids logins with some credentials only.
func (f *failure) ofCredentials() bool { return f.Kind == refused || f.Kind == unanswered }

// forbids reports whether f forbids a login with params, which have the fingerprint.
func (f *failure) forbids(fingerprint uint16, params session.CreateParams) bool {
	return f.ofCredentials() && f.Fingerprint == fingerprint && (f.Kind == refused || params.OTP == "")
}

// left returns how long f still holds, by the wall clock or by the monotonic clock,
// whichever says less: see held.left. It is 0 or less if f no longer holds. A clock that
// is ahead does not make it longer than Hold.
func (f *failure) left(now time.Time) time.Duration {
	elapsed := max(0, now.Sub(f.At), now.Round(0).Sub(f.At.Round(0)))
	return min(f.Hold, longestHold) - elapsed
}

// answer returns the error for a caller who comes while f holds. Its text is for the user
// of the program.
func (f *failure) answer(now time.Time) error {
	left, what := f.left(now), "no login is sent"
	if f.Kind == unclear || f.Kind == notPosted {
		return &BackoffError{Wait: left, Err: f.cause()}
	}
	if f.ofCredentials() {
		what = "the same login is not sent again"
	}
	return fmt.Errorf("%w; this answer is remembered, and %s before %s", f.cause(), what, now.Add(left).Format("2006-01-02 15:04:05 MST"))
}

// errorType matches the type of an error. A record may hold any text.
var errorType = regexp.MustCompile(`^[a-z0-9/_-]{1,128}$`)

// cause returns why the login failed, as far as that is known.
func (f *failure) cause() error {
	const other = "another process that shares the session tried to log in"
	switch {
	case f.err != nil:
		return f.err
	case f.Status == 0:
		return fmt.Errorf("session: %s: %w", other, session.ErrOutcomeUnknown)
	}
	answer := &session.APIError{StatusCode: f.Status, Type: errorType.FindString(f.Type), RetryAfter: f.RetryAfter}
	return fmt.Errorf("%w; %s", answer, other)
}

// failures are in the order of their add. There is at most one of each kind, and maxRefusals
// of a kind that is about credentials. No method changes them.
type failures []failure

// add returns fs with f at its end. f replaces a failure of the same kind and credentials, or
// the oldest one of its kind if there are maxRefusals.
func (fs failures) add(f failure) failures {
	fs = fs.without(f)
	if same := fs.only(func(other *failure) bool { return other.Kind == f.Kind }); len(same) >= maxRefusals {
		fs = fs.without(same[0])
	}
	return append(fs, f)
}

// without returns the failures that are not of the kind and the credentials of f.
func (fs failures) without(f failure) failures {
	return fs.only(func(other *failure) bool { return other.Kind != f.Kind || other.Fingerprint != f.Fingerprint })
}

// only returns the failures for which keep is true.
func (fs failures) only(keep func(*failure) bool) failures {
	return slices.DeleteFunc(slices.Clone(fs), func(f failure) bool { return !keep(&f) })
}

// ofCredentials returns what remains after a success: credentials that were refused stay
// refused, since the login had other ones.
func (fs failures) ofCredentials() failures { return fs.only((*failure).ofCredentials) }

// since returns the failures of a record that count after a Reset; the zero time means
// that there was none. One that is dated too far ahead counts only if a wrong password
// might be posted again. A Reset forgets it too, since it may be older.
func (fs failures) since(reset, now time.Time) failures {
	return fs.only(func(f *failure) bool {
		if f.At.Sub(now) > maxSkew {
			return f.Kind == refused && reset.IsZero()
		}
		return f.start().After(reset) && f.left(now) > -forgetAfter
	})
}

// longest returns the failure that matches and holds longest. It returns nil if none holds
// longer than least.
func (fs failures) longest(now time.Time, least time.Duration, match func(*failure) bool) (longest *failure) {
	for i := range fs {
		if left := fs[i].left(now); left > least && match(&fs[i]) {
			longest, least = &fs[i], left
		}
	}
	return longest
}

// backoff returns how long to wait after the nth failure: first, doubled for each failure
// up to limit, and reduced by up to 50% at random.
func backoff(n int, first, limit time.Duration) time.Duration {
	longest := min(limit, first<<min(max(0, n-1), 10)) // a record may hold any count
	return longest - rand.N(longest/2)
}

// BackoffError is returned while a [Source] waits after a failed login.
type BackoffError struct {
	Wait time.Duration // until the next login may start
	Err  error         // why the last login failed
}

// Error returns the failure and the wait.
func (e *BackoffError) Error() string {
	return fmt.Sprintf("%v; the next login may start in %v", e.Err, e.Wait.Round(time.Millisecond))
}

// Unwrap returns the failure.
func (e *BackoffError) Unwrap() error { return e.Err }

// Temporary returns true: the same call may succeed later. Many programs ask an error for
// this method before they try again.
func (e *BackoffError) Temporary() bool { return true }

// Timeout returns false: no time limit has passed.
func (e *BackoffError) Timeout() bool { return false }
