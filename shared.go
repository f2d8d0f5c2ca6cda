package session

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// Sources that share a Store communicate only through its record. The login step of
// each is logInShared: look, lock, look again, save, log in, save. A look without the
// lock may find a session or a failure. Only a look with it leads to a login. Each
// login knows the ID of the session to replace, and adopts any good session with
// another ID.

const (
	storeTimeout   = 5 * time.Second // limits each call of a Store
	lookUpInterval = 5 * time.Second // between two reads of the Store while a Source keeps a failure
	refusalTime    = 24 * time.Hour  // how long a refusal holds for the credentials that were refused
	maxSkew        = 5 * time.Minute // a failure that is dated further ahead does not count
	maxRefusals    = 4               // in a record; more than one, so that old passwords do not displace each other
	trialTime      = time.Minute     // a session that lasts this long counts as good
	maxTurns       = 3               // this many turns within trialTime are a failure
)

// sharedState is what a Source with a Store passes on to its next login. Source.mu
// guards it.
type sharedState struct {
	replaceID string    // of the session to replace: the last that an answer reported as ended
	turn      bool      // its end was a turn: see isTurn
	resetID   string    // of the session that Reset took out of use
	resetAt   time.Time // when Reset was called last; older failures of the record do not count

	// After Reset, until a record was saved or a session adopted, a record that cannot
	// be decrypted may be replaced.
	mayReplace bool
}

// sharedLogin is the part of a loginCall that a Store needs.
type sharedLogin struct {
	sharedState               // as it was when the login started
	earlier     *loginFailure // holds unless the Store says otherwise; may be nil

	adopted  bool          // the session is that of another login
	loggedIn bool          // Login was called, after the record was saved
	failure  *loginFailure // what callers get from now on; nil means that it is made from the error
}

// newSharedLogin returns the start of a login. It replaces the session in use, if
// there is one. The caller holds src.mu.
func (src *Source) newSharedLogin() sharedLogin {
	if src.id == "" {
		src.id = rand.Text()
	}
	login := sharedLogin{sharedState: src.shared}
	if k := src.kept.Load(); k != nil {
		login.replaceID, login.turn = k.session.ID, false
	}
	if src.failure.current() != nil {
		login.earlier = src.failure
	}
	return login
}

// isTurn reports whether the end of k is a turn: another Source logged in a short
// time ago, and k ended at its first use by this Source. If sessions are bound to an
// address, Sources at two addresses take turns to replace each other's session. If
// this Source logged in, savedByOtherAt is zero, which is long ago.
func (k *keptSession) isTurn() bool {
	return !k.wasAccepted() && time.Since(k.savedByOtherAt) < trialTime
}

// logInShared is the login step of a Source with a Store.
func (src *Source) logInShared(ctx context.Context, call *loginCall) (*keptSession, error) {
	lost := false
	for n := 1; ; n++ {
		_, k, err := src.look(ctx, &call.shared)
		if k != nil || err != nil {
			return k, err
		}
		lock, err := src.tryLock(ctx)
		switch {
		case err == nil:
			if k, err = src.logInLocked(ctx, call, lock); !errors.Is(err, errSaveLostLock) {
				return k, err
			}
			if src.Logger != nil {
				src.Logger.LogAttrs(ctx, slog.LevelWarn, "Files.com session lock lost", slog.String("error", err.Error()))
			}
			if lost { // the locks of this Store do not last as long as a login
				return nil, err
			}
			lost = true
		case !errors.Is(err, ErrLocked):
			return nil, err
		}
		if err := call.pause(ctx, n); err != nil {
			return nil, err
		}
	}
}

// logInLocked logs in while it holds the lock, unless a login is no longer due. It
// saves the record before it calls Login, so that no login is posted that cannot be
// kept.
func (src *Source) logInLocked(ctx context.Context, call *loginCall, lock Lock) (*keptSession, error) {
	defer lock.Unlock()
	login := &call.shared
	r, k, err := src.look(ctx, login)
	if k != nil || err != nil {
		return k, err
	}
	failure := r.prepare(login, call.renewal, time.Now())
	if err := r.save(ctx, lock); err != nil {
		return nil, err
	}
	if failure != nil {
		login.failure = failure
		return nil, failure.err
	}
	login.loggedIn = true
	locked := &lockedLogin{record: r, lock: lock}
	k, err = src.logIn(context.WithValue(ctx, lockedLoginKey{}, locked))
	locked.mu.Lock()
	defer locked.mu.Unlock()
	if err != nil {
		login.failure = locked.fail(ctx, err)
		return nil, err
	}
	r.keep(k, src.id)
	if err = r.save(ctx, lock); err == nil {
		return k, nil
	}
	if saved, _ := loadRecord(context.WithoutCancel(ctx), src.Store); saved.has(k.session.ID) {
		return k, nil // the record was saved, and only the answer was lost
	}
	r.Session = nil // a Create that outlives Login may still save r
	src.mu.Lock()
	src.toLogOut = append(src.toLogOut, k.session)
	src.mu.Unlock()
	src.logOutLate(ctx, call, k.session)
	if call.logoutErr != nil {
		err = fmt.Errorf("%w; nor can the session be logged out: %w", err, call.logoutErr)
	}
	return nil, err
}

// look loads the record, without the failures before the last Reset. It returns the
// session to use, or the failure that holds, even if the Store fails, or neither if a
// login is due.
func (src *Source) look(ctx context.Context, login *sharedLogin) (*record, *keptSession, error) {
	r, err := loadRecord(ctx, src.Store)
	if login.mayReplace && errors.Is(err, errNotDecrypted) {
		r, err = &record{}, nil
	}
	failure := login.earlier
	if err == nil {
		r.forget(login.resetAt)
		if r.Session != nil && !r.has(login.replaceID) {
			if k := src.adopt(r.Session); k.good() {
				login.adopted = true
				return r, k, nil
			}
		}
		failure = r.failureFor(login.earlier)
	}
	if failed := failure.current(); failed != nil {
		login.failure = failure
		return r, nil, failed
	}
	return r, nil, err
}

// adopt makes a saved session ready for use. The process that saved it has already
// decided whether its TimeoutAt is plausible.
func (src *Source) adopt(s *savedSession) *keptSession {
	k, _ := newKeptSession(&s.Session, 0) // loadRecord has validated it
	k.setLifetime(s.Lifetime, src.early())
	if s.SavedBy != src.id {
		k.savedByOtherAt = s.SavedAt
	}
	return k
}

func (src *Source) tryLock(ctx context.Context) (Lock, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	lock, err := src.Store.TryLock(ctx)
	switch {
	case err != nil:
		return nil, fmt.Errorf("session: lock the Store: %w", err)
	case lock == nil:
		return nil, usageError("Store.TryLock returned neither a Lock nor an error; it must return one of them")
	}
	return lock, nil
}

// pause waits before the lock is tried again. It also ends when the Source is
// closed, since it waits for the login of another Source.
func (call *loginCall) pause(ctx context.Context, n int) error {
	select {
	case <-time.After(backoff(n, 10*time.Millisecond, 250*time.Millisecond)):
		return nil
	case <-call.done:
		return errClosed
	case <-ctx.Done():
		return waitError(ctx)
	}
}

// errSaveLostLock says that another process may have logged in meanwhile.
var errSaveLostLock = fmt.Errorf("session: save to the Store: %w", ErrLockLost)

// save saves r even if ctx has ended, since the events in r have already happened.
func (r *record) save(ctx context.Context, lock Lock) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	data, ttl, err := r.encode(time.Now())
	if err == nil {
		err = lock.Save(ctx, data, ttl)
	}
	switch {
	case errors.Is(err, ErrLockLost):
		return errSaveLostLock
	case err != nil:
		return fmt.Errorf("session: save to the Store: %w", err)
	}
	return nil
}

// forget removes the failures from r that are not newer than a Reset.
func (r *record) forget(reset time.Time) {
	if r.Failure != nil && !r.Failure.At.After(reset) {
		r.Failure, r.InARow = nil, 0
	}
	r.Refusals = slices.DeleteFunc(r.Refusals, func(f refusal) bool { return !f.At.After(reset) })
	r.Turns = slices.DeleteFunc(r.Turns, func(turn time.Time) bool { return !turn.After(reset) })
}

// prepare removes from r what a login replaces: failures that no longer hold, and
// the session, unless it is still good. It returns a failure if the session that
// ended was one turn too many.
func (r *record) prepare(login *sharedLogin, renewal bool, now time.Time) *loginFailure {
	turned := login.turn && r.has(login.replaceID)
	if r.Session != nil && r.Failure == nil && now.Sub(r.Session.SavedAt) >= trialTime {
		r.InARow, r.Turns = 0, nil
	}
	r.Refusals = slices.DeleteFunc(r.Refusals, func(f refusal) bool { return f.left(now) <= 0 })
	for i := range r.Refusals {
		if f := &r.Refusals[i]; f.At.After(now) { // by a clock that is ahead
			f.At = now
		}
	}
	r.Failure = nil
	if !renewal {
		r.Session = nil
	}
	if len(r.Salt) == 0 {
		r.Salt = []byte(rand.Text())
	}
	r.Turns = slices.DeleteFunc(r.Turns, func(turn time.Time) bool { return now.Sub(turn).Abs() >= trialTime })
	if !turned {
		return nil
	}
	if r.Turns = append(r.Turns, now); len(r.Turns) < maxTurns {
		return nil
	}
	return r.failForAll(errAddressBound, now)
}

// keep puts the session of a login into r, without the parameters of the login. It
// keeps the refusals: the credentials that logged in are other ones.
func (r *record) keep(k *keptSession, savedBy string) {
	s := &savedSession{*k.session, savedBy, k.keptAt, k.lifetime}
	s.Username, s.Password, s.OTP, s.PartialSessionID = "", "", "", ""
	r.Session, r.Failure = s, nil
}

// has reports whether the session of the record has the ID.
func (r *record) has(id string) bool { return r != nil && r.Session != nil && r.Session.ID == id }

// failureFor returns the failure that holds for a Source, or nil. An earlier one
// holds if it is the Source's own, or if it is still in the record.
func (r *record) failureFor(earlier *loginFailure) *loginFailure {
	now := time.Now()
	wait := r.Failure.left(now)
	current := earlier.current() != nil
	isEarlier := func(f refusal) bool {
		return slices.Contains(earlier.fingerprints, f.Fingerprint) && f.left(now) > 0
	}
	switch {
	case current && (earlier.savedAt.IsZero() || wait > 0 && earlier.savedAt.Equal(r.Failure.At)):
		return earlier
	case wait > 0:
		err := r.Failure.error()
		return &loginFailure{err: err, refused: isRefusal(err), until: now.Add(wait), savedAt: r.Failure.At}
	case current && slices.ContainsFunc(r.Refusals, isEarlier):
		return earlier
	}
	return nil
}

// failForAll puts a failure into r that holds for all credentials.
func (r *record) failForAll(err error, now time.Time) *loginFailure {
	r.InARow++
	failure := newLoginFailure(err, r.InARow)
	failure.savedAt = now
	r.Failure = newSharedFailure(err, now)
	if !failure.refused {
		r.Failure.Wait = failure.until.Sub(now)
	}
	return failure
}

// newSharedFailure returns the failure of a login that returned err. It holds for
// APIError.RetryAfter, or for lockOutTime if the API sent none.
func newSharedFailure(err error, now time.Time) *sharedFailure {
	f := &sharedFailure{At: now, Wait: lockOutTime, AddressBound: err == errAddressBound}
	var answer *APIError
	if errors.As(err, &answer) {
		shared := sharedAnswer(*answer)
		shared.Data = nil
		f.Answer, f.Wait = &shared, cmp.Or(answer.RetryAfter, lockOutTime)
	}
	return f
}

// error returns the error that f describes, as far as it is known. Its text says
// that another process tried to log in. It cleans the texts of the answer, since
// anyone who can write the record chooses them.
func (f *sharedFailure) error() error {
	const op = "login by another process that shares the Store"
	switch {
	case f.AddressBound:
		return errAddressBound
	case f.Answer == nil:
		return &transportError{op: op, outcome: ErrOutcomeUnknown, text: "there was no answer", cause: ErrOutcomeUnknown}
	}
	answer := APIError(*f.Answer)
	answer.op = op
	for _, text := range []*string{&answer.Type, &answer.Title, &answer.Message, &answer.Instance} {
		*text = secrets{}.clean(*text)
	}
	if answer.StatusCode/100 == 2 {
		answer.err = ErrInvalidResponse
	}
	return &answer
}

var errAddressBound = errors.New("session: sessions in the Store ended when another process first used them; sessions of this site may be bound to an address: give the processes at each address a Store of their own")

// lockedLogin is in the context of a Login that runs under the lock. Through it,
// Client.Create learns which credentials were refused before, and saves those that
// are refused now. A Login may call Client.Create more than once.
type lockedLogin struct {
	lock Lock

	mu           sync.Mutex // guards the fields below, since a Login may use goroutines
	record       *record
	fingerprints []uint16 // of the credentials that were refused, now or before
	unsaved      bool     // a failure could not be saved
}

type lockedLoginKey struct{}

// refusedBefore returns an error if the credentials were refused before.
func (l *lockedLogin) refusedBefore(base string, params CreateParams) error {
	if l == nil || params.Password == "" {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.record.fingerprint(base, params)
	i := slices.IndexFunc(l.record.Refusals, func(before refusal) bool { return before.Fingerprint == f })
	if i < 0 || l.record.Refused == nil {
		return nil
	}
	l.fingerprints = append(l.fingerprints, f)
	before := sharedFailure{Answer: l.record.Refused}
	return fmt.Errorf("%w; these credentials are not sent again until Source.Reset", before.error())
}

// saveRefusal saves the fingerprint of the credentials if err says that they are
// wrong. It does so at once, since a Login may panic or try other credentials.
func (l *lockedLogin) saveRefusal(ctx context.Context, base string, params CreateParams, err error) {
	if l == nil || params.Password == "" || !errors.Is(err, ErrInvalidUsernameOrPassword) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	refused := newSharedFailure(err, time.Now())
	f := refusal{l.record.fingerprint(base, params), refused.At}
	l.fingerprints = append(l.fingerprints, f.Fingerprint)
	l.record.Refusals, l.record.Refused = append(l.record.Refusals, f), refused.Answer
	l.record.Refusals = l.record.Refusals[max(0, len(l.record.Refusals)-maxRefusals):]
	l.unsaved = l.record.save(ctx, l.lock) != nil
}

// fail saves the error of Login if it concerns other Sources too. It returns the
// failure that this Source keeps, or nil if the error concerns this Source alone. A
// failure that cannot be saved still holds for this Source.
func (l *lockedLogin) fail(ctx context.Context, err error) (failure *loginFailure) {
	switch {
	case errors.Is(err, ErrInvalidUsernameOrPassword) && len(l.fingerprints) > 0:
		failure = newLoginFailure(err, 1)
		failure.savedAt, failure.fingerprints = time.Now(), l.fingerprints
	case isShared(err):
		failure, l.unsaved = l.record.failForAll(err, time.Now()), true
	}
	if l.unsaved && l.record.save(ctx, l.lock) != nil && failure != nil {
		failure.savedAt = time.Time{}
	}
	return failure
}

// isShared reports whether the login of another process would fail like the one that
// returned err. Another process may have a person to ask for a code, other options,
// or a connection.
func isShared(err error) bool {
	switch {
	case errors.As(err, new(*TwoFactorError)), errors.As(err, new(*RegionMismatchError)),
		errors.Is(err, ErrOneTimePasswordIncorrect), errors.Is(err, ErrInvalidParams), errors.Is(err, ErrNotSent):
		return false
	}
	return errors.As(err, new(*APIError)) || errors.Is(err, ErrOutcomeUnknown)
}

// revokeShared is Revoke of a Source with a Store. It waits for a running login of
// its Source. Callers that need a session wait until it returns. So does another
// Revoke, which has nothing more to do unless this one fails.
func (src *Source) revokeShared(ctx context.Context) error {
	ctx, cancel := liveContext(ctx)
	defer cancel()
	src.mu.Lock()
	if src.closed {
		src.mu.Unlock()
		return errClosed
	}
	if other := src.revoking; other != nil {
		src.mu.Unlock()
		if err := waitFor(ctx, other.ended); err != nil || other.logoutErr == nil {
			return err
		}
		return src.revokeShared(ctx)
	}
	revocation := &loginCall{done: make(chan struct{}), ended: make(chan struct{})}
	revocation.logoutErr = errors.New("session: Source.Logout did not return")
	src.revoking = revocation
	held := src.swap(nil)
	login := src.running
	if login != nil {
		login.revoked = true
	}
	src.mu.Unlock()
	defer func() {
		src.mu.Lock()
		defer src.mu.Unlock()
		src.revoking = nil
		close(revocation.ended)
		if src.closed { // Close has already closed done
			return
		}
		if held != nil {
			src.keep(held)
		}
		close(revocation.done)
	}()
	if login != nil {
		if err := waitFor(ctx, login.ended); err != nil {
			revocation.logoutErr = err
			return err
		}
	}
	held, revocation.logoutErr = src.revokeRecord(ctx, revocation, held)
	if login != nil && login.closePanic != nil {
		panic(login.closePanic)
	}
	return revocation.logoutErr
}

// revokeRecord logs out the session in the Store and those of this Source. Then it
// removes the session from the Store. A session whose log-out fails stays where it
// is: revokeRecord returns held unless it has logged held out.
func (src *Source) revokeRecord(ctx context.Context, revocation *loginCall, held *keptSession) (*keptSession, error) {
	lock, err := src.tryLock(ctx)
	for n := 1; errors.Is(err, ErrLocked); n++ {
		if err := revocation.pause(ctx, n); err != nil {
			return held, err
		}
		lock, err = src.tryLock(ctx)
	}
	if err != nil {
		return held, err
	}
	defer lock.Unlock()
	r, err := loadRecord(ctx, src.Store)
	if err != nil {
		return held, err
	}
	src.mu.Lock()
	unsaved := slices.Clone(src.toLogOut)
	src.mu.Unlock()
	end := func(s *Session) bool {
		logoutErr := src.logOut(ctx, s)
		err = errors.Join(err, logoutErr)
		if logoutErr == nil && r.has(s.ID) {
			src.mu.Lock()
			src.shared.replaceID, src.shared.turn = s.ID, false
			src.mu.Unlock()
			r.Session = nil
		}
		return logoutErr == nil
	}
	for _, s := range unsaved {
		end(s)
	}
	if r.Session != nil && (held == nil || !r.has(held.session.ID)) {
		end(&r.Session.Session)
	}
	if held != nil && end(held.session) {
		held = nil
	}
	if r.Session != nil { // its log-out failed
		return held, err
	}
	if r.Failure != nil || len(r.Refusals) > 0 {
		return held, errors.Join(err, r.save(ctx, lock))
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	if removeErr := lock.Remove(ctx); removeErr != nil {
		err = errors.Join(err, fmt.Errorf("session: remove from the Store: %w", removeErr))
	}
	return held, err
}
