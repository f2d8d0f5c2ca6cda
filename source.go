package session

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"weak"
)

// Source holds one user's session and logs in when there is none: at first,
// shortly before the session times out, and after [Source.Invalidate]. It is
// safe for concurrent use and must not be copied. No goroutine of it lives
// while no login runs.
//
// A refusal, which matches [ErrNotAuthenticated] or [ErrInvalidParams], is kept
// and answered from memory until [Source.Reset], so that many callers with an
// old password cannot lock its user out. After any other failure callers get a
// *[BackoffError] at once, for 1 s that double to 1 min, of which chance takes up
// to a half, and for no less than APIError.RetryAfter.
type Source struct {
	// Login logs in, mostly by Client.Create. Required. It runs once at a time,
	// under a context with the values of a caller's that is cancelled when the
	// last caller has left, and when the context of Close ends. A panic of it is
	// raised again in every waiter.
	Login func(ctx context.Context) (*Session, error)
	// Logout logs out. Nil: Delete, by the client that made s.
	Logout func(ctx context.Context, s *Session) error
	// Early is how long before Session.TimeoutAt a new login is made, at most
	// half of the session's lifetime. 0: 1 minute. Up to a tenth of it is left
	// to chance, so that many Sources do not log in at a time. The old session
	// is left to end by itself. A TimeoutAt in the past or more than a year ahead
	// counts as not reported.
	Early time.Duration

	session atomic.Pointer[Session]
	sent    atomic.Pointer[sent] // see known

	mu      sync.Mutex
	flight  *flight
	expiry  *time.Timer // expires session; nil when that does not time out
	setback *setback    // since the last success
	unended []*Session  // that Close has yet to log out
}

// sent is how a Transport sends a session.
type sent struct {
	session *Session // nil when it is no longer held
	origin  string
	values  [2]string // of headers: the ID and the User-Agent, which may be empty
}

// setback is why there is no login.
type setback struct {
	err      error
	closed   bool      // for good
	refused  bool      // until Reset
	failures int       // in a row
	until    time.Time // when neither
}

// flight is a login under way. Fields are guarded by Source.mu until the channel
// that tells of them is closed.
type flight struct {
	cancel    context.CancelFunc
	waiters   int
	abandoned bool // the last waiter left, nobody may join
	reset     bool // Reset came since: a failure is not kept

	done     chan struct{} // the waiters' outcome is known
	session  *Session
	err      error
	panicked any

	ended   chan struct{} // Login, and what followed, has returned
	gone    error         // of the log-out, when the Source was closed meanwhile
	crashed any           // likewise, of Login or Logout
}

// BackoffError says that a [Source] will not log in for a while.
type BackoffError struct {
	Wait time.Duration // from now on
	Err  error         // the last failure
}

// Error tells the time and the failure.
func (e *BackoffError) Error() string {
	return fmt.Sprintf("session: no login for %v after: %v", e.Wait.Round(time.Millisecond), e.Err)
}

// Unwrap returns the last failure.
func (e *BackoffError) Unwrap() error { return e.Err }

// Session returns the session, after a login if there is none. All callers
// share it: it is not to be modified. A caller leaves when its ctx ends, and the
// login goes on for the others.
func (src *Source) Session(ctx context.Context) (*Session, error) {
	if s := src.session.Load(); s != nil {
		return s, nil
	}
	return src.wait(ctx)
}

// wait waits for a login, and starts one if none is under way.
func (src *Source) wait(ctx context.Context) (*Session, error) {
	if ctx == nil || src.Login == nil {
		return nil, fmt.Errorf("session: %w: Source wants a context and Login", ErrInvalidParams)
	}
	f, s, err := src.join(ctx)
	for f != nil && f.abandoned {
		select {
		case <-f.done:
			f, s, err = src.join(ctx)
		case <-ctx.Done():
			return nil, left(ctx)
		}
	}
	if f == nil {
		return s, err
	}
	select {
	case <-f.done:
	case <-ctx.Done():
		src.mu.Lock()
		if f.waiters--; f.waiters == 0 {
			f.abandoned = true
			f.cancel()
		}
		src.mu.Unlock()
		return nil, left(ctx)
	}
	if f.panicked != nil {
		panic(f.panicked)
	}
	return f.session, f.err
}

// left is the error of a caller whose context ended.
func left(ctx context.Context) error {
	return fmt.Errorf("session: wait for a login: %w", contextError(ctx))
}

// join returns the flight to wait for, or without one what there is to return.
// A flight that is abandoned is not joined.
func (src *Source) join(ctx context.Context) (*flight, *Session, error) {
	src.mu.Lock()
	defer src.mu.Unlock()
	if s := src.session.Load(); s != nil {
		return nil, s, nil
	}
	if b := src.setback; b != nil && (b.closed || b.refused) {
		return nil, nil, b.err
	}
	if ctx.Err() != nil {
		return nil, nil, left(ctx)
	}
	if src.flight == nil {
		if b := src.setback; b != nil {
			if wait := time.Until(b.until); wait > 0 {
				return nil, nil, &BackoffError{Wait: wait, Err: b.err}
			}
		}
		own, cancel := context.WithCancel(context.WithoutCancel(ctx))
		src.flight = &flight{cancel: cancel, done: make(chan struct{}), ended: make(chan struct{})}
		go src.fly(own, src.flight)
	}
	if !src.flight.abandoned {
		src.flight.waiters++
	}
	return src.flight, nil, nil
}

// fly logs in and has everyone know.
func (src *Source) fly(ctx context.Context, f *flight) {
	defer close(f.ended)
	defer f.cancel()
	var s *Session
	err := errors.New("session: Source.Login ended its goroutine")
	defer func() {
		if s = src.land(f, s, err, recover()); s != nil {
			defer func() { f.crashed = recover() }()
			f.gone = errors.New("session: Source.Logout ended its goroutine")
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
			defer cancel()
			f.gone = src.logOut(ctx, s)
		}
	}()
	s, err = src.Login(ctx)
	if err == nil {
		if _, bad := s.validate(DefaultBaseURL); bad != nil {
			err = fmt.Errorf("session: %w from Source.Login: %w", ErrInvalidParams, bad)
		}
	}
	if err != nil {
		s = nil
	}
}

// land ends a flight and keeps its outcome. It returns the session when the
// Source was closed meanwhile, to be logged out.
func (src *Source) land(f *flight, s *Session, err error, panicked any) *Session {
	src.mu.Lock()
	defer src.mu.Unlock()
	src.flight = nil
	switch {
	case src.closed(): // and the waiters were told
		f.crashed = panicked
		if s != nil {
			src.unended = append(src.unended, s)
		}
		return s
	case panicked != nil:
		f.panicked = panicked
	case err == nil:
		src.setback, src.unended = nil, nil // one that was replaced early ends by itself
		src.hold(s)
		f.session = s
	case f.reset:
	case errors.Is(err, ErrNotAuthenticated), errors.Is(err, ErrInvalidParams):
		src.setback = &setback{err: err, refused: true}
	case f.abandoned && errors.Is(err, context.Canceled):
	default:
		failures := 1
		if src.setback != nil {
			failures += src.setback.failures
		}
		wait := backoff(failures, time.Second, time.Minute)
		var api *APIError
		if errors.As(err, &api) {
			wait = max(wait, api.RetryAfter)
		}
		src.setback = &setback{err: err, failures: failures, until: time.Now().Add(wait)}
	}
	f.err = err
	close(f.done)
	return nil
}

// hold keeps s until shortly before it times out. The timer knows the Source
// weakly, so that one that is dropped without Close is collected.
func (src *Source) hold(s *Session) {
	src.session.Store(s)
	lifetime := time.Until(s.TimeoutAt)
	if s.TimeoutAt.IsZero() || lifetime <= 0 || lifetime > 365*24*time.Hour {
		return
	}
	early := min(src.early(), lifetime/2)
	early -= rand.N(early/10 + 1)
	ref := weak.Make(src)
	src.expiry = time.AfterFunc(lifetime-early, func() {
		if src := ref.Value(); src != nil {
			src.expire()
		}
	})
}

func (src *Source) early() time.Duration {
	if src.Early <= 0 {
		return time.Minute
	}
	return src.Early
}

// expire forgets the session that is held when it is time. It is not when the
// timer was an earlier session's, or the clock was set.
func (src *Source) expire() {
	src.mu.Lock()
	defer src.mu.Unlock()
	s := src.session.Load()
	if s == nil || src.expiry == nil {
		return
	}
	if left := time.Until(s.TimeoutAt); left > src.early() {
		src.expiry.Reset(min(left-src.early(), time.Hour)) // the clock may be set back
		return
	}
	src.unended = append(src.unended, src.drop())
}

func (src *Source) closed() bool { return src.setback != nil && src.setback.closed }

// drop forgets the session that is held, but for its origin, and returns it.
func (src *Source) drop() *Session {
	s := src.session.Load()
	if s != nil {
		src.sent.Store(&sent{origin: newSent(s).origin})
		src.session.Store(nil)
	}
	if src.expiry != nil {
		src.expiry.Stop()
		src.expiry = nil
	}
	return s
}

// known returns how the session that is held is sent, or the origin of the last
// one; nil before the first.
func (src *Source) known() *sent {
	if s := src.session.Load(); s != nil {
		return src.send(s)
	}
	return src.sent.Load()
}

// send returns how s is sent. It is made once for a session that is held, and not
// before a Transport wants it.
func (src *Source) send(s *Session) *sent {
	if h := src.sent.Load(); h != nil && h.session == s {
		return h
	}
	h := newSent(s)
	src.mu.Lock()
	defer src.mu.Unlock()
	if src.session.Load() == s {
		src.sent.Store(h)
	}
	return h
}

func newSent(s *Session) *sent {
	origin, _ := s.origin(DefaultBaseURL) // valid since it was held
	return &sent{s, origin, [2]string{s.ID, s.UserAgent}}
}

// Invalidate forgets the session if it has the ID of s: for a caller whom the
// API told that s has ended. It does not log out.
func (src *Source) Invalidate(s *Session) {
	src.mu.Lock()
	defer src.mu.Unlock()
	if held := src.session.Load(); held != nil && s != nil && held.ID == s.ID {
		src.drop()
	}
}

// Reset forgets the session and its origin, a kept refusal and a back-off: for
// when there is a new password. A login under way goes on, and its session is
// kept, but not its failure. Reset does not log out.
func (src *Source) Reset() {
	src.mu.Lock()
	defer src.mu.Unlock()
	src.drop()
	src.sent.Store(nil)
	if !src.closed() {
		src.setback = nil
	}
	if src.flight != nil {
		src.flight.reset = true
	}
}

// closeTimeout bounds a log-out that no context of a caller does.
const closeTimeout = 5 * time.Second

// Close logs out. Waiters and later callers get [ErrSourceClosed]. It waits for
// a login under way and logs its session out, until ctx ends: then the login is
// cancelled, and logged out if it succeeds nonetheless. With a ctx that has
// already ended Close has 5 s. When the log-out fails, Close may be called
// again.
func (src *Source) Close(ctx context.Context) error {
	if ctx == nil {
		return fmt.Errorf("session: close: %w: context is nil", ErrInvalidParams)
	}
	if ctx.Err() != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
	}
	src.mu.Lock()
	if s := src.drop(); s != nil {
		src.unended = append(src.unended, s)
	}
	f, unended := src.flight, slices.Clone(src.unended)
	if !src.closed() {
		src.setback = &setback{closed: true, err: fmt.Errorf("session: %w", ErrSourceClosed)}
		if f != nil {
			f.err = src.setback.err
			close(f.done)
		}
	}
	src.mu.Unlock()

	var err error
	for _, s := range unended {
		err = errors.Join(err, src.logOut(ctx, s))
	}
	if f == nil {
		return err
	}
	select {
	case <-f.ended:
	case <-ctx.Done():
		f.cancel()
		return errors.Join(err, left(ctx))
	}
	if f.crashed != nil {
		panic(f.crashed)
	}
	return errors.Join(err, f.gone)
}

// logOut logs out a session of src.unended, which it leaves when that is done.
func (src *Source) logOut(ctx context.Context, s *Session) error {
	logout := src.Logout
	if logout == nil {
		logout = func(ctx context.Context, s *Session) error { return Delete(ctx, s) }
	}
	err := logout(ctx, s)
	if err == nil {
		src.mu.Lock()
		defer src.mu.Unlock()
		src.unended = slices.DeleteFunc(src.unended, func(u *Session) bool { return u == s })
	}
	return err
}

// Format prints no session, whatever the verb.
func (src *Source) Format(f fmt.State, verb rune) {
	fmt.Fprintf(f, fmt.FormatString(f, verb), "Source")
}
