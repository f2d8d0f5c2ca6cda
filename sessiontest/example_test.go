package sessiontest_test

import (
	"fmt"
	"log"
	"net/http"
	"net/url"

	"github.com/filescom/session/sessiontest"
)

// logInTo logs alice in, and returns the status and the session ID.
func logInTo(srv *sessiontest.Server) (status int, id string) {
	resp, err := srv.Client().PostForm(srv.URL+"/api/rest/v1/sessions", url.Values{"username": {"alice"}, "password": {"secret"}})
	if err != nil {
		log.Fatal(err)
	}
	resp.Body.Close()
	if ids := srv.Sessions(); len(ids) > 0 {
		id = ids[0]
	}
	return resp.StatusCode, id
}

// The first login fails, and the second one succeeds.
func ExampleServer_Inject() {
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: "secret"})
	defer srv.Close()
	srv.Inject(sessiontest.Fault{Method: "POST", Status: 503})

	for range 2 {
		status, _ := logInTo(srv)
		fmt.Println(status)
	}
	for _, r := range srv.Requests() {
		fmt.Println(r)
	}
	// Output:
	// 503
	// 201
	// POST   /api/rest/v1/sessions 503 (fault)
	// POST   /api/rest/v1/sessions 201 alice
}

// The test adds an endpoint for live sessions.
func ExampleServer_handler() {
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: "secret"})
	defer srv.Close()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/rest/v1/files/{path}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"path":%q}`, r.PathValue("path"))
	})
	srv.Handler = mux

	_, id := logInTo(srv)
	for _, session := range []string{id, "unknown"} {
		req, err := http.NewRequest(http.MethodGet, srv.URL+"/api/rest/v1/files/a.txt", nil)
		if err != nil {
			log.Fatal(err)
		}
		req.Header.Set("X-FilesAPI-Auth", session)
		resp, err := srv.Client().Do(req)
		if err != nil {
			log.Fatal(err)
		}
		resp.Body.Close()
		fmt.Println(resp.StatusCode)
	}
	// Output:
	// 200
	// 401
}
