package autologin_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
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

// api is a Session API without a network, so that its time may be that of synctest. The
// nth login makes the session with the ID nth(n). Any other request needs a live session.
type api struct {
	lifetime time.Duration // of a session; 0: without an end
	slides   bool          // an accepted request moves the end of its session
	takes    time.Duration // of a login
	movedTo  string        // host of the site that users are moved to

	// A hook answers a request if it returns an answer or an error.
	onLogin, onCheck, onLogout roundTripper

	mu        sync.Mutex
	logins    int // that arrived
	checks    int
	loggedOut []string
	live      map[string]time.Time // when a session ends; zero: never
}

// nth is the ID of the session that the nth login makes.
func nth(n int) string { return fmt.Sprint(idCanary, n) }

func (a *api) client(t testing.TB, opts ...session.Option) *session.Client {
	t.Helper()
	return newClient(t, append([]session.Option{session.WithHTTPClient(&http.Client{Transport: a})}, opts...)...)
}

// source returns a Source of alice. The store may be nil.
func (a *api) source(t testing.TB, store autologin.Store, opts ...session.Option) *autologin.Source {
	t.Helper()
	src := autologin.New(a.client(t, opts...), alice)
	src.Store = store
	return src
}

func (a *api) RoundTrip(r *http.Request) (*http.Response, error) {
	kind := r.Method + " " + r.URL.Path
	if kind == "POST /api/rest/v1/sessions" {
		return a.logIn(r)
	}
	hook := map[string]roundTripper{"GET /api/rest/v1/site": a.onCheck, "DELETE /api/rest/v1/sessions": a.onLogout}[kind]
	if resp, err := hook.answer(r); resp != nil || err != nil {
		return resp, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	id, now := r.Header.Get(session.AuthHeader), time.Now()
	end, live := a.live[id]
	if !live || !end.IsZero() && !now.Before(end) {
		return sessionEnded(r)
	}
	switch kind {
	case "DELETE /api/rest/v1/sessions":
		delete(a.live, id)
		a.loggedOut = append(a.loggedOut, id)
		return respond(r, http.StatusNoContent, ""), nil
	case "GET /api/rest/v1/site":
		a.checks++
	}
	if a.slides {
		end = now.Add(a.lifetime)
		a.live[id] = end
	}
	return respond(r, http.StatusOK, fmt.Sprintf(`{"session":{%s}}`, timeoutAt(end))), nil
}

func (a *api) logIn(r *http.Request) (*http.Response, error) {
	a.mu.Lock()
	a.logins++
	n := a.logins
	a.mu.Unlock()
	time.Sleep(a.takes)
	if resp, err := a.onLogin.answer(r); resp != nil || err != nil {
		return resp, err
	}
	if a.movedTo != "" && r.URL.Host != a.movedTo {
		return respond(r, http.StatusForbidden, fmt.Sprintf(`{"type":"not-authenticated/lockout-region-mismatch","data":{"host":%q}}`, a.movedTo)), nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.live == nil {
		a.live = map[string]time.Time{}
	}
	end := time.Time{}
	if a.lifetime != 0 {
		end = time.Now().Add(a.lifetime)
	}
	a.live[nth(n)] = end
	return respond(r, http.StatusCreated, strings.TrimSuffix(fmt.Sprintf(`{"id":%q,%s`, nth(n), timeoutAt(end)), ",")+"}"), nil
}

func timeoutAt(end time.Time) string {
	if end.IsZero() {
		return ""
	}
	return fmt.Sprintf(`"timeout_at":%q`, end.Format(time.RFC3339Nano))
}

// answer is the answer of a hook, which may be nil.
func (f roundTripper) answer(r *http.Request) (*http.Response, error) {
	if f == nil {
		return nil, nil
	}
	return f(r)
}

// end ends the session with the ID, as the server may at any time.
func (a *api) end(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.live, id)
}

// posts returns how many logins arrived.
func (a *api) posts() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.logins
}

// alive returns how many sessions are alive.
func (a *api) alive() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for _, end := range a.live {
		if end.IsZero() || time.Now().Before(end) {
			n++
		}
	}
	return n
}

// respond returns an answer. It reads the body of the request, as a server does.
func respond(r *http.Request, status int, body string, header ...string) *http.Response {
	if r.Body != nil {
		io.Copy(io.Discard, r.Body)
		r.Body.Close()
	}
	h := http.Header{}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body)), Request: r}
}

// refuse answers with an error of a type. Without a type it is the page of a front end.
func refuse(status int, kind string, header ...string) roundTripper {
	body := fmt.Sprintf(`{"type":%q,"http-code":%d}`, kind, status)
	if kind == "" {
		body = "<html>"
	}
	return answer(status, body, header...)
}

// answer answers every request.
func answer(status int, body string, header ...string) roundTripper {
	return func(r *http.Request) (*http.Response, error) { return respond(r, status, body, header...), nil }
}

// breakConnection answers nothing.
func breakConnection(r *http.Request) (*http.Response, error) {
	respond(r, 0, "")
	return nil, errBroken
}

const deadSession = `{"type":"not-authenticated/invalid-credentials","http-code":401}`

func sessionEnded(r *http.Request) (*http.Response, error) {
	return respond(r, http.StatusUnauthorized, deadSession), nil
}

var (
	wrongPassword = refuse(401, "not-authenticated/invalid-username-or-password")
	lockedOut     = refuse(401, "not-authenticated/locked-out")
	wrongCode     = refuse(401, "not-authenticated/one-time-password-incorrect")
	demandsCode   = refuse(401, "not-authenticated/two-factor-authentication-error")
	unavailable   = refuse(503, "")
)

// form returns the parameters of a login.
func form(r *http.Request) session.CreateParams {
	r.ParseForm()
	return session.CreateParams{Username: r.PostForm.Get("username"), Password: r.PostForm.Get("password"),
		OTP: r.PostForm.Get("otp"), PartialSessionID: r.PostForm.Get("partial_session_id")}
}

// manual holds logins until the test ends them.
type manual struct {
	started chan context.Context // a login has started, under this context
	result  chan roundTripper    // ends a login; nil makes a session
}

// holdLogins makes each login wait for the test.
func (a *api) holdLogins() *manual {
	m := &manual{make(chan context.Context, 100), make(chan roundTripper, 100)}
	a.onLogin = func(r *http.Request) (*http.Response, error) {
		m.started <- r.Context()
		select {
		case result := <-m.result:
			return result.answer(r)
		case <-r.Context().Done():
			return nil, context.Cause(r.Context())
		}
	}
	return m
}

// sessionID returns the ID of the session of src, after all goroutines of a bubble of
// synctest have come to rest.
func sessionID(t *testing.T, src *autologin.Source) string {
	t.Helper()
	s, err := src.Session(t.Context())
	synctest.Wait()
	require.NoError(t, err)
	return s.ID
}

// sessionError returns the error of src, as sessionID does.
func sessionError(t *testing.T, src *autologin.Source) error {
	t.Helper()
	s, err := src.Session(t.Context())
	synctest.Wait()
	require.Error(t, err)
	assert.Nil(t, s)
	assertHidesSecrets(t, err)
	return err
}

// bothWays runs a test for a Source without a Store, and for one that shares a record.
func bothWays(t *testing.T, test func(t *testing.T, store autologin.Store)) {
	t.Run("own", func(t *testing.T) { test(t, nil) })
	t.Run("shared", func(t *testing.T) { test(t, (&record{}).store()) })
}

// onTheClock runs bothWays on the clock of synctest.
func onTheClock(t *testing.T, test func(t *testing.T, store autologin.Store)) {
	bothWays(t, func(t *testing.T, store autologin.Store) {
		synctest.Test(t, func(t *testing.T) { test(t, store) })
	})
}
