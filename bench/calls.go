package main

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/filescom/session"
)

// calls are the contests of one call after another: at a stub, where the
// client's code is all there is, and over loopback, where the time of the server
// and of two processes that wake each other is in everyone's, and dwarfs it.
func calls() []contest {
	var contests []contest
	for _, place := range []string{"stub", http1, http2} {
		for _, op := range operations {
			c := contest{name: op + ", " + place, rounds: *rounds, columns: perCall, compared: 1}
			for _, w := range ways(session.DefaultBaseURL, stub{documented}) {
				turn := func() []float64 { return benchmark(w.call[op]) }
				if place != "stub" {
					turn = func() []float64 {
						srv := serve(place, 0)
						defer srv.Close()
						return srv.client("visit", w.name, op)
					}
				}
				c.contenders = append(c.contenders, contender{w.name, turn})
			}
			contests = append(contests, c)
		}
	}
	return contests
}

// visit measures one way to do one operation at a server, by a transport that is
// the same for every way.
func visit(args []string) []float64 {
	rt := http.DefaultTransport.(*http.Transport).Clone()
	rt.MaxIdleConnsPerHost = 256
	return benchmark(wayOf(args[1], args[0], rt).call[args[2]])
}

var perCall = []string{"ns/op", "B/op", "allocs/op"}

// benchmark measures f, which must not fail.
func benchmark(f func() error) []float64 {
	return perCallOf(func(b *testing.B) {
		for range b.N {
			check(f())
		}
	})
}

// perCallOf returns what the columns perCall name.
func perCallOf(f func(b *testing.B)) []float64 {
	r := testing.Benchmark(f)
	n := float64(r.N)
	return []float64{float64(r.T.Nanoseconds()) / n, float64(r.MemBytes) / n, float64(r.MemAllocs) / n}
}

// stub answers every request from memory, a login with answer.
type stub struct{ answer string }

var header = http.Header{"Content-Type": {"application/json"}}

func (s stub) RoundTrip(r *http.Request) (*http.Response, error) {
	resp := &http.Response{StatusCode: http.StatusNoContent, ProtoMajor: 1, Header: header, Body: http.NoBody, Request: r}
	if r.Body != nil {
		io.Copy(io.Discard, r.Body)
		r.Body.Close()
	}
	if r.Method == http.MethodPost {
		resp.StatusCode, resp.ContentLength = http.StatusCreated, int64(len(s.answer))
		resp.Body = io.NopCloser(strings.NewReader(s.answer))
	}
	return resp, nil
}

// documented is the answer to a login, with the 19 documented fields.
const documented = `{"id":"60525f92e859c4c3d74cb02fd176b1525901b525","language":"en","login_token":"@tok-randomcode",` +
	`"login_token_domain":"https://mysite.files.com","max_dir_listing_size":100000,"multiple_regions":true,"read_only":true,` +
	`"root_path":"example","sftp_insecure_ciphers":false,"site_id":1,"ssl_required":true,"tls_disabled":false,` +
	`"two_factor_setup_needed":false,"allowed_2fa_method_sms":true,"allowed_2fa_method_totp":true,"allowed_2fa_method_u2f":true,` +
	`"allowed_2fa_method_yubi":true,"use_provided_modified_at":true,"windows_mode_ftp":false}`
