package main

import (
	"context"
	"net/http"
	"sync"

	files "github.com/Files-com/files-sdk-go/v3"
	sdk "github.com/Files-com/files-sdk-go/v3/session"
	"github.com/filescom/session"
)

// The names of the clients.
const (
	byHand      = "net/http by hand"
	thisPackage = "this package"
	officialSDK = "official SDK"
)

var (
	ctx   = context.Background()
	alice = session.CreateParams{Username: "alice", Password: "pass word+1"}
)

// threeClients are the names of the clients that constructors make. A constructor
// uses the client's default transport if rt is nil.
var (
	threeClients = []string{byHand, thisPackage, officialSDK}
	constructors = []func(base string, rt http.RoundTripper) client{newPlain, newSession, newOfficial}
)

// A client logs a user in and out. It is safe for concurrent use.
type client struct {
	login  func() error
	logout func() error // of the same session each time
}

// newClients returns the three clients of the server at base. They share the
// transport rt.
func newClients(base string, rt http.RoundTripper) []client {
	var clients []client
	for _, newClient := range constructors {
		clients = append(clients, newClient(base, rt))
	}
	return clients
}

// newClient returns a client from the functions that create and delete a session.
func newClient[S any](create func() (S, error), del func(S) error) client {
	first := sync.OnceValue(func() S { return must(create()) })
	return client{
		login:  func() error { _, err := create(); return err },
		logout: func() error { return del(first()) },
	}
}

func newSession(base string, rt http.RoundTripper) client {
	options := []session.Option{session.WithSite(base)}
	if rt != nil {
		options = append(options, session.WithHTTPClient(&http.Client{Transport: rt}))
	}
	c := must(session.NewClient(options...))
	return newClient(
		func() (*session.Session, error) { return c.Create(ctx, alice) },
		func(s *session.Session) error { return c.Delete(ctx, s) })
}

// newOfficial returns the official SDK with its default retries and logger.
func newOfficial(base string, rt http.RoundTripper) client {
	config := files.Config{EndpointOverride: base}.Init()
	if rt != nil {
		config = config.SetCustomClient(&http.Client{Transport: rt})
	}
	c := sdk.Client{Config: config}
	create := func() (files.Session, error) {
		return c.Create(files.SessionCreateParams{Username: alice.Username, Password: alice.Password})
	}
	return newClient(create, func(s files.Session) error {
		config := config
		config.SessionId = s.Id
		return (&sdk.Client{Config: config}).Delete()
	})
}
