package main

import (
	"fmt"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// selection is the part of an account that the flags name.
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
(login --store file). Of several accounts, a command uses the one that logged in
last. The flags --user, --site and --url select another one.

The exit status is 0; 1 if the command failed; 2 if the arguments are wrong; 3 if
nobody is logged in; 130 after Ctrl-C.`,
		Example: `  filessession login --site mysite --user alice
  filessession header | curl -H @- https://mysite.files.com/api/rest/v1/folders/
  filessession exec -- python3 report.py
  filessession logout`,
		Version:           version(),
		SilenceErrors:     true,
		SilenceUsage:      true,
		Args:              cobra.ArbitraryArgs,
		PersistentPreRunE: refuseEmptyFlags,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return unknownCommand(cmd, args[0])
		},
	}
	root.SetFlagErrorFunc(flagError)
	root.DisableFlagsInUseLine = true
	root.AddCommand(newLogin(selected), newStatus(selected), newHeader(selected), newExec(selected), newLogout(selected))
	for _, cmd := range root.Commands() {
		cmd.Flags().StringVar(&selected.site, "site", "", "name `S` of the site: mysite for https://mysite.files.com")
		cmd.Flags().StringVar(&selected.url, "url", "", "address `U` of a site with its own domain, such as https://files.example.com")
		cmd.Flags().StringVar(&selected.user, "user", "", "user name `N`")
		cmd.DisableFlagsInUseLine = true
		completeAccounts(cmd)
	}
	return root
}

// version returns the version of the module that go install built.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(unknown)"
}

// flagError returns the error of a flag that cannot be parsed. The text leaves out a
// value, since it may be a password.
func flagError(cmd *cobra.Command, err error) error {
	text := err.Error()
	if name, found := strings.CutPrefix(text, "unknown flag: "); found && strings.HasPrefix(name, "--pass") {
		return usageError(fmt.Sprintf("there is no flag %s, since other users can read arguments; use --password-file F, or type the password at the terminal", name))
	}
	if strings.HasPrefix(text, "unknown shorthand flag") { // 'p' in -psecret
		text = "there is no such short flag; flags begin with two hyphens"
	}
	return usageError(fmt.Sprintf("%s; see: %s --help", text, cmd.CommandPath()))
}

// refuseEmptyFlags refuses a flag such as --user "$NAME" if the variable is not set,
// since it would select another account.
func refuseEmptyFlags(cmd *cobra.Command, _ []string) (err error) {
	cmd.Flags().Visit(func(flag *pflag.Flag) {
		if flag.Value.String() == "" {
			err = usageError(fmt.Sprintf("--%s is empty; give it a value, or leave it out", flag.Name))
		}
	})
	if err != nil && cmd.Name() == "exec" {
		return exitError{execFailed, err}
	}
	return err
}

// unknownCommand returns an error that names the most similar command.
func unknownCommand(root *cobra.Command, name string) error {
	root.SuggestionsMinimumDistance = 2
	if near := root.SuggestionsFor(name); len(near) > 0 {
		return usageError(fmt.Sprintf("unknown command %q; did you mean %s?", name, strings.Join(near, " or ")))
	}
	return usageError(fmt.Sprintf("unknown command %q; see: filessession --help", name))
}

// noArguments refuses arguments. The first one is most likely a user name without
// --user. If --user is given, it may be a password, and is not shown.
func noArguments(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return nil
	case cmd.Flags().Changed("user"):
		return usageError(fmt.Sprintf("an argument has no flag; see: %s --help", cmd.CommandPath()))
	}
	return usageError(fmt.Sprintf("unexpected argument %q; did you mean --user %s?", args[0], word(args[0])))
}

// completeAccounts completes the values of --user, --site and --url from the list of
// accounts.
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
					if text := value(a); text != "" && text == visible(text) {
						values = append(values, text)
					}
				}
			}
			return values, cobra.ShellCompDirectiveNoFileComp
		})
	}
}
