package main

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/filescom/session"
)

// loginTimeout limits a sign-in at Files.com.
const loginTimeout = 20 * time.Second

// challenge is a sign-in with the right password whose user is looking for the code.
// The API requires the password again with the code.
type challenge struct {
	params  session.CreateParams
	demand  *session.TwoFactorError
	until   time.Time
	problem string // with the last code
}

// id returns the ID of the browser session, or "" if there is none.
func (s *site) id(r *http.Request) string { return s.sessions.Token(r.Context()) }

// user returns the user who is signed in, or nil.
func (s *site) user(r *http.Request) *user {
	u, _ := s.users.get(s.id(r))
	return u
}

func (s *site) start(w http.ResponseWriter, r *http.Request) {
	if s.user(r) != nil {
		http.Redirect(w, r, "/files", http.StatusSeeOther)
		return
	}
	http.Redirect(w, r, "/sign-in", http.StatusSeeOther)
}

func (s *site) signInForm(w http.ResponseWriter, r *http.Request) {
	if s.user(r) != nil {
		http.Redirect(w, r, "/files", http.StatusSeeOther)
		return
	}
	s.showSignIn(w, http.StatusOK, "")
}

func (s *site) showSignIn(w http.ResponseWriter, status int, username string, errs ...fieldError) {
	s.render(w, status, "sign-in", page{Title: "Sign in", Errors: errs, Body: username})
}

func (s *site) signIn(w http.ResponseWriter, r *http.Request) {
	params := session.CreateParams{
		Username: strings.TrimSpace(r.PostFormValue("username")),
		Password: r.PostFormValue("password"),
	}
	var missing []fieldError
	if params.Username == "" {
		missing = append(missing, fieldError{"username", "Enter your user name."})
	}
	if params.Password == "" {
		missing = append(missing, fieldError{"password", "Enter your password."})
	}
	if missing != nil {
		s.showSignIn(w, http.StatusUnprocessableEntity, params.Username, missing...)
		return
	}
	c := &challenge{params: params, until: time.Now().Add(s.challengeLife)}
	sess, err := s.create(r, params)
	switch {
	case err == nil:
		s.welcome(w, r, params.Username, sess)
	case errors.As(err, &c.demand):
		s.ask(w, r, c)
	case codeWasSent(err):
		c.demand = &session.TwoFactorError{Methods: []string{"sms"}, Err: err}
		s.ask(w, r, c)
	case errors.Is(err, session.ErrInvalidUsernameOrPassword):
		s.showSignIn(w, http.StatusUnprocessableEntity, params.Username,
			fieldError{"password", "The user name or the password is wrong. Enter both again."})
	default:
		s.fail(w, r, err)
	}
}

// create logs in at Files.com. It goes on if the browser leaves meanwhile: a login
// that is cut off may leave a session that nobody can end.
func (s *site) create(r *http.Request, params session.CreateParams) (*session.Session, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), loginTimeout)
	defer cancel()
	return s.client.Create(ctx, params)
}

// welcome signs a user in.
func (s *site) welcome(w http.ResponseWriter, r *http.Request, username string, sess *session.Session) {
	u := newUser(username, sess, s.base)
	if r.Context().Err() != nil || s.endedMeanwhile(r) {
		s.logOut(r.Context(), u)
		s.problem(w, r, signedOut)
		return
	}
	if sess.TwoFactorSetupNeeded {
		s.logOut(r.Context(), u)
		s.problem(w, r, setupNeeded)
		return
	}
	if err := s.begin(r); err != nil {
		s.logOut(r.Context(), u)
		s.internalError(w, r, err)
		return
	}
	s.users.put(s.id(r), u, time.Now().Add(signedInFor))
	http.Redirect(w, r, "/files", http.StatusSeeOther)
}

// endedMeanwhile reports whether the browser session of a request has ended while
// the request was running, as by a sign-out in another tab.
func (s *site) endedMeanwhile(r *http.Request) bool {
	id := s.id(r)
	if id == "" { // the request came without one
		return false
	}
	_, found, err := s.sessions.Store.Find(id)
	return err == nil && !found
}

// begin ends the sign-in that the browser session had and gives it a new ID. So an
// ID that somebody else has put into the browser is useless.
func (s *site) begin(r *http.Request) error {
	s.end(r)
	return s.sessions.RenewToken(r.Context())
}

// end ends the sign-in that the browser session has. It reports whether Files.com
// has confirmed the log-out.
func (s *site) end(r *http.Request) (confirmed bool) {
	s.challenges.take(s.id(r))
	u, ok := s.users.take(s.id(r))
	return !ok || s.logOut(r.Context(), u)
}

// logOut ends the session of a user at Files.com. If that fails, the session ends
// by itself.
func (s *site) logOut(ctx context.Context, u *user) (confirmed bool) {
	if err := u.logOut(ctx); err != nil {
		s.log.Warn("sign-out", "error", err)
		return false
	}
	return true
}

// ask keeps a challenge and sends the browser to the page that asks for the code.
func (s *site) ask(w http.ResponseWriter, r *http.Request, c *challenge) {
	if err := s.begin(r); err != nil {
		s.internalError(w, r, err)
		return
	}
	s.challenges.put(s.id(r), c, c.until)
	s.sessions.SetDeadline(r.Context(), c.until.Add(loginTimeout)) // the last answer may take as long
	http.Redirect(w, r, "/code", http.StatusSeeOther)
}

// codePage is the body of the page that asks for the code.
type codePage struct {
	Username string
	Methods  []string // as the API spells them
}

func (s *site) codeForm(w http.ResponseWriter, r *http.Request) {
	c, ok := s.challenges.get(s.id(r))
	if !ok {
		s.noChallenge(w, r)
		return
	}
	p := page{Title: "Enter your code", Body: codePage{c.params.Username, c.demand.Methods}}
	if c.problem != "" {
		p.Errors = []fieldError{{"code", c.problem}}
	}
	s.render(w, http.StatusOK, "code", p)
}

func (s *site) noChallenge(w http.ResponseWriter, r *http.Request) {
	if s.user(r) != nil { // the form was sent twice
		http.Redirect(w, r, "/files", http.StatusSeeOther)
		return
	}
	s.problem(w, r, challengeExpired)
}

// code answers a challenge. It takes the challenge first, so that each challenge is
// answered once. After a wrong code it asks again, within the time of the first
// challenge.
func (s *site) code(w http.ResponseWriter, r *http.Request) {
	c, ok := s.challenges.take(s.id(r))
	if !ok {
		s.noChallenge(w, r)
		return
	}
	again := *c
	answer := r.PostFormValue("code")
	if strings.TrimSpace(answer) == "" {
		again.problem = "Enter the code."
		s.ask(w, r, &again)
		return
	}
	sess, err := s.create(r, c.demand.Answer(c.params, answer))
	switch {
	case err == nil:
		s.welcome(w, r, c.params.Username, sess)
	case errors.As(err, &again.demand), errors.Is(err, session.ErrOneTimePasswordIncorrect):
		again.problem = "The code is wrong or too old. Enter a new one."
		s.ask(w, r, &again)
	case errors.Is(err, session.ErrNotSent):
		again.problem = "Files.com cannot be reached. Wait a minute, then enter a new code."
		s.ask(w, r, &again)
	case errors.Is(err, session.ErrInvalidUsernameOrPassword): // or the partial session is too old
		s.problem(w, r, challengeExpired)
	default:
		s.fail(w, r, err)
	}
}

// fail shows the page for an error of package session.
func (s *site) fail(w http.ResponseWriter, r *http.Request, err error) {
	s.log.Warn("Files.com", "error", err)
	s.problem(w, r, explain(err))
}

func (s *site) signOut(w http.ResponseWriter, r *http.Request) {
	confirmed := s.end(r)
	if err := s.sessions.Destroy(r.Context()); err != nil {
		s.internalError(w, r, err)
		return
	}
	if !confirmed {
		s.problem(w, r, signedOutHere)
		return
	}
	http.Redirect(w, r, "/signed-out", http.StatusSeeOther)
}
