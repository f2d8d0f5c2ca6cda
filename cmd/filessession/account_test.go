package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheLastLoginThatFitsIsUsed(t *testing.T) {
	t.Parallel()
	const one, other = "https://one.files.com", "https://files.example.com"
	var s state
	for _, a := range []account{{Origin: one, User: "bob"}, {Origin: one, User: "alice"}, {Origin: other, User: "alice"}, {Origin: one, User: "bob"}} {
		s.add(a)
	}
	require.Len(t, s.Accounts, 3)
	for _, tc := range []struct {
		given selection
		want  string
	}{
		{selection{}, "bob at " + one},
		{selection{user: "alice"}, "alice at " + other},
		{selection{site: "ONE"}, "bob at " + one},
		{selection{site: "one", user: "alice"}, "alice at " + one},
		{selection{url: "https://Files.Example.com/"}, "alice at " + other},
	} {
		got, err := tc.given.find(s.Accounts)
		require.NoError(t, err)
		assert.Equal(t, tc.want, got.String())
	}
	_, err := (&selection{site: "two"}).find(s.Accounts)
	var missing notLoggedInError
	assert.ErrorAs(t, err, &missing)
}

func TestTheCommandToLogInAgainNamesTheSite(t *testing.T) {
	t.Parallel()
	for origin, want := range map[string]string{
		"https://mysite.files.com":  "filessession login --site mysite --user alice",
		"https://files.example.com": "filessession login --url https://files.example.com --user alice",
		"https://a.b.files.com":     "filessession login --url https://a.b.files.com --user alice",
		"http://127.0.0.1:4041":     "filessession login --url http://127.0.0.1:4041 --user alice",
	} {
		assert.Equal(t, want, account{Origin: origin, User: "alice"}.loginCommand())
	}
}

func TestASiteOfFilesComHasSessionsOfEveryHostOfFilesCom(t *testing.T) {
	t.Parallel()
	const origin = "https://mysite.files.com"
	for other, want := range map[string]bool{
		origin:                             true,
		"https://MySite.files.com:443/":    true,
		"https://app-eu.files.com":         true,
		"https://files.com":                true,
		"http://mysite.files.com":          false,
		"https://mysite.files.com:8443":    false,
		"https://files.com.example.com":    false,
		"https://notfiles.com":             false,
		"https://mysite.files.com@evil.eu": false,
		"":                                 false,
	} {
		assert.Equal(t, want, sameSite(origin, other), other)
	}
	assert.True(t, sameSite("https://files.example.com", "https://files.example.com:443"))
	assert.False(t, sameSite("https://files.example.com", "https://app.files.com"))
	assert.False(t, sameSite("http://127.0.0.1:4041", "http://127.0.0.1:4042"))
}

func TestAListOfAccountsThatCannotBeReadIsAnError(t *testing.T) {
	t.Parallel()
	for data, says := range map[string]string{
		"[":                       "holds no list of accounts; remove it",
		`{"v":2}`:                 "was written by a newer filessession",
		`{"accounts": 7}`:         "holds no list of accounts; remove it",
		`{"v":1,"accounts":[{}]}`: "has an account without a user, a site or a known store; remove the file",
		`{"v":1,"accounts":[{"origin":"https://a.files.com","user":"alice","store":"vault"}]}`:  "has an account without",
		`{"v":1,"accounts":[{"origin":"https://a.files.com/b","user":"alice","store":"file"}]}`: "has an account without",
	} {
		_, err := parseState([]byte(data), "accounts.json")
		assert.ErrorContains(t, err, says)
	}
}
