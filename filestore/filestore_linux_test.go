package filestore_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/filescom/session/filestore"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// mount mounts an empty disk in memory of so many bytes until the test ends. The test
// must not be parallel: a process that another test starts has the open files of this
// one until it runs its program, and then the disk is busy.
func mount(t *testing.T, size string) string {
	t.Helper()
	folder := t.TempDir()
	if err := syscall.Mount("tmpfs", folder, "tmpfs", 0, "mode=0700,size="+size); err != nil {
		t.Skip("this user may not mount a disk: ", err)
	}
	t.Cleanup(func() { assert.NoError(t, syscall.Unmount(folder, 0)) })
	return folder
}

func TestAFullDiskKeepsTheOldRecord(t *testing.T) {
	path := filepath.Join(mount(t, "64k"), "session.json")
	save(t, filestore.New(path), "record")
	l := lock(t, filestore.New(path))
	err := l.Save(t.Context(), bytes.Repeat([]byte("r"), 60<<10), 0)
	require.NoError(t, err, "there is room for it")

	err = l.Save(t.Context(), bytes.Repeat([]byte("s"), 60<<10), 0)
	require.ErrorIs(t, err, syscall.ENOSPC)
	assert.ErrorContains(t, err, strconv.Quote(path))
	assert.ErrorContains(t, err, "make room on the disk")
	assert.NotContains(t, err.Error(), "sss")
	assert.Equal(t, string(bytes.Repeat([]byte("r"), 60<<10)), load(t, filestore.New(path)))
	left, err := filepath.Glob(path + ".tmp-*")
	require.NoError(t, err)
	assert.Empty(t, left)
	require.NoError(t, l.Remove(t.Context()), "a record can be removed from a full disk")
	l.Unlock()
}

func TestAReadOnlyDiskIsReadButNotLocked(t *testing.T) {
	folder := mount(t, "64k")
	path := filepath.Join(folder, "session.json")
	save(t, filestore.New(path), "record")
	require.NoError(t, os.Remove(path+".lock"))
	require.NoError(t, syscall.Mount("", folder, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
	assert.Equal(t, "record", load(t, filestore.New(path)))
	_, err := filestore.New(path).TryLock(t.Context())
	require.ErrorIs(t, err, syscall.EROFS)
	assert.ErrorContains(t, err, strconv.Quote(path))
	assert.ErrorContains(t, err, "or use another path")
}

func TestAFileThatIsMountedItselfIsReadButNotReplaced(t *testing.T) {
	folder := t.TempDir()
	path, source := filepath.Join(folder, "session.json"), filepath.Join(t.TempDir(), "source.json")
	save(t, filestore.New(source), "record")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	if err := syscall.Mount(source, path, "", syscall.MS_BIND, ""); err != nil {
		t.Skip("this user may not mount a file: ", err)
	}
	t.Cleanup(func() { assert.NoError(t, syscall.Unmount(path, 0)) })
	store := filestore.New(path)
	l := lock(t, store)
	for op, err := range map[string]error{"save": l.Save(t.Context(), []byte("new"), 0), "remove": l.Remove(t.Context())} {
		require.EqualError(t, err, "cannot "+op+" the session in "+strconv.Quote(path)+": the file itself is mounted, so it cannot be replaced; mount its folder instead")
		assert.ErrorIs(t, err, syscall.EBUSY)
	}
	assert.Equal(t, "record", load(t, store))
	left, err := filepath.Glob(path + ".tmp-*")
	require.NoError(t, err)
	assert.Empty(t, left)
}

// mountWithoutModes mounts a folder in which every file and folder has mode, until the
// test ends. A chmod has no effect there, or fails. As by mount, the test must not be
// parallel.
func mountWithoutModes(t *testing.T, mode, chmod string) string {
	t.Helper()
	folder := t.TempDir()
	if out, err := exec.Command("bindfs", "--perms="+mode, "--chmod-"+chmod, t.TempDir(), folder).CombinedOutput(); err != nil {
		t.Skipf("no file system without modes can be mounted by bindfs: %v: %s", err, out)
	}
	t.Cleanup(func() {
		out, err := exec.Command("fusermount", "-u", folder).CombinedOutput()
		assert.NoError(t, err, string(out))
	})
	return folder
}

func TestNoChmodIsAdvisedOnAFileSystemThatDoesNotKeepModes(t *testing.T) {
	for _, chmod := range []string{"ignore", "deny"} {
		folder := mountWithoutModes(t, "0777", chmod)
		path := filepath.Join(folder, "session.json")
		_, loadErr := filestore.New(path).Load(t.Context())
		_, lockErr := filestore.New(path).TryLock(t.Context())
		for _, err := range []error{loadErr, lockErr} {
			assert.EqualError(t, err, "the folder "+strconv.Quote(folder)+" has mode 0777, so others can replace its files, and a chmod has no effect, "+
				"since the file system does not keep modes; mount it so that it keeps them (in WSL by the option metadata), or use a path on a file system that does (in WSL one under $HOME)", chmod)
		}
		_, err := filestore.New(filepath.Join(folder, "new", "session.json")).TryLock(t.Context())
		require.ErrorContains(t, err, strconv.Quote(filepath.Join(folder, "new"))+" has mode 0777, so others can replace its files, and a chmod has no effect", chmod)

		path = filepath.Join(mountWithoutModes(t, "0755", chmod), "session.json")
		_, err = filestore.New(path).TryLock(t.Context())
		require.ErrorContains(t, err, "the file "+strconv.Quote(path+".lock")+" has mode 0755, so others can use it, and a chmod has no effect", chmod)
		left, err := filepath.Glob(path + ".*tmp-*")
		require.NoError(t, err)
		assert.Empty(t, left)
	}
}

func TestAFileSystemWithoutModesIsUsedIfItLetsNobodyElseIn(t *testing.T) {
	for _, chmod := range []string{"ignore", "deny"} {
		path := filepath.Join(mountWithoutModes(t, "0700", chmod), "folder", "session.json")
		save(t, filestore.New(path), "record")
		assert.Equal(t, "record", load(t, filestore.New(path)), chmod)
	}
}
