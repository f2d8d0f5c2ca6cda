package main

import (
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// programs is the contest of the programs in login and official, stripped: what
// they weigh, and how they start when they have nothing to do.
func programs() []contest {
	return []contest{{
		name:     "program",
		rounds:   1,
		columns:  []string{"MB", "start ms", "modules", "packages", "inits"},
		compared: 2,
		contenders: []contender{
			{"official", func() []float64 { return weigh("official", "github.com/Files-com/files-sdk-go/") }},
			{"session", func() []float64 { return weigh("login", "github.com/filescom/session") }},
		},
	}}
}

// weigh builds a program and measures it. Its modules are those that it links
// beside its own, its inits the packages that work at the start, of which those
// of the module own are printed.
func weigh(name, own string) []float64 {
	dir := must(os.MkdirTemp("", "bench-"))
	defer os.RemoveAll(dir)
	exe := filepath.Join(dir, name)
	output("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", exe, "./"+name)
	packages := output("go", "list", "-deps", "./"+name)

	start := func(int) float64 {
		began := time.Now()
		exec.Command(exe).Run() // fails, for want of arguments
		return ms(time.Since(began))
	}
	var trace strings.Builder
	traced := exec.Command(exe)
	traced.Env, traced.Stderr = append(os.Environ(), "GODEBUG=inittrace=1"), &trace
	traced.Run()
	for line := range strings.Lines(trace.String()) {
		if strings.HasPrefix(line, "init "+own) {
			fmt.Print("\n", line)
		}
	}

	return []float64{
		float64(must(os.Stat(exe)).Size()) / 1e6,
		median(20, start),
		float64(len(must(buildinfo.ReadFile(exe)).Deps)),
		float64(strings.Count(packages, "\n")),
		float64(strings.Count(trace.String(), "init ")),
	}
}

// output runs a command and returns what it prints.
func output(name string, args ...string) string {
	cmd := exec.Command(name, args...)
	cmd.Stderr = os.Stderr
	return string(must(cmd.Output()))
}
