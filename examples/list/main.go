// Command list is the program of the README: it logs in, lists the root folder and
// logs out. FILES_SITE names the site, such as mysite for mysite.files.com.
package main

import (
	"context"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"

	"github.com/filescom/session"
	"github.com/filescom/session/autologin"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	c, err := session.NewClient(session.WithSite(os.Getenv("FILES_SITE"))) // mysite, files.example.com or https://…
	if err != nil {
		log.Fatal(err)
	}
	src := autologin.New(c, session.CreateParams{Username: os.Getenv("FILES_USERNAME"), Password: os.Getenv("FILES_PASSWORD")})
	hc := &http.Client{Transport: &autologin.Transport{Source: src}} // logs in, and again when the session has ended
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.BaseURL()+"/api/rest/v1/folders/", nil)
	if err != nil {
		log.Fatal(err)
	}
	resp, err := hc.Do(req)
	if err == nil {
		defer resp.Body.Close()
		err = session.CheckResponse(resp)
	}
	if err == nil {
		_, err = io.Copy(os.Stdout, resp.Body)
	}
	src.Close(ctx) // logs out, even after ^C
	if err != nil {
		log.Fatal(err)
	}
}
