// Command bench measures package session against its peers in one run: the
// contenders of a contest take turns in shuffled order, and the medians and
// their ratios to the first contender are printed.
//
//	go run . [-rounds 10] [-benchtime 100ms]
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	files "github.com/Files-com/files-sdk-go/v3"
	sdk "github.com/Files-com/files-sdk-go/v3/session"
	"github.com/filescom/session"
	"github.com/go-resty/resty/v2"
	"golang.org/x/oauth2"
)

// contest is a table of contenders for one thing.
type contest struct {
	name       string
	contenders []contender
}

type contender struct {
	name string
	run  func(b *testing.B)
}

func main() {
	testing.Init()
	rounds := flag.Int("rounds", 10, "how many turns each contender takes")
	benchtime := flag.String("benchtime", "100ms", "how long a turn is")
	flag.Parse()
	if err := flag.Set("test.benchtime", *benchtime); err != nil {
		panic(err)
	}
	for _, c := range []contest{create(), del(), source("Source.Session", false), source("Source.Session, parallel", true), transport()} {
		c.hold(*rounds)
	}
}

// hold has the contenders take turns and prints the medians.
func (c contest) hold(rounds int) {
	results := map[string][]testing.BenchmarkResult{}
	for range rounds {
		for _, i := range rand.Perm(len(c.contenders)) {
			results[c.contenders[i].name] = append(results[c.contenders[i].name], testing.Benchmark(c.contenders[i].run))
		}
	}
	fmt.Printf("\n%-28s %10s %8s %8s   ratio\n", c.name, "ns/op", "B/op", "allocs")
	for _, cont := range c.contenders {
		all := results[cont.name]
		ratios := make([]float64, rounds) // within a round, where the machine is the same
		for i := range all {
			ratios[i] = nanos(all[i]) / nanos(results[c.contenders[0].name][i])
		}
		slices.Sort(ratios)
		slices.SortFunc(all[:], func(a, b testing.BenchmarkResult) int { return cmp.Compare(nanos(a), nanos(b)) })
		median := all[len(all)/2]
		fmt.Printf("  %-26s %10.1f %8d %8d   %5.2f\n", cont.name, nanos(median), median.AllocedBytesPerOp(), median.AllocsPerOp(), ratios[len(ratios)/2])
	}
}

func nanos(r testing.BenchmarkResult) float64 { return float64(r.T.Nanoseconds()) / float64(r.N) }

// each benchmarks a function that must not fail.
func each(f func() error) func(b *testing.B) {
	return func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			if err := f(); err != nil {
				panic(err)
			}
		}
	}
}

// answer is a login's, with the 19 documented fields.
const answer = `{"id":"60525f92e859c4c3d74cb02fd176b1525901b525","language":"en","login_token":"@tok-randomcode","login_token_domain":"https://mysite.files.com","max_dir_listing_size":100000,"multiple_regions":true,"read_only":true,"root_path":"example","sftp_insecure_ciphers":false,"site_id":1,"ssl_required":true,"tls_disabled":false,"two_factor_setup_needed":false,"allowed_2fa_method_sms":true,"allowed_2fa_method_totp":true,"allowed_2fa_method_u2f":true,"allowed_2fa_method_yubi":true,"use_provided_modified_at":true,"windows_mode_ftp":false}`

// stub answers from memory.
type stub struct {
	status int
	body   string
	header http.Header
}

func newStub(status int, body string) *http.Client {
	return &http.Client{Transport: &stub{status, body, http.Header{"Content-Type": {"application/json"}}}}
}

func (s *stub) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		io.Copy(io.Discard, r.Body)
		r.Body.Close()
	}
	resp := &http.Response{StatusCode: s.status, ProtoMajor: 1, Header: s.header, Body: http.NoBody, ContentLength: int64(len(s.body)), Request: r}
	if s.body != "" {
		resp.Body = io.NopCloser(strings.NewReader(s.body))
	}
	return resp, nil
}

const endpoint = session.DefaultBaseURL + "/api/rest/v1/sessions"

var (
	ctx   = context.Background()
	alice = session.CreateParams{Username: "alice", Password: "pass word+1"}
)

func create() contest {
	hc := newStub(http.StatusCreated, answer)
	ours := must(session.NewClient(session.WithHTTPClient(hc)))
	own := *hc
	rc := resty.NewWithClient(&own)
	official := sdk.Client{Config: files.Config{}.Init().SetCustomClient(hc)}
	return contest{"Create, stub", []contender{
		{"plain", each(func() error {
			form := url.Values{"username": {alice.Username}, "password": {alice.Password}}
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
			if err != nil {
				return err
			}
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			resp, err := hc.Do(req)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			return json.NewDecoder(resp.Body).Decode(new(session.Session))
		})},
		{"session", each(func() error { _, err := ours.Create(ctx, alice); return err })},
		{"resty's README", each(func() error {
			_, err := rc.R().SetContext(ctx).SetFormData(map[string]string{"username": alice.Username, "password": alice.Password}).
				SetResult(new(session.Session)).Post(endpoint)
			return err
		})},
		{"official SDK", each(func() error {
			_, err := official.Create(files.SessionCreateParams{Username: alice.Username, Password: alice.Password})
			return err
		})},
	}}
}

func del() contest {
	hc := newStub(http.StatusNoContent, "")
	ours := must(session.NewClient(session.WithHTTPClient(hc)))
	s := &session.Session{ID: strings.Repeat("a", 40), BaseURL: session.DefaultBaseURL}
	own := *hc
	rc := resty.NewWithClient(&own)
	official := sdk.Client{Config: files.Config{SessionId: s.ID}.Init().SetCustomClient(hc)}
	return contest{"Delete, stub", []contender{
		{"plain", each(func() error {
			req, err := http.NewRequestWithContext(ctx, http.MethodDelete, endpoint, nil)
			if err != nil {
				return err
			}
			req.Header.Set(session.AuthHeader, s.ID)
			resp, err := hc.Do(req)
			if err != nil {
				return err
			}
			return resp.Body.Close()
		})},
		{"session", each(func() error { return ours.Delete(ctx, s) })},
		{"resty's README", each(func() error {
			_, err := rc.R().SetContext(ctx).SetHeader(session.AuthHeader, s.ID).Delete(endpoint)
			return err
		})},
		{"official SDK", each(func() error { return official.Delete() })},
	}}
}

func source(name string, parallel bool) contest {
	src := &session.Source{Login: func(context.Context) (*session.Session, error) {
		return &session.Session{ID: "1", TimeoutAt: time.Now().Add(time.Hour)}, nil
	}}
	tokens := oauth2.ReuseTokenSource(nil, oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "1", Expiry: time.Now().Add(time.Hour)}))
	run := func(f func() error) func(b *testing.B) {
		if !parallel {
			return each(f)
		}
		return func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := f(); err != nil {
						panic(err)
					}
				}
			})
		}
	}
	return contest{name, []contender{
		{"oauth2.ReuseTokenSource", run(func() error { _, err := tokens.Token(); return err })},
		{"session.Source", run(func() error { _, err := src.Session(ctx); return err })},
	}}
}

// canned returns one answer again and again.
type canned struct{ resp *http.Response }

func (c canned) RoundTrip(*http.Request) (*http.Response, error) { return c.resp, nil }

func transport() contest {
	base := canned{&http.Response{StatusCode: http.StatusOK, Body: http.NoBody}}
	ours := &session.Transport{Base: base, Source: &session.Source{Login: func(context.Context) (*session.Session, error) {
		return &session.Session{ID: "1", UserAgent: "maker/1"}, nil
	}}}
	theirs := &oauth2.Transport{Base: base, Source: oauth2.ReuseTokenSource(nil, oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "1", Expiry: time.Now().Add(time.Hour)}))}
	req := must(http.NewRequestWithContext(ctx, http.MethodGet, session.DefaultBaseURL+"/api/rest/v1/folders", nil))
	req.Header = http.Header{"Accept": {"a"}, "Content-Type": {"b"}, "X-More": {"c"}}
	run := func(rt http.RoundTripper) func(b *testing.B) {
		return each(func() error { _, err := rt.RoundTrip(req); return err })
	}
	return contest{"Transport, 3 headers", []contender{
		{"oauth2.Transport", run(theirs)}, {"session.Transport", run(ours)}, {"bare", run(base)},
	}}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
