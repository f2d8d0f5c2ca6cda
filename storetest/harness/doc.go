// Package harness tests that processes share a session by a Store: real processes
// over a real backend, which are killed, stopped and refused at random moments. The
// fake server counts the logins.
//
//	go test -v .                       all backends, a few seconds for each rule
//	go test -v . -endings 60 -seed 7   a longer run, other moments
//
// The tests print a table of their counts. To add a backend, add an entry to
// the table of backends: a function that opens a Store by an address, and one that
// returns a new address.
package harness
