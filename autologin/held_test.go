package autologin_test

import (
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/filescom/session"
	"github.com/filescom/session/autologin"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestASessionIsRenewedShortlyBeforeItTimesOut(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ lifetime, from, to time.Duration }{
		"a minute":                  {lifetime: 6 * time.Hour, from: 6*time.Hour - time.Minute, to: 6*time.Hour - 54*time.Second},
		"half of a short lifetime":  {lifetime: time.Minute, from: 30 * time.Second, to: 33 * time.Second},
		"half of a second":          {lifetime: time.Second, from: 500 * time.Millisecond, to: 550 * time.Millisecond},
		"a minute of almost a year": {lifetime: 365 * 24 * time.Hour, from: 365*24*time.Hour - time.Minute, to: 365*24*time.Hour - 54*time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			onTheClock(t, func(t *testing.T, store autologin.Store) {
				a := &api{lifetime: tc.lifetime}
				src := a.source(t, store)
				sessionID(t, src)
				time.Sleep(tc.from - time.Nanosecond)
				sessionID(t, src)
				assert.Zero(t, a.checks, "not yet")
				time.Sleep(tc.to - tc.from + time.Nanosecond)
				assert.Equal(t, nth(1), sessionID(t, src), "the caller that starts the renewal does not wait for it")
				assert.Equal(t, nth(2), sessionID(t, src))
				assert.Equal(t, 1, a.checks)
				assert.Equal(t, 2, a.posts())
			})
		})
	}
}

func TestManySourcesDoNotRenewAtTheSameTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &api{lifetime: time.Hour}
		sources := make([]*autologin.Source, 30)
		for i := range sources {
			sources[i] = a.source(t, nil)
			sessionID(t, sources[i])
		}
		time.Sleep(59*time.Minute + 3*time.Second) // half of the first tenth of the last minute
		for _, src := range sources {
			sessionID(t, src)
		}
		renewed := a.posts() - len(sources)
		assert.Positive(t, renewed)
		assert.Less(t, renewed, len(sources))
	})
}

func TestNoCallerWaitsForARenewalWhileTheSessionIsGood(t *testing.T) {
	t.Parallel()
	onTheClock(t, func(t *testing.T, store autologin.Store) {
		a := &api{lifetime: time.Hour}
		src := a.source(t, store)
		sessionID(t, src)
		a.takes = 25 * time.Second
		time.Sleep(time.Hour - 20*time.Second)
		start := time.Now()
		for range 1000 {
			assert.Equal(t, nth(1), sessionID(t, src))
		}
		assert.Zero(t, time.Since(start))
		time.Sleep(20 * time.Second)
		assert.Equal(t, nth(2), sessionID(t, src), "from TimeoutAt on callers wait")
		assert.Equal(t, 25*time.Second, time.Since(start))
		assert.Equal(t, 2, a.posts())
	})
}

// Before the fix, with a lifetime of 4 seconds, a server that answered 503 made every
// call fail after 2 seconds.
func TestARenewalThatFailsLeavesTheSessionInUse(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fail roundTripper
		want error
	}{
		"a failure": {fail: unavailable, want: session.ErrOutcomeUnknown},
		"a refusal": {fail: lockedOut, want: session.ErrLockedOut},
	} {
		t.Run(name, func(t *testing.T) {
			onTheClock(t, func(t *testing.T, store autologin.Store) {
				a := &api{lifetime: 4 * time.Second}
				src := a.source(t, store)
				sessionID(t, src)
				a.onLogin = tc.fail
				for range 39 {
					time.Sleep(100 * time.Millisecond)
					assert.Equal(t, nth(1), sessionID(t, src))
				}
				assert.GreaterOrEqual(t, a.posts(), 2)
				assert.LessOrEqual(t, a.posts(), 4, "the renewals back off")
				time.Sleep(100 * time.Millisecond)
				assert.ErrorIs(t, sessionError(t, src), tc.want, "after the end of the session callers get the failure")
			})
		})
	}
}

func TestAContextThatHasEndedStartsNoRenewal(t *testing.T) {
	t.Parallel()
	onTheClock(t, func(t *testing.T, store autologin.Store) {
		a := &api{lifetime: time.Hour}
		src := a.source(t, store)
		sessionID(t, src)
		time.Sleep(time.Hour - time.Second)
		s, err := src.Session(ended(t))
		synctest.Wait()
		require.NoError(t, err)
		assert.Equal(t, nth(1), s.ID)
		assert.Zero(t, a.checks)
		assert.Equal(t, 1, a.posts())
	})
}

// Before the fix, a clock that ran ahead caused 38 logins in 2 seconds.
func TestAnImplausibleTimeoutAtIsIgnored(t *testing.T) {
	t.Parallel()
	for _, lifetime := range []time.Duration{-time.Hour, -1, 100 * time.Millisecond, time.Second - 1, 365*24*time.Hour + 1, 1<<63 - 1} {
		onTheClock(t, func(t *testing.T, store autologin.Store) {
			a := &api{lifetime: lifetime}
			src := a.source(t, store)
			for range 10 {
				assert.Equal(t, nth(1), sessionID(t, src))
				time.Sleep(300 * 24 * time.Hour)
			}
			assert.Zero(t, a.checks)
		})
	}
}

func TestARenewalIsMadeByOneSource(t *testing.T) {
	t.Parallel()
	for _, slides := range []bool{false, true} {
		t.Run(fmt.Sprint("slides=", slides), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, r := &api{lifetime: time.Hour, slides: slides}, &record{}
				sources := []*autologin.Source{a.source(t, r.store()), a.source(t, r.store()), a.source(t, r.store())}
				for _, src := range sources {
					assert.Equal(t, nth(1), sessionID(t, src))
				}
				time.Sleep(time.Hour - 50*time.Second)
				for _, src := range sources {
					assert.Equal(t, nth(1), sessionID(t, src), "still good")
				}
				logins := map[bool]int{false: 2, true: 1}[slides]
				for _, src := range sources {
					assert.Equal(t, nth(logins), sessionID(t, src))
				}
				assert.Equal(t, logins, a.posts())
				assert.Equal(t, 1, a.checks)
			})
		})
	}
}

func TestTheRenewalOfAnAdoptedSessionIsDueAtHalfOfWhatIsLeft(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, r := &api{lifetime: time.Hour}, &record{}
		sessionID(t, a.source(t, r.store()))
		time.Sleep(time.Hour - 40*time.Second)
		late := a.source(t, r.store())
		assert.Equal(t, nth(1), sessionID(t, late))
		time.Sleep(20*time.Second - time.Nanosecond)
		assert.Equal(t, nth(1), sessionID(t, late))
		assert.Zero(t, a.checks)
		time.Sleep(2*time.Second + time.Nanosecond)
		assert.Equal(t, nth(1), sessionID(t, late))
		assert.Equal(t, nth(2), sessionID(t, late))
		assert.Equal(t, 2, a.posts())
	})
}

func TestWhetherATimeoutIsPlausibleIsDecidedByTheClockThatSavedIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, r := &api{}, &record{}
		sessionID(t, a.source(t, r.store())) // makes the first session
		store := func(end time.Time) {
			r.set(recordOf(t, map[string]any{"session": map[string]any{"id": nth(1), "timeout_at": end}}))
		}
		store(time.Time{})
		assert.Equal(t, nth(1), sessionID(t, a.source(t, r.store())), "by the clock that saved it, the session has no end")
		store(time.Now().Add(5 * 365 * 24 * time.Hour))
		src := a.source(t, r.store())
		assert.Equal(t, nth(1), sessionID(t, src), "that clock is years ahead")
		time.Sleep(2 * 365 * 24 * time.Hour)
		assert.Equal(t, nth(1), sessionID(t, src))
		assert.Zero(t, a.checks)

		store(time.Now().Add(-time.Hour))
		a.lifetime = -time.Hour // by this clock, the server is an hour behind
		for range 5 {
			assert.Equal(t, nth(2), sessionID(t, a.source(t, r.store())))
		}
		assert.Equal(t, 2, a.posts(), "a wrong clock costs one login")
	})
}

func TestAStoredSessionPastItsEndIsAskedAbout(t *testing.T) {
	t.Parallel()
	says := func(end time.Duration) roundTripper { // from the start of the clock
		return answer(200, fmt.Sprintf(`{"session":{%s}}`, timeoutAt(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Add(end))))
	}
	for name, tc := range map[string]struct {
		answer roundTripper
		want   string
	}{
		"it goes on":                  {answer: says(30 * time.Hour), want: nth(1)},
		"it has ended":                {answer: sessionEnded, want: nth(2)},
		"its end has not moved":       {answer: says(6 * time.Hour), want: nth(2)},
		"its end has moved too short": {answer: says(24*time.Hour + time.Millisecond), want: nth(2)},
		"its end is not reported":     {answer: answer(200, `{"session":{}}`), want: nth(2)},
		"a page of a front end":       {answer: refuse(403, ""), want: nth(2)},
		"a server that is busy":       {answer: unavailable, want: nth(2)},
		"a connection that breaks":    {answer: breakConnection, want: nth(2)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, r := &api{lifetime: 6 * time.Hour}, &record{}
				sessionID(t, a.source(t, r.store()))
				time.Sleep(24 * time.Hour)
				asked := 0
				a.onCheck = func(r *http.Request) (*http.Response, error) { asked++; return tc.answer(r) }
				src := a.source(t, r.store())
				assert.Equal(t, tc.want, sessionID(t, src))
				assert.Positive(t, asked)
				assert.Equal(t, tc.want, sessionID(t, a.source(t, r.store())), "it is saved")
				asked = 0
				time.Sleep(5 * time.Hour)
				assert.Equal(t, tc.want, sessionID(t, src))
				assert.Zero(t, asked)
			})
		})
	}
}

func TestACheckThatFailsPutsTheLoginOffWhileTheSessionIsGood(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]roundTripper{
		"a page of a front end":    refuse(403, ""),
		"a rate limit":             refuse(429, "rate-limited/x"),
		"a server that is busy":    unavailable,
		"a connection that breaks": breakConnection,
	} {
		t.Run(name, func(t *testing.T) {
			onTheClock(t, func(t *testing.T, store autologin.Store) {
				a, asked := &api{lifetime: time.Hour}, 0
				a.onCheck = func(r *http.Request) (*http.Response, error) { asked++; return fail(r) }
				src := a.source(t, store, session.WithRetries(0))
				sessionID(t, src)
				time.Sleep(time.Hour - 54*time.Second)
				for range 53 * 4 {
					assert.Equal(t, nth(1), sessionID(t, src))
					time.Sleep(250 * time.Millisecond)
				}
				assert.Equal(t, 1, a.posts())
				assert.Greater(t, asked, 2)
				assert.Less(t, asked, 12, "the questions are not repeated at once")
				time.Sleep(time.Second)
				assert.Equal(t, nth(2), sessionID(t, src), "from TimeoutAt on it stops no login")
			})
		})
	}
}

func TestASessionInUseRemainsInUseWithoutTheStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, r := &api{lifetime: time.Hour}, &record{}
		src := a.source(t, r.store())
		sessionID(t, src)
		r.setFailure(errBroken)
		for range 59 {
			time.Sleep(time.Minute)
			assert.Equal(t, nth(1), sessionID(t, src))
		}
		for range 59 { // a renewal is due
			time.Sleep(time.Second)
			assert.Equal(t, nth(1), sessionID(t, src))
		}
		time.Sleep(time.Second)
		assert.ErrorIs(t, sessionError(t, src), errBroken)
		assert.Equal(t, 1, a.posts())
		r.setFailure(nil)
		time.Sleep(time.Minute)
		assert.Equal(t, nth(2), sessionID(t, src))
	})
}

func TestTheWaitsOfAFailingRenewalGrow(t *testing.T) {
	t.Parallel()
	onTheClock(t, func(t *testing.T, store autologin.Store) {
		a := &api{lifetime: 2 * time.Hour}
		src := a.source(t, store)
		sessionID(t, src)
		time.Sleep(2*time.Hour - 54*time.Second)
		a.onLogin = unavailable
		for range 53 * 4 {
			time.Sleep(250 * time.Millisecond)
			assert.Equal(t, nth(1), sessionID(t, src))
		}
		assert.Greater(t, a.posts(), 4)
		assert.Less(t, a.posts(), 12)
	})
}

func TestAnUnacceptedSessionDoesNotClearARefusal(t *testing.T) {
	t.Parallel()
	onTheClock(t, func(t *testing.T, store autologin.Store) {
		a := &api{lifetime: 20 * time.Second}
		src := a.source(t, store)
		sessionID(t, src)
		src.Invalidate(&session.Session{ID: nth(1)})
		sessionID(t, src)
		a.onLogin = wrongPassword
		time.Sleep(15 * time.Second)
		assert.Equal(t, nth(2), sessionID(t, src), "its renewal is refused")
		src.Invalidate(&session.Session{ID: nth(2)})
		time.Sleep(time.Second) // the back-off after two unaccepted sessions
		for range 11 {
			assert.ErrorIs(t, sessionError(t, src), session.ErrInvalidUsernameOrPassword)
			time.Sleep(5 * time.Minute)
		}
		assert.Equal(t, 3, a.posts())
	})
}

func TestSessionsThatNoAnswerAcceptsAreReplacedMoreAndMoreSlowly(t *testing.T) {
	t.Parallel()
	onTheClock(t, func(t *testing.T, store autologin.Store) {
		a := &api{lifetime: time.Hour}
		src := a.source(t, store)
		start := time.Now()
		for time.Since(start) < 10*time.Minute {
			s, err := src.Session(t.Context())
			if err != nil {
				time.Sleep(backoffError(t, err).Wait)
				continue
			}
			src.Invalidate(s)
		}
		assert.Greater(t, a.posts(), 10)
		assert.Less(t, a.posts(), 30)

		src.Reset()
		for range 100 { // a session that lasted for a minute counts as accepted
			s, err := src.Session(t.Context())
			require.NoError(t, err)
			time.Sleep(time.Minute + 1)
			src.Invalidate(s)
		}
	})
}

// Before the fix, a server that accepts logins and refuses each session got 101 logins
// for 100 requests.
func TestTheSecondSessionInARowThatNoAnswerAcceptsCountsAsAFailure(t *testing.T) {
	t.Parallel()
	onTheClock(t, func(t *testing.T, store autologin.Store) {
		a := &api{}
		src := a.source(t, store)
		for n := range 20 {
			if n < 2 {
				s, err := src.Session(t.Context())
				require.NoError(t, err, "the first one is replaced at once")
				src.Invalidate(s)
				continue
			}
			err := sessionError(t, src)
			backoffError(t, err)
			assert.ErrorContains(t, err, "the site may bind sessions to an address or a User-Agent")
			assert.NotErrorIs(t, err, session.ErrSessionEnded)
		}
		assert.Equal(t, 2, a.posts())
		src.Reset()
		sessionID(t, src)
	})
}

// Only sessions of the Source's own logins count.
func TestASessionThatWasAdoptedIsNotCountedAsUnaccepted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, r := &api{}, &record{}
		one, two := a.source(t, r.store()), a.source(t, r.store())
		assert.Equal(t, nth(1), sessionID(t, one))
		assert.Equal(t, nth(1), sessionID(t, two))
		two.Invalidate(&session.Session{ID: nth(1)})
		assert.Equal(t, nth(2), sessionID(t, two))
		one.Invalidate(&session.Session{ID: nth(1)}) // its own, the first in a row
		assert.Equal(t, nth(2), sessionID(t, one))
		one.Invalidate(&session.Session{ID: nth(2)}) // of another
		assert.Equal(t, nth(3), sessionID(t, one))
		one.Invalidate(&session.Session{ID: nth(3)}) // its own, the second in a row
		assert.ErrorContains(t, sessionError(t, one), "two sessions in a row")
		assert.Equal(t, 3, a.posts())
	})
}
