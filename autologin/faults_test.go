package autologin_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/filescom/session"
	"github.com/filescom/session/autologin"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Each of these tests is about a fault that the package had before it was written anew, in
// the order of the issue that lists them.

func TestAnEmptyPasswordEndsNoSource(t *testing.T) {
	t.Parallel()
	onTheClock(t, func(t *testing.T, store autologin.Store) {
		a, params := &api{}, session.CreateParams{Username: "alice"}
		src := a.source(t, store)
		src.Params = func(context.Context) (session.CreateParams, error) { return params, nil }
		assert.ErrorIs(t, sessionError(t, src), session.ErrInvalidParams)
		backoffError(t, sessionError(t, src))
		params = alice
		time.Sleep(time.Second)
		assert.Equal(t, nth(1), sessionID(t, src))
	})
}

func TestABlankCodeEndsNoSource(t *testing.T) {
	t.Parallel()
	onTheClock(t, func(t *testing.T, store autologin.Store) {
		a, code := &api{}, " "
		a.onLogin = func(r *http.Request) (*http.Response, error) {
			if form(r).OTP == "" {
				return demandsCode(r)
			}
			return nil, nil
		}
		src := a.source(t, store, session.WithOTP(func(context.Context, *session.TwoFactorError) (string, error) { return code, nil }))
		assert.ErrorIs(t, sessionError(t, src), session.ErrInvalidParams)
		code = "123456"
		time.Sleep(time.Second)
		sessionID(t, src)
	})
}

func TestAStaleCodeStopsAProgramForHalfAMinute(t *testing.T) {
	t.Parallel()
	onTheClock(t, func(t *testing.T, store autologin.Store) {
		a, code := &api{}, "111111"
		a.onLogin = func(r *http.Request) (*http.Response, error) {
			switch form(r).OTP {
			case "":
				return demandsCode(r)
			case "222222":
				return nil, nil
			}
			return wrongCode(r)
		}
		src := a.source(t, store, session.WithOTP(func(context.Context, *session.TwoFactorError) (string, error) { return code, nil }))
		assert.ErrorIs(t, sessionError(t, src), session.ErrOneTimePasswordIncorrect)
		time.Sleep(30*time.Second - 1)
		posts := a.posts()
		sessionError(t, src)
		assert.Equal(t, posts, a.posts())
		time.Sleep(time.Nanosecond)
		sessionError(t, src)
		assert.Greater(t, a.posts(), posts, "tried again")

		code, posts = "222222", a.posts()
		time.Sleep(time.Hour - 1)
		sessionError(t, src)
		assert.Equal(t, posts, a.posts(), "the second wrong code in a row")
		time.Sleep(time.Nanosecond)
		sessionID(t, src)
	})
}

func TestFailuresThatAreDaysApartDoNotAddUp(t *testing.T) {
	t.Parallel()
	onTheClock(t, func(t *testing.T, store autologin.Store) {
		a := &api{onLogin: unavailable}
		src := a.source(t, store)
		for range 9 {
			sessionError(t, src)
			assert.LessOrEqual(t, backoffError(t, sessionError(t, src)).Wait, time.Second)
			time.Sleep(24 * time.Hour)
		}
	})
}

func TestALoginThatCloseCutsOffCountsForNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, store := &api{}, &memoryStore{}
		login := a.holdLogins()
		src := a.source(t, store)
		waiting := get(t.Context(), src)
		<-login.started
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		assert.ErrorIs(t, src.Close(ctx), context.DeadlineExceeded)
		assert.ErrorIs(t, <-waiting, autologin.ErrClosed)
		synctest.Wait()
		a.onLogin = nil
		assert.Equal(t, nth(2), sessionID(t, a.source(t, store)), "the next process logs in at once")
	})
}

func TestASessionThatHasEndedIsForgottenBeforeItIsLoaded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, store := &api{}, &memoryStore{}
		sessionID(t, a.source(t, store))
		stored, err := autologin.Load(t.Context(), store)
		require.NoError(t, err)
		a.end(stored.ID)
		src := a.source(t, store)
		src.Invalidate(stored)
		assert.Equal(t, nth(2), sessionID(t, src))
		src.Invalidate(stored) // a late answer
		assert.Equal(t, nth(2), sessionID(t, src))
	})
}

func TestASourceDoesNotWaitForALockWithoutCallers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, r := &api{}, &record{}
		lock := r.lock(t)
		src := a.source(t, r.store())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := src.Session(ctx)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		time.Sleep(time.Second)
		loads, locks, _ := r.counts()
		time.Sleep(12 * time.Hour)
		laterLoads, laterLocks, _ := r.counts()
		assert.Equal(t, [2]int{loads, locks}, [2]int{laterLoads, laterLocks})
		lock.Unlock()
		assert.Equal(t, nth(1), sessionID(t, src))
	})
}

func TestASourceInParamsOfAnotherKeepsItsFailuresToItself(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, r := &api{}, &record{}
		a.onLogin = func(r *http.Request) (*http.Response, error) {
			if form(r) == wrong {
				return wrongPassword(r)
			}
			return nil, nil
		}
		inner, outer := autologin.New(a.client(t), wrong), a.source(t, r.store())
		outer.Params = func(ctx context.Context) (session.CreateParams, error) {
			_, err := inner.Session(ctx)
			return alice, err
		}
		assert.ErrorIs(t, sessionError(t, outer), session.ErrInvalidUsernameOrPassword)
		assert.NotContains(t, r.get(), "failures")
		sessionID(t, a.source(t, r.store()))
	})
}

func TestASessionThatSlidesIsKept(t *testing.T) {
	t.Parallel()
	onTheClock(t, func(t *testing.T, store autologin.Store) {
		a := &api{lifetime: 6 * time.Hour, slides: true}
		src := a.source(t, store)
		for range 4 * 6 * 60 * 3 { // four lifetimes
			require.Equal(t, nth(1), sessionID(t, src))
			time.Sleep(20 * time.Second)
		}
		assert.Equal(t, 1, a.posts())
		assert.Positive(t, a.checks)
	})
}

func TestASessionThatDoesNotSlideIsReplacedBeforeARequestMeetsItsEnd(t *testing.T) {
	t.Parallel()
	onTheClock(t, func(t *testing.T, store autologin.Store) {
		a := &api{lifetime: 6 * time.Hour}
		tr := &autologin.Transport{Source: a.source(t, store), Base: a}
		for range 3 * 60 * 17 { // almost three lifetimes
			resp, err := tr.RoundTrip(newRequest(t, "GET", session.DefaultBaseURL, nil))
			require.NoError(t, err)
			require.Equal(t, 200, resp.StatusCode)
			time.Sleep(20 * time.Second)
		}
		assert.Equal(t, 3, a.posts())
	})
}

func TestASessionAtHandIsUsedPastItsEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &session.Session{ID: idCanary, TimeoutAt: time.Now().Add(time.Minute)}
		src := autologin.Static(s)
		time.Sleep(time.Hour)
		assert.Equal(t, s.ID, sessionID(t, src))
		src.Invalidate(s)
		assert.ErrorIs(t, sessionError(t, src), session.ErrSessionEnded)
	})
}

func TestARequestToAnotherHostGoesThroughDuringALogin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &api{}
		a.holdLogins()
		tr := &autologin.Transport{Source: a.source(t, nil), Base: answer(200, "")}
		waiting := get(t.Context(), tr.Source) // the login does not end
		synctest.Wait()
		resp, _ := roundTrip(t, tr, http.MethodGet, "https://elsewhere.example", nil)
		assert.Equal(t, http.StatusOK, resp.StatusCode)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		assert.Error(t, tr.Source.Close(ctx))
		assert.ErrorIs(t, <-waiting, autologin.ErrClosed)
	})
}

func TestOne503OfALoginEndsNoRunOfRequests(t *testing.T) {
	t.Parallel()
	onTheClock(t, func(t *testing.T, store autologin.Store) {
		a, sick := &api{}, true
		a.onLogin = func(r *http.Request) (*http.Response, error) {
			if sick {
				return unavailable(r)
			}
			return nil, nil
		}
		tr := &autologin.Transport{Source: a.source(t, store), Base: a}
		get := func(limit time.Duration) error {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, session.DefaultBaseURL, nil)
			require.NoError(t, err)
			_, err = tr.RoundTrip(req)
			return err
		}
		assert.Equal(t, http.StatusServiceUnavailable, apiError(t, get(time.Minute)).StatusCode, "the error of the login")
		start := time.Now()
		wait := backoffError(t, get(time.Millisecond))
		assert.True(t, wait.Temporary())
		assert.False(t, wait.Timeout())
		assert.Equal(t, time.Duration(0), time.Since(start), "its deadline is before the end of the wait")
		sick = false
		assert.NoError(t, get(time.Minute))
		assert.Positive(t, time.Since(start))
	})
}

func TestALongBackOffIsNotWaitedOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &api{onLogin: refuse(429, "rate-limited/too-many-login-attempts", "Retry-After", "6")}
		tr := &autologin.Transport{Source: a.source(t, nil), Base: a}
		assert.ErrorIs(t, roundTripError(t, tr), session.ErrRateLimited)
		start := time.Now()
		backoffError(t, roundTripError(t, tr))
		assert.Zero(t, time.Since(start))
	})
}

func TestASmallBodyIsKeptAndSentAgain(t *testing.T) {
	t.Parallel()
	for size, status := range map[int]int{1: 200, 64 << 10: 200, 64<<10 + 1: 401} {
		a, content := &api{}, strings.Repeat("x", size)
		var bodies []string
		base := roundTripper(func(r *http.Request) (*http.Response, error) {
			body, err := io.ReadAll(r.Body)
			require.NoError(t, err)
			bodies = append(bodies, string(body))
			if r.Header.Get(session.AuthHeader) == nth(1) {
				return sessionEnded(r)
			}
			return respond(r, 200, ""), nil
		})
		tr := &autologin.Transport{Source: a.source(t, nil), Base: base}
		b := &countedBody{Reader: strings.NewReader(content)}
		resp, _ := roundTrip(t, tr, http.MethodPost, session.DefaultBaseURL, b)
		assert.Equal(t, status, resp.StatusCode, size)
		assert.Positive(t, b.closed, "the body is closed")
		for _, body := range bodies {
			assert.True(t, body == content, "the body is whole")
		}
	}
}

// countedBody hides from net/http what it could send again.
type countedBody struct {
	io.Reader
	closed int
}

func (b *countedBody) Close() error { b.closed++; return nil }

func TestTheSessionIsRemovedFromRequestsToOtherHosts(t *testing.T) {
	t.Parallel()
	a := &api{}
	src := a.source(t, nil)
	_, err := src.Session(t.Context())
	require.NoError(t, err)
	var got http.Header
	tr := &autologin.Transport{Source: src, Base: roundTripper(func(r *http.Request) (*http.Response, error) {
		got = r.Header
		return respond(r, 200, ""), nil
	})}
	name := strings.ToLower(session.AuthHeader) // not canonical, as some programs write into the map
	for value, want := range map[string]int{nth(1): 0, "of another site": 1} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://storage.example", nil)
		require.NoError(t, err)
		req.Header[name] = []string{value}
		_, err = tr.RoundTrip(req)
		require.NoError(t, err)
		assert.Len(t, got[name], want)
		assert.Len(t, req.Header[name], 1, "the request of the caller is not modified")
	}
}

func TestRequestsGoToWhereTheSessionLives(t *testing.T) {
	t.Parallel()
	a := &api{movedTo: "eu.files.com"}
	var hosts []string
	base := roundTripper(func(r *http.Request) (*http.Response, error) {
		hosts = append(hosts, r.Host+" "+r.URL.Host+" "+r.Header.Get(session.AuthHeader))
		return respond(r, 200, ""), nil
	})
	tr := &autologin.Transport{Source: a.source(t, nil), Base: base}
	for _, host := range []string{"app.files.com", "APP.files.com:443", "eu.files.com", "us.files.com"} {
		roundTrip(t, tr, http.MethodGet, "https://"+host+"/api/rest/v1/folders", nil)
	}
	moved := " eu.files.com " + nth(2)
	assert.Equal(t, []string{moved, moved, "eu.files.com" + moved, "us.files.com us.files.com "}, hosts)
}

func TestARememberedRefusalSaysSoAndUntilWhen(t *testing.T) {
	t.Parallel()
	onTheClock(t, func(t *testing.T, store autologin.Store) {
		a := &api{}
		for _, tc := range []struct {
			answer roundTripper
			lasts  time.Duration
		}{{wrongPassword, time.Hour}, {demandsCode, time.Hour}, {lockedOut, 15 * time.Minute}, {wrongCode, 30 * time.Second}} {
			src := a.source(t, store)
			a.onLogin = tc.answer
			src.Reset()
			first, until := sessionError(t, src), time.Now().Add(tc.lasts)
			assert.NotContains(t, first.Error(), "remembered")
			posts := a.posts()
			remembered := sessionError(t, src)
			assert.ErrorContains(t, remembered, "remembered")
			assert.ErrorContains(t, remembered, "before "+until.Format("2006-01-02 15:04:05"))
			assert.Equal(t, 1, strings.Count(remembered.Error(), "session: "))
			for _, name := range []string{"Source", "Params", "Reset", "Store", "WithOTP"} {
				assert.NotContains(t, remembered.Error(), name)
			}
			assert.Equal(t, posts, a.posts())
			time.Sleep(24 * time.Hour)
		}
	})
}

// The tests below are about faults of the first draft of this package.

func TestARevokeThatFailsDropsNoSession(t *testing.T) {
	t.Parallel()
	onTheClock(t, func(t *testing.T, store autologin.Store) {
		a := &api{}
		src := a.source(t, store)
		sessionID(t, src)
		a.onLogout = refuse(422, "bad-request/cannot-log-out")
		assert.Error(t, src.Revoke(t.Context()))
		assert.Equal(t, nth(1), sessionID(t, src), "it stays in use")
		a.onLogout = nil
		assert.NoError(t, src.Revoke(t.Context()))
		assert.Equal(t, []string{nth(1)}, a.loggedOut)
		assert.Zero(t, a.alive())
	})
}

func TestASessionThatIsMadeDuringARevokeIsLoggedOut(t *testing.T) {
	t.Parallel()
	onTheClock(t, func(t *testing.T, store autologin.Store) {
		a := &api{takes: time.Second}
		src := a.source(t, store)
		waiting := get(t.Context(), src)
		synctest.Wait()
		assert.NoError(t, src.Revoke(t.Context()))
		assert.Equal(t, []string{nth(1)}, a.loggedOut)
		assert.NoError(t, <-waiting)
		assert.Equal(t, nth(2), sessionID(t, src), "the caller waited for a new login")
	})
}

func TestTheAPIIsNotAskedAboutASessionThatHasEnded(t *testing.T) {
	t.Parallel()
	onTheClock(t, func(t *testing.T, store autologin.Store) {
		a := &api{lifetime: time.Hour}
		a.onCheck = func(r *http.Request) (*http.Response, error) {
			a.checks++
			return nil, nil
		}
		src := a.source(t, store)
		s, err := src.Session(t.Context())
		require.NoError(t, err)
		time.Sleep(2 * time.Minute)
		src.Invalidate(s)
		assert.Equal(t, nth(2), sessionID(t, src))
		assert.Zero(t, a.checks)
	})
}
