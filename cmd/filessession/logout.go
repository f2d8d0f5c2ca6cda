package main

import (
	"context"
	"fmt"
	"os"

	"github.com/filescom/session"
	"github.com/spf13/cobra"
)

func newLogout(selected *selection) *cobra.Command {
	return &cobra.Command{
		Use:   "logout",
		Short: "End the session for all who use it",
		Long: `logout ends the session at the site, for all who share it, and removes it. It
forgets the account, and the paths of its files, too.

If the site cannot be reached, the session stays where it is, and the exit status
is 1. Run logout again then.`,
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
	store, err := a.open()
	if err != nil {
		return err
	}
	stop := startWaiting(a.Origin)
	src := &session.Source{Store: store, Logout: client.Delete}
	err = src.Revoke(ctx)
	stop()
	if err != nil {
		return err
	}
	if err := updateState(ctx, func(s *state) { s.remove(a) }); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "Logged out %s.\n", a)
	return nil
}
