package main

import (
	"bytes"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/filescom/session/sessiontest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var alice = sessiontest.User{Username: "alice", Password: "canary-password", OTP: "canary-code"}

// fixture is a fake server and its control API.
type fixture struct {
	srv *sessiontest.Server
	api *httptest.Server
	log bytes.Buffer
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{srv: sessiontest.NewServer(alice)}
	t.Cleanup(f.srv.Close)
	f.api = httptest.NewServer(&control{srv: f.srv, log: log.New(&f.log, "", 0)})
	t.Cleanup(f.api.Close)
	return f
}

// call makes a request to the control API.
func (f *fixture) call(t *testing.T, method, path, body string) (status int, answer string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, f.api.URL+path, strings.NewReader(body))
	require.NoError(t, err)
	resp, err := f.api.Client().Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.Equal(t, "application/json", resp.Header.Get("Content-Type"))
	return resp.StatusCode, strings.TrimSuffix(string(data), "\n")
}

// must is call for requests that are not refused.
func (f *fixture) must(t *testing.T, method, path, body string) (answer string) {
	t.Helper()
	status, answer := f.call(t, method, path, body)
	require.Equal(t, 200, status, answer)
	return answer
}

// logIn returns the status of a login.
func (f *fixture) logIn(t *testing.T, username, password, otp string) int {
	t.Helper()
	resp, err := f.srv.Client().PostForm(f.srv.URL+"/api/rest/v1/sessions", url.Values{"username": {username}, "password": {password}, "otp": {otp}})
	require.NoError(t, err)
	resp.Body.Close()
	return resp.StatusCode
}

func (f *fixture) logInAlice(t *testing.T) int {
	t.Helper()
	return f.logIn(t, alice.Username, alice.Password, alice.OTP)
}

func TestControlEndsSessionsByUserByIDOrAll(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for range 4 {
		require.Equal(t, 201, f.logInAlice(t))
	}
	id := f.srv.Sessions()[0]
	assert.Equal(t, `{"ended":1}`, f.must(t, "POST", "/expire", `{"id":"`+id+`"}`))
	assert.Equal(t, `{"ended":0}`, f.must(t, "POST", "/expire", `{"id":"`+id+`"}`))
	assert.Equal(t, `{"ended":0}`, f.must(t, "POST", "/expire", `{"user":"bob"}`))
	assert.Equal(t, `{"ended":3}`, f.must(t, "POST", "/expire", `{"user":"alice"}`))
	f.logInAlice(t)
	assert.Equal(t, `{"ended":1}`, f.must(t, "POST", "/expire", `{"all":true}`))
	assert.Empty(t, f.srv.Sessions())
}

func TestControlAddsUsers(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	assert.Equal(t, `{}`, f.must(t, "POST", "/users", `{"username":"bob","password":"a:b"}`))
	assert.Equal(t, 201, f.logIn(t, "bob", "a:b", ""))
	f.must(t, "POST", "/users", `{"username":"bob","password":"new","totp":"jbsw y3dp ehpk 3pxp"}`)
	assert.Equal(t, 401, f.logIn(t, "bob", "new", ""))
	assert.Equal(t, 201, f.logIn(t, "bob", "new", f.srv.Code("bob")))
}

func TestControlInjectsFaults(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	assert.Equal(t, `{}`, f.must(t, "POST", "/faults", `{"method":"POST","status":503,"times":2,"header":{"Retry-After":["1"]},"delay":"1ms"}`))
	for _, status := range []int{503, 503, 201} {
		assert.Equal(t, status, f.logInAlice(t))
	}
	assert.True(t, f.srv.Requests()[0].Fault)
}

func TestControlMovesTheClock(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.logInAlice(t)
	answer := f.must(t, "POST", "/advance", `{"by":"6h"}`)
	now, err := time.Parse(`{"now":"`+time.RFC3339+`"}`, answer)
	require.NoError(t, err)
	assert.WithinDuration(t, time.Now().Add(6*time.Hour), now, time.Minute)
	assert.Empty(t, f.srv.Sessions())
	f.must(t, "POST", "/advance", `{"by":"-6h"}`)
	assert.WithinDuration(t, time.Now(), f.srv.Now(), time.Minute)
}

func TestControlReadsCountsAndJournalWithoutSecrets(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	assert.Equal(t, `[]`, f.must(t, "GET", "/requests", ""))
	f.logInAlice(t)
	f.logIn(t, "alice", "canary-guess", "")
	assert.Equal(t, `{"logins":1,"refused":1,"logouts":0,"live":1,"sms":0,"emails":0,"live_by_user":{"alice":1}}`, f.must(t, "GET", "/counts", ""))
	assert.Equal(t, `[{"method":"POST","path":"/api/rest/v1/sessions","status":201,"user":"alice","reason":"","fault":false},`+
		`{"method":"POST","path":"/api/rest/v1/sessions","status":401,"user":"","reason":"wrong password of user alice","fault":false}]`, f.must(t, "GET", "/requests", ""))
	f.must(t, "POST", "/expire", `{"id":"`+f.srv.Sessions()[0]+`"}`)
	f.call(t, "POST", "/users", `{"username":"bob","password":"canary-password","otp":7}`)
	assert.NotContains(t, f.log.String(), "canary")
	assert.Equal(t, "control: GET /requests 200", strings.Split(f.log.String(), "\n")[0])
}

func TestControlResets(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.must(t, "POST", "/users", `{"username":"bob","password":"x"}`)
	f.must(t, "POST", "/faults", `{"status":500,"times":-1}`)
	f.must(t, "POST", "/advance", `{"by":"1h"}`)
	f.logInAlice(t)
	assert.Equal(t, `{}`, f.must(t, "POST", "/reset", ""))
	assert.Equal(t, `{"logins":0,"refused":0,"logouts":0,"live":0,"sms":0,"emails":0,"live_by_user":{}}`, f.must(t, "GET", "/counts", ""))
	assert.Equal(t, 201, f.logInAlice(t))
	assert.Equal(t, 401, f.logIn(t, "bob", "x", ""))
}

func TestControlRefusesInvalidRequests(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const list = "use GET /counts, GET /requests, POST /users, POST /expire, POST /faults, POST /advance, POST /reset"
	for _, tc := range []struct {
		method, path, body string
		status             int
		text               string
	}{
		{"GET", "/", "", 404, `unknown request GET \"/\"; ` + list},
		{"POST", "/count", "", 404, `unknown request POST \"/count\"; ` + list},
		{"DELETE", "/counts", "", 405, `unknown request DELETE \"/counts\"; ` + list},
		{"POST", "/users", "", 400, "the JSON object is missing"},
		{"POST", "/users", "[]", 400, "the JSON is of type array; it must be an object"},
		{"POST", "/users", "username=alice", 400, "invalid character 'u' looking for beginning of value"},
		{"POST", "/users", "{} {}", 400, "data after the JSON object; send one object"},
		{"POST", "/users", "{}", 400, "User.Username is empty"},
		{"POST", "/users", `{"username":"a","methods":"sms"}`, 400, `\"methods\" is of type string; it must be a list`},
		{"POST", "/users", `{"username":"a","otp":1}`, 400, `\"otp\" is of type number; it must be a string`},
		{"POST", "/users", `{"username":"a","pasword":"b"}`, 400, `unknown field \"pasword\"`},
		{"POST", "/users", `{"username":"a","methods":["topt"]}`, 400, `unknown method \"topt\"; use totp, sms, email, static, yubi, u2f, webauthn`},
		{"POST", "/users", `{"username":"a","methods":["sms"]}`, 400, `user \"a\" has methods but no second factor; add otp or totp`},
		{"POST", "/users", strings.Repeat(" ", 2<<20), 400, "the JSON object is larger than 1 MiB"},
		{"POST", "/expire", "{}", 400, `write one of {\"user\":\"alice\"}, {\"id\":\"…\"} and {\"all\":true}`},
		{"POST", "/expire", `{"user":"alice","all":true}`, 400, `write one of {\"user\":\"alice\"}, {\"id\":\"…\"} and {\"all\":true}`},
		{"POST", "/faults", `{"chance":2}`, 400, "Fault.Chance is 2; it must be between 0 and 1"},
		{"POST", "/faults", `{"delay":5}`, 400, `5 is not a duration; use one such as \"250ms\" or \"6h\"`},
		{"POST", "/faults", `{"header":{"Retry-After":"1"}}`, 400, `\"header\" is of type string; it must be a list`},
		{"POST", "/advance", `{"by":"tomorrow"}`, 400, `\"tomorrow\" is not a duration; use one such as \"250ms\" or \"6h\"`},
		{"POST", "/advance", `{}`, 400, `by is missing; write it as in {\"by\":\"6h\"}`},
	} {
		status, answer := f.call(t, tc.method, tc.path, tc.body)
		assert.Equal(t, tc.status, status, tc.body)
		assert.Equal(t, `{"error":"`+tc.text+`"}`, answer, tc.body)
	}
	assert.Empty(t, f.srv.Requests())
	assert.Equal(t, 201, f.logInAlice(t), "nothing has changed")
}

func TestControlServesManyRequestsAtTheSameTime(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			switch i % 8 {
			case 0:
				f.call(t, "POST", "/reset", "")
			case 1:
				f.call(t, "POST", "/advance", `{"by":"1h"}`)
			case 2:
				f.call(t, "POST", "/expire", `{"all":true}`)
			case 3:
				f.call(t, "GET", "/requests", "")
			case 4:
				f.call(t, "POST", "/users", `{"username":"bob","password":"x"}`)
			default:
				f.logInAlice(t)
			}
		}()
	}
	wg.Wait()
}
