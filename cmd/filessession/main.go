// Command filessession logs in to Files.com once, and lends the session to curl,
// scripts and programs in any language.
//
//	filessession login --site mysite --user alice
//	filessession header | curl -H @- https://mysite.files.com/api/rest/v1/folders/
//	filessession exec -- python3 report.py
//	filessession status
//	filessession logout
//
// The session is kept in the keyring of the operating system, or in a private file
// (login --store file). Settings that are not secret, such as the user name, are kept in
// accounts.json in the folder filessession under [os.UserConfigDir].
//
// Only login asks for anything. It uses the terminal itself, so that standard input and
// output are free. After a kill -9 during a prompt the terminal shows no typing; run
// stty sane. No argument, log or error holds a password, a code or a session.
//
// The exit status is 0; 1 if the command failed; 2 if the arguments are wrong; 3 if
// nobody is logged in; 130 after ^C, and 128+n after signal n. The status of exec is that
// of its program: see filessession exec --help.
package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := withSignals(context.Background())
	out := &output{file: os.Stdout}
	root := newRoot()
	root.SetOut(out)
	err := root.ExecuteContext(ctx)
	if err == nil {
		err = out.err
	}
	status := exitStatus(ctx, err)
	stop()
	var exit exitError
	if err != nil && status < 128 && !(errors.As(err, &exit) && exit.err == nil) {
		fmt.Fprintln(os.Stderr, "filessession:", visible(explain(err)))
	}
	os.Exit(status)
}

// output is standard output. It keeps the first error of a write, which cobra ignores.
type output struct {
	file *os.File
	err  error
}

func (o *output) Write(data []byte) (int, error) {
	_, err := o.file.Write(data)
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		err = pathError.Err
	}
	if err != nil && o.err == nil {
		o.err = fmt.Errorf("cannot write to standard output: %w; send the output to another place", err)
	}
	return len(data), nil
}

// exitError gives an error its exit status. If err is nil, nothing is printed.
type exitError struct {
	status int
	err    error
}

func (e exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.status)
	}
	return e.err.Error()
}

func (e exitError) Unwrap() error { return e.err }

// usageError is a mistake in the arguments.
type usageError string

func (e usageError) Error() string { return string(e) }

// notLoggedInError says that there is no session to use, and how to get one.
type notLoggedInError string

func (e notLoggedInError) Error() string { return string(e) }

func exitStatus(ctx context.Context, err error) int {
	var exit exitError
	var interrupted signalError
	var usage usageError
	var missing notLoggedInError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit) && exit.err == nil:
		return exit.status
	case errors.As(context.Cause(ctx), &interrupted):
		return 128 + int(interrupted.signal)
	case errors.As(err, &exit):
		return exit.status
	case errors.As(err, &usage):
		return 2
	case errors.As(err, &missing):
		return 3
	}
	return 1
}

// signalError is the cause of a context that a signal has ended.
type signalError struct{ signal syscall.Signal }

func (e signalError) Error() string { return "stopped by a signal: " + e.signal.String() }

// withSignals returns a context that ends at a signal, so that the program can restore
// the terminal and finish a file. A second signal ends the process at once.
func withSignals(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	received := make(chan os.Signal, 1)
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT} {
		if !signal.Ignored(s) { // as under nohup
			signal.Notify(received, s)
		}
	}
	go func() {
		if s, ok := (<-received).(syscall.Signal); ok {
			signal.Stop(received)
			cancel(signalError{s})
		}
	}()
	return ctx, func() { signal.Stop(received) }
}

// graceTime is how long a step may go on after a signal if it must not be left half done.
const graceTime = 5 * time.Second

// outlive returns a context that ends graceTime after ctx, or graceTime from now if ctx has
// ended.
func outlive(ctx context.Context) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(graceTime):
			cancel()
		case <-longer.Done():
		}
	})
	return longer, func() {
		stop()
		cancel()
	}
}
