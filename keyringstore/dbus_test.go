//go:build !windows && !darwin

package keyringstore_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/filescom/session/autologin"
	"github.com/filescom/session/keyringstore"
	"github.com/godbus/dbus/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const service, user = "https://mysite.files.com", "alice"

// Each test of a Secret Service runs in a process of its own, on a D-Bus of its own.
func TestTheStoreKeepsItsContractInASecretService(t *testing.T) {
	t.Parallel()
	onBus(t, func() {
		startKeyring(t)
		testContract(t, service)
	})
}

func TestASecretServiceThatIsLockedFailsAtOnce(t *testing.T) {
	t.Parallel()
	onBus(t, func() {
		startKeyring(t)
		l := lock(t, keyringstore.New(service, user))
		require.NoError(t, l.Save(t.Context(), []byte("record"), 0))
		l.Unlock()
		bus, err := dbus.SessionBus()
		require.NoError(t, err)
		require.NoError(t, bus.Object("org.freedesktop.secrets", "/org/freedesktop/secrets").Call("org.freedesktop.Secret.Service.Lock", 0,
			[]dbus.ObjectPath{"/org/freedesktop/secrets/collection/login"}).Err)
		assertFails(t, time.Second, "the keyring is locked; unlock it, for example by logging in to the desktop, or keep the session in a file by filestore")
	})
}

func TestASecretServiceWithoutAKeyringFailsAtOnce(t *testing.T) {
	t.Parallel()
	onBus(t, func() {
		assertFails(t, 2*time.Second, "; unlock it, or make a default keyring, or keep the session in a file by filestore")
	})
}

func TestASecretServiceThatIsAbsentFailsAtOnce(t *testing.T) {
	t.Parallel()
	config := filepath.Join(t.TempDir(), "bus.conf")
	require.NoError(t, os.WriteFile(config, []byte(`<busconfig>
		<type>session</type>
		<listen>unix:tmpdir=/tmp</listen>
		<policy context="default"><allow send_destination="*"/><allow own="*"/><allow receive_sender="*"/></policy>
	</busconfig>`), 0o600))
	onBus(t, func() {
		assertFails(t, time.Second, "; start it, for example by gnome-keyring-daemon, or keep the session in a file by filestore")
	}, "--config-file", config)
}

func TestASystemWithoutDBusFailsAtOnce(t *testing.T) {
	t.Parallel()
	inProcess(t, func() {
		assertFails(t, time.Second, "; run this program in a desktop session or by dbus-run-session, or keep the session in a file by filestore")
	}, nil, "DBUS_SESSION_BUS_ADDRESS=unix:path=/nonexistent")
}

func TestASystemWithoutASessionBusFailsAndStartsNone(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat(fmt.Sprintf("/run/user/%d/bus", os.Getuid())); err == nil {
		t.Skip("this user has a session bus at the place where D-Bus looks for it")
	}
	for name, address := range map[string]string{"without an address": "", "with the address of none": "autolaunch:"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			folder := t.TempDir()
			started := filepath.Join(folder, "started")
			require.NoError(t, os.WriteFile(filepath.Join(folder, "dbus-launch"), []byte("#!/bin/sh\n: >'"+started+"'\n"), 0o700))
			defer assert.NoFileExists(t, started, "dbus-launch was started")
			inProcess(t, func() {
				assertFails(t, time.Second, fmt.Sprintf("there is no session bus: DBUS_SESSION_BUS_ADDRESS names none, and there is no /run/user/%d/bus; "+
					"run this program in a desktop session or by dbus-run-session, or keep the session in a file by filestore", os.Getuid()))
			}, nil, "DBUS_SESSION_BUS_ADDRESS="+address, "PATH="+folder+":"+os.Getenv("PATH"))
		})
	}
}

func TestASecretServiceThatHangsFailsWithin5Seconds(t *testing.T) {
	t.Parallel()
	onBus(t, func() {
		daemon := startKeyring(t)
		store := keyringstore.New(service, user)
		l := lock(t, store)
		require.NoError(t, l.Save(t.Context(), []byte("first"), 0))
		require.NoError(t, daemon.Signal(syscall.SIGSTOP))

		start := time.Now()
		err := l.Save(context.Background(), []byte("late"), 0)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.InDelta(t, 5, time.Since(start).Seconds(), 0.5)
		assert.ErrorContains(t, err, "the keyring does not answer: look whether a window asks for its password")

		start = time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err = store.Load(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		l.Unlock()
		assert.Less(t, time.Since(start), time.Second)
		_, err = store.TryLock(t.Context())
		require.ErrorIs(t, err, autologin.ErrLocked, "the call of Save still runs, and could replace another record")
		require.ErrorIs(t, l.Save(t.Context(), []byte("later"), 0), autologin.ErrLockLost)

		require.NoError(t, daemon.Signal(syscall.SIGCONT))
		require.Eventually(t, func() bool {
			next, err := store.TryLock(t.Context())
			if err == nil {
				next.Unlock()
			}
			return err == nil
		}, 10*time.Second, 10*time.Millisecond)
		record, err := store.Load(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "late", string(record))
	})
}

// assertFails checks that every use of the keyring fails soon, with an error that
// names the keyring and ends in remedy.
func assertFails(t *testing.T, soon time.Duration, remedy string) {
	t.Helper()
	store := keyringstore.New(service, user)
	l := lock(t, store)
	start := time.Now()
	_, err := store.Load(t.Context())
	for verb, err := range map[string]error{"load": err, "save": l.Save(t.Context(), []byte("canary"), 0), "remove": l.Remove(t.Context())} {
		if assert.Error(t, err) {
			assert.Contains(t, err.Error(), "cannot "+verb+` the session of user "alice" for service "https://mysite.files.com" in the Secret Service (GNOME Keyring, KWallet): `)
			assert.Contains(t, err.Error(), remedy)
			assert.NotContains(t, err.Error(), "canary")
		}
	}
	assert.Less(t, time.Since(start), soon)
}

// startKeyring starts an unlocked keyring until the test ends.
func startKeyring(t *testing.T) *os.Process {
	t.Helper()
	cmd := exec.Command(program(t, "gnome-keyring-daemon"), "--foreground", "--unlock", "--components=secrets")
	cmd.Stdin = strings.NewReader("the password of the keyring\n")
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	bus, err := dbus.SessionBus()
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		var owned bool
		err := bus.BusObject().Call("org.freedesktop.DBus.NameHasOwner", 0, "org.freedesktop.secrets").Store(&owned)
		return err == nil && owned
	}, 10*time.Second, 10*time.Millisecond)
	return cmd.Process
}

// program returns the path of a program. A test without it is skipped, except in
// CI, which must install all of them.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil && os.Getenv("CI") == "true" {
		t.Fatalf("%s is not installed; CI must install it", name)
	}
	if err != nil {
		t.Skipf("%s is not installed; install it to run this test", name)
	}
	return path
}

// onBus runs f in a process with a D-Bus of its own.
func onBus(t *testing.T, f func(), options ...string) {
	t.Helper()
	program(t, "gnome-keyring-daemon")
	inProcess(t, f, append([]string{program(t, "dbus-run-session")}, append(options, "--")...))
}

// inProcess runs f in a process of its own, by the test of the same name there. The
// process is the argument of command, and has the variables of env.
func inProcess(t *testing.T, f func(), command []string, env ...string) {
	t.Helper()
	if os.Getenv("KEYRINGSTORE_REAL") != "" {
		f()
		return
	}
	home, err := os.MkdirTemp("", "ks") // short, since a socket of the keyring is in it
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(home) })
	command = append(command, os.Args[0], "-test.v", "-test.run", "^"+regexp.QuoteMeta(t.Name())+"$")
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = append(os.Environ(), append([]string{"KEYRINGSTORE_REAL=1", "HOME=" + home, "DISPLAY=",
		"XDG_RUNTIME_DIR=" + home, "XDG_CONFIG_HOME=" + home, "XDG_DATA_HOME=" + home, "XDG_CACHE_HOME=" + home}, env...)...)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "--- PASS: "+t.Name(), "%s", out)
}
