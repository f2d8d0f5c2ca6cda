package session

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// label is one part of a DNS name in ASCII. It spells out both cases, since (?i) would
// accept the Kelvin sign for a k.
const label = `[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?`

var (
	siteName = regexp.MustCompile(`^` + label + `$`)
	// hostName requires that the last label begins with a letter, since some parsers
	// read any other name as an IP address.
	hostName = regexp.MustCompile(`^(` + label + `\.)*[A-Za-z]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)
)

func isHostName(s string) bool { return len(s) <= 253 && hostName.MatchString(s) }

// parseOrigin checks rawURL and returns its origin, in lower case and without the
// default port. It ignores white space around rawURL and one slash at its end. Its
// errors quote no part of rawURL, which may have a password in it.
func parseOrigin(rawURL string) (string, error) {
	text := strings.TrimSpace(rawURL)
	u, err := url.Parse(text)
	if err != nil || !visibleASCII(text) {
		u = &url.URL{}
	}
	host, valid := originHost(u)
	problem := ""
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		problem = "is not a URL that begins with https://"
	case u.User != nil:
		problem = "has a user name or a password"
	case !valid:
		problem = "has no valid host and port"
	case u.Scheme == "http" && !isLoopback(strings.ToLower(u.Hostname())):
		problem = "is not encrypted, and http is accepted for loopback only"
	case u.Path != "" && u.Path != "/" || strings.ContainsAny(text, "?#"):
		problem = "has a path, a query or a fragment"
	default:
		return u.Scheme + "://" + host, nil
	}
	return "", fmt.Errorf(`base URL %s; use an origin such as "https://mysite.files.com"`, problem)
}

// originHost returns the host and the port of u, without the default port. It reports
// whether they are valid.
func originHost(u *url.URL) (host string, valid bool) {
	host = strings.ToLower(u.Hostname())
	addr, err := netip.ParseAddr(host)
	valid = (err == nil || isHostName(host)) && addr.Zone() == "" && !strings.HasSuffix(u.Host, ":")
	if addr.Is6() {
		host = "[" + host + "]"
	}
	standard := map[string]string{"https": "443", "http": "80"}[u.Scheme]
	port, err := strconv.ParseUint(cmp.Or(u.Port(), standard), 10, 16)
	if number := strconv.FormatUint(port, 10); number != standard {
		host += ":" + number
	}
	return host, valid && err == nil && port != 0
}

// parseSite returns the origin of a site: of a subdomain of files.com, of a host name,
// or of an origin.
func parseSite(site string) (string, error) {
	text := strings.TrimSpace(site)
	host := strings.TrimSuffix(text, "/")
	switch {
	case text == "":
		return "", errors.New(`the site is empty; use its name, such as "mysite", or an origin such as "https://mysite.files.com"`)
	case strings.Contains(text, "://"):
		return parseOrigin(text)
	case siteName.MatchString(text) && !strings.EqualFold(text, "localhost"): // a server for tests has a port
		return parseOrigin("https://" + text + ".files.com")
	case strings.Contains(host, ".") && isHostName(host):
		return parseOrigin("https://" + host)
	}
	return "", fmt.Errorf(`%s is not a site; use a name such as "mysite", a host name such as "files.example.com", or an origin such as "https://mysite.files.com"`, quote(text))
}

// hostOf returns the host and the port of an origin.
func hostOf(origin string) string {
	_, host, _ := strings.Cut(origin, "://")
	return host
}

// regionOrigin returns the origin that a region mismatch names, as a host name or
// an origin. It returns "" if a login at base must not move there: the origin must
// be https on the default port, and not base itself. Loopback may move to another
// port of loopback, for tests.
func regionOrigin(base, named string) string {
	baseScheme, baseHost, _ := strings.Cut(base, "://")
	inTest := isLoopbackPort(baseHost)
	if !strings.Contains(named, "://") {
		scheme := "https"
		if inTest && isLoopbackPort(strings.ToLower(named)) {
			scheme = baseScheme
		}
		named = scheme + "://" + named
	}
	origin, err := parseOrigin(named)
	scheme, host, _ := strings.Cut(origin, "://")
	allowed := scheme == "https" && isHostName(host) || inTest && scheme == baseScheme && isLoopbackPort(host)
	if err != nil || !allowed || origin == base {
		return ""
	}
	return origin
}

// trusts reports whether a login may be moved to an origin that regionOrigin
// returned.
func (c *config) trusts(origin string) bool {
	from, _, _ := strings.Cut(hostOf(c.base), ":")
	to := hostOf(origin)
	return underFilesCom(from) && underFilesCom(to) || to != "" && slices.Contains(c.trusted, to)
}

func underFilesCom(host string) bool { return strings.HasSuffix("."+host, ".files.com") }

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback() && addr.Zone() == ""
}

// isLoopbackPort reports whether s is a loopback host and a port.
func isLoopbackPort(s string) bool {
	host, _, err := net.SplitHostPort(s)
	return err == nil && isLoopback(host)
}
