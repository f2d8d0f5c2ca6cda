package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/filescom/session"
)

// problem is a page that says what has happened and what to do.
type problem struct {
	Status     int
	Title      string
	Text       []string // paragraphs
	Link, Href string   // what to do next; empty Link: nothing
	Reference  string   // for Files.com support
	RetryAfter time.Duration
	Forget     bool // the back button must not show earlier pages
}

const signInAgain = "Sign in again"

var (
	signedOut = problem{
		Status: http.StatusOK,
		Title:  "You are signed out",
		Text:   []string{"To see your files, sign in again."},
		Link:   signInAgain, Href: "/sign-in",
		Forget: true,
	}
	signedOutHere = problem{
		Status: http.StatusOK,
		Title:  "You are signed out of this site",
		Text: []string{
			"Files.com did not confirm that it has ended your session. The session ends by itself.",
			"If this is not your own computer, tell an administrator of your site.",
		},
		Link: signInAgain, Href: "/sign-in",
		Forget: true,
	}
	challengeExpired = problem{
		Status: http.StatusForbidden,
		Title:  "This sign-in has expired",
		Text: []string{
			"You have 5 minutes to enter a code, and each code page can be sent once.",
			"Sign in again with your user name and password. Then enter a new code.",
		},
		Link: signInAgain, Href: "/sign-in",
	}
	setupNeeded = problem{
		Status: http.StatusForbidden,
		Title:  "Your account needs a second factor",
		Text: []string{
			"Your site requires a code or a key besides the password, and your account has none yet.",
			"Sign in at Files.com itself and add one. Then sign in here.",
		},
		Link: signInAgain, Href: "/sign-in",
	}
	sessionEnded = problem{
		Status: http.StatusForbidden,
		Title:  "Your session has ended",
		Text: []string{
			"Files.com ends a session after a time, or when an administrator ends it.",
			"Sign in again to go on.",
		},
		Link: signInAgain, Href: "/sign-in",
		Forget: true,
	}
	crossSite = problem{
		Status: http.StatusForbidden,
		Title:  "This request came from another site",
		Text: []string{
			"To protect you, we have not done what it asked for.",
			"If you followed a link or pressed a button on another site, close that page.",
		},
		Link: "Go to the start page", Href: "/",
	}
	notFound = problem{
		Status: http.StatusNotFound,
		Title:  "There is no such page",
		Text:   []string{"Check the address, or go to the start page."},
		Link:   "Go to the start page", Href: "/",
	}
	internalError = problem{
		Status: http.StatusInternalServerError,
		Title:  "Something went wrong on our side",
		Text:   []string{"Wait a minute, then try again. If it goes wrong again, tell an administrator of your site."},
		Link:   "Go to the start page", Href: "/",
	}
)

// explain returns the page for an error of package session. No such error holds a
// secret, but the page shows only the message and the reference of the API.
func explain(err error) problem {
	var (
		api   *session.APIError
		moved *session.RegionMismatchError
	)
	p := problem{Status: http.StatusBadGateway, Link: "Try again", Href: "/"}
	if errors.As(err, &api) {
		p.Reference, p.RetryAfter = api.Instance, api.RetryAfter
	}
	switch {
	case errors.Is(err, session.ErrLockedOut):
		p.Status, p.Title, p.Link = http.StatusForbidden, "Your account is locked", ""
		p.Text = []string{
			"There were too many failed sign-ins.",
			wait(p.RetryAfter, "a while") + ", then sign in again. If you cannot wait, ask an administrator of your site to unlock your account.",
		}
	case errors.Is(err, session.ErrRateLimited):
		p.Status, p.Title = http.StatusTooManyRequests, "Too many requests"
		p.Text = []string{wait(p.RetryAfter, "a minute") + ", then try again."}
	case errors.As(err, &moved):
		p.Title = "Your site has moved"
		p.Text = []string{"Files.com serves your site at another address. Tell an administrator of your site, who can change the address here."}
		p.Link = ""
	case errors.Is(err, session.ErrNotSent):
		p.Title = "Files.com cannot be reached"
		p.Text = []string{"We could not connect to Files.com, and have sent it nothing. Wait a minute, then try again."}
	case errors.Is(err, session.ErrOutcomeUnknown), api == nil:
		p.Title = "Files.com did not answer"
		p.Text = []string{"Wait a minute, then try again. If you are asked for a code, enter a new one."}
	default:
		p.Status, p.Title = http.StatusForbidden, "Files.com refused the request"
		p.Text = []string{
			cmp.Or(api.Message, "Files.com gave no reason."),
			"If you do not know why, ask an administrator of your site.",
		}
	}
	return p
}

// wait returns a text that says how long to wait. If d is 0, it uses unknown.
func wait(d time.Duration, unknown string) string {
	switch {
	case d <= 0:
		return "Wait " + unknown
	case d < 2*time.Minute:
		return "Wait " + count(d, time.Second, "second")
	case d < 2*time.Hour:
		return "Wait " + count(d, time.Minute, "minute")
	}
	return "Wait " + count(d, time.Hour, "hour")
}

// count returns d in units, rounded up.
func count(d, unit time.Duration, name string) string {
	n := int((d + unit - 1) / unit)
	if n == 1 {
		return "1 " + name
	}
	return fmt.Sprintf("%d %ss", n, name)
}

// codeWasSent reports whether an earlier sign-in has already sent a text message
// with a code. Then the API sends no second one, and requires the code of the first.
func codeWasSent(err error) bool {
	var api *session.APIError
	return errors.As(err, &api) && strings.HasSuffix(api.Type, "two-factor-authentication-code-already-sent")
}
