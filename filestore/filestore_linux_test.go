package filestore_test

import (
	"bytes"
	"os"
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
