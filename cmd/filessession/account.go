package main

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/filescom/session"
	"github.com/filescom/session/autologin"
	"github.com/filescom/session/filestore"
	"github.com/filescom/session/keyringstore"
)

// userAgent is the product in the User-Agent of all requests. A session may be bound
// to it, so it never changes.
const userAgent = "filessession"

// The places that keep a session.
const (
	inKeyring = "keyring"
	inFile    = "file"
)

// account is a user of a site, after a login. It holds no secret.
type account struct {
	Origin         string `json:"origin"` // such as https://mysite.files.com
	User           string `json:"user"`
	Store          string `json:"store"`                      // inKeyring or inFile
	PasswordFile   string `json:"password_file,omitempty"`    // absolute; empty: the password was typed or piped
	TOTPSecretFile string `json:"totp_secret_file,omitempty"` // absolute; empty: there is none
}

func (a account) sameUser(b account) bool { return a.Origin == b.Origin && a.User == b.User }

func (a account) String() string { return visible(a.User + " at " + a.Origin) }

// client returns a client for the site of the account.
func (a account) client(opts ...session.Option) (*session.Client, error) {
	return session.NewClient(append(opts, session.WithSite(a.Origin), session.WithUserAgent(userAgent))...)
}

// open returns the Store of the account and the session in it, nil if there is none. A
// session of another site is an error, since a record that was copied or changed must not
// send a request to another host.
func (a account) open(ctx context.Context) (autologin.Store, *session.Session, error) {
	var store autologin.Store = keyringstore.New(a.Origin, a.User)
	if a.Store == inFile {
		path, err := filestore.DefaultPath(a.Origin, a.User)
		if err != nil {
			return nil, nil, err
		}
		store = filestore.New(path)
	}
	s, err := autologin.Load(ctx, store)
	if err == nil && s != nil && !sameSite(a.Origin, s.BaseURL) {
		err = fmt.Errorf("%s holds a session of another site, %q, for %s; remove it there, then log in again", a.place(), s.BaseURL, a)
	}
	if err != nil {
		return nil, nil, err
	}
	return store, s, nil
}

// sameSite reports whether two origins are equal, or both under files.com. A site of
// files.com may be served from the host of its region.
func sameSite(a, b string) bool {
	first, firstErr := url.Parse(strings.ToLower(a))
	second, secondErr := url.Parse(strings.ToLower(b))
	if firstErr != nil || secondErr != nil || first.Scheme != second.Scheme {
		return false
	}
	ofFilesCom := func(u *url.URL) bool {
		return u.Scheme == "https" && portOf(u) == "443" && strings.HasSuffix("."+u.Hostname(), ".files.com")
	}
	return first.Hostname() == second.Hostname() && portOf(first) == portOf(second) || ofFilesCom(first) && ofFilesCom(second)
}

func portOf(u *url.URL) string {
	defaults := map[string]string{"https": "443", "http": "80"}
	return cmp.Or(strings.TrimLeft(u.Port(), "0"), defaults[u.Scheme])
}

// place names the place of the session.
func (a account) place() string {
	if a.Store != inFile {
		return "the keyring"
	}
	path, _ := filestore.DefaultPath(a.Origin, a.User)
	return path
}

// files names the files by which header and exec log in again, empty if there are none.
func (a account) files() string {
	switch {
	case a.PasswordFile == "":
		return ""
	case a.TOTPSecretFile == "":
		return visible(a.PasswordFile)
	}
	return visible(a.PasswordFile + " and " + a.TOTPSecretFile)
}

// origin returns the origin that --site or --url names, empty if neither is given.
func (s *selection) origin() (string, error) {
	switch {
	case s.site != "" && s.url != "":
		return "", usageError("--site and --url exclude each other; give one of them")
	case s.site == "" && s.url == "":
		return "", nil
	}
	c, err := session.NewClient(session.WithSite(cmp.Or(s.site, s.url)))
	if err != nil {
		return "", usageError(plain(err))
	}
	return c.BaseURL(), nil
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

// loginCommand returns the command that logs in to the selection.
func (s *selection) loginCommand() string {
	command := "filessession login"
	switch {
	case s.url != "":
		command += " --url " + word(s.url)
	case s.site != "":
		command += " --site " + word(s.site)
	default:
		command += " --site S"
	}
	if s.user == "" {
		return command + " --user N"
	}
	return command + " --user " + word(s.user)
}

// loginCommand returns the command that logs the account in again.
func (a account) loginCommand() string {
	s := selection{site: siteOf(a.Origin), user: a.User}
	if s.site == "" {
		s.url = a.Origin
	}
	return s.loginCommand()
}
