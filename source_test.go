package session_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
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

// manualLogin is a Login and a Logout. Each login waits until the test ends it.
type manualLogin struct {
	logins, running, logouts atomic.Int32
	started                  chan context.Context // a login has started, under this context
	result                   chan error           // ends a login
}

func newManualLogin() *manualLogin {
	return &manualLogin{started: make(chan context.Context, 100), result: make(chan error, 100)}
}

func (d *manualLogin) login(ctx context.Context) (*session.Session, error) {
	if d.running.Add(1) > 1 {
		panic("two logins at a time")
	}
	defer d.running.Add(-1)
	n := d.logins.Add(1)
	d.started <- ctx
	select {
	case err := <-d.result:
		if err != nil {
			return nil, err
		}
		return &session.Session{ID: fmt.Sprint("id", n)}, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (d *manualLogin) logout(context.Context, *session.Session) error { d.logouts.Add(1); return nil }

func (d *manualLogin) source() *session.Source {
	return &session.Source{Login: d.login, Logout: d.logout}
}

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
	d := newManualLogin()
	src := d.source()
	var out []<-chan error
	for range 1000 {
		out = append(out, get(t.Context(), src))
	}
	<-d.started
	d.result <- nil
	for _, ch := range out {
		assert.NoError(t, <-ch)
	}
	assert.EqualValues(t, 1, d.logins.Load())
}

func TestASessionInUseCostsNoAllocation(t *testing.T) {
	d := newManualLogin()
	src := d.source()
	d.result <- nil
	ctx := t.Context()
	assert.Zero(t, testing.AllocsPerRun(100, func() { src.Session(ctx) }))
}

func TestARefusalIsKeptUntilReset(t *testing.T) {
	t.Parallel()
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: passwordCanary, OTP: "123456"})
	defer srv.Close()
	c := newClient(t, session.WithSite(srv.URL), session.WithHTTPClient(srv.Client()))
	var params atomic.Pointer[session.CreateParams]
	src := &session.Source{Login: func(ctx context.Context) (*session.Session, error) { return c.Create(ctx, *params.Load()) }}
	for n, tc := range []struct {
		params session.CreateParams
		want   error
	}{
		{session.CreateParams{Username: "alice", Password: otpCanary}, session.ErrInvalidUsernameOrPassword},
		{alice, session.ErrNotAuthenticated}, // a second factor is required
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
	assert.ErrorIs(t, err, session.ErrInvalidParams, "this is kept too")
	src.Reset()
	_, err = src.Session(t.Context())
	assert.NoError(t, err)
	assert.NoError(t, src.Close(t.Context()))
	assert.Empty(t, srv.Sessions())
}

func TestInvalidateForgetsOnlyThatSession(t *testing.T) {
	t.Parallel()
	d := newManualLogin()
	src := d.source()
	d.result <- nil
	first, err := src.Session(t.Context())
	require.NoError(t, err)
	src.Invalidate(nil)
	src.Invalidate(&session.Session{ID: "other"})
	same, err := src.Session(t.Context())
	require.NoError(t, err)
	assert.Same(t, first, same)
	d.result <- nil
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
	d := newManualLogin()
	src := d.source()
	out := get(t.Context(), src)
	<-d.started
	src.Reset()
	d.result <- session.ErrNotAuthenticated
	assert.ErrorIs(t, <-out, session.ErrNotAuthenticated)
	d.result <- nil
	_, err := src.Session(t.Context())
	assert.NoError(t, err)
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
	_, err = newManualLogin().source().Session(none)
	assert.ErrorIs(t, err, session.ErrInvalidParams)
	assert.ErrorIs(t, new(session.Source).Close(none), session.ErrInvalidParams)
}

func TestAContextThatHasEndedStartsNoLogin(t *testing.T) {
	t.Parallel()
	d := newManualLogin()
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
		return session.Create(ctx, alice, session.WithSite(srv.URL), session.WithHTTPClient(srv.Client()))
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
		assert.NoError(t, src.Close(ctx), "a second Close is no error")
		_, err = src.Session(t.Context())
		assert.ErrorIs(t, err, session.ErrSourceClosed)
	}
	assert.NoError(t, new(session.Source).Close(t.Context()))
}

func TestCloseWaitsForALoginAndLogsItOut(t *testing.T) {
	t.Parallel()
	d := newManualLogin()
	src := d.source()
	waiter := get(t.Context(), src)
	own := <-d.started
	closed := make(chan error, 2)
	for range 2 {
		go func() { closed <- src.Close(t.Context()) }()
	}
	assert.ErrorIs(t, <-waiter, session.ErrSourceClosed)
	assert.NoError(t, own.Err(), "the login is not cut off")
	d.result <- nil
	assert.NoError(t, <-closed)
	assert.NoError(t, <-closed)
	assert.EqualValues(t, 1, d.logouts.Load())
}

func TestCloseEndsWithItsContext(t *testing.T) {
	t.Parallel()
	started, proceed := make(chan bool), make(chan bool)
	logouts := make(chan error, 1)
	src := &session.Source{
		Login: func(context.Context) (*session.Session, error) {
			started <- true
			<-proceed
			return &session.Session{ID: "1"}, nil
		},
		Logout: func(ctx context.Context, _ *session.Session) error {
			logouts <- ctx.Err()
			return nil
		},
	}
	waiter := get(t.Context(), src)
	<-started
	ctx, cancel := context.WithCancel(t.Context())
	closed := make(chan error)
	go func() { closed <- src.Close(ctx) }()
	assert.ErrorIs(t, <-waiter, session.ErrSourceClosed)
	cancel()
	assert.ErrorIs(t, <-closed, context.Canceled)
	proceed <- true
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
	for name, first := range map[string]func(){ // the outcome of the first log-out
		"panics":             func() { panic(errBroken) },
		"ends its goroutine": runtime.Goexit,
	} {
		for _, late := range []bool{false, true} { // whether the login ends after Close
			started, proceed := make(chan bool, 1), make(chan bool)
			logouts := 0
			src := &session.Source{
				Login: func(context.Context) (*session.Session, error) {
					started <- true
					<-proceed
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
			<-started
			if !late {
				proceed <- true
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
				proceed <- true
			}
			<-closed
			assert.NoError(t, src.Close(t.Context()), name)
			assert.Equal(t, 2, logouts, name)
		}
	}
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
		started, proceed := make(chan bool), make(chan bool)
		src := &session.Source{
			Login: func(context.Context) (*session.Session, error) {
				started <- true
				<-proceed
				if !inLogout {
					panic(errBroken)
				}
				return &session.Session{ID: "1"}, nil
			},
			Logout: func(context.Context, *session.Session) error { panic(errBroken) },
		}
		waiter := get(t.Context(), src)
		<-started
		caught := make(chan any)
		go func() {
			defer func() { caught <- recover() }()
			src.Close(t.Context())
		}()
		assert.ErrorIs(t, <-waiter, session.ErrSourceClosed)
		proceed <- true
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

// waitFor polls until cond holds, for conditions without a channel.
func waitFor(t *testing.T, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !cond(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("the condition did not come to hold")
		}
	}
}

func TestBackoffErrorNamesTheWaitAndTheFailure(t *testing.T) {
	t.Parallel()
	err := error(&session.BackoffError{Wait: 1500 * time.Millisecond, Err: errBroken})
	assert.EqualError(t, err, "session: no login for 1.5s after a failure: broken")
	assert.ErrorIs(t, err, errBroken)
	assert.EqualError(t, &session.BackoffError{Wait: time.Second, Err: &session.APIError{StatusCode: 503}},
		"session: no login for 1s after a failure: 503 Service Unavailable")
	assert.EqualError(t, &session.BackoffError{Wait: time.Second, Err: fmt.Errorf("log in as alice: %w", &session.APIError{StatusCode: 503})},
		"session: no login for 1s after a failure: log in as alice: 503 Service Unavailable")
	assert.NotPanics(t, func() { _ = (&session.BackoffError{}).Error() })
}

func TestTheErrorOfAMisuseSaysWhatToDo(t *testing.T) {
	t.Parallel()
	var none context.Context
	_, err := new(session.Source).Session(t.Context())
	assert.EqualError(t, err, "session: Source.Login is nil; set it to a function that logs in")
	assert.ErrorIs(t, err, session.ErrInvalidParams)
	held := session.StaticSource(&session.Session{ID: "1"})
	for _, src := range []*session.Source{newManualLogin().source(), held} {
		_, err = src.Session(none)
		for _, err := range []error{err, src.Close(none), src.Revoke(none)} {
			assert.EqualError(t, err, "session: context is nil; pass context.Background() if there is no other")
			assert.ErrorIs(t, err, session.ErrInvalidParams)
		}
	}
}

// Before the fix, fifteen callers with short timeouts made fifteen logins, and
// fifteen sessions that nobody used.
func TestALoginGoesOnWhenItsCallersLeave(t *testing.T) {
	t.Parallel()
	type key struct{}
	d := newManualLogin()
	src := d.source()
	var login context.Context
	for n := range 15 {
		ctx, cancel := context.WithCancelCause(context.WithValue(t.Context(), key{}, "value"))
		out := get(ctx, src)
		if n == 0 {
			login = <-d.started
		}
		cancel(errBroken)
		err := <-out
		assert.ErrorIs(t, err, context.Canceled)
		assert.ErrorIs(t, err, errBroken)
		assertHidesSecrets(t, err)
	}
	assert.NoError(t, login.Err())
	assert.Equal(t, "value", login.Value(key{}), "the login sees the values of the first caller's context")
	d.result <- nil
	s, err := src.Session(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "id1", s.ID)
	assert.EqualValues(t, 1, d.logins.Load())
}

func TestRefusalsAreRepeatedWithoutALoginAndOtherFailuresAreNot(t *testing.T) {
	t.Parallel()
	untyped := &session.APIError{StatusCode: 401}
	typed := &session.APIError{StatusCode: 401, Type: "not-authenticated/locked-out"}
	for name, tc := range map[string]struct {
		err     error
		refusal bool
	}{
		"an answer with a type":   {typed, true},
		"that answer, wrapped":    {fmt.Errorf("log in: %w", typed), true},
		"a second factor":         {&session.TwoFactorError{}, true},
		"an error of Login's own": {fmt.Errorf("vault: %w", session.ErrNotAuthenticated), true},
		"invalid parameters":      {session.ErrInvalidParams, true},
		"a 401 without a type":    {untyped, false},
		"that 401, wrapped":       {fmt.Errorf("log in: %w", untyped), false},
		"a 403 without a type":    {&session.APIError{StatusCode: 403}, false},
		"a region mismatch":       {&session.RegionMismatchError{Err: &session.APIError{StatusCode: 401, Type: "not-authenticated/lockout-region-mismatch"}}, false},
		"a 503":                   {&session.APIError{StatusCode: 503, Type: "processing-failure/x"}, false},
		"a rate limit":            {&session.APIError{StatusCode: 429, Type: "rate-limited/too-many-login-attempts"}, false},
		"a connection that broke": {errBroken, false},
		"a context of its own":    {context.DeadlineExceeded, false},
	} {
		logins := 0
		src := &session.Source{Login: func(context.Context) (*session.Session, error) { logins++; return nil, tc.err }}
		_, err := src.Session(t.Context())
		assert.Equal(t, tc.err, err, name)
		_, err = src.Session(t.Context())
		var wait *session.BackoffError
		assert.Equal(t, !tc.refusal, errors.As(err, &wait), name)
		assert.ErrorIs(t, err, tc.err, name)
		assert.Equal(t, 1, logins, name)
	}
}

func TestALoginThatUsesItsOwnSourceGetsAnError(t *testing.T) {
	t.Parallel()
	other := session.StaticSource(&session.Session{ID: "other"})
	var src *session.Source
	src = &session.Source{Login: func(ctx context.Context) (*session.Session, error) {
		child, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		_, err := src.Session(child)
		for _, err := range []error{err, src.Close(child), src.Revoke(child)} {
			assert.EqualError(t, err, "session: Source.Login or Source.Logout calls its own Source; use a Client there instead")
		}
		_, err2 := other.Session(ctx)
		assert.NoError(t, err2, "another Source may be used")
		return nil, fmt.Errorf("nested: %w", err)
	}}
	for range 2 {
		_, err := src.Session(t.Context())
		assert.EqualError(t, err, "nested: session: Source.Login or Source.Logout calls its own Source; use a Client there instead")
		assert.ErrorIs(t, err, session.ErrInvalidParams)
	}
	assert.NoError(t, src.Close(t.Context()), "Login did not close the Source")
}

func TestAStaticSourceNeverLogsIn(t *testing.T) {
	t.Parallel()
	s := &session.Session{ID: idCanary}
	src := session.StaticSource(s)
	for range 10 {
		got, err := src.Session(t.Context())
		require.NoError(t, err)
		assert.Same(t, s, got)
		src.Invalidate(&session.Session{ID: "other"})
	}
	src.Invalidate(s)
	for range 10 {
		_, err := src.Session(t.Context())
		assert.ErrorIs(t, err, session.ErrSessionEnded)
		assert.EqualError(t, err, "session: StaticSource cannot log in again: session ended")
	}
	for _, bad := range []*session.Session{nil, {}, {ID: idCanary + " "}, {ID: "1", BaseURL: "http://app.files.com"}} {
		src := session.StaticSource(bad)
		_, err := src.Session(t.Context())
		assert.ErrorIs(t, err, session.ErrInvalidParams)
		assert.ErrorContains(t, err, "session: StaticSource: ")
		assertHidesSecrets(t, err)
		assert.NoError(t, src.Revoke(t.Context()))
		assert.NoError(t, src.Close(t.Context()))
	}
}

func TestAStaticSourceLogsOutOnlyInRevoke(t *testing.T) {
	t.Parallel()
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: passwordCanary})
	defer srv.Close()
	s, err := session.Create(t.Context(), alice, session.WithSite(srv.URL), session.WithHTTPClient(srv.Client()))
	require.NoError(t, err)

	src := session.StaticSource(s)
	assert.NoError(t, src.Close(t.Context()))
	assert.Len(t, srv.Sessions(), 1)
	_, err = src.Session(t.Context())
	assert.ErrorIs(t, err, session.ErrSourceClosed)
	assert.ErrorIs(t, src.Revoke(t.Context()), session.ErrSourceClosed)
	assert.NoError(t, src.Close(t.Context()))

	src = session.StaticSource(s)
	assert.NoError(t, src.Revoke(t.Context()))
	assert.Empty(t, srv.Sessions())
	_, err = src.Session(t.Context())
	assert.ErrorIs(t, err, session.ErrSessionEnded)
}

func TestRevokeLogsOutAndTheSourceStaysUsable(t *testing.T) {
	t.Parallel()
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: passwordCanary})
	defer srv.Close()
	src := &session.Source{Login: func(ctx context.Context) (*session.Session, error) {
		return session.Create(ctx, alice, session.WithSite(srv.URL), session.WithHTTPClient(srv.Client()))
	}}
	assert.NoError(t, src.Revoke(t.Context()), "there is nothing to log out")
	dead, cancel := context.WithCancel(t.Context())
	cancel()
	for n, ctx := range []context.Context{t.Context(), dead} {
		_, err := src.Session(t.Context())
		require.NoError(t, err)
		assert.Len(t, srv.Sessions(), 1)
		assert.NoError(t, src.Revoke(ctx))
		assert.Empty(t, srv.Sessions())
		assert.Equal(t, n+1, srv.Counts().Logins)
	}
	assert.NoError(t, src.Close(t.Context()))
	assert.ErrorIs(t, src.Revoke(t.Context()), session.ErrSourceClosed)
}

func TestASessionThatWasNotLoggedOutIsLoggedOutLater(t *testing.T) {
	t.Parallel()
	fail, logouts := true, []string{}
	logins := 0
	src := &session.Source{
		Login: func(context.Context) (*session.Session, error) {
			logins++
			return &session.Session{ID: fmt.Sprint(logins)}, nil
		},
		Logout: func(_ context.Context, s *session.Session) error {
			if fail {
				return errBroken
			}
			logouts = append(logouts, s.ID)
			return nil
		},
	}
	_, err := src.Session(t.Context())
	require.NoError(t, err)
	assert.ErrorIs(t, src.Revoke(t.Context()), errBroken)
	s, err := src.Session(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "2", s.ID, "a session that was revoked is not used again")
	assert.ErrorIs(t, src.Close(t.Context()), errBroken)
	fail = false
	assert.NoError(t, src.Close(t.Context()))
	assert.Equal(t, []string{"1", "2"}, logouts)
}

func TestLoginsAreLogged(t *testing.T) {
	t.Parallel()
	var out output
	var fail error
	src := &session.Source{
		Logger: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Login: func(context.Context) (*session.Session, error) {
			return &session.Session{ID: idCanary, LoginToken: tokenCanary, BaseURL: session.DefaultBaseURL}, fail
		},
	}
	for _, tc := range []struct {
		err  error
		want string
	}{
		{nil, `level=DEBUG msg="Files.com login" session.base_url=https://app.files.com`},
		{errBroken, `level=WARN msg="Files.com login failed" error=broken`},
		{&session.APIError{StatusCode: 401, Type: "not-authenticated/x"}, `level=WARN msg="Files.com login refused" error="session: 401 not-authenticated/x"`},
	} {
		fail = tc.err
		src.Session(t.Context())
		waitFor(t, func() bool { return strings.Contains(out.String(), tc.want) })
		src.Reset()
	}
	assertNoSecret(t, out.String())
}

// All methods are called at the same time, in any order, with sessions that may be
// due for renewal at any time.
func TestASourceMayBeUsedByManyGoroutines(t *testing.T) {
	t.Parallel()
	var running, logins atomic.Int32
	var closed atomic.Bool
	src := &session.Source{
		Login: func(context.Context) (*session.Session, error) {
			assert.EqualValues(t, 1, running.Add(1), "one login at a time")
			defer running.Add(-1)
			assert.False(t, closed.Load(), "no login starts after Close")
			n := logins.Add(1)
			switch n % 7 {
			case 5:
				return nil, errBroken
			case 6:
				panic(errBroken)
			}
			return &session.Session{ID: fmt.Sprint(n), TimeoutAt: time.Now().Add(1001 * time.Millisecond)}, nil
		},
		Logout: func(_ context.Context, s *session.Session) error {
			if len(s.ID)%2 == 0 {
				return errBroken
			}
			return nil
		},
		Early: time.Hour,
	}
	quietly := func(call func()) {
		defer func() { recover() }()
		call()
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range 2000 {
				quietly(func() {
					s, err := src.Session(t.Context())
					if i%5 == 0 && err == nil {
						src.Invalidate(s)
					}
				})
				switch i % 50 {
				case 0:
					quietly(func() { src.Revoke(t.Context()) })
				case 10, 20, 30, 40:
					src.Reset()
				}
			}
		}()
	}
	wg.Wait()
	assert.Greater(t, logins.Load(), int32(100))
	quietly(func() { src.Close(t.Context()) })
	closed.Store(true)
	_, err := src.Session(t.Context())
	assert.ErrorIs(t, err, session.ErrSourceClosed)
}
