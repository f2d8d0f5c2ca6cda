package keyringstore_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/filescom/session/autologin"
	"github.com/filescom/session/keyringstore"
	"github.com/filescom/session/storetest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/zalando/go-keyring"
	"go.uber.org/goleak"
)

// TestMain keeps the locks of the tests in a folder of their own, and the records in
// go-keyring's mock, except in a process that has a real keyring. The mock has no
// lock: a test that calls it by itself must not run in parallel.
func TestMain(m *testing.M) {
	if os.Getenv("KEYRINGSTORE_REAL") != "" {
		// The connection to D-Bus is the process's.
		goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/godbus/dbus/v5.(*Conn).inWorker"),
			goleak.IgnoreAnyFunction("github.com/godbus/dbus/v5.newConn.func1"))
	}
	folder, err := os.MkdirTemp("", "keyringstore")
	if err != nil {
		panic(err)
	}
	for _, name := range []string{"XDG_CONFIG_HOME", "HOME", "AppData"} {
		os.Setenv(name, folder)
	}
	os.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent") // no real keyring is asked whether it is locked
	keyring.MockInit()
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(folder)
		os.Exit(code)
	}))
}

// lock locks the record of store until the test ends.
func lock(t *testing.T, store autologin.Store) autologin.Lock {
	t.Helper()
	l, err := store.TryLock(t.Context())
	require.NoError(t, err)
	t.Cleanup(l.Unlock)
	return l
}

// breakable is a Store that loses its lock, as by a tool that removes old files.
type breakable struct {
	*keyringstore.Store
	t *testing.T
}

func (s breakable) BreakLock() {
	config, err := os.UserConfigDir()
	assert.NoError(s.t, err)
	locks, err := filepath.Glob(filepath.Join(config, "filessession", "keyring-*.lock"))
	assert.NoError(s.t, err)
	for _, path := range locks {
		assert.NoError(s.t, os.Remove(path))
	}
}

func testContract(t *testing.T, service string) {
	storetest.Run(t, func(t *testing.T) autologin.Store {
		return breakable{keyringstore.New(service, "alice"), t}
	})
}

// The test is not parallel, since its BreakLock breaks every lock.
func TestTheStoreKeepsItsContract(t *testing.T) { testContract(t, "contract") }

func TestEachPairOfNamesHasARecordOfItsOwn(t *testing.T) {
	t.Parallel()
	stores := map[string]autologin.Store{
		"1": keyringstore.New("other names", "alice"),
		"2": keyringstore.New("other names", "bob"),
		"3": keyringstore.New("other namesalice", "alice"),
		"4": keyringstore.New("other name", "salice"),
	}
	for record, store := range stores {
		require.NoError(t, lock(t, store).Save(t.Context(), []byte(record), 0), "all are locked at once")
	}
	for record, store := range stores {
		got, err := store.Load(t.Context())
		require.NoError(t, err)
		assert.Equal(t, record, string(got))
	}
}

func TestARecordOfMoreThan2500BytesInBase64IsRefused(t *testing.T) {
	t.Parallel()
	store := keyringstore.New("large", "alice")
	l := lock(t, store)
	largest := []byte(strings.Repeat("r", 2500/4*3))
	require.NoError(t, l.Save(t.Context(), largest, 0))
	err := l.Save(t.Context(), append(largest, 's'), 0)
	require.ErrorContains(t, err, `cannot save the session of user "alice" for service "large" in `)
	require.ErrorContains(t, err, "it has 2504 bytes in base64, and a keyring keeps at most 2500; keep it in a file by filestore")
	got, err := store.Load(t.Context())
	require.NoError(t, err)
	assert.Equal(t, largest, got, "the old record is kept")
}

func TestASecretThatIsNoRecordIsRefusedAndKept(t *testing.T) {
	require.NoError(t, keyring.Set("a password", "alice", "canary!"))
	_, err := keyringstore.New("a password", "alice").Load(t.Context())
	require.ErrorContains(t, err, "the keyring has another secret there, which is no session; remove it, or use another service name")
	assert.NotContains(t, err.Error(), "canary")
	password, err := keyring.Get("a password", "alice")
	require.NoError(t, err)
	assert.Equal(t, "canary!", password)
}

func TestANameThatSomeKeyringRefusesIsRefusedOnEverySystem(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		store *keyringstore.Store
		text  string
	}{
		{&keyringstore.Store{}, "the service of the store is empty; make it by keyringstore.New, with both names"},
		{keyringstore.New("", "alice"), "the service of the store is empty"},
		{keyringstore.New("service", ""), "the user of the store is empty"},
		{keyringstore.New(strings.Repeat("s", 256), "alice"), "the service of the store has 256 bytes; use a name of at most 255"},
		{keyringstore.New("service", "alice\nbob"), `the user of the store is "alice\nbob"; use a name of one line of UTF-8`},
		{keyringstore.New("service", "\xff"), `the user of the store is "\xff"; use a name of one line of UTF-8`},
	} {
		_, err := tt.store.Load(t.Context())
		require.ErrorContains(t, err, tt.text)
		_, err = tt.store.TryLock(t.Context())
		require.ErrorContains(t, err, tt.text)
	}
}

// The test is not parallel, since go-keyring has one mock for all tests.
func TestAnErrorOfTheKeyringNamesTheRecordAndMatchesItsCause(t *testing.T) {
	cause := errors.New("cause")
	store := keyringstore.New("broken", "alice")
	l := lock(t, store)
	keyring.MockInitWithError(cause)
	defer keyring.MockInit()
	_, err := store.Load(t.Context())
	require.ErrorIs(t, err, cause)
	require.ErrorContains(t, err, `cannot load the session of user "alice" for service "broken" in `)
	require.ErrorContains(t, err, "or keep the session in a file by filestore")
	err = l.Save(t.Context(), []byte("canary"), 0)
	require.ErrorIs(t, err, cause)
	require.ErrorContains(t, err, "cannot save")
	assert.NotContains(t, err.Error(), "canary")
	require.ErrorIs(t, l.Remove(t.Context()), cause)

	keyring.MockInitWithError(keyring.ErrSetDataTooBig)
	require.ErrorContains(t, l.Save(t.Context(), []byte("canary"), 0), "use shorter names")
}

func TestAnErrorMatchesAContextThatHasEnded(t *testing.T) {
	t.Parallel()
	ended, cancel := context.WithTimeout(t.Context(), -time.Second)
	defer cancel()
	_, err := keyringstore.New("ended", "alice").Load(ended)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}
