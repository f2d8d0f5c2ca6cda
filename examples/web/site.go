package main

import (
	"bytes"
	"context"
	"embed"
	"html/template"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/filescom/session"
)

const (
	signedInFor   = 12 * time.Hour // at most; Files.com may end the session earlier
	challengeLife = 5 * time.Minute
	maxChallenges = 1_000
	maxUsers      = 100_000
	maxForm       = 64 << 10 // bytes
)

// site is the web site. The browser has a cookie with a random ID and nothing else.
// That ID is the key of the user in users, or of the challenge in challenges. A
// request that is still running cannot put back a value that was taken from there,
// so it cannot undo a sign-out.
//
// All of it is in the memory of this process: a restart signs everybody out, and
// several processes require a load balancer that sends a browser to the same one.
type site struct {
	client        *session.Client     // for sign-ins
	base          http.RoundTripper   // for all other calls
	sessions      *scs.SessionManager // the IDs, in its Store, and the cookie
	users         *keeper[*user]      // the users who are signed in
	challenges    *keeper[*challenge] // the users who look for a code
	challengeLife time.Duration
	log           *slog.Logger
}

// newSite returns a site whose users sign in through client. secure says that
// browsers use https.
func newSite(client *session.Client, secure bool, log *slog.Logger) *site {
	base := http.DefaultTransport.(*http.Transport).Clone()
	base.MaxIdleConnsPerHost = 100 // all users share the connections
	s := &site{client: client, base: base, sessions: scs.New(), challengeLife: challengeLife, log: log}
	s.challenges = newKeeper(maxChallenges, func(id string, _ *challenge) { s.sessions.Store.Delete(id) })
	s.users = newKeeper(maxUsers, func(id string, u *user) {
		s.sessions.Store.Delete(id)
		s.logOut(context.Background(), u)
	})

	// No IdleTimeout: with it, every request would write the browser session.
	s.sessions.Lifetime = signedInFor
	s.sessions.ErrorFunc = func(w http.ResponseWriter, r *http.Request, err error) { s.internalError(w, r, err) }
	s.sessions.Cookie.Persist = false // the cookie ends with the browser
	s.sessions.Cookie.HttpOnly = true
	s.sessions.Cookie.SameSite = http.SameSiteLaxMode
	s.sessions.Cookie.Name = "session"
	if secure {
		// A browser takes a cookie of this prefix from this host by https only.
		s.sessions.Cookie.Name = "__Host-session"
		s.sessions.Cookie.Secure = true
	}
	return s
}

// handler returns the site as an http.Handler.
func (s *site) handler() http.Handler {
	pages := http.NewServeMux()
	pages.HandleFunc("GET /{$}", s.start)
	pages.HandleFunc("GET /sign-in", s.signInForm)
	pages.HandleFunc("POST /sign-in", s.signIn)
	pages.HandleFunc("GET /code", s.codeForm)
	pages.HandleFunc("POST /code", s.code)
	pages.HandleFunc("GET /files", s.files)
	pages.HandleFunc("POST /sign-out", s.signOut)
	pages.HandleFunc("GET /signed-out", func(w http.ResponseWriter, r *http.Request) { s.problem(w, r, signedOut) })
	pages.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { s.problem(w, r, notFound) })

	// The browser says in Sec-Fetch-Site which site a request comes from, so forms
	// require no token. Browsers from before 2023 may not say so. Their forms are
	// refused, since no-referrer makes them hide the origin too.
	protection := http.NewCrossOriginProtection()
	protection.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.log.Warn("refused a request from another site")
		s.problem(w, r, crossSite)
	}))

	all := http.NewServeMux()
	all.HandleFunc("GET /style.css", asset)
	all.HandleFunc("GET /icon.svg", asset)
	all.HandleFunc("GET /forget.css", forget)
	all.Handle("/", protection.Handler(s.sessions.LoadAndSave(s.withLog(pages))))
	return withHeaders(all)
}

// withHeaders sets the headers of every answer and limits the size of forms.
func withHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		next.ServeHTTP(w, r)
	})
}

// withLog logs each request: the pattern of its path, the status and the time it
// took. The path itself and the form are not logged, since people paste secrets into
// the wrong field.
func (s *site) withLog(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		sw := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(sw, r)
		s.log.Info("request", "pattern", r.Pattern, "status", sw.status, "duration", time.Since(start))
	})
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

//go:embed page
var pageFiles embed.FS

// asset serves the stylesheet and the icon.
func asset(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "max-age=3600")
	http.ServeFileFS(w, r, pageFiles, "page"+r.URL.Path)
}

// forget makes the browser forget the pages of this site. Chromium keeps a page for
// its back button although the page is no-store, and shows it again after the
// sign-out. It forgets the page if this header comes with a file that a later page
// loads, but not if it comes with the later page itself.
func forget(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Clear-Site-Data", `"cache"`)
	http.ServeFileFS(w, r, pageFiles, "page/forget.css")
}

var templates = map[string]*template.Template{
	"sign-in": parse("sign-in"),
	"code":    parse("code"),
	"files":   parse("files"),
	"problem": parse("problem"),
}

func parse(name string) *template.Template {
	return template.Must(template.ParseFS(pageFiles, "page/layout.html", "page/"+name+".html"))
}

// page is the data of every template.
type page struct {
	Title  string
	User   string       // empty: nobody is signed in
	Forget bool         // the browser forgets the pages before this one
	Errors []fieldError // in the order of the fields
	Body   any
}

type fieldError struct{ Field, Text string }

// Error returns the error of a field, or nothing.
func (p page) Error(field string) string {
	for _, e := range p.Errors {
		if e.Field == field {
			return e.Text
		}
	}
	return ""
}

func (s *site) render(w http.ResponseWriter, status int, name string, p page) {
	var html bytes.Buffer
	if err := templates[name].ExecuteTemplate(&html, "layout", p); err != nil {
		s.log.Error("render a page", "page", name, "error", err)
		http.Error(w, internalError.Title, http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	w.Write(html.Bytes())
}

func (s *site) problem(w http.ResponseWriter, _ *http.Request, p problem) {
	if p.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int((p.RetryAfter+time.Second-1)/time.Second)))
	}
	s.render(w, p.Status, "problem", page{Title: p.Title, Forget: p.Forget, Body: p})
}

func (s *site) internalError(w http.ResponseWriter, r *http.Request, err error) {
	s.log.Error("browser session", "error", err)
	s.problem(w, r, internalError)
}

// close ends the sessions of all users at Files.com, until ctx ends.
func (s *site) close(ctx context.Context) {
	s.challenges.takeAll()
	room := make(chan struct{}, 16) // log-outs at a time
	var all sync.WaitGroup
	for _, u := range s.users.takeAll() {
		room <- struct{}{}
		all.Go(func() {
			defer func() { <-room }()
			if ctx.Err() == nil {
				s.logOut(ctx, u)
			}
		})
	}
	all.Wait()
}
