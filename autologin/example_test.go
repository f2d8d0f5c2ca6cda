package autologin_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"path/filepath"

	"github.com/filescom/session"
	"github.com/filescom/session/autologin"
	"github.com/filescom/session/sessiontest"
)

// A Source logs in when there is no session. All callers share its session.
func ExampleSource() {
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: "secret"})
	defer srv.Close()
	ctx := context.Background()
	c, err := session.NewClient(session.WithSite(srv.URL)) // or session.WithSite("mysite")
	if err != nil {
		log.Fatal(err)
	}

	src := autologin.New(c, session.CreateParams{Username: "alice", Password: "secret"})
	for range 3 {
		if _, err := src.Session(ctx); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println("logins:", srv.Counts().Logins)
	if err := src.Close(ctx); err != nil { // logs out
		log.Fatal(err)
	}
	_, err = src.Session(ctx)
	fmt.Println(errors.Is(err, autologin.ErrClosed), len(srv.Sessions()))
	// Output:
	// logins: 1
	// true 0
}

// Params is called before each login. Here it reads a file, so that a new password
// requires no restart.
func ExampleSource_params() {
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: "secret"})
	defer srv.Close()
	folder, err := os.MkdirTemp("", "autologin")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(folder)
	path := filepath.Join(folder, "password")
	if err := os.WriteFile(path, []byte("secret"), 0o600); err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	c, err := session.NewClient(session.WithSite(srv.URL))
	if err != nil {
		log.Fatal(err)
	}

	src := &autologin.Source{
		Client: c,
		Params: func(context.Context) (session.CreateParams, error) {
			password, err := os.ReadFile(path)
			return session.CreateParams{Username: "alice", Password: string(password)}, err
		},
	}
	defer src.Close(ctx)
	_, err = src.Session(ctx)
	fmt.Println(err)
	// Output: <nil>
}

// A Transport sends the session with each request to the site, and to no other host. It
// logs in again when the session has ended.
func ExampleTransport() {
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: "secret"})
	defer srv.Close()
	ctx := context.Background()
	c, err := session.NewClient(session.WithSite(srv.URL))
	if err != nil {
		log.Fatal(err)
	}

	src := autologin.New(c, session.CreateParams{Username: "alice", Password: "secret"})
	defer src.Close(ctx) // logs out
	hc := &http.Client{Transport: &autologin.Transport{Source: src}}
	for range 3 {
		resp, err := hc.Get(c.BaseURL() + "/api/rest/v1/folders/")
		if err != nil {
			log.Print(err)
			return
		}
		resp.Body.Close()
		fmt.Println(resp.Status)
		srv.ExpireUser("alice") // as if it had timed out
	}
	fmt.Println("logins:", srv.Counts().Logins)
	// Output:
	// 200 OK
	// 200 OK
	// 200 OK
	// logins: 3
}

// A Transport of a session at hand, which logs nobody in. Here the program logs in by
// itself.
func ExampleStatic() {
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: "secret"})
	defer srv.Close()
	ctx := context.Background()
	s, err := session.Create(ctx, session.CreateParams{Username: "alice", Password: "secret"}, session.WithSite(srv.URL))
	if err != nil {
		log.Fatal(err)
	}
	defer session.Delete(ctx, s)

	hc := &http.Client{Transport: &autologin.Transport{Source: autologin.Static(s)}}
	resp, err := hc.Get(s.BaseURL + "/api/rest/v1/folders/")
	if err != nil {
		log.Print(err)
		return
	}
	defer resp.Body.Close()
	fmt.Println(resp.Status)
	// Output: 200 OK
}
