//go:build !windows && !darwin

package keyringstore

import (
	"errors"
	"strings"

	"github.com/godbus/dbus/v5"
	"github.com/zalando/go-keyring/secret_service"
)

const keyringName = "the Secret Service (GNOME Keyring, KWallet)"

// isLocked reports whether the keyring is there and says that it is locked.
func isLocked() bool {
	service, err := ss.NewSecretService()
	if err != nil {
		return false
	}
	property, err := service.GetLoginCollection().GetProperty("org.freedesktop.Secret.Collection.Locked")
	locked, ok := property.Value().(bool)
	return err == nil && ok && locked
}

// explain returns the remedy for an error.
func explain(err error) string {
	var answer dbus.Error
	switch {
	case !errors.As(err, &answer) && strings.HasPrefix(err.Error(), "failed to unlock"):
		return "unlock it, or make a default keyring"
	case !errors.As(err, &answer):
		return "run this program in a desktop session or by dbus-run-session"
	case strings.HasPrefix(answer.Name, "org.freedesktop.DBus.Error.Spawn"):
		return "start it"
	}
	switch answer.Name {
	case "org.freedesktop.Secret.Error.IsLocked":
		return "unlock it"
	case "org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.NameHasNoOwner":
		return "start it, for example by gnome-keyring-daemon"
	}
	return "look whether the keyring works in other programs"
}
