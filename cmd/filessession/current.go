package main

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/filescom/session"
)

// checkTimeout limits the call that checks a session.
const checkTimeout = 30 * time.Second

// current returns a session that the site accepts. If the session of the account has
// ended, current logs in again by the files of the account. It asks nobody.
func (a account) current(ctx context.Context) (*session.Session, error) {
	s, err := a.check(ctx)
	var missing notLoggedInError
	if a.PasswordFile == "" || !errors.As(err, &missing) {
		return s, err
	}
	store, err := a.open()
	if err != nil {
		return nil, err
	}
	client, err := a.client()
	if err != nil {
		return nil, err
	}
	if s != nil {
		store = withoutSession{store, s.ID}
	}
	login := &authentication{run: ctx, client: client, account: a, passwordFile: a.PasswordFile, totpSecretFile: a.TOTPSecretFile}
	s, own, err := login.logInShared(ctx, store)
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
		revoke(ctx, client, a)
		return nil, notLoggedInError("not logged in as " + a.String() + "; run: " + a.loginCommand())
	case listed.Store != a.Store: // login has moved the session meanwhile
		revoke(ctx, client, a)
		return listed.current(ctx)
	}
	return s, nil
}

// check returns the stored session, nil if there is none. The error is nil if the session
// works, and a notLoggedInError if there is none or it has ended.
func (a account) check(ctx context.Context) (*session.Session, error) {
	store, err := a.open()
	if err != nil {
		return nil, err
	}
	s, err := session.LoadSession(ctx, store)
	switch {
	case err != nil:
		return nil, err
	case s == nil:
		return nil, notLoggedInError("not logged in as " + a.String() + "; run: " + a.loginCommand())
	}
	err = call(ctx, s)
	if errors.Is(err, session.ErrSessionEnded) {
		text := "the session of " + a.String() + " has ended; run: " + a.loginCommand()
		if files := a.files(); files != "" {
			text = "the session of " + a.String() + " has ended; header and exec log in again by " + files
		}
		err = notLoggedInError(text)
	}
	return s, err
}

// call lists one entry of the root folder, which is cheap. If the API refuses the call for
// another reason than the session, the session works.
func call(ctx context.Context, s *session.Session) error {
	defer startWaiting(s.BaseURL)()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.BaseURL+"/api/rest/v1/folders/?per_page=1", nil)
	if err != nil {
		return err
	}
	client := &http.Client{
		Transport:     &session.Transport{Source: session.StaticSource(s)},
		Timeout:       checkTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if errors.Is(err, session.ErrSessionEnded) {
		return err
	}
	var urlError *url.Error
	if errors.As(err, &urlError) {
		return unreachableError{urlError.Err}
	}
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	err = session.CheckResponse(resp)
	var answer *session.APIError
	if errors.As(err, &answer) && answer.Type != "" && answer.StatusCode < 500 && !errors.Is(err, session.ErrSessionEnded) {
		return nil // the API knows the session, and refuses the folder or the number of calls
	}
	return err
}

// unreachableError says that there was no answer to a call.
type unreachableError struct{ err error }

func (e unreachableError) Error() string { return e.err.Error() }
func (e unreachableError) Unwrap() error { return e.err }
