package sessiontest_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/filescom/session/sessiontest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// handled starts a server with a Handler, and logs alice in.
func handled(t *testing.T, h http.HandlerFunc) (srv *sessiontest.Server, id string) {
	t.Helper()
	srv = newServer(t, alice)
	srv.Handler = h
	return srv, logIn(t, srv, good).body["id"].(string)
}

func TestHandlerAnswersLiveSessions(t *testing.T) {
	t.Parallel()
	srv, id := handled(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Mine", "1")
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprintf(w, "%s %s %s", r.Method, r.URL, body)
	})
	for _, path := range []string{"/api/rest/v1/folders/a?x=1", "/api/rest/v1/site", "/elsewhere"} { // PUT, not GET
		r := send(t, srv, "PUT", path, "", "hello", id)
		assert.Equal(t, 202, r.status)
		assert.Equal(t, "1", r.header.Get("X-Mine"))
		assert.Equal(t, "PUT "+path+" hello", r.raw)
	}
	assert.Equal(t, sessiontest.Request{Method: "PUT", Path: "/api/rest/v1/folders/a", Status: 202, User: "alice"}, srv.Requests()[1])
}

func TestTheServerItselfAnswersRequestsWithoutALiveSession(t *testing.T) {
	t.Parallel()
	srv, id := handled(t, func(http.ResponseWriter, *http.Request) { t.Error("called") })
	assert.Equal(t, 401, send(t, srv, "GET", "/api/rest/v1/x", "", "", "").status)
	assert.Equal(t, 401, send(t, srv, "GET", "/api/rest/v1/x", "", "", "unknown").status)
	assert.Equal(t, 404, send(t, srv, "GET", "/elsewhere", "", "", "").status)
	assert.Equal(t, 401, send(t, srv, "GET", "/elsewhere", "", "", "unknown").status)
	assert.Equal(t, 6*time.Hour, timeoutAt(t, srv, id))
	assert.Equal(t, 422, send(t, srv, "GET", sessions, "", "", id).status)
	assert.Equal(t, 204, send(t, srv, "DELETE", sessions, "", "", id).status)
	assert.Equal(t, 401, send(t, srv, "GET", "/api/rest/v1/x", "", "", id).status)
	srv.AddUser(sessiontest.User{Username: "bob", Password: "secret", Session: map[string]any{"read_only": true}})
	id = logIn(t, srv, "username=bob&password=secret").body["id"].(string)
	assert.Equal(t, 403, send(t, srv, "PUT", "/api/rest/v1/x", "", "", id).status)
}

func TestHandlerMayCallTheServer(t *testing.T) {
	t.Parallel()
	var srv *sessiontest.Server
	srv, id := handled(t, func(w http.ResponseWriter, r *http.Request) {
		srv.Expire(r.Header.Get("X-FilesAPI-Auth"))
		fmt.Fprint(w, srv.Counts().Live)
	})
	assert.Equal(t, "0", send(t, srv, "GET", "/x", "", "", id).raw)
	assert.Equal(t, 401, send(t, srv, "GET", "/x", "", "", id).status)
}

func TestARequestThatHandlerAnswersMovesTheEndOfItsSession(t *testing.T) {
	t.Parallel()
	srv, id := handled(t, func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) })
	srv.Advance(time.Hour)
	assert.Equal(t, 404, send(t, srv, "GET", "/x", "", "", id).status)
	srv.SetSliding(false)
	assert.Equal(t, 6*time.Hour, timeoutAt(t, srv, id))
	srv.Advance(time.Hour)
	send(t, srv, "GET", "/x", "", "", id)
	assert.Equal(t, 5*time.Hour, timeoutAt(t, srv, id))
}

func TestUserOfNamesTheUserOfARequestInHandler(t *testing.T) {
	t.Parallel()
	srv, id := handled(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, sessiontest.UserOf(r)) })
	srv.AddUser(sessiontest.User{Username: "bob", Password: "secret"})
	bob := logIn(t, srv, "username=bob&password=secret").body["id"].(string)
	assert.Equal(t, "alice", send(t, srv, "GET", "/x", "", "", id).raw)
	assert.Equal(t, "bob", send(t, srv, "GET", "/api/rest/v1/x", "", "", bob).raw)
	srv.Inject(sessiontest.Fault{Header: http.Header{"X-Fault": {"1"}}})
	assert.Equal(t, "alice", send(t, srv, "GET", "/x", "", "", id).raw)
	assert.Empty(t, sessiontest.UserOf(httptest.NewRequest("GET", "/x", nil)))
}

func TestHandlerMayStreamAndTheJournalHasTheRequestBefore(t *testing.T) {
	t.Parallel()
	more := make(chan bool)
	srv, id := handled(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "a")
		w.(http.Flusher).Flush()
		<-more
		assert.NoError(t, http.NewResponseController(w).Flush())
		io.WriteString(w, "b")
	})
	req, err := http.NewRequestWithContext(t.Context(), "GET", srv.URL+"/x", nil)
	require.NoError(t, err)
	req.Header.Set("X-FilesAPI-Auth", id)
	resp, err := srv.Client().Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	first := make([]byte, 1)
	_, err = io.ReadFull(resp.Body, first)
	require.NoError(t, err)
	assert.Len(t, srv.Requests(), 2)
	more <- true
	rest, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.Equal(t, "b", string(rest))
	assert.Len(t, srv.Requests(), 2)
}

func TestABodyOfAnySizeReachesHandler(t *testing.T) {
	t.Parallel()
	srv, id := handled(t, func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n)
	})
	assert.Equal(t, "5242880", send(t, srv, "PUT", "/x", "", strings.Repeat("x", 5<<20), id).raw)
}

func TestAFaultStrikesTheAnswerOfHandler(t *testing.T) {
	t.Parallel()
	calls := 0
	srv, id := handled(t, func(w http.ResponseWriter, r *http.Request) {
		calls++
		w.WriteHeader(http.StatusTeapot)
		io.WriteString(w, "mine")
	})
	srv.Inject(sessiontest.Fault{Status: 503})
	assert.Equal(t, 503, send(t, srv, "GET", "/x", "", "", id).status)
	assert.Equal(t, 0, calls, "the fault has answered instead")
	srv.Inject(sessiontest.Fault{Status: 503, After: true})
	assert.Equal(t, 503, send(t, srv, "GET", "/x", "", "", id).status)
	assert.Equal(t, 1, calls)
	srv.Inject(sessiontest.Fault{Header: http.Header{"X-Fault": {"1"}}, Gzip: true})
	r := send(t, srv, "GET", "/x", "", "", id)
	assert.Equal(t, 418, r.status)
	assert.Equal(t, "1", r.header.Get("X-Fault"))
	assert.Equal(t, "mine", r.raw)
	assert.Equal(t, []int{201, 503, 503, 418}, statuses(srv))
}

func statuses(srv *sessiontest.Server) []int {
	var all []int
	for _, r := range srv.Requests() {
		all = append(all, r.Status)
	}
	return all
}

func TestAHandlerThatPanicsGivesNoAnswer(t *testing.T) {
	t.Parallel()
	srv, id := handled(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	req, err := http.NewRequestWithContext(t.Context(), "POST", srv.URL+"/x", nil)
	require.NoError(t, err)
	req.Header.Set("X-FilesAPI-Auth", id)
	_, err = srv.Client().Do(req)
	assert.Error(t, err)
	assert.Equal(t, []int{201, 0}, statuses(srv))
}

func TestCloseEndsTheContextOfHandler(t *testing.T) {
	t.Parallel()
	called, ended := make(chan bool), make(chan bool)
	srv, id := handled(t, func(w http.ResponseWriter, r *http.Request) {
		close(called)
		<-r.Context().Done()
		close(ended)
	})
	req, err := http.NewRequestWithContext(t.Context(), "GET", srv.URL+"/x", nil)
	require.NoError(t, err)
	req.Header.Set("X-FilesAPI-Auth", id)
	done := make(chan error, 1)
	go func() { _, err := srv.Client().Do(req); done <- err }()
	<-called
	srv.Close()
	<-ended
	assert.Error(t, <-done)
}
