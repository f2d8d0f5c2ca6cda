package session_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/filescom/session"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// clockSource logs in by the fake clock of synctest: each session lasts as long
// as lifetime says.
type clockSource struct {
	session.Source
	logins   int
	lifetime time.Duration
	fail     error
	takes    time.Duration // of a login
}

func newClockSource(lifetime time.Duration) *clockSource {
	src := &clockSource{lifetime: lifetime}
	src.Login = func(context.Context) (*session.Session, error) {
		src.logins++
		time.Sleep(src.takes)
		if src.fail != nil {
			return nil, src.fail
		}
		return &session.Session{ID: fmt.Sprint("id", src.logins), TimeoutAt: time.Now().Add(src.lifetime)}, nil
	}
	src.Logout = func(context.Context, *session.Session) error { return nil }
	return src
}

// id returns the ID of the session, after all goroutines have come to rest.
func (src *clockSource) id(t *testing.T) string {
	t.Helper()
	s, err := src.Session(t.Context())
	synctest.Wait()
	require.NoError(t, err)
	return s.ID
}

func TestASessionIsRenewedShortlyBeforeItTimesOut(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ lifetime, early, from, to time.Duration }{
		"a minute by default":        {6 * time.Hour, 0, 6*time.Hour - time.Minute, 6*time.Hour - 54*time.Second},
		"as set":                     {6 * time.Hour, 10 * time.Minute, 6*time.Hour - 10*time.Minute, 6*time.Hour - 9*time.Minute},
		"half of a short lifetime":   {time.Minute, 0, 30 * time.Second, 33 * time.Second},
		"half of the lifetime":       {time.Hour, 2 * time.Hour, 30 * time.Minute, 33 * time.Minute},
		"the longest time there is":  {time.Hour, math.MaxInt64, 30 * time.Minute, 33 * time.Minute},
		"a negative time":            {time.Hour, -time.Hour, 59 * time.Minute, time.Hour - 54*time.Second},
		"half of a second":           {time.Second, 0, 500 * time.Millisecond, 550 * time.Millisecond},
		"a minute of almost a year":  {365 * 24 * time.Hour, 0, 365*24*time.Hour - time.Minute, 365*24*time.Hour - 54*time.Second},
		"a nanosecond is kept apart": {time.Hour, 1, time.Hour - 1, time.Hour - 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := newClockSource(tc.lifetime)
				src.Early = tc.early
				src.id(t)
				time.Sleep(tc.from - time.Nanosecond)
				src.id(t)
				assert.Equal(t, 1, src.logins, "not yet")
				time.Sleep(tc.to - tc.from + time.Nanosecond)
				assert.Equal(t, "id1", src.id(t), "the caller that starts the renewal does not wait for it")
				assert.Equal(t, "id2", src.id(t))
				assert.Equal(t, 2, src.logins)
				assert.NoError(t, src.Close(t.Context()))
			})
		})
	}
}

func TestManySourcesDoNotRenewAtTheSameTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		renewed, sources := 0, make([]*clockSource, 30)
		for i := range sources {
			sources[i] = newClockSource(time.Hour)
			sources[i].Early = 10 * time.Minute
			sources[i].id(t)
		}
		time.Sleep(50*time.Minute + 30*time.Second) // half of the first tenth of Early
		for _, src := range sources {
			src.id(t)
			renewed += src.logins - 1
		}
		assert.Greater(t, renewed, 0)
		assert.Less(t, renewed, len(sources))
	})
}

func TestNoCallerWaitsForARenewalWhileTheSessionIsGood(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := newClockSource(time.Hour)
		src.id(t)
		src.takes = 50 * time.Second
		time.Sleep(time.Hour - 30*time.Second)
		start := time.Now()
		for range 1000 {
			assert.Equal(t, "id1", src.id(t))
		}
		assert.Zero(t, time.Since(start))
		time.Sleep(30 * time.Second)
		s, err := src.Session(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "id2", s.ID, "from TimeoutAt on callers wait")
		assert.Equal(t, 50*time.Second, time.Since(start))
		assert.Equal(t, 2, src.logins)
	})
}

// Before the fix, with a lifetime of 4 seconds and an Early of 2 seconds, a server
// that answered 503 made every call fail after 2 seconds.
func TestARenewalThatFailsLeavesTheSessionInUse(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]error{
		"a failure": &session.APIError{StatusCode: 503},
		"a refusal": &session.APIError{StatusCode: 401, Type: "not-authenticated/locked-out"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := newClockSource(4 * time.Second)
				src.Early = 2 * time.Second
				src.id(t)
				src.fail = fail
				for range 39 {
					time.Sleep(100 * time.Millisecond)
					assert.Equal(t, "id1", src.id(t))
				}
				assert.GreaterOrEqual(t, src.logins, 2)
				assert.LessOrEqual(t, src.logins, 4, "the renewals back off")
				time.Sleep(100 * time.Millisecond)
				_, err := src.Session(t.Context())
				assert.ErrorIs(t, err, fail, "after the end of the session callers get the failure")
			})
		})
	}
}

func TestAContextThatHasEndedStartsNoRenewal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := newClockSource(time.Hour)
		src.id(t)
		time.Sleep(time.Hour - time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := src.Session(ctx)
		synctest.Wait()
		assert.NoError(t, err)
		assert.Equal(t, 1, src.logins)
	})
}

// Before the fix, a clock that ran ahead caused 38 logins in 2 seconds.
func TestAnImplausibleTimeoutAtIsIgnored(t *testing.T) {
	t.Parallel()
	for _, lifetime := range []time.Duration{-time.Hour, 0, 100 * time.Millisecond, time.Second - 1, 365*24*time.Hour + 1, 1<<63 - 1} {
		synctest.Test(t, func(t *testing.T) {
			src := newClockSource(lifetime)
			for range 10 {
				assert.Equal(t, "id1", src.id(t))
				time.Sleep(300 * 24 * time.Hour)
			}
			static := session.StaticSource(&session.Session{ID: "1", TimeoutAt: time.Now().Add(lifetime)})
			time.Sleep(time.Minute)
			_, err := static.Session(t.Context())
			assert.NoError(t, err)
		})
	}
}

func TestAStaticSourceEndsWithItsSession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := session.StaticSource(&session.Session{ID: "1", TimeoutAt: time.Now().Add(time.Hour)})
		time.Sleep(time.Hour - 1)
		_, err := src.Session(t.Context())
		assert.NoError(t, err)
		time.Sleep(time.Nanosecond)
		_, err = src.Session(t.Context())
		assert.ErrorIs(t, err, session.ErrSessionEnded)
	})
}

// The next two tests move TimeoutAt instead of the wall clock. For a Source, a
// TimeoutAt that is an hour earlier has the same effect as a clock that is set
// forward by an hour. The monotonic clock is that of synctest.

// Before the fix, a laptop that had slept for 8 hours used a session that had ended
// 2 hours before, since its monotonic clock had stood still.
func TestTheWallClockEndsASession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := newClockSource(6 * time.Hour)
		s, err := src.Session(t.Context())
		require.NoError(t, err)
		s.TimeoutAt = s.TimeoutAt.Add(-8 * time.Hour)
		assert.Equal(t, "id2", src.id(t))
	})
}

// Before the fix, a clock that was set back prolonged a session by the same time.
func TestTheMonotonicClockEndsASession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := newClockSource(6 * time.Hour)
		s, err := src.Session(t.Context())
		require.NoError(t, err)
		s.TimeoutAt = s.TimeoutAt.Add(48 * time.Hour)
		time.Sleep(6*time.Hour - time.Minute - 1)
		assert.Equal(t, "id1", src.id(t))
		src.takes = time.Hour
		time.Sleep(time.Minute + 1)
		assert.Equal(t, "id2", src.id(t))
	})
}

func TestALockOutEndsByItself(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ retryAfter, kept time.Duration }{
		{0, 15 * time.Minute},
		{time.Minute, time.Minute},
		{time.Hour, time.Hour},
	} {
		synctest.Test(t, func(t *testing.T) {
			src := newClockSource(time.Hour)
			src.fail = &session.APIError{StatusCode: 401, Type: "not-authenticated/locked-out", RetryAfter: tc.retryAfter}
			refused := func() {
				t.Helper()
				for range 100 {
					_, err := src.Session(t.Context())
					assert.Equal(t, src.fail, err)
				}
			}
			refused()
			time.Sleep(tc.kept - 1)
			refused()
			assert.Equal(t, 1, src.logins)
			time.Sleep(time.Nanosecond)
			refused()
			assert.Equal(t, 2, src.logins, "one login is tried, and refused again")
			time.Sleep(tc.kept)
			src.fail = nil
			assert.Equal(t, "id3", src.id(t))
		})
	}
}

func TestOtherRefusalsDoNotEndByThemselves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := newClockSource(time.Hour)
		src.fail = &session.APIError{StatusCode: 401, Type: "bad-request/invalid-username-or-password", RetryAfter: time.Minute}
		for range 10 {
			_, err := src.Session(t.Context())
			assert.Equal(t, src.fail, err)
			time.Sleep(300 * 24 * time.Hour)
		}
		assert.Equal(t, 1, src.logins)
	})
}

func TestSessionsThatNoAnswerAcceptsAreReplacedMoreAndMoreSlowly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := newClockSource(time.Hour)
		start := time.Now()
		for time.Since(start) < 10*time.Minute {
			s, err := src.Session(t.Context())
			var wait *session.BackoffError
			if errors.As(err, &wait) {
				time.Sleep(wait.Wait)
				continue
			}
			src.Invalidate(s)
		}
		assert.Greater(t, src.logins, 10)
		assert.Less(t, src.logins, 30)

		src.Reset()
		for range 100 { // a session that lasted for a minute counts as accepted
			s, err := src.Session(t.Context())
			require.NoError(t, err)
			time.Sleep(time.Minute + 1)
			src.Invalidate(s)
		}
	})
}

func TestAPanicOfLoginReachesEveryCaller(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newManualLogin()
		src := &session.Source{Login: func(ctx context.Context) (*session.Session, error) {
			if s, err := d.login(ctx); err == nil {
				return s, nil
			}
			panic(errBroken)
		}}
		caught := make(chan any, 10)
		for range 10 {
			go func() {
				defer func() { caught <- recover() }()
				src.Session(t.Context())
			}()
		}
		synctest.Wait()
		d.result <- errBroken
		for range 10 {
			assert.Equal(t, errBroken, <-caught)
		}
		var wait *session.BackoffError
		_, err := src.Session(t.Context())
		require.ErrorAs(t, err, &wait)
		time.Sleep(wait.Wait)
		d.result <- nil
		_, err = src.Session(t.Context())
		assert.NoError(t, err)
	})
}

func TestAPanicOfARenewalIsKeptAsAFailureAndLogged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out output
		logins := 0
		src := &session.Source{Logger: slog.New(slog.NewTextHandler(&out, nil)), Login: func(context.Context) (*session.Session, error) {
			if logins++; logins > 1 {
				panic(passwordCanary)
			}
			return &session.Session{ID: "1", TimeoutAt: time.Now().Add(time.Hour)}, nil
		}}
		for _, after := range []time.Duration{0, time.Hour - 100*time.Millisecond} {
			time.Sleep(after)
			_, err := src.Session(t.Context())
			require.NoError(t, err)
			synctest.Wait()
		}
		time.Sleep(100 * time.Millisecond)
		_, err := src.Session(t.Context())
		var wait *session.BackoffError
		require.ErrorAs(t, err, &wait)
		assert.ErrorContains(t, err, "Source.Login panicked with a value of type string")
		assert.Contains(t, out.String(), `level=WARN msg="Files.com session renewal failed" error="session: Source.Login panicked with a value of type string"`)
		assertHidesSecrets(t, err)
		assertNoSecret(t, out.String())

		// A caller that waits for the renewal panics.
		time.Sleep(wait.Wait)
		assert.PanicsWithValue(t, passwordCanary, func() { src.Session(t.Context()) })
	})
}

func TestRevokeEndsTheSessionOfALoginThatIsRunning(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newManualLogin()
		src := d.source()
		waiter := get(t.Context(), src)
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		revoked := make(chan error)
		go func() { revoked <- src.Revoke(ctx) }()
		synctest.Wait()
		cancel()
		assert.ErrorIs(t, <-revoked, context.Canceled)
		login := <-d.started
		assert.NoError(t, login.Err(), "the login is not canceled")

		go func() { revoked <- src.Revoke(t.Context()) }()
		synctest.Wait()
		d.result <- nil
		assert.NoError(t, <-revoked, "and the second Revoke waited for it")
		assert.EqualValues(t, 1, d.logouts.Load())
		<-d.started // another login, which the waiting caller has started
		d.result <- nil
		assert.NoError(t, <-waiter)
		s, err := src.Session(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "id2", s.ID)
	})
}

func TestRevokeDuringARenewalEndsBothSessions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out []string
		src := newClockSource(time.Hour)
		src.Logout = func(_ context.Context, s *session.Session) error { out = append(out, s.ID); return nil }
		src.id(t)
		time.Sleep(time.Hour - time.Second)
		src.takes = time.Minute
		src.id(t)
		assert.NoError(t, src.Revoke(t.Context()))
		assert.Equal(t, []string{"id1", "id2"}, out)
		assert.Equal(t, "id3", src.id(t))
	})
}

func TestAPanicCountsAsAFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logins := 0
		src := &session.Source{Login: func(context.Context) (*session.Session, error) { logins++; panic(passwordCanary) }}
		assert.PanicsWithValue(t, passwordCanary, func() { src.Session(t.Context()) })
		for range 100 {
			_, err := src.Session(t.Context())
			var wait *session.BackoffError
			require.ErrorAs(t, err, &wait)
			assert.ErrorContains(t, err, "Source.Login panicked with a value of type string")
			assertHidesSecrets(t, err)
		}
		assert.Equal(t, 1, logins)
	})
}

// Before the fix, a server that accepts logins and refuses each session got 101
// logins for 100 requests.
func TestTheSecondSessionInARowThatNoAnswerAcceptsCountsAsAFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logins := 0
		src := &session.Source{Login: func(context.Context) (*session.Session, error) {
			logins++
			return &session.Session{ID: fmt.Sprint(idCanary, logins)}, nil
		}}
		for n := range 100 {
			s, err := src.Session(t.Context())
			if n < 2 {
				require.NoError(t, err, "the first one is replaced at once")
				src.Invalidate(s)
				continue
			}
			var wait *session.BackoffError
			require.ErrorAs(t, err, &wait)
			assert.ErrorContains(t, err, "2 sessions in a row ended before an answer accepted them")
			assert.NotErrorIs(t, err, session.ErrSessionEnded)
			assertHidesSecrets(t, err)
		}
		assert.Equal(t, 2, logins)
		src.Reset()
		_, err := src.Session(t.Context())
		assert.NoError(t, err)
	})
}

func TestOtherFailuresBackOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newManualLogin()
		src := d.source()
		moved := &session.RegionMismatchError{Host: "h", Err: &session.APIError{StatusCode: 401, Type: "not-authenticated/lockout-region-mismatch"}}
		d.result <- moved
		_, err := src.Session(t.Context())
		assert.ErrorIs(t, err, moved, "the caller that waited gets the failure itself")
		for range 100 {
			_, err = src.Session(t.Context())
			var wait *session.BackoffError
			require.ErrorAs(t, err, &wait)
			assert.ErrorIs(t, err, moved)
			assert.Greater(t, wait.Wait, time.Duration(0))
			assert.LessOrEqual(t, wait.Wait, time.Second)
		}
		assert.EqualValues(t, 1, d.logins.Load())
		src.Reset()
		d.result <- nil
		_, err = src.Session(t.Context())
		assert.NoError(t, err)
	})
}

// Before the fix, 100 requests to such a server caused 101 logins in 0.14 seconds.
func TestAServerThatRefusesEverySessionCostsTwoLogins(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &counter{}
		tr := &session.Transport{Source: c.source(), Base: ended(0, deadSession, nil)}
		resp, text := roundTrip(t, tr, "GET", session.DefaultBaseURL, nil)
		assert.Equal(t, 401, resp.StatusCode)
		assert.Equal(t, deadSession, text)
		for range 99 {
			req, err := http.NewRequestWithContext(t.Context(), "GET", session.DefaultBaseURL, nil)
			require.NoError(t, err)
			_, err = tr.RoundTrip(req)
			var wait *session.BackoffError
			require.ErrorAs(t, err, &wait)
			assert.ErrorContains(t, err, "2 sessions in a row ended before an answer accepted them")
		}
		assert.EqualValues(t, 2, c.logins.Load())
	})
}

func TestAnUnacceptedSessionDoesNotClearARefusal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := newClockSource(20 * time.Second)
		src.id(t)
		src.Invalidate(&session.Session{ID: "id1"})
		src.id(t)
		src.fail = session.ErrNotAuthenticated
		time.Sleep(15 * time.Second)
		assert.Equal(t, "id2", src.id(t), "its renewal is refused")
		src.Invalidate(&session.Session{ID: "id2"})
		for range 10 {
			_, err := src.Session(t.Context())
			assert.Equal(t, src.fail, err)
			time.Sleep(time.Hour)
		}
		assert.Equal(t, 3, src.logins)
	})
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
		next := func() time.Duration { // fails once, and waits as long as the error says
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
		assert.LessOrEqual(t, next(), time.Second, "a success resets the back-off")
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
		src.Session(t.Context()) // starts a renewal; the first session is left to end by itself
		synctest.Wait()
		time.Sleep(time.Hour - 30*time.Second)
		assert.NoError(t, src.Close(t.Context()))
		assert.Equal(t, []string{"2"}, out)
	})
}

func TestCloseTakesFiveSecondsIfItsContextHasEnded(t *testing.T) {
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

// The model test makes everything happen to a Source that may happen, in random
// order. It runs ten thousand traces, each with its own seed and its own clock.
// These sentences hold in every trace:
const (
	oneLogin       = "one login runs at a time"
	noneAfterClose = "no login starts after Close"
	refusalsKept   = "no login starts after a refusal, until Reset or the end of a lock-out"
	backsOff       = "no login starts within half a second after one that failed, except after Reset"
	neverStatic    = "a static Source never logs in"
	newestOnly     = "a caller gets the newest session or none"
	neverOver      = "a caller never gets a session that has ended by the wall clock or by the monotonic clock"
	noneWaits      = "no caller waits while the session is good"
	waitsForLogin  = "a caller waits only while a login runs"
	goodReason     = "a caller that gets no session gets an error that still holds"
	healsInTime    = "a caller that gets an error from memory comes after a refusal, within 15 minutes after a lock-out, or within a minute after another failure"
	oneAlive       = "one session is alive at a time, except those that were forgotten as intended, replaced by a renewal, or not logged out since Close or Revoke failed"
	onlyAsTold     = "a session is logged out only by Close and Revoke, and a static one only by Revoke"
	liveContext    = "a log-out has a live context"
	nothingLeft    = "after Close and Revoke no session is alive, except those that were forgotten as intended or replaced by a renewal"
	nobodyLeft     = "after Close no caller waits"
)

func TestNoSequenceOfEventsLeavesASessionBehind(t *testing.T) {
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

// model drives a Source and acts as the server. Each event waits until the one
// before has come to rest.
type model struct {
	t      *testing.T
	src    *session.Source
	static bool

	mu      sync.Mutex // guards the rest: callers and logins read it
	rng     *rand.Rand
	trace   []string
	n       int                  // sessions made
	live    map[string]time.Time // the sessions that the server knows, and until when
	left    map[string]bool      // the live sessions that are left to end by themselves
	owed    map[string]bool      // the live sessions that Close or Revoke must still log out
	held    *heldSession         // nil when the Source has to log in
	wall    time.Duration        // how far the wall clock is set forward
	running int                  // logins
	ended   int                  // logins
	outcome chan string          // ends the login that runs
	callers []caller

	closed     bool
	revoked    bool      // Revoke was called since the running login began
	reset      bool      // Reset was called since the running login began
	refused    bool      // until Reset
	noneUntil  time.Time // no login may start before
	oneFrom    time.Time // a login starts if it is asked for from then on
	unaccepted int       // sessions in a row that ended within a minute
}

// heldSession is the session that the Source must return.
type heldSession struct {
	*session.Session
	keptAt   time.Time
	lifetime time.Duration // 0 if it is not reported or not plausible
}

func (h *heldSession) good() bool {
	return h != nil && (h.lifetime == 0 || time.Now().Before(h.TimeoutAt) && time.Since(h.keptAt) < h.lifetime)
}

type caller struct {
	cancel context.CancelFunc
	out    <-chan error
}

func newModel(t *testing.T, seed uint64) *model {
	m := &model{t: t, rng: rand.New(rand.NewPCG(seed, 0)), live: map[string]time.Time{}, left: map[string]bool{}, owed: map[string]bool{}, outcome: make(chan string)}
	m.note(fmt.Sprint("seed ", seed))
	m.src = &session.Source{}
	if m.static = seed%8 == 0; m.static {
		m.held = m.newSession()
		m.src = session.StaticSource(m.held.Session)
	}
	m.src.Login, m.src.Logout = m.login, m.logout
	return m
}

func (m *model) note(event string) { m.trace = append(m.trace, event) }

func (m *model) pick(n int) int { return m.rng.IntN(n) }

// newSession makes a session, whose TimeoutAt says when it ends by the wall
// clock.
func (m *model) newSession() *heldSession {
	m.n++
	h := &heldSession{Session: &session.Session{ID: fmt.Sprint("id", m.n)}, keptAt: time.Now()}
	until := time.Now().Add(time.Duration(1+m.pick(600)) * time.Second)
	m.live[h.ID] = until
	if m.pick(3) > 0 {
		h.TimeoutAt = until.Add(-m.wall)
		if lifetime := time.Until(h.TimeoutAt); lifetime >= time.Second {
			h.lifetime = lifetime
		}
	}
	return h
}

func (m *model) check(ok bool, sentence string) {
	if !ok {
		m.t.Fatalf("It does not hold that %s:\n%s", sentence, strings.Join(m.trace, "\n"))
	}
}

func (m *model) login(ctx context.Context) (*session.Session, error) {
	m.mu.Lock()
	m.running++
	m.note("  a login starts")
	m.check(!m.static, neverStatic)
	m.check(m.running == 1, oneLogin)
	m.check(!m.closed, noneAfterClose)
	m.check(!m.refused, refusalsKept)
	m.check(!time.Now().Before(m.noneUntil), backsOff)
	m.revoked, m.reset = false, false
	deaf := m.pick(4) == 0 // the login ignores its context
	m.mu.Unlock()

	outcome := "canceled"
	if deaf {
		outcome = <-m.outcome
	} else {
		select {
		case outcome = <-m.outcome:
		case <-ctx.Done():
		}
	}

	m.mu.Lock()
	defer m.mu.Unlock()
	m.running--
	m.ended++
	m.note("  the login ends: " + outcome)
	if outcome == "ok" {
		h := m.newSession()
		m.refused, m.noneUntil, m.oneFrom = false, time.Time{}, time.Time{}
		if m.closed || m.revoked {
			m.owed[h.ID] = true
		} else {
			m.forget()
			m.held = h
		}
		return h.Session, nil
	}
	kept := !m.reset && !m.closed
	if kept {
		m.backOff()
	}
	switch outcome {
	case "panic":
		panic(errBroken)
	case "end the goroutine":
		runtime.Goexit()
	case "refuse":
		m.refused = kept
		return nil, &session.APIError{StatusCode: 401, Type: "not-authenticated/x"}
	case "lock out":
		if kept {
			m.noneUntil = time.Now().Add(15 * time.Minute)
			m.oneFrom = m.noneUntil
		}
		return nil, &session.APIError{StatusCode: 401, Type: "not-authenticated/locked-out"}
	}
	return nil, errBroken
}

func (m *model) logout(ctx context.Context, s *session.Session) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.check(m.owed[s.ID], onlyAsTold)
	m.check(ctx.Err() == nil, liveContext)
	outcome := []string{"ok", "ok", "ok", "ok", "ok", "ok", "fail", "panic"}[m.pick(8)]
	m.note("  log-out of " + s.ID + ": " + outcome)
	switch outcome {
	case "fail":
		return errBroken
	case "panic":
		panic(errBroken)
	}
	delete(m.owed, s.ID)
	delete(m.live, s.ID)
	return nil
}

func (m *model) backOff() {
	m.noneUntil, m.oneFrom = time.Now().Add(time.Second/2), time.Now().Add(time.Minute)
}

// forget leaves the session that is held to end by itself.
func (m *model) forget() {
	if m.held != nil {
		m.left[m.held.ID] = true
		if time.Since(m.held.keptAt) > time.Minute {
			m.unaccepted = 0
		}
		m.held = nil
	}
}

// endHeld does to the model what Invalidate does to the Source.
func (m *model) endHeld() {
	m.unaccepted++
	if time.Since(m.held.keptAt) > time.Minute {
		m.unaccepted = 0
	}
	m.held = nil
	if m.unaccepted > 1 && !m.refused && m.oneFrom.IsZero() {
		m.backOff()
	}
}

// rest waits until all goroutines have come to rest, and checks the sentences above.
func (m *model) rest() {
	synctest.Wait()
	alive := 0
	for id, until := range m.live {
		if !time.Now().Before(until) {
			delete(m.live, id)
		} else if !m.left[id] && !m.owed[id] {
			alive++
		}
	}
	m.check(alive <= 1, oneAlive)
	waiting := m.callers[:0]
	for _, c := range m.callers {
		select {
		case <-c.out:
			c.cancel()
		default:
			waiting = append(waiting, c)
		}
	}
	m.callers = waiting
	m.check(m.running > 0 || len(m.callers) == 0, waitsForLogin)
}

func (m *model) get() {
	ctx, cancel := context.WithCancel(context.Background())
	out := make(chan error, 1)
	good, before, ended := m.held.good(), len(m.callers), m.ended
	go func() {
		defer func() {
			if recover() != nil {
				out <- errBroken
			}
		}()
		s, err := m.src.Session(ctx)
		m.mu.Lock()
		defer m.mu.Unlock()
		m.checkAnswer(s, err, good)
		if err != nil && ctx.Err() == nil && m.ended == ended {
			m.check(m.closed || m.static || m.refused || time.Now().Before(m.oneFrom), healsInTime)
		}
		out <- err
	}()
	m.callers = append(m.callers, caller{cancel, out})
	m.rest()
	m.check(!good || len(m.callers) == before, noneWaits)
}

func (m *model) checkAnswer(s *session.Session, err error, good bool) {
	m.check(err == nil || !good, goodReason)
	var wait *session.BackoffError
	switch {
	case err == nil:
		m.check(m.held != nil && s == m.held.Session, newestOnly)
		m.check(m.held.good(), neverOver)
	case errors.Is(err, session.ErrSourceClosed):
		m.check(m.closed, goodReason)
	case errors.Is(err, session.ErrSessionEnded):
		m.check(m.static && !m.held.good(), goodReason)
	case errors.As(err, &wait):
		m.check(!m.closed && !m.static && wait.Wait > 0 && wait.Wait <= time.Minute, goodReason)
	default:
		m.check(!m.closed, goodReason)
	}
}

// end ends the login that runs, if there is one.
func (m *model) end() {
	if m.running > 0 {
		m.outcome <- []string{"ok", "ok", "ok", "ok", "fail", "refuse", "lock out", "panic", "end the goroutine"}[m.pick(9)]
	}
}

// moveClocks lets the machine sleep, or sets its wall clock. The Source sees the
// wall clock move as the TimeoutAt of its session moves the other way.
func (m *model) moveClocks() {
	moved := time.Duration(m.pick(1200)) * time.Second
	if m.pick(2) == 0 {
		m.note("the machine sleeps for " + moved.String())
		for id, until := range m.live {
			m.live[id] = until.Add(-moved)
		}
	} else {
		moved -= 10 * time.Minute
		m.note("the wall clock is set by " + moved.String())
		m.wall += moved
	}
	if m.held != nil && m.held.lifetime > 0 {
		m.held.TimeoutAt = m.held.TimeoutAt.Add(-moved)
	}
}

func (m *model) run() {
	for range 5 + m.pick(40) {
		switch m.pick(14) {
		case 0, 1, 2, 3:
			m.note("a caller comes")
			m.get()
		case 4, 5, 6:
			m.end()
		case 7:
			if len(m.callers) > 0 {
				m.note("a caller leaves")
				m.callers[m.pick(len(m.callers))].cancel()
			}
		case 8:
			id := fmt.Sprint("id", 1+m.pick(m.n+1))
			if m.held != nil && m.pick(2) == 0 {
				id = m.held.ID
			}
			m.note("the server ends " + id)
			delete(m.live, id)
			if m.held != nil && m.held.ID == id {
				m.endHeld()
			}
			m.src.Invalidate(&session.Session{ID: id})
		case 9:
			m.note("Reset")
			m.forget()
			m.reset, m.refused, m.noneUntil, m.oneFrom, m.unaccepted = true, false, time.Time{}, time.Time{}, 0
			m.src.Reset()
		case 10:
			wait := []time.Duration{time.Second, time.Minute, 3 * time.Minute, 15 * time.Minute}[m.pick(4)]
			wait = time.Duration(m.rng.Int64N(int64(wait)))
			m.note("time passes: " + wait.String())
			time.Sleep(wait)
		case 11:
			m.moveClocks()
		case 12:
			if m.pick(2) == 0 {
				m.note("Revoke")
				m.logOut(m.src.Revoke)
			}
		case 13:
			if m.pick(8) == 0 {
				m.note("Close")
				m.close()
			}
		}
		m.rest()
	}
	m.note("Close, at the end")
	for !m.close() {
		m.rest()
	}
	m.rest()
	m.check(len(m.callers) == 0, nobodyLeft)
}

func (m *model) close() bool {
	m.closed = true
	if m.static { // Close leaves a static session to others
		for id := range m.live {
			m.left[id] = true
		}
		m.held, m.owed = nil, map[string]bool{}
	}
	return m.logOut(m.src.Close)
}

// logOut calls Close or Revoke, with a context that may be dead or die. It
// reports whether that succeeded.
func (m *model) logOut(call func(context.Context) error) bool {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if m.pick(3) == 0 {
		cancel()
	}
	if m.held != nil {
		m.owed[m.held.ID] = true
	}
	m.revoked, m.held = true, nil
	done := make(chan error, 1)
	go func() {
		defer func() {
			if recover() != nil {
				done <- errBroken
			}
		}()
		done <- call(ctx)
	}()
	synctest.Wait()
	if m.running > 0 && m.pick(3) == 0 {
		m.note("  the context ends")
		cancel()
		synctest.Wait()
	}
	if len(done) == 0 && m.running > 0 {
		m.end()
	}
	err := <-done
	if err != nil {
		return false
	}
	for id := range m.live {
		m.check(m.left[id] || m.owed[id] && !m.closed, nothingLeft)
	}
	return true
}
