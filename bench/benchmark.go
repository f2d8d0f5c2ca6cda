package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// A benchmark compares clients. The first client is the baseline.
type benchmark struct {
	name    string
	format  func(result float64) string
	clients []string
	round   func() []sample // one sample of each client
}

// A sample holds a result. It may also hold the number of bytes and the number
// of allocations of a call.
type sample []float64

const maxFigures = 3 // in a sample

// inTurns returns a round in which each client takes its turn, in shuffled order.
func inTurns(turns ...func() sample) func() []sample {
	return func() []sample {
		samples := make([]sample, len(turns))
		for _, i := range rand.Perm(len(turns)) {
			samples[i] = turns[i]()
		}
		return samples
	}
}

// perCall measures the time in nanoseconds and the allocations of a call to f.
func perCall(f func() error) sample {
	r := testing.Benchmark(func(b *testing.B) {
		for range b.N {
			check(f())
		}
	})
	n := float64(r.N)
	return sample{float64(r.T) / n, float64(r.MemBytes) / n, float64(r.MemAllocs) / n}
}

func printHeader() {
	fmt.Println("| Benchmark | Client | Result | Bytes per call | Allocations per call | Result ÷ first client | Result ÷ official SDK |")
	fmt.Println("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
}

// run runs the rounds. Then it prints a table row for each client.
func (b benchmark) run(rounds int) {
	all := make([][]sample, rounds) // by round and client
	for i := range all {
		all[i] = b.round()
	}
	for i, client := range b.clients {
		row := []string{b.name, client, b.format(median(all, func(s []sample) float64 { return s[i][0] }))}
		for figure := 1; figure < maxFigures; figure++ {
			cell := ""
			if figure < len(all[0][i]) {
				cell = fmt.Sprintf("%.0f", median(all, func(s []sample) float64 { return s[i][figure] }))
			}
			row = append(row, cell)
		}
		for _, other := range []int{0, slices.Index(b.clients, officialSDK)} {
			cell := ""
			if other >= 0 {
				cell = fmt.Sprintf("%.2f", median(all, func(s []sample) float64 { return s[i][0] / s[other][0] }))
			}
			row = append(row, cell)
		}
		fmt.Println("| " + strings.Join(row, " | ") + " |")
	}
}

// median returns the median over the rounds of a figure.
func median(rounds [][]sample, figure func(round []sample) float64) float64 {
	values := make([]float64, len(rounds))
	for i, round := range rounds {
		values[i] = figure(round)
	}
	slices.Sort(values)
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}

// formatTime formats a number of nanoseconds.
func formatTime(ns float64) string {
	if ns < 1e3 {
		return fmt.Sprintf("%.1f ns", ns)
	}
	if ns < 1e6 {
		return fmt.Sprintf("%.1f µs", ns/1e3)
	}
	return fmt.Sprintf("%.1f ms", ns/1e6)
}

func formatRate(perSecond float64) string { return fmt.Sprintf("%.0f logins/s", perSecond) }

func formatSize(bytes float64) string { return fmt.Sprintf("%.0f bytes", bytes) }
