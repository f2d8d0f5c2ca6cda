package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/filescom/session"
	"github.com/filescom/session/filestore"
)

// maxWait is the longest time that a run waits for another one. A test makes it shorter.
var maxWait = 2 * time.Minute

// patient is a Store whose TryLock returns busy, instead of ErrLocked, after a time.
type patient struct {
	session.Store
	until time.Time
	busy  error
}

// waitFor returns a patient Store. other names the run that may hold its lock.
func waitFor(store session.Store, other string) patient {
	return patient{store, time.Now().Add(maxWait),
		fmt.Errorf("waited %v for %s; let that run end, or stop it, then run this command again", maxWait, other)}
}

// TryLock locks the record.
func (p patient) TryLock(ctx context.Context) (session.Lock, error) {
	lock, err := p.Store.TryLock(ctx)
	if errors.Is(err, session.ErrLocked) && time.Now().After(p.until) {
		return nil, p.busy
	}
	return lock, err
}

// lock waits for the lock.
func (p patient) lock(ctx context.Context) (session.Lock, error) {
	for {
		lock, err := p.TryLock(ctx)
		if !errors.Is(err, session.ErrLocked) {
			return lock, err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// question is the error of a login that requires an answer of the user. The Store is not
// locked while the user types, since other commands would wait for the user.
type question struct {
	prompt string
	answer *string // where the answer goes
}

func (question) Error() string { return "the user has to type an answer" }

// logIn logs in, and asks the user for the password and the code. own reports whether the
// session is that of this login, and not that of another run.
func (a *authentication) logIn(ctx context.Context, store session.Store) (s *session.Session, own bool, err error) {
	var asking session.Lock // one run asks at a time; the others use its session
	if a.passwordFile == "" {
		err = a.passwordQuestion() // first, since logInShared lets other runs try a refused password again
	} else {
		s, own, err = a.logInShared(ctx, store)
	}
	var missing question
	for errors.As(err, &missing) {
		if asking == nil {
			if asking, err = a.lockTerminal(ctx); err != nil {
				return nil, false, err
			}
			defer asking.Unlock()
			s, err = session.LoadSession(ctx, store) // of the run that asked before
			if s != nil || err != nil {
				return s, false, err
			}
		}
		if *missing.answer, err = a.terminal.ask(ctx, missing.prompt); err != nil {
			return nil, false, err
		}
		s, own, err = a.logInShared(ctx, store)
	}
	return s, own, err
}

// lockTerminal waits until no other run asks for the password or the code of the account.
func (a *authentication) lockTerminal(ctx context.Context) (session.Lock, error) {
	path, err := filestore.DefaultPath(a.account.Origin, a.account.User)
	if err != nil {
		return nil, err
	}
	other := "another run, which asks for the password of " + a.account.User
	defer startWaiting(other)()
	return waitFor(filestore.New(path+".terminal"), other).lock(ctx)
}

// logInShared logs in and saves the session in the Store. If another run does so
// meanwhile, it returns the session of that run. A session that was saved is returned even if
// ctx has ended, since the caller has to list or to end it. logInShared asks nobody.
func (a *authentication) logInShared(ctx context.Context, store session.Store) (s *session.Session, own bool, err error) {
	other := "another run, which logs in as " + a.account.User
	stop := startWaiting(other)
	defer stop()
	called := false
	var made *session.Session
	src := &session.Source{
		Store:  waitFor(store, other),
		Logout: a.client.Delete,
		Login: func(ctx context.Context) (_ *session.Session, err error) {
			stop()
			called = true
			made, err = a.login(ctx)
			return made, err
		},
	}
	if a.passwordFile == "" {
		src.Reset() // the user may try a password that was refused before
	}
	s, err = src.Session(ctx)
	src.Close(context.WithoutCancel(ctx)) // waits for the login, which ends soon after ctx
	switch {
	case err != nil && made != nil:
		saved, _ := session.LoadSession(context.WithoutCancel(ctx), store)
		if saved != nil && saved.ID == made.ID {
			return saved, true, nil
		}
	case called && errors.Is(err, session.ErrOutcomeUnknown):
		err = unclearLogin{err}
	}
	return s, called, err
}
