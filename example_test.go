package session_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/filescom/session"
	"github.com/filescom/session/sessiontest"
)

// Log in, list the root folder, log out. The server is the fake one of package
// sessiontest. WithSite names a real site.
func Example() {
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: "secret"})
	defer srv.Close()
	ctx := context.Background()

	s, err := session.Create(ctx, session.CreateParams{Username: "alice", Password: "secret"},
		session.WithSite(srv.URL)) // or session.WithSite("mysite")
	if err != nil {
		log.Fatal(err)
	}
	if err := list(ctx, s); err != nil {
		log.Print(err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second) // even after ^C
	defer cancel()
	if err := session.Delete(ctx, s); err != nil {
		log.Print(err)
	}
	// Output:
	// listed the folder: 200
}

// list sends the session by hand. The Transport of package autologin does that for every
// request.
func list(ctx context.Context, s *session.Session) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.BaseURL+"/api/rest/v1/folders/", nil)
	if err != nil {
		return err
	}
	req.Header.Set(session.AuthHeader, s.ID)
	req.Header.Set("User-Agent", s.UserAgent) // the session may be bound to it
	hc := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse // net/http would send the session to any host
	}}
	resp, err := hc.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := session.CheckResponse(resp); err != nil {
		return err
	}
	fmt.Println("listed the folder:", resp.StatusCode)
	return nil
}

// Log out a session of which only the ID is known. The options name its site.
func ExampleDelete() {
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: "secret"})
	defer srv.Close()
	ctx := context.Background()
	s, err := session.Create(ctx, session.CreateParams{Username: "alice", Password: "secret"}, session.WithSite(srv.URL))
	if err != nil {
		log.Fatal(err)
	}

	id := s.ID
	if err := session.Delete(ctx, &session.Session{ID: id}, session.WithSite(srv.URL)); err != nil {
		log.Fatal(err)
	}
	fmt.Println("live sessions:", len(srv.Sessions()))
	// Output:
	// live sessions: 0
}

// A Client keeps its options and serves any number of users.
func ExampleClient() {
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: "secret"},
		sessiontest.User{Username: "bob", Password: "hunter2"})
	defer srv.Close()
	ctx := context.Background()

	c, err := session.NewClient(session.WithSite(srv.URL), session.WithTimeout(5*time.Second))
	if err != nil {
		log.Fatal(err)
	}
	for user, password := range map[string]string{"alice": "secret", "bob": "hunter2"} {
		s, err := c.Create(ctx, session.CreateParams{Username: user, Password: password})
		if err != nil {
			log.Fatal(err)
		}
		defer c.Delete(ctx, s)
	}
	fmt.Println("live sessions:", len(srv.Sessions()))
	// Output:
	// live sessions: 2
}

func ExampleWithOTP() {
	srv := sessiontest.NewServer(sessiontest.User{
		Username: "alice", Password: "secret", OTP: "123456", Methods: []string{"totp", "sms"},
	})
	defer srv.Close()
	ctx, site := context.Background(), srv.URL

	ask := func(ctx context.Context, challenge *session.TwoFactorError) (string, error) {
		fmt.Println("Enter a code by one of", challenge.Methods)
		return "123456", nil // ask the user
	}
	c, err := session.NewClient(session.WithSite(site), session.WithOTP(ask))
	if err != nil {
		log.Fatal(err)
	}
	s, err := c.Create(ctx, session.CreateParams{Username: "alice", Password: "secret"})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Delete(ctx, s)
	fmt.Println("logged in:", s.ID != "")
	// Output:
	// Enter a code by one of [totp sms]
	// logged in: true
}

// A web server logs a user in by two requests. The first one posts the password
// and keeps the challenge. The second one answers it with the code.
func ExampleTwoFactorError_Answer() {
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: "secret", OTP: "123456"})
	defer srv.Close()
	c, err := session.NewClient(session.WithSite(srv.URL))
	if err != nil {
		log.Fatal(err)
	}

	type pending struct {
		params    session.CreateParams // the password is sent again with a code of digits
		challenge *session.TwoFactorError
	}
	var held sync.Map // a real server keeps a *pending by a random cookie, and for a few minutes only
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		params := session.CreateParams{Username: r.FormValue("username"), Password: r.FormValue("password")}
		ctx := context.WithoutCancel(r.Context()) // a browser that leaves must not leave a session behind
		s, err := c.Create(ctx, params)
		var challenge *session.TwoFactorError
		switch {
		case errors.As(err, &challenge):
			held.Store("cookie", &pending{params, challenge})
			fmt.Fprintln(w, "Enter your code.")
		case errors.Is(err, session.ErrNotAuthenticated):
			http.Error(w, "Wrong user name or password.", http.StatusForbidden)
		case err != nil:
			http.Error(w, "Files.com cannot be reached.", http.StatusBadGateway)
		default:
			defer c.Delete(ctx, s) // or keep it for later requests
			fmt.Fprintln(w, "Welcome.")
		}
	})
	mux.HandleFunc("POST /code", func(w http.ResponseWriter, r *http.Request) {
		value, found := held.LoadAndDelete("cookie")
		if !found {
			http.Error(w, "Log in first.", http.StatusForbidden)
			return
		}
		p, ctx := value.(*pending), context.WithoutCancel(r.Context())
		s, err := c.Create(ctx, p.challenge.Answer(p.params, r.FormValue("code")))
		if err != nil {
			http.Error(w, "Wrong code.", http.StatusForbidden)
			return
		}
		defer c.Delete(ctx, s)
		fmt.Fprintln(w, "Welcome.")
	})

	post := func(path string, form url.Values) {
		r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		fmt.Print(w.Body)
	}
	post("/login", url.Values{"username": {"alice"}, "password": {"secret"}})
	post("/code", url.Values{"code": {"123456"}})
	// Output:
	// Enter your code.
	// Welcome.
}

func ExampleAPIError() {
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: "secret"})
	defer srv.Close()
	ctx := context.Background()

	_, err := session.Create(ctx, session.CreateParams{Username: "alice", Password: "guess"},
		session.WithSite(srv.URL))
	var challenge *session.TwoFactorError
	switch {
	case err == nil:
		fmt.Println("logged in")
	case errors.As(err, &challenge):
		fmt.Println("a second factor is required:", challenge.Methods)
	case errors.Is(err, session.ErrLockedOut):
		fmt.Println("locked out: wait, do not try again")
	case errors.Is(err, session.ErrInvalidUsernameOrPassword):
		fmt.Println("the user name or the password is wrong")
	case errors.Is(err, session.ErrNotSent):
		fmt.Println("the server cannot be reached: trying again is safe")
	case errors.Is(err, session.ErrOutcomeUnknown):
		fmt.Println("a session may exist that nobody holds")
	}
	var api *session.APIError
	if errors.As(err, &api) {
		fmt.Println(api.StatusCode, api.Type)
	}
	// Output:
	// the user name or the password is wrong
	// 401 not-authenticated/invalid-username-or-password
}
