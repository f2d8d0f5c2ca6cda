package main

import (
	"context"
	"fmt"
	"io"

	"github.com/filescom/session"
	"github.com/spf13/cobra"
)

func newHeader(selected *selection) *cobra.Command {
	return &cobra.Command{
		Use:   "header [--site S | --url U] [--user N]",
		Short: "Print the session as headers for curl",
		Long: `header prints two headers: the session, and the User-Agent to which the session
may be bound. Send both to curl by a pipe, as below. An argument would show the
session to other users.

If the session has ended, header logs in again by the files of the last login.
Without files the exit status is 3. In a script, "set -o pipefail" makes that the
status of the pipe.`,
		Example: `  filessession header | curl -H @- https://mysite.files.com/api/rest/v1/folders/`,
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := selected.session(cmd.Context())
			if err != nil {
				return err
			}
			return printHeader(cmd.OutOrStdout(), s)
		},
	}
}

// session returns a session of the selected account that works.
func (s *selection) session(ctx context.Context) (*session.Session, error) {
	known, err := loadState(ctx)
	if err != nil {
		return nil, err
	}
	a, err := s.find(known.Accounts)
	if err != nil {
		return nil, err
	}
	return a.current(ctx)
}

func printHeader(out io.Writer, s *session.Session) error {
	text := session.AuthHeader + ": " + s.ID + "\n"
	if s.UserAgent != "" {
		text += "User-Agent: " + s.UserAgent + "\n"
	}
	_, err := fmt.Fprint(out, text)
	return err
}
