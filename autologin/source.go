// Package autologin keeps a user logged in to Files.com. A [Source] logs in when a
// session is needed, and renews the session before it ends. A [Transport] sends the
// session with each request to the site:
//
//	src := autologin.New(client, session.CreateParams{Username: "alice", Password: password})
//	defer src.Close(context.Background())
//	hc := &http.Client{Transport: &autologin.Transport{Source: src}}
//	resp, err := hc.Get(client.BaseURL() + "/api/rest/v1/folders/")
//
// Processes of one user share a session through a [Store]. No error, log record or
// printed value of this package holds a password, a code or a session ID.
package autologin

// The files of this package:
//
//	source.go     Source: callers that wait for one login; Session, Invalidate, Reset
//	login.go      one login, from the look at the Store to the session that is saved
//	logout.go     Close and Revoke
//	held.go       a session in use: its end, its renewal, its origin
//	failure.go    what a failed login forbids, for whom, and how long; BackoffError
//	transport.go  Transport: requests that carry the session of a Source
//	store.go      Store and Lock; Load; the Store of a Source that has none
//	record.go     the record that processes share: how it is loaded, locked and saved
//	encrypt.go    Encrypt: a Store that encrypts

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/filescom/session"
)

// Source holds one user's session. It logs in when a caller needs a session and there is
// none. One login runs at a time, and all callers share its outcome. A Source is safe for
// concurrent use. It must not be changed or copied after its first use.
//
// Shortly before its TimeoutAt a session is renewed in the background. The Source asks the
// API whether the session goes on, and logs in if it does not. A session without a
// TimeoutAt is used until the API says that it has ended.
//
// A failed login is not repeated at once, since that could lock the user out:
//
//   - A user name and a password that were refused are not sent again for 1 hour, nor is a
//     login without the code that the API demands. For other parameters, callers make the
//     Source call Params again, at most every 5 seconds.
//   - The wait is 30 seconds after a code that was refused, and 1 hour after the second one
//     in a row. After a lock-out it is APIError.RetryAfter, or 15 minutes.
//   - After any other failure it is 1 second, doubled for each failure up to 1 minute.
//     Until it ends, callers get a *[BackoffError].
//
// Four methods end something:
//
//   - [Source.Invalidate]: the API said that a session has ended.
//   - [Source.Reset] forgets failures: the next caller logs in at once.
//   - [Source.Revoke] logs out, for all who share the Store. The Source stays usable.
//   - [Source.Close] ends the Source. It logs out if there is no Store.
type Source struct {
	Client *session.Client // logs in and out; required

	// Params returns the parameters of the next login; required. It may ask a person. Its
	// context has the values of a caller's context, and ends when the context of Close
	// does. A panic is raised again in every caller that waits. Params and an OTPFunc must
	// pass on their context, so that a call of their own Source is an error.
	Params func(ctx context.Context) (session.CreateParams, error)

	// Store shares the session with all Sources that have a Store of the same record, one
	// for each user and site; nil: not shared. The others wait while Params runs. If the
	// Store fails, a session in use stays in use, and nobody logs in.
	Store Store

	// Logger gets each login, renewal and adoption of a stored session at Debug, and each
	// failure at Warn, also those of renewals, which nothing else reports; nil: none.
	Logger *slog.Logger

	inUse atomic.Pointer[held]   // the session; nil when there is none
	site  atomic.Pointer[origin] // of the last session in use; nil before the first

	once    sync.Once     // of prepare, which sets the fields below
	base    origin        // where Client logs in, or where the session of Static lives
	store   Store         // the field Store, or one in memory
	logger  *slog.Logger  // the field Logger, or one that discards
	salt    []byte        // for a record that has none; the login that runs sets it too
	closing chan struct{} // closed by Close

	static     error       // not nil in a static Source: the error when there is no session; never changes
	closed     atomic.Bool // Close was called
	mayReplace atomic.Bool // after Reset: a record that cannot be decrypted may be replaced
	ended      sync.Map    // has the IDs of the sessions that ended since the last one was put into use

	mu     sync.Mutex // guards the fields below
	flight *flight    // the login or the Revoke that runs; nil when there is none

	failures   failures           // of this Source, also those that are in the record
	last       *failure           // why the last login brought no session; nil after a success
	retryAt    time.Time          // when the next login may find out whether last still holds
	resetAt    time.Time          // of the last Reset: older failures do not count
	unaccepted int                // own sessions in a row that ended before an answer accepted them
	toLogOut   []*session.Session // they are out of use, or could not be saved
}

// flight is one login whose outcome callers share. A Revoke takes it over: then the
// callers go on at the end of the Revoke.
type flight struct {
	start   time.Time
	old     *held // the session to renew or to replace; may be nil
	cancel  context.CancelFunc
	waiters atomic.Int64 // callers
	failure *failure     // why there is no session; nil until that is known

	holds int // the login until it ends, and each Revoke; guarded by Source.mu

	done     chan struct{} // closed when the callers may go on
	err      error         // for the callers; if err and panicked are nil, they look for the session again
	panicked any
	exited   chan struct{} // closed when the goroutine ends
}

// New returns a Source that logs in with fixed parameters.
func New(c *session.Client, params session.CreateParams) *Source {
	return &Source{Client: c, Params: func(context.Context) (session.CreateParams, error) { return params, nil }}
}

// Static returns a Source of a session at hand, such as one that was loaded. It logs
// nobody in, and it does not end by the clock. After the API said that the session has
// ended, callers get an error that matches [session.ErrSessionEnded]. Only
// [Source.Revoke] logs out, by [session.Delete]. If s is nil or cannot be sent, every
// call returns an error that matches [session.ErrInvalidParams].
func Static(s *session.Session) *Source {
	if err := s.Validate(); err != nil {
		return &Source{static: err}
	}
	src := &Source{static: fmt.Errorf("session: %w, and this program does not log in again", session.ErrSessionEnded)}
	h := newHeld(s, session.DefaultBaseURL, time.Now())
	h.ends, src.base = time.Time{}, h.origin
	src.use(h)
	return src
}

// prepare is called once, by the first call that needs more than the session in use.
func (src *Source) prepare() {
	src.closing, src.salt = make(chan struct{}), []byte(rand.Text())
	src.logger = cmp.Or(src.Logger, slog.New(slog.DiscardHandler))
	src.store = cmp.Or[Store](src.Store, &memory{})
	if src.Client != nil {
		src.base = parseOrigin(src.Client.BaseURL())
	}
}

// Session returns the session. If there is none, it waits for a login until ctx ends.
// The login then goes on for the next caller. All callers share the session, so nobody
// may modify it.
//
// The error is that of the login, of Params or of the Store, a *[BackoffError] during
// the wait after a failure, or [ErrClosed] after Close. It matches the error of ctx if
// that has ended, and [session.ErrInvalidParams] if a required field is missing.
func (src *Source) Session(ctx context.Context) (*session.Session, error) {
	h, err := src.get(ctx)
	if err != nil {
		return nil, err
	}
	return h.session, nil
}

// get is Session, and returns what a Transport needs too.
func (src *Source) get(ctx context.Context) (*held, error) {
	if h := src.inUse.Load(); h.fresh(time.Now()) && ctx != nil {
		return h, nil
	}
	if err := src.check(ctx); err != nil {
		return nil, err
	}
	for {
		h, f, err := src.find(ctx)
		if f == nil {
			return h, err
		}
		err = wait(ctx, src.closing, f.done)
		f.waiters.Add(-1)
		switch {
		case err != nil:
			return nil, err
		case f.panicked != nil:
			panic(f.panicked)
		case f.err != nil:
			return nil, f.err
		}
	}
}

// ownContext is the key of a value in each context that src passes on.
type ownContext struct{ src *Source }

// check prepares src. It refuses a Source that cannot work, and a context that src has
// passed on: a caller with such a context would wait for itself.
func (src *Source) check(ctx context.Context) error {
	src.once.Do(src.prepare)
	switch {
	case errors.Is(src.static, session.ErrInvalidParams):
		return src.static
	case src.static == nil && src.Client == nil:
		return misuse("Source.Client is nil; set it to a Client")
	case src.static == nil && src.Params == nil:
		return misuse("Source.Params is nil; set it to a function that returns the parameters of a login")
	case ctx == nil:
		return misuse("the context is nil; use context.Background()")
	case ctx.Value(ownContext{src}) != nil:
		return misuse("Source.Params or an OTPFunc calls its own Source; use a Client there instead")
	}
	return nil
}

// find returns the session if it can be used now, or else the flight to wait for. It
// starts a login if one is due.
func (src *Source) find(ctx context.Context) (*held, *flight, error) {
	src.mu.Lock()
	defer src.mu.Unlock()
	now, h := time.Now(), src.inUse.Load()
	switch {
	case src.closed.Load():
		return nil, nil, ErrClosed
	case h.fresh(now):
		return h, nil, nil
	}
	err := src.refusal(ctx, now)
	if err == nil && src.flight == nil {
		ctx, cancel := context.WithCancel(context.WithoutCancel(context.WithValue(ctx, ownContext{src}, true)))
		src.flight = &flight{start: now, old: h, cancel: cancel, holds: 1, done: make(chan struct{}), exited: make(chan struct{})}
		go src.run(ctx, src.flight)
	}
	switch {
	case h.good(now):
		return h, nil, nil
	case src.flight == nil:
		return nil, nil, err
	}
	src.flight.waiters.Add(1)
	return nil, src.flight, nil
}

// refusal returns why no login may start now, or nil. src.mu is held.
func (src *Source) refusal(ctx context.Context, now time.Time) error {
	switch {
	case src.static != nil:
		return src.static
	case ctx.Err() != nil:
		return waitError(ctx)
	case src.last != nil && now.Before(src.retryAt) && src.last.left(now) > 0:
		return src.last.answer(now)
	}
	return nil
}

// finish keeps the outcome of f. A failure is answered from memory for 5 seconds, as long
// as it holds. Then the next caller starts a login, to find out whether it still does.
func (src *Source) finish(f *flight, h *held, err error) {
	defer src.release(f)
	src.mu.Lock()
	defer src.mu.Unlock()
	switch now := time.Now(); {
	case h != nil && (src.closed.Load() || f.holds > 1 || src.hasEnded(h.session)):
		src.keepForLogOut(h) // with a Store, Revoke finds it in the record
	case h != nil:
		src.use(h)
	case f.failure == nil:
		f.old.postpone(now)
	case f.failure.start().Before(src.resetAt):
		f.err = err
	default:
		f.err, src.last, src.retryAt = err, f.failure, now.Add(5*time.Second)
	}
}

// release ends a hold of f. The end of the last one lets the callers go on.
func (src *Source) release(f *flight) {
	src.mu.Lock()
	defer src.mu.Unlock()
	if f.holds--; f.holds == 0 {
		src.flight = nil
		close(f.done)
	}
}

// use puts h into use, or nothing if h is nil. It returns what was in use. The session
// that h replaces ends by itself. src.mu is held.
func (src *Source) use(h *held) *held {
	old := src.inUse.Swap(h)
	if old != nil && old.wasAccepted(time.Now()) {
		src.unaccepted = 0
	}
	if h != nil {
		site := h.origin // without the session
		src.site.Store(&site)
		src.failures, src.last = src.failures.ofCredentials(), nil
		src.mayReplace.Store(false)
		src.ended.Clear()
		src.toLogOut = slices.DeleteFunc(src.toLogOut, h.has)
	}
	return old
}

// Invalidate takes the session with the ID of s out of use, here and in the Store.
// That ID is not used again. Call it when the API says that s has ended; a [Transport]
// does. It does not log out, and it sends no request.
func (src *Source) Invalidate(s *session.Session) {
	if s == nil {
		return
	}
	src.mu.Lock()
	defer src.mu.Unlock()
	h, now := src.drop(s), time.Now()
	if h == nil || !h.own || h.wasAccepted(now) {
		return
	}
	if src.unaccepted++; src.unaccepted > 1 {
		src.failures = src.failures.add(*newFailure(unclear, errUnaccepted, src.unaccepted-1, 0, now))
	}
}

var errUnaccepted = errors.New("session: two sessions in a row ended before the site accepted them; the site may bind sessions to an address or a User-Agent")

// drop takes s out of use for good. It returns what was in use if that was s. src.mu is
// held.
func (src *Source) drop(s *session.Session) *held {
	src.ended.Store(s.ID, true)
	src.toLogOut = slices.DeleteFunc(src.toLogOut, func(other *session.Session) bool { return other.ID == s.ID })
	if src.inUse.Load().has(s) {
		return src.use(nil)
	}
	return nil
}

// hasEnded reports whether s is known to have ended.
func (src *Source) hasEnded(s *session.Session) bool {
	_, ended := src.ended.Load(s.ID)
	return ended
}

// Reset forgets all failures: the next caller logs in at once. Call it when the cause is
// mended without new parameters, such as when the user is unlocked. A session in use stays
// in use. If a login that runs fails, that is forgotten too. In the record, older failures
// no longer count for src, and its next login removes them. That login also replaces a
// record that cannot be decrypted.
func (src *Source) Reset() {
	src.mu.Lock()
	defer src.mu.Unlock()
	src.failures, src.last, src.unaccepted, src.resetAt = nil, nil, 0, time.Now()
	src.mayReplace.Store(true)
}

// Format prints no session, whatever the verb.
func (src *Source) Format(f fmt.State, _ rune) { fmt.Fprint(f, "autologin.Source") }

// ErrClosed is returned after [Source.Close].
var ErrClosed = errors.New("session: source closed")

// wait waits until done is closed or has a value. It returns the error of ctx or
// ErrClosed if ctx ends or closing is closed first.
func wait[T any](ctx context.Context, closing <-chan struct{}, done <-chan T) error {
	select {
	case <-done:
		return nil
	case <-closing:
		return ErrClosed
	case <-ctx.Done():
		return waitError(ctx)
	}
}

// waitError is the error of a caller whose context has ended. It matches the cause too.
func waitError(ctx context.Context) error {
	err := ctx.Err()
	if cause := context.Cause(ctx); cause != err {
		err = fmt.Errorf("%w: %w", err, cause)
	}
	return fmt.Errorf("session: wait for a login: %w", err)
}

// misuse returns the error of a mistake in the program.
func misuse(text string) error { return fmt.Errorf("session: %w: %s", session.ErrInvalidParams, text) }

// explain says what failed with err, in a text that has its prefix once.
func explain(what string, err error) error {
	if strings.HasPrefix(err.Error(), "session: ") {
		return err
	}
	return fmt.Errorf("session: %s: %w", what, err)
}
