//go:build unix

package filestore_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/filescom/session/filestore"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func mode(t *testing.T, path string) os.FileMode {
	t.Helper()
	info, err := os.Lstat(path)
	require.NoError(t, err)
	return info.Mode().Perm()
}

func TestTheFilesHaveMode0600InAFolderOfMode0700(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "outer", "folder", "session.json")
	save(t, filestore.New(path), "record")
	assert.Equal(t, os.FileMode(0o600), mode(t, path))
	assert.Equal(t, os.FileMode(0o600), mode(t, path+".lock"))
	assert.Equal(t, os.FileMode(0o700), mode(t, filepath.Dir(path)))
	assert.Equal(t, os.FileMode(0o700), mode(t, filepath.Dir(filepath.Dir(path))))
}

func TestTheUmaskTakesNoRightsFromTheUser(t *testing.T) {
	t.Parallel()
	for _, umask := range []string{"0777", "0277", "0000"} {
		path := filepath.Join(t.TempDir(), "outer", "folder", "session.json")
		cmd := exec.Command("sh", "-c", "umask "+umask+`; exec "$0"`, os.Args[0])
		cmd.Env = append(os.Environ(), "FILESTORE_SAVE="+path)
		stdout, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		lines := bufio.NewScanner(stdout)
		for range 2 {
			assert.True(t, lines.Scan())
		}
		assert.Equal(t, "saved", lines.Text())
		require.NoError(t, cmd.Process.Kill())
		for lines.Scan() { // until the process has ended
		}
		cmd.Wait()
		assert.Equal(t, os.FileMode(0o600), mode(t, path), umask)
		assert.Equal(t, os.FileMode(0o600), mode(t, path+".lock"), umask)
		assert.Equal(t, os.FileMode(0o700), mode(t, filepath.Dir(path)), umask)
		assert.Equal(t, os.FileMode(0o700), mode(t, filepath.Dir(filepath.Dir(path))), umask)
	}
}

func TestAFolderMayHaveAnyModeThatLetsNobodyElseWrite(t *testing.T) {
	t.Parallel()
	for _, allowed := range []os.FileMode{0o700, 0o750, 0o755, 0o711} {
		path := place(t)
		require.NoError(t, os.Mkdir(filepath.Dir(path), 0o700))
		require.NoError(t, os.Chmod(filepath.Dir(path), allowed))
		save(t, filestore.New(path), "record")
		assert.Equal(t, "record", load(t, filestore.New(path)))
		assert.Equal(t, allowed, mode(t, filepath.Dir(path)), "it is left as it was")
	}
	for _, refused := range []os.FileMode{0o770, 0o775, 0o777, 0o702, 0o777 | os.ModeSticky} {
		path := place(t)
		require.NoError(t, os.Mkdir(filepath.Dir(path), 0o700))
		require.NoError(t, os.Chmod(filepath.Dir(path), refused))
		assertRefused(t, path, filepath.Dir(path), "others can replace its files; run: chmod go-w")
	}
}

// assertRefused checks that Load and TryLock refuse the file at path, with an error
// that names the path that is at fault and the remedy, and that nothing is made.
func assertRefused(t *testing.T, path, atFault, remedy string) {
	t.Helper()
	before, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
	require.NoError(t, err)
	_, loadErr := filestore.New(path).Load(t.Context())
	_, lockErr := filestore.New(path).TryLock(t.Context())
	for _, err := range []error{loadErr, lockErr} {
		if assert.Error(t, err) {
			assert.Contains(t, err.Error(), strconv.Quote(atFault))
			assert.Contains(t, err.Error(), remedy)
			assert.NotContains(t, err.Error(), "the record")
			var unsafe *filestore.Error
			require.ErrorAs(t, err, &unsafe)
			assert.Equal(t, atFault, unsafe.Path)
			assert.Contains(t, unsafe.Problem, strconv.Quote(atFault))
		}
	}
	after, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
	require.NoError(t, err)
	assert.Equal(t, before, after)
}

// replacement is a change to the file at path or to that of its lock.
type replacement struct {
	name   string
	change func(t *testing.T, path string)
	remedy string
}

var replacements = []replacement{
	{"mode 0644", func(t *testing.T, path string) { require.NoError(t, os.Chmod(path, 0o644)) }, "has mode 0644, so others can use it; run: chmod 600"},
	{"mode 0620", func(t *testing.T, path string) { require.NoError(t, os.Chmod(path, 0o620)) }, "has mode 0620, so others can use it; run: chmod 600"},
	{"another owner", func(t *testing.T, path string) {
		if os.Geteuid() != 0 {
			t.Skip("only root can give a file to another user")
		}
		require.NoError(t, os.Chown(path, 65534, -1))
	}, "belongs to another user; remove it, or run this program as its owner"},
	{"symbolic link", func(t *testing.T, path string) {
		require.NoError(t, os.Rename(path, path+".elsewhere"))
		require.NoError(t, os.Symlink(path+".elsewhere", path))
	}, "is a symbolic link, not a regular file; remove it, or use another path"},
	{"symbolic link to nothing", func(t *testing.T, path string) {
		require.NoError(t, os.Remove(path))
		require.NoError(t, os.Symlink(path+".elsewhere", path))
	}, "is a symbolic link, not a regular file"},
	{"directory", func(t *testing.T, path string) {
		require.NoError(t, os.Remove(path))
		require.NoError(t, os.Mkdir(path, 0o700))
	}, "is a directory, not a regular file; remove it, or use another path"},
	{"named pipe", func(t *testing.T, path string) {
		require.NoError(t, os.Remove(path))
		require.NoError(t, syscall.Mkfifo(path, 0o600))
	}, "is a named pipe, not a regular file; remove it, or use another path"},
}

func TestAFileThatAnotherUserCouldHaveMadeIsRefused(t *testing.T) {
	t.Parallel()
	for _, r := range replacements {
		for _, suffix := range []string{"", ".lock"} {
			t.Run(r.name+suffix, func(t *testing.T) {
				t.Parallel()
				path := place(t)
				save(t, filestore.New(path), "the record")
				r.change(t, path+suffix)
				assertRefused(t, path, path+suffix, r.remedy)
			})
		}
	}
}

// The login runs between TryLock and Save, and can take minutes.
func TestAFileThatIsReplacedUnderTheLockIsNotSavedOver(t *testing.T) {
	t.Parallel()
	for _, r := range replacements {
		for _, suffix := range []string{"", ".lock"} {
			t.Run(r.name+suffix, func(t *testing.T) {
				t.Parallel()
				path := place(t)
				save(t, filestore.New(path), "the record")
				l := lock(t, filestore.New(path))
				r.change(t, path+suffix)
				before, err := os.Lstat(path)
				require.NoError(t, err)
				for _, err := range []error{l.Save(t.Context(), []byte("new"), 0), l.Remove(t.Context())} {
					require.ErrorContains(t, err, strconv.Quote(path+suffix))
					assert.ErrorContains(t, err, r.remedy)
				}
				after, err := os.Lstat(path)
				require.NoError(t, err)
				assert.True(t, os.SameFile(before, after), "nothing is lost")
			})
		}
	}
}

func TestAFolderThatIsAnotherFileOrAnotherUsersIsRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(t *testing.T, folder string)
		remedy string
	}{
		{"symbolic link", func(t *testing.T, folder string) {
			require.NoError(t, os.Rename(folder, folder+".elsewhere"))
			require.NoError(t, os.Symlink(folder+".elsewhere", folder))
		}, "is a symbolic link; its files need a folder, so use another path"},
		{"regular file", func(t *testing.T, folder string) {
			require.NoError(t, os.RemoveAll(folder))
			require.NoError(t, os.WriteFile(folder, nil, 0o600))
		}, "is a regular file; its files need a folder, so use another path"},
		{"another owner", func(t *testing.T, folder string) {
			if os.Geteuid() != 0 {
				t.Skip("only root can give a folder to another user")
			}
			require.NoError(t, os.Chown(folder, 65534, -1))
		}, "belongs to another user; use a folder of the user that runs this program"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := place(t)
			save(t, filestore.New(path), "the record")
			tt.change(t, filepath.Dir(path))
			assertRefused(t, path, filepath.Dir(path), tt.remedy)
		})
	}
}

func TestAPathBelowAFileIsRefused(t *testing.T) {
	t.Parallel()
	path := place(t)
	require.NoError(t, os.WriteFile(filepath.Dir(path), nil, 0o600))
	path = filepath.Join(path, "deeper", "session.json")
	_, err := filestore.New(path).TryLock(t.Context())
	require.ErrorContains(t, err, "not a directory; check the disk and the rights to the folder, or use another path")
	assert.Equal(t, 1, strings.Count(err.Error(), filepath.Dir(path)), "the path is there once: %v", err)
}

func TestAFolderThatCannotBeWrittenIsReadButNotLocked(t *testing.T) {
	t.Parallel()
	if os.Geteuid() == 0 {
		t.Skip("root can write any folder; TestAReadOnlyDiskIsReadButNotLocked runs as root")
	}
	path := place(t)
	save(t, filestore.New(path), "record")
	require.NoError(t, os.Remove(path+".lock"))
	require.NoError(t, os.Chmod(filepath.Dir(path), 0o500))
	t.Cleanup(func() { os.Chmod(filepath.Dir(path), 0o700) })
	assert.Equal(t, "record", load(t, filestore.New(path)))
	_, err := filestore.New(path).TryLock(t.Context())
	require.ErrorIs(t, err, os.ErrPermission)
	assert.ErrorContains(t, err, strconv.Quote(path))
	assert.ErrorContains(t, err, "give this user the rights to the folder and the file")
}
