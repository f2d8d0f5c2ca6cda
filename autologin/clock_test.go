package autologin

import (
	"testing"
	"time"

	"github.com/filescom/session"
	"github.com/stretchr/testify/assert"
)

func TestTheClockThatSaysLessEndsASession(t *testing.T) {
	t.Parallel()
	now := time.Now()
	s := &session.Session{ID: "1", TimeoutAt: now.Add(time.Hour).Round(0)}
	for name, tc := range map[string]struct {
		wall, monotonic, left time.Duration
	}{
		"both clocks go on":                   {10 * time.Minute, 10 * time.Minute, 50 * time.Minute},
		"the machine slept":                   {50 * time.Minute, 10 * time.Minute, 10 * time.Minute},
		"the wall clock was set back":         {-10 * time.Hour, 40 * time.Minute, 20 * time.Minute},
		"the wall clock was set beyond":       {10 * time.Hour, time.Minute, -9 * time.Hour},
		"the monotonic clock reached the end": {0, time.Hour, 0},
	} {
		h := newHeld(s, session.DefaultBaseURL, now)
		h.ends = h.ends.Add(tc.monotonic - tc.wall) // as if the wall clock had been set by that much
		assert.Equal(t, tc.left, h.left(now.Add(tc.monotonic)), name)
	}
}
