package main

import (
	"context"
	"errors"
	"time"

	"github.com/filescom/session"
)

// checkTimeout limits the call that checks a session.
const checkTimeout = 30 * time.Second

// current returns a session that the site accepts. If the session of the account has
// ended, current logs in again by the files of the account. It asks nobody.
func (a account) current(ctx context.Context) (*session.Session, error) {
	store, s, err := a.open(ctx)
	if err != nil {
		return nil, err
	}
	s, err = a.check(ctx, s)
	var missing notLoggedInError
	if a.PasswordFile == "" || !errors.As(err, &missing) {
		return s, err
	}
	login, err := newAuthentication(a, a.PasswordFile, a.TOTPSecretFile, nil)
	if err != nil {
		return nil, err
	}
	s, own, err := login.logIn(ctx, store, s)
	if err != nil || !own {
		return s, err
	}
	known, err := loadState(context.WithoutCancel(ctx))
	if err != nil {
		return nil, err
	}
	listed := known.listed(a)
	switch {
	case listed == nil: // logout ran meanwhile
		revoke(ctx, login.client, a)
		return nil, a.notLoggedIn()
	case listed.Store != a.Store: // login has moved the session meanwhile
		revoke(ctx, login.client, a)
		return listed.current(ctx)
	}
	return s, nil
}

// check returns s as the site reports it now. If s does not work, it returns s as it is, and
// an error: a notLoggedInError if s is nil or has ended.
func (a account) check(ctx context.Context, s *session.Session) (*session.Session, error) {
	if s == nil {
		return nil, a.notLoggedIn()
	}
	client, err := a.client()
	if err != nil {
		return s, err
	}
	defer startWaiting(s.BaseURL)()
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	checked, err := client.Check(ctx, s)
	if err == nil {
		return checked, nil
	}
	if errors.Is(err, session.ErrSessionEnded) {
		text := "the session of " + a.String() + " has ended; run: " + a.loginCommand()
		if files := a.files(); files != "" {
			text = "the session of " + a.String() + " has ended; header and exec log in again by " + files
		}
		err = notLoggedInError(text)
	}
	return s, err
}

func (a account) notLoggedIn() error {
	return notLoggedInError("not logged in as " + a.String() + "; run: " + a.loginCommand())
}
