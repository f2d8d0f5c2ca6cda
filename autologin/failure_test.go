package autologin_test

import (
	"context"
	"errors"
	"fmt"

	"math"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/filescom/session"
	"github.com/filescom/session/autologin"
	"github.com/filescom/session/sessiontest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// assertRemembered checks that err is an answer from memory, in words for the user.
func assertRemembered(t *testing.T, err error) {
	t.Helper()
	assertNoBackoff(t, err)
	assert.ErrorContains(t, err, "this answer is remembered")
	assert.Regexp(t, ` before \d{4}-\d\d-\d\d \d\d:\d\d:\d\d \S+$`, err.Error())
	for _, name := range []string{"Source", "Reset", "Params", "autologin"} {
		assert.NotContains(t, err.Error(), name, "the user knows no Go")
	}
}

func TestBackoffErrorNamesTheWaitAndTheFailure(t *testing.T) {
	t.Parallel()
	err := &autologin.BackoffError{Wait: 1500 * time.Millisecond, Err: errBroken}
	assert.EqualError(t, err, "broken; the next login may start in 1.5s")
	assertErrorIs(t, err, errBroken)
	assert.True(t, err.Temporary())
	assert.False(t, err.Timeout())
	assert.EqualError(t, &autologin.BackoffError{Wait: time.Second, Err: &session.APIError{StatusCode: 503}},
		"session: 503 Service Unavailable; the next login may start in 1s")
	assert.EqualError(t, &autologin.BackoffError{Wait: time.Second, Err: fmt.Errorf("log in as alice: %w", errBroken)},
		"log in as alice: broken; the next login may start in 1s")
	assert.NotPanics(t, func() { _ = (&autologin.BackoffError{}).Error() })
}

func TestARefusalIsKeptUntilReset(t *testing.T) {
	t.Parallel()
	withCode := func(code string) session.CreateParams {
		return session.CreateParams{Username: "alice", Password: passwordCanary, OTP: code}
	}
	bothWays(t, func(t *testing.T, store autologin.Store) {
		srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: passwordCanary, OTP: otpCanary})
		defer srv.Close()
		var params atomic.Pointer[session.CreateParams]
		src := &autologin.Source{
			Client: newClient(t, session.WithSite(srv.URL), session.WithHTTPClient(srv.Client())),
			Params: func(context.Context) (session.CreateParams, error) { return *params.Load(), nil },
			Store:  store,
		}
		for n, tc := range []struct {
			params session.CreateParams
			want   error
		}{
			{params: wrong, want: session.ErrInvalidUsernameOrPassword},
			{params: alice, want: session.ErrNotAuthenticated}, // a second factor is required
			{params: withCode("1"), want: session.ErrOneTimePasswordIncorrect},
		} {
			params.Store(&tc.params)
			var wg sync.WaitGroup
			for range 100 {
				wg.Go(func() {
					for range 20 {
						_, err := src.Session(t.Context())
						assert.ErrorIs(t, err, tc.want)
					}
				})
			}
			wg.Wait()
			_, err := src.Session(t.Context())
			assert.ErrorIs(t, err, tc.want)
			assertRemembered(t, err)
			assertHidesSecrets(t, err)
			assert.Len(t, srv.Requests(), n+1)
			src.Reset()
		}
		right := withCode(otpCanary)
		params.Store(&right)
		_, err := src.Session(t.Context())
		assert.NoError(t, err)
	})
}

// meanings are the errors of package session that an answer to a login may match.
var meanings = []error{session.ErrNotAuthenticated, session.ErrLockedOut, session.ErrRateLimited, session.ErrOutcomeUnknown, session.ErrNotSent,
	session.ErrInvalidResponse, session.ErrInvalidUsernameOrPassword, session.ErrOneTimePasswordIncorrect, session.ErrInvalidParams}

// failing are the kinds of failed logins.
var failing = map[string]struct {
	answer roundTripper // of the API
	params error        // of Params
	otp    session.OTPFunc
	with   session.CreateParams // alice if empty

	posts      int    // of one process
	stops      string // whose logins among the processes that share a record; empty: its own
	remembered bool   // callers get the answer until it may have changed, and else a *BackoffError
}{
	"a wrong password":            {answer: wrongPassword, posts: 1, stops: sameCredentials, remembered: true},
	"a password, as of 2021":      {answer: refuse(401, "bad-request/invalid-username-or-password"), posts: 1, stops: sameCredentials, remembered: true},
	"another refusal":             {answer: refuse(403, "not-authenticated/two-factor-setup-needed"), posts: 1, stops: sameCredentials, remembered: true},
	"a lock-out":                  {answer: lockedOut, posts: 1, stops: everyone, remembered: true},
	"a second factor":             {answer: demandsCode, posts: 1, remembered: true},
	"an incorrect code":           {answer: wrongCode, with: session.CreateParams{Username: "alice", Password: passwordCanary, OTP: otpCanary}, posts: 1, remembered: true},
	"an incorrect answer":         {answer: demandsCode, otp: answerOTP(otpCanary, nil), posts: 2, remembered: true},
	"a rate limit":                {answer: refuse(429, "rate-limited/too-many-login-attempts"), posts: 1, stops: everyone},
	"a 401 without a type":        {answer: refuse(401, ""), posts: 1, stops: everyone},
	"a 403 without a type":        {answer: refuse(403, ""), posts: 1, stops: everyone},
	"a 500":                       {answer: refuse(500, ""), posts: 1, stops: everyone},
	"a 503 with a type":           {answer: refuse(503, "processing-failure/x"), posts: 1, stops: everyone},
	"a redirect":                  {answer: answer(302, "", "Location", "https://elsewhere.example"), posts: 1, stops: everyone},
	"a success without a session": {answer: answer(200, "{}"), posts: 1, stops: everyone},
	"a connection that breaks":    {answer: breakConnection, posts: 1, stops: everyone},
	"another host":                {answer: answer(403, `{"type":"not-authenticated/lockout-region-mismatch","data":{"host":"other.example"}}`), posts: 1},
	"not sent":                    {answer: notSent, posts: 1}, // it arrives nowhere
	"a bad parameter":             {with: session.CreateParams{Username: "alice"}},
	"an error of Params":          {params: errBroken},
	"a refusal of Params's own":   {params: fmt.Errorf("the vault says no: %w", session.ErrNotAuthenticated)},
	"an answer to Params":         {params: fmt.Errorf("the vault says no: %w", &session.APIError{StatusCode: 401, Type: "not-authenticated/locked-out"})},
	"a time-out of Params":        {params: context.DeadlineExceeded},
	"a refusal of an OTPFunc":     {answer: demandsCode, otp: answerOTP("", fmt.Errorf("the vault says no: %w", session.ErrNotAuthenticated)), posts: 1},
	"a canceled prompt":           {answer: demandsCode, otp: answerOTP("", context.Canceled), posts: 1},
	"a blank answer":              {answer: demandsCode, otp: answerOTP(" ", nil), posts: 1},
}

const (
	sameCredentials = "those with the same credentials, after Params was asked"
	everyone        = "all, and Params is not asked"
)

func answerOTP(code string, err error) session.OTPFunc {
	return func(context.Context, *session.TwoFactorError) (string, error) { return code, err }
}

// withOTP returns the options of a Client that sends each request once.
func withOTP(f session.OTPFunc) []session.Option {
	opts := []session.Option{session.WithRetries(0)}
	if f != nil {
		opts = append(opts, session.WithOTP(f))
	}
	return opts
}

// notSent fails before there is a connection.
func notSent(r *http.Request) (*http.Response, error) {
	httptrace.ContextClientTrace(r.Context()).GetConn(r.URL.Host)
	return nil, errBroken
}

func TestRefusalsAreRepeatedWithoutALoginAndOtherFailuresAreNot(t *testing.T) {
	t.Parallel()
	for name, tc := range failing {
		t.Run(name, func(t *testing.T) {
			onTheClock(t, func(t *testing.T, store autologin.Store) {
				a, asked := &api{onLogin: tc.answer}, 0
				src := a.source(t, store, withOTP(tc.otp)...)
				src.Params = paramsOf(&asked, tc.with, tc.params)
				first := sessionError(t, src)
				assertNoBackoff(t, first)
				assert.NotContains(t, first.Error(), "remembered", "it is new")
				for range 2 {
					err := sessionError(t, src)
					assert.ErrorContains(t, err, first.Error())
					assertSameMeaning(t, first, err)
					if tc.remembered {
						assertRemembered(t, err)
					} else {
						assert.LessOrEqual(t, backoffError(t, err).Wait, time.Second)
					}
				}
				assert.Equal(t, tc.posts, a.posts())
				assert.Equal(t, 1, asked)
			})
		})
	}
}

func TestFailuresThatAnotherProcessWouldAlsoGetAreShared(t *testing.T) {
	t.Parallel()
	for name, tc := range failing {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, r, asked := &api{onLogin: tc.answer}, &record{}, 0
				try := func() error {
					src := a.source(t, r.store(), withOTP(tc.otp)...)
					src.Params = paramsOf(&asked, tc.with, tc.params)
					return sessionError(t, src)
				}
				first := try()
				assert.NotContains(t, first.Error(), "another process")
				for range 2 {
					err := try()
					assertSameMeaning(t, first, err)
					assert.Equal(t, tc.stops != "", strings.Contains(err.Error(), "another process"), "%v", err)
				}
				posts, asks := map[string]int{"": 3, sameCredentials: 1, everyone: 1}, map[string]int{"": 3, sameCredentials: 3, everyone: 1}
				assert.Equal(t, posts[tc.stops]*tc.posts, a.posts())
				assert.Equal(t, asks[tc.stops], asked)
				assertNoSecret(t, r.get())
				assert.NotContains(t, r.get(), "alice")
			})
		})
	}
}

// An OTPFunc may log in elsewhere to look for the code. What fails there says nothing about
// this user.
func TestAnAnswerThatAnOTPFuncGotElsewhereIsOfThisProcessAlone(t *testing.T) {
	t.Parallel()
	for name, elsewhere := range map[string]error{
		"a lock-out":         &session.APIError{StatusCode: 401, Type: "not-authenticated/locked-out"},
		"a refusal":          &session.APIError{StatusCode: 401, Type: "not-authenticated/invalid-username-or-password"},
		"an unknown outcome": session.ErrOutcomeUnknown,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, r := &api{onLogin: demandsCode}, &record{}
				opts := withOTP(answerOTP("", fmt.Errorf("the vault says no: %w", elsewhere)))
				src := a.source(t, r.store(), opts...)
				assert.ErrorIs(t, sessionError(t, src), elsewhere)
				backoffError(t, sessionError(t, src))
				sessionError(t, a.source(t, r.store(), opts...))
				assert.Equal(t, 2, a.posts(), "another process may log in")
			})
		})
	}
}

// assertSameMeaning checks that got matches what want does, but never ErrSessionEnded.
func assertSameMeaning(t *testing.T, want, got error) {
	t.Helper()
	for _, target := range meanings {
		assert.Equal(t, errors.Is(want, target), errors.Is(got, target), "%v: %v", target, got)
	}
	assert.NotErrorIs(t, got, session.ErrSessionEnded)
}

// paramsOf counts its calls.
func paramsOf(calls *int, params session.CreateParams, err error) func(context.Context) (session.CreateParams, error) {
	if params.Username == "" {
		params = alice
	}
	return func(context.Context) (session.CreateParams, error) { *calls++; return params, err }
}

func TestASharedErrorKeepsStatusTypeAndRetryAfter(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.Inject(sessiontest.Fault{Method: "POST", Status: 401, Times: -1, Header: http.Header{"Retry-After": {"77"}, "X-Request-Id": {"req-1"}},
		Body: `{"type":"not-authenticated/locked-out","title":"Locked","error":"Too many failed attempts ` + idCanary[:5] + `","http-code":401}`})
	own := apiError(t, f.err(f.source()))
	err := f.err(f.source())
	shared := apiError(t, err)
	assert.Equal(t, 1, f.posts())
	assert.Equal(t, own.StatusCode, shared.StatusCode)
	assert.Equal(t, own.Type, shared.Type)
	assert.Equal(t, 77*time.Second, shared.RetryAfter)
	assert.Empty(t, shared.Message, "a record has no texts of the server")
	assert.ErrorIs(t, shared, session.ErrLockedOut)
	assert.ErrorIs(t, shared, session.ErrNotAuthenticated)
	assert.ErrorContains(t, err, "another process")
	assert.NotContains(t, f.record.get(), "attempts")
}

func TestASharedAnswerWithoutASessionSaysSo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, r := &api{onLogin: answer(201, "{}")}, &record{}
		sessionError(t, a.source(t, r.store()))
		err := sessionError(t, a.source(t, r.store()))
		assertErrorIs(t, err, session.ErrInvalidResponse)
		assertErrorIs(t, err, session.ErrOutcomeUnknown)
		assert.ErrorContains(t, err, "201 Created")
		assert.Equal(t, 1, a.posts())
	})
}

func TestTextsOfASharedErrorHoldNoControlCharacters(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{`not-authenticated/\u001b[2J`, `\r\n\u0007`, strings.Repeat("c", 1000)} {
		f := newFleet(t)
		f.Inject(sessiontest.Fault{Method: "POST", Status: 401, Body: `{"type":"not-authenticated/locked-out"}`})
		f.err(f.source())
		f.record.set(strings.Replace(f.record.get(), "not-authenticated/locked-out", kind, 1))
		err := f.err(f.source())
		assertErrorIs(t, err, session.ErrNotAuthenticated)
		assert.NotRegexp(t, `[[:cntrl:]]`, err.Error())
		assert.Less(t, len(err.Error()), 500)
	}
}

func TestAWrongPasswordIsPostedOnce(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	var out []<-chan error
	for range 40 {
		out = append(out, get(t.Context(), f.sourceOf(wrong)))
	}
	for _, ch := range out {
		err := <-ch
		assertErrorIs(t, err, session.ErrInvalidUsernameOrPassword)
		f.hidesSecrets(err)
	}
	assert.Equal(t, 1, f.posts())
	assertRemembered(t, f.err(f.sourceOf(wrong)))
	assertNoSecret(t, f.record.get())
	assert.NotContains(t, f.record.get(), "alice")
}

func TestAWrongPasswordIsPostedOnceAfterAResetByEverySource(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	var sources []*autologin.Source
	for range 8 {
		sources = append(sources, f.sourceOf(wrong))
	}
	for n := range 2 {
		for _, src := range sources {
			assert.ErrorIs(t, f.err(src), session.ErrInvalidUsernameOrPassword)
		}
		assert.Equal(t, n+1, f.posts())
		for _, src := range sources { // SIGHUP reached every worker
			src.Reset()
		}
	}
}

func TestAWrongPasswordIsPostedOnceEvenIfAClockIsAhead(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	refused := 0
	for range 5 {
		before := f.posts()
		assert.ErrorIs(t, f.err(f.sourceOf(wrong)), session.ErrInvalidUsernameOrPassword)
		refused += f.posts() - before
		f.record.shiftFailures(t, 6*time.Minute)
		src := f.source()
		f.id(src)
		assert.NoError(t, src.Revoke(t.Context()))
	}
	assert.Equal(t, 1, refused)
}

func TestOtherCredentialsGetTheirOwnTry(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	stale := session.CreateParams{Username: "alice", Password: "old"}
	f.err(f.sourceOf(stale))
	f.err(f.sourceOf(session.CreateParams{Username: "alicia", Password: "old"}))
	f.err(f.sourceOf(session.CreateParams{Username: "ali", Password: "ceold"}))
	assert.Equal(t, 3, f.posts())
	f.err(f.sourceOf(stale))
	assert.Equal(t, 3, f.posts())
	id := f.id(f.source())
	assert.Equal(t, 4, f.posts())
	assert.Equal(t, id, f.id(f.sourceOf(stale)), "the session is shared nonetheless")
	assert.Equal(t, 4, f.posts())
}

func TestTheLastFourPasswordsStayRefused(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	try := func(n int) {
		err := f.err(f.sourceOf(session.CreateParams{Username: "alice", Password: fmt.Sprint("old", n)}))
		assertErrorIs(t, err, session.ErrInvalidUsernameOrPassword)
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

func TestNoFailureOfAnotherKindDisplacesARefusal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, r := &api{}, &record{}
		try := func(n int, fail roundTripper) error {
			a.onLogin = fail
			src := a.source(t, r.store())
			src.Params = func(context.Context) (session.CreateParams, error) {
				return session.CreateParams{Username: "alice", Password: fmt.Sprint("old", n)}, nil
			}
			return sessionError(t, src)
		}
		for n := range 4 {
			try(n, wrongPassword)
		}
		others := []roundTripper{unavailable, breakConnection, demandsCode, wrongCode, lockedOut}
		for n, other := range others {
			try(4+n, other)
			time.Sleep(5 * time.Minute)
		}
		posts := a.posts()
		assert.Equal(t, 4+len(others), posts)
		time.Sleep(10 * time.Minute) // until the end of the lock-out
		for n := range 4 {
			assert.ErrorIs(t, try(n, nil), session.ErrInvalidUsernameOrPassword)
		}
		assert.Equal(t, posts, a.posts())
	})
}

func TestTheSamePasswordMayBeRightAtAnotherSite(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	other := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: "another"})
	t.Cleanup(other.Close)
	assert.ErrorIs(t, f.err(f.source(session.WithSite(other.URL), session.WithHTTPClient(other.Client()))), session.ErrInvalidUsernameOrPassword)
	f.id(f.source())
}

func TestARightPasswordDoesNotClearTheRefusalOfAWrongOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, r, refused := &api{lifetime: 5 * time.Minute}, &record{}, 0
		a.onLogin = func(r *http.Request) (*http.Response, error) {
			if form(r).Password == otpCanary {
				refused++
				return wrongPassword(r)
			}
			return nil, nil
		}
		for range 9 {
			old := a.source(t, r.store())
			old.Params = func(context.Context) (session.CreateParams, error) { return wrong, nil }
			assert.ErrorIs(t, sessionError(t, old), session.ErrInvalidUsernameOrPassword) // happens to be the first
			sessionID(t, a.source(t, r.store()))
			time.Sleep(6 * time.Minute)
		}
		assert.Equal(t, 9, a.posts()-refused)
		assert.Equal(t, 1, refused, "posts of the refused password in an hour")
	})
}

func TestAResetByOneSourceClearsARefusalForAll(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	params := session.CreateParams{Username: "alice", Password: "new"}
	a, b := f.sourceOf(params), f.sourceOf(params)
	f.err(a)
	f.err(b)
	f.AddUser(sessiontest.User{Username: "alice", Password: "new"})
	f.err(a)
	assert.Equal(t, 1, f.posts())
	b.Reset()
	id := f.id(b)
	assert.Equal(t, 2, f.posts())
	assert.Equal(t, id, f.id(f.sourceOf(params)))
	assert.Equal(t, 2, f.posts())
}

// changing returns a Source whose parameters are those that params points to.
func (f *fleet) changing(params *session.CreateParams) *autologin.Source {
	f.t.Helper()
	src := f.source()
	src.Params = func(context.Context) (session.CreateParams, error) { return *params, nil }
	return src
}

// A Reset counts by its time, so it clears no later refusal.
func TestAResetHoldsUntilASessionIsAdopted(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	params := alice
	var sources []*autologin.Source
	for range 4 {
		sources = append(sources, f.changing(&params))
	}
	for _, src := range sources {
		f.id(src)
		src.Reset()
		f.id(src)
	}
	before := f.posts()
	params = wrong // somebody changed the password
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

func TestAResetDuringALoginClearsNoLaterRefusal(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	params := alice
	b := f.changing(&params)
	var a *autologin.Source
	a = f.hooked(atFirstPost(func() { a.Reset() }))
	a.Params = b.Params
	id := f.id(a)
	assert.Equal(t, id, f.id(b))
	params = wrong
	f.ExpireUser("alice")
	a.Invalidate(&session.Session{ID: id})
	b.Invalidate(&session.Session{ID: id})
	before := f.posts()
	assert.ErrorIs(t, f.err(b), session.ErrInvalidUsernameOrPassword)
	assert.ErrorIs(t, f.err(a), session.ErrInvalidUsernameOrPassword)
	assert.Equal(t, before+1, f.posts())
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

// lockOut saves the lock-out of another process.
func (f *fleet) lockOut(r *record) {
	f.t.Helper()
	other := &fleet{f.Server, f.t, &record{}}
	f.Inject(sessiontest.Fault{Method: "POST", Status: 401, Body: `{"type":"not-authenticated/locked-out"}`})
	assert.ErrorIs(f.t, other.err(other.source()), session.ErrLockedOut)
	r.set(other.record.get())
}

func TestAResetClearsNoLockOutThatCameAfterIt(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	src := f.hooked(atFirstPost(func() {
		f.record.breakLock()
		f.lockOut(f.record)
	}))
	src.Reset()
	assert.ErrorIs(t, f.err(src), session.ErrLockedOut)
	assert.Equal(t, 2, f.posts(), "that of the other process, and one")
}

func TestAResetClearsASharedLockOutEvenIfASessionIsStored(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, r := &api{lifetime: time.Hour}, &record{}
		src := a.source(t, r.store())
		sessionID(t, src)
		time.Sleep(time.Hour - 50*time.Second)
		a.onLogin = refuse(401, "not-authenticated/locked-out", "Retry-After", "43200")
		sessionID(t, src) // a renewal, which is refused
		require.Equal(t, 2, a.posts())
		a.onLogin = nil // an administrator ends the lock-out
		src.Reset()
		assert.Contains(t, []string{nth(1), nth(3)}, sessionID(t, src), "still good, or renewed")
		time.Sleep(time.Minute)
		assert.Equal(t, nth(3), sessionID(t, src))
	})
}

func TestALockOutHoldsForAllCredentials(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.SetLockOut(1, time.Hour)
	f.err(f.sourceOf(wrong))
	assert.ErrorIs(t, f.err(f.source()), session.ErrLockedOut)
	assert.Equal(t, 2, f.posts())
	for _, params := range []session.CreateParams{alice, {Username: "bob", Password: "b"}} {
		err := f.err(f.sourceOf(params))
		assertErrorIs(t, err, session.ErrLockedOut)
		assertRemembered(t, err)
	}
	assert.Equal(t, 2, f.posts())
}

func TestALockOutEndsByItself(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		retryAfter string
		kept       time.Duration
	}{
		{kept: 15 * time.Minute},
		{retryAfter: "60", kept: time.Minute},
		{retryAfter: "3600", kept: time.Hour},
	} {
		onTheClock(t, func(t *testing.T, store autologin.Store) {
			a := &api{onLogin: refuse(401, "not-authenticated/locked-out", "Retry-After", tc.retryAfter)}
			src := a.source(t, store)
			refused := func() {
				t.Helper()
				for range 10 {
					assert.ErrorIs(t, sessionError(t, src), session.ErrLockedOut)
				}
			}
			refused()
			time.Sleep(tc.kept - 1)
			refused()
			assert.Equal(t, 1, a.posts())
			time.Sleep(time.Nanosecond)
			refused()
			assert.Equal(t, 2, a.posts(), "one login is tried, and refused again")
			time.Sleep(tc.kept)
			a.onLogin = nil
			assert.Equal(t, nth(3), sessionID(t, src))
		})
	}
}

func TestARefusalEnds(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fail roundTripper
		ends time.Duration
	}{
		"a wrong password after an hour":         {fail: wrongPassword, ends: time.Hour},
		"another refusal, whatever the API says": {fail: refuse(401, "not-authenticated/x", "Retry-After", "60"), ends: time.Hour},
		"a lock-out after 15 minutes":            {fail: lockedOut, ends: 15 * time.Minute},
		"a lock-out when the API says":           {fail: refuse(401, "not-authenticated/locked-out", "Retry-After", "3600"), ends: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, r := &api{onLogin: tc.fail}, &record{}
				own, other := a.source(t, r.store()), a.source(t, r.store())
				start := time.Now()
				sessionError(t, own)
				time.Sleep(tc.ends - 6*time.Second)
				assert.ErrorIs(t, sessionError(t, own), session.ErrNotAuthenticated)
				assert.ErrorIs(t, sessionError(t, other), session.ErrNotAuthenticated)
				assert.Equal(t, 1, a.posts())
				a.onLogin = nil
				time.Sleep(time.Until(start.Add(tc.ends)))
				assert.Equal(t, nth(2), sessionID(t, own))
				assert.Equal(t, nth(2), sessionID(t, other))
			})
		})
	}
}

func TestARefusalOfCredentialsEndsAfterAnHour(t *testing.T) {
	t.Parallel()
	onTheClock(t, func(t *testing.T, store autologin.Store) {
		a := &api{onLogin: wrongPassword}
		src := a.source(t, store)
		for n := range 3 {
			for range 12 {
				assert.ErrorIs(t, sessionError(t, src), session.ErrInvalidUsernameOrPassword)
				assert.Equal(t, n+1, a.posts())
				time.Sleep(5 * time.Minute)
			}
		}
	})
}

func TestARefusedCodeHoldsFor30SecondsAndThenForAnHour(t *testing.T) {
	t.Parallel()
	for name, otp := range map[string]session.OTPFunc{"of Params": nil, "of an OTPFunc": answerOTP(otpCanary, nil)} {
		t.Run(name, func(t *testing.T) {
			onTheClock(t, func(t *testing.T, store autologin.Store) {
				asked := 0
				a := &api{}
				a.onLogin = func(r *http.Request) (*http.Response, error) {
					if form(r).OTP == "" {
						return demandsCode(r)
					}
					asked++
					return wrongCode(r)
				}
				src := a.source(t, store, withOTP(otp)...)
				if otp == nil {
					src.Params = func(context.Context) (session.CreateParams, error) {
						return session.CreateParams{Username: "alice", Password: passwordCanary, OTP: otpCanary}, nil
					}
				}
				for n, hold := range []time.Duration{30 * time.Second, time.Hour, time.Hour} {
					assert.ErrorIs(t, sessionError(t, src), session.ErrOneTimePasswordIncorrect)
					time.Sleep(hold - 1)
					err := sessionError(t, src)
					assertErrorIs(t, err, session.ErrOneTimePasswordIncorrect)
					assertRemembered(t, err)
					assert.Equal(t, n+1, asked)
					time.Sleep(time.Nanosecond)
				}
			})
		})
	}
}

func TestARefusalIsLookedUpEveryFiveSeconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, r, asked := &api{onLogin: wrongPassword}, &record{}, 0
		src := a.source(t, r.store())
		src.Params = paramsOf(&asked, alice, nil)
		sessionError(t, src)
		for range 60 {
			time.Sleep(time.Second)
			for range 10 {
				assert.ErrorIs(t, sessionError(t, src), session.ErrInvalidUsernameOrPassword)
			}
		}
		assert.Equal(t, 1+12, asked)
		assert.Equal(t, 1, a.posts())
		a.onLogin = nil
		other := a.source(t, r.store())
		other.Reset()
		assert.Equal(t, nth(2), sessionID(t, other))
		sessionError(t, src)
		time.Sleep(5 * time.Second)
		assert.Equal(t, nth(2), sessionID(t, src))
		assert.Equal(t, 2, a.posts())
	})
}

func TestARefusalEndsWhenParamsReturnsOthers(t *testing.T) {
	t.Parallel()
	onTheClock(t, func(t *testing.T, store autologin.Store) {
		a := &api{}
		a.onLogin = func(r *http.Request) (*http.Response, error) {
			if form(r).Password == otpCanary {
				return wrongPassword(r)
			}
			return nil, nil
		}
		src := a.source(t, store)
		params := wrong
		src.Params = func(context.Context) (session.CreateParams, error) { return params, nil }
		assert.ErrorIs(t, sessionError(t, src), session.ErrInvalidUsernameOrPassword)
		params = alice // the password file is rotated
		time.Sleep(5 * time.Second)
		assert.Equal(t, nth(2), sessionID(t, src))
	})
}

func TestADemandForACodeForbidsNoLoginThatBringsOne(t *testing.T) {
	t.Parallel()
	onTheClock(t, func(t *testing.T, store autologin.Store) {
		a, params := &api{}, alice
		a.onLogin = func(r *http.Request) (*http.Response, error) {
			if form(r).OTP == "" {
				return demandsCode(r)
			}
			return nil, nil
		}
		src := a.source(t, store)
		src.Params = func(context.Context) (session.CreateParams, error) { return params, nil }
		assert.ErrorAs(t, sessionError(t, src), new(*session.TwoFactorError))
		time.Sleep(5 * time.Second)
		assert.ErrorAs(t, sessionError(t, src), new(*session.TwoFactorError))
		assert.Equal(t, 1, a.posts())
		params.OTP = otpCanary
		time.Sleep(5 * time.Second)
		assert.Equal(t, nth(2), sessionID(t, src))
	})
}

func TestARefusalThatIsNotSharedIsKeptUntilThereIsASession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, r := &api{onLogin: demandsCode}, &record{}
		src, other := a.source(t, r.store()), a.source(t, r.store())
		demanded := func(text string) {
			t.Helper()
			assert.ErrorAs(t, sessionError(t, src), new(*session.TwoFactorError), text)
			assert.Equal(t, 1, a.posts())
		}
		for range 50 {
			demanded("")
			time.Sleep(time.Minute)
		}
		r.setFailure(errBroken)
		assert.ErrorIs(t, sessionError(t, src), errBroken)
		r.setFailure(nil)
		time.Sleep(5 * time.Second)
		demanded("a Store that failed does not change that")
		a.onLogin = nil
		assert.Equal(t, nth(2), sessionID(t, other))
		time.Sleep(5 * time.Second)
		assert.Equal(t, nth(2), sessionID(t, src))
		assert.Equal(t, 2, a.posts())
	})
}

func TestARefusalThatCannotBeSavedHoldsForItsSource(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]roundTripper{"a wrong password": wrongPassword, "a lock-out": lockedOut} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, r := &api{onLogin: fail}, &record{failSave: errorFrom(2)}
				src := a.source(t, r.store())
				for range 20 {
					assert.ErrorIs(t, sessionError(t, src), session.ErrNotAuthenticated)
					time.Sleep(10 * time.Second)
				}
				assert.Equal(t, 1, a.posts())
			})
		})
	}
}

func TestAClockThatIsSetBackAfterAResetRepeatsNoRefusedLogin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, r := &api{onLogin: wrongPassword}, &record{}
		src := a.source(t, r.store())
		src.Reset()
		sessionError(t, src)
		r.shiftFailures(t, -time.Minute) // by the clock that was set back
		for range 60 {
			sessionError(t, src)
			time.Sleep(10 * time.Second)
		}
		assert.Equal(t, 1, a.posts())
	})
}

func TestAClockThatIsAheadDoesNotProlongAFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, r := &api{onLogin: refuse(503, "", "Retry-After", "60")}, &record{}
		sessionError(t, a.source(t, r.store()))
		r.shiftFailures(t, 4*time.Minute)
		assert.Equal(t, time.Minute, backoffError(t, sessionError(t, a.source(t, r.store()))).Wait)
		r.shiftFailures(t, 24*time.Hour)
		a.onLogin = nil
		assert.Equal(t, nth(2), sessionID(t, a.source(t, r.store())), "a failure that is dated a day ahead does not count")
	})
}

func TestImplausibleNumbersInARecordAreLimited(t *testing.T) {
	t.Parallel()
	for _, number := range []int64{-1, 0, math.MaxInt64, math.MinInt64} {
		synctest.Test(t, func(t *testing.T) {
			a, r := &api{onLogin: unavailable}, &record{}
			sessionError(t, a.source(t, r.store()))
			r.changeFailures(t, jsonNumber, func(string) string { return fmt.Sprint(":", number) })
			var src *autologin.Source
			for range 3 {
				src = a.source(t, r.store())
				sessionError(t, src)
			}
			assert.LessOrEqual(t, a.posts(), 2, "the failure is known to all")
			assert.LessOrEqual(t, backoffError(t, sessionError(t, src)).Wait, 24*time.Hour)
			a.onLogin = nil
			src.Reset()
			sessionID(t, src)
		})
	}
}

func TestABackOffIsShared(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.Inject(sessiontest.Fault{Method: "POST", Status: 503, Times: -1, Header: http.Header{"Retry-After": {"60"}}})
	f.err(f.source())
	for range 5 {
		wait := backoffError(t, f.err(f.source()))
		assert.Greater(t, wait.Wait, 30*time.Second)
		assert.Equal(t, 503, apiError(t, wait).StatusCode)
	}
	assert.Equal(t, 1, f.posts())
}

func TestAnUnknownOutcomeIsShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, r := &api{onLogin: breakConnection}, &record{}
		sessionError(t, a.source(t, r.store()))
		err := sessionError(t, a.source(t, r.store()))
		assertErrorIs(t, err, session.ErrOutcomeUnknown)
		assert.ErrorContains(t, err, "another process")
		assert.Equal(t, 1, a.posts())
	})
}

func TestAHostWithoutAConnectionDoesNotStopTheOthers(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	offline := f.source(session.WithSite("http://127.0.0.1:1"), session.WithRetries(0), session.WithHTTPClient(&http.Client{Transport: freshTransport(t)}))
	assert.ErrorIs(t, f.err(offline), session.ErrNotSent)
	f.id(f.source())
}

func TestBackOffDoublesFromASecondToAMinute(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]roundTripper{"posted": breakConnection, "not posted": notSent} {
		t.Run(name, func(t *testing.T) {
			onTheClock(t, func(t *testing.T, store autologin.Store) {
				a := &api{onLogin: fail}
				src := a.source(t, store, session.WithRetries(0))
				next := func() time.Duration { // fails once, and waits as long as the error says
					t.Helper()
					assertNoBackoff(t, sessionError(t, src))
					told := backoffError(t, sessionError(t, src))
					time.Sleep(told.Wait)
					return told.Wait
				}
				want := time.Second
				for range 12 {
					wait := next()
					assert.LessOrEqual(t, wait, want)
					assert.GreaterOrEqual(t, wait, want/2)
					want = min(2*want, time.Minute)
				}
				a.onLogin = refuse(503, "", "Retry-After", "3600")
				assert.Equal(t, time.Hour, next())
				a.onLogin = nil
				id := sessionID(t, src)
				src.Invalidate(&session.Session{ID: id})
				a.onLogin = fail
				assert.LessOrEqual(t, next(), time.Second, "a success resets the back-off")
			})
		})
	}
}

func TestASharedBackOffGrowsUntilASuccessOrTenQuietMinutes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, r := &api{onLogin: unavailable}, &record{}
		wait := func() time.Duration {
			t.Helper()
			assertNoBackoff(t, sessionError(t, a.source(t, r.store())))
			return backoffError(t, sessionError(t, a.source(t, r.store()))).Wait
		}
		assertWait := func(most, got time.Duration) {
			t.Helper()
			assert.LessOrEqual(t, got, most)
			assert.GreaterOrEqual(t, got, most/2)
		}
		for n, most := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second} {
			got := wait()
			assertWait(most, got)
			assert.Equal(t, n+1, a.posts())
			time.Sleep(got)
		}
		time.Sleep(9 * time.Minute)
		got := wait()
		assertWait(8*time.Second, got)
		time.Sleep(got + 10*time.Minute)
		got = wait()
		assertWait(time.Second, got)
		time.Sleep(got)
		got = wait()
		assertWait(2*time.Second, got)
		time.Sleep(got)
		a.onLogin = nil
		src := a.source(t, r.store())
		id := sessionID(t, src)
		a.onLogin = unavailable
		assert.NoError(t, src.Revoke(t.Context()))
		assert.Equal(t, []string{id}, a.loggedOut)
		assertWait(time.Second, wait())
	})
}

func TestOtherFailuresBackOff(t *testing.T) {
	t.Parallel()
	onTheClock(t, func(t *testing.T, store autologin.Store) {
		a := &api{movedTo: "other.example"}
		src := a.source(t, store)
		var moved *session.RegionMismatchError
		assert.ErrorAs(t, sessionError(t, src), &moved, "the caller that waited gets the failure itself")
		for range 10 {
			wait := backoffError(t, sessionError(t, src))
			assert.ErrorIs(t, wait, moved)
			assert.LessOrEqual(t, wait.Wait, time.Second)
		}
		assert.Equal(t, 1, a.posts())
		src.Reset()
		a.movedTo = ""
		assert.Equal(t, nth(2), sessionID(t, src))
	})
}

func TestAnOwnFailureThatEndsWhileTheStoreIsReadHidesNoLockOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, r, other := &api{}, &record{}, &record{}
		src := a.source(t, r.store())
		src.Params = func(context.Context) (session.CreateParams, error) { return alice, errBroken }
		wait := time.Duration(0)
		for wait <= 6*time.Second { // until the back-off is longer than the interval of look-ups
			sessionError(t, src)
			time.Sleep(wait)
			var backoff *autologin.BackoffError
			if errors.As(sessionError(t, src), &backoff) {
				wait = backoff.Wait
			}
		}
		src.Params = paramsOf(new(int), alice, nil)
		end := time.Now().Add(wait)
		a.onLogin = lockedOut
		sessionError(t, a.source(t, other.store()))
		r.set(other.get())
		time.Sleep(time.Until(end) - time.Second)
		r.onLoad = func(context.Context) error { time.Sleep(2 * time.Second); return nil } // of 5
		assert.ErrorIs(t, sessionError(t, src), session.ErrLockedOut)
		assert.Equal(t, 1, a.posts(), "that of the other process")
		assert.Contains(t, r.get(), "locked-out")
	})
}
