package main

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/filescom/session"
	"github.com/filescom/session/sessiontest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// world is a site, the fake Files.com that it signs in at, and its log.
type world struct {
	fake *sessiontest.Server
	site *site
	url  string
	log  *safeBuffer
}

// user returns a user whose session ID holds the name, so that the fake server can
// list files of that name.
func testUser(name string) sessiontest.User {
	return sessiontest.User{Username: name, Password: "secret", Session: map[string]any{"id": sessionID(name)}}
}

func sessionID(name string) string { return "id-of-the-session-of-" + name }

func testUserWithCode(name string) sessiontest.User {
	u := testUser(name)
	u.OTP = "123456"
	return u
}

// startWorld starts a site with alice, who has no second factor, bob, who has one,
// and more users.
func startWorld(t *testing.T, more ...sessiontest.User) *world {
	t.Helper()
	w := &world{log: &safeBuffer{}}
	w.fake = sessiontest.NewServer(append(more, testUser("alice"), testUserWithCode("bob"))...)
	t.Cleanup(w.fake.Close)
	w.fake.Handler = listUser
	log := slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	client, err := session.NewClient(session.WithSite(w.fake.URL), session.WithLogger(log))
	require.NoError(t, err)
	w.site = newSite(client, false, log)
	srv := httptest.NewServer(w.site.handler())
	t.Cleanup(func() {
		srv.Close()
		w.site.close(t.Context())
	})
	w.url = srv.URL
	return w
}

// listUser lists the entries of the fake server and one more that names the user.
var listUser = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.Header.Get(session.AuthHeader), sessionID(""))
	json.NewEncoder(w).Encode(append([]entry{{Path: "Files of " + name, Type: "directory"}}, fakeRoot...))
})

type safeBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// visitor is a browser that has a cookie jar and follows no redirect.
type visitor struct {
	t    testing.TB
	base string
	hc   *http.Client
}

func newVisitor(t testing.TB, base string) *visitor {
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	return &visitor{t, base, &http.Client{
		Jar:           jar,
		Timeout:       time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// answer is an answer whose body was read.
type answer struct {
	*http.Response
	body string
}

func (v *visitor) do(method, path string, form url.Values) answer {
	v.t.Helper()
	req, err := http.NewRequest(method, v.base+path, strings.NewReader(form.Encode()))
	require.NoError(v.t, err)
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := v.hc.Do(req)
	require.NoError(v.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(v.t, err)
	return answer{resp, string(body)}
}

func (v *visitor) get(path string) answer { v.t.Helper(); return v.do("GET", path, nil) }

func (v *visitor) signIn(username, password string) answer {
	v.t.Helper()
	return v.do("POST", "/sign-in", url.Values{"username": {username}, "password": {password}})
}

func (v *visitor) sendCode(code string) answer {
	v.t.Helper()
	return v.do("POST", "/code", url.Values{"code": {code}})
}

func (v *visitor) signOut() answer { v.t.Helper(); return v.do("POST", "/sign-out", url.Values{}) }

// cookie returns the value of the only cookie.
func (v *visitor) cookie() string {
	v.t.Helper()
	u, err := url.Parse(v.base)
	require.NoError(v.t, err)
	cookies := v.hc.Jar.Cookies(u)
	require.LessOrEqual(v.t, len(cookies), 1)
	if len(cookies) == 0 {
		return ""
	}
	return cookies[0].Value
}

func (v *visitor) setCookie(value string) {
	u, err := url.Parse(v.base)
	require.NoError(v.t, err)
	v.hc.Jar.SetCookies(u, []*http.Cookie{{Name: "session", Value: value, Path: "/"}})
}

func requireRedirect(t testing.TB, a answer, path string) {
	t.Helper()
	require.Equal(t, http.StatusSeeOther, a.StatusCode, a.body)
	require.Equal(t, path, a.Header.Get("Location"))
}

func assertPage(t testing.TB, a answer, status int, title string) {
	t.Helper()
	assert.Equal(t, status, a.StatusCode)
	assert.Contains(t, a.body, "<title>"+title+" – Example Files</title>")
}

// sizes returns how many values the site keeps.
func (w *world) sizes() (users, challenges int) {
	w.site.users.mu.Lock()
	defer w.site.users.mu.Unlock()
	w.site.challenges.mu.Lock()
	defer w.site.challenges.mu.Unlock()
	return len(w.site.users.kept), len(w.site.challenges.kept)
}

// ids returns the browser sessions, by ID.
func (w *world) ids() map[string][]byte {
	all, err := w.site.sessions.Store.(scs.IterableStore).All()
	if err != nil {
		panic(err)
	}
	return all
}

// expireChallenges ends all challenges, as their timers do.
func (w *world) expireChallenges() {
	w.site.challenges.mu.Lock()
	var ids []string
	for id := range w.site.challenges.kept {
		ids = append(ids, id)
	}
	w.site.challenges.mu.Unlock()
	for _, id := range ids {
		w.site.challenges.drop(id)
	}
}
