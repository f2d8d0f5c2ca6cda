package main

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/filescom/session"
)

// explain says in a sentence what happened and what to do. It shows no secret.
func explain(err error) string {
	if text := explainRefusal(err); text != "" {
		return text
	}
	if text := explainAnswer(err); text != "" {
		return text
	}
	text := plain(err)
	if errors.Is(err, session.ErrOutcomeUnknown) {
		text += "; if a session was made, it ends by itself"
	}
	return text
}

// plain returns the text of an error without the names of the library.
func plain(err error) string {
	return strings.NewReplacer(
		": session: ", ": ",
		"load from the Store: ", "", "save to the Store: ", "", "lock the Store: ", "",
		"keep the session in a file by filestore", "run login with --store file to keep the session in a private file",
		"keep it in a file by filestore", "run login with --store file to keep it in a private file",
	).Replace(strings.TrimPrefix(err.Error(), "session: "))
}

// explainRefusal explains an error that refuses the user, and returns "" for any other.
func explainRefusal(err error) string {
	var refusal *refusalError
	var answer *session.APIError
	errors.As(err, &answer)
	switch {
	case errors.Is(err, session.ErrLockedOut):
		text := "too many logins have failed, so the site has locked the user out"
		if answer != nil && answer.RetryAfter > 0 {
			return fmt.Sprintf("%s; try again in %v", text, answer.RetryAfter)
		}
		return text + "; wait, or ask the administrator of the site"
	case errors.As(err, &refusal):
		return refusal.explain()
	case errors.Is(err, session.ErrInvalidUsernameOrPassword):
		return "the user name or the password is wrong"
	case errors.Is(err, session.ErrOneTimePasswordIncorrect):
		return "the code is wrong or too old"
	}
	return ""
}

// explain says what was refused and how often.
func (e *refusalError) explain() string {
	text := "the user name or the password is wrong"
	if !errors.Is(e.err, session.ErrInvalidUsernameOrPassword) {
		text = "the code is wrong or too old"
	}
	if e.fromFile && strings.Contains(e.err.Error(), "another process that shares the Store") {
		text += "; the site has refused this password before, so it was not sent again. Change the file, or run login without --password-file"
	}
	if e.attempts > 1 {
		text += fmt.Sprintf("; %d attempts have failed, and more may lock the user out", e.attempts)
	}
	if e.hint != "" {
		text += ". " + strings.TrimSuffix(e.hint, ".")
	}
	return text
}

// explainAnswer explains an error of the network or an answer other than a refusal,
// and returns "" for any other.
func explainAnswer(err error) string {
	var (
		backoff *session.BackoffError
		moved   *session.RegionMismatchError
		dns     *net.DNSError
		answer  *session.APIError
		silent  unreachableError
	)
	errors.As(err, &answer)
	switch {
	case errors.As(err, &backoff):
		return fmt.Sprintf("the last login failed: %s. Try again in %v", explain(backoff.Err), backoff.Wait.Round(time.Second)+time.Second)
	case errors.As(err, &moved) && moved.Host != "":
		return "the site is served from another host; if you trust it, log in with --url https://" + moved.Host
	case errors.Is(err, session.ErrRateLimited):
		return fmt.Sprintf("there were too many requests; try again in %v", cmp.Or(answer.RetryAfter, time.Minute))
	case errors.As(err, &dns):
		return "there is no host " + dns.Name + "; check the name of the site, and the network"
	case errors.Is(err, session.ErrNotSent), errors.As(err, &silent):
		return "the site cannot be reached: " + plain(err)
	case answer != nil && (answer.StatusCode == http.StatusNotFound || answer.StatusCode == http.StatusMethodNotAllowed):
		return "no Files.com site answers there; check its name: " + plain(err)
	}
	return ""
}
