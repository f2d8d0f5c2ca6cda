package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/filescom/session/filestore"
)

// state is what is kept beside the sessions. It holds no secret.
type state struct {
	Version  int       `json:"v"`
	Accounts []account `json:"accounts"` // the last login is the last one
}

// stateVersion is the version of the state that this program writes and reads.
const stateVersion = 1

// stateFile returns the file of the state. A Store of a file replaces it whole, with
// mode 0600 and under a lock, which suits the state as well as a session.
func stateFile() (*filestore.Store, string, error) {
	config, err := os.UserConfigDir()
	if err != nil {
		return nil, "", fmt.Errorf("cannot find the folder for the configuration of this user: %w; set it", err)
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
		return state{}, forState(err)
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
	return s, nil
}

// forState makes an error of the file speak of the accounts, not of a session.
func forState(err error) error { return fmt.Errorf("the list of accounts: %w", err) }

// updateState loads the state, changes it and saves it, under its lock.
func updateState(ctx context.Context, change func(*state)) error {
	file, path, err := stateFile()
	if err != nil {
		return err
	}
	lock, err := waitFor(file, "another run, which changes the list of accounts").lock(ctx)
	if err != nil {
		return forState(err)
	}
	defer lock.Unlock()
	data, err := file.Load(ctx)
	if err != nil {
		return forState(err)
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
		return forState(err)
	}
	return nil
}

// checkState returns an error if the state could not be saved, as on a full disk.
func checkState(ctx context.Context) error { return updateState(ctx, func(*state) {}) }

// add makes a the last login.
func (s *state) add(a account) {
	s.remove(a)
	s.Accounts = append(s.Accounts, a)
}

func (s *state) remove(a account) {
	s.Accounts = slices.DeleteFunc(s.Accounts, a.sameUser)
}
