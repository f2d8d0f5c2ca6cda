package session_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The README shows code of the executed examples, and no other.
func TestSnippetsOfTheREADMEAreFromTheExamples(t *testing.T) {
	t.Parallel()
	read := func(name string) string {
		data, err := os.ReadFile(name)
		require.NoError(t, err)
		return string(data)
	}
	readme := read("README.md")
	examples := ""
	for _, pattern := range []string{"*example_test.go", "*/*example_test.go"} {
		names, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, name := range names {
			examples += read(name)
		}
	}
	snippets := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(readme, -1)
	assert.GreaterOrEqual(t, len(snippets), 3)
	for _, snippet := range snippets {
		body := regexp.MustCompile(`(?m)^(.)`).ReplaceAllString(snippet[1], "\t$1")
		assert.True(t, strings.Contains(examples, body), "no example has this snippet:\n%s", snippet[1])
	}
	command := regexp.MustCompile(`(?m)^go test .*$`).FindString(readme)
	assert.True(t, strings.Contains(read(".ci/run"), command), "CI does not run the test command of the README: %s", command)
}
