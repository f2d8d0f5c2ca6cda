package autologin_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/filescom/session"
	"github.com/filescom/session/autologin"
	"github.com/filescom/session/sessiontest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestASourceLogsInOnce(t *testing.T) {
	t.Parallel()
	bothWays(t, func(t *testing.T, store autologin.Store) {
		a := &api{}
		login := a.holdLogins()
		src := a.source(t, store)
		var out []<-chan error
		for range 1000 {
			out = append(out, get(t.Context(), src))
		}
		<-login.started
		login.result <- nil
		for _, ch := range out {
			assert.NoError(t, <-ch)
		}
		assert.Equal(t, 1, a.posts())
	})
}

func TestASessionInUseCostsNoAllocation(t *testing.T) {
	bothWays(t, func(t *testing.T, store autologin.Store) {
		src := (&api{lifetime: time.Hour}).source(t, store)
		ctx := t.Context()
		assert.Zero(t, testing.AllocsPerRun(100, func() { src.Session(ctx) }))
	})
}

func TestTheStoreIsNotReadWhileASessionIsInUse(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	src := f.source()
	f.id(src)
	loads, locks, saves := f.record.counts()
	for range 1000 {
		f.id(src)
	}
	l, k, s := f.record.counts()
	assert.Equal(t, [3]int{loads, locks, saves}, [3]int{l, k, s})
	assert.Equal(t, 2, saves, "one before the login, one after it")
}

func TestInvalidateForgetsOnlyThatSession(t *testing.T) {
	t.Parallel()
	bothWays(t, func(t *testing.T, store autologin.Store) {
		a := &api{}
		src := a.source(t, store)
		first, err := src.Session(t.Context())
		require.NoError(t, err)
		src.Invalidate(nil)
		src.Invalidate(&session.Session{ID: "other"})
		same, err := src.Session(t.Context())
		require.NoError(t, err)
		assert.Same(t, first, same)
		copied := *first
		src.Invalidate(&copied)
		second, err := src.Session(t.Context())
		require.NoError(t, err)
		assert.Equal(t, nth(2), second.ID)
		src.Invalidate(first)
		same, err = src.Session(t.Context())
		require.NoError(t, err)
		assert.Same(t, second, same, "a late 401 of the old session does not cost the new one")
		assert.Equal(t, 2, a.posts())
	})
}

func TestAnEndedSessionIsForgottenByItsID(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	a, b := f.source(), f.source()
	first := f.id(a)
	f.id(b)
	f.ExpireUser("alice")
	a.Invalidate(&session.Session{ID: first})
	second := f.id(a)
	record := f.record.get()
	b.Invalidate(&session.Session{ID: "another"})
	assert.Equal(t, first, f.id(b), "it does not know yet")
	b.Invalidate(&session.Session{ID: first})
	assert.Equal(t, second, f.id(b))
	a.Invalidate(&session.Session{ID: first})
	assert.Equal(t, second, f.id(a))
	assert.Equal(t, record, f.record.get())
	assert.Equal(t, 2, f.Counts().Logins)
}

func TestALateAnswerAfterAResetBringsNoEndedSessionBack(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	src := f.source()
	first := f.id(src)
	f.ExpireUser("alice")
	src.Invalidate(&session.Session{ID: first})
	second := f.id(src)
	f.ExpireUser("alice")
	src.Invalidate(&session.Session{ID: second})
	src.Reset()
	src.Invalidate(&session.Session{ID: first}) // the late answer
	assert.NotEqual(t, second, f.id(src))
}

func TestAFailureFromBeforeAResetIsNotKept(t *testing.T) {
	t.Parallel()
	bothWays(t, func(t *testing.T, store autologin.Store) {
		a := &api{}
		login := a.holdLogins()
		src := a.source(t, store)
		out := get(t.Context(), src)
		<-login.started
		src.Reset()
		login.result <- wrongPassword
		err := <-out
		assertErrorIs(t, err, session.ErrInvalidUsernameOrPassword)
		login.result <- nil
		_, err = src.Session(t.Context())
		assert.NoError(t, err)
	})
}

func TestAResetClearsWhatIsSharedButNoGoodSession(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	id := f.id(f.source())
	src := f.source()
	src.Reset()
	assert.Equal(t, id, f.id(src))
	src.Reset()
	assert.Equal(t, id, f.id(src))
	assert.Equal(t, 1, f.posts())

	f.ExpireUser("alice")
	f.Inject(sessiontest.Fault{Method: "POST", Status: 503, Header: http.Header{"Retry-After": {"60"}}})
	src.Invalidate(&session.Session{ID: id})
	f.err(src)
	other := f.source()
	other.Invalidate(&session.Session{ID: id})
	backoffError(t, f.err(other))
	src.Reset()
	second := f.id(src)
	assert.NotEqual(t, id, second)
	assert.Equal(t, second, f.id(f.source()))
	assert.Equal(t, 3, f.posts())
}

func TestAContextThatHasEndedStartsNoLogin(t *testing.T) {
	t.Parallel()
	bothWays(t, func(t *testing.T, store autologin.Store) {
		a := &api{}
		src := a.source(t, store)
		_, err := src.Session(ended(t))
		assertErrorIs(t, err, context.Canceled)
		assert.Zero(t, a.posts())
	})
}

// Before the fix, fifteen callers with short timeouts made fifteen logins, and fifteen
// sessions that nobody used.
func TestALoginGoesOnWhenItsCallersLeave(t *testing.T) {
	t.Parallel()
	type key struct{}
	bothWays(t, func(t *testing.T, store autologin.Store) {
		a := &api{}
		login := a.holdLogins()
		src := a.source(t, store)
		var params any
		src.Params = func(ctx context.Context) (session.CreateParams, error) {
			params = ctx.Value(key{})
			return alice, nil
		}
		var posted context.Context
		for n := range 15 {
			ctx, cancel := context.WithCancelCause(context.WithValue(t.Context(), key{}, "value"))
			out := get(ctx, src)
			if n == 0 {
				posted = <-login.started
			}
			cancel(errBroken)
			err := <-out
			assertErrorIs(t, err, context.Canceled)
			assertErrorIs(t, err, errBroken)
		}
		assert.NoError(t, posted.Err())
		assert.Equal(t, "value", params, "Params sees the values of the first caller's context")
		login.result <- nil
		s, err := src.Session(t.Context())
		require.NoError(t, err)
		assert.Equal(t, nth(1), s.ID)
		assert.Equal(t, 1, a.posts())
	})
}

func TestACallerWaitsUntilItsOwnContextEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, r := &api{}, &record{}
		lock := r.lock(t)
		src := a.source(t, r.store())
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		_, err := src.Session(ctx)
		assertErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, time.Minute, time.Since(start))
		later := get(t.Context(), src)
		synctest.Wait()
		lock.Unlock()
		assert.NoError(t, <-later)
		assert.Equal(t, 1, a.posts())
	})
}

func TestTheErrorOfAMisuseSaysWhatToDo(t *testing.T) {
	t.Parallel()
	var none context.Context
	client := (&api{}).client(t)
	params := func(context.Context) (session.CreateParams, error) { return alice, nil }
	static := autologin.Static(&session.Session{ID: idCanary})
	for _, tc := range []struct {
		src  *autologin.Source
		ctx  context.Context
		want string
	}{
		{src: &autologin.Source{Params: params}, ctx: t.Context(), want: "Source.Client is nil; set it to a Client"},
		{src: &autologin.Source{Client: client}, ctx: t.Context(), want: "Source.Params is nil; set it to a function that returns the parameters of a login"},
		{src: autologin.New(client, alice), ctx: none, want: "the context is nil; use context.Background()"},
		{src: static, ctx: none, want: "the context is nil; use context.Background()"},
	} {
		s, err := tc.src.Session(tc.ctx)
		assert.Nil(t, s)
		for _, err := range []error{err, tc.src.Close(tc.ctx), tc.src.Revoke(tc.ctx)} {
			assert.EqualError(t, err, "session: invalid parameters: "+tc.want)
			assertErrorIs(t, err, session.ErrInvalidParams)
		}
	}
}

func TestALoginThatUsesItsOwnSourceGetsAnError(t *testing.T) {
	t.Parallel()
	const want = "Source.Params or an OTPFunc calls its own Source; use a Client there instead"
	other := autologin.Static(&session.Session{ID: idCanary})
	var src *autologin.Source
	nested := func(ctx context.Context) error {
		child, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		_, err := src.Session(child)
		for _, err := range []error{err, src.Close(child), src.Revoke(child)} {
			assert.EqualError(t, err, "session: invalid parameters: "+want)
		}
		_, err2 := other.Session(ctx)
		assert.NoError(t, err2, "another Source may be used")
		return fmt.Errorf("nested: %w", err)
	}
	ask := func(ctx context.Context, _ *session.TwoFactorError) (string, error) { return "", nested(ctx) }
	a := &api{onLogin: demandsCode}
	for _, inParams := range []bool{true, false} {
		bothWays(t, func(t *testing.T, store autologin.Store) {
			src = a.source(t, store, session.WithOTP(ask))
			if inParams {
				src.Params = func(ctx context.Context) (session.CreateParams, error) { return alice, nested(ctx) }
			}
			for range 2 {
				_, err := src.Session(t.Context())
				assert.ErrorContains(t, err, "nested: session: invalid parameters: "+want)
				assertErrorIs(t, err, session.ErrInvalidParams)
			}
			assert.NoError(t, src.Close(t.Context()), "the login did not close the Source")
		})
	}
}

func TestAStaticSourceNeverLogsIn(t *testing.T) {
	t.Parallel()
	s := &session.Session{ID: idCanary}
	src := autologin.Static(s)
	for range 10 {
		got, err := src.Session(t.Context())
		require.NoError(t, err)
		assert.Same(t, s, got)
		src.Invalidate(&session.Session{ID: "other"})
	}
	src.Invalidate(s)
	for range 10 {
		got, err := src.Session(t.Context())
		assert.Nil(t, got)
		assertErrorIs(t, err, session.ErrSessionEnded)
		assert.EqualError(t, err, "session: session ended, and this program does not log in again")
	}
	for _, bad := range []*session.Session{nil, {}, {ID: idCanary + " "}, {ID: "1", BaseURL: "http://app.files.com"}, {ID: "1", UserAgent: "a\nb"}} {
		src := autologin.Static(bad)
		_, err := src.Session(t.Context())
		for _, err := range []error{err, src.Revoke(t.Context()), src.Close(t.Context())} {
			assertErrorIs(t, err, session.ErrInvalidParams)
			assert.EqualError(t, err, bad.Validate().Error())
		}
	}
}

func TestAStaticSourceDoesNotEndByTheClock(t *testing.T) {
	t.Parallel()
	for _, lifetime := range []time.Duration{-time.Hour, 0, time.Second, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			src := autologin.Static(&session.Session{ID: "1", TimeoutAt: time.Now().Add(lifetime)})
			for range 3 {
				_, err := src.Session(t.Context())
				assert.NoError(t, err)
				time.Sleep(time.Hour)
			}
		})
	}
}

func TestASourcePrintsNoSession(t *testing.T) {
	t.Parallel()
	bothWays(t, func(t *testing.T, store autologin.Store) {
		a := &api{onLogout: refuse(500, "")}
		src := a.source(t, store, session.WithRetries(0))
		check := func() {
			for _, v := range []any{src, &autologin.Transport{Source: src}, autologin.Transport{Source: src}, []*autologin.Source{src}} {
				assertHidesSecrets(t, v)
			}
			for _, verb := range verbs {
				if verb != "%T" {
					assert.Equal(t, "autologin.Source", fmt.Sprintf(verb, src))
				}
			}
		}
		_, err := src.Session(t.Context())
		require.NoError(t, err)
		check()
		assertHidesSecrets(t, src.Close(t.Context()))
		check()
	})
}

func TestADroppedSourceIsCollected(t *testing.T) {
	t.Parallel()
	bothWays(t, func(t *testing.T, store autologin.Store) {
		src := (&api{lifetime: time.Hour}).source(t, store)
		_, err := src.Session(t.Context())
		require.NoError(t, err)
		ref := weak.Make(src)
		src = nil
		waitFor(t, func() bool { runtime.GC(); return ref.Value() == nil })
	})
}

// All methods are called at the same time, in any order, with sessions that may be due
// for renewal at any time.
func TestASourceMayBeUsedByManyGoroutines(t *testing.T) {
	t.Parallel()
	bothWays(t, func(t *testing.T, store autologin.Store) {
		var running, calls atomic.Int32
		var closed atomic.Bool
		a := &api{lifetime: 1100 * time.Millisecond}
		a.onLogout = func(r *http.Request) (*http.Response, error) {
			if id := r.Header.Get(session.AuthHeader); id[len(id)-1]%2 == 0 {
				return refuse(500, "")(r)
			}
			return nil, nil
		}
		a.onLogin = func(r *http.Request) (*http.Response, error) {
			assert.EqualValues(t, 1, running.Add(1), "one login at a time")
			defer running.Add(-1)
			return nil, nil
		}
		src := a.source(t, store, session.WithRetries(0))
		src.Params = func(context.Context) (session.CreateParams, error) {
			assert.False(t, closed.Load(), "no login starts after Close")
			switch calls.Add(1) % 7 {
			case 5:
				return alice, errBroken
			case 6:
				panic(errBroken)
			}
			return alice, nil
		}
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for i := range 1000 {
					recovered(func() {
						s, err := src.Session(t.Context())
						if i%5 == 0 && err == nil {
							src.Invalidate(s)
						}
					})
					switch i % 50 {
					case 0:
						recovered(func() { src.Revoke(t.Context()) })
					case 10, 20, 30, 40:
						src.Reset()
					}
				}
			})
		}
		wg.Wait()
		assert.Greater(t, a.posts(), 50)
		recovered(func() { src.Close(t.Context()) })
		closed.Store(true)
		_, err := src.Session(t.Context())
		assertErrorIs(t, err, autologin.ErrClosed)
	})
}

func TestAStoreInOneProcessMayBeSharedByManySources(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, r := &api{}, &record{}
		var wg sync.WaitGroup
		for range 8 {
			src := a.source(t, r.store())
			for range 4 {
				wg.Go(func() {
					for n := range 25 {
						s, err := src.Session(t.Context())
						if err != nil { // too many sessions end at once
							assert.True(t, errors.As(err, new(*autologin.BackoffError)), "%v", err)
						}
						switch n % 5 {
						case 1:
							src.Invalidate(s)
						case 3:
							src.Reset()
						}
					}
					assert.NoError(t, src.Revoke(t.Context()))
				})
			}
		}
		wg.Wait()
		assert.NoError(t, a.source(t, r.store()).Revoke(t.Context()))
		s, err := autologin.Load(t.Context(), r.store())
		assert.NoError(t, err)
		assert.Nil(t, s)
	})
}
