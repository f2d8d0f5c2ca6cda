package session_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/filescom/session"
	"github.com/jarcoal/httpmock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// clockFleet makes Sources that share a Store, on the fake clock of synctest.
type clockFleet struct {
	record   memory
	logins   int
	lifetime time.Duration
	fail     error
	early    time.Duration
}

func (f *clockFleet) source() *session.Source {
	return &session.Source{
		Store: f.record.store(),
		Early: f.early,
		Login: func(context.Context) (*session.Session, error) {
			f.logins++
			if f.fail != nil {
				return nil, f.fail
			}
			s := &session.Session{ID: fmt.Sprint("id", f.logins)}
			if f.lifetime != 0 {
				s.TimeoutAt = time.Now().Add(f.lifetime)
			}
			return s, nil
		},
		Logout: func(context.Context, *session.Session) error { return nil },
	}
}

func sessionID(t *testing.T, src *session.Source) string {
	t.Helper()
	s, err := src.Session(t.Context())
	synctest.Wait()
	require.NoError(t, err)
	return s.ID
}

func sessionError(t *testing.T, src *session.Source) error {
	t.Helper()
	_, err := src.Session(t.Context())
	synctest.Wait()
	require.Error(t, err)
	return err
}

// wrongPassword is the answer to a wrong password.
var wrongPassword = &session.APIError{StatusCode: 401, Type: "not-authenticated/invalid-username-or-password"}

func TestARenewalIsMadeByOneSource(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &clockFleet{lifetime: time.Hour}
		sources := []*session.Source{f.source(), f.source(), f.source()}
		for _, src := range sources {
			assert.Equal(t, "id1", sessionID(t, src))
		}
		time.Sleep(time.Hour - 50*time.Second)
		for _, src := range sources {
			assert.Equal(t, "id1", sessionID(t, src), "still good")
		}
		for _, src := range sources {
			assert.Equal(t, "id2", sessionID(t, src))
		}
		assert.Equal(t, 2, f.logins)
	})
}

func TestTheLifetimeOfAnAdoptedSessionCountsFromItsSave(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &clockFleet{lifetime: time.Hour, early: 20 * time.Minute}
		assert.Equal(t, "id1", sessionID(t, f.source()))
		time.Sleep(39 * time.Minute)
		late := f.source()
		assert.Equal(t, "id1", sessionID(t, late))
		assert.Equal(t, 1, f.logins, "half of what is left would be too early")
		time.Sleep(3 * time.Minute)
		assert.Equal(t, "id1", sessionID(t, late))
		assert.Equal(t, "id2", sessionID(t, late))
		assert.Equal(t, 2, f.logins)
	})
}

func TestWhetherATimeoutIsPlausibleIsDecidedByTheClockThatSavedIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &clockFleet{}
		over := time.Now().Add(-time.Hour)
		f.record.set(recordOf(t, map[string]any{"session": map[string]any{"id": "slow", "timeout_at": over, "saved_by": "other", "saved_at": over.Add(-6 * time.Hour)}}))
		assert.Equal(t, "slow", sessionID(t, f.source()), "by the clock that saved it, the session has no end")
		far := time.Now().Add(5 * 365 * 24 * time.Hour)
		f.record.set(recordOf(t, map[string]any{"session": map[string]any{"id": "ahead", "timeout_at": far, "saved_by": "other", "saved_at": far.Add(-time.Hour), "lifetime_ns": time.Hour}}))
		src := f.source()
		assert.Equal(t, "ahead", sessionID(t, src))
		time.Sleep(time.Hour)
		assert.Equal(t, "id1", sessionID(t, src), "the monotonic limit counts from the adoption")
		f.record.set(recordOf(t, map[string]any{"session": map[string]any{"id": "over", "timeout_at": over, "saved_by": "other", "saved_at": over.Add(-time.Hour), "lifetime_ns": time.Hour}}))
		f.lifetime = -time.Hour // by this clock, the server is an hour behind
		assert.Equal(t, "id2", sessionID(t, f.source()))
		for range 5 {
			assert.Equal(t, "id2", sessionID(t, f.source()))
		}
		assert.Equal(t, 2, f.logins, "a wrong clock costs one login")
	})
}

func TestARecordIsKeptAnHourLongerThanItHolds(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		lifetime time.Duration
		fail     error
		want     time.Duration
	}{
		"a session":                {6 * time.Hour, nil, 7 * time.Hour},
		"a session without an end": {0, nil, 30 * 24 * time.Hour},
		"a back-off":               {0, &session.APIError{StatusCode: 503, RetryAfter: 10 * time.Minute}, time.Hour + 10*time.Minute},
		"a refusal":                {0, wrongPassword, time.Hour + 15*time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &clockFleet{lifetime: tc.lifetime, fail: tc.fail}
				f.source().Session(t.Context())
				assert.Equal(t, tc.want, f.record.ttl)
			})
		})
	}
}

func TestARefusalIsLookedUpEveryFiveSeconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &clockFleet{fail: wrongPassword}
		src := f.source()
		sessionError(t, src)
		before, _, _ := f.record.counts()
		for range 60 {
			time.Sleep(time.Second)
			for range 10 {
				assert.ErrorIs(t, sessionError(t, src), session.ErrInvalidUsernameOrPassword)
			}
		}
		loads, _, _ := f.record.counts()
		assert.Equal(t, 12, loads-before)
		assert.Equal(t, 1, f.logins)
		f.fail = nil
		other := f.source()
		other.Reset()
		assert.Equal(t, "id2", sessionID(t, other))
		sessionError(t, src)
		time.Sleep(5 * time.Second)
		assert.Equal(t, "id2", sessionID(t, src))
		assert.Equal(t, 2, f.logins)
	})
}

func TestARefusalThatIsNotSharedIsKeptUntilThereIsASession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &clockFleet{fail: &session.TwoFactorError{Err: &session.APIError{StatusCode: 401, Type: "not-authenticated/two-factor-authentication-error"}}}
		src, other := f.source(), f.source()
		for range 100 {
			assert.Equal(t, error(f.fail), sessionError(t, src))
			time.Sleep(time.Minute)
		}
		assert.Equal(t, 1, f.logins)
		f.record.setFailure(errBroken)
		time.Sleep(5 * time.Second)
		assert.Equal(t, error(f.fail), sessionError(t, src), "a Store that fails does not change that")
		f.record.setFailure(nil)
		f.fail = nil
		assert.Equal(t, "id2", sessionID(t, other))
		time.Sleep(5 * time.Second)
		assert.Equal(t, "id2", sessionID(t, src))
		assert.Equal(t, 2, f.logins)
	})
}

func TestARefusalEnds(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fail error
		ends time.Duration
	}{
		"a Login without Create, after 15 minutes": {wrongPassword, 15 * time.Minute},
		"a lock-out after 15 minutes":              {&session.APIError{StatusCode: 401, Type: "not-authenticated/locked-out"}, 15 * time.Minute},
		"a lock-out when the API says":             {&session.APIError{StatusCode: 401, Type: "not-authenticated/locked-out", RetryAfter: time.Hour}, time.Hour},
		"another refusal when the API says":        {&session.APIError{StatusCode: 401, Type: "not-authenticated/x", RetryAfter: time.Minute}, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &clockFleet{fail: tc.fail}
				own, other := f.source(), f.source()
				start := time.Now()
				sessionError(t, own)
				time.Sleep(tc.ends - 6*time.Second)
				assert.ErrorIs(t, sessionError(t, own), session.ErrNotAuthenticated)
				assert.ErrorIs(t, sessionError(t, other), session.ErrNotAuthenticated)
				assert.Equal(t, 1, f.logins)
				f.fail = nil
				time.Sleep(time.Until(start.Add(tc.ends)))
				assert.Equal(t, "id2", sessionID(t, own))
				assert.Equal(t, "id2", sessionID(t, other))
			})
		})
	}
}

func TestASharedBackOffGrowsUntilASessionWasGoodForAMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &clockFleet{fail: &session.APIError{StatusCode: 503}}
		wait := func() time.Duration {
			sessionError(t, f.source()) // the login
			var wait *session.BackoffError
			require.ErrorAs(t, sessionError(t, f.source()), &wait)
			return wait.Wait
		}
		for n, most := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second} {
			got := wait()
			assert.LessOrEqual(t, got, most)
			assert.GreaterOrEqual(t, got, most/2)
			assert.Equal(t, n+1, f.logins)
			time.Sleep(got)
		}
		f.fail = nil
		src := f.source()
		assert.Equal(t, "id4", sessionID(t, src))
		time.Sleep(59 * time.Second)
		f.fail = &session.APIError{StatusCode: 503}
		src.Invalidate(&session.Session{ID: "id4"})
		sessionError(t, src)
		var still *session.BackoffError
		require.ErrorAs(t, sessionError(t, f.source()), &still)
		assert.GreaterOrEqual(t, still.Wait, 4*time.Second)
		time.Sleep(still.Wait)
		f.fail = nil
		assert.Equal(t, "id6", sessionID(t, src))
		time.Sleep(time.Minute + time.Second)
		f.fail = &session.APIError{StatusCode: 503}
		src.Invalidate(&session.Session{ID: "id6"})
		sessionError(t, src)
		require.ErrorAs(t, sessionError(t, f.source()), &still)
		assert.LessOrEqual(t, still.Wait, time.Second)
	})
}

func TestAClockThatIsAheadDoesNotProlongAFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &clockFleet{}
		failAt := func(at time.Time) {
			f.record.set(recordOf(t, map[string]any{"failure": map[string]any{"at": at, "wait_ns": time.Minute}}))
		}
		failAt(time.Now().Add(4 * time.Minute))
		var wait *session.BackoffError
		require.ErrorAs(t, sessionError(t, f.source()), &wait)
		assert.Equal(t, time.Minute, wait.Wait)
		failAt(time.Now().Add(24 * time.Hour))
		assert.Equal(t, "id1", sessionID(t, f.source()), "a failure that is dated a day ahead does not count")
	})
}

func TestAClockThatIsSetBackAfterAResetRepeatsNoRefusedLogin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &clockFleet{fail: wrongPassword}
		src := f.source()
		src.Reset()
		sessionError(t, src)
		var record map[string]any
		require.NoError(t, json.Unmarshal([]byte(f.record.get()), &record))
		record["failure"].(map[string]any)["at"] = time.Now().Add(-time.Minute) // by the clock that was set back
		f.record.set(recordOf(t, record))
		for range 60 {
			sessionError(t, src)
			time.Sleep(10 * time.Second)
		}
		assert.Equal(t, 1, f.logins)
	})
}

func TestARefusalOfCredentialsEndsAfterADay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		posts := 0
		mt := httpmock.NewMockTransport()
		mt.RegisterResponder("POST", "https://app.files.com/api/rest/v1/sessions", func(*http.Request) (*http.Response, error) {
			posts++
			return httpmock.NewStringResponse(401, `{"type":"not-authenticated/invalid-username-or-password","http-code":401}`), nil
		})
		c := newClient(t, session.WithHTTPClient(&http.Client{Transport: mt}))
		f := &clockFleet{}
		src := f.source()
		src.Login = func(ctx context.Context) (*session.Session, error) { return c.Create(ctx, alice) }
		start := time.Now()
		assert.ErrorIs(t, sessionError(t, src), session.ErrInvalidUsernameOrPassword)
		for time.Since(start) < 24*time.Hour-10*time.Minute {
			time.Sleep(10 * time.Minute)
			assert.ErrorIs(t, sessionError(t, src), session.ErrInvalidUsernameOrPassword)
		}
		assert.Equal(t, 1, posts)
		time.Sleep(time.Until(start.Add(24 * time.Hour)))
		assert.ErrorIs(t, sessionError(t, src), session.ErrInvalidUsernameOrPassword)
		assert.Equal(t, 2, posts)
	})
}

func TestARefusalThatCannotBeSavedHoldsForItsSource(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]error{"a wrong password": wrongPassword, "a lock-out": &session.APIError{StatusCode: 401, Type: "not-authenticated/locked-out"}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &clockFleet{fail: fail}
				f.record.failSave = errorFrom(2)
				src := f.source()
				for range 20 {
					assert.ErrorIs(t, sessionError(t, src), session.ErrNotAuthenticated)
					time.Sleep(10 * time.Second)
				}
				assert.Equal(t, 1, f.logins)
			})
		})
	}
}

func TestRevokeLogsOutBeforeItRaisesThePanicOfARenewal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &clockFleet{lifetime: time.Hour}
		src := f.source()
		loggedOut := ""
		src.Logout = func(_ context.Context, s *session.Session) error { loggedOut = s.ID; return nil }
		sessionID(t, src)
		time.Sleep(time.Hour - 30*time.Second)
		src.Login = func(context.Context) (*session.Session, error) {
			time.Sleep(time.Second)
			panic("no code")
		}
		sessionID(t, src) // starts a renewal
		assert.PanicsWithValue(t, "no code", func() { src.Revoke(t.Context()) })
		assert.Equal(t, "id1", loggedOut)
		assert.NotContains(t, f.record.get(), "id1")
	})
}

func TestTurnsWithATimeInTheFutureAreIgnored(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &clockFleet{}
		ahead := time.Now().Add(1000 * time.Hour)
		f.record.set(recordOf(t, map[string]any{"turns": []time.Time{ahead, ahead, ahead},
			"session": map[string]any{"id": "other", "saved_by": "other", "saved_at": time.Now()}}))
		src := f.source()
		assert.Equal(t, "other", sessionID(t, src))
		src.Invalidate(&session.Session{ID: "other"})
		assert.Equal(t, "id1", sessionID(t, src), "the first turn")
	})
}

func TestASessionInUseRemainsInUseWithoutTheStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &clockFleet{lifetime: time.Hour}
		src := f.source()
		sessionID(t, src)
		f.record.setFailure(errBroken)
		for range 59 {
			time.Sleep(time.Minute)
			assert.Equal(t, "id1", sessionID(t, src))
		}
		for range 59 { // a renewal is due
			time.Sleep(time.Second)
			assert.Equal(t, "id1", sessionID(t, src))
		}
		time.Sleep(time.Second)
		assert.ErrorIs(t, sessionError(t, src), errBroken)
		assert.Equal(t, 1, f.logins)
		f.record.setFailure(nil)
		time.Sleep(time.Minute)
		assert.Equal(t, "id2", sessionID(t, src))
	})
}

func TestSessionsThatAreBoundToAnAddressBackOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &clockFleet{}
		alternate := func() error { // one run of a cron job, at an address other than that of the run before
			src, before := f.source(), f.logins
			s, err := src.Session(t.Context())
			if err == nil && f.logins == before {
				src.Invalidate(s) // the first answer says that it has ended
				_, err = src.Session(t.Context())
			}
			synctest.Wait()
			return err
		}
		_, err := f.source().Session(t.Context())
		require.NoError(t, err)
		require.Equal(t, 1, f.logins)
		require.NoError(t, alternate())
		require.NoError(t, alternate())
		require.Equal(t, 3, f.logins)
		err = alternate()
		assert.ErrorContains(t, err, "may be bound to an address")
		assert.Equal(t, 3, f.logins, "the third turn is a failure")
		var wait *session.BackoffError
		require.ErrorAs(t, sessionError(t, f.source()), &wait)
		assert.ErrorContains(t, wait, "may be bound to an address")
		assert.LessOrEqual(t, wait.Wait, time.Second)

		waits, end := 0, time.Now().Add(time.Hour)
		for time.Now().Before(end) {
			if err := alternate(); errors.As(err, &wait) {
				waits++
				time.Sleep(wait.Wait)
			}
			time.Sleep(100 * time.Millisecond)
		}
		assert.Less(t, f.logins, 400, "at most 3 in a minute, with waits of up to a minute between them")
		assert.Greater(t, waits, 50)

		src := f.source()
		time.Sleep(2 * time.Minute)
		sessionID(t, src)
		time.Sleep(time.Minute)
		f.logins = 1000
		for range 20 { // an ending after a minute is no turn
			time.Sleep(time.Minute)
			assert.NoError(t, alternate())
		}
		assert.Equal(t, 1020, f.logins)
	})
}

func TestTheEndOfAnAcceptedSessionIsNoTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &clockFleet{}
		src := f.source()
		sessionID(t, src)
		for n := range 20 { // no answer accepts its own sessions, so the rule for unaccepted sessions applies
			time.Sleep(2 * time.Second)
			other := f.source()
			id := sessionID(t, other)
			time.Sleep(time.Minute) // then the session counts as accepted
			other.Invalidate(&session.Session{ID: id})
			sessionID(t, other)
			assert.Equal(t, n+2, f.logins)
		}
	})
}

// The rule for unaccepted sessions counts only sessions of the Source's own Login.
func TestASessionThatWasAdoptedIsNotCountedAsUnaccepted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &clockFleet{}
		a, b := f.source(), f.source()
		id := sessionID(t, a)
		assert.Equal(t, id, sessionID(t, b))
		b.Invalidate(&session.Session{ID: id}) // a turn
		id = sessionID(t, b)
		a.Invalidate(&session.Session{ID: "id1"}) // its own, the first in a row
		assert.Equal(t, id, sessionID(t, a))
		a.Invalidate(&session.Session{ID: id}) // a turn
		assert.Equal(t, "id3", sessionID(t, a))
		a.Invalidate(&session.Session{ID: "id3"}) // its own, the second in a row
		assert.ErrorContains(t, sessionError(t, a), "2 sessions in a row")
		assert.Equal(t, 3, f.logins)
	})
}

func TestTheWaitsOfAFailingRenewalGrow(t *testing.T) {
	t.Parallel()
	for _, shared := range []bool{false, true} {
		t.Run(fmt.Sprint("store=", shared), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &clockFleet{lifetime: 2 * time.Hour, early: time.Hour}
				src := f.source()
				if !shared {
					src.Store = nil
				}
				sessionID(t, src)
				time.Sleep(time.Hour + 10*time.Minute)
				f.fail = &session.APIError{StatusCode: 503}
				for range 30 * 60 * 4 {
					time.Sleep(250 * time.Millisecond)
					sessionID(t, src)
				}
				assert.Less(t, f.logins, 80)
			})
		})
	}
}

func TestAResetClearsASharedLockOutEvenIfASessionIsStored(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &clockFleet{lifetime: time.Hour}
		src := f.source()
		sessionID(t, src)
		time.Sleep(time.Hour - 50*time.Second)
		f.fail = &session.APIError{StatusCode: 401, Type: "not-authenticated/locked-out", RetryAfter: 12 * time.Hour}
		sessionID(t, src) // a renewal, which is refused
		require.Equal(t, 2, f.logins)
		f.fail = nil // an administrator ends the lock-out
		src.Reset()
		assert.Equal(t, "id1", sessionID(t, src), "still good")
		time.Sleep(time.Minute)
		s, err := src.Session(t.Context())
		if assert.NoError(t, err) {
			assert.Equal(t, "id3", s.ID)
		}
	})
}

func TestRevokeEndsIfTheStoreHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &clockFleet{}
		src := f.source()
		src.Store = &hookStore{Store: src.Store, remove: func(ctx context.Context) (bool, error) {
			<-ctx.Done()
			return true, ctx.Err()
		}}
		sessionID(t, src)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- src.Revoke(ctx) }()
		select {
		case err := <-done:
			assert.Error(t, err)
		case <-time.After(time.Hour):
			t.Error("Revoke, and all callers, wait for ever")
			cancel()
			<-done
		}
	})
}

func TestAnOwnFailureThatEndsWhileTheStoreIsReadHidesNoLockOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &clockFleet{fail: errBroken} // an own failure
		src := f.source()
		slow := time.Duration(0)
		src.Store = &hookStore{Store: src.Store, load: func(context.Context) error { time.Sleep(slow); return nil }}
		var wait *session.BackoffError
		for { // until the back-off is longer than the interval of look-ups
			_, err := src.Session(t.Context())
			synctest.Wait()
			if errors.As(err, &wait) {
				if wait.Wait > 6*time.Second {
					break
				}
				time.Sleep(wait.Wait)
			}
		}
		logins := f.logins
		end := time.Now().Add(wait.Wait)
		f.record.set(recordOf(t, map[string]any{"failure": map[string]any{"at": time.Now(), "wait_ns": time.Hour,
			"answer": map[string]any{"StatusCode": 401, "Type": "not-authenticated/locked-out"}}}))
		time.Sleep(time.Until(end) - time.Second)
		slow = 2 * time.Second // of 5
		_, err := src.Session(t.Context())
		synctest.Wait()
		assert.ErrorIs(t, err, session.ErrLockedOut)
		assert.Equal(t, logins, f.logins)
		assert.Contains(t, f.record.get(), "locked-out")
	})
}

func TestARefusalThatCouldNotBeSavedAtOnceIsSavedLater(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fs := &memory{}
		posts := 0
		c := newClient(t, session.WithHTTPClient(&http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			posts++
			return readResponse("HTTP/1.1 401 Unauthorized\r\nContent-Length: 75\r\n\r\n"+`{"type":"not-authenticated/invalid-username-or-password","http-code":401}  `, r)
		})}))
		fs.failSave = errorAt(2)
		src := &session.Source{Store: fs.store(), Login: func(ctx context.Context) (*session.Session, error) {
			if _, err := c.Create(ctx, alice); err != nil {
				return nil, errors.New("cannot log in") // as many do
			}
			panic("unreachable")
		}}
		for range 10 {
			src.Session(t.Context())
			time.Sleep(2 * time.Minute)
		}
		assert.Equal(t, 1, posts)
	})
}

func TestALockThatIsLostBeforeEachLoginIsAFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &clockFleet{}
		f.record.failSave = func(int) error { return session.ErrLockLost }
		src := f.source()
		done := make(chan error, 1)
		go func() { _, err := src.Session(t.Context()); done <- err }()
		select {
		case err := <-done:
			assert.ErrorIs(t, err, session.ErrLockLost)
		case <-time.After(time.Hour):
			_, locks, _ := f.record.counts()
			t.Errorf("no answer within an hour; the lock was taken %d times", locks)
			src.Close(t.Context())
			<-done
		}
	})
}

func TestARightPasswordDoesNotClearTheRefusalOfAWrongOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		record := &memory{}
		n, refused := 0, 0
		c := newClient(t, session.WithHTTPClient(&http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			body, _ := io.ReadAll(r.Body)
			if strings.Contains(string(body), "old") {
				refused++
				return readResponse("HTTP/1.1 401 X\r\nContent-Length: 75\r\n\r\n"+`{"type":"not-authenticated/invalid-username-or-password","http-code":401}  `, r)
			}
			n++
			s := fmt.Sprintf(`{"id":"id%03d","timeout_at":%q}`, n, time.Now().Add(time.Hour).Format(time.RFC3339))
			return readResponse(fmt.Sprintf("HTTP/1.1 201 X\r\nContent-Length: %d\r\n\r\n%s", len(s), s), r)
		})}))
		source := func(password string) *session.Source {
			return &session.Source{Store: record.store(), Login: func(ctx context.Context) (*session.Session, error) {
				return c.Create(ctx, session.CreateParams{Username: "alice", Password: password})
			}}
		}
		for range 24 {
			source("old").Session(t.Context()) // happens to be the first
			_, err := source("right").Session(t.Context())
			assert.NoError(t, err)
			time.Sleep(time.Hour)
		}
		assert.Equal(t, 24, n)
		assert.LessOrEqual(t, refused, 2, "posts of the refused password in a day")
	})
}
