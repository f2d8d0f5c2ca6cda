//go:build unix

package filestore

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// safeFlags make open fail on a symbolic link, and not wait for the other end of a
// named pipe: a file can be replaced between its check and its opening.
const safeFlags = syscall.O_NOFOLLOW | syscall.O_NONBLOCK

// isOwn reports whether a file belongs to the user of this process.
func isOwn(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid()
}

// isShared reports whether a file has one of the bits of its mode.
func isShared(info fs.FileInfo, bits fs.FileMode) bool { return info.Mode().Perm()&bits != 0 }

// isBusy reports whether another process has a file open, which is no obstacle here.
func isBusy(error) bool { return false }

// isFull reports whether a disk or a quota is full.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// syncFolder makes the names in a folder last.
func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
