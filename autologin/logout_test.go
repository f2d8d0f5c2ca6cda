package autologin_test

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/filescom/session"
	"github.com/filescom/session/autologin"
	"github.com/filescom/session/sessiontest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// alone returns a Source of alice without a Store.
func (f *fleet) alone(opts ...session.Option) *autologin.Source {
	f.t.Helper()
	return autologin.New(f.client(opts...), alice)
}

func TestCloseLogsOut(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	for _, ctx := range []context.Context{t.Context(), ended(t)} {
		src := f.alone()
		f.id(src)
		assert.Len(t, f.Sessions(), 1)
		assert.NoError(t, src.Close(ctx))
		assert.Empty(t, f.Sessions())
		assert.NoError(t, src.Close(ctx), "a second Close is no error")
		assert.ErrorIs(t, f.err(src), autologin.ErrClosed)
	}
	assert.NoError(t, f.alone().Close(t.Context()))
}

func TestCloseLeavesTheSessionToTheOthers(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	src := f.source()
	id := f.id(src)
	assert.NoError(t, src.Close(t.Context()))
	assert.ErrorIs(t, f.err(src), autologin.ErrClosed)
	assert.Equal(t, []string{id}, f.Sessions())
	assert.Equal(t, id, f.id(f.source()))
	assert.Zero(t, f.Counts().Logouts)
}

func TestCloseWaitsForALoginAndLogsItOut(t *testing.T) {
	t.Parallel()
	a := &api{}
	login := a.holdLogins()
	src := a.source(t, nil)
	waiter := get(t.Context(), src)
	posted := <-login.started
	closed := make(chan error, 2)
	for range 2 {
		go func() { closed <- src.Close(t.Context()) }()
	}
	assertErrorIs(t, <-waiter, autologin.ErrClosed)
	assert.NoError(t, posted.Err(), "the login is not cut off")
	login.result <- nil
	assert.NoError(t, <-closed)
	assert.NoError(t, <-closed)
	assert.Equal(t, []string{nth(1)}, a.loggedOut)
}

func TestCloseWaitsForItsOwnLoginWhichSavesItsSession(t *testing.T) {
	t.Parallel()
	a, r := &api{}, &record{}
	login := a.holdLogins()
	src := a.source(t, r.store())
	waiter := get(t.Context(), src)
	posted := <-login.started
	closed := make(chan error)
	go func() { closed <- src.Close(t.Context()) }()
	assertErrorIs(t, <-waiter, autologin.ErrClosed)
	assert.NoError(t, posted.Err(), "the login is not cut off")
	login.result <- nil
	assert.NoError(t, <-closed)
	s, err := a.source(t, r.store()).Session(t.Context())
	require.NoError(t, err)
	assert.Equal(t, nth(1), s.ID)
	assert.Empty(t, a.loggedOut)
}

// deafLogin makes a login ignore its context until proceed is closed.
func (a *api) deafLogin() (started chan bool, proceed chan bool) {
	started, proceed = make(chan bool, 1), make(chan bool)
	a.onLogin = func(*http.Request) (*http.Response, error) {
		started <- true
		<-proceed
		return nil, nil
	}
	return started, proceed
}

func TestCloseEndsWithItsContext(t *testing.T) {
	t.Parallel()
	a, logouts := &api{}, make(chan error, 1)
	started, proceed := a.deafLogin()
	a.onLogout = func(r *http.Request) (*http.Response, error) { logouts <- r.Context().Err(); return nil, nil }
	src := a.source(t, nil)
	waiter := get(t.Context(), src)
	<-started
	ctx, cancel := context.WithCancel(t.Context())
	closed := make(chan error)
	go func() { closed <- src.Close(ctx) }()
	assertErrorIs(t, <-waiter, autologin.ErrClosed)
	cancel()
	assertErrorIs(t, <-closed, context.Canceled)
	close(proceed)
	assert.NoError(t, <-logouts, "a session that comes late is logged out, under a live context")
	assert.NoError(t, src.Close(t.Context()))
	assert.Zero(t, a.alive())
}

func TestCloseSavesTheSessionOfALoginThatItCancelled(t *testing.T) {
	t.Parallel()
	a, r := &api{}, &record{}
	started, proceed := a.deafLogin()
	src := a.source(t, r.store())
	waiter := get(t.Context(), src)
	<-started
	ctx, cancel := context.WithCancel(t.Context())
	closed := make(chan error)
	go func() { closed <- src.Close(ctx) }()
	assertErrorIs(t, <-waiter, autologin.ErrClosed)
	cancel()
	assertErrorIs(t, <-closed, context.Canceled)
	close(proceed)
	assert.NoError(t, src.Close(t.Context()))
	s, err := a.source(t, r.store()).Session(t.Context())
	require.NoError(t, err)
	assert.Equal(t, nth(1), s.ID)
	assert.Empty(t, a.loggedOut)
}

func TestCloseTakesFiveSecondsIfItsContextHasEnded(t *testing.T) {
	t.Parallel()
	onTheClock(t, func(t *testing.T, store autologin.Store) {
		a := &api{}
		a.holdLogins()
		src := a.source(t, store)
		waiter := get(context.Background(), src)
		synctest.Wait()
		start := time.Now()
		assertErrorIs(t, src.Close(ended(t)), context.DeadlineExceeded)
		assert.Equal(t, 5*time.Second, time.Since(start))
		assertErrorIs(t, <-waiter, autologin.ErrClosed)
		assert.NoError(t, src.Close(t.Context()), "the login was cancelled")
	})
}

func TestCloseMayBeCalledAgainWhenTheLogOutFailed(t *testing.T) {
	t.Parallel()
	a := &api{onLogout: refuse(500, "")}
	src := a.source(t, nil, session.WithRetries(0))
	_, err := src.Session(t.Context())
	require.NoError(t, err)
	for range 2 {
		err := src.Close(t.Context())
		assert.Equal(t, 500, apiError(t, err).StatusCode)
		assertHidesSecrets(t, err)
	}
	a.onLogout = nil
	assert.NoError(t, src.Close(t.Context()))
	a.onLogout = refuse(500, "")
	assert.NoError(t, src.Close(t.Context()))
	assert.Equal(t, []string{nth(1)}, a.loggedOut)
}

// A RoundTripper of the caller may panic.
func TestASessionIsNotForgottenBeforeItIsLoggedOut(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]func(){ // the outcome of the first log-out
		"panics":             func() { panic(errBroken) },
		"ends its goroutine": runtime.Goexit,
	} {
		for _, late := range []bool{false, true} { // whether the login ends after Close
			t.Run(fmt.Sprint(name, ", late=", late), func(t *testing.T) {
				t.Parallel()
				a, logouts := &api{}, 0
				started, proceed := a.deafLogin()
				a.onLogout = func(*http.Request) (*http.Response, error) {
					if logouts++; logouts == 1 {
						first()
					}
					return nil, nil
				}
				src := a.source(t, nil)
				waiter := get(t.Context(), src)
				<-started
				if !late {
					close(proceed)
					require.NoError(t, <-waiter)
				}
				closed := make(chan bool)
				go func() {
					defer close(closed)
					recovered(func() { assert.Error(t, src.Close(t.Context())) })
				}()
				if late {
					assertErrorIs(t, <-waiter, autologin.ErrClosed)
					close(proceed)
				}
				<-closed
				assert.NoError(t, src.Close(t.Context()))
				assert.Equal(t, []string{nth(1)}, a.loggedOut)
			})
		}
	}
}

func TestAPanicDuringCloseReachesIt(t *testing.T) {
	t.Parallel()
	for _, inLogout := range []bool{false, true} {
		a := &api{}
		started, proceed := make(chan bool), make(chan bool)
		src := a.source(t, nil)
		src.Params = func(context.Context) (session.CreateParams, error) {
			started <- true
			<-proceed
			if !inLogout {
				panic(errBroken)
			}
			return alice, nil
		}
		a.onLogout = func(*http.Request) (*http.Response, error) { panic(errBroken) }
		waiter := get(t.Context(), src)
		<-started
		caught := make(chan any)
		go func() { caught <- recovered(func() { src.Close(t.Context()) }) }()
		assertErrorIs(t, <-waiter, autologin.ErrClosed)
		proceed <- true
		assert.Equal(t, errBroken, <-caught)
	}
}

func TestCloseRaisesThePanicOfALogOutAfterAFailedSave(t *testing.T) {
	t.Parallel()
	a, r := &api{}, &record{failSave: errorFrom(2)}
	started, proceed := a.deafLogin()
	a.onLogout = func(*http.Request) (*http.Response, error) { panic("log-out") }
	src := a.source(t, r.store())
	waiter := get(t.Context(), src)
	<-started
	caught := make(chan any)
	go func() { caught <- recovered(func() { src.Close(t.Context()) }) }()
	assertErrorIs(t, <-waiter, autologin.ErrClosed)
	close(proceed)
	assert.Equal(t, "log-out", <-caught)
}

func TestCloseDoesNotWaitForTheLoginOfAnother(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	defer f.record.lock(t).Unlock()
	src := f.source()
	waiter := get(t.Context(), src)
	waitFor(t, func() bool { loads, _, _ := f.record.counts(); return loads > 0 })
	assert.NoError(t, src.Close(t.Context()))
	assertErrorIs(t, <-waiter, autologin.ErrClosed)
	assert.Zero(t, f.posts())
}

func TestCloseLogsOutASessionThatIsDueForRenewal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &api{lifetime: time.Hour}
		src := a.source(t, nil)
		sessionID(t, src)
		time.Sleep(time.Hour - 30*time.Second)
		sessionID(t, src) // starts a renewal; the first session is left to end by itself
		time.Sleep(time.Hour - 30*time.Second)
		assert.NoError(t, src.Close(t.Context()))
		assert.Equal(t, []string{nth(2)}, a.loggedOut)
	})
}

func TestCloseLogsOutASessionThatCouldNotBeSavedNorLoggedOut(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.record.failSave = errorAt(2)
	f.Inject(sessiontest.Fault{Method: "DELETE", Status: 500})
	src := f.source(session.WithRetries(0))
	assert.ErrorIs(t, f.err(src), errBroken)
	assert.Len(t, f.Sessions(), 1)
	id := f.id(f.source())
	assert.NoError(t, src.Close(t.Context()))
	assert.Equal(t, []string{id}, f.Sessions(), "the session of the others is left to them")
}

func TestCloseLeavesASessionThatWasSavedAfterAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, r, down := &api{onLogout: refuse(500, "")}, &record{}, false
		r.afterSave = func(n int) error {
			if n == 2 {
				down = true
				return errBroken
			}
			return nil
		}
		r.onLoad = func(context.Context) error {
			if down {
				return errBroken
			}
			return nil
		}
		src := a.source(t, r.store(), session.WithRetries(0))
		assert.ErrorIs(t, sessionError(t, src), errBroken)
		down, a.onLogout = false, nil
		other := a.source(t, r.store())
		assert.Equal(t, nth(1), sessionID(t, other))
		time.Sleep(2 * time.Second)
		assert.Equal(t, nth(1), sessionID(t, src))
		assert.NoError(t, src.Close(t.Context()))
		assert.Empty(t, a.loggedOut)
		assert.Equal(t, 1, a.posts())
	})
}

func TestCloseLogsNobodyOutAfterAFailedRevoke(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	src, other := f.source(session.WithRetries(0)), f.source()
	id := f.id(src)
	assert.Equal(t, id, f.id(other))
	f.Inject(sessiontest.Fault{Method: "DELETE", Status: 500})
	assert.Equal(t, 500, apiError(t, src.Revoke(t.Context())).StatusCode)
	assert.Equal(t, id, f.id(src), "in use again, by all")
	assert.NoError(t, src.Close(t.Context()))
	assert.Equal(t, []string{id}, f.Sessions())
	assert.Equal(t, id, f.id(f.source()), "what is stored")
}

func TestCloseWakesCallersThatWaitForARevoke(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, r := &api{}, &record{}
		src := a.source(t, r.store())
		sessionID(t, src)
		defer r.lock(t).Unlock()
		revoked := make(chan error, 1)
		go func() { revoked <- src.Revoke(t.Context()) }()
		synctest.Wait() // Revoke waits, since the record is locked
		src.Invalidate(&session.Session{ID: nth(1)})
		waiter := get(t.Context(), src)
		synctest.Wait()
		assert.NoError(t, src.Close(t.Context()))
		assertErrorIs(t, <-waiter, autologin.ErrClosed)
		assertErrorIs(t, <-revoked, autologin.ErrClosed)
		assert.Equal(t, 1, a.alive(), "the session is left to the others")
	})
}

func TestAStaticSourceLogsOutOnlyInRevoke(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	s, err := f.client().Create(t.Context(), alice)
	require.NoError(t, err)

	src := autologin.Static(s)
	assert.NoError(t, src.Close(t.Context()))
	assert.Len(t, f.Sessions(), 1)
	assert.ErrorIs(t, f.err(src), autologin.ErrClosed)
	assertErrorIs(t, src.Revoke(t.Context()), autologin.ErrClosed)
	assert.NoError(t, src.Close(t.Context()))

	src = autologin.Static(s)
	assert.NoError(t, src.Revoke(t.Context()))
	assert.Empty(t, f.Sessions())
	assert.ErrorIs(t, f.err(src), session.ErrSessionEnded)
}

func TestRevokeLogsOutAndTheSourceStaysUsable(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	src := f.alone()
	assert.NoError(t, src.Revoke(t.Context()), "there is nothing to log out")
	for n, ctx := range []context.Context{t.Context(), ended(t)} {
		f.id(src)
		assert.Len(t, f.Sessions(), 1)
		assert.NoError(t, src.Revoke(ctx))
		assert.Empty(t, f.Sessions())
		assert.Equal(t, n+1, f.Counts().Logins)
	}
	assert.NoError(t, src.Close(t.Context()))
	assertErrorIs(t, src.Revoke(t.Context()), autologin.ErrClosed)
}

func TestRevokeLogsOutForAll(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	user, revoker := f.source(), f.source()
	first := f.id(user)
	assert.NoError(t, revoker.Revoke(t.Context()), "a Source that has not been used")
	assert.Empty(t, f.Sessions())
	assert.Empty(t, f.record.get(), "the record is removed")
	assert.Equal(t, 1, f.Counts().Logouts)
	assert.NoError(t, revoker.Revoke(t.Context()), "there is nothing to log out")
	user.Invalidate(&session.Session{ID: first})
	second := f.id(user)
	assert.NotEqual(t, first, second)
	assert.Equal(t, second, f.id(revoker))
	assert.NoError(t, revoker.Close(t.Context()))
	assertErrorIs(t, revoker.Revoke(t.Context()), autologin.ErrClosed)
}

func TestRevokeLeavesTheRefusals(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, r := &api{onLogin: wrongPassword}, &record{}
		stale := func() *autologin.Source {
			src := a.source(t, r.store())
			src.Params = func(context.Context) (session.CreateParams, error) { return wrong, nil }
			return src
		}
		sessionError(t, stale())
		a.onLogin = nil
		src := a.source(t, r.store())
		assert.Equal(t, nth(2), sessionID(t, src))
		assert.NoError(t, src.Revoke(t.Context()))
		assert.Zero(t, a.alive())
		assert.NotContains(t, r.get(), nth(2))
		assert.ErrorIs(t, sessionError(t, stale()), session.ErrInvalidUsernameOrPassword)
		assert.Equal(t, 2, a.posts())

		assert.Equal(t, nth(3), sessionID(t, src))
		time.Sleep(time.Hour + 10*time.Minute) // then it no longer counts
		assert.NoError(t, src.Revoke(t.Context()))
		assert.Empty(t, r.get())
	})
}

func TestRevokeEndsANewerSessionThanItsOwn(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	a, b := f.source(), f.source()
	first := f.id(a)
	f.id(b)
	b.Invalidate(&session.Session{ID: first}) // by mistake: it is still good
	f.id(b)
	assert.Len(t, f.Sessions(), 2)
	assert.NoError(t, a.Revoke(t.Context()))
	assert.Empty(t, f.Sessions())
}

func TestARevokeThatFailsLeavesTheRecord(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	src := f.source(session.WithRetries(0))
	id := f.id(src)
	record := f.record.get()
	f.Inject(sessiontest.Fault{Method: "DELETE", Status: 500})
	err := src.Revoke(t.Context())
	assert.Equal(t, 500, apiError(t, err).StatusCode)
	f.hidesSecrets(err)
	assert.Equal(t, record, f.record.get())
	assert.Equal(t, id, f.id(f.source()), "it can still be used")
	assert.NoError(t, src.Revoke(t.Context()))
	assert.Empty(t, f.record.get())
	assert.Empty(t, f.Sessions())
}

func TestASessionThatWasNotLoggedOutIsLoggedOutLater(t *testing.T) {
	t.Parallel()
	bothWays(t, func(t *testing.T, store autologin.Store) {
		a := &api{onLogout: refuse(500, "")}
		src := a.source(t, store, session.WithRetries(0))
		first, err := src.Session(t.Context())
		require.NoError(t, err)
		err = src.Revoke(t.Context())
		assert.Equal(t, 500, apiError(t, err).StatusCode)
		assertHidesSecrets(t, err)
		s, err := src.Session(t.Context())
		require.NoError(t, err)
		assert.Same(t, first, s, "it stays in use")
		a.onLogout = nil
		assert.NoError(t, src.Revoke(t.Context()))
		assert.Equal(t, []string{nth(1)}, a.loggedOut)
		assert.NoError(t, src.Close(t.Context()))
		assert.Equal(t, []string{nth(1)}, a.loggedOut)
	})
}

func TestASessionThatRevokeLoggedOutIsNotUsedAgain(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.record.onRemove = func(context.Context) error { return errBroken }
	src := f.source()
	id := f.id(src)
	assertErrorIs(t, src.Revoke(t.Context()), errBroken)
	require.Empty(t, f.Sessions())
	assert.NotEqual(t, id, f.id(src))
}

func TestRevokeEndsTheSessionOfALoginThatIsRunning(t *testing.T) {
	t.Parallel()
	onTheClock(t, func(t *testing.T, store autologin.Store) {
		a := &api{}
		login := a.holdLogins()
		src := a.source(t, store)
		waiter := get(t.Context(), src)
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		revoked := make(chan error)
		go func() { revoked <- src.Revoke(ctx) }()
		synctest.Wait()
		cancel()
		assertErrorIs(t, <-revoked, context.Canceled)
		posted := <-login.started
		assert.NoError(t, posted.Err(), "the login is not canceled")

		for range 2 {
			go func() { revoked <- src.Revoke(t.Context()) }()
		}
		synctest.Wait()
		login.result <- nil
		assert.NoError(t, <-revoked, "the later Revokes waited for it")
		assert.NoError(t, <-revoked)
		assert.Equal(t, []string{nth(1)}, a.loggedOut)
		<-login.started // another login, which the waiting caller has started
		login.result <- nil
		assert.NoError(t, <-waiter)
		assert.Equal(t, nth(2), sessionID(t, src))
		assert.Equal(t, 1, a.alive())
	})
}

func TestRevokeDuringARenewalEndsBothSessions(t *testing.T) {
	t.Parallel()
	onTheClock(t, func(t *testing.T, store autologin.Store) {
		a := &api{lifetime: time.Hour}
		src := a.source(t, store)
		sessionID(t, src)
		time.Sleep(time.Hour - 20*time.Second)
		a.takes = 10 * time.Second
		sessionID(t, src)
		assert.NoError(t, src.Revoke(t.Context()))
		assert.ElementsMatch(t, []string{nth(1), nth(2)}, a.loggedOut)
		assert.Equal(t, nth(3), sessionID(t, src))
	})
}

func TestRevokeEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, r := &api{}, &record{}
		src := a.source(t, r.store())
		sessionID(t, src)
		lock := r.lock(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		revoked := make(chan error, 1)
		go func() { revoked <- src.Revoke(ctx) }()
		assert.Equal(t, nth(1), sessionID(t, src), "while Revoke waits, the session is in use")
		assertErrorIs(t, <-revoked, context.DeadlineExceeded)
		lock.Unlock()
		assert.Equal(t, nth(1), sessionID(t, src))
		assert.Equal(t, 1, a.alive())
		assert.NoError(t, src.Revoke(ctx), "a context that has ended leaves 5 seconds")
		assert.Zero(t, a.alive())
	})
}

func TestARevokeThatCannotLockForgetsNoSession(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	src := f.source()
	id := f.id(src)
	f.record.setFailure(errBroken) // Redis restarts
	err := src.Revoke(t.Context())
	assertErrorIs(t, err, errBroken)
	f.hidesSecrets(err)
	f.record.setFailure(nil)
	f.record.set("") // it kept nothing on disk
	assert.NoError(t, src.Revoke(t.Context()))
	assert.NotContains(t, f.Sessions(), id)
	assert.NoError(t, src.Close(t.Context()))
}

func TestARevokeWhoseContextEndsForgetsNoSession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, r := &api{}, &record{}
		one, two := a.source(t, r.store()), a.source(t, r.store())
		sessionID(t, one)
		sessionID(t, two)
		two.Invalidate(&session.Session{ID: nth(1)})
		sessionID(t, two)
		require.Equal(t, 2, a.alive())
		lock := r.lock(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		assertErrorIs(t, one.Revoke(ctx), context.DeadlineExceeded)
		lock.Unlock()
		assert.NoError(t, one.Revoke(t.Context()))
		assert.Zero(t, a.alive())
	})
}

func TestASessionRemainsInUseAfterARevokeWithoutTheStore(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	src := f.source()
	id := f.id(src)
	f.record.setFailure(errBroken)
	assertErrorIs(t, src.Revoke(t.Context()), errBroken)
	assert.Equal(t, id, f.id(src))
}

func TestRevokeRemovesTheStoredSessionEvenIfAnOlderOneCannotBeLoggedOut(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	var first string
	a := f.hooked(func(r *http.Request) (*http.Response, error) {
		if r.Method == http.MethodDelete && r.Header.Get(session.AuthHeader) == first {
			return refuse(500, "")(r) // for ever
		}
		return nil, nil
	}, session.WithRetries(0))
	b := f.source()
	first = f.id(a)
	f.id(b)
	b.Invalidate(&session.Session{ID: first})
	second := f.id(b)
	for range 3 {
		assert.Equal(t, 500, apiError(t, a.Revoke(t.Context())).StatusCode)
	}
	assert.NotContains(t, f.Sessions(), second)
	assert.NotContains(t, f.record.get(), second, "it has ended")
	assert.NotEqual(t, second, f.id(f.source()))
}

func TestRevokeRemovesTheSessionThatItLoggedOutEvenIfItsContextEnds(t *testing.T) {
	t.Parallel()
	a, r := &api{}, &record{}
	src := a.source(t, r.store())
	_, err := src.Session(t.Context())
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	a.onLogout = func(*http.Request) (*http.Response, error) { cancel(); return nil, nil }
	assert.NoError(t, src.Revoke(ctx))
	assert.Zero(t, a.alive())
	assert.Empty(t, r.get(), "a session that has ended is left to all")
}

func TestRevokeLogsOutBeforeItRaisesThePanicOfARenewal(t *testing.T) {
	t.Parallel()
	onTheClock(t, func(t *testing.T, store autologin.Store) {
		a := &api{lifetime: time.Hour}
		src := a.source(t, store)
		sessionID(t, src)
		time.Sleep(time.Hour - 30*time.Second)
		src.Params = func(context.Context) (session.CreateParams, error) {
			time.Sleep(time.Second)
			panic("no code")
		}
		sessionID(t, src) // starts a renewal
		assert.PanicsWithValue(t, "no code", func() { src.Revoke(t.Context()) })
		assert.Equal(t, []string{nth(1)}, a.loggedOut)
	})
}

func TestRevokeEndsIfTheStoreHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, r := &api{}, &record{}
		src := a.source(t, r.store())
		sessionID(t, src)
		r.onRemove = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		start := time.Now()
		err := src.Revoke(t.Context())
		assertErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, 5*time.Second, time.Since(start))
	})
}

// The HTTP client of a Client may have a Transport of the same Source.
func TestALogoutThatUsesItsOwnSourceGetsAnError(t *testing.T) {
	t.Parallel()
	bothWays(t, func(t *testing.T, store autologin.Store) {
		var errs []error
		a := &api{}
		src := a.source(t, store)
		a.onLogout = func(r *http.Request) (*http.Response, error) {
			src.Session(r.Context()) // returns at once
			errs = append(errs, src.Close(r.Context()), src.Revoke(r.Context()))
			return nil, nil
		}
		_, err := src.Session(t.Context())
		require.NoError(t, err)
		assert.NoError(t, src.Revoke(t.Context()))
		require.Len(t, errs, 2)
		for _, err := range errs {
			assertErrorIs(t, err, session.ErrInvalidParams)
			assert.ErrorContains(t, err, "calls its own Source")
		}
		assert.Zero(t, a.alive())
	})
}
