package sessiontest_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/filescom/session/sessiontest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fromPage makes a request as a page of another origin does. It returns the status and
// the headers of CORS.
func fromPage(t *testing.T, srv *sessiontest.Server, method, path, body string, header http.Header) (status int, cors http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, srv.URL+path, strings.NewReader(body))
	require.NoError(t, err)
	req.Header = header.Clone()
	req.Header.Set("Origin", "http://localhost:5173")
	resp, err := srv.Client().Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body) // one of the faults cuts it off
	cors = http.Header{}
	for name, values := range resp.Header {
		if strings.HasPrefix(name, "Access-Control-") {
			cors[name] = values
		}
	}
	return resp.StatusCode, cors
}

var preflight = http.Header{"Access-Control-Request-Method": {"POST"}, "Access-Control-Request-Headers": {"content-type,x-filesapi-auth"}}

func TestPreflightsAreAnsweredAndNotPartOfTheJournal(t *testing.T) {
	t.Parallel()
	srv := newServer(t, alice)
	srv.SetCORS(true)
	srv.Inject(sessiontest.Fault{Status: 503})
	for _, path := range []string{sessions, "/api/rest/v1/folders/a", "/elsewhere"} {
		status, cors := fromPage(t, srv, "OPTIONS", path, "", preflight)
		assert.Equal(t, 204, status)
		assert.Equal(t, http.Header{
			"Access-Control-Allow-Origin":  {"*"},
			"Access-Control-Allow-Methods": {"GET, POST, PATCH, PUT, DELETE"},
			"Access-Control-Allow-Headers": {"X-FilesAPI-Auth, Content-Type"},
		}, cors)
	}
	assert.Empty(t, srv.Requests())
	assert.Equal(t, 503, logIn(t, srv, good).status, "the fault has waited for a request")
	srv.Reset()
	status, _ := fromPage(t, srv, "OPTIONS", "/api/rest/v1/x", "", http.Header{})
	assert.Equal(t, 401, status, "this is no preflight")
}

func TestPagesMayReadEveryAnswerWhateverTheFault(t *testing.T) {
	t.Parallel()
	srv, id := handled(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "mine") })
	srv.SetCORS(true)
	for _, fault := range []sessiontest.Fault{
		{}, {Status: 503}, {Header: http.Header{"X-Fault": {"1"}}}, {Truncate: 1}, {Surplus: "x"}, {Drip: time.Nanosecond}, {Gzip: true},
	} {
		for _, header := range []http.Header{{}, {"X-Filesapi-Auth": {id}}} {
			if fault.Validate() == nil {
				srv.Inject(fault)
			}
			_, cors := fromPage(t, srv, "GET", "/api/rest/v1/x", "", header)
			assert.Equal(t, http.Header{"Access-Control-Allow-Origin": {"*"}, "Access-Control-Expose-Headers": {"*"}}, cors, "%+v", fault)
		}
	}
	assert.NotContains(t, logIn(t, srv, good).header, "Access-Control-Allow-Origin", "a program that is no page sends no Origin")
}

func TestPagesOfOtherOriginsMayNotUseTheServerByDefault(t *testing.T) {
	t.Parallel()
	srv := newServer(t, alice)
	for method, header := range map[string]http.Header{"OPTIONS": preflight, "POST": {"Content-Type": {form}}} {
		_, cors := fromPage(t, srv, method, sessions, good, header)
		assert.Empty(t, cors)
	}
	assert.Len(t, srv.Requests(), 2)
}
