package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/filescom/session"
	"github.com/filescom/session/autologin"
	"github.com/filescom/session/filestore"
)

// maxWait is the longest time that a run waits for another one. A test makes it shorter.
var maxWait = 2 * time.Minute

// waitForLock locks a Store. other names the run that may hold the lock.
func waitForLock(ctx context.Context, store autologin.Store, other string) (autologin.Lock, error) {
	defer startWaiting(other)()
	busy := fmt.Errorf("waited %v for %s; let that run end, or stop it, then run this command again", maxWait, other)
	wait, cancel := context.WithTimeoutCause(ctx, maxWait, busy)
	defer cancel()
	for {
		lock, err := store.TryLock(ctx)
		if !errors.Is(err, autologin.ErrLocked) {
			return lock, err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-wait.Done():
			return nil, context.Cause(wait)
		}
	}
}

// awaitUnlock waits until no other run logs in or out. A Source waits for that too, but
// without a limit, and does not say so.
func (a account) awaitUnlock(ctx context.Context, store autologin.Store) error {
	lock, err := waitForLock(ctx, store, "another run, which logs in as "+a.User)
	if err == nil {
		lock.Unlock()
	}
	return err
}

// logIn logs in, and asks the user for the password and the code. The Store is not locked
// while the user types, since other commands would wait for the user. old is the session
// to replace, nil if there is none. own reports whether the session is that of this login,
// and not that of another run.
func (a *authentication) logIn(ctx context.Context, store autologin.Store, old *session.Session) (s *session.Session, own bool, err error) {
	var asking autologin.Lock // one run asks at a time; the others use its session
	for {
		if prompt, answer := a.question(); answer != nil {
			if asking == nil {
				if asking, err = a.lockTerminal(ctx); err != nil {
					return nil, false, err
				}
				defer asking.Unlock()
				s, err = autologin.Load(ctx, store) // of the run that asked before
				if err != nil || isNew(s, old) {
					return s, false, err
				}
			}
			if *answer, err = a.terminal.ask(ctx, prompt); err != nil {
				return nil, false, err
			}
		}
		params, err := a.params()
		if err != nil {
			return nil, false, err
		}
		s, own, err = a.attempt(ctx, store, old, params)
		if err == nil || ctx.Err() != nil {
			return s, own, err
		}
		if err := a.refused(ctx, params, err); err != nil {
			return nil, false, err
		}
	}
}

// lockTerminal waits until no other run asks for the password or the code of the account.
func (a *authentication) lockTerminal(ctx context.Context) (autologin.Lock, error) {
	path, err := filestore.DefaultPath(a.account.Origin, a.account.User)
	if err != nil {
		return nil, err
	}
	return waitForLock(ctx, filestore.New(path+".terminal"), "another run, which asks for the password of "+a.account.User)
}

// isNew reports whether s is a session, and another one than old.
func isNew(s, old *session.Session) bool { return s != nil && (old == nil || s.ID != old.ID) }

// attempt logs in once and saves the session in the Store. If another run does so
// meanwhile, it returns the session of that run. A session that was saved is returned even
// if ctx has ended, since the caller has to list or to end it.
func (a *authentication) attempt(ctx context.Context, store autologin.Store, old *session.Session,
	params session.CreateParams) (s *session.Session, own bool, err error) {
	if err := a.account.awaitUnlock(ctx, store); err != nil {
		return nil, false, err
	}
	defer startWaiting(a.account.Origin)()
	var called atomic.Bool
	src := &autologin.Source{Client: a.client, Store: store, Params: func(context.Context) (session.CreateParams, error) {
		called.Store(true)
		return params, nil
	}}
	src.Invalidate(old)
	if a.passwordFile == "" || params.OTP != "" {
		src.Reset() // the user may try a password that was refused before
	}
	s, err = src.Session(ctx)
	src.Close(ctx) // after a signal the login has 5 s to end
	own = called.Load()
	switch {
	case err != nil && own && ctx.Err() != nil:
		if saved, _ := autologin.Load(context.WithoutCancel(ctx), store); isNew(saved, old) {
			return saved, true, nil
		}
	case own && errors.Is(err, session.ErrOutcomeUnknown):
		err = unclearLogin{err}
	}
	return s, own, err
}
