package keyringstore

import (
	"errors"
	"syscall"
)

const keyringName = "the Credential Manager"

// checkKeyring returns nil: the Credential Manager is open while its user is logged in.
func checkKeyring() error { return nil }

// explain returns the remedy for an error.
func explain(err error) string {
	const noSuchLogonSession = syscall.Errno(1312)
	if errors.Is(err, noSuchLogonSession) {
		return "run this program as a user who is logged in"
	}
	return "look whether the keyring works in other programs"
}
