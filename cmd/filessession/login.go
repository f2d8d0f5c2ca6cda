package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/filescom/session"
	"github.com/spf13/cobra"
)

// loginFlags are the flags of login alone.
type loginFlags struct{ store, passwordFile, totpSecretFile string }

func newLogin(selected *selection) *cobra.Command {
	flags := &loginFlags{}
	cmd := &cobra.Command{
		Use:   "login [--site S | --url U] [--user N] [--store P] [--password-file F] [--totp-secret-file F]",
		Short: "Log in, and keep the session",
		Long: `login asks for the password at the terminal, and for a second factor if the site
requires one. It keeps the session for the other commands.

If the user is logged in already, login replaces the session and ends the old
one. Without --user, --site and --url it logs in to the last account again.

For programs, --password-file holds the password, and --totp-secret-file the
secret of the second factor. login remembers the paths of the files, but not
their content. After the session has ended, header and exec log in again by
these files. A later login without these flags keeps the paths; logout forgets
them.`,
		Example: `  filessession login --site mysite --user alice
  filessession login --url https://files.example.com --user alice --store file
  filessession login --site mysite --user backup --password-file /run/secrets/password`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return runLogin(cmd.Context(), selected, flags) },
	}
	cmd.Flags().StringVar(&flags.store, "store", "", "place `P` of the session: keyring or file (default: as before, else keyring)")
	cmd.Flags().StringVar(&flags.passwordFile, "password-file", "", "file `F` of the password, or - for standard input")
	cmd.Flags().StringVar(&flags.totpSecretFile, "totp-secret-file", "", "file `F` of the TOTP secret, which makes the codes")
	cmd.RegisterFlagCompletionFunc("store", cobra.FixedCompletions([]string{inKeyring, inFile}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func runLogin(ctx context.Context, selected *selection, flags *loginFlags) error {
	known, err := loadState(ctx)
	if err != nil {
		return err
	}
	a, err := selected.accountToLogIn(known.Accounts, flags)
	if err != nil {
		return err
	}
	terminal, err := openTerminal()
	if err != nil && flags.passwordFile == "" {
		return err
	}
	login, err := newAuthentication(a, flags.passwordFile, flags.totpSecretFile, terminal)
	if err != nil {
		return err
	}
	if err := checkState(ctx); err != nil { // before a password is typed
		return err
	}
	s, old, err := logInAnew(ctx, login)
	if err != nil {
		return err
	}
	before, err := list(ctx, a)
	endOld(ctx, login.client, old, s) // also after an error, since no Store has it any more
	if err != nil {
		if before == nil || before.Store != a.Store { // no command would find the session
			revoke(ctx, login.client, a)
		}
		return err
	}
	if before != nil && before.Store != a.Store {
		revoke(ctx, login.client, *before)
	}
	fmt.Fprintln(os.Stderr, loggedIn(a, s))
	return nil
}

// list puts an account into the list of accounts, also after a signal. It returns the account
// that was there for the same user, nil if there was none. If the list cannot be saved, that
// account is still there.
func list(ctx context.Context, a account) (before *account, err error) {
	ctx, stop := outlive(ctx)
	defer stop()
	err = updateState(ctx, func(s *state) {
		before = s.listed(a)
		s.add(a)
	})
	if err != nil {
		known, _ := loadState(context.WithoutCancel(ctx))
		before = known.listed(a)
	}
	return before, err
}

// accountToLogIn returns the account of the flags. Where a flag is missing, it is that of
// the last login that fits.
func (s *selection) accountToLogIn(accounts []account, flags *loginFlags) (account, error) {
	origin, err := s.origin()
	if err != nil {
		return account{}, err
	}
	a, err := s.find(accounts)
	if err != nil {
		a = account{Origin: origin, User: s.user, Store: inKeyring}
	}
	switch {
	case a.User == "" && a.Origin == "":
		return a, usageError("login requires a site and a user; run: " + s.loginCommand())
	case a.User == "":
		return a, usageError("login requires a user name; run: " + s.loginCommand())
	case a.Origin == "":
		return a, usageError("login requires the site; run: " + s.loginCommand() + ", or give --url U")
	case flags.store != "" && flags.store != inKeyring && flags.store != inFile:
		return a, usageError(fmt.Sprintf("--store is %q; use keyring or file", flags.store))
	case flags.store != "":
		a.Store = flags.store
	}
	if flags.totpSecretFile == "-" {
		return a, usageError("--totp-secret-file requires a file; standard input is for --password-file")
	}
	if err := remember(&a.PasswordFile, flags.passwordFile); err != nil {
		return a, err
	}
	return a, remember(&a.TOTPSecretFile, flags.totpSecretFile)
}

// logInAnew logs in. If another run logs in meanwhile, it uses the session of that run. It
// returns the new session and the one that it replaced, nil if there was none.
func logInAnew(ctx context.Context, login *authentication) (s, old *session.Session, err error) {
	store, old, err := login.account.open(ctx)
	if err != nil {
		return nil, nil, err
	}
	s, own, err := login.logIn(ctx, store, old)
	if !own {
		old = nil // the run that replaced it ends it
	}
	return s, old, err
}

// endOld ends the session that a login replaced, also after a signal.
func endOld(ctx context.Context, client *session.Client, old, s *session.Session) {
	if old == nil || old.ID == s.ID {
		return
	}
	ctx, stop := outlive(ctx)
	defer stop()
	if err := client.Delete(ctx, old); err != nil {
		fmt.Fprintln(os.Stderr, "filessession: the old session could not be ended; it ends by itself:", explain(err))
	}
}

// revoke is logOut, except that it prints the error, and goes on after a signal.
func revoke(ctx context.Context, client *session.Client, a account) {
	ctx, stop := outlive(ctx)
	defer stop()
	if err := a.logOut(ctx, client); err != nil {
		fmt.Fprintf(os.Stderr, "filessession: the session in %s could not be ended; it ends by itself: %s\n", visible(a.place()), explain(err))
	}
}

// loggedIn returns the message of a login.
func loggedIn(a account, s *session.Session) string {
	text := "Logged in as " + visible(a.User) + " at " + s.BaseURL
	if !s.TimeoutAt.IsZero() {
		text += ", until " + s.TimeoutAt.Local().Format(time.DateTime)
	}
	text += ". The session is kept in " + visible(a.place()) + "."
	if files := a.files(); files != "" {
		text += "\nAfter it has ended, header and exec log in again by " + files + "."
	}
	if s.TwoFactorSetupNeeded {
		text += "\nThe site requires that you add a second factor first: log in to its web interface, and add one."
	}
	return text
}
