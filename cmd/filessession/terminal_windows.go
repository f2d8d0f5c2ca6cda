package main

import (
	"os"

	"golang.org/x/sys/windows"
)

// openConsole opens the console of the process.
func openConsole() (in, out *os.File, err error) {
	if in, err = os.OpenFile("CONIN$", os.O_RDWR, 0); err != nil {
		return nil, nil, err
	}
	if out, err = os.OpenFile("CONOUT$", os.O_RDWR, 0); err != nil {
		in.Close()
		return nil, nil, err
	}
	return in, out, nil
}

// turnEchoOff turns the echo off, and returns the function that restores the console. The
// console still edits lines and sends signals.
func turnEchoOff(file *os.File) (restore func(), err error) {
	console := windows.Handle(file.Fd())
	var before uint32
	if err := windows.GetConsoleMode(console, &before); err != nil {
		return nil, err
	}
	hidden := before&^windows.ENABLE_ECHO_INPUT | windows.ENABLE_PROCESSED_INPUT | windows.ENABLE_LINE_INPUT
	if err := windows.SetConsoleMode(console, hidden); err != nil {
		return nil, err
	}
	return func() { windows.SetConsoleMode(console, before) }, nil
}

// suspensions returns channels that never receive, since Windows suspends no process.
func suspensions() (suspended, resumed <-chan os.Signal, stop func()) { return nil, nil, func() {} }

func suspend() {}
