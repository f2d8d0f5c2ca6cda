package session_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"weak"

	"github.com/filescom/session"
	"github.com/filescom/session/sessiontest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// desk makes sessions and waits for the test to let it.
type desk struct {
	logins, running, logouts atomic.Int32
	begun                    chan context.Context // a login has begun, under this context
	let                      chan error           // ends a login
}

func newDesk() *desk {
	return &desk{begun: make(chan context.Context, 100), let: make(chan error, 100)}
}

func (d *desk) login(ctx context.Context) (*session.Session, error) {
	if d.running.Add(1) > 1 {
		panic("two logins at a time")
	}
	defer d.running.Add(-1)
	n := d.logins.Add(1)
	d.begun <- ctx
	select {
	case err := <-d.let:
		if err != nil {
			return nil, err
		}
		return &session.Session{ID: fmt.Sprint("id", n)}, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (d *desk) logout(context.Context, *session.Session) error { d.logouts.Add(1); return nil }

func (d *desk) source() *session.Source { return &session.Source{Login: d.login, Logout: d.logout} }

// get calls Session in a goroutine and sends its outcome.
func get(ctx context.Context, src *session.Source) <-chan error {
	out := make(chan error, 1)
	go func() {
		_, err := src.Session(ctx)
		out <- err
	}()
	return out
}

func TestASourceLogsInOnce(t *testing.T) {
	t.Parallel()
	d := newDesk()
	src := d.source()
	var out []<-chan error
	for range 1000 {
		out = append(out, get(t.Context(), src))
	}
	<-d.begun
	d.let <- nil
	for _, ch := range out {
		assert.NoError(t, <-ch)
	}
	assert.EqualValues(t, 1, d.logins.Load())
}

func TestAHeldSessionCostsNoAllocation(t *testing.T) {
	d := newDesk()
	src := d.source()
	d.let <- nil
	ctx := t.Context()
	assert.Zero(t, testing.AllocsPerRun(100, func() { src.Session(ctx) }))
}

func TestTheFirstCallerMayLeave(t *testing.T) {
	t.Parallel()
	type key struct{}
	d := newDesk()
	src := d.source()
	ctx, cancel := context.WithCancelCause(context.WithValue(t.Context(), key{}, "value"))
	first := get(ctx, src)
	own := <-d.begun
	assert.Equal(t, "value", own.Value(key{}))
	second := get(t.Context(), src)
	waitFor(t, func() bool { return waiters(src) == 2 })
	cancel(errBroken)
	err := <-first
	assert.ErrorIs(t, err, context.Canceled)
	assert.ErrorIs(t, err, errBroken)
	assert.NoError(t, own.Err())
	d.let <- nil
	assert.NoError(t, <-second)
	assert.EqualValues(t, 1, d.logins.Load())
}

func TestALoginIsCancelledWhenTheLastCallerLeft(t *testing.T) {
	t.Parallel()
	d := newDesk()
	src := d.source()
	ctx, cancel := context.WithCancel(t.Context())
	var out []<-chan error
	for range 10 {
		out = append(out, get(ctx, src))
	}
	own := <-d.begun
	waitFor(t, func() bool { return waiters(src) == 10 })
	cancel()
	for _, ch := range out {
		assert.ErrorIs(t, <-ch, context.Canceled)
	}
	<-own.Done()
	d.let <- nil
	s, err := src.Session(t.Context())
	require.NoError(t, err, "and is no failure to back off from")
	assert.Equal(t, "id2", s.ID)
}

func TestAnAbandonedLoginIsNotJoined(t *testing.T) {
	t.Parallel()
	begun, let := make(chan context.Context), make(chan *session.Session)
	src := &session.Source{Login: func(ctx context.Context) (*session.Session, error) { // that ignores its context
		begun <- ctx
		if s := <-let; s != nil {
			return s, nil
		}
		return nil, ctx.Err()
	}}
	abandon := func() {
		ctx, cancel := context.WithCancel(t.Context())
		out := get(ctx, src)
		own := <-begun
		cancel()
		assert.ErrorIs(t, <-out, context.Canceled)
		<-own.Done()
	}
	abandon()
	ctx, cancel := context.WithCancel(t.Context())
	impatient, patient := get(ctx, src), get(t.Context(), src)
	cancel()
	assert.ErrorIs(t, <-impatient, context.Canceled)
	let <- nil
	<-begun // another login, since the first one failed
	let <- &session.Session{ID: "2"}
	assert.NoError(t, <-patient)

	src.Reset()
	abandon()
	patient = get(t.Context(), src)
	let <- &session.Session{ID: "3"} // which succeeds nonetheless, and is not lost
	assert.NoError(t, <-patient)
	s, err := src.Session(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "3", s.ID)
}

func TestARefusalIsKeptUntilReset(t *testing.T) {
	t.Parallel()
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: passwordCanary, OTP: "123456"})
	defer srv.Close()
	c := newClient(t, session.WithBaseURL(srv.URL), session.WithHTTPClient(srv.Client()))
	var params atomic.Pointer[session.CreateParams]
	src := &session.Source{Login: func(ctx context.Context) (*session.Session, error) { return c.Create(ctx, *params.Load()) }}
	for n, tc := range []struct {
		params session.CreateParams
		want   error
	}{
		{session.CreateParams{Username: "alice", Password: otpCanary}, session.ErrInvalidUsernameOrPassword},
		{alice, session.ErrNotAuthenticated}, // a second factor is wanted
		{session.CreateParams{Username: "alice", Password: passwordCanary, OTP: "1"}, session.ErrOneTimePasswordIncorrect},
	} {
		params.Store(&tc.params)
		var wg sync.WaitGroup
		for range 100 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for range 100 {
					_, err := src.Session(t.Context())
					assert.ErrorIs(t, err, tc.want)
				}
			}()
		}
		wg.Wait()
		assert.Len(t, srv.Requests(), n+1)
		src.Reset()
	}
	params.Store(&session.CreateParams{})
	_, err := src.Session(t.Context())
	assert.ErrorIs(t, err, session.ErrInvalidParams)
	params.Store(&session.CreateParams{Username: "alice", Password: passwordCanary, OTP: "123456"})
	_, err = src.Session(t.Context())
	assert.ErrorIs(t, err, session.ErrInvalidParams, "kept, too")
	src.Reset()
	_, err = src.Session(t.Context())
	assert.NoError(t, err)
	assert.NoError(t, src.Close(t.Context()))
	assert.Empty(t, srv.Sessions())
}

func TestOtherFailuresBackOff(t *testing.T) {
	t.Parallel()
	d := newDesk()
	src := d.source()
	moved := &session.RegionMismatchError{Host: "h", Err: &session.APIError{StatusCode: 401, Type: "not-authenticated/lockout-region-mismatch"}}
	d.let <- moved
	_, err := src.Session(t.Context())
	assert.ErrorIs(t, err, moved, "the caller that waited gets the failure itself")
	for range 100 {
		_, err = src.Session(t.Context())
		var wait *session.BackoffError
		require.ErrorAs(t, err, &wait)
		assert.ErrorIs(t, err, moved)
		assert.Greater(t, wait.Wait, time.Duration(0))
		assert.LessOrEqual(t, wait.Wait, time.Second)
		assert.Contains(t, err.Error(), "no login for")
	}
	assert.EqualValues(t, 1, d.logins.Load())
	src.Reset()
	d.let <- nil
	_, err = src.Session(t.Context())
	assert.NoError(t, err)
}

func TestInvalidateForgetsThatSessionAlone(t *testing.T) {
	t.Parallel()
	d := newDesk()
	src := d.source()
	d.let <- nil
	first, err := src.Session(t.Context())
	require.NoError(t, err)
	src.Invalidate(nil)
	src.Invalidate(&session.Session{ID: "other"})
	same, err := src.Session(t.Context())
	require.NoError(t, err)
	assert.Same(t, first, same)
	d.let <- nil
	copied := *first
	src.Invalidate(&copied)
	second, err := src.Session(t.Context())
	require.NoError(t, err)
	src.Invalidate(first)
	same, err = src.Session(t.Context())
	require.NoError(t, err)
	assert.Same(t, second, same, "a late 401 of the old session does not cost the new one")
	assert.EqualValues(t, 2, d.logins.Load())
}

func TestAFailureFromBeforeAResetIsNotKept(t *testing.T) {
	t.Parallel()
	d := newDesk()
	src := d.source()
	out := get(t.Context(), src)
	<-d.begun
	src.Reset()
	d.let <- session.ErrNotAuthenticated
	assert.ErrorIs(t, <-out, session.ErrNotAuthenticated)
	d.let <- nil
	_, err := src.Session(t.Context())
	assert.NoError(t, err)
}

func TestAPanicOfLoginReachesEveryWaiter(t *testing.T) {
	t.Parallel()
	let := make(chan bool)
	src := &session.Source{Login: func(context.Context) (*session.Session, error) {
		if <-let {
			panic(errBroken)
		}
		return &session.Session{ID: "1"}, nil
	}}
	caught := make(chan any, 10)
	for range 10 {
		go func() {
			defer func() { caught <- recover() }()
			src.Session(t.Context())
		}()
	}
	waitFor(t, func() bool { return waiters(src) == 10 })
	let <- true
	for range 10 {
		assert.Equal(t, errBroken, <-caught)
	}
	out := get(t.Context(), src)
	let <- false
	assert.NoError(t, <-out)
}

func TestALoginThatEndsItsGoroutineIsAFailure(t *testing.T) {
	t.Parallel()
	src := &session.Source{Login: func(context.Context) (*session.Session, error) { runtime.Goexit(); return nil, nil }}
	_, err := src.Session(t.Context())
	assert.ErrorContains(t, err, "ended its goroutine")
}

func TestALoginMustReturnAGoodSession(t *testing.T) {
	t.Parallel()
	for _, s := range []*session.Session{nil, {}, {ID: "a b"}, {ID: "1", BaseURL: "http://app.files.com"}, {ID: "1", UserAgent: "a\nb"}} {
		src := &session.Source{Login: func(context.Context) (*session.Session, error) { return s, nil }}
		_, err := src.Session(t.Context())
		assert.ErrorIs(t, err, session.ErrInvalidParams)
	}
	_, err := new(session.Source).Session(t.Context())
	assert.ErrorIs(t, err, session.ErrInvalidParams)
	var none context.Context
	_, err = newDesk().source().Session(none)
	assert.ErrorIs(t, err, session.ErrInvalidParams)
	assert.ErrorIs(t, new(session.Source).Close(none), session.ErrInvalidParams)
}

func TestADeadContextStartsNoLogin(t *testing.T) {
	t.Parallel()
	d := newDesk()
	src := d.source()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := src.Session(ctx)
	assert.ErrorIs(t, err, context.Canceled)
	assert.Zero(t, d.logins.Load())
}

func TestCloseLogsOut(t *testing.T) {
	t.Parallel()
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: passwordCanary})
	defer srv.Close()
	login := func(ctx context.Context) (*session.Session, error) {
		return session.Create(ctx, alice, session.WithBaseURL(srv.URL), session.WithHTTPClient(srv.Client()))
	}
	dead, cancel := context.WithCancel(t.Context())
	cancel()
	for _, ctx := range []context.Context{t.Context(), dead} {
		src := &session.Source{Login: login}
		_, err := src.Session(t.Context())
		require.NoError(t, err)
		assert.Len(t, srv.Sessions(), 1)
		assert.NoError(t, src.Close(ctx))
		assert.Empty(t, srv.Sessions())
		assert.NoError(t, src.Close(ctx), "once is enough, twice no error")
		_, err = src.Session(t.Context())
		assert.ErrorIs(t, err, session.ErrSourceClosed)
	}
	assert.NoError(t, new(session.Source).Close(t.Context()))
}

func TestCloseWaitsForALoginAndLogsItOut(t *testing.T) {
	t.Parallel()
	d := newDesk()
	src := d.source()
	waiter := get(t.Context(), src)
	own := <-d.begun
	closed := make(chan error, 2)
	for range 2 {
		go func() { closed <- src.Close(t.Context()) }()
	}
	assert.ErrorIs(t, <-waiter, session.ErrSourceClosed)
	assert.NoError(t, own.Err(), "which it does not cut off")
	d.let <- nil
	assert.NoError(t, <-closed)
	assert.NoError(t, <-closed)
	assert.EqualValues(t, 1, d.logouts.Load())
}

func TestCloseEndsWithItsContext(t *testing.T) {
	t.Parallel()
	begun, let := make(chan bool), make(chan bool)
	logouts := make(chan error, 1)
	src := &session.Source{
		Login: func(context.Context) (*session.Session, error) {
			begun <- true
			<-let
			return &session.Session{ID: "1"}, nil
		},
		Logout: func(ctx context.Context, _ *session.Session) error {
			logouts <- ctx.Err()
			return nil
		},
	}
	waiter := get(t.Context(), src)
	<-begun
	ctx, cancel := context.WithCancel(t.Context())
	closed := make(chan error)
	go func() { closed <- src.Close(ctx) }()
	assert.ErrorIs(t, <-waiter, session.ErrSourceClosed)
	cancel()
	assert.ErrorIs(t, <-closed, context.Canceled)
	let <- true
	assert.NoError(t, <-logouts, "a session that comes late is logged out, under a live context")
}

func TestCloseMayBeCalledAgainWhenTheLogOutFailed(t *testing.T) {
	t.Parallel()
	fail := true
	src := &session.Source{
		Login: func(context.Context) (*session.Session, error) { return &session.Session{ID: "1"}, nil },
		Logout: func(_ context.Context, s *session.Session) error {
			if fail {
				return errBroken
			}
			return nil
		},
	}
	_, err := src.Session(t.Context())
	require.NoError(t, err)
	assert.ErrorIs(t, src.Close(t.Context()), errBroken)
	assert.ErrorIs(t, src.Close(t.Context()), errBroken)
	fail = false
	assert.NoError(t, src.Close(t.Context()))
	fail = true
	assert.NoError(t, src.Close(t.Context()))
}

func TestASessionIsNotForgottenBeforeItIsLoggedOut(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]func(){ // what the first log-out does
		"panics":             func() { panic(errBroken) },
		"ends its goroutine": runtime.Goexit,
	} {
		for _, late := range []bool{false, true} { // whether the login lands after Close
			begun, let := make(chan bool, 1), make(chan bool)
			logouts := 0
			src := &session.Source{
				Login: func(context.Context) (*session.Session, error) {
					begun <- true
					<-let
					return &session.Session{ID: "1"}, nil
				},
				Logout: func(context.Context, *session.Session) error {
					if logouts++; logouts == 1 {
						first()
					}
					return nil
				},
			}
			waiter := get(t.Context(), src)
			<-begun
			if !late {
				let <- true
				require.NoError(t, <-waiter)
			}
			closed := make(chan bool)
			go func() {
				defer close(closed)
				defer func() { recover() }()
				assert.Error(t, src.Close(t.Context()), name)
			}()
			if late {
				assert.ErrorIs(t, <-waiter, session.ErrSourceClosed)
				let <- true
			}
			<-closed
			assert.NoError(t, src.Close(t.Context()), name)
			assert.Equal(t, 2, logouts, name)
		}
	}
}

func TestCloseTellsAWaiterBehindAnAbandonedLogin(t *testing.T) {
	t.Parallel()
	begun, let := make(chan context.Context), make(chan bool)
	src := &session.Source{Login: func(ctx context.Context) (*session.Session, error) { // that ignores its context
		begun <- ctx
		<-let
		return nil, ctx.Err()
	}}
	ctx, cancel := context.WithCancel(t.Context())
	first := get(ctx, src)
	own := <-begun
	cancel()
	assert.ErrorIs(t, <-first, context.Canceled)
	<-own.Done()
	second := get(t.Context(), src)
	dead, kill := context.WithCancel(t.Context())
	closed := make(chan error)
	go func() { closed <- src.Close(dead) }()
	assert.ErrorIs(t, <-second, session.ErrSourceClosed)
	kill()
	assert.ErrorIs(t, <-closed, context.Canceled)
	let <- true
}

func TestASourcePrintsNoSession(t *testing.T) {
	t.Parallel()
	src := &session.Source{
		Login: func(context.Context) (*session.Session, error) {
			return &session.Session{ID: idCanary, LoginToken: tokenCanary}, nil
		},
		Logout: func(context.Context, *session.Session) error { return errBroken },
	}
	check := func() {
		for _, v := range []any{src, &session.Transport{Source: src}, session.Transport{Source: src}, []*session.Source{src}} {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%t", "%c", "%U", "%e"} {
				assertNoSecret(t, fmt.Sprintf(verb, v))
			}
		}
	}
	_, err := src.Session(t.Context())
	require.NoError(t, err)
	check()
	require.Error(t, src.Close(t.Context()))
	check()
	assert.Equal(t, "Source", fmt.Sprint(src))
}

func TestAPanicDuringCloseReachesIt(t *testing.T) {
	t.Parallel()
	for _, inLogout := range []bool{false, true} {
		begun, let := make(chan bool), make(chan bool)
		src := &session.Source{
			Login: func(context.Context) (*session.Session, error) {
				begun <- true
				<-let
				if !inLogout {
					panic(errBroken)
				}
				return &session.Session{ID: "1"}, nil
			},
			Logout: func(context.Context, *session.Session) error { panic(errBroken) },
		}
		waiter := get(t.Context(), src)
		<-begun
		caught := make(chan any)
		go func() {
			defer func() { caught <- recover() }()
			src.Close(t.Context())
		}()
		assert.ErrorIs(t, <-waiter, session.ErrSourceClosed)
		let <- true
		assert.Equal(t, errBroken, <-caught)
	}
}

func TestADroppedSourceIsCollected(t *testing.T) {
	t.Parallel()
	src := &session.Source{Login: func(context.Context) (*session.Session, error) {
		return &session.Session{ID: "1", TimeoutAt: time.Now().Add(time.Hour)}, nil
	}}
	_, err := src.Session(t.Context())
	require.NoError(t, err)
	ref := weak.Make(src)
	src = nil
	waitFor(t, func() bool { runtime.GC(); return ref.Value() == nil })
}

// waitFor polls for what no channel tells.
func waitFor(t *testing.T, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !cond(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("it did not come to pass")
		}
	}
}

func waiters(src *session.Source) int { return session.Waiters(src) }

func TestBackoffErrorTellsWhy(t *testing.T) {
	t.Parallel()
	err := error(&session.BackoffError{Wait: 1500 * time.Millisecond, Err: errBroken})
	assert.EqualError(t, err, "session: no login for 1.5s after: broken")
	assert.True(t, errors.Is(err, errBroken))
}
