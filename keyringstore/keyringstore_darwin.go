package keyringstore

import (
	"errors"
	"os/exec"
)

const keyringName = "the login keychain"

// checkKeyring returns nil: if the keychain is locked, the program "security" asks for
// the password, or fails if there is nobody to ask.
func checkKeyring() error { return nil }

// explain returns the remedy for an error. The exit code of the program "security" is
// the last byte of the error of the keychain.
func explain(err error) string {
	const interactionNotAllowed, authFailed, userCanceled = 36, 51, 128
	const noDefaultKeychain, notAvailable = 37, 53
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return "look whether the keyring works in other programs"
	}
	switch exit.ExitCode() {
	case interactionNotAllowed, authFailed, userCanceled:
		return "unlock it by: security unlock-keychain"
	case noDefaultKeychain, notAvailable:
		return "make a default keychain in Keychain Access"
	}
	return "look whether the keyring works in other programs"
}
