package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// terminal is the terminal of the user. Standard input and output may be others.
type terminal struct {
	in, out *os.File
	restore func() // turns the echo on again; nil while it is on
}

var errNoInput = errors.New("the input ended before a line was typed; run the command again")

// openTerminal returns an error if the process has no terminal.
func openTerminal() (*terminal, error) {
	in, out, err := openConsole()
	if err != nil {
		return nil, errors.New("there is no terminal to ask for the password; give --password-file F, or --password-file - for standard input")
	}
	return &terminal{in: in, out: out}, nil
}

// say prints a line.
func (t *terminal) say(text string) { fmt.Fprintln(t.out, text) }

// ask asks for a line and does not show it. It asks again if the line is empty. The
// echo is on again when ask returns, and while the process is suspended.
func (t *terminal) ask(ctx context.Context, prompt string) (string, error) {
	for {
		line, err := t.askOnce(ctx, prompt)
		if err != nil || line != "" {
			return line, err
		}
		t.say("The line is empty. Type it again, or press Ctrl-C to stop.")
	}
}

func (t *terminal) askOnce(ctx context.Context, prompt string) (string, error) {
	suspended, resumed, stop := suspensions()
	defer stop()
	if err := t.hide(); err != nil {
		return "", fmt.Errorf("cannot turn the echo of the terminal off: %w", err)
	}
	defer func() {
		t.show()
		fmt.Fprintln(t.out) // the terminal does not show the line end of the user
	}()
	fmt.Fprint(t.out, prompt)
	type answer struct {
		line string
		err  error
	}
	typed := make(chan answer, 1)
	go func() { // nothing can cancel a read of a terminal; the process ends soon after ctx
		line, err := readLine(t.in)
		typed <- answer{line, err}
	}()
	for {
		select {
		case a := <-typed:
			if a.err == nil {
				return a.line, nil
			}
			select { // a signal, such as that of ^C on Windows, may end the read first
			case <-ctx.Done():
				return "", context.Cause(ctx)
			case <-time.After(100 * time.Millisecond):
				return "", a.err
			}
		case <-ctx.Done():
			return "", context.Cause(ctx)
		case <-suspended:
			t.show()
			suspend() // returns when the process is resumed
		case <-resumed:
			t.show()
			if err := t.hide(); err != nil {
				return "", fmt.Errorf("cannot turn the echo of the terminal off: %w", err)
			}
			fmt.Fprint(t.out, prompt)
		}
	}
}

// hide turns the echo off.
func (t *terminal) hide() (err error) {
	t.restore, err = turnEchoOff(t.in)
	return err
}

// show turns the echo on again if it is off.
func (t *terminal) show() {
	if t.restore != nil {
		t.restore()
		t.restore = nil
	}
}

// readLine reads a line without its end. The end of the input is an error, also in the
// middle of a line.
func readLine(r io.Reader) (string, error) {
	var line []byte
	buffer := make([]byte, 4096)
	for {
		n, err := r.Read(buffer) // a terminal returns one line at most
		line = append(line, buffer[:n]...)
		if text, _, found := bytes.Cut(line, []byte("\n")); found {
			return strings.TrimPrefix(strings.TrimSuffix(string(text), "\r"), byteOrderMark), nil
		}
		if err == io.EOF || err == nil && n == 0 {
			return "", errNoInput
		}
		if err != nil {
			return "", fmt.Errorf("cannot read from the terminal: %w", err)
		}
	}
}
