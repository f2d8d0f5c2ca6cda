// Package filestore keeps a session in a file, for the processes of one user on
// one machine. It runs on Linux, macOS, the BSDs and Windows.
//
// The file has mode 0600, in a folder of mode 0700. The package makes both, whatever
// the umask. A folder that exists may have any mode that lets nobody else write.
//
// A file is refused if another user may have read or written it: if its owner is
// another user, if its mode gives others any right, or if it is a symbolic link. A
// folder is refused if it is a symbolic link, or if another user can replace its files. The folders above it are
// not checked: use a path on which no other user can rename a folder. A file system
// that gives every file the same mode is refused if that mode lets others in, as on the
// drives of Windows in WSL. On Windows neither owner nor mode is checked: keep the file in
// the profile of its user, as [DefaultPath] does.
//
// A record is written to a temporary file, which then replaces the old one. So a
// reader needs no lock, and a crash or a full disk leaves the old record as it is. In a
// container, mount the folder and not the file, since a mounted file cannot be replaced. The
// lock is on a second file, with ".lock" added to the name. The system frees it when
// its process ends, however it ends. The package never removes that file: two
// processes could then each lock a file of that name.
//
// The package owns the names that begin with that of the file and go on with ".lock"
// or ".tmp-". Keep no other file there.
//
// Network file systems are not supported. They may not lock, may show a part of a
// record, and can hang a call beyond its context.
package filestore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/filescom/session/autologin"
	"github.com/gofrs/flock"
)

// maxSize is how long a record may be, in bytes.
const maxSize = 64 << 10

// Store is an [autologin.Store] in a file. It is safe for concurrent use. The methods of
// the zero value return an error, since it has no path. A file that is empty holds no
// record. A record of more than 64 KiB is neither read nor saved.
type Store struct {
	path string // absolute
	err  error  // of New
}

// New returns the Store of the file at path. It makes no file yet. A relative path is
// taken from the working directory at the time of the call. If the path is empty, the
// methods of the Store return an error.
func New(path string) *Store {
	if path == "" {
		return &Store{}
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		err = fmt.Errorf("the path %q is relative, and the working directory cannot be found: %w; use an absolute path", path, err)
	}
	return &Store{path: abs, err: err}
}

// DefaultPath returns the path for the session of a user of the site at origin, such
// as "https://mysite.files.com". The file is in the folder "filessession" under
// [os.UserConfigDir]. Its name is a hash, which shows neither origin nor user. The
// case of the origin is ignored, and so is a slash at its end.
func DefaultPath(origin, user string) (string, error) {
	origin = strings.ToLower(strings.TrimSuffix(strings.TrimSpace(origin), "/"))
	if origin == "" {
		return "", errors.New("filestore: the origin is empty; give the URL of the site, such as https://mysite.files.com")
	}
	if user == "" {
		return "", errors.New("filestore: the user name is empty; give the one that logs in")
	}
	config, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("cannot find the folder for the configuration of this user: %w; set the variable, or give filestore.New a path", err)
	}
	hash := sha256.Sum256([]byte(origin + "\x00" + user))
	return filepath.Join(config, "filessession", fmt.Sprintf("%x.json", hash[:16])), nil
}

// Load returns the record. It is empty if there is no file, or an empty one.
func (s *Store) Load(ctx context.Context) ([]byte, error) {
	if err := s.check(ctx); err != nil {
		return nil, err
	}
	var file *os.File
	err := whileBusy(ctx, func() (err error) {
		file, err = os.OpenFile(s.path, os.O_RDONLY|safeFlags, 0)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, s.failure("read", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, s.failure("read", err)
	}
	if err := s.checkFile(s.path, info); err != nil { // it may have been replaced since check
		return nil, err
	}
	var record bytes.Buffer
	record.Grow(int(min(info.Size(), maxSize)) + bytes.MinRead)
	if _, err := record.ReadFrom(io.LimitReader(file, maxSize+1)); err != nil {
		return nil, s.failure("read", err)
	}
	if record.Len() > maxSize {
		return nil, &Error{Path: s.path, Problem: fmt.Sprintf("the file %q has more than %d bytes, so it holds no session", s.path, maxSize),
			Remedy: "remove it", elsewhere: "use another path"}
	}
	return record.Bytes(), nil
}

// TryLock locks the record. It makes the folder if there is none. The Lock is safe for
// concurrent use: it runs one method at a time.
func (s *Store) TryLock(ctx context.Context) (autologin.Lock, error) {
	if err := s.check(ctx); err != nil {
		return nil, err
	}
	if err := makeFolder(filepath.Dir(s.path)); err != nil {
		return nil, s.failure("lock", err)
	}
	file := flock.New(s.path+".lock", flock.SetFlag(os.O_CREATE|os.O_RDONLY|safeFlags), flock.SetPermissions(0o600))
	locked, err := file.TryLock()
	if err != nil {
		return nil, s.failure("lock", err)
	}
	if !locked {
		return nil, fmt.Errorf("%w: %q", autologin.ErrLocked, s.path)
	}
	_ = os.Chmod(file.Path(), 0o600) // the umask may have taken rights from a new file
	l := &lock{store: s, file: file}
	if err := l.check(ctx); err != nil {
		l.Unlock()
		if errors.Is(err, autologin.ErrLockLost) { // the file was replaced before it was locked
			return nil, fmt.Errorf("%w: %q", autologin.ErrLocked, s.path)
		}
		return nil, err
	}
	return l, nil
}

// makeFolder makes a folder and those above it, if there are none.
func makeFolder(path string) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := makeFolder(filepath.Dir(path)); err != nil {
		return err
	}
	err := os.Mkdir(path, 0o700)
	switch {
	case errors.Is(err, fs.ErrExist): // another process has made it
		return nil
	case err != nil:
		return err
	}
	_ = os.Chmod(path, 0o700) // the umask may have taken rights from it; it fails where no modes are kept
	return nil
}

// lock is the lock of a Store.
type lock struct {
	store *Store
	mu    sync.Mutex // held while a method runs
	file  *flock.Flock
}

// Save replaces the file. The record is kept for ever, whatever the ttl.
func (l *lock) Save(ctx context.Context, record []byte, ttl time.Duration) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(record) > maxSize {
		return fmt.Errorf("the record has %d bytes, and a file keeps at most %d; save a shorter one", len(record), maxSize)
	}
	if err := l.check(ctx); err != nil {
		return err
	}
	if err := l.removeTemporary(); err != nil {
		return l.store.failure("save", err)
	}
	temporary, err := writeTemporary(l.store.path, record)
	if err == nil {
		err = whileBusy(ctx, func() error { return os.Rename(temporary, l.store.path) })
	}
	if err == nil {
		err = syncFolder(filepath.Dir(l.store.path))
	}
	if err != nil {
		os.Remove(temporary)
		return l.store.failure("save", err)
	}
	return nil
}

// Remove removes the file.
func (l *lock) Remove(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.check(ctx); err != nil {
		return err
	}
	err := whileBusy(ctx, func() error { return os.Remove(l.store.path) })
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = syncFolder(filepath.Dir(l.store.path))
	}
	if err != nil {
		return l.store.failure("remove", err)
	}
	return nil
}

// Unlock frees the lock at once.
func (l *lock) Unlock() {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.file.Close() // if this fails, the system frees the lock with the process
}

// check returns an error if the lock is not held or the files are unsafe. The lock is
// lost if its file was removed: another process can then lock a new one.
func (l *lock) check(ctx context.Context) error {
	if !l.file.Locked() {
		return fmt.Errorf("%w: it was unlocked: %q", autologin.ErrLockLost, l.store.path)
	}
	if err := l.store.check(ctx); err != nil {
		return err
	}
	held, err := l.file.Stat()
	if err != nil {
		return l.store.failure("lock", err)
	}
	named, err := os.Lstat(l.file.Path())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return l.store.failure("lock", err)
	}
	if err != nil || !os.SameFile(held, named) {
		return fmt.Errorf("%w: its file was removed: %q", autologin.ErrLockLost, l.file.Path())
	}
	return nil
}

// removeTemporary removes the temporary files of processes that died in Save.
func (l *lock) removeTemporary() error {
	folder, name := filepath.Split(l.store.path)
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if suffix, found := strings.CutPrefix(entry.Name(), name+".tmp-"); found && entry.Type().IsRegular() && strings.Trim(suffix, "0123456789") == "" {
			if err := os.Remove(filepath.Join(folder, entry.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// writeTemporary writes record to a new file of mode 0600 beside path, down to the
// disk. It returns the name of the file, with an error too if the file has to be
// removed.
func writeTemporary(path string, record []byte) (string, error) {
	folder, name := filepath.Split(path)
	file, err := os.CreateTemp(folder, name+".tmp-*")
	if err != nil {
		return "", err
	}
	_ = file.Chmod(0o600) // as makeFolder does
	_, err = file.Write(record)
	if err == nil {
		err = file.Sync()
	}
	return file.Name(), errors.Join(err, file.Close())
}

// whileBusy calls f until it does not fail because another process has the file open,
// for at most 2 seconds. Only Windows has that failure.
func whileBusy(ctx context.Context, f func() error) error {
	deadline := time.Now().Add(2 * time.Second)
	for {
		err := f()
		if err == nil || !isBusy(err) || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}
