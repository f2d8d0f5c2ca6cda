package main

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pquerna/otp/totp"
	"github.com/stretchr/testify/assert"
)

const secret = "JBSWY3DPEHPK3PXP"

func TestNoCodeIsSentTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthenticator(secret)
		codes := make(chan string, 10)
		time.Sleep(7 * time.Second)
		start := time.Now()
		for range 10 {
			go func() {
				code, err := a.code(t.Context(), nil)
				assert.NoError(t, err)
				assert.True(t, totp.Validate(code, secret), "good at the time")
				codes <- code
			}()
		}
		seen := map[string]bool{}
		for range 10 {
			seen[<-codes] = true
		}
		assert.Len(t, seen, 10)
		assert.Equal(t, 9*step-7*time.Second, time.Since(start), "and no longer than needed")
	})
}

func TestTheWaitForACodeEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthenticator(secret)
		_, err := a.code(t.Context(), nil)
		assert.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		for range 2 {
			go a.code(ctx, nil)
		}
		_, err = a.code(ctx, nil)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, time.Second, time.Since(start))
	})
}

func TestABadSecretIsAnError(t *testing.T) {
	_, err := newAuthenticator("not base32!").code(t.Context(), nil)
	assert.ErrorContains(t, err, "not valid")
	assert.NotContains(t, err.Error(), "base32!")
}
