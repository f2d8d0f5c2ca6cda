package main

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/filescom/session"
	"github.com/filescom/session/autologin"
)

// explain returns a sentence with the problem and a way out of it. It shows no secret.
func explain(err error) string {
	if text := explainRefusal(err); text != "" {
		return text
	}
	if text := explainAnswer(err); text != "" {
		return text
	}
	return plain(err)
}

// plain returns the text of an error without the names of the library.
func plain(err error) string {
	return strings.NewReplacer(
		": session: ", ": ", "invalid parameters: ", "",
		"WithSite: base URL", "the site", "WithSite: ", "",
		"read the stored session: ", "", "save the session: ", "", "lock the stored session: ", "", "remove the stored session: ", "",
		"another process that shares the session", "another run",
		"its files need a folder, so use another path", "remove it, since a folder is needed there",
		", or use another path", "",
		"keep the session in a file by filestore", "run login with --store file to keep the session in a private file",
		"keep it in a file by filestore", "run login with --store file to keep it in a private file",
	).Replace(strings.TrimPrefix(err.Error(), "session: "))
}

// visible escapes control characters, which could change the screen of the terminal.
func visible(text string) string {
	var b strings.Builder
	for _, r := range text {
		if strconv.IsPrint(r) {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return b.String()
}

// word quotes a word of a command unless a shell takes it as it is.
func word(text string) string {
	if strings.IndexFunc(text, func(r rune) bool {
		return r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("@%_+=:,./-", r)
	}) < 0 {
		return text
	}
	return strconv.Quote(text)
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

// explain names the refused part and the place to change it, and counts the attempts.
func (e *refusalError) explain() string {
	text := "the user name or the password is wrong"
	before := strings.Contains(e.err.Error(), "this answer is remembered")
	switch {
	case !errors.Is(e.err, session.ErrInvalidUsernameOrPassword):
		text = "the code is wrong or too old"
		if e.totpSecretFile != "" {
			text += fmt.Sprintf("; check the TOTP secret in %q, and the clock of this computer", e.totpSecretFile)
		}
	case before && e.passwordFile != "":
		text += fmt.Sprintf("; the site has refused this password before, so it was not sent again. Change %s, or run login without --password-file to type the password", nameOfFile(e.passwordFile))
	case e.passwordFile != "":
		text += "; check the user name and " + nameOfFile(e.passwordFile)
	}
	if e.attempts > 1 {
		text += fmt.Sprintf("; %d attempts have failed, and more may lock the user out", e.attempts)
	}
	if e.hint != "" {
		text += ". " + strings.TrimSuffix(e.hint, ".")
	}
	return text
}

// nameOfFile names the file of a password in a message.
func nameOfFile(name string) string {
	if name == "-" {
		return "the password of standard input"
	}
	return fmt.Sprintf("the password in %q", name)
}

// explainAnswer explains an error of the network or an answer other than a refusal,
// and returns "" for any other.
func explainAnswer(err error) string {
	var (
		backoff *autologin.BackoffError
		moved   *session.RegionMismatchError
		dns     *net.DNSError
		answer  *session.APIError
		unclear unclearLogin
	)
	errors.As(err, &answer)
	switch {
	case errors.As(err, &unclear):
		return explain(unclear.error) + "; a session may have been made, which ends by itself"
	case errors.As(err, &backoff):
		return fmt.Sprintf("the last login failed: %s. Try again in %v", explain(backoff.Err), backoff.Wait.Round(time.Second)+time.Second)
	case errors.As(err, &moved) && moved.Host != "":
		return "the site is served from another host; if you trust it, log in with --url https://" + moved.Host
	case errors.Is(err, session.ErrRateLimited):
		return fmt.Sprintf("there were too many requests; try again in %v", cmp.Or(answer.RetryAfter, time.Minute))
	case errors.As(err, &dns):
		return "there is no host " + dns.Name + "; check the name of the site, and the network"
	case errors.Is(err, session.ErrNotSent), answer == nil && errors.Is(err, session.ErrOutcomeUnknown):
		return "the site cannot be reached: " + plain(err)
	case answer != nil && (answer.StatusCode == http.StatusNotFound || answer.StatusCode == http.StatusMethodNotAllowed):
		return "no Files.com site answers there; check its name: " + plain(err)
	case answer != nil:
		return adviceFor(answer) + plain(err)
	}
	return ""
}

// adviceFor returns the advice that goes before the text of an answer.
func adviceFor(answer *session.APIError) string {
	switch {
	case answer.StatusCode/100 == 2:
		return "the answer holds no session; check the name of the site, and whether a proxy answers in its place: "
	case answer.StatusCode/100 == 3:
		return "the site redirects to another address; check its name, and whether a login page of the network answers in its place: "
	case answer.StatusCode/100 == 5:
		return "the site has failed; try again later: "
	case answer.Type == "":
		return "the site refuses the request and does not say why; check its name, and whether a proxy answers in its place: "
	}
	return "the site refuses the request: "
}

// unclearLogin is the error of a login that may have made a session.
type unclearLogin struct{ error }

func (e unclearLogin) Unwrap() error { return e.error }
