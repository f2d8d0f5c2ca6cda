package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/filescom/session"
	"github.com/spf13/cobra"
)

// The exit statuses of exec are those of env, nohup and timeout.
const (
	execFailed     = 125
	notExecutable  = 126
	notFound       = 127
	killedBySignal = 128 // and the number of the signal
)

func newExec(selected *selection) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "exec [--site S | --url U] [--user N] -- PROGRAM ARG…",
		Short: "Run a program that uses the session",
		Long: `exec runs a program with the session in its environment:

  FILES_SESSION_ID   goes into the header X-FilesAPI-Auth
  FILES_BASE_URL     the origin of the site, such as https://mysite.files.com
  FILES_USER_AGENT   goes into the header User-Agent

If the session has ended, exec logs in again by the files of the last login.

The exit status is that of the program; 128+n if signal n ended it; 127 if there
is no such program; 126 if it cannot be executed; 125 if exec itself failed, for
example because nobody is logged in. The program gets the signals of exec.

For curl, use filessession header: it keeps the session out of argument lists.`,
		Example: `  filessession exec -- python3 report.py
  filessession exec --user backup -- sh -c 'echo "$FILES_BASE_URL"'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return exitError{execFailed, usageError("exec requires a program; run: filessession exec -- PROGRAM ARG…")}
			}
			s, err := selected.session(cmd.Context())
			if err != nil {
				return exitError{execFailed, err}
			}
			return runProgram(cmd.Context(), s, args)
		},
	}
	cmd.Flags().SetInterspersed(false) // the flags after PROGRAM are its own
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return exitError{execFailed, flagError(cmd, err)}
	})
	return cmd
}

// runProgram runs a program to its end. The error gives its exit status.
func runProgram(ctx context.Context, s *session.Session, args []string) error {
	path, err := exec.LookPath(args[0])
	if err != nil {
		return cannotRun(args[0], err)
	}
	program := exec.Command(path, args[1:]...)
	program.Args[0] = args[0]
	program.Env = append(os.Environ(),
		"FILES_SESSION_ID="+s.ID, "FILES_BASE_URL="+s.BaseURL, "FILES_USER_AGENT="+s.UserAgent)
	program.Stdin, program.Stdout, program.Stderr = os.Stdin, os.Stdout, os.Stderr
	received := make(chan os.Signal, 16)
	signal.Notify(received, passedOn()...)
	defer signal.Stop(received)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := program.Start(); err != nil {
		return cannotRun(args[0], err)
	}
	ended := make(chan struct{})
	go passSignalsOn(program.Process, received, ended)
	err = program.Wait()
	close(ended)
	return programError(args[0], err)
}

// passSignalsOn sends signals to a process, except those that it has got already.
func passSignalsOn(process *os.Process, received <-chan os.Signal, ended <-chan struct{}) {
	for {
		select {
		case s := <-received:
			if !sentToBoth(s) {
				process.Signal(s)
			}
		case <-ended:
			return
		}
	}
}

// programError returns the exit status of a program that has ended.
func programError(name string, err error) error {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &exit):
		return exitError{execFailed, fmt.Errorf("cannot run %q: %w", name, err)}
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return exitError{status: killedBySignal + int(status.Signal())}
	}
	return exitError{status: exit.ExitCode()}
}

// cannotRun returns the error of a program that could not be started.
func cannotRun(name string, err error) error {
	var execError *exec.Error
	var pathError *fs.PathError
	status, cause := notExecutable, err
	switch {
	case errors.As(err, &pathError):
		cause = pathError.Err
	case errors.As(err, &execError):
		cause = execError.Err
	}
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		status = notFound
	}
	return exitError{status, fmt.Errorf("cannot run %q: %w", name, cause)}
}
