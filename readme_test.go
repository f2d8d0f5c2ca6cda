package session_test

import (
	"os"
	"regexp"
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
	examples := read("example_test.go")
	snippets := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(readme, -1)
	assert.GreaterOrEqual(t, len(snippets), 3)
	for _, snippet := range snippets {
		body := regexp.MustCompile(`(?m)^(.)`).ReplaceAllString(snippet[1], "\t$1")
		assert.Contains(t, examples, body)
	}
	assert.Contains(t, read(".ci/run"), regexp.MustCompile(`(?m)^go test .*$`).FindString(readme), "CI runs the README's test command")
}
