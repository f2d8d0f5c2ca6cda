package autologin_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/filescom/session"
	"github.com/filescom/session/autologin"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestASessionThatEndsWhileItIsRenewedIsNotUsedAgain(t *testing.T) {
	t.Parallel()
	onTheClock(t, func(t *testing.T, store autologin.Store) {
		a := &api{lifetime: time.Hour, slides: true}
		src := a.source(t, store)
		s, err := src.Session(t.Context())
		require.NoError(t, err)
		a.onCheck = func(*http.Request) (*http.Response, error) {
			src.Invalidate(s) // the answer to a request, just before the answer to the check
			return nil, nil
		}
		time.Sleep(time.Hour - 30*time.Second)
		sessionID(t, src) // starts the renewal
		assert.Equal(t, nth(2), sessionID(t, src))
	})
}

func TestADemandIsRememberedAfterALoginWithOtherCredentials(t *testing.T) {
	t.Parallel()
	onTheClock(t, func(t *testing.T, store autologin.Store) {
		a, params := &api{}, wrong
		a.onLogin = func(r *http.Request) (*http.Response, error) {
			if form(r) == wrong {
				return demandsCode(r)
			}
			return nil, nil
		}
		src := a.source(t, store)
		src.Params = func(context.Context) (session.CreateParams, error) { return params, nil }
		sessionError(t, src)
		params = alice
		time.Sleep(5 * time.Second)
		s, err := src.Session(t.Context())
		require.NoError(t, err)
		params = wrong
		time.Sleep(2 * time.Minute)
		src.Invalidate(s)
		assert.ErrorContains(t, sessionError(t, src), "remembered")
		assert.Equal(t, 2, a.posts())
	})
}

func TestASessionThatTheAPIDoesNotKnowAnyMoreIsNotUsedUntilItsEnd(t *testing.T) {
	t.Parallel()
	onTheClock(t, func(t *testing.T, store autologin.Store) {
		a := &api{lifetime: time.Hour}
		src := a.source(t, store)
		a.end(sessionID(t, src))
		a.onLogin = unavailable
		time.Sleep(time.Hour - 30*time.Second)
		sessionID(t, src) // starts the renewal
		sessionError(t, src)
	})
}

func TestASessionWhoseEndHasHardlyMovedIsReplaced(t *testing.T) {
	t.Parallel()
	onTheClock(t, func(t *testing.T, store autologin.Store) {
		a := &api{lifetime: time.Hour}
		src := a.source(t, store)
		sessionID(t, src)
		end := time.Now().Add(time.Hour)
		a.onCheck = func(r *http.Request) (*http.Response, error) {
			return respond(r, 200, fmt.Sprintf(`{"session":{%s}}`, timeoutAt(end.Add(10*time.Second)))), nil
		}
		time.Sleep(time.Hour - 30*time.Second)
		sessionID(t, src) // starts the renewal
		assert.Equal(t, nth(2), sessionID(t, src), "40 seconds are left, and a renewal would be due")
	})
}

func TestAResetForgetsARefusalThatIsDatedAhead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, r := &api{onLogin: wrongPassword}, &record{}
		sessionError(t, a.source(t, r.store()))
		r.shiftFailures(t, 24*time.Hour)
		src := a.source(t, r.store())
		assert.ErrorContains(t, sessionError(t, src), "remembered")
		a.onLogin = nil
		time.Sleep(time.Second)
		src.Reset()
		assert.Equal(t, nth(2), sessionID(t, src))
	})
}

// The fingerprints of a Source stay comparable when the record is made anew.
func TestADemandIsRememberedAfterTheRecordIsRemoved(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, r := &api{}, &record{}
		other, src := a.source(t, r.store()), a.source(t, r.store())
		sessionID(t, other)
		s, err := src.Session(t.Context())
		require.NoError(t, err)
		a.end(nth(1))
		src.Invalidate(s)
		a.onLogin = demandsCode
		assertErrorIs(t, sessionError(t, src), session.ErrNotAuthenticated)
		posts := a.posts()
		require.NoError(t, other.Revoke(t.Context()))
		for range 30 {
			sessionError(t, src)
			time.Sleep(6 * time.Second)
		}
		assert.Equal(t, posts, a.posts(), "another post could send another SMS")
	})
}

func TestARequestThatMeetsTwoEndedSessionsLogsIn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, r := &api{}, &record{}
		call := func(src *autologin.Source) int {
			resp, err := (&autologin.Transport{Source: src, Base: a}).RoundTrip(newRequest(t, "GET", session.DefaultBaseURL, nil))
			require.NoError(t, err)
			return resp.StatusCode
		}
		first, second := a.source(t, r.store()), a.source(t, r.store())
		assert.Equal(t, []int{200, 200}, []int{call(first), call(second)})
		a.end(nth(1))
		assert.Equal(t, 200, call(second), "it logs in")
		a.end(nth(2))
		assert.Equal(t, 200, call(first), "the stored session has ended, too")
		assert.Equal(t, 3, a.posts())
	})
}

func TestAServerThatReturnsAnEndedSessionAgainIsAskedLessAndLess(t *testing.T) {
	t.Parallel()
	onTheClock(t, func(t *testing.T, store autologin.Store) {
		a := &api{onLogin: answer(201, `{"id":"`+idCanary+`"}`)}
		src := a.source(t, store)
		s, err := src.Session(t.Context())
		require.NoError(t, err)
		src.Invalidate(s)
		for range 60 {
			assertHidesSecrets(t, sessionError(t, src))
			time.Sleep(time.Second)
		}
		assert.LessOrEqual(t, a.posts(), 10)
	})
}

func TestASessionWhoseRevokeFailedIsLoggedOutByClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &api{takes: time.Second, onLogout: refuse(403, "not-authorized/busy")}
		src := a.source(t, nil, session.WithRetries(0))
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		got := get(ctx, src)
		time.Sleep(500 * time.Millisecond)
		assertHidesSecrets(t, src.Revoke(t.Context()))
		assertErrorIs(t, <-got, context.DeadlineExceeded)
		a.onLogout = nil
		assert.NoError(t, src.Close(t.Context()))
		assert.Zero(t, a.alive())
	})
}

func TestTheResetsOfEightSourcesLeadToOneLoginWhenever(t *testing.T) {
	t.Parallel()
	for _, takes := range []time.Duration{time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond, time.Second} {
		synctest.Test(t, func(t *testing.T) {
			a, r := &api{onLogin: wrongPassword, takes: takes}, &record{}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			var sources []*autologin.Source
			var wg sync.WaitGroup
			for range 8 {
				src := a.source(t, r.store())
				sources = append(sources, src)
				wg.Go(func() {
					for ctx.Err() == nil {
						src.Session(ctx)
						time.Sleep(10 * time.Millisecond)
					}
				})
			}
			time.Sleep(takes / 2)
			for _, src := range sources {
				src.Reset()
			}
			wg.Wait()
			assert.Equal(t, 2, a.posts(), "one before the Reset, one after it: %v", takes)
		})
	}
}

func TestABodyThatIsReadToItsLengthIsKept(t *testing.T) {
	t.Parallel()
	a := &api{}
	src := a.source(t, nil)
	_, err := src.Session(t.Context())
	require.NoError(t, err)
	a.end(nth(1))
	tr := &autologin.Transport{Source: src, Base: roundTripper(func(r *http.Request) (*http.Response, error) {
		data := make([]byte, r.ContentLength) // not to the end of the file
		_, err := io.ReadFull(r.Body, data)
		require.NoError(t, err)
		r.Body.Close()
		if r.Header.Get(session.AuthHeader) == nth(1) {
			return sessionEnded(r)
		}
		return respond(r, 200, string(data)), nil
	})}
	req := newRequest(t, "POST", session.DefaultBaseURL, io.NopCloser(strings.NewReader("hello")))
	req.ContentLength = 5
	resp, err := tr.RoundTrip(req)
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.Equal(t, "hello", string(body))
}

func TestARecordWithManyRefusalsIsShortened(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, r := &api{onLogin: wrongPassword}, &record{}
		sessionError(t, a.source(t, r.store()))
		one := regexp.MustCompile(`\{"kind":"refused"[^}]*\}`).FindString(r.get())
		require.NotEmpty(t, one)
		r.set(strings.Replace(r.get(), one, strings.Repeat(one+",", 10_000)+one, 1))
		src := autologin.New(a.client(t), session.CreateParams{Username: "alice", Password: otpCanary})
		src.Store = r.store()
		sessionError(t, src)
		assert.Less(t, len(r.get()), 2500)
	})
}

func TestTheAPIIsAskedAboutASessionWhoseRecordIsGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, r := &api{lifetime: time.Hour, slides: true}, &record{}
		src := a.source(t, r.store())
		sessionID(t, src)
		r.set("")
		time.Sleep(time.Hour - 30*time.Second)
		sessionID(t, src) // starts the renewal
		assert.Equal(t, nth(1), sessionID(t, src))
		assert.Contains(t, r.get(), nth(1), "it is saved again")
	})
}

func TestParamsMayAskAnotherHostThroughItsOwnTransport(t *testing.T) {
	t.Parallel()
	a := &api{}
	src := a.source(t, nil)
	tr := &autologin.Transport{Source: src, Base: answer(200, "")}
	src.Params = func(ctx context.Context) (session.CreateParams, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://vault.example", nil)
		require.NoError(t, err)
		resp, err := tr.RoundTrip(req)
		require.NoError(t, err)
		assert.Equal(t, 200, resp.StatusCode)
		own, err := http.NewRequestWithContext(ctx, http.MethodGet, session.DefaultBaseURL, nil)
		require.NoError(t, err)
		_, err = tr.RoundTrip(own)
		assert.ErrorIs(t, err, session.ErrInvalidParams, "its own site would wait for itself")
		return alice, nil
	}
	_, err := src.Session(t.Context())
	assert.NoError(t, err)
}

func TestAPartialSessionThatIsRefusedForbidsNoOtherOne(t *testing.T) {
	t.Parallel()
	onTheClock(t, func(t *testing.T, store autologin.Store) {
		params := session.CreateParams{Username: "alice", OTP: "cccccc", PartialSessionID: partialCanary}
		a := &api{onLogin: wrongPassword}
		src := a.source(t, store)
		src.Params = func(context.Context) (session.CreateParams, error) { return params, nil }
		sessionError(t, src)
		time.Sleep(5 * time.Second)
		assert.ErrorContains(t, sessionError(t, src), "remembered")
		assert.Equal(t, 1, a.posts())
		a.onLogin, params.PartialSessionID = nil, otpCanary
		time.Sleep(5 * time.Second)
		assert.Equal(t, nth(2), sessionID(t, src))
	})
}

// A request made by http.NewRequest has the ContentLength 0 if its length is unknown.
func TestAPartOfABodyIsNotRepeated(t *testing.T) {
	t.Parallel()
	a := &api{}
	src := a.source(t, nil)
	_, err := src.Session(t.Context())
	require.NoError(t, err)
	a.end(nth(1))
	pr, pw := io.Pipe()
	go func() {
		pw.Write(nil) // as the flush of an empty buffer does
		io.WriteString(pw, "first half, ")
		io.WriteString(pw, "second half")
		pw.Close()
	}()
	tr := &autologin.Transport{Source: src, Base: roundTripper(func(r *http.Request) (*http.Response, error) {
		require.Equal(t, nth(1), r.Header.Get(session.AuthHeader), "nothing is sent again")
		for n := 0; n < len("first half, "); {
			read, err := r.Body.Read(make([]byte, 512))
			require.NoError(t, err)
			n += read
		}
		r.Body.Close() // as net/http does after an early answer
		return sessionEnded(r)
	})}
	resp, err := tr.RoundTrip(newRequest(t, "POST", session.DefaultBaseURL, pr))
	require.NoError(t, err)
	assert.Equal(t, 401, resp.StatusCode)
}

func TestAFailureHoldsHoweverLongItsLoginTook(t *testing.T) {
	t.Parallel()
	for _, took := range []time.Duration{time.Hour, 25 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			a := &api{onLogin: func(r *http.Request) (*http.Response, error) {
				if form(r).OTP == "" {
					return demandsCode(r)
				}
				return lockedOut(r)
			}}
			src := a.source(t, nil, session.WithOTP(func(context.Context, *session.TwoFactorError) (string, error) {
				time.Sleep(took)
				return "123456", nil
			}))
			_, err := src.Session(t.Context())
			assertErrorIs(t, err, session.ErrLockedOut)
			posts := a.posts()
			time.Sleep(10 * time.Second)
			_, err = src.Session(t.Context())
			assertErrorIs(t, err, session.ErrLockedOut)
			assert.Equal(t, posts, a.posts(), took)
		})
	}
}

func TestASessionThatHasEndedIsNotLoggedOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &api{lifetime: time.Hour, slides: true}
		src := a.source(t, nil)
		s, err := src.Session(t.Context())
		require.NoError(t, err)
		a.onCheck = func(*http.Request) (*http.Response, error) {
			src.Invalidate(s)
			return nil, nil
		}
		time.Sleep(time.Hour - 30*time.Second)
		sessionID(t, src) // starts the renewal
		a.end(nth(1))
		assert.Equal(t, nth(2), sessionID(t, src))
		require.NoError(t, src.Close(t.Context()))
		assert.Equal(t, []string{nth(2)}, a.loggedOut)
	})
}

func TestARevokeThatFailsTriesEachSessionOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		a := &api{takes: time.Second, onLogout: func(r *http.Request) (*http.Response, error) {
			tries++
			return refuse(403, "not-authorized/busy")(r)
		}}
		src := a.source(t, nil, session.WithRetries(0))
		got := get(t.Context(), src)
		time.Sleep(500 * time.Millisecond)
		assertHidesSecrets(t, src.Revoke(t.Context()))
		assert.Equal(t, 1, tries)
		assert.NoError(t, <-got)
	})
}

// A Source that has only adopted a session makes the next record with the same salt.
func TestADemandIsRememberedAfterAnotherSourceMadeTheRecordAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, r := &api{}, &record{}
		sessionID(t, a.source(t, r.store()))
		other, src := a.source(t, r.store()), a.source(t, r.store())
		sessionID(t, other)
		end := func() {
			s, err := src.Session(t.Context())
			require.NoError(t, err)
			a.end(s.ID)
			src.Invalidate(s)
			a.onLogin = demandsCode
			assertErrorIs(t, sessionError(t, src), session.ErrNotAuthenticated)
		}
		end()
		require.NoError(t, other.Revoke(t.Context()))
		a.onLogin = nil
		sessionID(t, other)
		time.Sleep(6 * time.Second)
		posts := a.posts()
		end()
		for range 10 {
			sessionError(t, src)
			time.Sleep(6 * time.Second)
		}
		assert.Equal(t, posts, a.posts(), "the demand holds for an hour")
	})
}
