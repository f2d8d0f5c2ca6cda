package filestore

import (
	"errors"
	"io/fs"
	"syscall"
)

// safeFlags is empty: open on Windows knows no such flags.
const safeFlags = 0

// isOwn reports true: on Windows the rights of the folder protect a file.
func isOwn(fs.FileInfo) bool { return true }

// isShared reports false: the mode of a file says nothing about other users.
func isShared(fs.FileInfo, fs.FileMode) bool { return false }

// isBusy reports whether a file could not be opened or replaced because another
// process has it open.
func isBusy(err error) bool {
	const sharingViolation = syscall.Errno(32)
	return errors.Is(err, sharingViolation) || errors.Is(err, syscall.ERROR_ACCESS_DENIED)
}

// isFull reports whether a disk is full.
func isFull(err error) bool {
	const handleDiskFull, diskFull = syscall.Errno(39), syscall.Errno(112)
	return errors.Is(err, handleDiskFull) || errors.Is(err, diskFull)
}

// syncFolder does nothing: Windows has no such call.
func syncFolder(string) error { return nil }
