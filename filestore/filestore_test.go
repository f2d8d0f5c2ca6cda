package filestore_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/filescom/session/autologin"
	"github.com/filescom/session/filestore"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// TestMain runs the part of another process in a process that a test starts.
func TestMain(m *testing.M) {
	if path := os.Getenv("FILESTORE_COUNT"); path != "" {
		if err := countInFile(path, 25); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if path := os.Getenv("FILESTORE_SAVE"); path != "" {
		saveForEver(path)
	}
	goleak.VerifyTestMain(m)
}

// child starts this test binary again, with a part and the path of a file.
func child(t *testing.T, part, path string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), part+"="+path)
	return cmd
}

// place returns the path of a file in a folder that does not exist yet.
func place(t *testing.T) string { return filepath.Join(t.TempDir(), "folder", "session.json") }

// lock locks the record of store until the test ends.
func lock(t *testing.T, store autologin.Store) autologin.Lock {
	t.Helper()
	l, err := store.TryLock(t.Context())
	require.NoError(t, err)
	t.Cleanup(l.Unlock)
	return l
}

// save saves record by a lock of its own.
func save(t *testing.T, store autologin.Store, record string) {
	t.Helper()
	l := lock(t, store)
	require.NoError(t, l.Save(t.Context(), []byte(record), 0))
	l.Unlock()
}

func load(t *testing.T, store autologin.Store) string {
	t.Helper()
	record, err := store.Load(t.Context())
	require.NoError(t, err)
	return string(record)
}

func TestARecordIsSavedLoadedReplacedAndRemoved(t *testing.T) {
	t.Parallel()
	path := place(t)
	assert.Empty(t, load(t, filestore.New(path)), "there is no folder yet")
	assert.NoDirExists(t, filepath.Dir(path), "Load makes nothing")

	save(t, filestore.New(path), "a long first record")
	assert.Equal(t, "a long first record", load(t, filestore.New(path)))
	save(t, filestore.New(path), "second")
	assert.Equal(t, "second", load(t, filestore.New(path)))

	l := lock(t, filestore.New(path))
	require.NoError(t, l.Remove(t.Context()))
	require.NoError(t, l.Remove(t.Context()), "there is no record any more")
	assert.Empty(t, load(t, filestore.New(path)))
	assert.FileExists(t, path+".lock", "the file of the lock is never removed")
	l.Unlock()
	assert.FileExists(t, path+".lock")
}

func TestAnEmptyFileHoldsNoRecordAndIsReplaced(t *testing.T) {
	t.Parallel()
	path := place(t)
	save(t, filestore.New(path), "")
	assert.Empty(t, load(t, filestore.New(path)))
	save(t, filestore.New(path), "record")
	assert.Equal(t, "record", load(t, filestore.New(path)))
}

func TestTheLockExcludesOtherStoresOfTheFileUntilItIsUnlocked(t *testing.T) {
	t.Parallel()
	path := place(t)
	store := filestore.New(path)
	l := lock(t, store)
	for _, other := range []autologin.Store{store, filestore.New(path)} {
		_, err := other.TryLock(t.Context())
		require.ErrorIs(t, err, autologin.ErrLocked)
		assert.ErrorContains(t, err, strconv.Quote(path))
	}
	l.Unlock()
	l.Unlock()
	lock(t, filestore.New(path))
}

func TestAnUnlockedLockChangesNothing(t *testing.T) {
	t.Parallel()
	path := place(t)
	save(t, filestore.New(path), "record")
	l := lock(t, filestore.New(path))
	l.Unlock()
	next := lock(t, filestore.New(path))
	require.ErrorIs(t, l.Save(t.Context(), []byte("late"), 0), autologin.ErrLockLost)
	require.ErrorIs(t, l.Remove(t.Context()), autologin.ErrLockLost)
	l.Unlock() // frees no other lock
	require.NoError(t, next.Save(t.Context(), []byte("next"), 0))
	assert.Equal(t, "next", load(t, filestore.New(path)))
}

func TestALockWhoseFileWasRemovedIsLost(t *testing.T) {
	t.Parallel()
	path := place(t)
	save(t, filestore.New(path), "record")
	l := lock(t, filestore.New(path))
	if err := os.Remove(path + ".lock"); err != nil {
		t.Skip("this system does not remove a file that is open: ", err)
	}
	require.ErrorIs(t, l.Save(t.Context(), []byte("late"), 0), autologin.ErrLockLost)
	next := lock(t, filestore.New(path))
	require.ErrorIs(t, l.Save(t.Context(), []byte("late"), 0), autologin.ErrLockLost)
	require.ErrorIs(t, l.Remove(t.Context()), autologin.ErrLockLost)
	require.NoError(t, next.Save(t.Context(), []byte("next"), 0))
	assert.Equal(t, "next", load(t, filestore.New(path)))
}

func TestARecordOfMoreThan64KiBIsNeitherSavedNorRead(t *testing.T) {
	t.Parallel()
	path := place(t)
	whole := strings.Repeat("r", 64<<10)
	save(t, filestore.New(path), whole)
	assert.Equal(t, whole, load(t, filestore.New(path)))

	l := lock(t, filestore.New(path))
	require.ErrorContains(t, l.Save(t.Context(), []byte(whole+"r"), 0), "65536")
	assert.Equal(t, whole, load(t, filestore.New(path)), "the old record is kept")

	require.NoError(t, os.WriteFile(path, []byte(whole+"r"), 0o600))
	_, err := filestore.New(path).Load(t.Context())
	require.ErrorContains(t, err, strconv.Quote(path))
	assert.ErrorContains(t, err, "remove it")
	assert.NotContains(t, err.Error(), "rrr")
}

func TestAnEndedContextEndsEveryMethod(t *testing.T) {
	t.Parallel()
	store := filestore.New(place(t))
	l := lock(t, store)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := store.Load(ctx)
	require.ErrorIs(t, err, context.Canceled)
	_, err = store.TryLock(ctx)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, l.Save(ctx, []byte("record"), 0), context.Canceled)
	require.ErrorIs(t, l.Remove(ctx), context.Canceled)
	assert.Empty(t, load(t, store))
}

// A test on Linux mounts such a file and such a file system, where it may.
func TestAMountedFileIsNamedAndSoIsAFileSystemWithoutModes(t *testing.T) {
	t.Parallel()
	path := place(t)
	for _, op := range []string{"save", "remove"} {
		err := filestore.Failure(filestore.New(path), op, &os.LinkError{Op: "rename", Old: path + ".tmp-1", New: path, Err: syscall.EBUSY})
		require.EqualError(t, err, fmt.Sprintf("cannot %s the session in %q: the file itself is mounted, so it cannot be replaced; mount its folder instead", op, path))
		assert.ErrorIs(t, err, syscall.EBUSY)
	}
	for kept, text := range map[bool]string{
		true: `"/s" has mode 0777; run: chmod 600 "/s"`,
		false: `"/s" has mode 0777, and a chmod has no effect, since the file system does not keep modes; ` +
			"mount it so that it keeps them (in WSL by the option metadata), or use a path on a file system that does (in WSL one under $HOME)",
	} {
		require.EqualError(t, filestore.ModeError("/s", `"/s" has mode 0777`, `run: chmod 600 "/s"`, kept), text)
	}
}

func TestAProgramCanMakeASentenceOfItsOwnOfAnError(t *testing.T) {
	t.Parallel()
	path := place(t)
	require.NoError(t, os.MkdirAll(path, 0o700))
	_, err := filestore.New(path).Load(t.Context())
	var unsafe *filestore.Error
	require.ErrorAs(t, err, &unsafe)
	assert.Empty(t, unsafe.Op)
	assert.Equal(t, path, unsafe.Path)
	assert.Equal(t, strconv.Quote(path)+" is a directory, not a regular file", unsafe.Problem)
	assert.Equal(t, "remove it", unsafe.Remedy)
	assert.EqualError(t, err, strconv.Quote(path)+" is a directory, not a regular file; remove it, or use another path")
	require.NoError(t, unsafe.Err)

	cause := errors.New("cause")
	err = filestore.Failure(filestore.New(path), "read", &os.PathError{Op: "open", Path: path, Err: cause})
	var refused *filestore.Error
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, "read", refused.Op)
	assert.Equal(t, path, refused.Path)
	assert.Equal(t, "cause", refused.Problem)
	assert.Equal(t, "check the disk and the rights to the folder", refused.Remedy)
	assert.EqualError(t, err, fmt.Sprintf("cannot read the session in %q: cause; check the disk and the rights to the folder, or use another path", path))
	require.ErrorIs(t, err, cause)
}

func TestAStoreWithoutAPathIsRefused(t *testing.T) {
	t.Parallel()
	for _, store := range []*filestore.Store{{}, filestore.New("")} {
		_, err := store.Load(t.Context())
		require.ErrorContains(t, err, "make it by filestore.New, with the path of a file")
		_, err = store.TryLock(t.Context())
		require.ErrorContains(t, err, "make it by filestore.New, with the path of a file")
	}
}

func TestARelativePathIsTakenFromTheWorkingDirectoryOfNew(t *testing.T) {
	first := t.TempDir()
	t.Chdir(first)
	store := filestore.New("session.json")
	t.Chdir(t.TempDir())
	save(t, store, "record")
	assert.FileExists(t, filepath.Join(first, "session.json"))
}

func TestTheDefaultPathDependsOnSiteAndUser(t *testing.T) {
	t.Parallel()
	path := func(origin, user string) string {
		path, err := filestore.DefaultPath(origin, user)
		require.NoError(t, err)
		return path
	}
	alice := path("https://mysite.files.com", "alice")
	config, err := os.UserConfigDir()
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(config, "filessession"), filepath.Dir(alice))
	assert.Equal(t, alice, path(" https://MySite.files.com/ ", "alice"))
	assert.NotEqual(t, alice, path("https://mysite.files.com", "bob"))
	assert.NotEqual(t, alice, path("https://other.files.com", "alice"))
	assert.NotContains(t, alice, "alice")
	assert.NotContains(t, path("https://mysite.files.com", "../../alice"), "..")

	_, err = filestore.DefaultPath("", "alice")
	require.ErrorContains(t, err, "the origin is empty")
	_, err = filestore.DefaultPath("https://mysite.files.com", "")
	require.ErrorContains(t, err, "the user name is empty")
}

// countInFile adds 1 to the number in the file at path, n times.
func countInFile(path string, n int) error {
	ctx := context.Background()
	store := filestore.New(path)
	for n > 0 {
		l, err := store.TryLock(ctx)
		if err != nil {
			if errors.Is(err, autologin.ErrLocked) {
				continue
			}
			return err
		}
		record, err := store.Load(ctx)
		if err != nil {
			return err
		}
		count, err := strconv.Atoi(strings.TrimLeft(string(record), " "))
		if err != nil {
			return err
		}
		if err := l.Save(ctx, fmt.Appendf(nil, "%8192d", count+1), 0); err != nil {
			return err
		}
		l.Unlock()
		n--
	}
	return nil
}

// inGroup runs f in a goroutine of group. (WaitGroup.Go needs Go 1.25.)
func inGroup(group *sync.WaitGroup, f func()) {
	group.Add(1)
	go func() {
		defer group.Done()
		f()
	}()
}

func TestReadersSeeWholeRecordsAndNoUpdateIsLost(t *testing.T) {
	t.Parallel()
	path := place(t)
	save(t, filestore.New(path), fmt.Sprintf("%8192d", 0))
	var writers, readers sync.WaitGroup
	for range 4 {
		cmd := child(t, "FILESTORE_COUNT", path)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		require.NoError(t, cmd.Start())
		inGroup(&writers, func() { assert.NoError(t, cmd.Wait(), "%s", &stderr) })
		inGroup(&writers, func() { assert.NoError(t, countInFile(path, 25)) })
	}
	done := make(chan struct{})
	inGroup(&readers, func() {
		for store, last := filestore.New(path), 0; ; {
			record, err := store.Load(t.Context())
			assert.NoError(t, err)
			assert.Len(t, record, 8192)
			count, err := strconv.Atoi(strings.TrimLeft(string(record), " "))
			assert.NoError(t, err)
			assert.GreaterOrEqual(t, count, last)
			last = count
			select {
			case <-done:
				return
			default:
			}
		}
	})
	writers.Wait()
	close(done)
	readers.Wait()
	assert.Equal(t, "200", strings.TrimLeft(load(t, filestore.New(path)), " "))
}

// saveForEver saves under one lock until the process is killed.
func saveForEver(path string) {
	l, err := filestore.New(path).TryLock(context.Background())
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("locked")
	for n := 0; ; n++ {
		if err := l.Save(context.Background(), fmt.Appendf(nil, "%60000d", n), 0); err != nil {
			os.Exit(1)
		}
		fmt.Println("saved")
	}
}

func TestAKilledProcessLeavesAWholeRecordAndNoLock(t *testing.T) {
	t.Parallel()
	path := place(t)
	for round := range 8 {
		cmd := child(t, "FILESTORE_SAVE", path)
		stdout, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		lines := bufio.NewScanner(stdout)
		for range round + 2 {
			require.True(t, lines.Scan())
		}
		require.Contains(t, []string{"locked", "saved"}, lines.Text())
		_, err = filestore.New(path).TryLock(t.Context())
		require.ErrorIs(t, err, autologin.ErrLocked)
		require.NoError(t, cmd.Process.Kill())
		for lines.Scan() { // until the process has ended
		}
		cmd.Wait()

		assert.Len(t, load(t, filestore.New(path)), 60000)
		lock(t, filestore.New(path)).Unlock()
	}
	require.NoError(t, os.WriteFile(path+".tmp-12345", nil, 0o600))
	save(t, filestore.New(path), "record")
	left, err := filepath.Glob(path + ".tmp-*")
	require.NoError(t, err)
	assert.Empty(t, left, "the next Save removes the files of the killed processes")
}

func BenchmarkLoad(b *testing.B) {
	store := filestore.New(filepath.Join(b.TempDir(), "session.json"))
	l, err := store.TryLock(b.Context())
	require.NoError(b, err)
	require.NoError(b, l.Save(b.Context(), bytes.Repeat([]byte("r"), 1500), 0))
	l.Unlock()
	b.ReportAllocs()
	for b.Loop() {
		if record, err := store.Load(b.Context()); err != nil || len(record) != 1500 {
			b.Fatal(len(record), err)
		}
	}
}
