// Package keyringstore keeps a session in the keyring of the operating system, for
// the processes of one user on one machine. On Linux and the BSDs that is the Secret
// Service (GNOME Keyring, KWallet, KeePassXC), on macOS the login keychain, on Windows
// the Credential Manager.
//
// If the keyring is locked or absent, or if it hangs, the methods return an error that
// says so. They never start a session bus of D-Bus: without one there is no Secret
// Service. The session is never kept in another place instead. A program that may run
// without a desktop has to choose package filestore by itself.
//
// No keyring has a lock that excludes other processes. So the lock is on a file, by
// package filestore, in the folder "filessession" under [os.UserConfigDir]. The name
// of the file is a hash of service and user. Keep that folder on a local disk.
//
// A record is kept in base64, since keyrings keep text. In base64 it may have 2,500
// bytes on every system, since the Credential Manager keeps at most 2,560.
package keyringstore

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/filescom/session/autologin"
	"github.com/filescom/session/filestore"
	"github.com/zalando/go-keyring"
)

const (
	maxSize     = 2500            // bytes of an encoded record
	maxName     = 255             // bytes of service or user
	callTimeout = 5 * time.Second // of a call of the keyring
)

// Store is an [autologin.Store] in the keyring. It is safe for concurrent use. The methods
// of the zero value return an error, since it has no names. A method waits at most 5
// seconds for the keyring.
type Store struct{ service, user string }

// New returns the Store of the record that the keyring keeps under service, such as
// "https://mysite.files.com", and user. It does not call the keyring yet. Keyrings show
// both names, so put no secret in them. If a name is empty, has more than 255 bytes, or
// is not one line of UTF-8, the methods of the Store return an error.
func New(service, user string) *Store { return &Store{service, user} }

// Load returns the record, nil if there is none.
func (s *Store) Load(ctx context.Context) ([]byte, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	var text string
	_, err := call(ctx, func() (err error) {
		text, err = keyring.Get(s.service, s.user)
		return err
	})
	if errors.Is(err, keyring.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, s.failure("load", err)
	}
	record, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, s.refusal("load", "the keyring has another secret there, which is no session; remove it, or use another service name")
	}
	return record, nil
}

// TryLock locks the record. It makes the file of the lock if there is none, and does
// not call the keyring. The Lock is safe for concurrent use: it runs one method at a
// time.
func (s *Store) TryLock(ctx context.Context) (autologin.Lock, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	config, err := os.UserConfigDir()
	if err != nil {
		return nil, fmt.Errorf("cannot find the folder for the configuration of this user, where the lock is: %w; set the variable", err)
	}
	hash := sha256.Sum256([]byte(s.service + "\x00" + s.user))
	file, err := filestore.New(filepath.Join(config, "filessession", fmt.Sprintf("keyring-%x", hash[:16]))).TryLock(ctx)
	if err != nil {
		return nil, err
	}
	idle := make(chan struct{})
	close(idle)
	return &lock{store: s, file: file, running: idle}, nil
}

// lock is the lock of a Store.
type lock struct {
	store    *Store
	mu       sync.Mutex // held while a method runs
	file     autologin.Lock
	unlocked bool
	running  <-chan struct{} // closed when no call of the keyring runs
}

// Save replaces the record. It is kept for ever, whatever the ttl. A record of more
// than 2,500 bytes in base64 is refused on every system.
func (l *lock) Save(ctx context.Context, record []byte, ttl time.Duration) error {
	text := base64.StdEncoding.EncodeToString(record)
	if len(text) > maxSize {
		return l.store.refusal("save", fmt.Sprintf("it has %d bytes in base64, and a keyring keeps at most %d; keep it in a file by filestore", len(text), maxSize))
	}
	return l.change(ctx, "save", func() error { return keyring.Set(l.store.service, l.store.user, text) })
}

// Remove removes the record.
func (l *lock) Remove(ctx context.Context) error {
	return l.change(ctx, "remove", func() error {
		if err := keyring.Delete(l.store.service, l.store.user); !errors.Is(err, keyring.ErrNotFound) {
			return err
		}
		return nil
	})
}

// change calls f, which changes the keyring, if the lock is held.
func (l *lock) change(ctx context.Context, verb string, f func() error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.unlocked {
		return fmt.Errorf("%w: it was unlocked", autologin.ErrLockLost)
	}
	if err := l.file.Remove(ctx); err != nil { // there is no such file, but it fails if the lock is lost
		return err
	}
	ended, err := call(ctx, f)
	if ended != nil {
		l.running = ended
	}
	if err != nil {
		return l.store.failure(verb, err)
	}
	return nil
}

// Unlock frees the lock. If a call of Save or Remove still runs in the keyring, Unlock
// frees the lock when that call ends, since it may still change the record.
func (l *lock) Unlock() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.unlocked {
		return
	}
	l.unlocked = true
	select {
	case <-l.running:
		l.file.Unlock()
	default:
		go func() {
			<-l.running
			l.file.Unlock()
		}()
	}
}

// turn has one value while a call of the keyring runs. So a keyring that hangs blocks
// one goroutine, not one for each call.
var turn = make(chan struct{}, 1)

// call calls f in a goroutine, since f cannot be cancelled. It returns when f has
// ended, when ctx ends, or after 5 seconds. The channel is closed when f has ended. It
// is nil if f was not called.
func call(ctx context.Context, f func() error) (<-chan struct{}, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	select {
	case turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	var err error
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer func() { <-turn }()
		if err = checkKeyring(); err == nil { // else f would wait for someone to unlock it, or start a bus
			err = f()
		}
	}()
	select {
	case <-ended:
		return ended, err
	case <-ctx.Done():
		return ended, ctx.Err()
	}
}

// check returns an error if a keyring may refuse a name.
func (s *Store) check() error {
	for _, n := range []struct{ kind, name string }{{"service", s.service}, {"user", s.user}} {
		switch {
		case n.name == "":
			return fmt.Errorf("the %s of the store is empty; make it by keyringstore.New, with both names", n.kind)
		case len(n.name) > maxName:
			return fmt.Errorf("the %s of the store has %d bytes; use a name of at most %d", n.kind, len(n.name), maxName)
		case !utf8.ValidString(n.name) || strings.ContainsFunc(n.name, unicode.IsControl):
			return fmt.Errorf("the %s of the store is %q; use a name of one line of UTF-8", n.kind, n.name)
		}
	}
	return nil
}

var errLocked = errors.New("the keyring is locked")

// failure returns the error of an operation that the keyring failed.
func (s *Store) failure(verb string, err error) error {
	remedy := explain(err)
	switch {
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("%s: %w", s.cannot(verb), err)
	case errors.Is(err, errLocked):
		remedy = "unlock it, for example by logging in to the desktop"
	case errors.Is(err, context.DeadlineExceeded):
		remedy = "the keyring does not answer: look whether a window asks for its password, or start it again"
	case errors.Is(err, keyring.ErrSetDataTooBig):
		remedy = "use shorter names"
	}
	return fmt.Errorf("%s: %w; %s, or keep the session in a file by filestore", s.cannot(verb), err, remedy)
}

// refusal returns an error of ours.
func (s *Store) refusal(verb, text string) error { return errors.New(s.cannot(verb) + ": " + text) }

// cannot returns the start of a message, which names the keyring and the record.
func (s *Store) cannot(verb string) string {
	return fmt.Sprintf("cannot %s the session of user %q for service %q in %s", verb, s.user, s.service, keyringName)
}
