// Package session logs users in to Files.com and out again through the Session API.
//
// [Create] logs a user in and returns a [Session], and [Delete] logs the user out:
//
//	s, err := session.Create(ctx, session.CreateParams{Username: "alice", Password: password},
//		session.WithSite("mysite"))
//	if err != nil {
//		return err
//	}
//	defer session.Delete(ctx, s)
//
// Every other call goes to Session.BaseURL, with Session.ID in the header [AuthHeader]
// and with Session.UserAgent as its User-Agent. Package autologin does this, and keeps a
// user logged in. Package sessiontest is a fake server for tests.
//
// A login is posted once: it is tried again only if no connection was established.
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
	"strings"
	"time"
)

// DefaultBaseURL serves every site that has global acceleration turned on. The
// subdomain of a site ([WithSite]) always serves that site.
const DefaultBaseURL = "https://app.files.com"

// AuthHeader is the request header that carries [Session.ID] on every call after
// the login. An http.Client also sends it to the target of a redirect, on any host: set
// CheckRedirect if you set the header by hand.
const AuthHeader = "X-FilesAPI-Auth"

// Session is the login of a user, as [Create] returns it. A field that the server
// did not send, or sent with a wrong type, has its zero value. Today the API sends
// only a few of the fields.
//
// Anyone who has the ID can act as the user. Printing a Session with fmt and logging
// it with log/slog shows no secret. Its JSON form holds every secret except Raw,
// since that is how a session is stored and loaded again. A JSON handler of log/slog
// that finds a Session inside another value writes that form too. The package cannot
// hide the secrets from the verbs %p and %w, from gob, and from a print of a struct that has
// a Session in an unexported field.
//
// Several goroutines may use a Session as long as none modifies it. This package
// does not modify one that it has returned.
type Session struct {
	ID                string `json:"id,omitzero"`                 // secret: 1 to 512 bytes of visible ASCII
	Language          string `json:"language,omitzero"`           // of the user
	LoginToken        string `json:"login_token,omitzero"`        // secret: logs a browser in
	LoginTokenDomain  string `json:"login_token_domain,omitzero"` // URL that accepts LoginToken
	MaxDirListingSize *int64 `json:"max_dir_listing_size,omitzero"`
	MultipleRegions   bool   `json:"multiple_regions,omitzero"` // the site may store files in several regions
	ReadOnly          bool   `json:"read_only,omitzero"`        // the session may not write
	RootPath          string `json:"root_path,omitzero"`        // the folder that the user is restricted to
	HomePath          string `json:"home_path,omitzero"`        // the folder where the user starts

	SFTPInsecureCiphers bool   `json:"sftp_insecure_ciphers,omitzero"` // weak SSH ciphers are allowed
	SiteID              *int64 `json:"site_id,omitzero"`
	SSLRequired         bool   `json:"ssl_required,omitzero"` // the user must use TLS
	TLSDisabled         bool   `json:"tls_disabled,omitzero"` // insecure versions of TLS are allowed

	// TwoFactorSetupNeeded means that the user must add a second factor before
	// anything else, by one of the methods that are allowed.
	TwoFactorSetupNeeded     bool `json:"two_factor_setup_needed,omitzero"`
	Allowed2FAMethodSMS      bool `json:"allowed_2fa_method_sms,omitzero"`
	Allowed2FAMethodTOTP     bool `json:"allowed_2fa_method_totp,omitzero"`
	Allowed2FAMethodU2F      bool `json:"allowed_2fa_method_u2f,omitzero"`
	Allowed2FAMethodYubi     bool `json:"allowed_2fa_method_yubi,omitzero"`
	Allowed2FAMethodWebAuthn bool `json:"allowed_2fa_method_webauthn,omitzero"`

	UseProvidedModifiedAt        bool   `json:"use_provided_modified_at,omitzero"` // the server keeps the times that a client sends
	WindowsModeFTP               bool   `json:"windows_mode_ftp,omitzero"`         // FTP converts line ends to CRLF
	FinalizePartialUploads       bool   `json:"finalize_partial_uploads,omitzero"` // of SFTP
	LegacyChecksumsMode          bool   `json:"legacy_checksums_mode,omitzero"`
	CalculateFileChecksumsCRC32  bool   `json:"calculate_file_checksums_crc32,omitzero"`
	CalculateFileChecksumsMD5    bool   `json:"calculate_file_checksums_md5,omitzero"`
	CalculateFileChecksumsSHA1   bool   `json:"calculate_file_checksums_sha1,omitzero"`
	CalculateFileChecksumsSHA256 bool   `json:"calculate_file_checksums_sha256,omitzero"`
	AWSSecretKey                 string `json:"aws_secret_key,omitzero"` // secret: for the S3 endpoint of the site

	DefaultWorkspaceID      *int64 `json:"default_workspace_id,omitzero"`
	ImpersonatorUserID      *int64 `json:"impersonator_user_id,omitzero"` // the administrator who acts as the user
	UserBelongsToParentSite bool   `json:"user_belongs_to_parent_site,omitzero"`
	Trusted                 bool   `json:"trusted,omitzero"` // may be used from another address and User-Agent

	AIAssistantPersonalityID           *int64 `json:"ai_assistant_personality_id,omitzero"`
	AIAssistantPersonalitySystemPrompt string `json:"ai_assistant_personality_system_prompt,omitzero"`

	// The parameters of the login. The API does not return them, so they are empty
	// after Create. All but Username are secret.
	Username         string `json:"username,omitzero"`
	Password         string `json:"password,omitzero"`
	OTP              string `json:"otp,omitzero"`
	PartialSessionID string `json:"partial_session_id,omitzero"`

	// TimeoutAt is when the session ends, as of the login or of [Client.Check]; zero
	// if not reported. The vendor says that activity moves it.
	TimeoutAt time.Time `json:"timeout_at,omitzero"`

	BaseURL   string          `json:"base_url,omitzero"`   // origin that created the session and serves it
	UserAgent string          `json:"user_agent,omitzero"` // of the login; a session may be bound to it
	Raw       json.RawMessage `json:"-"`                   // secret: the whole answer, for fields without a name here

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

// Validate checks that s can be sent: that it is not nil, and that its ID, UserAgent
// and BaseURL are valid. UserAgent and BaseURL may be empty. Use it for a session
// that was loaded. The error matches [ErrInvalidParams].
func (s *Session) Validate() error {
	if _, err := s.validate(DefaultBaseURL); err != nil {
		return fmt.Errorf("session: %w: %w", ErrInvalidParams, err)
	}
	return nil
}

// validate returns the origin to send s to, which is base if s has none.
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
	case s.BaseURL == "" || s.BaseURL == base:
		return base, nil
	}
	if origin, err = parseOrigin(s.BaseURL); err != nil {
		return "", fmt.Errorf("Session.BaseURL: %w", err)
	}
	return origin, nil
}

// validID reports whether id can be sent in a header as it is.
func validID(id string) bool { return id != "" && len(id) <= 512 && visibleASCII(id) }

func visibleASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// Format prints the origin and TimeoutAt. For %+v it prints the JSON form without
// the secrets.
func (s Session) Format(f fmt.State, verb rune) {
	text := s.summary()
	if verb == 'v' && f.Flag('+') {
		text = s.details()
	}
	format(f, verb, text)
}

func (s Session) summary() string {
	id := "none"
	if s.ID != "" {
		id = redacted
	}
	origin, _ := parseOrigin(s.BaseURL)
	text := fmt.Sprintf("Session{ID: %s, BaseURL: %q", id, origin)
	if !s.TimeoutAt.IsZero() {
		text += ", TimeoutAt: " + s.TimeoutAt.Format(time.RFC3339)
	}
	return text + "}"
}

// details returns the JSON form of s without its secrets.
func (s Session) details() string {
	for _, secret := range []*string{&s.ID, &s.LoginToken, &s.AWSSecretKey, &s.Password, &s.OTP, &s.PartialSessionID} {
		if *secret != "" {
			*secret = redacted
		}
	}
	s.BaseURL, _ = parseOrigin(s.BaseURL)
	fields, _ := json.Marshal(s) // fails only if TimeoutAt is out of range
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
