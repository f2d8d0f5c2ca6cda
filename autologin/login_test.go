package autologin_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/filescom/session"
	"github.com/filescom/session/autologin"
	"github.com/filescom/session/sessiontest"
	"github.com/stretchr/testify/assert"
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
		hc := &http.Client{Transport: &autologin.Transport{Source: f.source(), Base: f.Client().Transport}}
		for j := range workers {
			wg.Go(func() {
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
			})
		}
	}
	for n := range endings + 1 {
		waitFor(t, func() bool { return f.Counts().Logins > n })
		var before [len(calls)]int64
		for i := range calls {
			before[i] = calls[i].Load()
		}
		for i := range calls { // every worker uses the session
			waitFor(t, func() bool { return calls[i].Load() >= before[i]+2 })
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

func TestAThousandSourcesAreServedByOneLogin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, r := &api{takes: 200 * time.Millisecond}, &record{}
		start := time.Now()
		var out []<-chan error
		for range 1000 {
			out = append(out, get(t.Context(), a.source(t, r.store())))
		}
		for _, ch := range out {
			assert.NoError(t, <-ch)
		}
		assert.Less(t, time.Since(start), 500*time.Millisecond)
		assert.Equal(t, 1, a.posts())
	})
}

func TestAGoodSessionIsReadWithoutTheLock(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	id := f.id(f.source())
	lock := f.record.lock(t)
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
	f.record.onLock = func(r *record) error { r.data = []byte(good); return nil } // between the two looks
	assert.Equal(t, id, f.id(f.source()))
	assert.Equal(t, 1, f.posts())
}

func TestTheLockIsHeldWhileLoginRuns(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	assertLocked := func(ctx context.Context) {
		_, err := f.record.store().TryLock(ctx)
		assertErrorIs(t, err, autologin.ErrLocked)
	}
	src := f.hooked(func(r *http.Request) (*http.Response, error) { assertLocked(r.Context()); return nil, nil })
	src.Params = func(ctx context.Context) (session.CreateParams, error) { assertLocked(ctx); return alice, nil }
	f.id(src)
	f.record.lock(t).Unlock()
}

func TestOneSourceAsksForTheCode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, r, prompts := &api{}, &record{}, 0
		a.onLogin = func(r *http.Request) (*http.Response, error) {
			if form(r).OTP == "" {
				return demandsCode(r)
			}
			return nil, nil
		}
		ask := session.WithOTP(func(context.Context, *session.TwoFactorError) (string, error) {
			prompts++
			time.Sleep(time.Minute)
			return otpCanary, nil
		})
		var out []<-chan error
		for range 20 {
			out = append(out, get(t.Context(), a.source(t, r.store(), ask)))
		}
		for _, ch := range out {
			assert.NoError(t, <-ch)
		}
		assert.Equal(t, 1, prompts)
		assert.Equal(t, 2, a.posts())
		assert.Equal(t, 1, a.alive())
	})
}

// atFirstPost returns a hook that calls f when the first login is posted.
func atFirstPost(f func()) roundTripper {
	var once sync.Once
	return func(r *http.Request) (*http.Response, error) {
		if r.Method == http.MethodPost {
			once.Do(f)
		}
		return nil, nil
	}
}

func TestALoginThatLostItsLockIsLoggedOutAndTheStoredSessionUsed(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	var logged output
	var stored string
	fast := f.source()
	slow := f.hooked(atFirstPost(func() {
		f.record.breakLock()
		stored = f.id(fast)
	}))
	slow.Logger = logged.logger()
	assert.Equal(t, stored, f.id(slow))
	assert.Equal(t, []string{stored}, f.Sessions())
	assert.Equal(t, 2, f.Counts().Logins)
	assert.Equal(t, 1, f.Counts().Logouts)
	assert.Regexp(t, `level=WARN .*the lock of the record is lost`, logged.String())
	assert.Contains(t, logged.String(), `level=DEBUG msg="Files.com session adopted"`)
	f.hidesSecrets(logged.String())
}

func TestALoginThatLostItsLockWaitsIfNothingIsStoredYet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, r := &api{}, &record{}
		other := a.client(t)
		a.onLogin = atFirstPost(func() {
			r.breakLock()
			next := r.lock(t) // another process logs in, slowly
			time.AfterFunc(time.Minute, func() {
				defer next.Unlock()
				s, err := other.Create(t.Context(), alice)
				if assert.NoError(t, err) {
					assert.NoError(t, next.Save(t.Context(), []byte(recordOf(t, map[string]any{"session": s})), 0))
				}
			})
		})
		assert.Equal(t, nth(2), sessionID(t, a.source(t, r.store())))
		assert.Equal(t, 2, a.posts())
		assert.Equal(t, []string{nth(1)}, a.loggedOut)
	})
}

func TestALockThatIsLostAtEachLoginIsAFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, r := &api{}, &record{}
		r.failSave = func(n int) error {
			if n%2 == 0 { // the save after each login
				return autologin.ErrLockLost
			}
			return nil
		}
		src := a.source(t, r.store())
		assert.ErrorIs(t, sessionError(t, src), autologin.ErrLockLost)
		backoffError(t, sessionError(t, src))
		assert.Equal(t, 2, a.posts())
		assert.Zero(t, a.alive(), "nobody else knows them, so they were logged out")
	})
}

func TestALockThatIsLostBeforeEachLoginIsAFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, r := &api{}, &record{failSave: func(int) error { return autologin.ErrLockLost }}
		src := a.source(t, r.store())
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		_, err := src.Session(ctx)
		assertErrorIs(t, err, autologin.ErrLockLost)
		assert.NoError(t, ctx.Err(), "it does not try for ever")
		assert.Zero(t, a.posts())
		assert.NoError(t, src.Close(t.Context()))
	})
}

func TestNothingIsPostedIfTheRecordCannotBeSaved(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.record.failSave = errorFrom(1)
	for range 3 {
		assert.ErrorIs(t, f.err(f.source()), errBroken)
	}
	assert.Zero(t, f.posts())
	f.record.lock(t).Unlock()
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

func TestALogOutThatFailsAfterAFailedSaveIsReported(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.record.failSave = errorAt(2)
	f.Inject(sessiontest.Fault{Method: "DELETE", Status: 500, Times: -1})
	var logged output
	src := f.source(session.WithRetries(0))
	src.Logger = logged.logger()
	f.err(src)
	assert.Contains(t, logged.String(), `level=WARN msg="Files.com log-out failed"`)
	f.hidesSecrets(logged.String())
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

func TestNoLoginIsTriedWithoutTheStore(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fail func(r *record)
		want string
	}{
		"load": {fail: func(r *record) { r.fail = errBroken }, want: "session: read the stored session: broken"},
		"lock": {fail: func(r *record) { r.onLock = func(*record) error { return errBroken } }, want: "session: lock the stored session: broken"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, r := &api{}, &record{}
				tc.fail(r)
				src := a.source(t, r.store())
				err := sessionError(t, src)
				assertErrorIs(t, err, errBroken)
				assert.EqualError(t, err, tc.want)
				assert.ErrorIs(t, backoffError(t, sessionError(t, src)), errBroken)
				assert.Zero(t, a.posts())
				assert.Empty(t, r.get(), "the back-off is of this process alone")
			})
		})
	}
}

func TestAStoreThatHangsIsGivenFiveSeconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &api{}
		r := &record{onLoad: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}
		start := time.Now()
		assert.ErrorIs(t, sessionError(t, a.source(t, r.store())), context.DeadlineExceeded)
		assert.Equal(t, 5*time.Second, time.Since(start))
		assert.Zero(t, a.posts())
	})
}

func TestALoginMustReturnAGoodSession(t *testing.T) {
	t.Parallel()
	for _, body := range []string{``, `null`, `{}`, `{"id":""}`, `{"id":"a b"}`, `{"id":"a\nb"}`, `{"id":["a"]}`, `{"id":"` + idCanary} {
		bothWays(t, func(t *testing.T, store autologin.Store) {
			s, err := (&api{onLogin: answer(201, body)}).source(t, store).Session(t.Context())
			assert.Nil(t, s)
			assertErrorIs(t, err, session.ErrInvalidResponse)
		})
	}
}

func TestALoginThatEndsItsGoroutineIsAFailure(t *testing.T) {
	t.Parallel()
	goexit := func(context.Context, *session.TwoFactorError) (string, error) { runtime.Goexit(); return "", nil }
	onTheClock(t, func(t *testing.T, store autologin.Store) {
		inParams := (&api{}).source(t, store)
		inParams.Params = func(context.Context) (session.CreateParams, error) { runtime.Goexit(); return alice, nil }
		inOTP := (&api{onLogin: demandsCode}).source(t, store, session.WithOTP(goexit))
		for _, src := range []*autologin.Source{inParams, inOTP} {
			err := sessionError(t, src)
			assert.ErrorContains(t, err, "the login ended its goroutine")
			assertNoBackoff(t, err)
			err = sessionError(t, src)
			backoffError(t, err)
			assert.ErrorContains(t, err, "the login ended its goroutine")
		}
	})
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
			src.Params = func(context.Context) (session.CreateParams, error) { end(); return alice, nil }
			recovered(func() { src.Session(t.Context()) })
			assert.NoError(t, src.Close(t.Context()))
			f.record.lock(t).Unlock()
			f.id(f.source())
			assertNoSecret(t, f.record.get())
		})
	}
}

func TestAPanicOfLoginReachesEveryCaller(t *testing.T) {
	t.Parallel()
	onTheClock(t, func(t *testing.T, store autologin.Store) {
		a, result := &api{}, make(chan error, 10)
		src := a.source(t, store)
		src.Params = func(context.Context) (session.CreateParams, error) {
			if err := <-result; err != nil {
				panic(err)
			}
			return alice, nil
		}
		caught := make(chan any, 10)
		for range 10 {
			go func() { caught <- recovered(func() { src.Session(t.Context()) }) }()
		}
		synctest.Wait()
		result <- errBroken
		for range 10 {
			assert.Equal(t, errBroken, <-caught)
		}
		time.Sleep(backoffError(t, sessionError(t, src)).Wait)
		result <- nil
		assert.Equal(t, nth(1), sessionID(t, src))
	})
}

func TestAPanicCountsAsAFailure(t *testing.T) {
	t.Parallel()
	ask := func(context.Context, *session.TwoFactorError) (string, error) { panic(passwordCanary) }
	onTheClock(t, func(t *testing.T, store autologin.Store) {
		calls := 0
		inParams := (&api{}).source(t, store)
		inParams.Params = func(context.Context) (session.CreateParams, error) { calls++; panic(passwordCanary) }
		a := &api{onLogin: demandsCode}
		inOTP := a.source(t, store, session.WithOTP(ask))
		for _, src := range []*autologin.Source{inParams, inOTP} {
			assert.PanicsWithValue(t, passwordCanary, func() { src.Session(t.Context()) })
			for range 10 {
				err := sessionError(t, src)
				backoffError(t, err)
				assert.ErrorContains(t, err, "the login panicked with a value of type string")
			}
		}
		assert.Equal(t, 1, calls)
		assert.Equal(t, 1, a.posts())
	})
}

func TestAPanicOfARenewalIsKeptAsAFailureAndLogged(t *testing.T) {
	t.Parallel()
	onTheClock(t, func(t *testing.T, store autologin.Store) {
		var out output
		a := &api{lifetime: time.Hour}
		src := a.source(t, store)
		src.Logger = slog.New(slog.NewTextHandler(&out, nil))
		sessionID(t, src)
		src.Params = func(context.Context) (session.CreateParams, error) { panic(passwordCanary) }
		time.Sleep(time.Hour - 100*time.Millisecond)
		sessionID(t, src)
		time.Sleep(100 * time.Millisecond)
		err := sessionError(t, src)
		wait := backoffError(t, err)
		assert.ErrorContains(t, err, "the login panicked with a value of type string")
		assert.Contains(t, out.String(), `level=WARN msg="Files.com login failed" error="session: the login panicked with a value of type string"`)
		assertNoSecret(t, out.String())

		time.Sleep(wait.Wait)
		assert.PanicsWithValue(t, passwordCanary, func() { src.Session(t.Context()) }, "a caller that waits panics")
	})
}

func TestLoginsAreLogged(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fail   roundTripper
		params error
		want   string
	}{
		"a session":     {want: `level=DEBUG msg="Files.com login" session.base_url=https://app.files.com`},
		"of Params":     {params: errBroken, want: `level=WARN msg="Files.com login failed" error="session: get the parameters of the login: broken"`},
		"a refusal":     {fail: wrongPassword, want: `level=WARN msg="Files.com login failed" error="session: log in at app.files.com: 401 not-authenticated/invalid-username-or-password`},
		"no connection": {fail: breakConnection, want: `level=WARN msg="Files.com login failed" error="session: log in at app.files.com: outcome unknown: broken"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bothWays(t, func(t *testing.T, store autologin.Store) {
				var out output
				src := (&api{onLogin: tc.fail}).source(t, store)
				src.Logger = out.logger()
				src.Params = func(context.Context) (session.CreateParams, error) { return alice, tc.params }
				src.Session(t.Context())
				assert.Contains(t, out.String(), tc.want)
				assertNoSecret(t, out.String())
			})
		})
	}
}

func TestRenewalsAreLogged(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		check roundTripper
		want  string
	}{
		"it goes on":   {want: `level=DEBUG msg="Files.com session kept" session.base_url=https://app.files.com`},
		"it has ended": {check: sessionEnded, want: `level=DEBUG msg="Files.com login" session.base_url=https://app.files.com`},
		"nobody knows": {check: refuse(403, ""), want: `level=WARN msg="Files.com session check failed" error="session: check the session at app.files.com: 403 Forbidden"`},
	} {
		t.Run(name, func(t *testing.T) {
			onTheClock(t, func(t *testing.T, store autologin.Store) {
				var out output
				src := (&api{lifetime: time.Hour, slides: true, onCheck: tc.check}).source(t, store)
				src.Logger = out.logger()
				sessionID(t, src)
				out.b.Reset()
				time.Sleep(time.Hour - time.Second)
				sessionID(t, src)
				assert.Contains(t, out.String(), tc.want)
				assertNoSecret(t, out.String())
			})
		})
	}
}

func TestNoLogOfASharedLoginHoldsASecret(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.AddUser(sessiontest.User{Username: "alice", Password: passwordCanary, Session: map[string]any{
		"id": idCanary, "login_token": tokenCanary, "aws_secret_key": awsCanary}})
	var logged output
	for _, params := range []session.CreateParams{wrong, wrong, alice, alice} {
		src := f.sourceOf(params, session.WithLogger(logged.logger()))
		src.Logger = logged.logger()
		if _, err := src.Session(t.Context()); err != nil {
			f.hidesSecrets(err)
		}
		f.hidesSecrets(src)
	}
	assert.Contains(t, f.record.get(), idCanary)
	for _, want := range []string{"Files.com login failed", `msg="Files.com login"`, "session adopted"} {
		assert.Contains(t, logged.String(), want)
	}
	assertNoSecret(t, logged.String())
}
