package filestore_test

import (
	"testing"

	"github.com/filescom/session"
	"github.com/filescom/session/autologin"
	"github.com/filescom/session/filestore"
	"github.com/filescom/session/sessiontest"
	"github.com/stretchr/testify/require"
)

// BenchmarkColdLoad measures the first session of a Source, as a program that runs
// again and again gets it.
func BenchmarkColdLoad(b *testing.B) {
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: "secret"})
	defer srv.Close()
	c, err := session.NewClient(session.WithSite(srv.URL))
	require.NoError(b, err)
	path := b.TempDir() + "/folder/session.json"
	b.ReportAllocs()
	for b.Loop() {
		src := autologin.New(c, session.CreateParams{Username: "alice", Password: "secret"})
		src.Store = filestore.New(path)
		if _, err := src.Session(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	require.Equal(b, 1, srv.Counts().Logins)
}
