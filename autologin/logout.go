package autologin

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/filescom/session"
)

// logOutTimeout limits a log-out whose caller has no time left.
const logOutTimeout = 5 * time.Second

// Close ends src and logs out. Callers that wait get [ErrClosed] at once, and so does every
// later call. Close waits for a login that runs and logs its session out too. When ctx ends,
// it cancels that login and returns. If ctx has already ended, it takes up to 5 seconds. If
// a log-out fails, Close may be called again. It raises a panic of the login again.
//
// With a Store, and for a [Static] Source, Close logs nobody out but a session that could
// not be saved. It waits for a login of src, which saves its session, but not for the login
// of another process.
func (src *Source) Close(ctx context.Context) error {
	if err := src.check(ctx); err != nil {
		return err
	}
	ctx, cancel := withTime(ctx)
	defer cancel()
	src.mu.Lock()
	if !src.closed.Swap(true) {
		close(src.closing)
	}
	src.keepForLogOut(src.use(nil))
	f := src.flight
	src.mu.Unlock()
	err := src.logOutAll(ctx)
	if f == nil {
		return err
	}
	if waitErr := wait(ctx, nil, f.done); waitErr != nil {
		f.cancel()
		return errors.Join(err, waitErr)
	}
	if f.panicked != nil {
		panic(f.panicked)
	}
	return src.logOutAll(ctx)
}

// keepForLogOut keeps h for a log-out, unless others use it. src.mu is held.
func (src *Source) keepForLogOut(h *held) {
	if h != nil && src.Store == nil && src.static == nil && !src.hasEnded(h.session) {
		src.toLogOut = append(src.toLogOut, h.session)
	}
}

// Revoke logs out the stored session and the session in use, and removes the record. src
// stays usable. Revoke waits for a login that runs and logs its session out too. The callers
// of that login get the session of a new one. Revokes at the same time run in turn.
//
// A session whose log-out fails stays in use, and in the record. Then Revoke returns the
// error, and may be called again. A record that holds refusals loses its session only. If
// ctx has already ended, Revoke takes up to 5 seconds.
func (src *Source) Revoke(ctx context.Context) error {
	if err := src.check(ctx); err != nil || src.closed.Load() {
		return cmp.Or(err, ErrClosed)
	}
	ctx, cancel := withTime(ctx)
	defer cancel()
	f := src.takeOver()
	defer src.release(f)
	if err := wait(ctx, src.closing, f.exited); err != nil {
		return err
	}
	err := src.revoke(ctx)
	if f.panicked != nil {
		panic(f.panicked)
	}
	return err
}

// takeOver makes the callers of the login that runs wait for the end of a Revoke. If none
// runs, later callers wait.
func (src *Source) takeOver() *flight {
	src.mu.Lock()
	defer src.mu.Unlock()
	if src.flight == nil {
		src.flight = &flight{cancel: func() {}, done: make(chan struct{}), exited: make(chan struct{})}
		close(src.flight.exited)
	}
	src.flight.holds++
	return src.flight
}

// revoke logs out the session in the Store and those of this Source. The lock lets one
// Revoke run at a time.
func (src *Source) revoke(ctx context.Context) error {
	lock, err := src.lock(ctx, 1)
	for n := 2; lock == nil && err == nil; n++ {
		lock, err = src.lock(ctx, n)
	}
	if err != nil {
		return err
	}
	defer lock.Unlock()
	r, err := loadRecord(ctx, src.store)
	if err != nil {
		return err
	}
	sessions := []*session.Session{r.Session}
	if h := src.inUse.Load(); h != nil && !h.has(r.Session) {
		sessions = append(sessions, h.session)
	}
	err = src.logOutAll(ctx, sessions...)
	if r.Session == nil || !src.hasEnded(r.Session) {
		return err
	}
	r.Session, r.Failures = nil, r.Failures.since(time.Time{}, time.Now())
	if len(r.Failures) == 0 {
		r.Salt = nil
	}
	return errors.Join(err, src.save(ctx, r, lock))
}

// logOutAll logs out the sessions that are out of use or not saved, and others. It skips
// those that are nil or have ended.
func (src *Source) logOutAll(ctx context.Context, others ...*session.Session) (err error) {
	ctx = context.WithValue(ctx, ownContext{src}, true)
	logOut := func(s *session.Session) error { return session.Delete(ctx, s) }
	if src.static == nil {
		logOut = func(s *session.Session) error { return src.Client.Delete(ctx, s) }
	}
	src.mu.Lock()
	sessions := append(others, src.toLogOut...)
	src.mu.Unlock()
	tried := map[string]bool{}
	for _, s := range sessions {
		if s == nil || src.hasEnded(s) || tried[s.ID] {
			continue
		}
		tried[s.ID] = true
		if failed := logOut(s); failed != nil {
			err = errors.Join(err, failed)
			continue
		}
		src.mu.Lock()
		src.drop(s)
		src.mu.Unlock()
	}
	return err
}

// logOutLate logs out the sessions that nobody gets. If that fails, the next Close or
// Revoke tries again.
func (src *Source) logOutLate(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), logOutTimeout)
	defer cancel()
	if err := src.logOutAll(ctx); err != nil {
		src.logger.WarnContext(ctx, "Files.com log-out failed", "error", err.Error())
	}
}

// withTime returns ctx, or a context of logOutTimeout if ctx has ended.
func withTime(ctx context.Context) (context.Context, context.CancelFunc) {
	if ctx.Err() == nil {
		return ctx, func() {}
	}
	return context.WithTimeout(context.WithoutCancel(ctx), logOutTimeout)
}
