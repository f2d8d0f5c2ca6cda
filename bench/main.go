//go:debug x509usefallbackroots=1

// Command bench measures package session against a net/http client written by
// hand and against the official SDK, and prints a Markdown table.
//
//	go run . [-run regexp] [-rounds 10] [-logins 10000] [-test.benchtime 100ms]
//
// In each round of a benchmark the clients take turns in shuffled order. The
// table holds the median of each figure over the rounds. Its ratios are medians
// of the ratios within a round. The flag -test.benchtime sets the duration of a
// turn without a network.
//
// All traffic stays on the loopback device. The servers run in this process.
package main

import (
	"flag"
	"log"
	"os"
	"regexp"
	"slices"
	"testing"
)

var (
	run    = flag.String("run", "", "run only the benchmarks whose names match this `regexp`")
	rounds = flag.Int("rounds", 10, "number of rounds of each benchmark")
	logins = flag.Int("logins", 10_000, "number of logins in a turn of the gateway benchmark")
)

func main() {
	log.SetFlags(0)
	testing.Init()
	check(flag.Set("test.benchtime", "100ms"))
	flag.Parse()
	selected, err := regexp.Compile(*run)
	check(err)
	if flag.NArg() > 0 || *rounds < 1 || *logins < 1 {
		log.Fatal("bench: -rounds and -logins must be at least 1, and only flags are accepted")
	}
	trustTestServers()
	folder := must(os.MkdirTemp("", "bench"))
	defer os.RemoveAll(folder)

	printHeader()
	for _, b := range slices.Concat(noNetwork(), loopback(), gateway(), coldBursts(), sessionSource(), sharedSource(folder), manySources(folder), idleSource()) {
		if selected.MatchString(b.name) {
			b.run(*rounds)
		}
	}
}

// must returns v if err is nil. Otherwise it ends the program.
func must[T any](v T, err error) T {
	check(err)
	return v
}

func check(err error) {
	if err != nil {
		log.Fatalf("bench: %v", err)
	}
}
