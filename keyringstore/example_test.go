package keyringstore_test

import (
	"context"
	"fmt"
	"log"

	"github.com/filescom/session"
	"github.com/filescom/session/autologin"
	"github.com/filescom/session/keyringstore"
	"github.com/filescom/session/sessiontest"
)

func ExampleNew() {
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: "secret"})
	defer srv.Close()
	c, err := session.NewClient(session.WithSite(srv.URL))
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()

	src := autologin.New(c, session.CreateParams{Username: "alice", Password: "secret"})
	src.Store = keyringstore.New(srv.URL, "alice")
	defer src.Close(ctx) // logs nobody out

	if _, err := src.Session(ctx); err != nil {
		log.Fatal(err)
	}
	s, err := autologin.Load(ctx, keyringstore.New(srv.URL, "alice")) // as another program does
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(s.ID == srv.Sessions()[0])
	// Output: true
}
