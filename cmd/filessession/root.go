package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// selection is what the flags say about the account.
type selection struct{ site, url, user string }

// newRoot returns the command line.
func newRoot() *cobra.Command {
	selected := &selection{}
	root := &cobra.Command{
		Use:   "filessession",
		Short: "Log in to Files.com once, and use the session in the shell",
		Long: `filessession logs in to Files.com once, and lends the session to curl, scripts
and programs in any language.

The session is kept in the keyring of the operating system, or in a private file
(login --store file). With several accounts, a command uses the last login that
fits --user, --site and --url.

The exit status is 0; 1 if the command failed; 2 if it was used wrongly; 3 if
nobody is logged in; 130 after ^C.`,
		Example: `  filessession login --site mysite --user alice
  filessession header | curl -H @- https://mysite.files.com/api/rest/v1/folders/
  filessession exec -- python3 report.py
  filessession logout`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return unknownCommand(cmd, args[0])
		},
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if strings.Contains(err.Error(), "unknown flag: --password") {
			return usageError("there is no flag --password, since other users can read arguments; use --password-file F, or type the password at the terminal")
		}
		return usageError(fmt.Sprintf("%v; see: %s --help", err, cmd.CommandPath()))
	})
	root.AddCommand(newLogin(selected), newStatus(selected), newHeader(selected), newExec(selected), newLogout(selected))
	for _, cmd := range root.Commands() {
		cmd.Flags().StringVar(&selected.site, "site", "", "subdomain `S` of the site: mysite for https://mysite.files.com")
		cmd.Flags().StringVar(&selected.url, "url", "", "origin `U` of a site that has a domain of its own")
		cmd.Flags().StringVar(&selected.user, "user", "", "user name `N`")
		cmd.DisableFlagsInUseLine = true
		completeAccounts(cmd)
	}
	return root
}

// unknownCommand names the command that is most like name.
func unknownCommand(root *cobra.Command, name string) error {
	root.SuggestionsMinimumDistance = 2
	if near := root.SuggestionsFor(name); len(near) > 0 {
		return usageError(fmt.Sprintf("unknown command %q; did you mean %s?", name, strings.Join(near, " or ")))
	}
	return usageError(fmt.Sprintf("unknown command %q; see: filessession --help", name))
}

// noArguments refuses arguments. One is most likely a user name without its flag.
func noArguments(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return usageError(fmt.Sprintf("unexpected argument %q; did you mean --user %s?", args[0], args[0]))
}

// completeAccounts completes the values of --user, --site and --url by the accounts
// that are logged in.
func completeAccounts(cmd *cobra.Command) {
	for flag, value := range map[string]func(account) string{
		"user": func(a account) string { return a.User },
		"url":  func(a account) string { return a.Origin },
		"site": func(a account) string { return siteOf(a.Origin) },
	} {
		cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
			var values []string
			if s, err := loadState(cmd.Context()); err == nil {
				for _, a := range s.Accounts {
					if text := value(a); text != "" {
						values = append(values, text)
					}
				}
			}
			return values, cobra.ShellCompDirectiveNoFileComp
		})
	}
}
