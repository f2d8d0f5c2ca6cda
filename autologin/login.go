package autologin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/filescom/session"
)

// Sources that share a Store communicate only through its record. A look without the lock
// may find a session or a failure. Only a look with the lock leads to a login.

// run runs the login f to its end, even if Params panics or calls runtime.Goexit.
func (src *Source) run(ctx context.Context, f *flight) {
	defer close(f.exited)
	defer f.cancel()
	var h *held
	err := errors.New("session: the login ended its goroutine; Source.Params and an OTPFunc must return")
	defer func() {
		if f.panicked = recover(); f.panicked != nil {
			err = fmt.Errorf("session: the login panicked with a value of type %T", f.panicked)
		}
		if h == nil && f.failure == nil && err != errUndecided && !src.closed.Load() {
			src.fail(ctx, f, &record{}, notPosted, err, 0, f.start)
		}
		src.finish(f, h, err)
		if ctx.Err() != nil { // Close has given up
			src.logOutLate(ctx)
		}
	}()
	h, err = src.logIn(ctx, f)
}

// errUndecided ends a login that brings neither a session nor a failure: it waited for the
// lock until its last caller had left, or nobody said whether a good session goes on.
var errUndecided = errors.New("session: the login was put off")

// logIn returns the session to use from now on. With the lock it goes on in logInLocked.
// If the lock is lost, it begins again once: the locks of some Store may never last.
func (src *Source) logIn(ctx context.Context, f *flight) (*held, error) {
	for n, lost := 1, false; ; n++ {
		_, h, err := src.look(ctx, f)
		if h != nil || err != nil {
			return h, err
		}
		lock, err := src.lock(ctx, n)
		switch {
		case err != nil:
			return nil, err
		case lock == nil && f.waiters.Load() == 0:
			return nil, errUndecided
		case lock == nil:
			continue
		}
		h, err = src.logInLocked(ctx, f, lock)
		if lost || !errors.Is(err, ErrLockLost) {
			return h, err
		}
		lost = true
	}
}

// look loads the record. It returns the stored session if that can be used: it has not ended,
// and if it is f.old, somebody has renewed it. Else it returns the error of a failure that
// forbids every login, or else that of the Store. If it returns neither, a login is due.
func (src *Source) look(ctx context.Context, f *flight) (*record, *held, error) {
	r, err := loadRecord(ctx, src.store)
	if len(r.Salt) > 0 {
		src.salt = r.Salt // for the next record, so that fingerprints stay comparable
	}
	if src.mayReplace.Load() && errors.Is(err, errNotDecrypted) {
		err = nil
	}
	if s, now := r.Session, time.Now(); s != nil && !src.hasEnded(s) {
		h := newHeld(s, src.Client.BaseURL(), now)
		if h.good(now) && (!f.old.has(s) || f.old.continues(h, now)) {
			src.logger.DebugContext(ctx, "Files.com session adopted", "session", s)
			return r, h, nil
		}
	}
	return r, nil, cmp.Or(src.forbidden(f, r, func(e *failure) bool { return !e.ofCredentials() }), err)
}

// forbidden returns the error of the failure that forbids the login f, or nil. It removes the
// failures from r that no longer count.
func (src *Source) forbidden(f *flight, r *record, forbids func(*failure) bool) error {
	src.mu.Lock()
	defer src.mu.Unlock()
	now := time.Now()
	r.Failures = r.Failures.since(src.resetAt, now)
	if f.failure = slices.Concat(src.failures, r.Failures).longest(now, 0, forbids); f.failure == nil {
		return nil
	}
	return f.failure.answer(now)
}

// logInLocked looks again, asks the API whether the old session goes on, and logs in. It
// saves the record before it posts the login, since a session that cannot be kept must not
// be made. The old session stays in the record until a new one replaces it.
func (src *Source) logInLocked(ctx context.Context, f *flight, lock Lock) (*held, error) {
	defer lock.Unlock()
	r, h, err := src.look(ctx, f)
	if h != nil || err != nil {
		return h, err
	}
	if h, err = src.renew(ctx, f, r, lock); h != nil || err != nil {
		return h, err
	}
	params, err := src.Params(ctx)
	if err != nil {
		return nil, explain("get the parameters of the login", err)
	}
	if len(r.Salt) == 0 {
		r.Salt = src.salt
	}
	fingerprint := r.fingerprint(src.Client.BaseURL(), params)
	if err := src.forbidden(f, r, func(e *failure) bool { return e.forbids(fingerprint, params) }); err != nil {
		return nil, err
	}
	if err := src.save(ctx, r, lock); err != nil {
		return nil, err
	}
	posted := time.Now()
	s, err := src.Client.Create(ctx, params)
	if err == nil && src.hasEnded(s) {
		err = errors.New("session: the site answered the login with a session that has ended")
	}
	switch {
	case err == nil:
		return src.keep(ctx, r, lock, s)
	case ctx.Err() == nil: // a login that Close cut off counts for nothing
		src.fail(ctx, f, r, kindOf(err), err, fingerprint, posted)
		if f.failure.shared() {
			r.Failures = r.Failures.add(*f.failure)
			src.save(ctx, r, lock)
		}
	}
	return nil, err
}

// renew asks the API whether the session in the record goes on. It returns that session if its
// end has moved so far that no renewal is due. Else it returns nil: a login is due. If nobody
// answers within 10 seconds, the login is put off while f.old is good, and due from then on.
func (src *Source) renew(ctx context.Context, f *flight, r *record, lock Lock) (*held, error) {
	s := r.Session
	if s == nil && f.old != nil {
		s = f.old.session // the record was removed
	}
	if s == nil || src.hasEnded(s) {
		return nil, nil
	}
	asked, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	checked, err := src.Client.Check(asked, s)
	now := time.Now()
	switch {
	case errors.Is(err, session.ErrSessionEnded):
		src.Invalidate(s)
		return nil, nil
	case err != nil:
		src.logger.WarnContext(ctx, "Files.com session check failed", "error", err.Error())
		if f.old.good(now) {
			return nil, errUndecided
		}
		return nil, nil
	}
	dropImplausibleEnd(checked, now)
	old, h := f.old, newHeld(checked, src.Client.BaseURL(), now)
	if !old.has(s) {
		old = newHeld(s, src.Client.BaseURL(), now)
	}
	if !old.continues(h, now) {
		return nil, nil
	}
	h.accepted.Store(true)
	src.logger.DebugContext(ctx, "Files.com session kept", "session", checked)
	r.Session = checked
	src.save(ctx, r, lock)
	return h, nil
}

// keep saves the session of a login and returns it for use. If that fails, it logs out
// again, since nobody else would. But the answer of the Store may have been lost, so it
// loads the record once more.
func (src *Source) keep(ctx context.Context, r *record, lock Lock, s *session.Session) (*held, error) {
	now := time.Now()
	dropImplausibleEnd(s, now)
	h := newHeld(s, src.Client.BaseURL(), now)
	h.own = true
	r.Session, r.Failures = s, r.Failures.ofCredentials()
	if err := src.save(ctx, r, lock); err != nil {
		if saved, _ := loadRecord(context.WithoutCancel(ctx), src.store); !h.has(saved.Session) {
			src.mu.Lock()
			src.toLogOut = append(src.toLogOut, s)
			src.mu.Unlock()
			src.logOutLate(ctx)
			return nil, err
		}
	}
	src.logger.DebugContext(ctx, "Files.com login", "session", s)
	return h, nil
}

// fail makes the failure of f and keeps it for this Source, unless Reset was called meanwhile.
// Failures of the same kind, here and in r, make it hold longer.
func (src *Source) fail(ctx context.Context, f *flight, r *record, k kind, err error, fingerprint uint16, start time.Time) {
	src.logger.WarnContext(ctx, "Files.com login failed", "error", err.Error())
	src.mu.Lock()
	defer src.mu.Unlock()
	now, count := time.Now(), 1
	if last := slices.Concat(src.failures, r.Failures).longest(now, -forgetAfter, func(e *failure) bool { return e.Kind == k }); last != nil {
		count += last.Count
	}
	f.failure = newFailure(k, err, count, fingerprint, start)
	if !start.Before(src.resetAt) {
		src.failures = src.failures.add(*f.failure)
	}
}
