package main

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/filescom/session"
)

// gateways are the contests of many users who log in at a time, each way by the
// transport that it has by default.
func gateways() []contest {
	var contests []contest
	for _, protocol := range []string{http1, https1, http2} {
		for _, latency := range []time.Duration{0, 20 * time.Millisecond} {
			for _, goroutines := range []int{64, 256, 1024} {
				c := contest{
					name:     fmt.Sprintf("gateway, %s, %d goroutines, %v", protocol, goroutines, latency),
					rounds:   *gatewayRounds,
					columns:  slices.Concat([]string{"logins/s", "p99 ms", "p50 ms", "errors", "peak MB"}, counted),
					compared: 2,
				}
				for _, w := range ways(session.DefaultBaseURL, nil) {
					c.contenders = append(c.contenders, contender{w.name, func() []float64 {
						s := serve(protocol, latency)
						defer s.Close()
						return slices.Concat(s.client("gateway", w.name, strconv.Itoa(goroutines)), s.counts())
					}})
				}
				contests = append(contests, c)
			}
		}
	}
	return contests
}

// gateway logs users in at a server in one way by many goroutines.
func gateway(args []string) []float64 {
	logIn := wayOf(args[1], args[0], nil).call["Create"]
	took := make([]time.Duration, *logins)
	var next, failed atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for range must(strconv.Atoi(args[2])) {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(took)); i = next.Add(1) - 1 {
				start := time.Now()
				if logIn() != nil {
					failed.Add(1)
				}
				took[i] = time.Since(start)
			}
		})
	}
	wg.Wait()
	all := time.Since(start)
	slices.Sort(took)
	return []float64{
		float64(len(took)) / all.Seconds(),
		ms(took[len(took)*99/100]), ms(took[len(took)/2]),
		float64(failed.Load()),
		peak(),
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// peak returns the most memory that this process had resident, in MB. getrusage
// would tell the parent's if that is more.
func peak() float64 {
	status, _ := os.ReadFile("/proc/self/status")
	_, value, _ := bytes.Cut(status, []byte("VmHWM:"))
	var kB float64
	fmt.Sscan(string(value), &kB)
	return kB / 1024
}
