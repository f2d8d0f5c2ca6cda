// Command list is the program of the README: it logs in, lists the root folder and
// logs out. FILES_URL names the site, such as https://mysite.files.com.
package main

import (
	"context"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"

	"github.com/filescom/session"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := list(ctx, os.Getenv("FILES_URL")); err != nil { // such as https://mysite.files.com
		log.Fatal(err)
	}
}

func list(ctx context.Context, site string) error {
	c, err := session.NewClient(session.WithSite(site))
	if err != nil {
		return err
	}
	src := &session.Source{Login: func(ctx context.Context) (*session.Session, error) {
		return c.Create(ctx, session.CreateParams{Username: os.Getenv("FILES_USERNAME"), Password: os.Getenv("FILES_PASSWORD")})
	}}
	defer src.Close(ctx)       // logs out, even after ^C
	s, err := src.Session(ctx) // logs in
	if err != nil {
		return err
	}
	hc := &http.Client{Transport: &session.Transport{Source: src}} // sends the session, and logs in again when it has ended
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.BaseURL+"/api/rest/v1/folders/", nil)
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
	_, err = io.Copy(os.Stdout, resp.Body)
	return err
}
