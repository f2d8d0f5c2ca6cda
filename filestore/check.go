package filestore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// check returns an error if ctx has ended, or if the folder, the file or the file of
// the lock is unsafe. Each may be absent.
func (s *Store) check(ctx context.Context) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case s.err != nil:
		return s.err
	case s.path == "":
		return errors.New("the store has no path; make it by filestore.New, with the path of a file")
	}
	for _, c := range []struct {
		path  string
		check func(string, fs.FileInfo) error
	}{{filepath.Dir(s.path), checkFolder}, {s.path + ".lock", checkFile}, {s.path, checkFile}} {
		info, err := os.Lstat(c.path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return s.failure("check", err)
		}
		if err := c.check(c.path, info); err != nil {
			return err
		}
	}
	return nil
}

// checkFolder returns an error unless info is that of a folder that only this user
// can change.
func checkFolder(path string, info fs.FileInfo) error {
	switch {
	case !info.IsDir():
		return fmt.Errorf("%q is a %s; its files need a folder, so use another path", path, kind(info.Mode()))
	case !isOwn(info):
		return fmt.Errorf("the folder %q belongs to another user; use a folder of the user that runs this program", path)
	case isShared(info, 0o022):
		return fmt.Errorf("the folder %q has mode %#o, so others can replace its files; run: chmod go-w %q", path, info.Mode().Perm(), path)
	}
	return nil
}

// checkFile returns an error unless info is that of a regular file that only this
// user can read or change.
func checkFile(path string, info fs.FileInfo) error {
	switch {
	case !info.Mode().IsRegular():
		return fmt.Errorf("%q is a %s, not a regular file; remove it, or use another path", path, kind(info.Mode()))
	case !isOwn(info):
		return fmt.Errorf("the file %q belongs to another user; remove it, or run this program as its owner", path)
	case isShared(info, 0o077):
		return fmt.Errorf("the file %q has mode %#o, so others can use it; run: chmod 600 %q", path, info.Mode().Perm(), path)
	}
	return nil
}

// kind returns the word for a mode of a file.
func kind(mode fs.FileMode) string {
	switch {
	case mode.IsRegular():
		return "regular file"
	case mode&fs.ModeSymlink != 0:
		return "symbolic link"
	case mode.IsDir():
		return "directory"
	case mode&fs.ModeNamedPipe != 0:
		return "named pipe"
	}
	return "special file"
}

// failure returns the error of an operation that the system refused. A path of
// its own is taken off err, so that the text has one path.
func (s *Store) failure(verb string, err error) error {
	remedy := "check the disk and the rights to the folder, or use another path"
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("cannot %s the session in %q: %w", verb, s.path, err)
	case isFull(err):
		remedy = "make room on the disk"
	case errors.Is(err, fs.ErrPermission):
		remedy = "give this user the rights to the folder and the file, or use another path"
	}
	var pathError *fs.PathError
	var linkError *os.LinkError
	if errors.As(err, &pathError) {
		err = pathError.Err
	} else if errors.As(err, &linkError) {
		err = linkError.Err
	}
	return fmt.Errorf("cannot %s the session in %q: %w; %s", verb, s.path, err, remedy)
}
