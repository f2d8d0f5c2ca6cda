package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/filescom/session/filestore"
)

// state is the list of accounts. It holds no secret.
type state struct {
	Version  int       `json:"v"`
	Accounts []account `json:"accounts"` // the last login is the last one
}

// stateVersion is the version of the state that this program writes and reads.
const stateVersion = 1

// stateFile returns the file of the state. It is a filestore, which replaces the file as
// a whole, under a lock.
func stateFile() (*filestore.Store, string, error) {
	config, err := os.UserConfigDir()
	if err == nil && !filepath.IsAbs(config) {
		err = fmt.Errorf("the path %q is relative", config)
	}
	if err != nil {
		return nil, "", fmt.Errorf("cannot find the folder for the settings of this user: %w; set HOME or XDG_CONFIG_HOME (on Windows: AppData) to an absolute path", err)
	}
	path := filepath.Join(config, "filessession", "accounts.json")
	return filestore.New(path), path, nil
}

// loadState returns the state, an empty one if there is no file.
func loadState(ctx context.Context) (state, error) {
	file, path, err := stateFile()
	if err != nil {
		return state{}, err
	}
	data, err := file.Load(ctx)
	if err != nil {
		return state{}, stateError{err}
	}
	return parseState(data, path)
}

func parseState(data []byte, path string) (state, error) {
	s := state{Version: stateVersion}
	if len(data) == 0 {
		return s, nil
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return state{}, fmt.Errorf("the file %q holds no list of accounts; remove it, and log in again", path)
	}
	if s.Version > stateVersion {
		return state{}, fmt.Errorf("the file %q was written by a newer filessession; install that one", path)
	}
	for _, a := range s.Accounts {
		if _, err := a.client(); err != nil || a.Origin == "" || a.User == "" || a.Store != inKeyring && a.Store != inFile {
			return state{}, fmt.Errorf("the file %q has an account without a user, a site or a known store; remove the file, and log in again", path)
		}
	}
	return s, nil
}

// stateError is an error of the file of the state. Its text names the list of accounts,
// since that of a filestore names a session.
type stateError struct{ error }

func (e stateError) Error() string {
	return strings.NewReplacer("the session in", "the list of accounts in", "no session", "no list of accounts").Replace(e.error.Error())
}
func (e stateError) Unwrap() error { return e.error }

// updateState loads the state, changes it and saves it, under its lock.
func updateState(ctx context.Context, change func(*state)) error {
	file, path, err := stateFile()
	if err != nil {
		return err
	}
	lock, err := waitForLock(ctx, file, "another run, which changes the list of accounts")
	if err != nil {
		return stateError{err}
	}
	defer lock.Unlock()
	data, err := file.Load(ctx)
	if err != nil {
		return stateError{err}
	}
	s, err := parseState(data, path)
	if err != nil {
		return err
	}
	change(&s)
	if data, err = json.MarshalIndent(s, "", "  "); err != nil {
		return err
	}
	if err := lock.Save(ctx, append(data, '\n'), 0); err != nil {
		return stateError{err}
	}
	return nil
}

// checkState returns an error if the state cannot be saved, for example on a full disk.
func checkState(ctx context.Context) error { return updateState(ctx, func(*state) {}) }

// listed returns the account of the user of a, nil if there is none.
func (s *state) listed(a account) *account {
	i := slices.IndexFunc(s.Accounts, a.sameUser)
	if i < 0 {
		return nil
	}
	found := s.Accounts[i]
	return &found
}

// add makes a the last login.
func (s *state) add(a account) {
	s.remove(a)
	s.Accounts = append(s.Accounts, a)
}

// forget removes a. If the default account changes by it, forget returns a line that names
// the new one.
func (s *state) forget(a account) string {
	n := len(s.Accounts)
	wasDefault := n > 0 && a.sameUser(s.Accounts[n-1])
	if s.remove(a); !wasDefault || len(s.Accounts) == 0 {
		return ""
	}
	return fmt.Sprintf("The commands now use %s.\n", s.Accounts[len(s.Accounts)-1])
}

func (s *state) remove(a account) {
	s.Accounts = slices.DeleteFunc(s.Accounts, a.sameUser)
}
