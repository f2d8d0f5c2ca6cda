package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxSecret is the largest size of the file of a secret, in bytes.
const maxSecret = 64 << 10

// byteOrderMark is written before a text by some programs, such as PowerShell.
const byteOrderMark = "\ufeff"

// readPassword reads a password from a file, or from standard input if name is "-".
// It removes a byte order mark and one line end.
func readPassword(name string) (string, error) {
	text, err := readSecret("--password-file", name)
	if err != nil {
		return "", err
	}
	text = strings.TrimSuffix(text, "\n")
	text = strings.TrimSuffix(text, "\r")
	if text == "" {
		return "", errors.New("the password is empty; write it into the file of --password-file, or to standard input with --password-file -")
	}
	return text, nil
}

// readTOTPSecret reads a TOTP secret. It removes the spaces and hyphens that sites show.
func readTOTPSecret(name string) (string, error) {
	text, err := readSecret("--totp-secret-file", name)
	if err != nil {
		return "", err
	}
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" -\t\r\n", r) }), "")
	if text == "" {
		return "", errors.New("the file of --totp-secret-file is empty; write the secret into it")
	}
	return text, nil
}

// readSecret reads the file of a flag. No error holds a part of it.
func readSecret(flag, name string) (string, error) {
	file := os.Stdin
	if name != "-" {
		var err error
		if file, err = os.Open(name); err != nil {
			return "", fmt.Errorf("cannot read the file of %s: %w", flag, err)
		}
		defer file.Close()
	}
	data, err := io.ReadAll(io.LimitReader(file, maxSecret+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("cannot read the file of %s: %w", flag, err)
	case len(data) > maxSecret:
		return "", fmt.Errorf("the file of %s is larger than 64 KiB; give a file that holds the secret alone", flag)
	}
	text := string(data)
	if strings.HasPrefix(text, "\xff\xfe") || strings.HasPrefix(text, "\xfe\xff") {
		return "", fmt.Errorf("the file of %s is in UTF-16; save it as UTF-8", flag)
	}
	return strings.TrimPrefix(text, byteOrderMark), nil
}

// remember sets a path to that of a flag, if the flag is given.
func remember(path *string, flag string) (err error) {
	if flag != "" {
		*path, err = rememberedPath(flag)
	}
	return err
}

// rememberedPath returns the absolute path of a file. It returns "" for standard input
// and for pipes, since a later run cannot read them again.
func rememberedPath(name string) (string, error) {
	if name == "-" {
		return "", nil
	}
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", usageError(fmt.Sprintf("there is no file %q; write the secret into a file, and give its name", name))
	case err != nil:
		return "", err
	case info.IsDir():
		return "", usageError(fmt.Sprintf("%q is a folder; give a file", name))
	case !info.Mode().IsRegular():
		return "", nil
	}
	return filepath.Abs(name)
}
