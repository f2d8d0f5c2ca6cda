// Command daemon calls Files.com again and again until SIGINT or SIGTERM, and then
// logs out. It renews its session by itself.
//
// Without flags it calls a fake server that it starts itself. That server ends the
// session twice. With -url it calls a real site, and takes the password from
// FILES_PASSWORD.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/filescom/session"
	"github.com/filescom/session/sessiontest"
)

func main() {
	url := flag.String("url", "", "origin of the site, such as https://mysite.files.com")
	user := flag.String("user", os.Getenv("FILES_USERNAME"), "user name (default FILES_USERNAME); the password is FILES_PASSWORD")
	every := flag.Duration("every", time.Second, "time between two calls")
	calls := flag.Int("calls", 0, "number of calls; 0: until a signal")
	flag.Parse()
	log.SetFlags(log.Ltime)

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	params := session.CreateParams{Username: *user, Password: os.Getenv("FILES_PASSWORD")}
	after := func(call int) {}
	if *url == "" {
		params = session.CreateParams{Username: "alice", Password: "secret"}
		srv := sessiontest.NewServer(sessiontest.User{Username: params.Username, Password: params.Password})
		defer srv.Close()
		*url = srv.URL
		log.Print("a fake Files.com is at ", srv.URL)
		after = func(call int) {
			if call == 3 || call == 6 {
				log.Print("the server ends the session")
				srv.Expire(srv.Sessions()[0])
			}
		}
	}
	if err := run(ctx, *url, params, *every, *calls, after); err != nil {
		log.Print(err)
		stop()
		os.Exit(1)
	}
}

// run calls the API until ctx ends, then logs out.
func run(ctx context.Context, url string, params session.CreateParams, every time.Duration, calls int, after func(call int)) (err error) {
	c, err := session.NewClient(session.WithSite(url), session.WithUserAgent("daemon-example/1"))
	if err != nil {
		return err
	}
	src := &session.Source{
		Login: func(ctx context.Context) (*session.Session, error) {
			log.Print("logging in")
			return c.Create(ctx, params)
		},
		Logger: slog.Default(), // nothing else reports a renewal that fails
	}
	defer func() { // Close has 5 s of its own when ctx has ended
		if gone := src.Close(ctx); gone != nil {
			err = errors.Join(err, gone)
			return
		}
		log.Print("done")
	}()
	hc := &http.Client{Transport: &session.Transport{Source: src}, Timeout: time.Minute}
	for call := 1; calls == 0 || call <= calls; call++ {
		err := list(ctx, src, hc)
		var later *session.BackoffError
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.As(err, &later), errors.Is(err, session.ErrSessionEnded), errors.Is(err, session.ErrLockedOut):
			log.Print("call ", call, ": ", err) // a later call logs in as soon as that is allowed
		case errors.Is(err, session.ErrNotAuthenticated), errors.Is(err, session.ErrInvalidParams):
			return err // no call succeeds until someone changes the password
		case err != nil:
			log.Print("call ", call, ": ", err)
		default:
			log.Print("call ", call, ": ok")
		}
		after(call)
		select {
		case <-time.After(every):
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// list asks for the root folder, at the origin of the session.
func list(ctx context.Context, src *session.Source, hc *http.Client) error {
	s, err := src.Session(ctx)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.BaseURL+"/api/rest/v1/folders/?per_page=1", nil)
	if err != nil {
		return err
	}
	resp, err := hc.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := session.CheckResponse(resp); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	return nil
}
