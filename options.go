package session

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"
)

// Option configures a [Client]. If an option is given twice, the last one applies.
type Option func(*config) error

type config struct {
	base      string // origin
	trusted   []string
	http      http.Client
	timeout   time.Duration
	retries   int
	userAgent string
	language  string
	logger    *slog.Logger
	otp       OTPFunc
}

// ourUserAgent has no version: a session may be bound to the User-Agent of its
// login, and may outlive an upgrade of this package.
const ourUserAgent = "filescom-session-go"

// badOption returns the error of an option. format says what is wrong and what to
// write instead.
func badOption(name, format string, args ...any) error {
	return fmt.Errorf("session: %w: %s: %s", ErrInvalidParams, name, fmt.Sprintf(format, args...))
}

// WithSite names the site to log in at: a subdomain of files.com such as "mysite", a
// host name such as "files.example.com", or an origin such as
// "https://files.example.com:8443". An origin is https, or http on loopback, and has
// no path. The default is [DefaultBaseURL].
func WithSite(site string) Option {
	return func(c *config) (err error) {
		if c.base, err = parseSite(site); err != nil {
			return badOption("WithSite", "%v", err)
		}
		return nil
	}
}

// WithTrustedHosts lists the hosts to which the server may move a login, when it
// says that the site is served from there. The password is then sent there, over
// https on the default port. A client whose host is under files.com trusts every
// host under files.com without this option. The case of a host does not matter. A
// second WithTrustedHosts replaces the list. For tests, a client of a loopback
// address may trust "127.0.0.1:port".
func WithTrustedHosts(hosts ...string) Option {
	return func(c *config) error {
		c.trusted = nil
		for _, host := range hosts {
			if !isHostName(host) && !isLoopbackPort(strings.ToLower(host)) {
				return badOption("WithTrustedHosts", `%s is not a host name; use a name without scheme and port, such as "files.example.com"`, quote(host))
			}
			c.trusted = append(c.trusted, strings.ToLower(host))
		}
		return nil
	}
}

// WithHTTPClient sends requests through a copy of hc. It does not modify hc. The
// copy keeps the Transport and the Timeout. A nil Transport stands for
// [http.DefaultTransport] as it is now. It drops the Jar, since several users may share a client. CheckRedirect is
// not called, since redirects are not followed. The Transport must not repeat a request
// by itself: a second post can lock the user out. If it does not support
// [net/http/httptrace], its failures do not match [ErrNotSent], and no login is tried
// again.
func WithHTTPClient(hc *http.Client) Option {
	return func(c *config) error {
		if hc == nil {
			return badOption("WithHTTPClient", "the *http.Client is nil; leave the option out for the default")
		}
		c.http = *hc
		switch hc.Transport {
		case nil:
			c.http.Transport = http.DefaultTransport
		case http.RoundTripper((*http.Transport)(nil)):
			return badOption("WithHTTPClient", "the Transport is a nil *http.Transport; use http.DefaultTransport")
		}
		return nil
	}
}

// WithTimeout limits each exchange with the server, from the connection to the
// last byte of the answer. A login takes more than one exchange if it needs a
// second factor, moves to another host, or is tried again. A shorter Timeout of
// the client of [WithHTTPClient] and a deadline of the context also apply. The
// default is 30 seconds. d must be above 0.
func WithTimeout(d time.Duration) Option {
	return func(c *config) error {
		if d <= 0 {
			return badOption("WithTimeout", "%v is not above 0; leave the option out for 30 seconds", d)
		}
		c.timeout = d
		return nil
	}
}

// WithRetries sets how many times a request may be tried again. A login is tried
// again only if no connection was established. A log-out or a check is tried again
// after every failure of the transport and after a 5xx, over at most 3 connections or n
// + 1, whichever is more. Nothing is tried again after a certificate that does not
// verify, or after a proxy that requires authentication.
// The wait is 100 ms, doubled for each retry up to 2 seconds, and reduced by up to
// 50% at random. The default is 2 retries. 0 turns them off.
func WithRetries(n int) Option {
	return func(c *config) error {
		if n < 0 {
			return badOption("WithRetries", "%d is negative; use 0 for no retries", n)
		}
		c.retries = n
		return nil
	}
}

// WithUserAgent puts a product, such as "backup/1.4", before the name of this
// package in the User-Agent header. The product has up to 236 bytes of printable
// ASCII. Keep it stable, since a session may be bound to it.
func WithUserAgent(product string) Option {
	return func(c *config) error {
		whole := product + " " + ourUserAgent
		if !validHeaderText(product) || !validHeaderText(whole) {
			return badOption("WithUserAgent", `%q is not a product; use up to 236 bytes of printable ASCII, such as "backup/1.4"`, product)
		}
		c.userAgent = whole
		return nil
	}
}

// WithLanguage asks the server for messages in a language. The tag is the value of
// the Accept-Language header, of up to 256 bytes, such as "de" or "pt-BR, pt;q=0.8".
func WithLanguage(tag string) Option {
	return func(c *config) error {
		if !validHeaderText(tag) {
			return badOption("WithLanguage", `%q is not a language; use a tag such as "de"`, tag)
		}
		c.language = tag
		return nil
	}
}

// WithLogger logs every attempt of a request, at Debug if it succeeds or if the API
// requires a second factor, and at Warn if it fails. A record has the method, the host, the duration, the number of the
// attempt, the status, the type and the instance of an error, and the error if there
// was no answer. It never has a secret. Several goroutines may use l at the same
// time.
func WithLogger(l *slog.Logger) Option {
	return func(c *config) error {
		if l == nil || l.Handler() == nil {
			return badOption("WithLogger", "the *slog.Logger is nil or has no handler; make one by slog.New, or leave the option out")
		}
		c.logger = l
		return nil
	}
}

// WithOTP makes Create call f when the server requires a second factor, at most
// once for each host, and not if CreateParams.OTP is set. See [OTPFunc].
func WithOTP(f OTPFunc) Option {
	return func(c *config) error {
		if f == nil {
			return badOption("WithOTP", "the OTPFunc is nil; leave the option out to get a *TwoFactorError")
		}
		c.otp = f
		return nil
	}
}

// validHeaderText reports whether s is 1 to 256 bytes of printable ASCII without
// leading or trailing space.
func validHeaderText(s string) bool {
	return 1 <= len(s) && len(s) <= 256 && visibleASCII(strings.ReplaceAll(s, " ", "")) && strings.TrimSpace(s) == s
}
