// Package session logs users in to Files.com and out again through the Session API.
// It also keeps them logged in.
//
// [Create] logs a user in and returns a [Session]. Every later call to the API
// carries the ID of the Session in the header [AuthHeader]. [Delete] logs the user
// out:
//
//	s, err := session.Create(ctx, session.CreateParams{Username: "alice", Password: password},
//		session.WithSubdomain("mysite"))
//
// A [Source] logs in whenever there is no session. A [Transport] sends this session
// with each request. A login is sent again only if the server cannot have received all of it.
// Redirects are not followed. Errors are typed: see [APIError], [TwoFactorError] and
// [ErrInvalidParams]. No error, log record or printed value holds a password, a code
// or a session ID.
package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// DefaultBaseURL serves every site that has global acceleration turned on. The
// subdomain of a site ([WithSubdomain]) always serves that site.
const DefaultBaseURL = "https://app.files.com"

// AuthHeader is the request header that carries [Session.ID] on every call after
// the login. An http.Client forwards it to every redirect target. A
// [Transport] sends it only to the origin that created the session.
const AuthHeader = "X-FilesAPI-Auth"

// Session is the login of a user, as [Create] returns it. A field that the server
// did not send, or sent with a wrong type, has its zero value. Today the API sends
// only a few of the fields.
//
// Anyone who has the ID can act as the user. Printing a Session with fmt and logging
// it with log/slog shows no secret. Its JSON form holds every secret, since that is
// how a session is stored and loaded again. A JSON handler of log/slog that finds a
// Session inside another value writes that form too. The package cannot hide the
// secrets in these cases: the verbs %p and %w, a Session in an unexported field of
// another struct, gob, and the line that net/http logs when a server breaks the
// framing of HTTP/1.1.
//
// Several goroutines may use a Session as long as none modifies it. This package
// does not modify one that it has returned.
type Session struct {
	ID                    string `json:"id"`                           // secret: the value of AuthHeader; 1 to 512 bytes of visible ASCII
	Language              string `json:"language"`                     // the user's language
	LoginToken            string `json:"login_token"`                  // secret: logs a browser in to the web interface
	LoginTokenDomain      string `json:"login_token_domain"`           // URL that accepts LoginToken
	MaxDirListingSize     *int64 `json:"max_dir_listing_size"`         // the most entries in a page of a folder listing; nil if not reported
	MultipleRegions       bool   `json:"multiple_regions"`             // the site may store files in several regions
	ReadOnly              bool   `json:"read_only"`                    // the session may not write
	RootPath              string `json:"root_path"`                    // the folder that the user is restricted to
	SFTPInsecureCiphers   bool   `json:"sftp_insecure_ciphers"`        // weak SSH ciphers are allowed
	SiteID                *int64 `json:"site_id"`                      // nil if not reported
	SSLRequired           bool   `json:"ssl_required"`                 // the user must use TLS
	TLSDisabled           bool   `json:"tls_disabled"`                 // insecure versions of TLS are allowed
	TwoFactorSetupNeeded  bool   `json:"two_factor_setup_needed"`      // the user must add a second factor before anything else
	Allowed2FAMethodSMS   bool   `json:"allowed_2fa_method_sms"`       // sent if TwoFactorSetupNeeded, like the next three
	Allowed2FAMethodTOTP  bool   `json:"allowed_2fa_method_totp"`      //
	Allowed2FAMethodU2F   bool   `json:"allowed_2fa_method_u2f"`       //
	Allowed2FAMethodYubi  bool   `json:"allowed_2fa_method_yubi"`      //
	UseProvidedModifiedAt bool   `json:"use_provided_modified_at"`     // the server keeps the modification times that a client sends
	WindowsModeFTP        bool   `json:"windows_mode_ftp"`             // FTP converts line endings to CRLF
	Username              string `json:"username,omitempty"`           // a parameter of the login; the API does not return it, so it is empty after Create
	Password              string `json:"password,omitempty"`           // secret; see Username
	OTP                   string `json:"otp,omitempty"`                // secret; see Username
	PartialSessionID      string `json:"partial_session_id,omitempty"` // secret; see Username

	Allowed2FAMethodWebAuthn bool      `json:"allowed_2fa_method_webauthn"` // like TimeoutAt, this is not in the published model
	TimeoutAt                time.Time `json:"timeout_at,omitzero"`         // when the session ends; zero if not reported

	BaseURL   string          `json:"base_url,omitempty"`   // origin that created the session; Delete and Transport send requests there
	UserAgent string          `json:"user_agent,omitempty"` // User-Agent of the login; it is sent with the session, which may be bound to it
	Raw       json.RawMessage `json:"-"`                    // secret: the whole answer, for fields that have no name here

	client *Client // the client that created the session; nil if it was loaded
}

// Create logs a user in. Without options it uses the shared default client. With
// options it uses a new client, which shares the connections of the default client
// unless [WithHTTPClient] is one of the options. See [Client.Create].
func Create(ctx context.Context, params CreateParams, opts ...Option) (*Session, error) {
	c, err := clientFor(opts)
	if err != nil {
		return nil, err
	}
	return c.Create(ctx, params)
}

// Delete logs a user out. Without options it uses the client that created s, or the
// shared default client if s was loaded. With options it uses a new client. If s was
// loaded and was created with [WithHTTPClient], pass the same option here. See
// [Client.Delete].
func Delete(ctx context.Context, s *Session, opts ...Option) error {
	if len(opts) == 0 && s != nil && s.client != nil {
		return s.client.Delete(ctx, s)
	}
	c, err := clientFor(opts)
	if err != nil {
		return err
	}
	return c.Delete(ctx, s)
}

// Format prints the origin and TimeoutAt, for every verb that fmt passes to it: not
// for %p and %w. For %+v it prints the JSON
// form without the secrets.
func (s Session) Format(f fmt.State, verb rune) {
	text := s.summary()
	if verb == 'v' && f.Flag('+') {
		text = s.details()
	}
	fmt.Fprintf(f, fmt.FormatString(f, verb), text)
}

func (s Session) summary() string {
	id := "none"
	if s.ID != "" {
		id = redacted
	}
	origin, _ := parseOrigin(s.BaseURL)
	text := fmt.Sprintf("Session{ID: %s, BaseURL: %q", id, origin)
	if !s.TimeoutAt.IsZero() {
		text += ", TimeoutAt: " + s.TimeoutAt.String()
	}
	return text + "}"
}

// details returns the JSON form of s without its secrets.
func (s Session) details() string {
	for _, secret := range []*string{&s.ID, &s.LoginToken, &s.Password, &s.OTP, &s.PartialSessionID} {
		if *secret != "" {
			*secret = redacted
		}
	}
	s.BaseURL, _ = parseOrigin(s.BaseURL)
	fields, err := json.Marshal(s)
	if err != nil { // TimeoutAt is out of range
		return s.summary()
	}
	return "Session" + string(fields)
}

// LogValue logs the origin and TimeoutAt.
func (s Session) LogValue() slog.Value {
	origin, _ := parseOrigin(s.BaseURL)
	attrs := []slog.Attr{slog.String("base_url", origin)}
	if !s.TimeoutAt.IsZero() {
		attrs = append(attrs, slog.Time("timeout_at", s.TimeoutAt))
	}
	return slog.GroupValue(attrs...)
}

// validate checks that s can be sent. It returns the origin to send it to, which is
// base if s has none.
func (s *Session) validate(base string) (origin string, err error) {
	switch {
	case s == nil:
		return "", errors.New("the *Session is nil; use one that Create returned, or that was loaded")
	case s.ID == "":
		return "", errors.New("Session.ID is empty; use a session that Create returned")
	case !validID(s.ID):
		return "", errors.New("Session.ID is not 1 to 512 bytes of visible ASCII; use it as Create returned it")
	case s.UserAgent != "" && !validHeaderText(s.UserAgent):
		return "", errors.New("Session.UserAgent is not 1 to 256 bytes of printable ASCII without leading or trailing space; use it as Create returned it")
	}
	if origin, err = s.origin(base); err != nil {
		return "", fmt.Errorf("Session.BaseURL: %w", err)
	}
	return origin, nil
}

// origin returns the origin of BaseURL, or base if BaseURL is empty.
func (s *Session) origin(base string) (string, error) {
	if s.BaseURL == "" || s.BaseURL == base {
		return base, nil
	}
	return parseOrigin(s.BaseURL)
}

// validID reports whether id can be sent in a header as it is.
func validID(id string) bool {
	return 1 <= len(id) && len(id) <= 512 && visibleASCII(id)
}

func visibleASCII(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
