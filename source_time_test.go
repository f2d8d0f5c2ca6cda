//go:build go1.25

package session_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/filescom/session"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestALoginIsMadeBeforeTheSessionTimesOut(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ lifetime, early, from, to time.Duration }{
		"a minute by default":   {6 * time.Hour, 0, 6*time.Hour - time.Minute, 6*time.Hour - 54*time.Second},
		"as told":               {6 * time.Hour, 10 * time.Minute, 6*time.Hour - 10*time.Minute, 6*time.Hour - 9*time.Minute},
		"half a short lifetime": {time.Minute, 0, 30 * time.Second, 33 * time.Second},
		"half at most":          {time.Hour, 2 * time.Hour, 30 * time.Minute, 33 * time.Minute},
		"not below 0":           {time.Hour, -time.Hour, 59 * time.Minute, time.Hour - 54*time.Second},
		"a nanosecond":          {1, 0, 0, 1},
		"almost a year":         {365 * 24 * time.Hour, 0, 365*24*time.Hour - time.Minute, 365*24*time.Hour - 54*time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				logins := 0
				src := &session.Source{Early: tc.early, Login: func(context.Context) (*session.Session, error) {
					logins++
					return &session.Session{ID: "1", TimeoutAt: time.Now().Add(tc.lifetime)}, nil
				}, Logout: func(context.Context, *session.Session) error { return nil }}
				src.Session(t.Context())
				time.Sleep(tc.from - time.Nanosecond)
				synctest.Wait()
				src.Session(t.Context())
				if tc.lifetime > 1 {
					assert.Equal(t, 1, logins, "not yet")
				}
				time.Sleep(tc.to - tc.from + 2*time.Nanosecond)
				synctest.Wait()
				logins = 0
				src.Session(t.Context())
				assert.Equal(t, 1, logins)
				assert.NoError(t, src.Close(t.Context()))
			})
		})
	}
}

func TestATimeoutThatMakesNoSenseCountsAsUnreported(t *testing.T) {
	t.Parallel()
	for _, lifetime := range []time.Duration{-time.Hour, 0, 365*24*time.Hour + 1, 1<<63 - 1} {
		synctest.Test(t, func(t *testing.T) {
			logins := 0
			src := &session.Source{Login: func(context.Context) (*session.Session, error) {
				logins++
				return &session.Session{ID: "1", TimeoutAt: time.Now().Add(lifetime)}, nil
			}}
			for range 10 {
				src.Session(t.Context())
				time.Sleep(300 * 24 * time.Hour)
			}
			assert.Equal(t, 1, logins)
		})
	}
}

func TestBackOffDoublesFromASecondToAMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fail := errBroken
		src := &session.Source{Login: func(context.Context) (*session.Session, error) {
			if fail != nil {
				return nil, fail
			}
			return &session.Session{ID: "1"}, nil
		}}
		next := func() time.Duration { // fails once, and waits as long as it is told
			_, err := src.Session(t.Context())
			require.ErrorIs(t, err, fail)
			var told *session.BackoffError
			require.False(t, errors.As(err, &told))
			_, err = src.Session(t.Context())
			require.ErrorAs(t, err, &told)
			time.Sleep(told.Wait)
			return told.Wait
		}
		want := time.Second
		for range 12 {
			wait := next()
			assert.LessOrEqual(t, wait, want)
			assert.Greater(t, wait, want/2-1)
			want = min(2*want, time.Minute)
		}
		fail = &session.APIError{StatusCode: 503, RetryAfter: time.Hour}
		assert.Equal(t, time.Hour, next())
		fail = nil
		_, err := src.Session(t.Context())
		require.NoError(t, err)
		src.Invalidate(&session.Session{ID: "1"})
		fail = errBroken
		assert.LessOrEqual(t, next(), time.Second, "a success starts it over")
	})
}

func TestCloseLogsOutASessionThatIsDueForRenewal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out []string
		n := 0
		src := &session.Source{Login: func(context.Context) (*session.Session, error) {
			n++
			return &session.Session{ID: fmt.Sprint(n), TimeoutAt: time.Now().Add(time.Hour)}, nil
		}, Logout: func(_ context.Context, s *session.Session) error { out = append(out, s.ID); return nil }}
		src.Session(t.Context())
		time.Sleep(time.Hour - 30*time.Second)
		src.Session(t.Context()) // the first one was replaced early, and ends by itself
		time.Sleep(time.Hour - 30*time.Second)
		assert.NoError(t, src.Close(t.Context()))
		assert.Equal(t, []string{"2"}, out)
	})
}

func TestCloseWithADeadContextHasFiveSeconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := &session.Source{
			Login:  func(ctx context.Context) (*session.Session, error) { <-ctx.Done(); return nil, ctx.Err() },
			Logout: func(context.Context, *session.Session) error { return nil },
		}
		waiter := get(context.Background(), src)
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		start := time.Now()
		assert.ErrorIs(t, src.Close(ctx), context.DeadlineExceeded)
		assert.Equal(t, 5*time.Second, time.Since(start))
		assert.ErrorIs(t, <-waiter, session.ErrSourceClosed)
	})
}

// A model of everything that may happen to a Source, in random order: ten
// thousand traces, each from its own seed, on a clock of its own.
func TestNoTraceLeavesASessionBehind(t *testing.T) {
	t.Parallel()
	traces := 10_000
	if testing.Short() {
		traces = 500
	}
	for seed := range traces {
		synctest.Test(t, func(t *testing.T) { newModel(t, uint64(seed)).run() })
		if t.Failed() {
			return
		}
	}
}

// model drives a Source and plays the server. Every event settles before the
// next one.
type model struct {
	t   *testing.T
	src *session.Source

	mu      sync.Mutex // guards the rest: after a failed login the next one may begin at once
	rng     *rand.Rand
	trace   []string
	live    map[string]time.Time // sessions that the server knows, and until when
	spare   map[string]bool      // of them, those that the Source was told to forget, or replaced early
	held    string               // the newest session
	n       int
	running atomic.Int32
	let     chan string // what the login under way does
	callers []caller
	refused atomic.Bool // and not Reset since
	closed  atomic.Bool
}

type caller struct {
	cancel context.CancelFunc
	out    <-chan error
}

func newModel(t *testing.T, seed uint64) *model {
	m := &model{t: t, rng: rand.New(rand.NewPCG(seed, 0)), live: map[string]time.Time{}, spare: map[string]bool{}, let: make(chan string)}
	m.src = &session.Source{Login: m.login, Logout: m.logout}
	m.note(fmt.Sprint("seed ", seed))
	return m
}

func (m *model) note(event string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.trace = append(m.trace, event)
}

func (m *model) pick(n int) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rng.IntN(n)
}

func (m *model) check(ok bool, what string) {
	if !ok {
		m.t.Fatalf("%s:\n%s", what, strings.Join(m.trace, "\n"))
	}
}

func (m *model) login(ctx context.Context) (*session.Session, error) {
	m.check(m.running.Add(1) == 1, "two logins at a time")
	defer m.running.Add(-1)
	m.check(!m.refused.Load(), "a login after a refusal")
	m.check(!m.closed.Load(), "a login after Close")
	stubborn := m.pick(4) == 0 // does not look at its context
	what := ""
	if stubborn {
		what = <-m.let
	} else {
		select {
		case what = <-m.let:
		case <-ctx.Done():
			m.note("  login cancelled")
			return nil, ctx.Err()
		}
	}
	m.note("  login: " + what)
	switch what {
	case "ok":
		lifetime, reported := time.Duration(1+m.pick(10))*time.Minute, m.pick(2) == 0
		m.mu.Lock()
		defer m.mu.Unlock()
		m.n++
		if m.held != "" {
			m.spare[m.held] = true
		}
		m.held = fmt.Sprint("id", m.n)
		s := &session.Session{ID: m.held}
		m.live[s.ID] = time.Now().Add(lifetime)
		if reported {
			s.TimeoutAt = m.live[s.ID]
		}
		return s, nil
	case "panic":
		panic(errBroken)
	case "refuse":
		m.refused.Store(!m.closed.Load())
		return nil, &session.APIError{StatusCode: 401}
	}
	return nil, errBroken
}

func (m *model) logout(ctx context.Context, s *session.Session) error {
	m.note("  logout " + s.ID)
	m.check(ctx.Err() == nil, "a log-out under a dead context")
	if m.pick(4) == 0 {
		return errBroken
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.live, s.ID)
	return nil
}

// settle lets everything come to rest and checks what must hold then.
func (m *model) settle() {
	synctest.Wait()
	var unspared []string
	for id, until := range m.live {
		if !time.Now().Before(until) {
			delete(m.live, id)
		} else if !m.spare[id] {
			unspared = append(unspared, id)
		}
	}
	m.check(len(unspared) <= 1, fmt.Sprint("live: ", unspared))
	rest := m.callers[:0]
	for _, c := range m.callers {
		select {
		case <-c.out:
			c.cancel()
		default:
			rest = append(rest, c)
		}
	}
	m.callers = rest
	m.check(m.running.Load() > 0 || len(m.callers) == 0, "callers wait for no login")
}

func (m *model) get() {
	ctx, cancel := context.WithCancel(context.Background())
	out := make(chan error, 1)
	go func() {
		defer func() {
			if recover() != nil {
				out <- errBroken
			}
		}()
		s, err := m.src.Session(ctx)
		if err == nil {
			m.check(s.ID == m.held, "an old session")
			m.check(!m.closed.Load(), "a session after Close")
		}
		out <- err
	}()
	m.callers = append(m.callers, caller{cancel, out})
}

func (m *model) run() {
	for range 5 + m.pick(40) {
		switch event := m.pick(12); event {
		case 0, 1, 2, 3:
			m.note("get")
			m.get()
		case 4, 5:
			if m.running.Load() > 0 {
				what := []string{"ok", "ok", "ok", "fail", "refuse", "panic"}[m.pick(6)]
				m.let <- what
			}
		case 6:
			if len(m.callers) > 0 {
				m.note("cancel")
				m.callers[m.pick(len(m.callers))].cancel()
			}
		case 7:
			m.note("end and invalidate " + m.held)
			delete(m.live, m.held)
			m.src.Invalidate(&session.Session{ID: m.held})
		case 8:
			stale := fmt.Sprint("id", m.pick(m.n+1))
			if stale != m.held {
				m.note("invalidate " + stale)
				m.src.Invalidate(&session.Session{ID: stale})
			}
		case 9:
			m.note("reset")
			m.spare[m.held] = true // forgotten as told
			m.refused.Store(false)
			m.src.Reset()
			if m.running.Load() > 0 {
				m.let <- "fail" // what comes of it is not kept
			}
		case 10:
			wait := time.Duration(m.pick(180)) * time.Second
			m.note("wait " + wait.String())
			time.Sleep(wait)
		case 11:
			if m.pick(5) == 0 {
				m.note("close")
				m.close()
			}
		}
		m.settle()
	}
	m.note("at the end: close")
	for !m.close() {
	}
	m.settle()
	m.check(len(m.callers) == 0, "callers are left")
	for id := range m.live {
		m.check(m.spare[id], id+" is live after Close")
	}
}

// close closes the Source, with a context that may be dead or die. It reports
// whether that succeeded.
func (m *model) close() bool {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if m.pick(3) == 0 {
		cancel()
	}
	m.closed.Store(true)
	done := make(chan error, 1)
	go func() {
		defer func() {
			if recover() != nil {
				done <- nil
			}
		}()
		done <- m.src.Close(ctx)
	}()
	synctest.Wait()
	if m.running.Load() > 0 {
		if m.pick(3) == 0 {
			m.note("  close gives up")
			cancel()
			synctest.Wait()
		}
		if m.running.Load() > 0 {
			m.let <- []string{"ok", "fail", "panic"}[m.pick(3)]
		}
	}
	return <-done == nil
}
