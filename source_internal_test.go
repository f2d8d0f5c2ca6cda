package session

import (
	"context"
	"math"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheAuthHeaderIsAsNetHTTPSpellsIt(t *testing.T) {
	t.Parallel()
	assert.Equal(t, http.CanonicalHeaderKey(AuthHeader), authHeader)
}

// A timer that has fired when its session is replaced, or fires when the clock
// was set, finds a session whose time has not come.
func TestAnExpiryOutOfTimeForgetsNothing(t *testing.T) {
	t.Parallel()
	for _, timeout := range []time.Time{{}, time.Now().Add(time.Hour)} {
		s := &Session{ID: "1", TimeoutAt: timeout}
		src := &Source{Login: func(context.Context) (*Session, error) { return s, nil }}
		src.expire() // with none
		got, err := src.Session(t.Context())
		require.NoError(t, err)
		src.expire()
		assert.Same(t, got, src.session.Load())
		assert.Empty(t, src.unended)
		src.Reset()
	}
}

// With the longest Early a session is given up when it has ended too.
func TestALongEarlyDoesNotOverflow(t *testing.T) {
	t.Parallel()
	s := &Session{ID: "1", TimeoutAt: time.Now().Add(time.Hour)}
	src := &Source{Early: math.MaxInt64, Login: func(context.Context) (*Session, error) { return s, nil }}
	_, err := src.Session(t.Context())
	require.NoError(t, err)
	src.mu.Lock()
	s.TimeoutAt = time.Now().Add(-time.Hour)
	src.mu.Unlock()
	src.expire()
	assert.Nil(t, src.session.Load())
}

// The origin of a session that no Transport has sent is known after its end.
func TestTheOriginOutlivesTheSession(t *testing.T) {
	t.Parallel()
	src := &Source{Login: func(context.Context) (*Session, error) {
		return &Session{ID: "1", BaseURL: "https://MySite.files.com:443"}, nil
	}}
	assert.Nil(t, src.known())
	s, err := src.Session(t.Context())
	require.NoError(t, err)
	src.Invalidate(&Session{ID: s.ID})
	assert.Equal(t, &sent{origin: "https://mysite.files.com"}, src.known(), "and nothing else")
	late := src.send(s)
	assert.Equal(t, [2]string{"1"}, late.values)
	assert.Nil(t, src.known().session, "what is sent late is not kept")
	src.Reset()
	assert.Nil(t, src.known())
}
