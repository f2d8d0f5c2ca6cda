package sessiontest_test

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/filescom/session/sessiontest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type result struct {
	status int
	header http.Header
	raw    string
	body   map[string]any
}

func send(t *testing.T, srv *sessiontest.Server, method, path, contentType, body, id string) result {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, srv.URL+path, strings.NewReader(body))
	require.NoError(t, err)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if id != "" {
		req.Header.Set("X-FilesAPI-Auth", id)
	}
	return do(t, srv, req)
}

func do(t *testing.T, srv *sessiontest.Server, req *http.Request) result {
	t.Helper()
	resp, err := srv.Client().Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	r := result{status: resp.StatusCode, header: resp.Header, raw: string(data)}
	json.Unmarshal(data, &r.body)
	return r
}

const (
	sessions = "/api/rest/v1/sessions"
	form     = "application/x-www-form-urlencoded"
)

func logIn(t *testing.T, srv *sessiontest.Server, body string) result {
	t.Helper()
	return send(t, srv, "POST", sessions, form, body, "")
}

func newServer(t *testing.T, users ...sessiontest.User) *sessiontest.Server {
	t.Helper()
	srv := sessiontest.NewServer(users...)
	t.Cleanup(srv.Close)
	return srv
}

var alice = sessiontest.User{Username: "alice", Password: "secret"}

// recorded compares an answer with a recording, except for the members that change.
func recorded(t *testing.T, name string, got result) {
	t.Helper()
	data, err := os.ReadFile("../testdata/" + name)
	require.NoError(t, err)
	var want map[string]any
	require.NoError(t, json.Unmarshal(data, &want))
	for _, key := range []string{"id", "timeout_at", "instance"} {
		assert.Equal(t, want[key] != nil, got.body[key] != nil, key)
		delete(want, key)
	}
	for key, value := range want {
		assert.Equal(t, value, got.body[key], key)
	}
	assert.Equal(t, "application/json", got.header.Get("Content-Type"))
	assert.Equal(t, "no-cache, no-store, max-age=0, must-revalidate", got.header.Get("Cache-Control"))
	assert.NotEmpty(t, got.header.Get("X-Request-Id"))
	assert.Empty(t, got.header.Get("Set-Cookie"))
	assert.NotEmpty(t, got.header.Get("Content-Length"))
}

func TestAnswersAreAsRecorded(t *testing.T) {
	t.Parallel()
	srv := newServer(t, alice)
	in := logIn(t, srv, "username=alice&password=secret")
	assert.Equal(t, 201, in.status)
	recorded(t, "session_201_live_2025.json", in)
	assert.Equal(t, "files.com", in.header.Get("Server"))
	assert.Len(t, in.body["id"], 40)

	wrong := logIn(t, srv, "username=alice&password=guess")
	assert.Equal(t, 401, wrong.status)
	recorded(t, "error_invalid_password_401_live_2025.json", wrong)
	assert.Equal(t, "not-authenticated/invalid-username-or-password", wrong.header.Get("X-Files-Error-Class"))
	assert.Equal(t, wrong.header.Get("X-Request-Id"), wrong.body["instance"])

	unknown := send(t, srv, "GET", "/api/rest/v1/folders", "", "", "")
	assert.Equal(t, 401, unknown.status)
	recorded(t, "error_invalid_credentials_401_live_2024.json", unknown)
}

func TestASessionLivesFromLoginToLogout(t *testing.T) {
	t.Parallel()
	srv := newServer(t, alice)
	id := logIn(t, srv, "username=alice&password=secret").body["id"].(string)
	assert.Equal(t, []string{id}, srv.Sessions())
	assert.Equal(t, "[]", send(t, srv, "GET", "/api/rest/v1/folders/a", "", "", id).raw)
	assert.Equal(t, "{}", send(t, srv, "GET", "/api/rest/v1/users", "", "", id).raw)
	out := send(t, srv, "DELETE", sessions, "", "", id)
	assert.Equal(t, 204, out.status)
	assert.Empty(t, out.raw)
	assert.Empty(t, srv.Sessions())
	assert.Equal(t, 401, send(t, srv, "DELETE", sessions, "", "", id).status)
	assert.Equal(t, 401, send(t, srv, "GET", "/api/rest/v1/site", "", "", id).status)
}

func TestExpireEndsASession(t *testing.T) {
	t.Parallel()
	srv := newServer(t, alice)
	id := logIn(t, srv, "username=alice&password=secret").body["id"].(string)
	assert.True(t, srv.Expire(id))
	assert.False(t, srv.Expire(id))
	assert.Equal(t, 401, send(t, srv, "GET", "/api/rest/v1/site", "", "", id).status)
}

func TestLoginTakesFormAndJSON(t *testing.T) {
	t.Parallel()
	srv := newServer(t, sessiontest.User{Username: "a b", Password: "p+&%ü"})
	assert.Equal(t, 201, logIn(t, srv, "username=a+b&password=p%2B%26%25%C3%BC").status)
	assert.Equal(t, 201, send(t, srv, "POST", sessions, "application/json; charset=utf-8", `{"username":"a b","password":"p+&%ü"}`, "").status)
	assert.Equal(t, 401, send(t, srv, "POST", sessions, "", "", "").status)
	assert.Equal(t, 401, send(t, srv, "POST", sessions, "application/json", `{}`, "").status)
}

func TestAnAPIKeyIsRefusedOnLogin(t *testing.T) {
	t.Parallel()
	srv := newServer(t, alice)
	req, err := http.NewRequestWithContext(t.Context(), "POST", srv.URL+sessions, strings.NewReader("username=alice&password=secret"))
	require.NoError(t, err)
	req.Header.Set("Content-Type", form)
	req.Header.Set("X-FilesAPI-Key", "key")
	resp, err := srv.Client().Do(req)
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, 403, resp.StatusCode)
	assert.Empty(t, srv.Sessions())
}

func TestASecondFactorIsDemanded(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		methods       []string
		byCode, byKey int // statuses of the second call in either form
	}{
		"nil means totp": {nil, 201, 0},
		"totp":           {[]string{"totp"}, 201, 0},
		"yubi":           {[]string{"yubi"}, 401, 201},
		"both":           {[]string{"totp", "webauthn"}, 201, 201},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := newServer(t, sessiontest.User{Username: "alice", Password: "secret", OTP: "123456", Methods: tc.methods})
			first := logIn(t, srv, "username=alice&password=secret")
			assert.Equal(t, 401, first.status)
			assert.Equal(t, "not-authenticated/two-factor-authentication-error", first.body["type"])
			data := first.body["data"].(map[string]any)
			partial, _ := data["partial_session_id"].(string)
			assert.Equal(t, tc.byKey != 0, partial != "")
			assert.NotEmpty(t, data["two_factor_authentication_methods"])

			wrong := logIn(t, srv, "username=alice&password=secret&otp=000000")
			assert.Equal(t, "not-authenticated/one-time-password-incorrect", wrong.body["type"])
			assert.Equal(t, tc.byCode, logIn(t, srv, "username=alice&password=secret&otp=123456").status)
			if partial != "" {
				second := "username=alice&otp=123456&partial_session_id=" + partial
				assert.Equal(t, tc.byKey, logIn(t, srv, second).status)
				assert.Equal(t, 401, logIn(t, srv, second).status, "good once")
			}
		})
	}
}

func TestAPartialSessionBelongsToOneUser(t *testing.T) {
	t.Parallel()
	key := sessiontest.User{Username: "alice", Password: "secret", OTP: "123456", Methods: []string{"yubi"}}
	srv := newServer(t, key, sessiontest.User{Username: "bob", Password: "x", OTP: "123456", Methods: []string{"yubi"}})
	data := logIn(t, srv, "username=alice&password=secret").body["data"].(map[string]any)
	assert.Equal(t, 401, logIn(t, srv, "username=bob&otp=123456&partial_session_id="+data["partial_session_id"].(string)).status)
	assert.Equal(t, 401, logIn(t, srv, "username=nobody&partial_session_id=").status)
}

func TestAUserMaySetFieldsOfTheAnswer(t *testing.T) {
	t.Parallel()
	srv := newServer(t, sessiontest.User{Username: "alice", Password: "secret", Session: map[string]any{"id": "chosen", "read_only": true, "timeout_at": nil}})
	body := logIn(t, srv, "username=alice&password=secret").body
	assert.Equal(t, true, body["read_only"])
	assert.Nil(t, body["timeout_at"])
	assert.Equal(t, []string{"chosen"}, srv.Sessions())
	assert.Equal(t, 204, send(t, srv, "DELETE", sessions, "", "", "chosen").status)
	assert.Panics(t, func() { srv.AddUser(sessiontest.User{Session: map[string]any{"x": func() {}}}) })
}

func TestAnEmptySessionIDIsRefused(t *testing.T) {
	t.Parallel()
	for _, id := range []any{"", nil} {
		srv := newServer(t, sessiontest.User{Username: "alice", Password: "secret", Session: map[string]any{"id": id}})
		assert.Equal(t, id, logIn(t, srv, good).body["id"])
		assert.Equal(t, 401, send(t, srv, "GET", "/api/rest/v1/site", "", "", "").status)
		assert.Equal(t, 1, srv.Counts().Live, "which nobody can log out")
	}
}

func TestAPathIsPrintedWithoutControlCharacters(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	send(t, srv, "GET", "/a%0A%1B[2Jb", "", "", "")
	assert.Equal(t, "/a\n\x1b[2Jb", srv.Requests()[0].Path)
	assert.Equal(t, "GET    /a%0A%1B%5B2Jb 404 (the path does not begin with /api/rest/v1/)", srv.Requests()[0].String())
}

func TestAddUserReplacesAUserOfTheSameName(t *testing.T) {
	t.Parallel()
	srv := newServer(t, alice)
	srv.AddUser(sessiontest.User{Username: "alice", Password: "new"})
	assert.Equal(t, 401, logIn(t, srv, "username=alice&password=secret").status)
	assert.Equal(t, 201, logIn(t, srv, "username=alice&password=new").status)
}

func TestTheJournalHoldsNoSecret(t *testing.T) {
	t.Parallel()
	srv := newServer(t, alice)
	id := logIn(t, srv, "username=alice&password=secret").body["id"].(string)
	send(t, srv, "GET", "/api/rest/v1/site?x="+id, "", "", id)
	logIn(t, srv, "username=alice&password=guess")
	assert.Equal(t, []sessiontest.Request{
		{Method: "POST", Path: sessions, Status: 201, User: "alice"},
		{Method: "GET", Path: "/api/rest/v1/site", Status: 200, User: "alice"},
		{Method: "POST", Path: sessions, Status: 401, Reason: "wrong password of user alice"},
	}, srv.Requests())
}

func TestOnlyItsClientTrustsTheTLSServer(t *testing.T) {
	t.Parallel()
	srv := sessiontest.NewTLSServer(alice)
	defer srv.Close()
	assert.Equal(t, 201, logIn(t, srv, "username=alice&password=secret").status)
}
