package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"
)

// report is the output of status. It holds no secret.
type report struct {
	User  string     `json:"user"`            // empty: nobody is logged in
	Site  string     `json:"site"`            // the origin of the session
	Until *time.Time `json:"until"`           // null: the site did not say
	Store string     `json:"store"`           // keyring or file; empty: nobody is logged in
	Path  string     `json:"path,omitempty"`  // of the file of the session
	Files []string   `json:"files,omitempty"` // by which header and exec log in again
	Works *bool      `json:"works"`           // null: the site did not answer
	Error string     `json:"error,omitempty"` // why it does not work, or why that is unknown
}

func newStatus(selected *selection) *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use:   "status [--site S | --url U] [--user N] [--json]",
		Short: "Show the user, the site, and whether the session works",
		Long: `status shows the user, the site, the time at which the session ends, the place
where it is kept, and whether it works. To find out, it makes one call to the
site. It also names the files by which header and exec log in again.

The exit status is 0 if the session works, 3 if there is none or it has ended,
and 1 if the site does not answer.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runStatus(cmd.Context(), cmd.OutOrStdout(), selected, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func runStatus(ctx context.Context, out io.Writer, selected *selection, asJSON bool) error {
	known, err := loadState(ctx)
	if err != nil {
		return err
	}
	var r report
	var usage usageError
	a, err := selected.find(known.Accounts)
	if err == nil {
		r, err = a.report(ctx)
	} else {
		r = report{User: selected.user}.with(err)
	}
	switch {
	case err != nil && ctx.Err() != nil, errors.As(err, &usage):
		return err
	case asJSON:
		return r.printJSON(ctx, out, err)
	case r.Store != "":
		if printErr := r.print(out, a); printErr != nil {
			return printErr
		}
	}
	return err
}

// report asks the Store and the site, and does not log in. The error says why the session
// does not work.
func (a account) report(ctx context.Context) (report, error) {
	r := report{User: a.User, Site: a.Origin, Store: a.Store}
	if a.Store == inFile {
		r.Path = a.place()
	}
	if a.PasswordFile != "" {
		r.Files = slices.DeleteFunc([]string{a.PasswordFile, a.TOTPSecretFile}, func(path string) bool { return path == "" })
	}
	_, s, err := a.open(ctx)
	if err == nil {
		s, err = a.check(ctx, s)
	}
	if s != nil {
		r.Site = s.BaseURL
		if !s.TimeoutAt.IsZero() {
			until := s.TimeoutAt.UTC()
			r.Until = &until
		}
	}
	return r.with(err), err
}

// with returns the report with the outcome of the call to the site.
func (r report) with(err error) report {
	var missing notLoggedInError
	works := err == nil
	if works || errors.As(err, &missing) {
		r.Works = &works
	}
	if err != nil {
		r.Error = explain(err)
	}
	return r
}

// printJSON prints the report as JSON, which has the error. The error that it returns
// gives the exit status.
func (r report) printJSON(ctx context.Context, out io.Writer, err error) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	if printErr := encoder.Encode(r); printErr != nil {
		return printErr
	}
	if err != nil {
		return exitError{status: exitStatus(ctx, err)}
	}
	return nil
}

// print prints the report as lines.
func (r report) print(out io.Writer, a account) error {
	until, works := "the site did not say", "unknown"
	if r.Until != nil {
		until = r.Until.Local().Format(time.DateTime)
	}
	if r.Works != nil && *r.Works {
		works = "yes"
	} else if r.Works != nil {
		works = "no"
	}
	text := fmt.Sprintf("user   %s\nsite   %s\nuntil  %s\nstore  %s\nworks  %s\n", visible(r.User), r.Site, until, visible(a.place()), works)
	if files := a.files(); files != "" {
		text += "again  header and exec log in by " + files + "\n"
	}
	_, err := io.WriteString(out, text)
	return err
}
