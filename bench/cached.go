package main

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/filescom/session"
	"golang.org/x/oauth2"
)

// cached are the contests of a session that is there, and of the requests that
// it is sent with.
func cached() []contest {
	src := &session.Source{Login: func(context.Context) (*session.Session, error) {
		return &session.Session{ID: "1", UserAgent: "maker/1", TimeoutAt: time.Now().Add(time.Hour)}, nil
	}}
	tokens := oauth2.ReuseTokenSource(&oauth2.Token{AccessToken: "1", Expiry: time.Now().Add(time.Hour)}, nil)
	getToken := func() error { _, err := tokens.Token(); return err }
	getSession := func() error { _, err := src.Session(ctx); return err }

	base := canned{&http.Response{StatusCode: http.StatusOK, Body: http.NoBody}}
	req := must(http.NewRequestWithContext(ctx, http.MethodGet, session.DefaultBaseURL+"/api/rest/v1/folders", nil))
	req.Header = http.Header{"Accept": {"a"}, "Content-Type": {"b"}, "X-More": {"c"}}
	send := func(rt http.RoundTripper) func() error {
		return func() error { _, err := rt.RoundTrip(req); return err }
	}

	return []contest{
		{"Source.Session", *rounds, perCall, 1, []contender{
			{"oauth2", func() []float64 { return benchmark(getToken) }},
			{"session", func() []float64 { return benchmark(getSession) }},
		}},
		{"Source.Session, parallel", *rounds, perCall, 1, []contender{
			{"oauth2", func() []float64 { return parallel(getToken) }},
			{"session", func() []float64 { return parallel(getSession) }},
		}},
		{"Transport, 3 headers", *rounds, perCall, 1, []contender{
			{"oauth2", func() []float64 { return benchmark(send(&oauth2.Transport{Base: base, Source: tokens})) }},
			{"session", func() []float64 { return benchmark(send(&session.Transport{Base: base, Source: src})) }},
			{"bare", func() []float64 { return benchmark(send(base)) }},
		}},
	}
}

// parallel is benchmark on all processors at a time.
func parallel(f func() error) []float64 {
	return perCallOf(func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				check(f())
			}
		})
	})
}

// canned returns one answer again and again.
type canned struct{ resp *http.Response }

func (c canned) RoundTrip(*http.Request) (*http.Response, error) { return c.resp, nil }
