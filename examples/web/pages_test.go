package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/filescom/session/sessiontest"
	"github.com/stretchr/testify/require"
)

// visited is a page as a browser showed it.
type visited struct {
	name        string
	language    string
	widths      []int // of the contents and of the window, at 320 pixels
	nodes       []map[string]string
	errors      []string          // of the console
	backgrounds map[string]string // by color scheme
}

// pages are the pages that visitPages has visited.
var pages []visited

// visitPages visits every page of the site, in each of its states, and takes the
// screenshots. It does so once for all tests.
func visitPages(t *testing.T) []visited {
	t.Helper()
	if pages != nil {
		return pages
	}
	carol := testUserWithCode("carol")
	carol.Methods = []string{"totp", "sms", "yubi"}
	long := testUser(strings.Repeat("long-name-", 12) + "@example.com")
	w, b := startWorld(t, carol, long), newBrowser(t)
	require.NoError(t, os.RemoveAll("screenshots"))
	require.NoError(t, os.Mkdir("screenshots", 0o755))
	var all []visited
	visit := func(name string) { all = append(all, b.look(name)) }
	b.open(w.url, "Sign in")
	visit("sign-in")
	b.press("Sign in", "Error: Sign in")
	visit("sign-in-empty")
	b.signIn("alice", "guess", "Error: Sign in")
	visit("sign-in-wrong")
	b.signIn("bob", "secret", "Enter your code")
	visit("code")
	b.fill("code", "000000")
	b.press("Continue", "Error: Enter your code")
	visit("code-wrong")
	w.expireChallenges()
	b.press("Continue", "This sign-in has expired")
	visit("expired")
	b.press("Sign in again", "Sign in")
	b.signIn("carol", "secret", "Enter your code")
	visit("code-by-key")
	b.open(w.url+"/sign-in", "Sign in")
	b.signIn(long.Username, "secret", "Your files")
	visit("files-long-name")
	b.press("Sign out", "You are signed out")
	visit("signed-out")
	b.press("Sign in again", "Sign in")
	b.signIn("alice", "secret", "Your files")
	visit("files")
	visitFailures(w, b, visit)
	pages = all
	return pages
}

// visitFailures visits the pages of failures, as alice who is signed in.
func visitFailures(w *world, b *browser, visit func(name string)) {
	b.t.Helper()
	b.open(otherSite(b.t, w.url), "Another site")
	b.press("Sign out", "This request came from another site")
	visit("other-site")
	w.fake.ExpireUser("alice")
	b.open(w.url+"/files", "Your session has ended")
	visit("session-ended")
	b.open(w.url+"/nowhere", "There is no such page")
	visit("not-found")
	b.open(w.url, "Sign in")
	w.fake.Inject(sessiontest.Fault{Status: 502, Body: sessiontest.EdgeHTML})
	b.signIn("alice", "secret", "Files.com did not answer")
	visit("no-answer")
	w.fake.SetRateLimit(1, 30*time.Second)
	b.open(w.url, "Sign in")
	b.signIn("alice", "guess", "Error: Sign in")
	b.signIn("alice", "secret", "Too many requests")
	visit("rate-limit")
	w.fake.SetRateLimit(0, 0)
	w.fake.SetLockOut(1, time.Hour)
	b.open(w.url, "Sign in")
	b.signIn("alice", "guess", "Error: Sign in")
	b.signIn("alice", "secret", "Your account is locked")
	visit("locked-out")
}

// look looks at the page that the browser shows.
func (b *browser) look(name string) visited {
	b.t.Helper()
	p := visited{name: name, nodes: b.accessible(), backgrounds: map[string]string{}}
	p.language = b.evaluate(`document.documentElement.lang`)
	for _, scheme := range []string{"light", "dark"} {
		feature := emulation.MediaFeature{Name: "prefers-color-scheme", Value: scheme}
		b.do(emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{&feature}))
		p.backgrounds[scheme] = b.evaluate(`getComputedStyle(document.body).backgroundColor`)
		for _, width := range []int64{1280, 320} {
			b.size(width)
			var picture []byte
			b.do(chromedp.FullScreenshot(&picture, 100))
			file := fmt.Sprintf("screenshots/%s-%s-%d.png", name, scheme, width)
			require.NoError(b.t, os.WriteFile(file, picture, 0o644))
		}
	}
	b.do(chromedp.Evaluate(`[document.documentElement.scrollWidth, innerWidth]`, &p.widths))
	p.errors = b.consoleErrors()
	return p
}
