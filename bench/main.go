// Command bench measures package session against its peers in one run: the
// contenders of a contest take turns in shuffled order, and the medians are
// printed. Ratios to the first and the last contender are medians too, of
// ratios within a round, where the machine is the same.
//
//	go run . [-run regexp] [-rounds 10] [-benchtime 100ms] [-gateway-rounds 3] [-logins 10000] [-sources 100000]
//
// All traffic stays on the loopback device, between this process, which serves,
// and the clients', one for each turn. Only on Linux do these trust its
// certificate and tell their peak of memory.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"testing"
)

// contest is a table: what each contender measures, in turns.
type contest struct {
	name       string
	rounds     int
	columns    []string
	compared   int // the first columns, which get ratios too
	contenders []contender
}

type contender struct {
	name string
	turn func() []float64 // by column
}

var (
	run           = flag.String("run", "", "hold only the contests whose names match")
	rounds        = flag.Int("rounds", 10, "how many turns each contender takes")
	benchtime     = flag.String("benchtime", "100ms", "how long a turn of one call after another is")
	gatewayRounds = flag.Int("gateway-rounds", 3, "how many turns each contender takes as a gateway")
	logins        = flag.Int("logins", 10_000, "how many users log in through a gateway")
	sources       = flag.Int("sources", 100_000, "how many idle users are kept logged in")
)

// children are the turns that are taken in a process of their own.
var children = map[string]func(args []string) []float64{"visit": visit, "gateway": gateway, "heap": heap}

func main() {
	testing.Init()
	flag.Parse()
	check(flag.Set("test.benchtime", *benchtime))
	if turn, ok := children[flag.Arg(0)]; ok {
		check(json.NewEncoder(os.Stdout).Encode(turn(flag.Args()[1:])))
		return
	}
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "what is %q? Only flags are known, see -help\n", flag.Arg(0))
		os.Exit(2)
	}
	wanted := regexp.MustCompile(*run)
	for _, c := range slices.Concat(calls(), cached(), shared(), idle(), gateways(), programs()) {
		if wanted.MatchString(c.name) {
			c.hold()
		}
	}
}

// child takes a turn in a fresh process, with env in its environment.
func child(env []string, args ...string) []float64 {
	cmd := exec.Command(must(os.Executable()), slices.Concat(os.Args[1:], args)...)
	cmd.Env, cmd.Stderr = append(os.Environ(), env...), os.Stderr
	var measured []float64
	check(json.Unmarshal(must(cmd.Output()), &measured))
	return measured
}

// hold has the contenders take their turns and prints the table.
func (c contest) hold() {
	turns := make([][][]float64, len(c.contenders)) // by contender, round and column
	for range c.rounds {
		for _, i := range rand.Perm(len(turns)) {
			turns[i] = append(turns[i], c.contenders[i].turn())
		}
	}
	rivals := []int{0, len(turns) - 1}
	fmt.Printf("\n%s\n%26s", c.name, "")
	for column, title := range c.columns {
		fmt.Printf("%11s", title)
		if column < c.compared {
			fmt.Printf("%11s%11s", "× "+c.contenders[rivals[0]].name, "× "+c.contenders[rivals[1]].name)
		}
	}
	fmt.Println()
	for i, cont := range c.contenders {
		fmt.Printf("  %-24s", cont.name)
		for column := range c.columns {
			fmt.Printf("%11s", short(median(c.rounds, func(round int) float64 { return turns[i][round][column] })))
			if column < c.compared {
				for _, rival := range rivals {
					fmt.Printf("%11.2f", median(c.rounds, func(round int) float64 {
						return turns[i][round][column] / turns[rival][round][column]
					}))
				}
			}
		}
		fmt.Println()
	}
}

// median of f(0) to f(n-1).
func median(n int, f func(int) float64) float64 {
	all := make([]float64, n)
	for i := range all {
		all[i] = f(i)
	}
	slices.Sort(all)
	return (all[(n-1)/2] + all[n/2]) / 2
}

// short writes a number as a whole one if it is large or is one.
func short(v float64) string {
	if v >= 100 || v == math.Trunc(v) {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func must[T any](v T, err error) T {
	check(err)
	return v
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
