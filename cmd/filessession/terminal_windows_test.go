package main

import "syscall"

// withoutTerminal starts a process without a console.
func withoutTerminal() *syscall.SysProcAttr { return &syscall.SysProcAttr{CreationFlags: 0x08000000} }
