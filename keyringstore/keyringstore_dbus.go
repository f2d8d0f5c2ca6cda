//go:build !windows && !darwin

package keyringstore

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strings"

	"github.com/godbus/dbus/v5"
	"github.com/zalando/go-keyring/secret_service"
)

const keyringName = "the Secret Service (GNOME Keyring, KWallet)"

// checkKeyring returns an error if there is no session bus, or if the keyring is there
// and says that it is locked.
func checkKeyring() error {
	if err := checkBus(); err != nil {
		return err
	}
	service, err := ss.NewSecretService()
	if err != nil {
		return nil
	}
	property, err := service.GetLoginCollection().GetProperty("org.freedesktop.Secret.Collection.Locked")
	if locked, ok := property.Value().(bool); err == nil && ok && locked {
		return errLocked
	}
	return nil
}

// checkBus returns an error if the D-Bus library would not find a session bus. It would
// then start one by dbus-launch, and leave it behind with the keyring that is started
// there. The library looks in these places and in one of Ubuntu 16.04, and not in
// XDG_RUNTIME_DIR.
func checkBus() error {
	if address := os.Getenv("DBUS_SESSION_BUS_ADDRESS"); address != "" && address != "autolaunch:" {
		return nil
	}
	u, err := user.Current()
	if err == nil {
		_, err = os.Stat("/run/user/" + u.Uid + "/bus")
	}
	if err != nil {
		return fmt.Errorf("there is no session bus: DBUS_SESSION_BUS_ADDRESS names none, and there is no /run/user/%d/bus", os.Getuid())
	}
	return nil
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
