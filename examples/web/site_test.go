package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/filescom/session"
	"github.com/filescom/session/sessiontest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAUserSignsInAndOut(t *testing.T) {
	w := startWorld(t)
	v := newVisitor(t, w.url)
	requireRedirect(t, v.get("/"), "/sign-in")
	assertPage(t, v.get("/sign-in"), 200, "Sign in")
	assert.Empty(t, v.cookie(), "a visitor has no cookie")
	requireRedirect(t, v.signIn("alice", "secret"), "/files")
	requireRedirect(t, v.get("/"), "/files")
	requireRedirect(t, v.get("/sign-in"), "/files")
	a := v.get("/files")
	assertPage(t, a, 200, "Your files")
	assert.Contains(t, a.body, "Files of alice")
	assert.Contains(t, a.body, "2.5 MB, changed")
	requireRedirect(t, v.signOut(), "/signed-out")
	assert.Empty(t, v.cookie())
	assertPage(t, v.get("/signed-out"), 200, "You are signed out")
	requireRedirect(t, v.get("/files"), "/sign-in")
	assert.Zero(t, w.fake.Counts().Live)
	requireRedirect(t, v.signOut(), "/signed-out")
}

func TestACodeWithASpaceSignsIn(t *testing.T) {
	w := startWorld(t)
	v := newVisitor(t, w.url)
	requireRedirect(t, v.signIn(" bob ", "secret"), "/code")
	a := v.get("/code")
	assertPage(t, a, 200, "Enter your code")
	assert.Contains(t, a.body, "authenticator app")
	assert.Contains(t, a.body, `inputmode="numeric" autocomplete="one-time-code"`)
	requireRedirect(t, v.get("/files"), "/sign-in")
	requireRedirect(t, v.sendCode(" 123 456 "), "/files")
	assert.Contains(t, v.get("/files").body, "Files of bob")
}

func TestTheAnswerOfAKeySignsIn(t *testing.T) {
	const keyAnswer = "cccccckdvvulgjvtkjdhtlrbjjctggdihuevikehtlil"
	carol := testUser("carol")
	carol.OTP, carol.Methods = keyAnswer, []string{"yubi"}
	w := startWorld(t, carol)
	v := newVisitor(t, w.url)
	requireRedirect(t, v.signIn("carol", "secret"), "/code")
	assert.Contains(t, v.get("/code").body, "YubiKey")
	requireRedirect(t, v.sendCode("cccccc"), "/code")
	requireRedirect(t, v.sendCode(keyAnswer), "/files")
}

func TestEveryMethodIsNamed(t *testing.T) {
	dora := testUserWithCode("dora")
	dora.Methods = []string{"sms", "webauthn", "carrier-pigeon"}
	w := startWorld(t, dora)
	v := newVisitor(t, w.url)
	v.signIn("dora", "secret")
	body := v.get("/code").body
	assert.Contains(t, body, "text message")
	assert.Contains(t, body, "security key")
	assert.Contains(t, body, "carrier-pigeon")
}

func TestASignInDuringTheLifeOfATextMessageAsksForItsCode(t *testing.T) {
	erin := testUserWithCode("erin")
	erin.Methods = []string{"sms"}
	w := startWorld(t, erin)
	first, second := newVisitor(t, w.url), newVisitor(t, w.url)
	requireRedirect(t, first.signIn("erin", "secret"), "/code")
	requireRedirect(t, second.signIn("erin", "secret"), "/code")
	assert.Contains(t, second.get("/code").body, "text message")
	requireRedirect(t, second.sendCode("123456"), "/files")
	assert.Equal(t, 1, w.fake.Counts().SMS)
}

func TestAnEmptyFieldIsNamedAndNothingIsSent(t *testing.T) {
	w := startWorld(t)
	v := newVisitor(t, w.url)
	a := v.signIn("", "")
	assertPage(t, a, 422, "Error: Sign in")
	assert.Contains(t, a.body, `<a href="#username">Enter your user name.</a>`)
	assert.Contains(t, a.body, `<a href="#password">Enter your password.</a>`)
	assert.Contains(t, v.signIn("alice", "").body, `value="alice"`)
	assert.Empty(t, w.fake.Requests())

	requireRedirect(t, v.signIn("bob", "secret"), "/code")
	requireRedirect(t, v.sendCode("  "), "/code")
	assertPage(t, v.get("/code"), 200, "Error: Enter your code")
	assert.Len(t, w.fake.Requests(), 1)
	requireRedirect(t, v.sendCode("123456"), "/files")
}

func TestAWrongPasswordIsNotRepeatedOnThePage(t *testing.T) {
	w := startWorld(t)
	a := newVisitor(t, w.url).signIn("alice", "wrong-guess")
	assertPage(t, a, 422, "Error: Sign in")
	assert.Contains(t, a.body, "The user name or the password is wrong")
	assert.Contains(t, a.body, `value="alice"`)
	assert.NotContains(t, a.body, "wrong-guess")
	assert.Equal(t, a.body, newVisitor(t, w.url).signIn("alice", "other-guess").body)
	assert.Equal(t, a.body, strings.ReplaceAll(newVisitor(t, w.url).signIn("nobody", "secret").body, "nobody", "alice"),
		"it does not tell which users exist")
}

func TestAWrongCodeCanBeFollowedByTheRightOne(t *testing.T) {
	w := startWorld(t)
	v := newVisitor(t, w.url)
	requireRedirect(t, v.signIn("bob", "secret"), "/code")
	requireRedirect(t, v.sendCode("000000"), "/code")
	a := v.get("/code")
	assertPage(t, a, 200, "Error: Enter your code")
	assert.Contains(t, a.body, "The code is wrong or too old")
	requireRedirect(t, v.sendCode("123456"), "/files")
	assert.Equal(t, 1, w.fake.Counts().Live)
}

func TestAChallengeEndsAfterItsTime(t *testing.T) {
	w := startWorld(t)
	w.site.challengeLife = 100 * time.Millisecond
	v := newVisitor(t, w.url)
	requireRedirect(t, v.signIn("bob", "secret"), "/code")
	time.Sleep(60 * time.Millisecond)
	v.sendCode("000000") // does not prolong the challenge
	time.Sleep(60 * time.Millisecond)
	assertPage(t, v.get("/code"), 403, "This sign-in has expired")
	a := v.sendCode("123456")
	assertPage(t, a, 403, "This sign-in has expired")
	assert.Contains(t, a.body, `href="/sign-in">Sign in again</a>`)
	assert.Zero(t, w.fake.Counts().Live)
}

func TestTheIDOfASignInThatStopsHalfwayIsForgotten(t *testing.T) {
	w := startWorld(t)
	v := newVisitor(t, w.url)
	requireRedirect(t, v.signIn("bob", "secret"), "/code")
	ctx, err := w.site.sessions.Load(t.Context(), v.cookie())
	require.NoError(t, err)
	assert.WithinDuration(t, time.Now().Add(challengeLife), w.site.sessions.Deadline(ctx), time.Minute)
	w.expireChallenges()
	assert.Empty(t, w.ids())
}

func TestAChallengeIsGoodOnce(t *testing.T) {
	w := startWorld(t)
	v := newVisitor(t, w.url)
	requireRedirect(t, v.signIn("bob", "secret"), "/code")
	asked := v.cookie()
	var all sync.WaitGroup
	for range 20 {
		other := newVisitor(t, w.url)
		other.setCookie(asked)
		all.Go(func() { other.sendCode("123456") })
	}
	all.Wait()
	assert.Equal(t, 1, w.fake.Counts().Logins)
	other := newVisitor(t, w.url)
	other.setCookie(asked)
	assertPage(t, other.sendCode("123456"), 403, "This sign-in has expired")
}

func TestAtMostAThousandChallengesWait(t *testing.T) {
	w := startWorld(t)
	first := newVisitor(t, w.url)
	requireRedirect(t, first.signIn("bob", "secret"), "/code")
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			for range 55 {
				newVisitor(t, w.url).signIn("bob", "secret")
			}
		})
	}
	all.Wait()
	_, challenges := w.sizes()
	assert.Equal(t, maxChallenges, challenges)
	assert.Len(t, w.ids(), maxChallenges, "browser sessions")
	assertPage(t, first.get("/code"), 403, "This sign-in has expired")
	last := newVisitor(t, w.url)
	requireRedirect(t, last.signIn("bob", "secret"), "/code")
	requireRedirect(t, last.sendCode("123456"), "/files")
}

func TestVisitorsWithoutAPasswordTakeNoMemory(t *testing.T) {
	w := startWorld(t)
	for range 50 {
		v := newVisitor(t, w.url)
		v.get("/sign-in")
		v.signIn("alice", "wrong")
		v.sendCode("123456")
		v.get("/nowhere")
		v.signOut()
	}
	assert.Empty(t, w.ids())
}

func TestAFormThatIsTooLongIsNotRead(t *testing.T) {
	w := startWorld(t)
	v := newVisitor(t, w.url)
	form := url.Values{"username": {"alice"}, "password": {"secret"}, "z": {strings.Repeat("x", maxForm)}}
	assertPage(t, v.do("POST", "/sign-in", form), 422, "Error: Sign in")
	assert.Empty(t, w.fake.Requests())
}

func TestASignInChangesTheIDInTheCookie(t *testing.T) {
	w := startWorld(t)
	v := newVisitor(t, w.url)
	v.setCookie("planted-by-an-attacker")
	requireRedirect(t, v.signIn("bob", "secret"), "/code")
	asked := v.cookie()
	assert.NotEqual(t, "planted-by-an-attacker", asked)
	requireRedirect(t, v.sendCode("123456"), "/files")
	assert.NotEqual(t, asked, v.cookie())
	for _, old := range []string{"planted-by-an-attacker", asked} {
		attacker := newVisitor(t, w.url)
		attacker.setCookie(old)
		requireRedirect(t, attacker.get("/files"), "/sign-in")
	}
	requireRedirect(t, v.signIn("alice", "secret"), "/files")
	assert.Equal(t, map[string]int{"alice": 1}, w.fake.LiveByUser(), "a second sign-in ends the first")
	assert.Contains(t, v.get("/files").body, "Files of alice")
}

func TestTheCookieAndTheHeadersProtectTheUser(t *testing.T) {
	w := startWorld(t)
	v := newVisitor(t, w.url)
	a := v.signIn("alice", "secret")
	require.Len(t, a.Cookies(), 1)
	c := a.Cookies()[0]
	assert.Regexp(t, `^session=[\w-]{43}; Path=/; HttpOnly; SameSite=Lax$`, c.Raw)

	https := newSite(w.site.client, true, w.site.log)
	defer https.close(t.Context())
	rec := httptest.NewRecorder()
	req := httptest.NewRequest("POST", "/sign-in", strings.NewReader("username=alice&password=secret"))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	https.handler().ServeHTTP(rec, req)
	assert.Regexp(t, `^__Host-session=[\w-]{43}; Path=/; HttpOnly; Secure; SameSite=Lax$`, rec.Header().Get("Set-Cookie"))

	for _, a := range []answer{v.get("/files"), v.get("/sign-in"), v.get("/nowhere"), v.get("/code"), v.signIn("", ""), v.signOut(), v.get("/signed-out"), v.get("/sign-in")} {
		assert.Equal(t, "no-store", a.Header.Get("Cache-Control"))
		assert.Equal(t, "no-referrer", a.Header.Get("Referrer-Policy"))
		assert.Equal(t, "nosniff", a.Header.Get("X-Content-Type-Options"))
		policy := a.Header.Get("Content-Security-Policy")
		assert.Contains(t, policy, "default-src 'none'")
		assert.Contains(t, policy, "frame-ancestors 'none'")
		assert.NotContains(t, policy, "unsafe")
		assert.NotRegexp(t, `(?i)<script|<style|\sstyle=|\son\w+=|javascript:`, a.body)
	}
	assert.Equal(t, 404, v.get("/nowhere").StatusCode)
	assert.Equal(t, "text/css; charset=utf-8", v.get("/style.css").Header.Get("Content-Type"))
	assert.Equal(t, "image/svg+xml", v.get("/icon.svg").Header.Get("Content-Type"))
}

func TestAPostFromAnotherSiteIsRefused(t *testing.T) {
	w := startWorld(t)
	v := newVisitor(t, w.url)
	requireRedirect(t, v.signIn("alice", "secret"), "/files")
	for _, path := range []string{"/sign-in", "/code", "/sign-out", "/files"} {
		for _, header := range [][2]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}, {"Origin", "null"}} {
			req, err := http.NewRequest("POST", w.url+path, strings.NewReader("username=alice&password=secret"))
			require.NoError(t, err)
			req.Header.Set(header[0], header[1])
			resp, err := v.hc.Do(req)
			require.NoError(t, err)
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			assertPage(t, answer{resp, string(body)}, 403, "This request came from another site")
			assert.Empty(t, resp.Cookies())
		}
	}
	assertPage(t, v.get("/files"), 200, "Your files")
}

func TestASignOutIsNotUndoneByARunningRequest(t *testing.T) {
	w := startWorld(t)
	arrived, release := make(chan struct{}), make(chan struct{})
	w.fake.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-release
		listUser(rw, r)
	})
	v := newVisitor(t, w.url)
	requireRedirect(t, v.signIn("alice", "secret"), "/files")
	running := make(chan answer)
	go func() { running <- v.get("/files") }()
	<-arrived
	requireRedirect(t, v.signOut(), "/signed-out")
	close(release)
	a := <-running
	assertPage(t, a, 200, "You are signed out")
	assert.NotContains(t, a.body, "Files of alice")
	assert.Empty(t, a.Cookies())
	assert.Empty(t, v.cookie())
	requireRedirect(t, v.get("/files"), "/sign-in")
	users, challenges := w.sizes()
	assert.Zero(t, users+challenges)
	assert.Zero(t, w.fake.Counts().Live)
}

func TestASignOutIsNotUndoneByARunningSignIn(t *testing.T) {
	for code, title := range map[string]string{"123456": "You are signed out", "000000": ""} {
		w := startWorld(t)
		v := newVisitor(t, w.url)
		requireRedirect(t, v.signIn("bob", "secret"), "/code")
		w.fake.Inject(sessiontest.Fault{Method: "POST", Delay: 300 * time.Millisecond})
		running := make(chan answer)
		go func() { running <- v.sendCode(code) }()
		require.Eventually(t, func() bool { _, waiting := w.sizes(); return waiting == 0 }, 5*time.Second, time.Millisecond)
		requireRedirect(t, v.signOut(), "/signed-out")
		if a := <-running; title != "" {
			assertPage(t, a, 200, title)
		}
		requireRedirect(t, v.get("/files"), "/sign-in")
		assert.Zero(t, w.fake.Counts().Live)
	}
}

func TestASignInWhoseBrowserHasLeftLeavesNoSession(t *testing.T) {
	w := startWorld(t)
	w.fake.Inject(sessiontest.Fault{Method: "POST", After: true, Delay: 300 * time.Millisecond})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "POST", w.url+"/sign-in", strings.NewReader("username=alice&password=secret"))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	_, err = http.DefaultClient.Do(req)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Eventually(t, func() bool { return w.fake.Counts().Logouts == 1 }, 5*time.Second, 10*time.Millisecond)
	assert.Equal(t, 1, w.fake.Counts().Logins)
	users, _ := w.sizes()
	assert.Zero(t, users)
}

func TestASessionThatEndsInTheMiddleSaysToSignInAgain(t *testing.T) {
	w := startWorld(t)
	v := newVisitor(t, w.url)
	requireRedirect(t, v.signIn("alice", "secret"), "/files")
	assert.Equal(t, 1, w.fake.ExpireUser("alice"))
	a := v.get("/files")
	assertPage(t, a, 403, "Your session has ended")
	assert.Contains(t, a.body, `href="/sign-in">Sign in again</a>`)
	assert.Empty(t, a.Cookies(), "a stale answer must not replace the cookie of a new sign-in")
	users, _ := w.sizes()
	assert.Zero(t, users)
	assert.Empty(t, w.ids())
	requireRedirect(t, v.get("/files"), "/sign-in")
	requireRedirect(t, v.signIn("alice", "secret"), "/files")
	assertPage(t, v.get("/files"), 200, "Your files")
}

func TestALockOutSaysToWait(t *testing.T) {
	w := startWorld(t)
	w.fake.SetLockOut(2, time.Hour)
	v := newVisitor(t, w.url)
	for range 2 {
		assertPage(t, v.signIn("alice", "wrong"), 422, "Error: Sign in")
	}
	a := v.signIn("alice", "secret")
	assertPage(t, a, 403, "Your account is locked")
	assert.Contains(t, a.body, "Wait a while, then sign in again.")
	w.fake.Advance(time.Hour)
	requireRedirect(t, v.signIn("alice", "secret"), "/files")

	requireRedirect(t, v.signIn("bob", "secret"), "/code")
	for range 2 {
		requireRedirect(t, v.sendCode("000000"), "/code")
	}
	assertPage(t, v.sendCode("123456"), 403, "Your account is locked")
}

func TestARateLimitSaysHowLongToWait(t *testing.T) {
	w := startWorld(t)
	w.fake.SetRateLimit(1, 30*time.Second)
	v := newVisitor(t, w.url)
	v.signIn("alice", "wrong")
	a := v.signIn("alice", "secret")
	assertPage(t, a, 429, "Too many requests")
	assert.Equal(t, "30", a.Header.Get("Retry-After"))
	assert.Contains(t, a.body, "Wait 30 seconds, then try again.")
	w.fake.Advance(30 * time.Second)
	requireRedirect(t, v.signIn("alice", "secret"), "/files")
}

func TestOtherFailuresOfFilesComSayWhatToDo(t *testing.T) {
	mallory := testUser("mallory")
	mallory.ChangePassword = true
	w := startWorld(t, mallory)
	v := newVisitor(t, w.url)
	a := v.signIn("mallory", "secret")
	assertPage(t, a, 403, "Files.com refused the request")
	assert.Contains(t, a.body, "You must change your password.")
	w.fake.Inject(sessiontest.Fault{Status: 502, Body: sessiontest.EdgeHTML})
	a = v.signIn("alice", "secret")
	assertPage(t, a, 502, "Files.com did not answer")
	assert.NotContains(t, a.body, "Bad Gateway")
	w.fake.MoveTo("other.example", sessiontest.Region401JSON)
	assertPage(t, v.signIn("alice", "secret"), 502, "Your site has moved")
	w.fake.MoveTo("", "")

	requireRedirect(t, v.signIn("alice", "secret"), "/files")
	for _, f := range []sessiontest.Fault{{Status: 200, Body: "{"}, {Status: 200, Body: `[{"size": 1e99}]`}, {Status: 500}, {Reset: true, Times: -1}} {
		f.Path = "/api/rest/v1/folders/"
		w.fake.Inject(f)
		assertPage(t, v.get("/files"), 502, "Files.com did not answer")
	}
	w.fake.Inject(sessiontest.Fault{Method: "DELETE", Status: 503, Times: 3})
	assertPage(t, v.signOut(), 200, "You are signed out of this site")
	requireRedirect(t, v.get("/files"), "/sign-in")

	requireRedirect(t, v.signIn("bob", "secret"), "/code")
	var err error // the new client has no open connection
	w.site.client, err = session.NewClient(session.WithSite(w.fake.URL), session.WithHTTPClient(&http.Client{Transport: &http.Transport{}}))
	require.NoError(t, err)
	w.fake.Close()
	requireRedirect(t, v.sendCode("123456"), "/code")
	assert.Contains(t, v.get("/code").body, "Files.com cannot be reached")
	assertPage(t, v.signIn("alice", "secret"), 502, "Files.com cannot be reached")
}

// copyingTransport keeps a copy of each answer of the API.
type copyingTransport struct {
	mu      sync.Mutex
	answers strings.Builder
}

func (c *copyingTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	resp.Body = io.NopCloser(strings.NewReader(string(body)))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answers.Write(body)
	return resp, err
}

func TestNoSecretIsInACookieAURLAPageOrTheLog(t *testing.T) {
	const password, keyAnswer = "correct-horse-battery", "cccccckdvvulgjvtkjdhtlrbjjctggdihuevikehtlil"
	carol := sessiontest.User{Username: "carol", Password: password, OTP: keyAnswer, Methods: []string{"yubi"}}
	w := startWorld(t, carol)
	w.fake.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { json.NewEncoder(rw).Encode(fakeRoot) })
	var api copyingTransport
	var err error
	w.site.client, err = session.NewClient(session.WithSite(w.fake.URL),
		session.WithHTTPClient(&http.Client{Transport: &api}), session.WithLogger(w.site.log))
	require.NoError(t, err)

	v := newVisitor(t, w.url)
	var seen strings.Builder
	see := func(a answer) {
		fmt.Fprintln(&seen, a.Request.URL)
		a.Header.Write(&seen)
		seen.WriteString(a.body)
	}
	see(v.signIn("carol", password+"?"))
	see(v.signIn("carol", password))
	see(v.get("/code"))
	see(v.sendCode(keyAnswer + "?"))
	see(v.get("/code"))
	see(v.sendCode(keyAnswer))
	see(v.get("/files"))
	w.fake.Inject(sessiontest.Fault{Status: 500})
	see(v.get("/files"))
	see(v.get("/files?password=" + password + "&code=" + keyAnswer))
	see(v.get("/" + keyAnswer))
	live := w.fake.Sessions()
	require.Len(t, live, 1)
	w.fake.ExpireUser("carol")
	see(v.get("/files"))
	w.fake.Inject(sessiontest.Fault{Method: "POST", Reset: true})
	see(v.signIn("carol", password))
	see(v.signOut())
	partial := regexp.MustCompile(`"partial_session_id":"(\w+)"`).FindStringSubmatch(api.answers.String())
	require.NotNil(t, partial)

	own := regexp.MustCompile(`(?m)^http.*$`).ReplaceAllString(seen.String(), "") // without the URLs that the test made
	for name, secret := range map[string]string{"password": password, "answer": keyAnswer, "session ID": live[0], "partial session ID": partial[1]} {
		assert.NotContains(t, own, secret, name)
		assert.NotContains(t, w.log.String(), secret, name)
	}
	assert.Contains(t, w.log.String(), `pattern="GET /files"`)
}

func TestTwoHundredUsersAtATimeNeverMix(t *testing.T) {
	const n = 200
	var users []sessiontest.User
	for i := range n {
		u := testUser(fmt.Sprintf("user%03d", i))
		if i%2 == 0 {
			u.OTP = fmt.Sprintf("%06d", 700_000+i)
		}
		users = append(users, u)
	}
	w := startWorld(t, users...)
	var all sync.WaitGroup
	for _, u := range users {
		all.Go(func() {
			v := newVisitor(t, w.url)
			v.signIn(u.Username, "secret")
			if u.OTP != "" {
				v.sendCode("000000")
				v.sendCode(u.OTP)
			}
			for range 3 {
				a := v.get("/files")
				assert.Contains(t, a.body, "Files of "+u.Username+"<")
				assert.Equal(t, 1, strings.Count(a.body, "Files of "))
				assert.Contains(t, a.body, "Signed in as "+u.Username+"<")
			}
			assert.Equal(t, http.StatusSeeOther, v.signOut().StatusCode)
			assert.Equal(t, "/sign-in", v.get("/files").Header.Get("Location"))
		})
	}
	all.Wait()
	assert.Equal(t, n, w.fake.Counts().Logins)
	assert.Zero(t, w.fake.Counts().Live)
	known, waiting := w.sizes()
	assert.Zero(t, known+waiting)
}

func TestAUserWhoMustAddASecondFactorIsTold(t *testing.T) {
	fay := testUser("fay")
	fay.Session["two_factor_setup_needed"] = true
	w := startWorld(t, fay)
	v := newVisitor(t, w.url)
	assertPage(t, v.signIn("fay", "secret"), 403, "Your account needs a second factor")
	assert.Zero(t, w.fake.Counts().Live)
	requireRedirect(t, v.get("/files"), "/sign-in")
}

func TestAUserWhoNeverSignsOutIsSignedOut(t *testing.T) {
	w := startWorld(t)
	v := newVisitor(t, w.url)
	requireRedirect(t, v.signIn("alice", "secret"), "/files")
	w.site.users.drop(v.cookie()) // as its timer does
	assert.Zero(t, w.fake.Counts().Live)
	requireRedirect(t, v.get("/files"), "/sign-in")
}

func TestSizesAreShort(t *testing.T) {
	for size, want := range map[int64]string{0: "0 bytes", 642: "642 bytes", 999: "999 bytes", 1000: "1.0 KB", 18_204: "18.2 KB",
		999_400: "999 KB", 999_600: "1.0 MB", 2_480_113: "2.5 MB", 5e15: "5000 TB"} {
		assert.Equal(t, want, entry{Size: size}.HumanSize())
	}
}

func TestNamesAreEscaped(t *testing.T) {
	w := startWorld(t)
	w.fake.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("X-Files-Cursor", "more")
		io.WriteString(rw, `[{"path":"<script>alert(1)</script>","type":"file","size":1,"mtime":null}]`)
	})
	v := newVisitor(t, w.url)
	v.signIn("alice", "secret")
	a := v.get("/files")
	assert.Contains(t, a.body, "&lt;script&gt;alert(1)&lt;/script&gt;")
	assert.Contains(t, a.body, "This page shows the first 1.")
	assert.Contains(t, v.signIn(`"><script>`, "").body, "value=\"&#34;&gt;&lt;script&gt;\"")
}
