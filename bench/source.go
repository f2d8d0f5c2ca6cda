package main

import (
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/filescom/session"
	"github.com/filescom/session/autologin"
	"golang.org/x/oauth2"
)

// sessionSource returns the benchmarks of a Source that holds a session, and of a
// Transport that sends it.
func sessionSource() []benchmark {
	tokens := oauth2.ReuseTokenSource(&oauth2.Token{AccessToken: "1", Expiry: time.Now().Add(lifetime)}, nil)
	src := newSource((&freshLogins{}).client(), nil)
	must(src.Session(ctx))
	base := fixed{&http.Response{StatusCode: http.StatusOK, Body: http.NoBody}}
	req := must(http.NewRequestWithContext(ctx, http.MethodGet, session.DefaultBaseURL+"/api/rest/v1/folders", nil))
	req.Header = http.Header{"Accept": {"a"}, "Content-Type": {"b"}, "X-More": {"c"}}
	send := func(rt http.RoundTripper) func() sample {
		return func() sample { return perCall(func() error { _, err := rt.RoundTrip(req); return err }) }
	}

	return []benchmark{
		{"Source.Session", formatTime, []string{"oauth2.TokenSource", "autologin.Source"}, inTurns(
			func() sample { return perCall(func() error { _, err := tokens.Token(); return err }) },
			func() sample { return perCall(func() error { _, err := src.Session(ctx); return err }) })},
		{"Transport, request with 3 headers", formatTime, []string{"oauth2.Transport", "autologin.Transport"}, inTurns(
			send(&oauth2.Transport{Base: base, Source: tokens}),
			send(&autologin.Transport{Base: base, Source: src}))},
	}
}

// idleSource returns the benchmark of the heap memory of a Source that holds a
// session with an ID and a TimeoutAt. It measures once, since the runtime's list of
// timers grows in the first round and does not shrink.
func idleSource() []benchmark {
	const sources = 20_000
	heap := func() sample {
		kept := make([]*autologin.Source, sources)
		c := (&freshLogins{}).client()
		before := heapInUse()
		for i := range kept {
			kept[i] = newSource(c, nil)
			must(kept[i].Session(ctx))
		}
		used := heapInUse() - before
		runtime.KeepAlive(kept)
		return sample{used / sources}
	}
	return []benchmark{{"Heap of an idle Source (ID and TimeoutAt)", formatSize, []string{"autologin.Source"}, inTurns(sync.OnceValue(heap))}}
}

// newSource returns a Source of alice.
func newSource(c *session.Client, store autologin.Store) *autologin.Source {
	src := autologin.New(c, alice)
	src.Store = store
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

const lifetime = 6 * time.Hour

// freshLogins answers each login from memory with another session.
type freshLogins struct {
	wait  time.Duration // before each answer
	count atomic.Int64
}

// client returns a Client that logs in at l.
func (l *freshLogins) client() *session.Client {
	return must(session.NewClient(session.WithHTTPClient(&http.Client{Transport: l})))
}

func (l *freshLogins) RoundTrip(r *http.Request) (*http.Response, error) {
	io.Copy(io.Discard, r.Body)
	r.Body.Close()
	time.Sleep(l.wait)
	text := fmt.Sprintf(`{"id":"%040d","timeout_at":"%s"}`, l.count.Add(1), time.Now().Add(lifetime).Format(time.RFC3339))
	return &http.Response{StatusCode: http.StatusCreated, ProtoMajor: 1, Header: jsonHeader, Request: r,
		ContentLength: int64(len(text)), Body: io.NopCloser(strings.NewReader(text))}, nil
}

// fixed returns the same response to every request.
type fixed struct{ resp *http.Response }

func (f fixed) RoundTrip(*http.Request) (*http.Response, error) { return f.resp, nil }
