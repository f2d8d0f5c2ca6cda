package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAFullDiskPostsNoLogin(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	require.NoError(t, os.Mkdir(f.path("config"), 0o700))
	if err := syscall.Mount("tmpfs", f.path("config"), "tmpfs", 0, "size=256k,mode=0700"); err != nil {
		t.Skipf("this user cannot mount a small disk: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(f.path("config"), syscall.MNT_DETACH) })

	fill(t, f.path("config/large"))
	for range 2 {
		_, stderr, status := f.run("login", "--url", f.URL, "--user", "alice", "--store", "file", "--password-file", "password")
		assert.Equal(t, 1, status)
		assert.Contains(t, stderr, "cannot save the list of accounts in ")
		assert.Contains(t, stderr, "no space left on device; make room on the disk")
	}
	assert.Empty(t, f.Requests())

	require.NoError(t, os.Remove(f.path("config/large")))
	f.logIn(t, "alice")
	fill(t, f.path("config/large"))
	_, _, status := f.run("login", "--password-file", "password")
	assert.Equal(t, 1, status)
	_, stderr, status := f.run("status")
	assert.Zero(t, status, stderr)
	assert.Equal(t, 1, f.Counts().Logins)

	f.ExpireUser("alice")
	for range 2 {
		_, stderr, status = f.run("header")
		assert.Equal(t, 1, status)
		assert.Contains(t, stderr, "make room on the disk")
	}
	assert.Equal(t, 1, f.Counts().Logins)
	require.NoError(t, os.Remove(f.path("config/large")))
	_, stderr, status = f.run("header")
	assert.Zero(t, status, stderr)
}

// fill makes a file that takes the rest of the disk.
func fill(t *testing.T, name string) {
	t.Helper()
	file, err := os.Create(name)
	require.NoError(t, err)
	defer file.Close()
	for err == nil {
		_, err = file.Write(make([]byte, 4096))
	}
	require.True(t, errors.Is(err, syscall.ENOSPC), err)
}

func TestOutputThatCannotBeWrittenIsAnError(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.logIn(t, "alice")
	for _, args := range [][]string{{"--help"}, {"login", "--help"}, {}, {"completion", "bash"}, {"status"}, {"status", "--json"}, {"header"}} {
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		require.NoError(t, err)
		var stderr bytes.Buffer
		cmd := f.command(args...)
		cmd.Stdout, cmd.Stderr = full, &stderr
		assert.Error(t, cmd.Run())
		full.Close()
		assert.Equal(t, 1, cmd.ProcessState.ExitCode())
		assert.Equal(t, "filessession: cannot write to standard output: no space left on device; send the output to another place\n", stderr.String())
	}
}

func TestNoArgumentListHoldsASecret(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, method := range []string{"POST", "GET", "DELETE"} {
		slow := faultOf(method, 50*time.Millisecond)
		slow.Times = -1
		f.Inject(slow)
	}
	stop, found := make(chan struct{}), make(chan []string)
	go func() { found <- argumentLists(stop) }()
	s := f.login(t, "totp")
	s.await("Password of")
	s.enter(password + "\n")
	s.await("Code (")
	s.enter(code + "\n")
	require.Zero(t, s.status())
	id := f.Sessions()[0]
	for _, args := range [][]string{{"status"}, {"header"}, {"exec", "--", "sleep", "0.1"}, {"logout"}} {
		_, stderr, status := f.run(args...)
		require.Zero(t, status, stderr)
	}
	close(stop)
	lists := <-found
	assert.Contains(t, strings.Join(lists, "\n"), "filessession\x00logout", "the lists are those of this test")
	for _, list := range lists {
		for _, secret := range []string{password, code, id} {
			assert.NotContains(t, list, secret)
		}
	}
}

// argumentLists returns the argument lists of all processes until stop is closed.
func argumentLists(stop <-chan struct{}) []string {
	seen := map[string]bool{}
	for {
		names, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, name := range names {
			if data, err := os.ReadFile(name); err == nil {
				seen[string(data)] = true
			}
		}
		select {
		case <-stop:
			var lists []string
			for list := range seen {
				lists = append(lists, list)
			}
			return lists
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// startKeyring starts a keyring until the test ends. The programs of the fixture use it.
func (f *fixture) startKeyring(t *testing.T) {
	t.Helper()
	requirePrograms(t, "dbus-run-session", "dbus-send", "gnome-keyring-daemon")
	runtime, err := os.MkdirTemp("", "fs") // short, since a socket of the keyring is in it
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(runtime) })
	const script = `
echo keyring | gnome-keyring-daemon --foreground --unlock --components=secrets >/dev/null 2>&1 &
keyring=$!
trap 'kill $keyring' EXIT
until dbus-send --session --print-reply --dest=org.freedesktop.DBus / org.freedesktop.DBus.NameHasOwner string:org.freedesktop.secrets | grep -q true; do
	sleep 0.05
done
echo "$DBUS_SESSION_BUS_ADDRESS"
cat # until the test ends
`
	cmd := exec.Command("dbus-run-session", "--", "sh", "-c", script)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + f.home, "XDG_RUNTIME_DIR=" + runtime}
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	f.bus, err = readLine(out)
	require.NoError(t, err)
}

func TestARealSecretService(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.startKeyring(t)
	const script = `
set -e
filessession login --url "$1" --user alice --password-file password
filessession status
filessession header >header
filessession exec -- sh -c '[ -n "$FILES_SESSION_ID" ]'
filessession login --password-file password
filessession status --json
filessession login --store file --password-file password
filessession login --store keyring --password-file password
filessession login --user secret --url "$1" --store file --password-file password --totp-secret-file totp
filessession status --user alice
filessession logout --user alice
filessession status --user alice || echo "status $?"
filessession status
`
	require.NoError(t, os.WriteFile(f.path("totp"), []byte(totpSecret), 0o600))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", script, "sh", f.URL)
	cmd.Dir, cmd.Env = f.home, f.env()
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.Contains(t, string(out), "The session is kept in the keyring.")
	assert.Contains(t, string(out), "store  the keyring")
	assert.Contains(t, string(out), `"store": "keyring"`)
	assert.Contains(t, string(out), "status 3")
	header, err := os.ReadFile(f.path("header"))
	require.NoError(t, err)
	assert.Contains(t, string(header), "X-FilesAPI-Auth: ")
	counts := f.Counts()
	assert.Equal(t, 5, counts.Logins)
	assert.Equal(t, 4, counts.Logouts, "also of the session in the Store that was left")
	for _, name := range []string{"config/filessession", ".local/share/keyrings"} {
		files, err := os.ReadDir(f.path(name))
		require.NoError(t, err)
		for _, file := range files {
			data, err := os.ReadFile(f.path(name + "/" + file.Name()))
			require.NoError(t, err)
			assert.NotContains(t, string(data), password)
		}
	}
}

func TestOfTwoLoginsAtOnceTheLastOneChoosesThePlace(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.startKeyring(t)
	url, posted, answer := f.hold(t, "POST", 1)
	first, out := f.start(t, "login", "--url", url, "--user", "alice", "--store", "file", "--password-file", "password")
	await(t, posted)
	_, stderr, status := f.run("login", "--url", url, "--user", "alice", "--store", "keyring", "--password-file", "password")
	require.Zero(t, status, stderr)
	answer()
	require.NoError(t, first.Wait(), out)
	assert.Equal(t, 2, f.Counts().Logins)
	assert.Equal(t, 1, f.Counts().Live, "the session in the keyring has ended")
	stdout, stderr, status := f.run("status", "--json")
	assert.Zero(t, status, stderr)
	assert.Contains(t, stdout, `"store": "file"`)
}

func TestAHeaderWhoseSessionMovesUsesTheNewPlace(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.startKeyring(t)
	url, asked, answer := f.hold(t, "GET", 1)
	f.logIn(t, "alice", "--url", url)
	f.ExpireUser("alice")
	header, out := f.start(t, "header")
	await(t, asked)
	_, stderr, status := f.run("login", "--store", "keyring", "--password-file", "password")
	require.Zero(t, status, stderr)
	answer()
	require.NoError(t, header.Wait(), out)
	require.Len(t, f.Sessions(), 1)
	assert.Contains(t, out.String(), f.Sessions()[0])
	_, stderr, status = f.run("logout")
	assert.Zero(t, status, stderr)
	assert.Zero(t, f.Counts().Live)
}

func TestALogoutEndsASessionThatMovesMeanwhile(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.startKeyring(t)
	url, ending, answer := f.hold(t, "DELETE", 1)
	f.logIn(t, "alice", "--url", url)
	logout, out := f.start(t, "logout")
	await(t, ending)
	login, outOfLogin := f.start(t, "login", "--store", "keyring", "--password-file", "password")
	require.Eventually(t, func() bool {
		accounts, err := os.ReadFile(f.path("config/filessession/accounts.json"))
		return err == nil && bytes.Contains(accounts, []byte(inKeyring))
	}, 15*time.Second, 5*time.Millisecond)
	answer()
	assert.NoError(t, logout.Wait(), out)
	assert.NoError(t, login.Wait(), outOfLogin)
	assert.Equal(t, 2, f.Counts().Logins)
	assert.Zero(t, f.Counts().Live)
	_, _, status := f.run("status")
	assert.Equal(t, 3, status)
}
