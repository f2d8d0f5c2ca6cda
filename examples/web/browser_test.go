package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/filescom/session/sessiontest"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAUserSignsInAndOutInABrowser(t *testing.T) {
	w, b := startWorld(t), newBrowser(t)
	b.open(w.url, "Sign in")
	b.signIn("alice", "secret", "Your files")
	assert.Contains(t, b.text(), "Files of alice")
	assert.Contains(t, b.text(), "Annual report 2025.pdf")
	b.press("Sign out", "You are signed out")
	assert.Zero(t, w.fake.Counts().Live)
	b.open(w.url+"/files", "Sign in")
}

func TestAUserWithASecondFactorSignsInInABrowser(t *testing.T) {
	w, b := startWorld(t), newBrowser(t)
	b.open(w.url, "Sign in")
	b.signIn("bob", "secret", "Enter your code")
	assert.Contains(t, b.text(), "authenticator app")
	b.fill("code", "123 456")
	b.press("Continue", "Your files")
	assert.Contains(t, b.text(), "Files of bob")
}

func TestAfterAWrongPasswordThePageLeadsToTheField(t *testing.T) {
	w, b := startWorld(t), newBrowser(t)
	b.open(w.url, "Sign in")
	b.signIn("alice", "guess", "Error: Sign in")
	field := b.waitForFocus("Password")
	assert.Equal(t, "true", field["invalid"])
	assert.Equal(t, "Error: The user name or the password is wrong. Enter both again.", field["description"])
	b.do(chromedp.Focus("#username", chromedp.ByID), chromedp.Click(".summary a", chromedp.ByQuery))
	assert.Equal(t, "password", b.focused())
	b.fill("password", "secret")
	b.press("Sign in", "Your files")
}

func TestAfterAWrongCodeTheRightOneSignsInInABrowser(t *testing.T) {
	w, b := startWorld(t), newBrowser(t)
	b.open(w.url, "Sign in")
	b.signIn("bob", "secret", "Enter your code")
	b.fill("code", "000000")
	b.press("Continue", "Error: Enter your code")
	assert.Contains(t, b.text(), "The code is wrong or too old. Enter a new one.")
	b.fill("code", "123456")
	b.press("Continue", "Your files")
}

func TestAnExpiredChallengeSaysToSignInAgainInABrowser(t *testing.T) {
	w, b := startWorld(t), newBrowser(t)
	b.open(w.url, "Sign in")
	b.signIn("bob", "secret", "Enter your code")
	w.expireChallenges()
	b.fill("code", "123456")
	b.press("Continue", "This sign-in has expired")
	b.press("Sign in again", "Sign in")
}

func TestTheBackButtonAfterSignOutShowsNothing(t *testing.T) {
	w, b := startWorld(t), newBrowser(t)
	b.open(w.url, "Sign in")
	b.signIn("bob", "secret", "Enter your code")
	b.fill("code", "123456")
	b.press("Continue", "Your files")
	b.press("Sign out", "You are signed out")
	for _, title := range []string{"Sign in", "This sign-in has expired"} {
		b.do(chromedp.Evaluate(`void setTimeout(() => history.back())`, nil)) // as the button does
		b.wait(title)
		assert.NotContains(t, b.text(), "Files of")
		assert.NotContains(t, b.html(), "Files of")
	}
}

func TestTheBackButtonAfterTheEndOfASessionShowsNothing(t *testing.T) {
	w, b := startWorld(t), newBrowser(t)
	b.open(w.url, "Sign in")
	b.signIn("alice", "secret", "Your files")
	b.open(w.url+"/nowhere", "There is no such page")
	w.fake.ExpireUser("alice")
	b.open(w.url+"/files", "Your session has ended")
	b.do(chromedp.Evaluate(`void setTimeout(() => history.go(-2))`, nil))
	b.wait("Sign in")
	assert.NotContains(t, b.html(), "Files of")
}

func TestTwoUsersInTwoBrowsersNeverMix(t *testing.T) {
	w := startWorld(t)
	alice, bob := startBrowser(t), startBrowser(t)
	alice.open(w.url, "Sign in")
	bob.open(w.url, "Sign in")
	bob.signIn("bob", "secret", "Enter your code")
	alice.signIn("alice", "secret", "Your files")
	bob.fill("code", "123456")
	bob.press("Continue", "Your files")
	for range 5 {
		alice.open(w.url, "Your files")
		bob.open(w.url, "Your files")
		assert.Contains(t, alice.text(), "Files of alice")
		assert.NotContains(t, alice.html(), "bob")
		assert.Contains(t, bob.text(), "Files of bob")
		assert.NotContains(t, bob.html(), "alice")
	}
	alice.press("Sign out", "You are signed out")
	bob.open(w.url, "Your files")
}

func TestASessionThatTheServerEndedSaysToSignInAgainInABrowser(t *testing.T) {
	w, b := startWorld(t), newBrowser(t)
	b.open(w.url, "Sign in")
	b.signIn("alice", "secret", "Your files")
	w.fake.ExpireUser("alice")
	b.open(w.url+"/files", "Your session has ended")
	b.press("Sign in again", "Sign in")
	b.signIn("alice", "secret", "Your files")
}

func TestAFormOnAnotherSiteIsRefusedInABrowser(t *testing.T) {
	w, b := startWorld(t), newBrowser(t)
	other := otherSite(t, w.url)
	b.open(w.url, "Sign in")
	b.signIn("alice", "secret", "Your files")
	for _, button := range []string{"Sign out", "Sign in"} {
		b.open(other, "Another site")
		b.press(button, "This request came from another site")
		b.open(w.url, "Your files")
		assert.Contains(t, b.text(), "Files of alice")
	}
}

// otherSite starts a site with forms that post to ours. Its host is localhost and
// ours is 127.0.0.1, so a browser treats them as two sites.
func otherSite(t *testing.T, ours string) string {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprintf(w, `<title>Another site – Example Files</title><link rel="icon" href="data:,">
			<form method="post" action="%[1]s/sign-out"><button>Sign out</button></form>
			<form method="post" action="%[1]s/sign-in"><input name="username" value="bob"><input name="password" value="secret"><button>Sign in</button></form>`, ours)
	}))
	t.Cleanup(srv.Close)
	return strings.Replace(srv.URL, "127.0.0.1", "localhost", 1)
}

func TestTheSiteWorksWithTheKeyboardAlone(t *testing.T) {
	w, b := startWorld(t), newBrowser(t)
	b.open(w.url, "Sign in")
	b.waitForFocus("User name")
	b.keys("bob" + kb.Tab)
	b.requireFocusRing()
	b.keys("guess" + kb.Enter)
	b.wait("Error: Sign in")
	b.waitForFocus("Password")
	b.keys("secret" + kb.Enter)
	b.wait("Enter your code")
	b.waitForFocus("Code")
	b.keys("123456" + kb.Tab)
	b.requireFocusRing()
	b.keys(kb.Enter)
	b.wait("Your files")
	b.keys(kb.Tab)
	assert.Equal(t, "Skip to your files", b.focusedText())
	b.requireFocusRing()
	b.keys(kb.Tab + kb.Tab)
	assert.Equal(t, "Sign out", b.focusedText())
	b.requireFocusRing()
	b.keys(" ")
	b.wait("You are signed out")
	b.keys(kb.Tab + kb.Tab)
	assert.Equal(t, "Sign in again", b.focusedText())
	b.keys(kb.Enter)
	b.wait("Sign in")
}

func TestTheSiteWorksWithoutJavaScript(t *testing.T) {
	w, b := startWorld(t), newBrowser(t)
	b.do(emulation.SetScriptExecutionDisabled(true))
	probe := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, `<title>off – Example Files</title><link rel="icon" href="data:,"><script>document.title = "on"</script>`)
	}))
	defer probe.Close()
	b.open(probe.URL, "off")
	b.open(w.url, "Sign in")
	b.waitForFocus("User name")
	b.keys("bob" + kb.Tab + "secret" + kb.Enter)
	b.wait("Enter your code")
	b.waitForFocus("Code")
	b.keys("123456" + kb.Enter)
	b.wait("Your files")
	b.keys(kb.Tab + kb.Tab + kb.Tab + kb.Enter)
	b.wait("You are signed out")
}

func TestNoPageScrollsSidewaysAt320Pixels(t *testing.T) {
	for _, p := range visitPages(t) {
		assert.Equal(t, []int{320, 320}, p.widths, p.name)
	}
}

func TestEveryFieldHasANameInTheAccessibilityTree(t *testing.T) {
	fields := 0
	for _, p := range visitPages(t) {
		headings := 0
		for _, n := range p.nodes {
			switch n["role"] {
			case "textbox":
				fields++
				assert.NotEmpty(t, n["name"], p.name)
			case "button", "link", "image":
				assert.NotEmpty(t, n["name"], p.name)
			case "heading":
				if n["level"] == "1" {
					headings++
				}
			}
		}
		assert.Equal(t, 1, headings, "headings of level 1 of %s", p.name)
		assert.Equal(t, "en", p.language, p.name)
	}
	assert.GreaterOrEqual(t, fields, 9)
}

func TestNoPageLogsAConsoleError(t *testing.T) {
	for _, p := range visitPages(t) {
		assert.Empty(t, p.errors, p.name)
	}
	w, b := startWorld(t), newBrowser(t)
	b.open(w.url, "Sign in")
	b.do(chromedp.Evaluate(`console.error("one"), void document.body.setAttribute("style", "color: red")`, nil))
	require.Eventually(t, func() bool { return len(b.consoleErrors()) == 2 }, patience, 10*time.Millisecond, "the test notices errors")
	b.forgetErrors()
}

// The screenshots are for a person to look at.
func TestEveryPageIsDrawnInLightAndDark(t *testing.T) {
	for _, p := range visitPages(t) {
		assert.NotEqual(t, p.backgrounds["light"], p.backgrounds["dark"], p.name)
	}
	joinPictures(t, "screenshots/readme.png", "sign-in-light-320", "code-dark-320", "files-light-320")
}

// joinPictures writes the tops of some screenshots side by side, for the README. The
// picture has only the 256 most frequent colors, so that it is small.
func joinPictures(t *testing.T, file string, names ...string) {
	const width, height, gap = 320, 560, 16
	joined := image.NewNRGBA(image.Rect(0, 0, len(names)*(width+gap)-gap, height))
	for i, name := range names {
		f, err := os.Open("screenshots/" + name + ".png")
		require.NoError(t, err)
		defer f.Close()
		picture, err := png.Decode(f)
		require.NoError(t, err)
		x := i * (width + gap)
		draw.Draw(joined, image.Rect(x, 0, x+width, height), picture, picture.Bounds().Min, draw.Src)
	}
	count := map[color.Color]int{}
	for y := range height {
		for x := range joined.Bounds().Dx() {
			count[joined.At(x, y)]++
		}
	}
	colors := slices.SortedFunc(maps.Keys(count), func(a, b color.Color) int { return count[b] - count[a] })
	small := image.NewPaletted(joined.Bounds(), colors[:min(256, len(colors))])
	draw.Draw(small, small.Bounds(), joined, image.Point{}, draw.Src)
	f, err := os.Create(file)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(f, small))
}

func TestOverHTTPSTheCookieHasTheHostPrefix(t *testing.T) {
	cert, key := writeCertificate(t)
	fake := sessiontest.NewServer(testUserWithCode("bob"))
	defer fake.Close()
	fake.Handler = listUser
	address, _, _ := startCommand(t, "-url", fake.URL, "-cert", cert, "-key", key)
	require.Contains(t, address, "https://")
	b := startBrowser(t, chromedp.IgnoreCertErrors)
	b.open(address, "Sign in")
	b.signIn("bob", "secret", "Enter your code")
	asked := b.cookie()
	b.fill("code", "123456")
	b.press("Continue", "Your files")
	c := b.cookie()
	assert.Equal(t, "__Host-session", c.Name)
	assert.True(t, c.Secure && c.HTTPOnly && c.Session)
	assert.Equal(t, network.CookieSameSiteLax, c.SameSite)
	assert.Equal(t, "/", c.Path)
	assert.NotEqual(t, asked.Value, c.Value)
	b.press("Sign out", "You are signed out")
	assert.Nil(t, b.cookie())
}

func TestOverHTTPOnLoopbackTheBrowserTakesTheCookie(t *testing.T) {
	w, b := startWorld(t), newBrowser(t)
	b.open(w.url, "Sign in")
	b.signIn("alice", "secret", "Your files")
	c := b.cookie()
	assert.Equal(t, "session", c.Name)
	assert.True(t, c.HTTPOnly && c.Session && !c.Secure)
	assert.Equal(t, network.CookieSameSiteLax, c.SameSite)
}

// writeCertificate writes a certificate of 127.0.0.1 that nobody trusts.
func writeCertificate(t *testing.T) (cert, key string) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	require.NoError(t, err)
	privateDER, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(t.TempDir(), name)
		require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
		return path
	}
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", privateDER)
}

// waitForFocus waits until the field of a name has the focus. A browser puts it
// there a moment after the page is loaded.
func (b *browser) waitForFocus(name string) (field map[string]string) {
	b.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		for _, n := range b.accessible() {
			if n["role"] == "textbox" && n["name"] == name && n["focused"] == "true" {
				return n
			}
		}
	}
	require.Fail(b.t, "no focus", name)
	return nil
}

// accessible returns the nodes of the accessibility tree that are not ignored: their
// role, name, description and properties. It decodes the answer itself, since
// package accessibility refuses values that it does not know yet.
func (b *browser) accessible() []map[string]string {
	b.t.Helper()
	type value struct{ Value any }
	var tree struct {
		Nodes []struct {
			Ignored                 bool
			Role, Name, Description value
			Properties              []struct {
				Name  string
				Value value
			}
		}
	}
	var raw jsontext.Value
	b.do(chromedp.ActionFunc(func(ctx context.Context) error {
		return cdp.Execute(ctx, accessibility.CommandGetFullAXTree, nil, &raw)
	}))
	require.NoError(b.t, json.Unmarshal(raw, &tree))
	var nodes []map[string]string
	for _, n := range tree.Nodes {
		if n.Ignored {
			continue
		}
		node := map[string]string{
			"role":        fmt.Sprint(n.Role.Value),
			"name":        fmt.Sprint(n.Name.Value),
			"description": fmt.Sprint(n.Description.Value),
		}
		for _, p := range n.Properties {
			node[p.Name] = fmt.Sprint(p.Value.Value)
		}
		nodes = append(nodes, node)
	}
	return nodes
}
