// Command daemon calls Files.com again and again until SIGINT or SIGTERM, and then
// logs out. It renews its session by itself.
//
// Without FILES_SITE it calls a fake server that it starts itself. That server ends the
// session twice. With FILES_SITE, such as mysite for mysite.files.com, it acts for
// FILES_USERNAME with FILES_PASSWORD there.
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
	"github.com/filescom/session/autologin"
	"github.com/filescom/session/sessiontest"
)

func main() {
	every := flag.Duration("every", time.Second, "time between two calls")
	calls := flag.Int("calls", 0, "number of calls; 0: until a signal")
	flag.Parse()
	log.SetFlags(log.Ltime)
	slog.SetLogLoggerLevel(slog.LevelDebug) // shows each login and each renewal

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	site := os.Getenv("FILES_SITE")
	params := session.CreateParams{Username: os.Getenv("FILES_USERNAME"), Password: os.Getenv("FILES_PASSWORD")}
	after := func(call int) {}
	if site == "" {
		params = session.CreateParams{Username: "alice", Password: "secret"}
		srv := sessiontest.NewServer(sessiontest.User{Username: params.Username, Password: params.Password})
		defer srv.Close()
		site = srv.URL
		log.Print("a fake Files.com is at ", site)
		after = func(call int) {
			if call == 3 || call == 6 {
				log.Print("the server ends the session")
				srv.ExpireUser(params.Username)
			}
		}
	}
	if err := run(ctx, site, params, *every, *calls, after); err != nil {
		log.Print(err)
		stop()
		os.Exit(1)
	}
}

// run calls the API until ctx ends, then logs out.
func run(ctx context.Context, site string, params session.CreateParams, every time.Duration, calls int, after func(call int)) (err error) {
	c, err := session.NewClient(session.WithSite(site), session.WithUserAgent("daemon-example/1"))
	if err != nil {
		return err
	}
	src := autologin.New(c, params)
	src.Logger = slog.Default() // nothing else reports a renewal that fails
	defer func() {              // Close has 5 s of its own when ctx has ended
		if gone := src.Close(ctx); gone != nil {
			err = errors.Join(err, gone)
			return
		}
		log.Print("done")
	}()
	hc := &http.Client{Transport: &autologin.Transport{Source: src}, Timeout: time.Minute}
	for call := 1; calls == 0 || call <= calls; call++ {
		err := list(ctx, hc, c.BaseURL())
		var later *autologin.BackoffError
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

// list asks for the root folder.
func list(ctx context.Context, hc *http.Client, origin string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, origin+"/api/rest/v1/folders/?per_page=1", nil)
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
