package main

import (
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/filescom/session"
)

// operations are the calls of a client that noNetwork and loopback measure.
var operations = []struct {
	name string
	call func(client) error
}{
	{"Login", func(c client) error { return c.login() }},
	{"Log-out", func(c client) error { return c.logout() }},
}

// noNetwork returns the benchmarks of the clients over a stub.
func noNetwork() []benchmark {
	var benchmarks []benchmark
	for _, op := range operations {
		var turns []func() sample
		for _, c := range newClients(session.DefaultBaseURL, stub{}) {
			turns = append(turns, func() sample { return perCall(func() error { return op.call(c) }) })
		}
		benchmarks = append(benchmarks, benchmark{op.name + ", no network", formatTime, threeClients, inTurns(turns...)})
	}
	return benchmarks
}

// loopback returns the benchmarks of the clients over a loopback connection.
func loopback() []benchmark {
	var benchmarks []benchmark
	for _, protocol := range []string{http1, http2} {
		for _, op := range operations {
			benchmarks = append(benchmarks, benchmark{op.name + ", loopback, " + protocol, formatTime, threeClients,
				func() []sample { return requestByRequest(protocol, op.call) }})
		}
	}
	return benchmarks
}

// requestByRequest measures the mean time of a call of each client. The clients
// share a transport and take turns after each request.
func requestByRequest(protocol string, call func(client) error) []sample {
	const requests = 2000
	srv := startServer(protocol, delays{})
	defer srv.Close()
	rt := http.DefaultTransport.(*http.Transport).Clone()
	defer rt.CloseIdleConnections()
	clients := newClients(srv.URL, rt)
	for _, c := range clients {
		check(call(c)) // opens the connection, and logs in before a log-out
	}

	total := make([]time.Duration, len(clients))
	for range requests {
		for _, i := range rand.Perm(len(clients)) {
			start := time.Now()
			check(call(clients[i]))
			total[i] += time.Since(start)
		}
	}
	samples := make([]sample, len(clients))
	for i := range samples {
		samples[i] = sample{float64(total[i]) / requests}
	}
	return samples
}

// stub answers every request from memory.
type stub struct{}

var jsonHeader = http.Header{"Content-Type": {"application/json"}}

func (stub) RoundTrip(r *http.Request) (*http.Response, error) {
	resp := &http.Response{StatusCode: http.StatusNoContent, ProtoMajor: 1, Header: jsonHeader, Body: http.NoBody, Request: r}
	if r.Body != nil {
		io.Copy(io.Discard, r.Body)
		r.Body.Close()
	}
	if r.Method == http.MethodPost {
		resp.StatusCode, resp.ContentLength = http.StatusCreated, int64(len(documented))
		resp.Body = io.NopCloser(strings.NewReader(documented))
	}
	return resp, nil
}
