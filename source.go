package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Source holds one user's session. It logs in when a caller needs a session and
// there is none. A call shortly before the session times out renews it. The zero value
// with Login set is ready to use. A Source is safe for concurrent use and must not
// be copied after first use. While no login runs, it has no goroutine and no timer.
//
// One login runs at a time, and all callers share its outcome:
//
//   - A refusal is answered from memory until [Source.Reset], or with a Store as
//     long as that says, so that many callers with an old password or code cannot
//     lock the user out. An error is a
//     refusal if it matches [ErrInvalidParams] or [ErrNotAuthenticated], unless
//     it is an *[APIError] without a type, such as the error page of a proxy.
//   - A lock-out ends by itself. It counts as a refusal for APIError.RetryAfter, or
//     for 15 minutes if the API sent none. Then one login is tried.
//   - After any other failure, the callers that waited get the failure, and later
//     callers get a *[BackoffError] at once. The next login waits 1 second, doubled
//     for each failure up to 1 minute and reduced by up to 50% at random. It waits
//     at least APIError.RetryAfter.
//   - If two sessions in a row end before an answer accepts them, that counts as a
//     failure too: the site may bind sessions to an address or a User-Agent. A
//     session counts as accepted after 1 minute, or after an answer through a
//     [Transport] that does not say that the session has ended. The Source does not
//     notice a server that accepts some requests with a session and refuses others,
//     for example because of their User-Agent.
type Source struct {
	// Login logs in, usually by Client.Create. It is required. Its context has the
	// values of a caller's context, but is not canceled when that caller leaves,
	// since the next caller can use the session. It is canceled when the context of
	// Close ends. So Login must have timeouts of its own, as Client.Create has. A
	// panic of Login is raised again in every caller that waits. Login and Logout
	// must not use their own Source: its methods Session, Close and Revoke return an
	// error for a context of Login or Logout.
	Login func(ctx context.Context) (*Session, error)

	// Logout logs out. Nil means Delete, by the client that created s. If it returns
	// an error, the next Close or Revoke tries again. If Close and Revoke are called
	// at the same time, they may log a session out twice.
	Logout func(ctx context.Context, s *Session) error

	// Early is how long before Session.TimeoutAt the session is renewed. 0 means 1
	// minute. It is limited to half of the session's lifetime, and reduced by up to
	// 10% at random, so that many Sources do not log in at the same time. A renewal
	// runs in the background: callers keep using the old session until TimeoutAt.
	// The old session is then left to end by itself. A TimeoutAt less than 1 second
	// or more than 1 year ahead is ignored.
	Early time.Duration

	// Store shares the session with every Source that has a Store of the same
	// record: in other processes, on other machines, or in this one. One of them
	// logs in, and the others adopt its session. So each user at each site requires a
	// record of its own. Nil means that the session is not shared. The Store is read
	// only when no session is in use, or when a renewal is due.
	//
	//   - While Login runs, and also while it asks a person for a code, this Source
	//     holds the lock of the record. The others wait, each caller until its own
	//     context ends.
	//   - A session that has ended is replaced once, by the first Source that
	//     notices.
	//   - Login must pass its context to Client.Create. Then all Sources together
	//     post a wrong password once, and other credentials get their own try. The
	//     last four refusals are kept. They end with the first login after the Reset
	//     of any Source, or after 24 hours. Otherwise a refusal holds for all.
	//   - All Sources share a lock-out, any other refusal, and the wait after a
	//     failure, if the API answered or may have received the login. A refusal is
	//     tried again after APIError.RetryAfter, or 15 minutes. The text of a shared
	//     error says that another process tried to log in. A demand for a second
	//     factor, an incorrect code and [ErrNotSent] are not shared.
	//   - While this Source keeps a failure, its callers make it read the Store
	//     again, at most every 5 seconds.
	//   - If three sessions within a minute end at their first use by another
	//     Source, that counts as a failure of all Sources: the site may bind
	//     sessions to an address.
	//   - If the Store fails, a session in use remains in use. Otherwise callers get
	//     the error of the Store. No login is tried, since its session could not be
	//     saved.
	//   - Close does not log out. Revoke logs out for all Sources. Callers wait
	//     while it runs.
	//   - Login must not use another Source of the same record: it would wait for
	//     itself.
	//
	// A session that was read from a Store has no client. So set Logout to
	// Client.Delete. If Logout is nil, the shared default client logs out, without
	// options such as [WithHTTPClient].
	Store Store

	// Logger gets a record of every login: at Debug when it succeeded or when a
	// session of the Store was adopted, at Warn when it failed, when it was not tried
	// because of the Store, or when the lock of the Store was lost. Nothing else
	// reports that a renewal in the background failed. Nil means no records.
	Logger *slog.Logger

	kept   atomic.Pointer[keptSession] // the session; nil when there is none
	origin atomic.Pointer[string]      // of the last session kept; nil before the first

	mu         sync.Mutex // guards the fields below
	closed     bool
	static     error         // not nil if the Source is static: the error when there is no session
	running    *loginCall    // nil when no login runs
	failure    *loginFailure // nil after a login that succeeded
	unaccepted int           // how many sessions in a row ended before an answer accepted them
	toLogOut   []*Session    // out of use, but not yet logged out

	// With a Store:
	id       string     // random; names the Source in records
	revoking *loginCall // a Revoke that runs; callers wait for its done
	shared   sharedState
}

// loginCall is one call of Source.Login.
type loginCall struct {
	cancel  context.CancelFunc
	renewal bool // the old session was still good at the start
	reset   bool // Reset was called since; a failure is not kept
	revoked bool // Revoke was called since; the session is not kept
	shared  sharedLogin

	done       chan struct{} // closed when the fields below are set, and by Close
	kept       *keptSession
	err        error
	loginPanic any

	ended      chan struct{} // closed when the fields below are set
	logoutErr  error         // of the log-out of a session that nobody gets, or of the Revoke that this call stands for
	closePanic any           // of Login or of that log-out
}

// loginFailure is the reason why no login is tried.
type loginFailure struct {
	err     error
	refused bool
	count   int       // of failures in a row, this one included
	until   time.Time // when the next login may start; zero means after Reset

	// With a Store:
	lookUpAt     time.Time // when the Store may be asked again
	savedAt      time.Time // identifies the failure in the Store; zero if it is this Source's own
	fingerprints []uint16  // of the credentials that were refused, if the refusal is of them alone
}

// keptSession is a session in use, with all that a Transport needs to send it.
// Only accepted is modified after the session is kept.
type keptSession struct {
	session   *Session
	origin    string
	id        []string      // the value of AuthHeader
	userAgent []string      // the value of User-Agent; nil when there is none
	keptAt    time.Time     // with a monotonic reading
	lifetime  time.Duration // from keptAt; 0 when not reported
	early     time.Duration // the session is renewed this long before its end
	accepted  atomic.Bool   // an answer did not say that the session has ended

	savedByOtherAt time.Time // when another Source saved the session; zero if this one logged in
}

// BackoffError is returned while a [Source] waits after a failed login.
type BackoffError struct {
	Wait time.Duration // until the next login may start
	Err  error         // why the last login failed
}

// Error returns the wait and the failure.
func (e *BackoffError) Error() string {
	text := strings.ReplaceAll(fmt.Sprintf(": %v", e.Err), ": session: ", ": ")
	return fmt.Sprintf("session: no login for %v after a failure%s", e.Wait.Round(time.Millisecond), text)
}

// Unwrap returns the failure.
func (e *BackoffError) Unwrap() error { return e.Err }

// usageError is a mistake in the use of a Source or a Transport. It matches
// [ErrInvalidParams].
type usageError string

func (e usageError) Error() string { return "session: " + string(e) }
func (e usageError) Unwrap() error { return ErrInvalidParams }

// ErrSourceClosed is matched if the Source was closed.
var ErrSourceClosed = errors.New("source closed")

var errClosed = fmt.Errorf("session: %w", ErrSourceClosed)

// StaticSource returns a Source of a session that already exists, such as one that
// was loaded from a file. It never logs in: once the session has ended, callers get
// an error that matches [ErrSessionEnded]. An empty BaseURL means [DefaultBaseURL].
// Only [Source.Revoke] logs out. [Source.Close] leaves the session to others.
// [Source.Reset] forgets it for good. If s
// is nil or cannot be sent, callers get an error that matches [ErrInvalidParams].
func StaticSource(s *Session) *Source {
	k, err := newKeptSession(s, 0)
	if err != nil {
		return &Source{static: usageError("StaticSource: " + err.Error())}
	}
	src := &Source{static: fmt.Errorf("session: StaticSource cannot log in again: %w", ErrSessionEnded)}
	src.keep(k)
	return src
}

// Session returns the session. If there is none, it waits for a login until ctx
// ends; the login then goes on for the next caller. All callers share the
// session, so it must not be modified.
//
// The error is that of the login, or a *[BackoffError] while the Source waits
// after a failure. It matches the error of ctx if that ended, [ErrSourceClosed]
// after Close, and [ErrInvalidParams] after a mistake such as a missing Login.
func (src *Source) Session(ctx context.Context) (*Session, error) {
	k, err := src.get(ctx)
	if err != nil {
		return nil, err
	}
	return k.session, nil
}

// get is Session for a Transport.
func (src *Source) get(ctx context.Context) (*keptSession, error) {
	if k := src.kept.Load(); k.fresh() && ctx != nil {
		return k, nil
	}
	if err := src.checkContext(ctx); err != nil {
		return nil, err
	}
	return src.waitForLogin(ctx)
}

// loginKey is the key of a value in the context of Login and Logout.
type loginKey struct{ src *Source }

// checkContext refuses a context of Login or Logout, since these would wait for
// themselves.
func (src *Source) checkContext(ctx context.Context) error {
	switch {
	case ctx == nil:
		return usageError("context is nil; pass context.Background() if there is no other")
	case ctx.Value(loginKey{src}) != nil:
		return usageError("Source.Login or Source.Logout calls its own Source; use a Client there instead")
	}
	return nil
}

func (src *Source) waitForLogin(ctx context.Context) (*keptSession, error) {
	for {
		k, call, err := src.find(ctx)
		if call == nil {
			return k, err
		}
		if err := waitFor(ctx, call.done); err != nil {
			return nil, err
		}
		if call.loginPanic != nil {
			panic(call.loginPanic)
		}
		if call.kept != nil || call.err != nil {
			return call.kept, call.err
		}
		// Close or Revoke was called meanwhile; find decides anew.
	}
}

// waitError is the error of a caller whose context ended.
func waitError(ctx context.Context) error {
	return fmt.Errorf("session: wait for a login: %w", contextError(ctx))
}

// find returns the session if it is still good, or else the login or the
// Revoke to wait for. It starts a login if one is due.
func (src *Source) find(ctx context.Context) (*keptSession, *loginCall, error) {
	src.mu.Lock()
	defer src.mu.Unlock()
	if src.closed {
		return nil, nil, errClosed
	}
	k := src.kept.Load()
	if k.fresh() {
		return k, nil, nil
	}
	if src.revoking != nil {
		return nil, src.revoking, nil
	}
	good := k.good()
	err := src.startLogin(ctx, good)
	switch {
	case good:
		return k, nil, nil
	case err != nil:
		return nil, nil, err
	}
	return nil, src.running, nil
}

// startLogin starts a login unless one is running. It returns an error if none
// may be started.
func (src *Source) startLogin(ctx context.Context, renewal bool) error {
	switch {
	case ctx.Err() != nil:
		return waitError(ctx)
	case src.running != nil:
		return nil
	case src.static != nil:
		return src.static
	case src.Login == nil:
		return usageError("Source.Login is nil; set it to a function that logs in")
	}
	if err := src.failure.current(); err != nil && (src.Store == nil || time.Now().Before(src.failure.lookUpAt)) {
		return err // too early to ask the Store whether it still holds
	}
	ctx, cancel := context.WithCancel(context.WithValue(context.WithoutCancel(ctx), loginKey{src}, true))
	src.running = &loginCall{cancel: cancel, renewal: renewal, done: make(chan struct{}), ended: make(chan struct{})}
	if src.Store != nil {
		src.running.shared = src.newSharedLogin()
	}
	go src.runLogin(ctx, src.running)
	return nil
}

// runLogin finishes call even if Login panics or calls runtime.Goexit.
func (src *Source) runLogin(ctx context.Context, call *loginCall) {
	defer close(call.ended)
	defer call.cancel()
	var k *keptSession
	err := errors.New("session: Source.Login ended its goroutine; it must return")
	defer func() {
		loginPanic := recover()
		if loginPanic != nil {
			err = fmt.Errorf("session: Source.Login panicked with a value of type %T", loginPanic)
		}
		unwanted := src.finish(call, k, err, loginPanic)
		src.logLogin(ctx, call, k, err)
		if unwanted {
			src.logOutLate(ctx, call, k.session)
		}
	}()
	if src.Store != nil {
		k, err = src.logInShared(ctx, call)
	} else {
		k, err = src.logIn(ctx)
	}
}

// logIn calls Login. Nothing else does.
func (src *Source) logIn(ctx context.Context) (*keptSession, error) {
	s, err := src.Login(ctx)
	if err != nil {
		return nil, err
	}
	k, err := newKeptSession(s, src.early())
	if err != nil {
		return nil, usageError("Source.Login returned a session that cannot be used: " + err.Error())
	}
	return k, nil
}

// early is Early, or its default.
func (src *Source) early() time.Duration {
	if src.Early <= 0 {
		return time.Minute
	}
	return src.Early
}

// finish keeps the outcome of call and wakes the callers that wait for it. It
// reports whether the session must be logged out instead, since Close or Revoke was
// called meanwhile. A session in a Store is not unwanted: Close leaves it there, and
// Revoke finds it there.
func (src *Source) finish(call *loginCall, k *keptSession, err error, loginPanic any) (unwanted bool) {
	src.mu.Lock()
	defer src.mu.Unlock()
	src.running = nil
	if loginPanic != nil {
		call.closePanic = loginPanic
	}
	if call.shared.loggedIn && !call.reset { // the record was saved without the older failures
		src.shared.resetAt = time.Time{}
	}
	src.shared.mayReplace = call.reset || src.shared.mayReplace && !call.shared.loggedIn && !call.shared.adopted
	if src.Store == nil && k != nil && (src.closed || call.revoked) {
		unwanted = true
		src.toLogOut = append(src.toLogOut, k.session)
	}
	if src.closed { // Close has woken the callers
		return unwanted
	}
	switch {
	case err == nil:
		src.failure = nil
		if !call.revoked {
			src.keep(k)
			call.kept = k
		}
	case !call.reset:
		count := 1
		if src.failure != nil {
			count += src.failure.count
		}
		src.failure = cmp.Or(call.shared.failure, newLoginFailure(err, count))
		src.failure.lookUpAt = time.Now().Add(lookUpInterval)
	}
	call.err, call.loginPanic = err, loginPanic
	close(call.done)
	return unwanted
}

// logOutLate logs out a session that nobody gets: Close or Revoke was called during
// the login, or it could not be saved. The contexts of the callers may have ended.
func (src *Source) logOutLate(ctx context.Context, call *loginCall, s *Session) {
	defer func() {
		if v := recover(); v != nil {
			call.closePanic = v
		}
	}()
	call.logoutErr = errors.New("session: Source.Logout ended its goroutine; it must return")
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	call.logoutErr = src.logOut(ctx, s)
}

func (src *Source) logLogin(ctx context.Context, call *loginCall, k *keptSession, err error) {
	if src.Logger == nil {
		return
	}
	what, outcome := "Files.com login", " failed"
	if call.renewal {
		what = "Files.com session renewal"
	}
	switch {
	case err == nil && call.shared.adopted:
		src.Logger.LogAttrs(ctx, slog.LevelDebug, "Files.com session adopted from the Store", slog.Any("session", k.session))
		return
	case err == nil:
		src.Logger.LogAttrs(ctx, slog.LevelDebug, what, slog.Any("session", k.session))
		return
	case call.shared.earlier != nil && !call.shared.loggedIn || err == errClosed: // nothing new has happened
		return
	case src.Store != nil && !call.shared.loggedIn: // the Store failed, or says that no login may be tried
		outcome = " not tried"
	case isRefusal(err):
		outcome = " refused"
	}
	src.Logger.LogAttrs(ctx, slog.LevelWarn, what+outcome, slog.String("error", err.Error()))
}

// Invalidate takes the session out of use if it has the ID of s. Call it when the
// API says that s has ended; a [Transport] does. It does not log out. A login that
// is running goes on, and its session is used.
func (src *Source) Invalidate(s *Session) {
	src.mu.Lock()
	defer src.mu.Unlock()
	k := src.kept.Load()
	switch {
	case k == nil && s != nil && s.ID == src.shared.resetID: // the Store may still have it
		src.shared.replaceID, src.shared.turn = s.ID, false
		return
	case k == nil || s == nil || k.session.ID != s.ID:
		return
	}
	src.swap(nil)
	src.shared.replaceID, src.shared.turn, src.shared.resetID = s.ID, k.isTurn(), ""
	if k.wasAccepted() || !k.savedByOtherAt.IsZero() {
		return
	}
	src.unaccepted++
	if src.unaccepted > 1 && src.failure == nil {
		err := fmt.Errorf("session: %d sessions in a row ended before an answer accepted them; check whether the site binds sessions to an address or a User-Agent", src.unaccepted)
		src.failure = newLoginFailure(err, src.unaccepted-1)
	}
}

// Reset forgets the session, a refusal and a back-off. Call it when there is a new
// password. It does not log out. A login that is running goes on, and its session is
// used, but its failure is forgotten. With a Store, a good session in the Store is
// used again. The next login clears the failures in the Store that came before Reset,
// by the clocks of their processes, and replaces a record that cannot be decrypted.
func (src *Source) Reset() {
	src.mu.Lock()
	defer src.mu.Unlock()
	if k := src.kept.Swap(nil); k != nil {
		src.shared.resetID = k.session.ID
	}
	src.origin.Store(nil)
	src.failure, src.unaccepted = nil, 0
	src.shared.mayReplace, src.shared.resetAt = true, time.Now()
	if src.running != nil {
		src.running.reset = true
	}
}

// closeTimeout limits a log-out if the context of the caller has ended.
const closeTimeout = 5 * time.Second

// Close logs out. Callers that wait for a session get [ErrSourceClosed] at once,
// and so does every later call. Close waits for a login that is running and logs
// its session out too. When ctx ends, Close cancels the login and returns; if the
// login succeeds nonetheless, its session is logged out. If ctx has already
// ended, Close takes up to 5 seconds. If a log-out fails, Close may be called
// again. A panic of the login is raised again at the end.
//
// With a Store, Close leaves the session to the others. It only repeats the
// log-out of a session that could not be saved. It waits for a running login of this
// Source, which saves its session, but not for the login of another process.
func (src *Source) Close(ctx context.Context) error {
	if err := src.checkContext(ctx); err != nil {
		return err
	}
	src.mu.Lock()
	call := src.running
	for _, call := range []*loginCall{call, src.revoking} {
		if !src.closed && call != nil {
			close(call.done)
		}
	}
	src.closed = true
	if src.Store != nil {
		src.swap(nil) // the session is left to the others
	}
	sessions := src.takeSessions()
	if src.static != nil {
		sessions = nil
	}
	src.mu.Unlock()
	return src.logOutAll(ctx, sessions, call, func() { call.cancel() })
}

// Revoke logs out like Close, but the Source stays usable: the next caller starts a
// login, unless a failure of an earlier one is kept. Revoke waits for a login that
// is running and logs its session out too; the callers that wait for that login get
// the session of a new login. If a log-out fails, Revoke may be called again. After
// Close it returns an error that matches [ErrSourceClosed].
//
// With a Store, Revoke logs out for all Sources that share it: it waits for the lock
// of the record, logs the stored session out, and removes it. If Revoke fails before
// that, or if the log-out fails, the session stays in use and in the record. Calls at
// the same time wait for the first one, and do nothing unless that fails.
func (src *Source) Revoke(ctx context.Context) error {
	if err := src.checkContext(ctx); err != nil {
		return err
	}
	if src.Store != nil {
		return src.revokeShared(ctx)
	}
	src.mu.Lock()
	if src.closed {
		src.mu.Unlock()
		return errClosed
	}
	call := src.running
	if call != nil {
		call.revoked = true
	}
	sessions := src.takeSessions()
	src.mu.Unlock()
	return src.logOutAll(ctx, sessions, call, func() {})
}

// takeSessions takes the session out of use. It returns all that are to be
// logged out.
func (src *Source) takeSessions() []*Session {
	if k := src.swap(nil); k != nil {
		src.toLogOut = append(src.toLogOut, k.session)
	}
	return slices.Clone(src.toLogOut)
}

// logOutAll logs sessions out and waits for the end of call, if there is one. It
// calls giveUp if ctx ends first.
func (src *Source) logOutAll(ctx context.Context, sessions []*Session, call *loginCall, giveUp func()) error {
	ctx, cancel := liveContext(ctx)
	defer cancel()
	var err error
	for _, s := range sessions {
		err = errors.Join(err, src.logOut(ctx, s))
	}
	if call == nil {
		return err
	}
	if waitErr := waitFor(ctx, call.ended); waitErr != nil {
		giveUp()
		return errors.Join(err, waitErr)
	}
	if call.closePanic != nil {
		panic(call.closePanic)
	}
	return errors.Join(err, call.logoutErr)
}

// liveContext returns ctx, or a context with closeTimeout if ctx has ended.
func liveContext(ctx context.Context) (context.Context, context.CancelFunc) {
	if ctx.Err() == nil {
		return ctx, func() {}
	}
	return context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
}

// waitFor waits until done is closed. It returns an error if ctx ends first.
func waitFor(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return waitError(ctx)
	}
}

// logOut logs out a session of src.toLogOut and removes it from there.
func (src *Source) logOut(ctx context.Context, s *Session) error {
	logout := src.Logout
	if logout == nil {
		logout = func(ctx context.Context, s *Session) error { return Delete(ctx, s) }
	}
	if err := logout(context.WithValue(ctx, loginKey{src}, true), s); err != nil {
		return err
	}
	src.mu.Lock()
	defer src.mu.Unlock()
	src.toLogOut = slices.DeleteFunc(src.toLogOut, func(other *Session) bool { return other == s })
	return nil
}

// Format prints no session, whatever the verb.
func (src *Source) Format(f fmt.State, verb rune) {
	fmt.Fprintf(f, fmt.FormatString(f, verb), "Source")
}

// lockOutTime is how long a lock-out holds if the API does not say. The same goes
// for any other refusal that a Store shares for all credentials.
const lockOutTime = 15 * time.Minute

func newLoginFailure(err error, count int) *loginFailure {
	f := &loginFailure{err: err, refused: isRefusal(err), count: count}
	var api *APIError
	retryAfter := time.Duration(0)
	if errors.As(err, &api) {
		retryAfter = api.RetryAfter
	}
	switch {
	case !f.refused:
		f.until = time.Now().Add(max(retryAfter, backoff(count, time.Second, time.Minute)))
	case errors.Is(err, ErrLockedOut):
		f.until = time.Now().Add(cmp.Or(retryAfter, lockOutTime))
	}
	return f
}

// isRefusal reports whether another login would fail like the one that returned
// err.
func isRefusal(err error) bool {
	var api *APIError
	if errors.As(err, &api) && api.Type == "" {
		return false // for example, the answer of a proxy
	}
	var challenge *TwoFactorError
	return errors.As(err, &challenge) || errors.Is(err, ErrNotAuthenticated) || errors.Is(err, ErrInvalidParams)
}

// current returns the error to answer now, or nil if a login may be tried.
func (f *loginFailure) current() error {
	if f == nil {
		return nil
	}
	wait := time.Until(f.until)
	switch {
	case f.refused && (wait > 0 || f.until.IsZero()):
		return f.err
	case wait > 0:
		return &BackoffError{Wait: wait, Err: f.err}
	}
	return nil
}

// newKeptSession returns an error if s cannot be sent.
func newKeptSession(s *Session, early time.Duration) (*keptSession, error) {
	origin, err := s.validate(DefaultBaseURL)
	if err != nil {
		return nil, err
	}
	k := &keptSession{session: s, origin: origin, id: []string{s.ID}, keptAt: time.Now()}
	if s.UserAgent != "" {
		k.userAgent = []string{s.UserAgent}
	}
	if lifetime := s.TimeoutAt.Round(0).Sub(k.keptAt); lifetime >= time.Second && lifetime <= 365*24*time.Hour {
		k.setLifetime(lifetime, early)
	}
	return k, nil
}

// setLifetime sets how long the session lasts from keptAt on, and how long
// before its end it is renewed.
func (k *keptSession) setLifetime(lifetime, early time.Duration) {
	k.lifetime = lifetime
	early = max(0, min(early, lifetime/2))
	k.early = early - rand.N(early/10+1)
}

// keep puts k into use. The session that it replaces is left to end by itself. If k
// was to be logged out, since its save seemed to fail, it no longer is.
func (src *Source) keep(k *keptSession) {
	src.swap(k)
	src.toLogOut = slices.DeleteFunc(src.toLogOut, func(s *Session) bool { return s.ID == k.session.ID })
	origin := k.origin // without the session
	src.origin.Store(&origin)
}

// swap puts k, or nil, into use and returns the session that was in use.
func (src *Source) swap(k *keptSession) *keptSession {
	old := src.kept.Swap(k)
	if old != nil && old.wasAccepted() {
		src.unaccepted = 0
	}
	return old
}

// fresh reports whether k needs no renewal.
func (k *keptSession) fresh() bool { return k != nil && k.left() > k.early }

// good reports whether k can be used.
func (k *keptSession) good() bool { return k != nil && k.left() > 0 }

// left returns how long k lasts by the wall clock or by the monotonic clock,
// whichever is shorter. The monotonic clock stands still while a machine sleeps, and
// the wall clock may be set back.
func (k *keptSession) left() time.Duration {
	if k.lifetime == 0 {
		return math.MaxInt64
	}
	now := time.Now()
	return min(time.Duration(k.session.TimeoutAt.UnixNano()-now.UnixNano()), k.lifetime-now.Sub(k.keptAt))
}

// wasAccepted reports whether the server accepted a request with k, as far as is
// known.
func (k *keptSession) wasAccepted() bool {
	return k.accepted.Load() || time.Since(k.keptAt) > time.Minute
}
