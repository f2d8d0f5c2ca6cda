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
		"empty subdomain":                session.WithSubdomain(""),
		"two labels":                     session.WithSubdomain("a.b"),
		"whole host":                     session.WithSubdomain("mysite.files.com"),
		"slash":                          session.WithSubdomain("evil.example/"),
		"hyphen":                         session.WithSubdomain("-a"),
		"long":                           session.WithSubdomain(strings.Repeat("a", 64)),
		"not ASCII":                      session.WithSubdomain("müsite"),
		"empty URL":                      session.WithBaseURL(""),
		"no scheme":                      session.WithBaseURL("mysite.files.com"),
		"no host":                        session.WithBaseURL("https://"),
		"port alone":                     session.WithBaseURL("https://:443"),
		"no port":                        session.WithBaseURL("https://a:"),
		"http":                           session.WithBaseURL("http://mysite.files.com"),
		"http on a LAN":                  session.WithBaseURL("http://192.168.1.1"),
		"looks like loopback":            session.WithBaseURL("http://127.0.0.1.evil.example"),
		"short loopback":                 session.WithBaseURL("http://127.1"),
		"other scheme":                   session.WithBaseURL("ftp://mysite.files.com"),
		"user":                           session.WithBaseURL("https://" + passwordCanary + "@mysite.files.com"),
		"password":                       session.WithBaseURL("https://a:" + tokenCanary + "@mysite.files.com"),
		"broken user":                    session.WithBaseURL("https://a:" + tokenCanary + "%@mysite.files.com"),
		"path":                           session.WithBaseURL("https://mysite.files.com/" + tokenCanary),
		"two slashes":                    session.WithBaseURL("https://mysite.files.com//"),
		"space inside":                   session.WithBaseURL("https://my site.files.com"),
		"query":                          session.WithBaseURL("https://mysite.files.com?" + tokenCanary),
		"empty query":                    session.WithBaseURL("https://mysite.files.com?"),
		"fragment":                       session.WithBaseURL("https://mysite.files.com#x"),
		"empty fragment":                 session.WithBaseURL("https://mysite.files.com#"),
		"opaque":                         session.WithBaseURL("https:mysite.files.com"),
		"zone":                           session.WithBaseURL("http://[::1%25lo]:80"),
		"not ASCII host":                 session.WithBaseURL("https://müsite.files.com"),
		"escaped host":                   session.WithBaseURL("https://mysite%2efiles.com"),
		"port too large":                 session.WithBaseURL("https://mysite.files.com:65536"),
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
		"Kelvin sign":                    session.WithBaseURL("https://\u212Aelvin.files.com"),
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
		{opt: session.WithBaseURL(" "), want: `WithBaseURL: base URL is empty; use an origin such as "https://mysite.files.com"`},
		{opt: session.WithBaseURL("mysite.files.com"), want: `WithBaseURL: base URL "mysite.files.com" has no scheme; use "https://mysite.files.com"`},
		{opt: session.WithBaseURL("ftp://mysite.files.com"), want: `WithBaseURL: base URL does not begin with https://; use an origin such as "https://mysite.files.com"`},
		{opt: session.WithBaseURL("http://mysite.files.com"), want: `WithBaseURL: base URL is not encrypted; use "https://mysite.files.com", since http is accepted for loopback only`},
		{opt: session.WithBaseURL("https://mysite.files.com/api/rest/v1"), want: `WithBaseURL: base URL has a path; use "https://mysite.files.com"`},
		{opt: session.WithBaseURL("https://mysite.files.com/?a=b"), want: `WithBaseURL: base URL has a query; use "https://mysite.files.com"`},
		{opt: session.WithBaseURL("https://mysite.files.com/#a"), want: `WithBaseURL: base URL has a fragment; use "https://mysite.files.com"`},
		{opt: session.WithBaseURL("https://alice:" + passwordCanary + "@mysite.files.com"), want: `WithBaseURL: base URL is not a URL; use an origin such as "https://mysite.files.com"`},
		{opt: session.WithBaseURL("https://alice:pw@mysite.files.com"), want: `WithBaseURL: base URL has a user name or a password; remove it`},
		{opt: session.WithBaseURL("https://"), want: `WithBaseURL: base URL has no valid host; use an origin such as "https://mysite.files.com"`},
		{opt: session.WithBaseURL("https://a.example:65536"), want: `WithBaseURL: base URL has the port 65536; use one from 1 to 65535`},
		{opt: session.WithSubdomain(""), want: `WithSubdomain: the name is empty; use the name of the site, such as "mysite"`},
		{opt: session.WithSubdomain("mysite.files.com"), want: `WithSubdomain: "mysite.files.com" is a host name; use "mysite", or WithBaseURL("https://mysite.files.com")`},
		{opt: session.WithSubdomain("files.example.com"), want: `WithSubdomain: "files.example.com" is a host name; use WithBaseURL("https://files.example.com")`},
		{opt: session.WithSubdomain("my_site"), want: `WithSubdomain: "my_site" is not a subdomain; use up to 63 letters, digits and hyphens, such as "mysite"`},
		{opt: session.WithBaseURL("http://a.example:80"), want: `WithBaseURL: base URL is not encrypted; use "https://a.example", since http is accepted for loopback only`},
		{opt: session.WithBaseURL("one-word"), want: `WithBaseURL: base URL does not begin with https://; use an origin such as "https://mysite.files.com"`},
		{opt: session.WithSubdomain(".files.com"), want: `WithSubdomain: ".files.com" is not a subdomain; use up to 63 letters, digits and hyphens, such as "mysite"`},
		{opt: session.WithSubdomain("https://alice:" + tokenCanary + "@mysite.files.com"), want: `WithSubdomain: the value is not a subdomain; use up to 63 letters, digits and hyphens, such as "mysite"`},
		{opt: session.WithTrustedHosts("https://alice:" + tokenCanary + "@a.example"), want: `WithTrustedHosts: the value is not a host name; use a name without scheme and port, such as "files.example.com"`},
		{opt: session.WithTrustedHosts("https://a.example"), want: `WithTrustedHosts: "https://a.example" is not a host name; use a name without scheme and port, such as "files.example.com"`},
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

func TestBaseURLsAreNormalized(t *testing.T) {
	t.Parallel()
	assert.Equal(t, session.DefaultBaseURL, loginOrigin(t))
	assert.Equal(t, "https://mysite.files.com", loginOrigin(t, session.WithSubdomain("MySite")))
	assert.Equal(t, "https://2fast.files.com", loginOrigin(t, session.WithSubdomain("2fast")))
	for given, want := range map[string]string{
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
		assert.Equal(t, want, loginOrigin(t, session.WithBaseURL(given)))
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
	assert.Equal(t, "https://b.files.com", loginOrigin(t, session.WithBaseURL("https://a.example"), session.WithSubdomain("b")))
	assert.Equal(t, "https://a.example", loginOrigin(t, session.WithSubdomain("b"), session.WithBaseURL("https://a.example")))
}
