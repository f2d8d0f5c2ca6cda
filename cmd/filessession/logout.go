package main

import (
	"context"
	"fmt"
	"os"

	"github.com/filescom/session"
	"github.com/filescom/session/autologin"
	"github.com/spf13/cobra"
)

func newLogout(selected *selection) *cobra.Command {
	return &cobra.Command{
		Use:   "logout [--site S | --url U] [--user N]",
		Short: "End the session for all programs",
		Long: `logout ends the session at the site, for all programs that use it, and removes it.
It also forgets the account and the paths of its files.

If the site cannot be reached, the session is kept, and the exit status is 1. Then
run logout again.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return runLogout(cmd.Context(), selected) },
	}
}

func runLogout(ctx context.Context, selected *selection) error {
	known, err := loadState(ctx)
	if err != nil {
		return err
	}
	a, err := selected.find(known.Accounts)
	if err != nil {
		return err
	}
	client, err := a.client()
	if err != nil {
		return err
	}
	if err := a.logOut(ctx, client); err != nil {
		return err
	}
	var listed *account
	next := ""
	err = updateState(ctx, func(s *state) {
		listed = s.listed(a)
		next = s.forget(a)
	})
	if err != nil {
		return err
	}
	// Another run may have logged in before the account was removed, also to the other place.
	revoke(ctx, client, a)
	if listed != nil && listed.Store != a.Store {
		revoke(ctx, client, *listed)
	}
	fmt.Fprintf(os.Stderr, "Logged out %s.\n%s", a, next)
	return nil
}

// logOut ends the session of the account, and removes it from its Store.
func (a account) logOut(ctx context.Context, client *session.Client) error {
	store, _, err := a.open(ctx)
	if err != nil {
		return err
	}
	if err := a.awaitUnlock(ctx, store); err != nil {
		return err
	}
	defer startWaiting(a.Origin)()
	src := autologin.New(client, session.CreateParams{}) // it does not log in
	src.Store = store
	return src.Revoke(ctx)
}
