package main

import (
	"context"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/filescom/session"
	"golang.org/x/oauth2"
)

// sessionSource returns the benchmarks of a Source that holds a session, and of a
// Transport that sends it.
func sessionSource() []benchmark {
	expiry := time.Now().Add(6 * time.Hour)
	tokens := oauth2.ReuseTokenSource(&oauth2.Token{AccessToken: "1", Expiry: expiry}, nil)
	src := newSource(func(context.Context) (*session.Session, error) {
		return &session.Session{ID: "1", UserAgent: "maker/1", TimeoutAt: expiry}, nil
	})
	base := fixed{&http.Response{StatusCode: http.StatusOK, Body: http.NoBody}}
	req := must(http.NewRequestWithContext(ctx, http.MethodGet, session.DefaultBaseURL+"/api/rest/v1/folders", nil))
	req.Header = http.Header{"Accept": {"a"}, "Content-Type": {"b"}, "X-More": {"c"}}
	send := func(rt http.RoundTripper) func() sample {
		return func() sample { return perCall(func() error { _, err := rt.RoundTrip(req); return err }) }
	}

	return []benchmark{
		{"Source.Session", formatTime, []string{"oauth2.TokenSource", "session.Source"}, inTurns(
			func() sample { return perCall(func() error { _, err := tokens.Token(); return err }) },
			func() sample { return perCall(func() error { _, err := src.Session(ctx); return err }) })},
		{"Transport, request with 3 headers", formatTime, []string{"oauth2.Transport", "session.Transport"}, inTurns(
			send(&oauth2.Transport{Base: base, Source: tokens}),
			send(&session.Transport{Base: base, Source: src}))},
	}
}

// idleSource returns the benchmark of the heap memory of a Source that holds a
// session with an ID and a TimeoutAt. It measures once, since the runtime's list of
// timers grows in the first round and does not shrink.
func idleSource() []benchmark {
	const sources = 100_000
	login := func(context.Context) (*session.Session, error) {
		return &session.Session{ID: strings.Repeat("a", 40), TimeoutAt: time.Now().Add(6 * time.Hour)}, nil
	}
	heap := func() sample {
		kept := make([]*session.Source, sources)
		before := heapInUse()
		for i := range kept {
			kept[i] = newSource(login)
		}
		used := heapInUse() - before
		runtime.KeepAlive(kept)
		return sample{used / sources}
	}
	return []benchmark{{"Heap of an idle Source (ID and TimeoutAt)", formatSize, []string{"session.Source"}, inTurns(sync.OnceValue(heap))}}
}

// newSource returns a Source that has logged in.
func newSource(login func(context.Context) (*session.Session, error)) *session.Source {
	src := &session.Source{Login: login}
	must(src.Session(ctx))
	return src
}

// heapInUse returns the size of the heap after a collection. The second cycle
// empties the pools of package sync.
func heapInUse() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// fixed returns the same response to every request.
type fixed struct{ resp *http.Response }

func (f fixed) RoundTrip(*http.Request) (*http.Response, error) { return f.resp, nil }
