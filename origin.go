package session

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// parseOrigin checks rawURL and returns its origin, in lower case and without the
// default port. It ignores white space around rawURL and one slash at its end. Its
// errors quote no part of rawURL that may be a secret.
func parseOrigin(rawURL string) (string, error) {
	text := strings.TrimSpace(rawURL)
	if text == "" {
		return "", errors.New(`base URL is empty; use an origin such as "https://mysite.files.com"`)
	}
	if isHostName(text) && strings.Contains(text, ".") {
		return "", fmt.Errorf(`base URL %q has no scheme; use "https://%s"`, text, text)
	}
	u, err := url.Parse(text)
	if err != nil || !visibleASCII(text) {
		return "", errors.New(`base URL is not a URL; use an origin such as "https://mysite.files.com"`)
	}
	host, err := parseHost(u)
	if err != nil {
		return "", err
	}
	origin := u.Scheme + "://" + host
	switch {
	case strings.Contains(text, "?"):
		return "", fmt.Errorf("base URL has a query; use %q", origin)
	case strings.Contains(text, "#"):
		return "", fmt.Errorf("base URL has a fragment; use %q", origin)
	case u.Path != "" && u.Path != "/":
		return "", fmt.Errorf("base URL has a path; use %q", origin)
	}
	return origin, nil
}

// parseHost returns the host and the port of u, if a request may go there: over
// https, or over http to loopback.
func parseHost(u *url.URL) (string, error) {
	host := strings.ToLower(u.Hostname())
	addr, err := netip.ParseAddr(host)
	switch {
	case u.Scheme != "https" && u.Scheme != "http" || u.Opaque != "":
		return "", errors.New(`base URL does not begin with https://; use an origin such as "https://mysite.files.com"`)
	case u.User != nil:
		return "", errors.New("base URL has a user name or a password; remove it")
	case err != nil && !isHostName(host), addr.Zone() != "", strings.HasSuffix(u.Host, ":"):
		return "", errors.New(`base URL has no valid host; use an origin such as "https://mysite.files.com"`)
	case u.Scheme == "http" && !isLoopback(host):
		return "", fmt.Errorf(`base URL is not encrypted; use "https://%s", since http is accepted for loopback only`, strings.TrimSuffix(u.Host, ":80"))
	}
	if addr.Is6() {
		host = "[" + host + "]"
	}
	if u.Port() == "" {
		return host, nil
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	switch {
	case err != nil || port == 0:
		return "", fmt.Errorf("base URL has the port %s; use one from 1 to 65535", u.Port())
	case port == 443 && u.Scheme == "https", port == 80 && u.Scheme == "http":
		return host, nil
	}
	return host + ":" + strconv.FormatUint(port, 10), nil
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
	if !visibleASCII(named) { // strings.ToLower makes ASCII of some other characters
		return ""
	}
	named = strings.TrimSuffix(strings.ToLower(named), "/")
	scheme, host, found := strings.Cut(named, "://")
	if !found {
		scheme, host = "", named
	}
	baseURL, err := url.Parse(base)
	if err != nil {
		return ""
	}
	origin := ""
	if isLoopback(baseURL.Hostname()) && isLoopbackPort(host) && (!found || scheme == baseURL.Scheme) {
		origin, _ = parseOrigin(baseURL.Scheme + "://" + host)
	} else if host = strings.TrimSuffix(host, ":443"); isHostName(host) && (!found || scheme == "https") {
		origin = "https://" + host
	}
	if origin == base {
		return ""
	}
	return origin
}

// trusts reports whether a login may be moved to an origin that regionOrigin
// returned.
func (c *config) trusts(origin string) bool {
	from, _, _ := strings.Cut(hostOf(c.base), ":")
	to := hostOf(origin)
	return isUnderFilesCom(from) && isUnderFilesCom(to) || to != "" && slices.Contains(c.trusted, to)
}

func isUnderFilesCom(host string) bool {
	return host == "files.com" || strings.HasSuffix(host, ".files.com")
}

// isHostName reports whether s is a DNS name in ASCII. It refuses a name whose last
// label does not begin with a letter, since some parsers read that as an IP address.
func isHostName(s string) bool {
	label := ""
	for label = range strings.SplitSeq(s, ".") {
		if !isDNSLabel(label) {
			return false
		}
	}
	return len(s) <= 253 && (label[0]|0x20) >= 'a'
}

func isDNSLabel(s string) bool {
	if len(s) < 1 || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		lower := s[i] | 0x20
		if (lower < 'a' || lower > 'z') && (s[i] < '0' || s[i] > '9') && s[i] != '-' {
			return false
		}
	}
	return true
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
