package main

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"time"

	"github.com/filescom/session"
	"golang.org/x/oauth2"
)

// idle is the contest of the heap that each user takes who is kept logged in.
func idle() []contest {
	c := contest{name: fmt.Sprint("heap, ", *sources, " idle users"), rounds: *rounds, columns: []string{"B/user"}}
	for _, name := range []string{"oauth2", "Source, ID and TimeoutAt", "Source, by Create"} {
		c.contenders = append(c.contenders, contender{name, func() []float64 { return child(nil, "heap", name) }})
	}
	return []contest{c}
}

// heap measures one of the contenders. In a fresh process, since the runtime's
// list of timers does not shrink.
func heap(args []string) []float64 {
	until := time.Now().Add(6 * time.Hour)
	newID := func() string { return strings.Repeat("a", 40) }
	source := func(login func(context.Context) (*session.Session, error)) func() any {
		return func() any {
			src := &session.Source{Login: login}
			must(src.Session(ctx))
			return src
		}
	}
	c := must(session.NewClient(session.WithHTTPClient(&http.Client{Transport: stub{recorded(until)}})))
	keep := map[string]func() any{
		"oauth2": func() any {
			return oauth2.ReuseTokenSource(&oauth2.Token{AccessToken: newID(), Expiry: until}, nil)
		},
		"Source, ID and TimeoutAt": source(func(context.Context) (*session.Session, error) {
			return &session.Session{ID: newID(), TimeoutAt: until}, nil
		}),
		"Source, by Create": source(func(ctx context.Context) (*session.Session, error) { return c.Create(ctx, alice) }),
	}[args[0]]

	kept := make([]any, *sources)
	before := inUse()
	for i := range kept {
		kept[i] = keep()
	}
	used := inUse() - before
	runtime.KeepAlive(kept)
	return []float64{used / float64(len(kept))}
}

// inUse returns how much of the heap is in use, after a collection that also
// empties the pools.
func inUse() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// recorded is the answer to a login as it was seen in 2025.
func recorded(until time.Time) string {
	return `{"id":"87828d660ada5ee2951d00f46a871d602512b617","language":null,"max_dir_listing_size":100000,` +
		`"sftp_insecure_ciphers":false,"ssl_required":true,"timeout_at":"` + until.In(time.FixedZone("", -4*60*60)).Format(time.RFC3339) + `",` +
		`"tls_disabled":false,"calculate_file_checksums_crc32":false,"calculate_file_checksums_md5":false,` +
		`"calculate_file_checksums_sha1":false,"calculate_file_checksums_sha256":false,"legacy_checksums_mode":true,` +
		`"user_belongs_to_parent_site":false}`
}
