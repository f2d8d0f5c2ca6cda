package main

import "os"

// passedOn returns the signals that are caught while a program of exec runs.
func passedOn() []os.Signal { return []os.Signal{os.Interrupt} }

// sentToBoth reports whether the program got the signal as well: the console sends ^C
// to all its processes.
func sentToBoth(os.Signal) bool { return true }
