package session_test

import (
	"go/doc"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func readFile(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	require.NoError(t, err)
	return string(data)
}

// needsClone skips a test in the module cache, where the nested modules are absent.
func needsClone(t *testing.T) {
	t.Helper()
	if _, err := os.Stat("filestore"); err != nil {
		t.Skip("the nested modules are not here: ", err)
	}
}

// executedExamples returns the bodies of the examples that go test executes, in
// every module.
func executedExamples(t *testing.T) string {
	t.Helper()
	var bodies strings.Builder
	for _, pattern := range []string{"*example_test.go", "*/*example_test.go", "*/*/*example_test.go"} {
		names, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, name := range names {
			source := readFile(t, name)
			set := token.NewFileSet()
			file, err := parser.ParseFile(set, name, source, parser.ParseComments)
			require.NoError(t, err)
			for _, example := range doc.Examples(file) {
				if example.Output == "" && !example.EmptyOutput {
					continue
				}
				bodies.WriteString(source[set.Position(example.Code.Pos()).Offset:set.Position(example.Code.End()).Offset])
			}
		}
	}
	return bodies.String()
}

// The README shows a program that is tested, and else the code of executed
// examples, indented by one tab or more.
func TestSnippetsOfTheREADMEAreExecuted(t *testing.T) {
	t.Parallel()
	needsClone(t)
	readme, examples := readFile(t, "README.md"), executedExamples(t)
	_, program, _ := strings.Cut(readFile(t, "examples/list/main.go"), "\npackage main\n")
	snippets := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(readme, -1)
	assert.GreaterOrEqual(t, len(snippets), 5)
	for _, snippet := range snippets {
		text, found := strings.CutPrefix(snippet[1], "package main\n")
		if found {
			assert.Equal(t, program, text)
			continue
		}
		for range 3 {
			text = regexp.MustCompile(`(?m)^(.)`).ReplaceAllString(text, "\t$1")
			found = found || strings.Contains(examples, "\n"+text)
		}
		assert.True(t, found, "no executed example has this snippet:\n%s", snippet[1])
	}
}

func TestCIRunsTheTestCommandOfTheREADME(t *testing.T) {
	t.Parallel()
	command := regexp.MustCompile(`(?m)^\$ (go test .*)$`).FindStringSubmatch(readFile(t, "README.md"))
	require.NotNil(t, command)
	assert.Contains(t, readFile(t, ".ci/run"), command[1])
}

func TestLinksToFilesInTheDocumentsLeadSomewhere(t *testing.T) {
	t.Parallel()
	needsClone(t)
	for _, name := range []string{"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"} {
		links := regexp.MustCompile(`\]\(([^)]*)\)`).FindAllStringSubmatch(readFile(t, name), -1)
		for _, link := range links {
			if !strings.HasPrefix(link[1], "https://") {
				_, err := os.Stat(link[1])
				assert.NoError(t, err, "linked in %s", name)
			}
		}
	}
}
