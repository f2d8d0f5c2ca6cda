package main

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// gateway returns the benchmark of many logins, a limited number at a time. Each
// client has its default transport.
func gateway() []benchmark {
	const goroutines = 256
	const latency = 20 * time.Millisecond
	var turns []func() sample
	for _, newClient := range constructors {
		turns = append(turns, func() sample {
			srv := startServer(https1, delays{answer: latency})
			defer srv.Close()
			took := concurrently(goroutines, *logins, newClient(srv.URL, nil).login)
			return sample{float64(*logins) / took.Seconds()}
		})
	}
	name := fmt.Sprintf("Gateway, %s, %d logins at a time, %v to answer", https1, goroutines, latency)
	return []benchmark{{name, formatRate, threeClients, inTurns(turns...)}}
}

// coldBursts returns the benchmarks of many logins that start at once and find
// no open connection.
func coldBursts() []benchmark {
	const burst = 250
	d := delays{connect: 150 * time.Millisecond, answer: 375 * time.Millisecond}
	var benchmarks []benchmark
	for _, protocol := range []string{https1, http2} {
		turn := func(newClient func(base string) client) func() sample {
			return func() sample {
				srv := startServer(protocol, d)
				defer srv.Close()
				return sample{float64(concurrently(burst, burst, newClient(srv.URL).login))}
			}
		}
		benchmarks = append(benchmarks, benchmark{
			name: fmt.Sprintf("Cold burst, %s, %d logins at once, %v to connect and %v to answer",
				protocol, burst, d.connect, d.answer),
			format:  formatTime,
			clients: []string{"net/http by hand, bare http.Transport", thisPackage},
			round: inTurns(
				turn(func(base string) client {
					return newPlain(base, &http.Transport{ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 256})
				}),
				turn(func(base string) client { return newSession(base, nil) })),
		})
	}
	return benchmarks
}

// concurrently calls f from a number of goroutines. It returns the time until the
// last call returns.
func concurrently(goroutines, calls int, f func() error) time.Duration {
	var started atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for range goroutines {
		wg.Go(func() {
			for started.Add(1) <= int64(calls) {
				check(f())
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}
