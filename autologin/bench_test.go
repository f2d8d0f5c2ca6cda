package autologin_test

import (
	"net/http"
	"testing"

	"github.com/filescom/session"
	"github.com/filescom/session/autologin"
	"github.com/filescom/session/sessiontest"
	"github.com/stretchr/testify/require"
)

// benchmarkSource returns a Source that has logged in, and where.
func benchmarkSource(b *testing.B) (src *autologin.Source, origin string) {
	b.Helper()
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: "secret"})
	b.Cleanup(srv.Close)
	c, err := session.NewClient(session.WithSite(srv.URL))
	require.NoError(b, err)
	src = autologin.New(c, session.CreateParams{Username: "alice", Password: "secret"})
	_, err = src.Session(b.Context())
	require.NoError(b, err)
	return src, srv.URL
}

func BenchmarkSource(b *testing.B) {
	src, _ := benchmarkSource(b)
	b.Run("alone", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := src.Session(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				src.Session(b.Context())
			}
		})
	})
}

// sameAnswer returns one response to every request.
type sameAnswer struct{ resp *http.Response }

func (a sameAnswer) RoundTrip(*http.Request) (*http.Response, error) { return a.resp, nil }

func BenchmarkTransport(b *testing.B) {
	src, origin := benchmarkSource(b)
	base := sameAnswer{&http.Response{StatusCode: http.StatusOK, Body: http.NoBody}}
	req, err := http.NewRequest(http.MethodGet, origin+"/api/rest/v1/folders", nil)
	require.NoError(b, err)
	req.Header = http.Header{"Accept": {"a"}, "Content-Type": {"b"}, "X-More": {"c"}}
	for name, rt := range map[string]http.RoundTripper{"session": &autologin.Transport{Source: src, Base: base}, "bare": base} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := rt.RoundTrip(req); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
