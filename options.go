package session

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Option configures a [Client]. Options are applied in order, the last one of
// a kind wins.
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
// login, and outlives an upgrade of this package.
const ourUserAgent = "filescom-session-go"

// NewClient returns a client of the options, or the error of the first bad
// one, which matches [ErrInvalidParams]. Clients need not be closed, and all
// that bring no transport of their own share one: its proxy is that of
// [http.ProxyFromEnvironment], and it has at most 256 connections to a host.
func NewClient(opts ...Option) (*Client, error) {
	c := &Client{config: config{
		base:      DefaultBaseURL,
		timeout:   30 * time.Second,
		retries:   2,
		userAgent: ourUserAgent,
	}}
	for _, opt := range opts {
		if opt == nil {
			return nil, fmt.Errorf("session: %w: an option is nil", ErrInvalidParams)
		}
		if err := opt(&c.config); err != nil {
			return nil, err
		}
	}
	c.connect()
	return c, nil
}

func badOption(name, reason string) error {
	return fmt.Errorf("session: %w: %s %s", ErrInvalidParams, name, reason)
}

// WithSubdomain sends requests to a site of files.com: "mysite" for
// https://mysite.files.com. The name is one DNS label.
func WithSubdomain(name string) Option {
	return func(c *config) error {
		if !isHostName(name+".files.com") || strings.Contains(name, ".") {
			return badOption("WithSubdomain", "wants one DNS label, such as mysite")
		}
		c.base = "https://" + strings.ToLower(name) + ".files.com"
		return nil
	}
}

// WithBaseURL sends requests to an origin, such as a site's own domain or a
// test server: https, or http on loopback, without path or slash at the end.
func WithBaseURL(rawURL string) Option {
	return func(c *config) error {
		base, err := parseBaseURL(rawURL)
		if err != nil {
			return badOption("WithBaseURL", err.Error())
		}
		c.base = base
		return nil
	}
}

// WithTrustedHosts names the hosts to which the server may move a login,
// password and all, when it says that the site is served from there. Hosts of
// files.com are trusted by a client of files.com as it is. For tests, a client
// of a loopback address may be moved to a trusted "127.0.0.1:port".
func WithTrustedHosts(hosts ...string) Option {
	return func(c *config) error {
		c.trusted = nil
		for _, host := range hosts {
			if !isHostName(host) && !isLoopbackPort(strings.ToLower(host)) {
				return badOption("WithTrustedHosts", "wants host names, such as files.example.com")
			}
			c.trusted = append(c.trusted, strings.ToLower(host))
		}
		return nil
	}
}

// WithHTTPClient sends requests by a copy of hc; hc is not modified. Its
// Transport and Timeout are kept, its Jar and CheckRedirect are not, since
// neither a cookie nor a redirect has a place in a login.
func WithHTTPClient(hc *http.Client) Option {
	return func(c *config) error {
		if hc == nil || hc.Transport == http.RoundTripper((*http.Transport)(nil)) {
			return badOption("WithHTTPClient", "got nil")
		}
		c.http = *hc
		return nil
	}
}

// WithTimeout bounds each exchange with the server, from the connection to the
// last byte of the answer. A login is more than one exchange when a second
// factor is wanted, the site is elsewhere, or no connection was had. A shorter
// Timeout of WithHTTPClient's, or a deadline of the context, comes first.
// The default is 30 seconds; d must be above 0.
func WithTimeout(d time.Duration) Option {
	return func(c *config) error {
		if d <= 0 {
			return badOption("WithTimeout", "must be above 0")
		}
		c.timeout = d
		return nil
	}
}

// WithRetries sets how many more times at most a request is tried. A login is
// tried again only when no connection was had, a log-out after any failure of
// the transport and a 5xx too. The default is 2; 0 turns retries off.
func WithRetries(n int) Option {
	return func(c *config) error {
		if n < 0 {
			return badOption("WithRetries", "must not be negative")
		}
		c.retries = n
		return nil
	}
}

// WithUserAgent puts a product, such as "backup/1.4", before our own in the
// User-Agent header. A session may be bound to it: keep it stable.
func WithUserAgent(product string) Option {
	return func(c *config) error {
		whole := product + " " + ourUserAgent
		if !validUserAgent(product) || !validUserAgent(whole) {
			return badOption("WithUserAgent", "wants up to 236 bytes of printable ASCII, no space around it")
		}
		c.userAgent = whole
		return nil
	}
}

// WithLanguage asks for messages in a language, by an Accept-Language header
// such as "de" or "pt-BR, pt;q=0.8".
func WithLanguage(tag string) Option {
	return func(c *config) error {
		if !validUserAgent(tag) {
			return badOption("WithLanguage", "wants a language tag, such as de")
		}
		c.language = tag
		return nil
	}
}

// WithLogger logs every attempt of a request, at Debug when it succeeds and at
// Warn when it fails: method, host, status, duration, attempt, type of the
// error, instance, or the error where there was no answer. Never a secret.
func WithLogger(l *slog.Logger) Option {
	return func(c *config) error {
		if l == nil || l.Handler() == nil {
			return badOption("WithLogger", "got nil")
		}
		c.logger = l
		return nil
	}
}

// WithOTP answers a demand for a second factor by f, once for each host.
func WithOTP(f OTPFunc) Option {
	return func(c *config) error {
		if f == nil {
			return badOption("WithOTP", "got nil")
		}
		c.otp = f
		return nil
	}
}

func validUserAgent(s string) bool {
	return 1 <= len(s) && len(s) <= 256 && visibleASCII(strings.ReplaceAll(s, " ", "")) && strings.TrimSpace(s) == s
}

// parseBaseURL returns the origin that rawURL is, in lower case and without a
// default port. Its errors do not quote rawURL, which may hold a password.
func parseBaseURL(rawURL string) (string, error) {
	u, err := url.Parse(rawURL)
	if err != nil || !visibleASCII(rawURL) || !strings.EqualFold(rawURL, u.Scheme+"://"+u.Host) || strings.HasSuffix(rawURL, ":") {
		return "", errors.New("wants an origin, such as https://mysite.files.com: with its scheme, and no user, path, query, fragment or slash at the end")
	}
	host := strings.ToLower(u.Hostname())
	if addr, err := netip.ParseAddr(host); err != nil && !isHostName(host) || addr.Zone() != "" {
		return "", errors.New("has no valid host")
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(host)) {
		return "", errors.New("wants https, or http on loopback")
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if u.Port() != "" {
		port, err := strconv.ParseUint(u.Port(), 10, 16)
		if err != nil || port == 0 {
			return "", errors.New("has no valid port")
		}
		if port != map[string]uint64{"https": 443, "http": 80}[u.Scheme] {
			host += ":" + strconv.FormatUint(port, 10)
		}
	}
	return u.Scheme + "://" + host, nil
}

// relocate returns the origin that a region mismatch names as a bare host or an
// origin, "" for one that no login may be moved to from base: it must be https
// on the default port of a host name and not base itself. Loopback, for tests,
// may move to a port of loopback.
func relocate(base, named string) string {
	scheme, host, found := strings.Cut(strings.ToLower(named), "://")
	if !found {
		scheme, host = "", scheme
	}
	if !visibleASCII(named) { // or lower case makes ASCII of it
		return ""
	}
	baseURL, _ := url.Parse(base)
	origin := ""
	if baseURL != nil && isLoopback(baseURL.Hostname()) && isLoopbackPort(host) && (!found || scheme == baseURL.Scheme) {
		origin, _ = parseBaseURL(baseURL.Scheme + "://" + host)
	} else if host = strings.TrimSuffix(host, ":443"); isHostName(host) && (!found || scheme == "https") {
		origin = "https://" + host
	}
	if origin == base {
		return ""
	}
	return origin
}

// trusts reports whether a login may be moved to an origin that relocate
// returned.
func (c *config) trusts(origin string) bool {
	from, _, _ := strings.Cut(host(c.base), ":")
	to := host(origin)
	return underFilesCom(from) && underFilesCom(to) || to != "" && slices.Contains(c.trusted, to)
}

func underFilesCom(host string) bool {
	return host == "files.com" || strings.HasSuffix(host, ".files.com")
}

// isHostName reports whether s is a DNS name in ASCII, which no parser takes for
// an IP address.
func isHostName(s string) bool {
	label := ""
	for label = range strings.SplitSeq(s, ".") {
		if len(label) < 1 || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			switch c := label[i] | 0x20; {
			case 'a' <= c && c <= 'z', '0' <= label[i] && label[i] <= '9', label[i] == '-':
			default:
				return false
			}
		}
	}
	return len(s) <= 253 && (label[0]|0x20) >= 'a'
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// isLoopbackPort reports whether s is a loopback host and a port.
func isLoopbackPort(s string) bool {
	if port, found := strings.CutPrefix(s, "localhost:"); found {
		s = "127.0.0.1:" + port
	}
	addr, err := netip.ParseAddrPort(s)
	return err == nil && addr.Addr().IsLoopback() && addr.Addr().Zone() == ""
}
