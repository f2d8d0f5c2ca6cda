//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// openConsole opens the terminal that controls the process.
func openConsole() (in, out *os.File, err error) {
	file, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	return file, file, err
}

// turnEchoOff turns the echo off, and returns the function that restores the terminal. The
// terminal still edits lines and sends signals.
func turnEchoOff(file *os.File) (restore func(), err error) {
	fd := int(file.Fd())
	before, err := unix.IoctlGetTermios(fd, getTermios)
	if err != nil {
		return nil, err
	}
	hidden := *before
	hidden.Lflag &^= unix.ECHO | unix.ECHONL
	hidden.Lflag |= unix.ICANON | unix.ISIG
	hidden.Iflag |= unix.ICRNL
	if err := set(fd, &hidden); err != nil {
		return nil, err
	}
	return func() { set(fd, before) }, nil
}

// set changes the terminal. A process in the background waits here for its turn.
func set(fd int, termios *unix.Termios) error {
	for {
		if err := unix.IoctlSetTermios(fd, setTermios, termios); err != unix.EINTR {
			return err
		}
	}
}

// suspensions returns channels that receive when the user suspends the process (^Z),
// and when it is resumed.
func suspensions() (suspended, resumed <-chan os.Signal, stop func()) {
	suspend, resume := make(chan os.Signal, 1), make(chan os.Signal, 1)
	if !signal.Ignored(syscall.SIGTSTP) && canBeResumed() {
		signal.Notify(suspend, syscall.SIGTSTP)
	}
	signal.Notify(resume, syscall.SIGCONT)
	return suspend, resume, func() {
		signal.Stop(suspend)
		signal.Stop(resume)
	}
}

// canBeResumed reports whether the parent is in the same session, as a shell is. The
// system does not suspend a process that no shell can resume.
func canBeResumed() bool {
	own, err := unix.Getsid(0)
	parent, parentErr := unix.Getsid(os.Getppid())
	return err == nil && parentErr == nil && own == parent
}

// suspend stops the process until it is resumed.
func suspend() { syscall.Kill(syscall.Getpid(), syscall.SIGSTOP) }
