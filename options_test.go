package session_test

import (
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/filescom/session"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBadOptionsAreReportedByNewClient(t *testing.T) {
	t.Parallel()
	for name, opt := range map[string]session.Option{
		"nil":                            nil,
		"empty site":                     session.WithSite(""),
		"blank site":                     session.WithSite(" \n"),
		"slash":                          session.WithSite("evil.example/x"),
		"host and port":                  session.WithSite("files.example.com:8443"),
		"address":                        session.WithSite("10.0.0.1"),
		"user and name":                  session.WithSite("alice:" + tokenCanary + "@mysite"),
		"hyphen":                         session.WithSite("-a"),
		"localhost without a port":       session.WithSite("Localhost"),
		"part of a URL":                  session.WithSite("mysite/?token=" + tokenCanary),
		"user and password":              session.WithSite("alice:" + passwordCanary),
		"underscore":                     session.WithSite("my_site"),
		"long":                           session.WithSite(strings.Repeat("a", 64)),
		"not ASCII":                      session.WithSite("müsite"),
		"Kelvin sign in a name":          session.WithSite("\u212Aelvin"),
		"no host":                        session.WithSite("https://"),
		"port alone":                     session.WithSite("https://:443"),
		"no port":                        session.WithSite("https://a:"),
		"http":                           session.WithSite("http://mysite.files.com"),
		"http on a LAN":                  session.WithSite("http://192.168.1.1"),
		"looks like loopback":            session.WithSite("http://127.0.0.1.evil.example"),
		"short loopback":                 session.WithSite("http://127.1"),
		"other scheme":                   session.WithSite("ftp://mysite.files.com"),
		"user":                           session.WithSite("https://" + passwordCanary + "@mysite.files.com"),
		"password":                       session.WithSite("https://a:" + tokenCanary + "@mysite.files.com"),
		"broken user":                    session.WithSite("https://a:" + tokenCanary + "%@mysite.files.com"),
		"path":                           session.WithSite("https://mysite.files.com/" + tokenCanary),
		"two slashes":                    session.WithSite("https://mysite.files.com//"),
		"space inside":                   session.WithSite("https://my site.files.com"),
		"query":                          session.WithSite("https://mysite.files.com?" + tokenCanary),
		"empty query":                    session.WithSite("https://mysite.files.com?"),
		"fragment":                       session.WithSite("https://mysite.files.com#x"),
		"empty fragment":                 session.WithSite("https://mysite.files.com#"),
		"opaque":                         session.WithSite("https:mysite.files.com"),
		"zone":                           session.WithSite("http://[::1%25lo]:80"),
		"not ASCII host":                 session.WithSite("https://müsite.files.com"),
		"escaped host":                   session.WithSite("https://mysite%2efiles.com"),
		"port too large":                 session.WithSite("https://mysite.files.com:65536"),
		"nil http client":                session.WithHTTPClient(nil),
		"no timeout":                     session.WithTimeout(0),
		"negative timeout":               session.WithTimeout(-1),
		"negative retries":               session.WithRetries(-1),
		"empty user agent":               session.WithUserAgent(""),
		"user agent, two lines":          session.WithUserAgent("a\r\nb"),
		"user agent, space":              session.WithUserAgent("a "),
		"long user agent":                session.WithUserAgent(strings.Repeat("a", 257)),
		"user agent, too long with ours": session.WithUserAgent(strings.Repeat("a", 237)),
		"nil transport":                  session.WithHTTPClient(&http.Client{Transport: (*http.Transport)(nil)}),
		"zero logger":                    session.WithLogger(&slog.Logger{}),
		"Kelvin sign":                    session.WithSite("https://\u212Aelvin.files.com"),
		"trusted zone":                   session.WithTrustedHosts("[::1%lo]:80"),
		"trusted Kelvin sign":            session.WithTrustedHosts("\u212Aelvin.files.com"),
		"empty language":                 session.WithLanguage(""),
		"language, two lines":            session.WithLanguage("de\nX: y"),
		"nil logger":                     session.WithLogger(nil),
		"nil callback":                   session.WithOTP(nil),
		"trusted URL":                    session.WithTrustedHosts("https://a.example"),
		"trusted empty":                  session.WithTrustedHosts("a.example", ""),
		"trusted port":                   session.WithTrustedHosts("a.example:8443"),
		"trusted address":                session.WithTrustedHosts("10.0.0.1"),
	} {
		_, err := session.NewClient(opt)
		assert.ErrorIs(t, err, session.ErrInvalidParams, name)
		assertHidesSecrets(t, err)
		_, err = session.Create(t.Context(), alice, opt)
		assert.ErrorIs(t, err, session.ErrInvalidParams, name)
		assert.ErrorIs(t, session.Delete(t.Context(), &session.Session{ID: "1"}, opt), session.ErrInvalidParams, name)
	}
}

func TestTheMessageOfABadOptionSaysWhatToWrite(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		opt  session.Option
		want string
	}{
		{opt: session.WithSite(" "), want: `WithSite: the site is empty; use its name, such as "mysite", or an origin such as "https://mysite.files.com"`},
		{opt: session.WithSite("my_site"), want: `WithSite: "my_site" is not a site; use a name such as "mysite", a host name such as "files.example.com", or an origin such as "https://mysite.files.com"`},
		{opt: session.WithSite("alice:" + tokenCanary + "@mysite"), want: `WithSite: the value is not a site; use a name such as "mysite", a host name such as "files.example.com", or an origin such as "https://mysite.files.com"`},
		{opt: session.WithSite("ftp://mysite.files.com"), want: `WithSite: base URL is not a URL that begins with https://; use an origin such as "https://mysite.files.com"`},
		{opt: session.WithSite("http://mysite.files.com"), want: `WithSite: base URL is not encrypted, and http is accepted for loopback only; use an origin such as "https://mysite.files.com"`},
		{opt: session.WithSite("https://mysite.files.com/api/rest/v1"), want: `WithSite: base URL has a path, a query or a fragment; use an origin such as "https://mysite.files.com"`},
		{opt: session.WithSite("https://mysite.files.com/?a=b"), want: `WithSite: base URL has a path, a query or a fragment; use an origin such as "https://mysite.files.com"`},
		{opt: session.WithSite("https://mysite.files.com/#a"), want: `WithSite: base URL has a path, a query or a fragment; use an origin such as "https://mysite.files.com"`},
		{opt: session.WithSite("https://alice:" + passwordCanary + "@mysite.files.com"), want: `WithSite: base URL is not a URL that begins with https://; use an origin such as "https://mysite.files.com"`},
		{opt: session.WithSite("https://alice:pw@mysite.files.com"), want: `WithSite: base URL has a user name or a password; use an origin such as "https://mysite.files.com"`},
		{opt: session.WithSite("https://"), want: `WithSite: base URL has no valid host and port; use an origin such as "https://mysite.files.com"`},
		{opt: session.WithSite("https://a.example:65536"), want: `WithSite: base URL has no valid host and port; use an origin such as "https://mysite.files.com"`},
		{opt: session.WithTrustedHosts("https://alice:" + tokenCanary + "@a.example"), want: `WithTrustedHosts: the value is not a host name; use a name without scheme and port, such as "files.example.com"`},
		{opt: session.WithTrustedHosts("https://a.example"), want: `WithTrustedHosts: the value is not a host name; use a name without scheme and port, such as "files.example.com"`},
		{opt: session.WithTimeout(0), want: `WithTimeout: 0s is not above 0; leave the option out for 30 seconds`},
		{opt: session.WithRetries(-1), want: `WithRetries: -1 is negative; use 0 for no retries`},
	} {
		_, err := session.NewClient(tc.opt)
		assert.EqualError(t, err, "session: invalid parameters: "+tc.want)
		assertHidesSecrets(t, err)
	}
}

// loginOrigin returns the origin to which a client sends a login.
func loginOrigin(t *testing.T, opts ...session.Option) string {
	t.Helper()
	var origin string
	hc := &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		origin = r.URL.Scheme + "://" + r.URL.Host
		return readResponse("HTTP/1.1 201 Created\r\n\r\n{\"id\":\"1\"}", r)
	})}
	s, err := newClient(t, append(opts, session.WithHTTPClient(hc))...).Create(t.Context(), alice)
	require.NoError(t, err)
	assert.Equal(t, origin, s.BaseURL)
	return origin
}

func TestASiteIsNamedInThreeWays(t *testing.T) {
	t.Parallel()
	assert.Equal(t, session.DefaultBaseURL, loginOrigin(t))
	assert.Equal(t, session.DefaultBaseURL, newClient(t).BaseURL())
	assert.Equal(t, session.DefaultBaseURL, new(session.Client).BaseURL())
	for given, want := range map[string]string{
		"MySite":                         "https://mysite.files.com",
		" 2fast\n":                       "https://2fast.files.com",
		"Mysite.Files.com":               "https://mysite.files.com",
		"files.example.com":              "https://files.example.com",
		"files.example.com/":             "https://files.example.com",
		"https://Files.Example.COM":      "https://files.example.com",
		"HTTPS://files.example.com:443":  "https://files.example.com",
		"https://files.example.com:444":  "https://files.example.com:444",
		"https://10.0.0.1":               "https://10.0.0.1",
		"https://[2001:DB8::1]:443":      "https://[2001:db8::1]",
		"http://localhost:4041":          "http://localhost:4041",
		"http://LOCALHOST:80":            "http://localhost",
		"http://127.9.9.9":               "http://127.9.9.9",
		"http://[::1]:4041":              "http://[::1]:4041",
		"https://files.example.com/":     "https://files.example.com",
		" https://files.example.com/\n":  "https://files.example.com",
		"https://files.example.com:0443": "https://files.example.com",
	} {
		assert.Equal(t, want, loginOrigin(t, session.WithSite(given)))
		assert.Equal(t, want, newClient(t, session.WithSite(given)).BaseURL())
	}
}

func TestTheLongestUserAgentCanLogOut(t *testing.T) {
	t.Parallel()
	srv := answer(t, 201, `{"id":"1"}`)
	c := client(t, srv, session.WithUserAgent(strings.Repeat("a", 236)))
	s, err := c.Create(t.Context(), alice)
	require.NoError(t, err)
	assert.NoError(t, c.Delete(t.Context(), s))
}

func TestTheLastOptionWins(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "https://b.files.com", loginOrigin(t, session.WithSite("https://a.example"), session.WithSite("b")))
	assert.Equal(t, "https://a.example", loginOrigin(t, session.WithSite("b"), session.WithSite("https://a.example")))
}
