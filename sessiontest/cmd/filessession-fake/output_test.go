package main

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// readAfter writes lines while nobody reads, and returns what a reader then gets.
func readAfter(t *testing.T, write func(*output)) []string {
	t.Helper()
	out, in := io.Pipe()
	o := newOutput(in)
	write(o)
	go func() {
		o.close(time.Minute)
		in.Close()
	}()
	data, err := io.ReadAll(out)
	require.NoError(t, err)
	return strings.SplitAfter(strings.TrimSuffix(string(data), "\n"), "\n")
}

func TestLinesAreDroppedWhileTheReaderIsTooFarBehind(t *testing.T) {
	t.Parallel()
	const lines = 5000
	line := func(i int) string { return fmt.Sprintf("%04d %s\n", i, strings.Repeat("x", 1000)) }
	got := readAfter(t, func(o *output) {
		for i := range lines {
			n, err := io.WriteString(o, line(i))
			require.NoError(t, err)
			require.Equal(t, len(line(i)), n)
		}
		o.mu.Lock()
		assert.LessOrEqual(t, len(o.pending), maxPending)
		o.mu.Unlock()
		io.WriteString(kept{o}, "end\n")
	})
	whole := len(got) - 2
	assert.GreaterOrEqual(t, whole, maxPending/len(line(0)))
	for i := range whole {
		require.Equal(t, line(i), got[i])
	}
	assert.Regexp(t, fmt.Sprintf("^[0-9:]{8} lines dropped, since nobody read them: %d\n$", lines-whole), got[whole])
	assert.Equal(t, "end", got[whole+1])
}

func TestTheFirstLinesArriveWholeWhateverTheirLength(t *testing.T) {
	t.Parallel()
	note := strings.Repeat("x", maxPending/4) + "\n"
	got := readAfter(t, func(o *output) {
		for range 8 {
			io.WriteString(kept{o}, note)
			io.WriteString(o, "a request\n")
		}
		io.WriteString(kept{o}, "serving\n")
	})
	kept := 0
	for _, line := range got {
		if line == note {
			kept++
		}
	}
	assert.Equal(t, 8, kept)
	assert.Equal(t, "serving", got[len(got)-1])
}

func TestTheEndDoesNotWaitForAReaderThatDoesNotRead(t *testing.T) {
	t.Parallel()
	out, in := io.Pipe()
	o := newOutput(in)
	io.WriteString(o, "a request\n")
	o.close(time.Millisecond)
	n, err := io.WriteString(o, "a late request\n")
	assert.NoError(t, err)
	assert.Equal(t, 15, n)
	out.Close() // the write under way fails
	<-o.done
}
