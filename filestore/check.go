package filestore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Error is the error of a Store whose files are unsafe, or could not be used. Its text
// is one sentence, with the path, the problem and what to do. A program that has words
// of its own can make its sentence of the fields.
type Error struct {
	Op      string // what failed: "check", "read", "lock", "save" or "remove"; empty if the files are unsafe
	Path    string // of the file, its folder or its lock
	Problem string // what is wrong; names the path if Op is empty
	Remedy  string // what to do at this path; empty if nothing helps there
	Err     error  // of the system; nil if the files are unsafe

	elsewhere string // what to do with another path
}

func (e *Error) Error() string {
	text := e.Problem
	if e.Op != "" {
		text = fmt.Sprintf("cannot %s the session in %q: %s", e.Op, e.Path, e.Problem)
	}
	advice := e.Remedy
	if advice != "" && e.elsewhere != "" {
		advice += ", or "
	}
	return text + "; " + advice + e.elsewhere
}

func (e *Error) Unwrap() error { return e.Err }

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
	}{{filepath.Dir(s.path), s.checkFolder}, {s.path + ".lock", s.checkFile}, {s.path, s.checkFile}} {
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
func (s *Store) checkFolder(path string, info fs.FileInfo) error {
	switch {
	case !info.IsDir():
		return &Error{Path: path, Problem: fmt.Sprintf("%q is a %s", path, kind(info.Mode())),
			elsewhere: "its files need a folder, so use another path"}
	case !isOwn(info):
		return &Error{Path: path, Problem: fmt.Sprintf("the folder %q belongs to another user", path),
			elsewhere: "use a folder of the user that runs this program"}
	case isShared(info, 0o022):
		problem := fmt.Sprintf("the folder %q has mode %#o, so others can replace its files", path, info.Mode().Perm())
		return modeError(path, problem, fmt.Sprintf("run: chmod go-w %q", path), s.keepsModes())
	}
	return nil
}

// checkFile returns an error unless info is that of a regular file that only this
// user can read or change.
func (s *Store) checkFile(path string, info fs.FileInfo) error {
	switch {
	case !info.Mode().IsRegular():
		return &Error{Path: path, Problem: fmt.Sprintf("%q is a %s, not a regular file", path, kind(info.Mode())),
			Remedy: "remove it", elsewhere: "use another path"}
	case !isOwn(info):
		return &Error{Path: path, Problem: fmt.Sprintf("the file %q belongs to another user", path),
			Remedy: "remove it, or run this program as its owner"}
	case isShared(info, 0o077):
		problem := fmt.Sprintf("the file %q has mode %#o, so others can use it", path, info.Mode().Perm())
		return modeError(path, problem, fmt.Sprintf("run: chmod 600 %q", path), s.keepsModes())
	}
	return nil
}

// modeError returns the error of a mode. Its remedy is chmod if the file system keeps
// modes.
func modeError(path, problem, chmod string, kept bool) *Error {
	if kept {
		return &Error{Path: path, Problem: problem, Remedy: chmod}
	}
	return &Error{Path: path, Problem: problem + ", and a chmod has no effect, since the file system does not keep modes",
		Remedy:    "mount it so that it keeps them (in WSL by the option metadata)",
		elsewhere: "use a path on a file system that does (in WSL one under $HOME)"}
}

// keepsModes reports whether a new file of mode 0600 has no other mode. It reports true
// if it can make none.
func (s *Store) keepsModes() bool {
	folder, name := filepath.Split(s.path)
	file, err := os.CreateTemp(folder, name+".tmp-*")
	if err != nil {
		return true
	}
	defer os.Remove(file.Name())
	defer file.Close()
	info, err := file.Stat()
	return err != nil || !isShared(info, 0o077)
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
func (s *Store) failure(op string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("cannot %s the session in %q: %w", op, s.path, err)
	}
	var pathError *fs.PathError
	var linkError *os.LinkError
	if errors.As(err, &pathError) {
		err = pathError.Err
	} else if errors.As(err, &linkError) {
		err = linkError.Err
	}
	e := &Error{Op: op, Path: s.path, Problem: err.Error(), Err: err,
		Remedy: "check the disk and the rights to the folder", elsewhere: "use another path"}
	switch {
	case isFull(err):
		e.Remedy, e.elsewhere = "make room on the disk", ""
	case errors.Is(err, syscall.EBUSY): // of a rename or a removal
		e.Problem = "the file itself is mounted, so it cannot be replaced"
		e.Remedy, e.elsewhere = "mount its folder instead", ""
	case errors.Is(err, fs.ErrPermission):
		e.Remedy = "give this user the rights to the folder and the file"
	}
	return e
}
