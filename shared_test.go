package session_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/filescom/session"
	"github.com/filescom/session/sessiontest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSourcesThatShareAStoreMakeOneLoginPerEnding(t *testing.T) {
	t.Parallel()
	const sources, workers, endings = 8, 8, 10
	f := newFleet(t)
	var calls [sources * workers]atomic.Int64
	var failed atomic.Int64
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for i := range sources {
		hc := &http.Client{Transport: &session.Transport{Source: f.source(), Base: f.Client().Transport}}
		for j := range workers {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for {
					select {
					case <-stop:
						return
					case <-time.After(time.Millisecond):
					}
					resp, err := hc.Get(f.URL + "/api/rest/v1/folders")
					if err == nil {
						io.Copy(io.Discard, resp.Body)
						resp.Body.Close()
					}
					if calls[i*workers+j].Add(1); err != nil || resp.StatusCode != http.StatusOK {
						failed.Add(1)
					}
				}
			}()
		}
	}
	for n := range endings + 1 {
		for f.Counts().Logins <= n {
			time.Sleep(time.Millisecond)
		}
		var before [len(calls)]int64
		for i := range calls {
			before[i] = calls[i].Load()
		}
		for i := range calls { // every worker uses the session
			for calls[i].Load() < before[i]+2 {
				time.Sleep(time.Millisecond)
			}
		}
		if n < endings {
			f.ExpireUser("alice")
		}
	}
	close(stop)
	wg.Wait()
	assert.Equal(t, endings+1, f.Counts().Logins)
	assert.Equal(t, endings+1, f.posts())
	assert.Zero(t, failed.Load())
	assert.Len(t, f.Sessions(), 1)
}

func TestTheStoreIsNotReadWhileASessionIsInUse(t *testing.T) {
	f := newFleet(t)
	src := f.source()
	f.id(src)
	loads, locks, saves := f.record.counts()
	ctx := t.Context()
	assert.Zero(t, testing.AllocsPerRun(1000, func() { src.Session(ctx) }))
	l, k, s := f.record.counts()
	assert.Equal(t, [3]int{loads, locks, saves}, [3]int{l, k, s})
	assert.Equal(t, 2, saves, "one before the login, one after it")
}

func TestAGoodSessionIsReadWithoutTheLock(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	id := f.id(f.source())
	lock, err := f.record.store().TryLock(t.Context())
	require.NoError(t, err)
	defer lock.Unlock()
	loads, locks, _ := f.record.counts()
	assert.Equal(t, id, f.id(f.source()))
	l, k, _ := f.record.counts()
	assert.Equal(t, 1, l-loads)
	assert.Zero(t, k-locks)
}

func TestTheRecordIsReadAgainUnderTheLock(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	id := f.id(f.source())
	good := f.record.get()
	f.record.set("")
	f.record.onLock = func(m *memory) error { m.data = []byte(good); return nil } // between the two looks
	assert.Equal(t, id, f.id(f.source()))
	assert.Equal(t, 1, f.posts())
}

func TestTheLockIsHeldWhileLoginRuns(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	src := f.source()
	login := src.Login
	src.Login = func(ctx context.Context) (*session.Session, error) {
		_, err := f.record.store().TryLock(ctx)
		assert.ErrorIs(t, err, session.ErrLocked)
		return login(ctx)
	}
	f.id(src)
	lock, err := f.record.store().TryLock(t.Context())
	require.NoError(t, err)
	lock.Unlock()
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

func TestAThousandSourcesAreServedByOneLogin(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.Inject(sessiontest.Fault{Method: "POST", Delay: 200 * time.Millisecond})
	start := time.Now()
	var out []<-chan error
	for range 1000 {
		out = append(out, get(t.Context(), f.source()))
	}
	for _, ch := range out {
		assert.NoError(t, <-ch)
	}
	t.Logf("1,000 Sources were served in %v", time.Since(start).Round(time.Millisecond))
	assert.Equal(t, 1, f.posts())
}

func TestACallerWaitsUntilItsOwnContextEnds(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	lock, err := f.record.store().TryLock(t.Context())
	require.NoError(t, err)
	src := f.source()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = src.Session(ctx)
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	later := get(t.Context(), src)
	lock.Unlock()
	assert.NoError(t, <-later)
	assert.Equal(t, 1, f.posts())
}

func TestOneSourceAsksForTheCode(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.AddUser(sessiontest.User{Username: "alice", Password: passwordCanary, OTP: "123456", SingleUse: true})
	var prompts atomic.Int32
	ask := session.WithOTP(func(ctx context.Context, _ *session.TwoFactorError) (string, error) {
		prompts.Add(1)
		time.Sleep(50 * time.Millisecond)
		return "123456", nil
	})
	var out []<-chan error
	for range 20 {
		out = append(out, get(t.Context(), f.source(ask)))
	}
	for _, ch := range out {
		assert.NoError(t, <-ch)
	}
	assert.EqualValues(t, 1, prompts.Load())
	assert.Equal(t, 1, f.Counts().Logins)
}

func TestALoginThatLostItsLockIsLoggedOutAndTheStoredSessionUsed(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	var logged output
	slow, fast := f.source(), f.source()
	slow.Logger = slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	login := slow.Login
	var stored string
	slow.Login = func(ctx context.Context) (*session.Session, error) {
		f.record.store().(memoryStore).BreakLock()
		stored = f.id(fast)
		return login(ctx)
	}
	assert.Equal(t, stored, f.id(slow))
	assert.Equal(t, []string{stored}, f.Sessions())
	assert.Equal(t, 2, f.Counts().Logins)
	assert.Equal(t, 1, f.Counts().Logouts)
	waitFor(t, func() bool { return strings.Contains(logged.String(), `level=WARN msg="Files.com session lock lost"`) })
	waitFor(t, func() bool {
		return strings.Contains(logged.String(), `level=DEBUG msg="Files.com session adopted from the Store"`)
	})
	assert.NotContains(t, logged.String(), stored)
}

func TestALoginThatLostItsLockWaitsIfNothingIsStoredYet(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	slow, other := f.source(), f.source()
	login := slow.Login
	var next session.Lock
	slow.Login = func(ctx context.Context) (*session.Session, error) {
		f.record.store().(memoryStore).BreakLock()
		var err error
		next, err = f.record.store().TryLock(ctx) // another process logs in, slowly
		require.NoError(t, err)
		time.AfterFunc(50*time.Millisecond, func() {
			s, err := other.Login(t.Context())
			if assert.NoError(t, err) {
				data, err := json.Marshal(map[string]any{"v": 1, "session": s})
				assert.NoError(t, err)
				assert.NoError(t, next.Save(t.Context(), data, 0))
			}
			next.Unlock()
		})
		return login(ctx)
	}
	id := f.id(slow)
	assert.Equal(t, []string{id}, f.Sessions())
	assert.Equal(t, 2, f.Counts().Logins)
	assert.Equal(t, 1, f.Counts().Logouts)
}

func TestNothingIsPostedIfTheRecordCannotBeSaved(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.record.failSave = func(int) error { return errBroken }
	for range 3 {
		assert.ErrorIs(t, f.err(f.source()), errBroken)
	}
	assert.Zero(t, f.posts())
	lock, err := f.record.store().TryLock(t.Context())
	require.NoError(t, err)
	lock.Unlock()
}

func TestASessionThatCannotBeSavedIsLoggedOut(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.record.failSave = errorFrom(2)
	assert.ErrorIs(t, f.err(f.source()), errBroken)
	assert.Equal(t, 1, f.Counts().Logins)
	assert.Equal(t, 1, f.Counts().Logouts)
	assert.Empty(t, f.Sessions())
}

func TestAWrongPasswordIsPostedOnce(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	wrong := session.CreateParams{Username: "alice", Password: otpCanary}
	var out []<-chan error
	for range 40 {
		out = append(out, get(t.Context(), f.sourceOf(wrong)))
	}
	for _, ch := range out {
		err := <-ch
		assert.ErrorIs(t, err, session.ErrInvalidUsernameOrPassword)
		assertHidesSecrets(t, err)
	}
	assert.Equal(t, 1, f.posts())
	assert.ErrorContains(t, f.err(f.sourceOf(wrong)), "not sent again until Source.Reset")
	assertNoSecret(t, f.record.get())
	assert.NotContains(t, f.record.get(), "alice")
}

func TestOtherCredentialsGetTheirOwnTry(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.err(f.sourceOf(session.CreateParams{Username: "alice", Password: "old"}))
	f.err(f.sourceOf(session.CreateParams{Username: "alicia", Password: "old"}))
	f.err(f.sourceOf(session.CreateParams{Username: "ali", Password: "ceold"}))
	assert.Equal(t, 3, f.posts())
	stale := f.sourceOf(session.CreateParams{Username: "alice", Password: "old"})
	f.err(stale)
	assert.Equal(t, 3, f.posts())
	id := f.id(f.source())
	assert.Equal(t, 4, f.posts())
	assert.Equal(t, id, f.id(f.sourceOf(session.CreateParams{Username: "alice", Password: "old"})), "the session is shared nonetheless")
	assert.Equal(t, 4, f.posts())
}

func TestTheLastFourPasswordsStayRefused(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	try := func(n int) {
		f.err(f.sourceOf(session.CreateParams{Username: "alice", Password: fmt.Sprint("old", n)}))
	}
	for range 3 { // old passwords do not clear each other
		for n := range 4 {
			try(n)
		}
	}
	assert.Equal(t, 4, f.posts())
	try(4)
	assert.Equal(t, 5, f.posts())
	try(0) // the fifth from the end
	assert.Equal(t, 6, f.posts())
	try(4)
	assert.Equal(t, 6, f.posts())
}

func TestALoginThatTriesTwoPasswordsPostsEachOnce(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	c := newClient(t, session.WithSite(f.URL), session.WithHTTPClient(f.Client()))
	for range 5 {
		f.err(&session.Source{Store: f.record.store(), Logout: c.Delete, Login: func(ctx context.Context) (*session.Session, error) {
			_, err := c.Create(ctx, session.CreateParams{Username: "alice", Password: "old"})
			if err == nil {
				return nil, errBroken
			}
			return c.Create(ctx, session.CreateParams{Username: "alice", Password: "older"})
		}})
	}
	assert.Equal(t, 2, f.posts())
}

func TestAResetByOneSourceClearsARefusalForAll(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	wrong := session.CreateParams{Username: "alice", Password: "new"}
	a, b := f.sourceOf(wrong), f.sourceOf(wrong)
	f.err(a)
	f.err(b)
	f.AddUser(sessiontest.User{Username: "alice", Password: "new"})
	f.err(a)
	assert.Equal(t, 1, f.posts())
	b.Reset()
	id := f.id(b)
	assert.Equal(t, 2, f.posts())
	assert.Equal(t, id, f.id(f.sourceOf(wrong)))
	assert.Equal(t, 2, f.posts())
}

func TestFailuresThatAnotherProcessWouldAlsoGetAreShared(t *testing.T) {
	t.Parallel()
	api := func(status int, kind string) error { return &session.APIError{StatusCode: status, Type: kind} }
	for name, tc := range map[string]struct {
		err    error
		shared bool
	}{
		"a lock-out":                     {api(401, "not-authenticated/locked-out"), true},
		"another refusal":                {api(403, "not-authenticated/two-factor-setup-needed"), true},
		"a password without fingerprint": {api(401, "bad-request/invalid-username-or-password"), true},
		"a wrapped refusal":              {fmt.Errorf("log in: %w", api(401, "not-authenticated/locked-out")), true},
		"a rate limit":                   {api(429, ""), true},
		"a page of a front end":          {api(401, ""), true},
		"a 500":                          {api(500, ""), true},
		"a success without a session":    {api(200, ""), true},
		"an unknown outcome":             {fmt.Errorf("the connection broke: %w", session.ErrOutcomeUnknown), true},
		"a second factor":                {&session.TwoFactorError{Err: api(401, "not-authenticated/two-factor-authentication-error")}, false},
		"an incorrect code":              {api(401, "not-authenticated/one-time-password-incorrect"), false},
		"a bad parameter":                {fmt.Errorf("no user: %w", session.ErrInvalidParams), false},
		"another host":                   {&session.RegionMismatchError{Err: api(401, "not-authenticated/lockout-region-mismatch")}, false},
		"not sent":                       {fmt.Errorf("no DNS: %w", session.ErrNotSent), false},
		"an error of Login's own":        {errors.New("no password file"), false},
		"a refusal of Login's own":       {fmt.Errorf("the vault says no: %w", session.ErrNotAuthenticated), false},
		"a canceled prompt":              {context.Canceled, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			record := &memory{}
			logins := 0
			source := func() *session.Source {
				return &session.Source{Store: record.store(), Login: func(context.Context) (*session.Session, error) {
					logins++
					return nil, tc.err
				}}
			}
			for range 3 {
				_, err := source().Session(t.Context())
				for _, target := range []error{session.ErrNotAuthenticated, session.ErrLockedOut, session.ErrRateLimited, session.ErrOutcomeUnknown,
					session.ErrInvalidResponse, session.ErrInvalidUsernameOrPassword, session.ErrOneTimePasswordIncorrect} {
					assert.Equal(t, errors.Is(tc.err, target), errors.Is(err, target), "%v: %v", target, err)
				}
				assert.NotErrorIs(t, err, session.ErrSessionEnded)
			}
			if tc.shared {
				assert.Equal(t, 1, logins)
			} else {
				assert.Equal(t, 3, logins)
			}
		})
	}
}

func TestALockOutHoldsForAllCredentials(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.SetLockOut(1, time.Hour)
	f.err(f.sourceOf(session.CreateParams{Username: "alice", Password: "old"}))
	assert.ErrorIs(t, f.err(f.source()), session.ErrLockedOut)
	assert.Equal(t, 2, f.posts())
	assert.ErrorIs(t, f.err(f.source()), session.ErrLockedOut)
	assert.ErrorIs(t, f.err(f.sourceOf(session.CreateParams{Username: "bob", Password: "b"})), session.ErrLockedOut)
	assert.Equal(t, 2, f.posts())
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
	f.Inject(sessiontest.Fault{Method: "POST", Status: 503})
	src.Invalidate(&session.Session{ID: id})
	f.err(src)
	var wait *session.BackoffError
	assert.ErrorAs(t, f.err(f.source()), &wait)
	src.Reset()
	second := f.id(src)
	assert.NotEqual(t, id, second)
	assert.Equal(t, second, f.id(f.source()))
	assert.Equal(t, 3, f.posts())
}

func TestABackOffIsShared(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.Inject(sessiontest.Fault{Method: "POST", Status: 503, Times: -1})
	f.err(f.source())
	for range 5 {
		var wait *session.BackoffError
		require.ErrorAs(t, f.err(f.source()), &wait)
		assert.LessOrEqual(t, wait.Wait, time.Second)
		assert.Equal(t, 503, apiError(t, wait).StatusCode)
	}
	assert.Equal(t, 1, f.posts())
}

func TestAnUnknownOutcomeIsShared(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.Inject(sessiontest.Fault{Method: "POST", Reset: true, Times: -1})
	f.err(f.source())
	err := f.err(f.source())
	assert.ErrorIs(t, err, session.ErrOutcomeUnknown)
	assert.Contains(t, err.Error(), "another process")
	assert.Equal(t, 1, f.posts())
}

func TestAHostWithoutAConnectionDoesNotStopTheOthers(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	broken := newClient(t, session.WithSite("http://127.0.0.1:1"), session.WithRetries(0), session.WithHTTPClient(&http.Client{Transport: freshTransport(t)}))
	src := f.source()
	src.Login = func(ctx context.Context) (*session.Session, error) { return broken.Create(ctx, alice) }
	assert.ErrorIs(t, f.err(src), session.ErrNotSent)
	f.id(f.source())
}

func TestASharedErrorKeepsTypeMessageAndInstance(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.Inject(sessiontest.Fault{Method: "POST", Status: 401, Times: -1, Header: http.Header{"Retry-After": {"77"}, "X-Request-Id": {"req-1"}},
		Body: `{"type":"not-authenticated/locked-out","title":"Locked","error":"Too many failed attempts ` + idCanary[:5] + `","http-code":401}`})
	own := apiError(t, f.err(f.source()))
	shared := apiError(t, f.err(f.source()))
	assert.Equal(t, 1, f.posts())
	assert.Equal(t, own.StatusCode, shared.StatusCode)
	assert.Equal(t, own.Type, shared.Type)
	assert.Equal(t, own.Title, shared.Title)
	assert.Equal(t, own.Message, shared.Message)
	assert.Equal(t, own.Instance, shared.Instance)
	assert.Equal(t, 77*time.Second, shared.RetryAfter)
	assert.NotEmpty(t, shared.Message)
	assert.NotEmpty(t, shared.Instance)
	assert.ErrorIs(t, shared, session.ErrLockedOut)
	assert.ErrorIs(t, shared, session.ErrNotAuthenticated)
	assert.Contains(t, shared.Error(), "by another process")
	assert.NotContains(t, own.Error(), "another process")
}

func TestCloseLeavesTheSessionToTheOthers(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	src := f.source()
	id := f.id(src)
	assert.NoError(t, src.Close(t.Context()))
	_, err := src.Session(t.Context())
	assert.ErrorIs(t, err, session.ErrSourceClosed)
	assert.Equal(t, []string{id}, f.Sessions())
	assert.Equal(t, id, f.id(f.source()))
	assert.Zero(t, f.Counts().Logouts)
}

func TestCloseWaitsForItsOwnLoginWhichSavesItsSession(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	src := f.source()
	login, started, proceed := src.Login, make(chan bool), make(chan bool)
	src.Login = func(ctx context.Context) (*session.Session, error) {
		close(started)
		<-proceed
		return login(ctx)
	}
	waiting := get(t.Context(), src)
	<-started
	closed := make(chan error)
	go func() { closed <- src.Close(t.Context()) }()
	assert.ErrorIs(t, <-waiting, session.ErrSourceClosed)
	close(proceed)
	assert.NoError(t, <-closed)
	assert.Equal(t, f.Sessions()[0], f.id(f.source()))
	assert.Equal(t, 1, f.posts())
}

func TestCloseSavesTheSessionOfALoginThatItCancelled(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	src := f.source()
	login, started := src.Login, make(chan bool)
	src.Login = func(ctx context.Context) (*session.Session, error) {
		close(started)
		<-ctx.Done()
		return login(context.WithoutCancel(ctx))
	}
	get(t.Context(), src)
	<-started
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	assert.ErrorIs(t, src.Close(ctx), context.DeadlineExceeded)
	assert.NoError(t, src.Close(t.Context()))
	assert.Equal(t, f.Sessions()[0], f.id(f.source()))
	assert.Equal(t, 1, f.posts())
}

func TestCloseDoesNotWaitForTheLoginOfAnother(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	lock, err := f.record.store().TryLock(t.Context())
	require.NoError(t, err)
	defer lock.Unlock()
	src := f.source()
	waiting := get(t.Context(), src)
	for loads, _, _ := f.record.counts(); loads == 0; loads, _, _ = f.record.counts() {
		runtime.Gosched()
	}
	assert.NoError(t, src.Close(t.Context()))
	assert.ErrorIs(t, <-waiting, session.ErrSourceClosed)
	assert.Zero(t, f.posts())
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
	assert.ErrorIs(t, revoker.Revoke(t.Context()), session.ErrSourceClosed)
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
	assert.Equal(t, 500, apiError(t, src.Revoke(t.Context())).StatusCode)
	assert.Equal(t, record, f.record.get())
	assert.Equal(t, id, f.id(f.source()), "it can still be used")
	assert.NoError(t, src.Revoke(t.Context()))
	assert.Empty(t, f.record.get())
	assert.Empty(t, f.Sessions())
}

func TestRevokeWaitsForALoginThatIsRunning(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	src := f.source()
	login, started, proceed := src.Login, make(chan bool, 9), make(chan bool, 9)
	src.Login = func(ctx context.Context) (*session.Session, error) {
		started <- true
		<-proceed
		return login(ctx)
	}
	waiting := make(chan string)
	go func() { waiting <- f.id(src) }()
	<-started
	revoked := make(chan error, 2)
	for range 2 {
		go func() { revoked <- src.Revoke(t.Context()) }()
	}
	time.Sleep(10 * time.Millisecond)
	proceed <- true
	assert.NoError(t, <-revoked)
	assert.NoError(t, <-revoked)
	proceed <- true
	id := <-waiting
	assert.Equal(t, []string{id}, f.Sessions(), "the caller got the session of another login")
	assert.Equal(t, 2, f.Counts().Logins)
	assert.Equal(t, 1, f.Counts().Logouts)
	assert.Equal(t, id, f.id(f.source()))
}

func TestRevokeEndsWithItsContext(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	src := f.source()
	f.id(src)
	lock, err := f.record.store().TryLock(t.Context())
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	assert.ErrorIs(t, src.Revoke(ctx), context.DeadlineExceeded)
	lock.Unlock()
	assert.Len(t, f.Sessions(), 1)
	assert.NoError(t, src.Revoke(ctx), "a context that has ended leaves 5 seconds")
	assert.Empty(t, f.Sessions())
}

func TestNoLoginIsTriedWithoutTheStore(t *testing.T) {
	t.Parallel()
	for name, src := range map[string]func(f *fleet) *session.Source{
		"load": func(f *fleet) *session.Source { f.record.setFailure(errBroken); return f.source() },
		"lock": func(f *fleet) *session.Source {
			f.record.onLock = func(*memory) error { return errBroken }
			return f.source()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t)
			src := src(f)
			err := f.err(src)
			assert.ErrorIs(t, err, errBroken)
			assert.Contains(t, err.Error(), "session: l")
			assert.Contains(t, err.Error(), " the Store: broken")
			var wait *session.BackoffError
			assert.ErrorAs(t, f.err(src), &wait)
			assert.ErrorIs(t, wait, errBroken)
			assert.Zero(t, f.posts())
			assert.Empty(t, f.record.get(), "the back-off is of this process alone")
		})
	}
}

func TestNoLogOfASharedLoginHoldsASecret(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.AddUser(sessiontest.User{Username: "alice", Password: passwordCanary, Session: map[string]any{"id": idCanary, "login_token": tokenCanary}})
	var logged output
	logger := slog.New(slog.NewJSONHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	for _, password := range []string{otpCanary, otpCanary, passwordCanary, passwordCanary} {
		src := f.sourceOf(session.CreateParams{Username: "alice", Password: password}, session.WithLogger(logger))
		src.Logger = logger
		_, err := src.Session(t.Context())
		if err != nil {
			assertHidesSecrets(t, err)
		}
		assertHidesSecrets(t, src)
	}
	assert.Contains(t, f.record.get(), idCanary)
	waitFor(t, func() bool { return strings.Contains(logged.String(), "adopted from the Store") })
	waitFor(t, func() bool { return strings.Contains(logged.String(), "login refused") })
	waitFor(t, func() bool { return strings.Contains(logged.String(), "by another process") })
	assertNoSecret(t, logged.String())
}

func TestALoginThatDoesNotReturnFreesTheLock(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(){
		"panic":  func() { panic(passwordCanary) },
		"Goexit": runtime.Goexit,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t)
			src := f.source()
			src.Login = func(context.Context) (*session.Session, error) { end(); return nil, nil }
			func() {
				defer func() { recover() }()
				src.Session(t.Context())
			}()
			lock, err := f.record.store().TryLock(t.Context())
			require.NoError(t, err)
			lock.Unlock()
			f.id(f.source())
			assertNoSecret(t, f.record.get())
		})
	}
}

func TestAStoreInOneProcessMayBeSharedByManySources(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	var wg sync.WaitGroup
	for range 8 {
		src := f.source()
		for range 4 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for n := range 25 {
					s, _ := src.Session(t.Context()) // an error if too many sessions end at once
					switch n % 5 {
					case 1:
						src.Invalidate(s)
					case 3:
						src.Reset()
					case 4:
						if n == 24 {
							src.Revoke(t.Context())
						}
					}
				}
			}()
		}
	}
	wg.Wait()
	assert.NoError(t, f.source().Revoke(t.Context()))
}

// A Source clears a shared refusal after its own Reset only until it has a session
// again.
func TestAResetHoldsUntilASessionIsAdopted(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	params := alice
	c := newClient(t, session.WithSite(f.URL), session.WithHTTPClient(f.Client()))
	var sources []*session.Source
	for range 4 {
		src := f.source()
		src.Login = func(ctx context.Context) (*session.Session, error) { return c.Create(ctx, params) }
		sources = append(sources, src)
	}
	for _, src := range sources {
		f.id(src)
		src.Reset()
		f.id(src)
	}
	before := f.posts()
	params = session.CreateParams{Username: "alice", Password: "old"} // somebody changed the password
	f.ExpireUser("alice")
	for _, src := range sources {
		s, err := src.Session(t.Context())
		require.NoError(t, err)
		src.Invalidate(s)
	}
	for _, src := range sources {
		assert.ErrorIs(t, f.err(src), session.ErrInvalidUsernameOrPassword)
	}
	assert.Equal(t, before+1, f.posts())
}

func TestARefusalIsKnownToAllIfLoginPanicsAfterIt(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	for range 4 {
		src := f.sourceOf(session.CreateParams{Username: "alice", Password: "old"})
		login := src.Login
		src.Login = func(ctx context.Context) (*session.Session, error) {
			s, err := login(ctx)
			if err != nil {
				panic(err)
			}
			return s, nil
		}
		assert.Panics(t, func() { src.Session(t.Context()) })
	}
	assert.Equal(t, 1, f.posts())
}

func TestImplausibleNumbersInARecordAreLimited(t *testing.T) {
	t.Parallel()
	for _, record := range []string{
		`{"v":1,"in_a_row":-1}`,
		`{"v":1,"in_a_row":9223372036854775807}`,
	} {
		f := newFleet(t)
		f.record.set(record)
		f.Inject(sessiontest.Fault{Method: "POST", Status: 503, Times: -1})
		for range 3 {
			assert.Error(t, f.err(f.source()))
		}
		assert.Equal(t, 1, f.posts(), "the failure is known to all")
	}
}

type nilLockStore struct{ session.Store }

func (nilLockStore) TryLock(context.Context) (session.Lock, error) { return nil, nil }

func TestAStoreThatReturnsNoLockIsAnError(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	src := f.source()
	src.Store = nilLockStore{src.Store}
	assert.ErrorContains(t, f.err(src), "Store.TryLock returned neither a Lock nor an error")
	assert.Zero(t, f.posts())
}

// busyStore reports each call of TryLock.
type busyStore struct {
	session.Store
	tried chan struct{}
}

func (s busyStore) TryLock(ctx context.Context) (session.Lock, error) {
	select {
	case s.tried <- struct{}{}:
	default:
	}
	return s.Store.TryLock(ctx)
}

func TestCloseWakesCallersThatWaitForARevoke(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	src := f.source()
	store := busyStore{src.Store, make(chan struct{}, 1)}
	f.id(src)
	src.Store = store
	lock, err := store.Store.TryLock(t.Context())
	require.NoError(t, err)
	defer lock.Unlock()
	revoked := make(chan error, 1)
	go func() { revoked <- src.Revoke(t.Context()) }()
	<-store.tried // and waits, since the record is locked
	waiting := get(t.Context(), src)
	assert.NoError(t, src.Close(t.Context()))
	assert.ErrorIs(t, <-waiting, session.ErrSourceClosed)
	assert.ErrorIs(t, <-revoked, session.ErrSourceClosed)
	assert.Len(t, f.Sessions(), 1, "the session is left to the others")
}

func TestALockThatIsLostAtEachLoginIsAFailure(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.record.failSave = func(n int) error {
		if n%2 == 0 { // the save after each Login
			return session.ErrLockLost
		}
		return nil
	}
	src := f.source()
	assert.ErrorIs(t, f.err(src), session.ErrLockLost)
	var backoff *session.BackoffError
	assert.ErrorAs(t, f.err(src), &backoff)
	assert.Equal(t, 2, f.posts())
	assert.Empty(t, f.Sessions(), "nobody else knows them, so they were logged out")
}

func TestASessionThatWasSavedIsKeptEvenIfTheStoreReportsAnError(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.record.afterSave = errorAt(2)
	id := f.id(f.source())
	assert.Equal(t, id, f.id(f.source()))
	assert.Equal(t, 1, f.Counts().Logins)
	assert.Zero(t, f.Counts().Logouts)
}

func TestALogoutThatUsesItsOwnSourceGetsAnError(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	src := f.source()
	var errs []error
	src.Logout = func(ctx context.Context, s *session.Session) error {
		_, err := src.Session(ctx)
		errs = append(errs, err, src.Close(ctx), src.Revoke(ctx))
		return session.Delete(ctx, s)
	}
	f.id(src)
	assert.NoError(t, src.Revoke(t.Context()))
	require.Len(t, errs, 3)
	for _, err := range errs {
		assert.ErrorIs(t, err, session.ErrInvalidParams)
		assert.ErrorContains(t, err, "Source.Logout calls its own Source")
	}
	assert.Empty(t, f.Sessions())
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

func TestTextsOfASharedErrorHoldNoControlCharacters(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.record.set(recordOf(t, map[string]any{"failure": map[string]any{"at": time.Now(), "wait_ns": time.Minute, "answer": map[string]any{
		"StatusCode": 401, "Type": "not-authenticated/\x1b[2J", "Message": "a\r\nb" + strings.Repeat("c", 1000), "Instance": "\x07",
	}}}))
	err := f.err(f.source())
	assert.ErrorIs(t, err, session.ErrNotAuthenticated)
	assert.NotRegexp(t, `[[:cntrl:]]`, err.Error())
	assert.Less(t, len(err.Error()), 500)
}

func TestASharedAnswerWithoutASessionSaysSo(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.Inject(sessiontest.Fault{Method: "POST", Status: 201, Body: "{}"})
	f.err(f.source())
	err := f.err(f.source())
	assert.ErrorIs(t, err, session.ErrInvalidResponse)
	assert.ErrorIs(t, err, session.ErrOutcomeUnknown)
	assert.ErrorContains(t, err, "201 Created: invalid response")
	assert.Equal(t, 1, f.posts())
}

type slowUnlock struct{ session.Store }

type slowLock struct{ session.Lock }

func (s *slowUnlock) TryLock(ctx context.Context) (session.Lock, error) {
	l, err := s.Store.TryLock(ctx)
	if err != nil {
		return nil, err
	}
	return slowLock{l}, nil
}

func (l slowLock) Unlock() { time.Sleep(50 * time.Millisecond); l.Lock.Unlock() }

func TestAWrongPasswordIsPostedOnceAfterAResetByEverySource(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	var sources []*session.Source
	for range 8 {
		sources = append(sources, f.sourceOf(session.CreateParams{Username: "alice", Password: "wrong"}))
	}
	for _, src := range sources { // SIGHUP reached every worker
		src.Reset()
	}
	for _, src := range sources {
		assert.ErrorIs(t, f.err(src), session.ErrInvalidUsernameOrPassword)
	}
	assert.Equal(t, 1, f.posts())
}

func TestAResetDuringALoginClearsNoLaterRefusal(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	params := alice
	c := newClient(t, session.WithSite(f.URL), session.WithHTTPClient(f.Client()))
	a, b := f.source(), f.source()
	login := func(ctx context.Context) (*session.Session, error) { return c.Create(ctx, params) }
	a.Login = func(ctx context.Context) (*session.Session, error) { a.Reset(); a.Login = login; return login(ctx) }
	b.Login = login
	id := f.id(a)
	assert.Equal(t, id, f.id(b))
	params = session.CreateParams{Username: "alice", Password: "old"}
	f.ExpireUser("alice")
	a.Invalidate(&session.Session{ID: id})
	b.Invalidate(&session.Session{ID: id})
	before := f.posts()
	assert.ErrorIs(t, f.err(b), session.ErrInvalidUsernameOrPassword)
	assert.ErrorIs(t, f.err(a), session.ErrInvalidUsernameOrPassword)
	assert.Equal(t, before+1, f.posts())
}

func TestARevokeThatCannotLockForgetsNoSession(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	src := f.source()
	id := f.id(src)
	f.record.setFailure(errBroken) // Redis restarts
	assert.ErrorIs(t, src.Revoke(t.Context()), errBroken)
	f.record.setFailure(nil)
	f.record.set("") // it kept nothing on disk
	assert.NoError(t, src.Revoke(t.Context()))
	assert.NotContains(t, f.Sessions(), id, "Revoke returned nil")
	assert.NoError(t, src.Close(t.Context()))
	assert.NotContains(t, f.Sessions(), id)
}

func TestARevokeWhoseContextEndsForgetsNoSession(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	a, b := f.source(), f.source()
	first := f.id(a)
	f.id(b)
	b.Invalidate(&session.Session{ID: first})
	f.id(b)
	require.Len(t, f.Sessions(), 2)
	lock, err := f.record.store().TryLock(t.Context())
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	assert.ErrorIs(t, a.Revoke(ctx), context.DeadlineExceeded)
	lock.Unlock()
	assert.NoError(t, a.Revoke(t.Context()))
	assert.Empty(t, f.Sessions())
}

func TestASessionRemainsInUseAfterARevokeWithoutTheStore(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	src := f.source()
	id := f.id(src)
	f.record.setFailure(errBroken)
	assert.ErrorIs(t, src.Revoke(t.Context()), errBroken)
	s, err := src.Session(t.Context())
	if assert.NoError(t, err) {
		assert.Equal(t, id, s.ID)
	}
}

func TestCloseLogsNobodyOutAfterAFailedRevoke(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	src, other := f.source(session.WithRetries(0)), f.source()
	id := f.id(src)
	assert.Equal(t, id, f.id(other))
	f.Inject(sessiontest.Fault{Method: "DELETE", Status: 500})
	assert.Error(t, src.Revoke(t.Context()))
	assert.Equal(t, id, f.id(src), "in use again, by all")
	assert.NoError(t, src.Close(t.Context()))
	assert.Equal(t, []string{id}, f.Sessions())
	assert.Equal(t, id, f.id(f.source()), "what is stored")
}

func TestRevokeRemovesTheStoredSessionEvenIfAnOlderOneCannotBeLoggedOut(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	a, b := f.source(), f.source()
	first := f.id(a)
	f.id(b)
	b.Invalidate(&session.Session{ID: first})
	second := f.id(b)
	logout := a.Logout
	a.Logout = func(ctx context.Context, s *session.Session) error {
		if s.ID == first {
			return errBroken // for ever
		}
		return logout(ctx, s)
	}
	for range 3 {
		assert.ErrorIs(t, a.Revoke(t.Context()), errBroken)
	}
	assert.NotContains(t, f.Sessions(), second)
	assert.NotContains(t, f.record.get(), second, "it has ended")
	assert.NotEqual(t, second, f.id(f.source()))
}

func TestRevokeRemovesTheSessionThatItLoggedOutEvenIfItsContextEnds(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	src := f.source()
	id := f.id(src)
	ctx, cancel := context.WithCancel(t.Context())
	logout := src.Logout
	src.Logout = func(ctx context.Context, s *session.Session) error { defer cancel(); return logout(ctx, s) }
	src.Revoke(ctx)
	assert.Empty(t, f.Sessions())
	assert.NotContains(t, f.record.get(), id, "a session that has ended is left to all")
}

func TestAnEncryptedStoreThatReturnsNoLockIsAnError(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	src := f.source()
	var err error
	src.Store, err = session.NewEncryptedStore(nilLockStore{src.Store}, "alice", key(1))
	require.NoError(t, err)
	assert.NotPanics(t, func() { _, err = src.Session(t.Context()) })
	assert.ErrorContains(t, err, "Store.TryLock returned neither")
}

func TestCloseRaisesThePanicOfALogOutAfterAFailedSave(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	src := f.source()
	started, proceed := make(chan bool), make(chan bool)
	login := src.Login
	src.Login = func(ctx context.Context) (*session.Session, error) { close(started); <-proceed; return login(ctx) }
	f.record.failSave = errorFrom(2)
	src.Logout = func(context.Context, *session.Session) error { panic("log-out") }
	get(t.Context(), src)
	<-started
	time.AfterFunc(20*time.Millisecond, func() { close(proceed) })
	assert.PanicsWithValue(t, "log-out", func() { src.Close(t.Context()) })
}

func TestASessionThatRevokeLoggedOutIsNotUsedAgain(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	src := f.source()
	src.Store = &hookStore{Store: src.Store, remove: func(context.Context) (bool, error) { return true, errBroken }}
	id := f.id(src)
	assert.ErrorIs(t, src.Revoke(t.Context()), errBroken)
	require.Empty(t, f.Sessions())
	assert.NotEqual(t, id, f.id(src))
}

func TestAResetClearsNoLockOutThatCameAfterIt(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	src := f.source()
	src.Reset()
	login := src.Login
	src.Login = func(ctx context.Context) (*session.Session, error) {
		s, err := login(ctx)
		if f.posts() == 1 {
			f.record.store().(memoryStore).BreakLock()
			f.record.set(recordOf(t, map[string]any{"failure": map[string]any{"at": time.Now(), "wait_ns": time.Hour,
				"answer": map[string]any{"StatusCode": 401, "Type": "not-authenticated/locked-out"}}}))
		}
		return s, err
	}
	_, err := src.Session(t.Context())
	assert.ErrorIs(t, err, session.ErrLockedOut)
	assert.Equal(t, 1, f.posts())
}

func TestAGoroutineThatOutlivesLoginSavesNoSessionThatWasLoggedOut(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	c := newClient(t, session.WithSite(f.URL), session.WithHTTPClient(f.Client()))
	release := make(chan bool)
	done := make(chan bool)
	src := f.source()
	login := src.Login
	src.Login = func(ctx context.Context) (*session.Session, error) {
		go func() {
			defer close(done)
			<-release
			c.Create(ctx, session.CreateParams{Username: "alice", Password: "old"})
		}()
		return login(ctx)
	}
	logout := src.Logout
	src.Logout = func(ctx context.Context, s *session.Session) error {
		defer close(release)
		return logout(ctx, s)
	}
	f.record.failSave = errorAt(2)
	inner := src.Store
	src.Store = &slowUnlock{inner}
	_, err := src.Session(t.Context())
	assert.ErrorIs(t, err, errBroken)
	<-done
	s, err := session.LoadSession(t.Context(), inner)
	require.NoError(t, err)
	assert.Nil(t, s, "it was logged out")
}

func TestCloseLeavesASessionThatWasSavedAfterAll(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	var down atomic.Bool
	f.record.afterSave = func(n int) error {
		if n == 2 {
			down.Store(true)
			return errBroken
		}
		return nil
	}
	f.Inject(sessiontest.Fault{Method: "DELETE", Status: 500})
	src := f.source(session.WithRetries(0))
	src.Store = &hookStore{Store: src.Store, load: func(context.Context) error {
		if down.Load() {
			return errBroken
		}
		return nil
	}}
	src.Session(t.Context())
	down.Store(false)
	id := f.id(f.source())
	time.Sleep(1100 * time.Millisecond)
	assert.Equal(t, id, f.id(src))
	assert.NoError(t, src.Close(t.Context()))
	assert.Equal(t, []string{id}, f.Sessions())
}

func TestALogOutThatFailsAfterAFailedSaveIsReported(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.record.failSave = errorAt(2)
	f.Inject(sessiontest.Fault{Method: "DELETE", Status: 500, Times: -1})
	var logged output
	src := f.source(session.WithRetries(0))
	src.Logger = slog.New(slog.NewTextHandler(&logged, nil))
	err := f.err(src)
	waitFor(t, func() bool { return strings.Contains(logged.String(), "login failed") })
	assert.Contains(t, err.Error()+logged.String(), "log out")
}

func TestAResetHoldsAfterTheRefusalOfOtherCredentials(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	a := f.sourceOf(session.CreateParams{Username: "alice", Password: "new"})
	b := f.sourceOf(session.CreateParams{Username: "alice", Password: "old"})
	assert.ErrorIs(t, f.err(a), session.ErrInvalidUsernameOrPassword)
	f.AddUser(sessiontest.User{Username: "alice", Password: "new"})
	a.Reset()
	assert.ErrorIs(t, f.err(b), session.ErrInvalidUsernameOrPassword)
	f.id(a)
	assert.Equal(t, 3, f.posts())
}

func TestARequestThatMeetsAResetIsRepeatedWithANewSession(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	src := f.source()
	f.id(src)
	first := true
	hc := &http.Client{Transport: &session.Transport{Source: src, Base: roundTripper(func(r *http.Request) (*http.Response, error) {
		resp, err := f.Client().Transport.RoundTrip(r)
		if first {
			first = false
			src.Reset() // while the answer is on its way
		}
		return resp, err
	})}}
	f.ExpireUser("alice")
	resp, err := hc.Get(f.URL + "/api/rest/v1/folders")
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, http.StatusOK, resp.StatusCode)
}

func TestTheSamePasswordMayBeRightAtAnotherSite(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	other := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: "another"})
	t.Cleanup(other.Close)
	first := newClient(t, session.WithSite(other.URL), session.WithHTTPClient(other.Client()))
	src := f.source()
	login := src.Login
	src.Login = func(ctx context.Context) (*session.Session, error) {
		if s, err := first.Create(ctx, alice); err == nil {
			return s, nil
		}
		return login(ctx)
	}
	f.id(src)
}

func TestAWrongPasswordIsPostedOnceEvenIfAClockIsAhead(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	refused := 0
	for range 5 {
		before := f.posts()
		f.err(f.sourceOf(session.CreateParams{Username: "alice", Password: "wrong"}))
		refused += f.posts() - before
		var record map[string]any
		require.NoError(t, json.Unmarshal([]byte(f.record.get()), &record))
		for _, refusal := range record["refusals"].([]any) { // by a clock that is ahead
			refusal.(map[string]any)["at"] = time.Now().Add(6 * time.Minute)
		}
		f.record.set(recordOf(t, record))
		f.id(f.source())
		f.ExpireUser("alice")
		require.NoError(t, json.Unmarshal([]byte(f.record.get()), &record))
		delete(record, "session")
		f.record.set(recordOf(t, record))
	}
	assert.Equal(t, 1, refused)
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
