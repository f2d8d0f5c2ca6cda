package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/filescom/session"
	"github.com/filescom/session/filestore"
	"github.com/filescom/session/keyringstore"
)

// userAgent is the product in the User-Agent of all requests. A session may be bound
// to it, so it stays as it is.
const userAgent = "filessession"

// The places that keep a session.
const (
	inKeyring = "keyring"
	inFile    = "file"
)

// account is a user of a site who has logged in. It holds no secret.
type account struct {
	Origin         string `json:"origin"` // such as https://mysite.files.com
	User           string `json:"user"`
	Store          string `json:"store"`                      // inKeyring or inFile
	PasswordFile   string `json:"password_file,omitempty"`    // absolute; empty: the password was typed or piped
	TOTPSecretFile string `json:"totp_secret_file,omitempty"` // absolute; empty: there is none
}

func (a account) sameUser(b account) bool { return a.Origin == b.Origin && a.User == b.User }

func (a account) String() string { return fmt.Sprintf("%s at %s", a.User, a.Origin) }

// client returns the client for the site of the account.
func (a account) client() (*session.Client, error) {
	return session.NewClient(session.WithBaseURL(a.Origin), session.WithUserAgent(userAgent))
}

// open returns the Store of the session of the account.
func (a account) open() (session.Store, error) {
	if a.Store != inFile {
		return keyringstore.New(a.Origin, a.User), nil
	}
	path, err := filestore.DefaultPath(a.Origin, a.User)
	if err != nil {
		return nil, err
	}
	return filestore.New(path), nil
}

// place says where the session is kept.
func (a account) place() string {
	if a.Store != inFile {
		return "the keyring"
	}
	path, _ := filestore.DefaultPath(a.Origin, a.User)
	return path
}

// origin returns the origin that --site or --url names, empty if neither is given.
func (s *selection) origin() (string, error) {
	var origin string
	var err error
	switch {
	case s.site != "" && s.url != "":
		return "", usageError("--site and --url exclude each other; give one of them")
	case s.site != "":
		origin = "https://" + strings.ToLower(strings.TrimSpace(s.site)) + ".files.com"
		_, err = session.NewClient(session.WithSubdomain(strings.TrimSpace(s.site)))
	case s.url != "":
		origin = strings.ToLower(strings.TrimSuffix(strings.TrimSpace(s.url), "/"))
		_, err = session.NewClient(session.WithBaseURL(s.url))
	}
	if err != nil {
		text := strings.NewReplacer("session: ", "", "WithSubdomain", "--site", "WithBaseURL", "--url").Replace(err.Error())
		return "", usageError(text)
	}
	return origin, nil
}

// siteOf returns the value of --site for an origin, empty if only --url names it.
func siteOf(origin string) string {
	site, found := strings.CutSuffix(strings.TrimPrefix(origin, "https://"), ".files.com")
	if !found || strings.Contains(site, ".") {
		return ""
	}
	return site
}

// find returns the last login that fits the selection.
func (s *selection) find(accounts []account) (account, error) {
	origin, err := s.origin()
	if err != nil {
		return account{}, err
	}
	for _, a := range slices.Backward(accounts) {
		if (origin == "" || a.Origin == origin) && (s.user == "" || a.User == s.user) {
			return a, nil
		}
	}
	text := "not logged in"
	if s.user != "" {
		text += " as " + s.user
	}
	if origin != "" {
		text += " at " + origin
	}
	return account{}, notLoggedInError(text + "; run: " + s.loginCommand())
}

// loginCommand returns the command that logs in what is selected.
func (s *selection) loginCommand() string {
	command := "filessession login"
	switch {
	case s.url != "":
		command += " --url " + s.url
	case s.site != "":
		command += " --site " + s.site
	default:
		command += " --site S"
	}
	if s.user == "" {
		return command + " --user N"
	}
	return command + " --user " + s.user
}

// loginCommand returns the command that logs the account in again.
func (a account) loginCommand() string {
	s := selection{site: siteOf(a.Origin), user: a.User}
	if s.site == "" {
		s.url = a.Origin
	}
	return s.loginCommand()
}
