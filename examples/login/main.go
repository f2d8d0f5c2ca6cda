// Command login logs a user of Files.com in, makes one call, and logs out.
//
// Without FILES_SITE it does so against a fake server that it starts itself. With
// FILES_SITE, such as mysite for mysite.files.com, it logs in FILES_USERNAME with
// FILES_PASSWORD there.
package main

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/filescom/session"
	"github.com/filescom/session/autologin"
	"github.com/filescom/session/sessiontest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := demo(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "login:", err)
		os.Exit(1)
	}
}

// demo logs in and out at FILES_SITE, or else at a fake server.
func demo(ctx context.Context) error {
	if site := os.Getenv("FILES_SITE"); site != "" {
		params := session.CreateParams{Username: os.Getenv("FILES_USERNAME"), Password: os.Getenv("FILES_PASSWORD")}
		return run(ctx, params, session.WithSite(site))
	}
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: "secret", OTP: "123456"})
	defer srv.Close()
	fmt.Println("A fake Files.com is at", srv.URL, "with the user alice, who has a second factor.")
	code := func(_ context.Context, challenge *session.TwoFactorError) (string, error) {
		fmt.Printf("The server requires a second factor (%s). The demo knows the code.\n", strings.Join(challenge.Methods, ", "))
		return "123456", nil // a program asks its user here, also for FILES_SITE
	}
	return run(ctx, session.CreateParams{Username: "alice", Password: "secret"},
		session.WithSite(srv.URL), session.WithOTP(code))
}

// run logs in, makes a call and logs out.
func run(ctx context.Context, params session.CreateParams, opts ...session.Option) (err error) {
	s, err := session.Create(ctx, params, opts...)
	if err != nil {
		return err
	}
	defer func() { // log out even after ^C
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		logoutErr := session.Delete(ctx, s)
		if logoutErr == nil {
			fmt.Println("Logged out.")
		}
		err = cmp.Or(err, logoutErr)
	}()
	fmt.Printf("Logged in at %s as %s", s.BaseURL, params.Username)
	if !s.TimeoutAt.IsZero() {
		fmt.Printf(", until %s", s.TimeoutAt.Local().Format(time.DateTime))
	}
	fmt.Println(".")
	status, err := list(ctx, s)
	if err != nil {
		return err
	}
	fmt.Println("Asked for the root folder:", status+".")
	return nil
}

// list asks for the root folder.
func list(ctx context.Context, s *session.Session) (status string, err error) {
	hc := &http.Client{Transport: &autologin.Transport{Source: autologin.Static(s)}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.BaseURL+"/api/rest/v1/folders/?per_page=1", nil)
	if err != nil {
		return "", err
	}
	resp, err := hc.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	return resp.Status, session.CheckResponse(resp)
}
