package filestore_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"
	"path/filepath"

	"github.com/filescom/session"
	"github.com/filescom/session/autologin"
	"github.com/filescom/session/filestore"
	"github.com/filescom/session/sessiontest"
)

// Share one session between the processes of one user.
func Example() {
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: "secret"})
	defer srv.Close()
	folder, err := os.MkdirTemp("", "filestore")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(folder)
	ctx, site, password := context.Background(), srv.URL, "secret"
	path := filepath.Join(folder, "session") // or filestore.DefaultPath(site, "alice")
	anotherProcess(ctx, site, path)

	c, err := session.NewClient(session.WithSite(site))
	if err != nil {
		log.Fatal(err)
	}
	src := autologin.New(c, session.CreateParams{Username: "alice", Password: password})
	src.Store = filestore.New(path)
	defer src.Close(ctx) // leaves the session to the next run; src.Revoke logs out for all
	hc := &http.Client{Transport: &autologin.Transport{Source: src}}
	resp, err := hc.Get(c.BaseURL() + "/api/rest/v1/folders/")
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()

	fmt.Println("listed the folder:", resp.StatusCode)
	fmt.Println("logins:", srv.Counts().Logins)
	// Output:
	// listed the folder: 200
	// logins: 1
}

// anotherProcess logs in before.
func anotherProcess(ctx context.Context, site, path string) {
	c, err := session.NewClient(session.WithSite(site))
	if err != nil {
		log.Fatal(err)
	}
	src := autologin.New(c, session.CreateParams{Username: "alice", Password: "secret"})
	src.Store = filestore.New(path)
	if _, err := src.Session(ctx); err != nil {
		log.Fatal(err)
	}
	src.Close(ctx)
}
