package main

import (
	"testing"

	"github.com/filescom/session/sessiontest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestUsersAreRead(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]sessiontest.User{
		"a:b":           {Username: "a", Password: "b"},
		"a:b:yubi":      {Username: "a", Password: "b", OTP: "123456", Methods: []string{"yubi"}},
		"a:b:totp:42:1": {Username: "a", Password: "b", OTP: "42:1", Methods: []string{"totp"}},
		`{"username":"a","password":"b:c","totp":"jbsw y3dp","methods":["totp","sms"],"session":{"read_only":true}}`: {
			Username: "a", Password: "b:c", TOTP: "jbsw y3dp", Methods: []string{"totp", "sms"}, Session: map[string]any{"read_only": true}},
	} {
		got, _, err := parseUser(given)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	got, note, err := parseUser("a:b:totp")
	require.NoError(t, err)
	assert.Len(t, got.TOTP, 16)
	assert.Equal(t, "user a, TOTP secret "+got.TOTP, note)
}

func TestUsersThatCannotBeReadAreRefused(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "a", "a:", ":b", "a:b:", "a:b:totp:", "a:b:topt", "{", "{}", `{"username":"a"} {}`,
		`{"username":"a","methods":["sms"]}`, `{"username":"a","otp":"1","methods":["smss"]}`, `{"username":7}`} {
		_, _, err := parseUser(bad)
		assert.Error(t, err, bad)
	}
}

func TestOnlySecretsThatTheCommandChoseArePrinted(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"a:canary":                               "user a",
		"a:canary:sms":                           "user a, second factor sms: 123456",
		"a:canary:sms:canary":                    "user a, second factor sms",
		`{"username":"a","password":"canary"}`:   "user a",
		`{"username":"a","totp":"JBSWY3DPEHPK"}`: "user a",
	} {
		_, note, err := parseUser(given)
		require.NoError(t, err)
		assert.Equal(t, want, note)
	}
}
