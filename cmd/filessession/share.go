package main

import (
	"context"
	"sync/atomic"

	"github.com/filescom/session"
)

// logInShared logs in and saves the session in the Store, unless another run does so
// meanwhile: then it returns the session of that run. own tells whose login it was.
func (a *authentication) logInShared(ctx context.Context, store session.Store) (s *session.Session, own bool, err error) {
	stop := startWaiting("another run, which logs in as " + a.account.String())
	defer stop()
	var called atomic.Bool
	src := &session.Source{Store: store, Logout: a.client.Delete, Login: func(ctx context.Context) (*session.Session, error) {
		stop()
		called.Store(true)
		return a.login(ctx)
	}}
	defer src.Close(context.WithoutCancel(ctx)) // after ^C the login restores the terminal
	if a.passwordFile == "" {
		src.Reset() // the user decides whether a password is tried that was refused before
	}
	s, err = src.Session(ctx)
	return s, called.Load(), err
}
