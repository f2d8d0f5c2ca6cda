package interop

import (
	"context"
	"fmt"
	"log"
	"net/http"

	files "github.com/Files-com/files-sdk-go/v3"
	"github.com/Files-com/files-sdk-go/v3/folder"
	"github.com/filescom/session"
	"github.com/filescom/session/autologin"
	"github.com/filescom/session/sessiontest"
)

// The official SDK sends its requests through a Transport, and so stays logged in.
func Example() {
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: "secret"})
	defer srv.Close()
	srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `[{"path":"a.txt"},{"path":"b"}]`)
	})
	ctx := context.Background()
	c, err := session.NewClient(session.WithSite(srv.URL))
	if err != nil {
		log.Fatal(err)
	}
	src := autologin.New(c, session.CreateParams{Username: "alice", Password: "secret"})
	defer src.Close(ctx)

	list := func() error {
		s, err := src.Session(ctx)
		if err != nil {
			return err
		}
		config := files.Config{EndpointOverride: s.BaseURL, SessionId: s.ID, UserAgent: s.UserAgent}.Init().
			SetCustomClient(&http.Client{Transport: &autologin.Transport{Source: src}})
		it, err := (&folder.Client{Config: config}).ListFor(files.FolderListForParams{Path: "/"}, files.WithContext(ctx))
		if err != nil {
			return err
		}
		for file, err := range it.All() {
			if err != nil {
				return err
			}
			fmt.Println(file.Path)
		}
		return nil
	}
	if err := list(); err != nil {
		fmt.Println(err)
	}
	// Output:
	// a.txt
	// b
}
