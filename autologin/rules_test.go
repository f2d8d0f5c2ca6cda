package autologin_test

import (
	"context"
	"fmt"
	"net/http"
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
