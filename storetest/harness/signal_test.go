//go:build unix

package harness

import (
	"os"
	"syscall"
	"time"
)

// kill ends this process as kill -9 does.
func kill() { syscall.Kill(os.Getpid(), syscall.SIGKILL) }

// stopSelf stops this process until it gets SIGCONT. Another thread may take the
// signal, so this one waits for it.
func stopSelf() {
	syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	time.Sleep(100 * time.Millisecond)
}
