package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAPasswordFileLosesAByteOrderMarkAndOneLineEnd(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "password")
	for content, want := range map[string]string{
		"a b":            "a b",
		"a b \n":         "a b ",
		"a\r\n":          "a",
		"a\n\n":          "a\n",
		"\ufeffa\n":      "a",
		"\ufeff\ufeffa":  "\ufeffa",
		" \u00e4\u20ac ": " \u00e4\u20ac ",
	} {
		require.NoError(t, os.WriteFile(name, []byte(content), 0o600))
		got, err := readPassword(name)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
}

func TestAFileThatHoldsNoPasswordIsRefused(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "password")
	for content, says := range map[string]string{
		"":                                "the password is empty",
		"\ufeff\r\n":                      "the password is empty",
		"\xff\xfea\x00":                   "is in UTF-16; save it as UTF-8",
		string(make([]byte, 1+maxSecret)): "is larger than 64 KiB",
	} {
		require.NoError(t, os.WriteFile(name, []byte(content), 0o600))
		_, err := readPassword(name)
		assert.ErrorContains(t, err, says)
	}
	_, err := readPassword(name + ".missing")
	assert.ErrorIs(t, err, os.ErrNotExist)
}

func TestOnlyARegularFileIsRemembered(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(name, nil, 0o600))
	for given, want := range map[string]string{name: name, "-": "", os.DevNull: ""} {
		got, err := rememberedPath(given)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	for _, bad := range []string{name + ".missing", filepath.Dir(name)} {
		_, err := rememberedPath(bad)
		var usage usageError
		assert.ErrorAs(t, err, &usage)
	}
}
