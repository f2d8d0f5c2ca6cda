// Command login logs a user of Files.com in, makes one call, and logs out.
//
// Without flags it does so against a fake server that it starts itself. Given
// a site it asks for the password and, if need be, for a code; piped standard
// input gives the password by its first line and the code by its second.
package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/filescom/session"
	"github.com/filescom/session/sessiontest"
	"golang.org/x/term"
)

func main() {
	site := flag.String("site", "", "subdomain of the site, as in mysite.files.com (default FILES_SITE)")
	url := flag.String("url", "", "origin of the site, if it has a domain of its own (default FILES_URL)")
	user := flag.String("user", os.Getenv("FILES_USERNAME"), "user name (default FILES_USERNAME); the password is asked for, or FILES_PASSWORD")
	flag.Parse()
	if *site == "" && *url == "" {
		*site, *url = os.Getenv("FILES_SITE"), os.Getenv("FILES_URL")
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if *site == "" && *url == "" && *user == "" && flag.NArg() == 0 {
		err = demo(ctx)
	} else {
		err = atSite(ctx, *site, *url, *user)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "login:", explain(err))
		os.Exit(1)
	}
}

// demo logs in and out at a fake server.
func demo(ctx context.Context) error {
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: "secret", OTP: "123456"})
	defer srv.Close()
	fmt.Println("A fake Files.com is at", srv.URL, "with the user alice, who has a second factor.")
	code := func(_ context.Context, challenge *session.TwoFactorError) (string, error) {
		fmt.Printf("The server wants a second factor (%s); the demo knows the code.\n", strings.Join(challenge.Methods, ", "))
		return "123456", nil
	}
	return run(ctx, session.CreateParams{Username: "alice", Password: "secret"},
		session.WithBaseURL(srv.URL), session.WithOTP(code))
}

// atSite logs in and out at a site, and asks for what is not given.
func atSite(ctx context.Context, site, url, user string) error {
	switch {
	case flag.NArg() > 0:
		return fmt.Errorf("what is %q? Only flags are known: see -help", flag.Arg(0))
	case user == "":
		return errors.New("who logs in? Give -user or FILES_USERNAME")
	case (site == "") == (url == ""):
		return errors.New("where to? Give -site or -url, one of them")
	}
	opts := []session.Option{session.WithBaseURL(url)}
	if site != "" {
		opts[0] = session.WithSubdomain(site)
	}
	if _, err := session.NewClient(opts...); err != nil {
		return err // before anyone types a password
	}
	in := &input{lines: bufio.NewReader(os.Stdin)}
	password := os.Getenv("FILES_PASSWORD")
	if password == "" {
		var err error
		if password, err = in.ask(ctx, "Password of "+user+": ", true); err != nil {
			return err
		}
	}
	opts = append(opts, session.WithOTP(func(ctx context.Context, challenge *session.TwoFactorError) (string, error) {
		return in.ask(ctx, "Second factor ("+strings.Join(challenge.Methods, ", ")+"): ", false)
	}))
	return run(ctx, session.CreateParams{Username: user, Password: password}, opts...)
}

// run logs in, makes a call and logs out.
func run(ctx context.Context, params session.CreateParams, opts ...session.Option) (err error) {
	s, err := session.Create(ctx, params, opts...)
	if err != nil {
		return err
	}
	fmt.Printf("Logged in at %s as %s", s.BaseURL, params.Username)
	if !s.TimeoutAt.IsZero() {
		fmt.Printf(", until %s", s.TimeoutAt.Local().Format(time.DateTime))
	}
	fmt.Println(".")
	defer func() {
		// ^C ends the call, not the log-out
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if gone := session.Delete(ctx, s); gone != nil {
			err = cmp.Or(err, gone)
			return
		}
		fmt.Println("Logged out.")
	}()
	if s.TwoFactorSetupNeeded {
		fmt.Println("The site wants you to add a second factor in the web interface first.")
		return nil
	}
	status, err := call(ctx, s)
	if err != nil {
		return err
	}
	fmt.Println("Asked for the root folder:", status+".")
	return nil
}

// call makes one authenticated call.
func call(ctx context.Context, s *session.Session) (status string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.BaseURL+"/api/rest/v1/folders/?per_page=1", nil)
	if err != nil {
		return "", err
	}
	req.Header.Set(session.AuthHeader, s.ID)
	req.Header.Set("User-Agent", s.UserAgent)
	hc := &http.Client{
		Timeout: 30 * time.Second,
		// net/http would send our header on to any host
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := hc.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	return resp.Status, session.CheckResponse(resp)
}

// explain says in a sentence what happened and what to do.
func explain(err error) string {
	var (
		api    *session.APIError
		wanted *session.TwoFactorError
		moved  *session.RegionMismatchError
		dns    *net.DNSError
	)
	errors.As(err, &api)
	switch {
	case errors.Is(err, context.Canceled):
		return "interrupted."
	case errors.Is(err, session.ErrLockedOut):
		return "too many failed logins: the account is locked for a while. Ask the site's administrator, or wait."
	case errors.Is(err, session.ErrInvalidUsernameOrPassword):
		return "the user name or the password is wrong."
	case errors.Is(err, session.ErrOneTimePasswordIncorrect), errors.As(err, &wanted):
		return "the code is wrong, or too old. Log in again with a fresh one."
	case errors.As(err, &moved):
		return "this site is served from another host, " + cmp.Or(moved.Host, "which the server did not name") + ". Give it with -url https://…"
	case errors.Is(err, session.ErrRateLimited):
		return fmt.Sprintf("too many requests. Try again in %v.", cmp.Or(api.RetryAfter, time.Minute))
	case errors.As(err, &dns):
		return "there is no host " + dns.Name + ": is the site's name right, and is there a network?"
	case errors.Is(err, session.ErrNotSent):
		return "the site cannot be reached: " + err.Error()
	case api != nil && api.StatusCode == http.StatusNotFound, api != nil && api.StatusCode == http.StatusMethodNotAllowed:
		return "no Files.com site answers there: is the site's name right? " + err.Error()
	case errors.Is(err, session.ErrOutcomeUnknown):
		return err.Error() + ". If a session was made, it ends by itself."
	}
	return err.Error()
}

// input asks for secrets, at the terminal or from a pipe. Prompts go to
// standard error, so that standard output can be used.
type input struct{ lines *bufio.Reader }

func (in *input) ask(ctx context.Context, prompt string, hidden bool) (string, error) {
	fd := int(os.Stdin.Fd())
	terminal := term.IsTerminal(fd)
	if terminal {
		fmt.Fprint(os.Stderr, prompt)
		if state, err := term.GetState(fd); hidden && err == nil {
			defer fmt.Fprintln(os.Stderr)
			defer term.Restore(fd, state)
		}
	}
	type answer struct {
		text string
		err  error
	}
	typed := make(chan answer, 1)
	go func() { // a read of the terminal cannot be cancelled
		if terminal && hidden {
			text, err := term.ReadPassword(fd)
			typed <- answer{string(text), err}
			return
		}
		text, err := in.lines.ReadString('\n')
		if err == io.EOF && text != "" {
			err = nil
		}
		typed <- answer{strings.TrimRight(text, "\r\n"), err}
	}()
	select {
	case a := <-typed:
		if a.err == io.EOF {
			return "", errors.New("standard input ended where a password or a code was wanted")
		}
		return a.text, a.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}
