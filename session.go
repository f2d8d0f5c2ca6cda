// Package session logs users of Files.com in and out by its Session API, and
// keeps them logged in.
//
// [Create] logs in and returns a [Session]; every later call to the API
// carries its ID in the header [AuthHeader]; [Delete] logs out:
//
//	s, err := session.Create(ctx, session.CreateParams{Username: "alice", Password: password},
//		session.WithSubdomain("mysite"))
//
// A [Source] logs in whenever there is no session, and a [Transport] sends it.
// A login is posted once: it is never sent again when it may have reached the
// server, and never follows a redirect. Errors are typed: see [APIError],
// [TwoFactorError] and the Err variables. No error, log record or printed value
// holds a password, a code or a session ID.
package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// DefaultBaseURL serves every site that has global acceleration on. The
// site's own subdomain ([WithSubdomain]) serves every site.
const DefaultBaseURL = "https://app.files.com"

// AuthHeader is the request header that carries [Session.ID] on every call
// after the login. An http.Client takes it to any host that a redirect names; a
// [Transport], which sets it by itself, does not.
const AuthHeader = "X-FilesAPI-Auth"

// Session is a user's login, as [Create] returns it. A field that the server
// did not send, or sent with a wrong type, has its zero value; on the wire of
// today most are left out.
//
// Whoever holds ID acts as the user. Printing and logging a Session by fmt
// and log/slog shows no secret, but its JSON form holds them all, since that
// is how a session is stored and loaded again: so does a log/slog JSON handler
// that meets one inside another value. Out of reach, and not redacted: %p, %w, a
// Session in another struct's unexported field, gob, and the line that net/http
// logs when a server breaks the framing of HTTP/1.1.
type Session struct {
	ID                    string `json:"id"`                           // the secret for AuthHeader: 1 to 512 bytes of visible ASCII
	Language              string `json:"language"`                     // the user's language
	LoginToken            string `json:"login_token"`                  // secret: lets a browser into the web interface
	LoginTokenDomain      string `json:"login_token_domain"`           // URL where LoginToken is good
	MaxDirListingSize     *int64 `json:"max_dir_listing_size"`         // entries in a page of a folder listing; nil when not reported
	MultipleRegions       bool   `json:"multiple_regions"`             // the site may store files in several regions
	ReadOnly              bool   `json:"read_only"`                    // the session may not write
	RootPath              string `json:"root_path"`                    // the folder that the user is restricted to
	SFTPInsecureCiphers   bool   `json:"sftp_insecure_ciphers"`        // weak SSH ciphers are allowed
	SiteID                *int64 `json:"site_id"`                      // nil when not reported
	SSLRequired           bool   `json:"ssl_required"`                 // the user must use TLS
	TLSDisabled           bool   `json:"tls_disabled"`                 // insecure versions of TLS are allowed
	TwoFactorSetupNeeded  bool   `json:"two_factor_setup_needed"`      // the user must add a second factor before anything else
	Allowed2FAMethodSMS   bool   `json:"allowed_2fa_method_sms"`       // sent when TwoFactorSetupNeeded, as are the next ones
	Allowed2FAMethodTOTP  bool   `json:"allowed_2fa_method_totp"`      //
	Allowed2FAMethodU2F   bool   `json:"allowed_2fa_method_u2f"`       //
	Allowed2FAMethodYubi  bool   `json:"allowed_2fa_method_yubi"`      //
	UseProvidedModifiedAt bool   `json:"use_provided_modified_at"`     // modification times given by the client are kept
	WindowsModeFTP        bool   `json:"windows_mode_ftp"`             // FTP emulates CRLF line ends
	Username              string `json:"username,omitempty"`           // a parameter of the login; never answered, empty after Create
	Password              string `json:"password,omitempty"`           // secret; as Username
	OTP                   string `json:"otp,omitempty"`                // secret; as Username
	PartialSessionID      string `json:"partial_session_id,omitempty"` // secret; as Username

	Allowed2FAMethodWebAuthn bool      `json:"allowed_2fa_method_webauthn"` // not in the published model, as TimeoutAt
	TimeoutAt                time.Time `json:"timeout_at,omitzero"`         // when the session ends; zero when not reported

	BaseURL   string          `json:"base_url,omitempty"`   // origin that made the session; Delete goes there
	UserAgent string          `json:"user_agent,omitempty"` // that made the session, which may be bound to it; Delete sends it
	Raw       json.RawMessage `json:"-"`                    // the whole answer, secrets and all, for fields that have no name here

	client *Client // that made the session; nil for one that was loaded
}

// Create logs a user in by the shared default client, or by a client of the
// given options that shares its connections. See [Client.Create].
func Create(ctx context.Context, params CreateParams, opts ...Option) (*Session, error) {
	c, err := clientFor(opts)
	if err != nil {
		return nil, err
	}
	return c.Create(ctx, params)
}

// Delete logs a user out. Without options it is sent by the client that made
// s, or by the shared default client if s was loaded from where it was
// stored; with options, by a client of these, as a loaded session wants that
// was made through [WithHTTPClient]. See [Client.Delete].
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

// Format prints what is not secret, whatever the verb.
func (s Session) Format(f fmt.State, verb rune) {
	base, _ := parseBaseURL(s.BaseURL)
	id := "none"
	if s.ID != "" {
		id = redacted
	}
	text := fmt.Sprintf("Session{ID: %s, BaseURL: %q", id, base)
	if !s.TimeoutAt.IsZero() {
		text += ", TimeoutAt: " + s.TimeoutAt.String()
	}
	fmt.Fprintf(f, fmt.FormatString(f, verb), text+"}")
}

// LogValue logs what is not secret.
func (s Session) LogValue() slog.Value {
	base, _ := parseBaseURL(s.BaseURL)
	attrs := []slog.Attr{slog.String("base_url", base)}
	if !s.TimeoutAt.IsZero() {
		attrs = append(attrs, slog.Time("timeout_at", s.TimeoutAt))
	}
	return slog.GroupValue(attrs...)
}

// address checks that s can be sent, and returns the origin to send it to. known
// is an origin that needs no check.
func (s *Session) address(known string) (origin string, err error) {
	switch {
	case s == nil:
		return "", errors.New("the session is nil")
	case s.ID == "":
		return "", errors.New("the session has no id")
	case !validID(s.ID):
		return "", errors.New("the session's id is not 1 to 512 bytes of visible ASCII")
	case s.UserAgent != "" && !validUserAgent(s.UserAgent):
		return "", errors.New("the session's user agent is not 1 to 256 bytes of printable ASCII")
	}
	if origin, err = s.origin(known); err != nil {
		return "", fmt.Errorf("the session's base URL %w", err)
	}
	return origin, nil
}

// origin is that of BaseURL, known where there is none.
func (s *Session) origin(known string) (string, error) {
	if s.BaseURL == "" || s.BaseURL == known {
		return known, nil
	}
	return parseBaseURL(s.BaseURL)
}

// validID reports whether id can be sent in a header as it is.
func validID(id string) bool {
	return len(id) >= 1 && len(id) <= 512 && visibleASCII(id)
}

func visibleASCII(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
