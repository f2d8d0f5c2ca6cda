package sessiontest_test

import (
	"strings"
	"testing"
	"time"

	"github.com/filescom/session/sessiontest"
	"github.com/stretchr/testify/assert"
)

// assertReason checks the reason of the last request.
func assertReason(t *testing.T, srv *sessiontest.Server, want string) {
	t.Helper()
	all := srv.Requests()
	assert.Equal(t, want, all[len(all)-1].Reason)
}

func TestTheJournalHasTheReasonOfARefusedLogin(t *testing.T) {
	t.Parallel()
	srv := newServer(t, alice,
		sessiontest.User{Username: "code", Password: "secret", OTP: "123456", SingleUse: true},
		sessiontest.User{Username: "key", Password: "secret", OTP: "cccc", Methods: []string{"yubi"}},
		sessiontest.User{Username: "totp", Password: "secret", TOTP: "JBSWY3DPEHPK3PXP"})
	reason := func(want string) { t.Helper(); assertReason(t, srv, want) }

	logIn(t, srv, good)
	reason("")
	logIn(t, srv, "username=nobody&password=secret")
	reason("no such user")
	logIn(t, srv, wrong)
	reason("wrong password of user alice")
	send(t, srv, "POST", sessions, "text/xml", "<a/>", "")
	reason(`the API takes no Content-Type "text/xml"`)
	logIn(t, srv, "username=code&password=secret")
	reason("a second factor is required")
	logIn(t, srv, "username=code&password=secret&otp=1")
	reason("wrong code")
	logIn(t, srv, "username=code&password=secret&otp=123456")
	reason("")
	logIn(t, srv, "username=code&password=secret&otp=123456")
	reason("the code was used before")
	logIn(t, srv, "username=key&password=secret&otp=cccc")
	reason("the second factor requires a partial session, not the password")
	logIn(t, srv, "username=key&otp=cccc&partial_session_id=x")
	reason("the partial session is unknown, used or too old")
	old := srv.Code("totp")
	srv.Advance(5 * time.Minute)
	logIn(t, srv, "username=totp&password=secret&otp="+old)
	reason("wrong code, or the code of another time")
}

func TestTheJournalHasTheReasonOfARefusedSession(t *testing.T) {
	t.Parallel()
	srv := newServer(t, alice,
		sessiontest.User{Username: "setup", Password: "secret", Session: map[string]any{"two_factor_setup_needed": true}})
	reason := func(want string) { t.Helper(); assertReason(t, srv, want) }
	call := func(id string) { send(t, srv, "GET", "/api/rest/v1/x", "", "", id) }

	call("")
	reason("no X-FilesAPI-Auth header")
	call("x")
	reason("no such session")
	id := logIn(t, srv, good).body["id"].(string)
	send(t, srv, "DELETE", sessions, "", "", id)
	reason("")
	call(id)
	reason("the session was logged out")
	id = logIn(t, srv, good).body["id"].(string)
	srv.Expire(id)
	call(id)
	reason("the test has ended the session")
	id = logIn(t, srv, good).body["id"].(string)
	srv.Advance(6 * time.Hour)
	call(id)
	reason("the session has timed out")
	srv.Sessions() // removes the session that has timed out
	call(id)
	reason("the session has timed out")
	call(logIn(t, srv, "username=setup&password=secret").body["id"].(string))
	reason("the session has two_factor_setup_needed")
}

func TestStringIsATable(t *testing.T) {
	t.Parallel()
	srv := newServer(t, alice)
	id := logIn(t, srv, good).body["id"].(string)
	logIn(t, srv, wrong)
	srv.Inject(sessiontest.Fault{Status: 503})
	srv.Inject(sessiontest.Fault{Method: "NEVER", Status: 503})
	send(t, srv, "GET", "/api/rest/v1/folders/a%20b%09", "", "", id)
	send(t, srv, "DELETE", sessions, "", "", id)
	send(t, srv, "DELETE", sessions, "", "", id)
	lines := strings.Split(srv.String(), "\n")
	assert.Equal(t, []string{
		srv.URL + " {Logins:1 Refused:1 Logouts:1 Live:0 SMS:0 Emails:0} faults pending: 1",
		"#  METHOD  PATH                           STATUS  USER   REASON",
		"1  POST    /api/rest/v1/sessions          201     alice",
		"2  POST    /api/rest/v1/sessions          401            wrong password of user alice",
		"3  GET     /api/rest/v1/folders/a%20b%09  503            fault",
		"4  DELETE  /api/rest/v1/sessions          204     alice",
		"5  DELETE  /api/rest/v1/sessions          401            the session was logged out",
		"",
	}, lines)
	assert.NotContains(t, srv.String(), id)
	assert.NotContains(t, srv.String(), "secret")
}

func TestAUserNameBreaksNoTable(t *testing.T) {
	t.Parallel()
	srv := newServer(t, sessiontest.User{Username: "a\tb\n", Password: "secret"})
	assert.Equal(t, 201, logIn(t, srv, "username=a%09b%0A&password=secret").status)
	assert.Len(t, strings.Split(strings.TrimSpace(srv.String()), "\n"), 3)
	assert.Equal(t, "POST   /api/rest/v1/sessions 201 a?b?", srv.Requests()[0].String())
}

func TestAFaultThatMatchesNothingStaysPending(t *testing.T) {
	t.Parallel()
	srv := newServer(t, alice)
	srv.Inject(sessiontest.Fault{Path: "/api/rest/v1/nowhere", Status: 503})
	assert.Equal(t, 201, logIn(t, srv, good).status)
	assert.Contains(t, srv.String(), "faults pending: 1\n")
	assert.False(t, srv.Requests()[0].Fault)
}
