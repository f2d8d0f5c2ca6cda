package session_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"unicode/utf8"

	"github.com/filescom/session"
	"github.com/filescom/session/sessiontest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func mismatch(host string) string {
	return `{"type":"not-authenticated/lockout-region-mismatch","data":{"host":"` + host + `"}}`
}

func TestALoginIsMovedToATrustedHost(t *testing.T) {
	t.Parallel()
	for _, form := range []sessiontest.RegionForm{sessiontest.Region403JSON, sessiontest.Region401JSON, sessiontest.Region403Text} {
		t.Run(fmt.Sprint(form), func(t *testing.T) {
			t.Parallel()
			user := sessiontest.User{Username: "alice", Password: passwordCanary, OTP: "123456"}
			home, srv := sessiontest.NewServer(user), sessiontest.NewServer()
			defer home.Close()
			defer srv.Close()
			srv.MoveTo(home.URL, form)
			host := strings.TrimPrefix(home.URL, "http://")
			var asked atomic.Int32
			at := []session.Option{session.WithSite(srv.URL), session.WithHTTPClient(srv.Client()), otp("123456", &asked)}
			c := newClient(t, append(at, session.WithTrustedHosts("LOCALHOST:1", host))...)
			s, err := c.Create(t.Context(), alice)
			require.NoError(t, err)
			assert.Equal(t, home.URL, s.BaseURL)
			assert.EqualValues(t, 1, asked.Load())
			require.NoError(t, c.Delete(t.Context(), s))
			assert.Equal(t, sessiontest.Counts{Logins: 1, Refused: 1, Logouts: 1}, home.Counts())
			assert.Equal(t, sessiontest.Counts{Refused: 1}, srv.Counts())

			_, err = session.Create(t.Context(), alice, at...)
			var moved *session.RegionMismatchError
			require.ErrorAs(t, err, &moved, "not without trust")
			assert.Equal(t, host, moved.Host)
			assert.NotErrorIs(t, err, session.ErrNotAuthenticated)
			assertHidesSecrets(t, err)
			assertHidesSecrets(t, *moved)
		})
	}
}

// Another status may be that of a front end that fails: a session may exist.
func TestOnlyARefusalMovesALogin(t *testing.T) {
	t.Parallel()
	for _, status := range []int{302, 307, 400, 422, 500, 503} {
		other := answer(t, 201, `{"id":"1"}`)
		host := strings.TrimPrefix(other.URL, "http://")
		srv := answer(t, status, mismatch(host))
		_, err := client(t, srv, session.WithTrustedHosts(host)).Create(t.Context(), alice)
		assert.Equal(t, status, apiError(t, err).StatusCode)
		assert.Empty(t, other.seen())
	}
}

func TestALoginIsMovedOnce(t *testing.T) {
	t.Parallel()
	first, second := sessiontest.NewServer(), sessiontest.NewServer()
	defer first.Close()
	defer second.Close()
	first.MoveTo(second.URL, sessiontest.Region403JSON)
	second.MoveTo(first.URL, sessiontest.Region401JSON)
	hosts := []string{strings.TrimPrefix(first.URL, "http://"), strings.TrimPrefix(second.URL, "http://")}
	_, err := session.Create(t.Context(), alice, session.WithSite(first.URL), session.WithHTTPClient(first.Client()), session.WithTrustedHosts(hosts...))
	var moved *session.RegionMismatchError
	require.ErrorAs(t, err, &moved)
	assert.Equal(t, hosts[0], moved.Host)
	assert.Len(t, first.Requests(), 1)
	assert.Len(t, second.Requests(), 1)
}

func TestAfterAMoveTheCodeIsAskedForAgain(t *testing.T) {
	t.Parallel()
	home := answer(t, 401, payload(t, "error_2fa_totp_401_constructed.json"))
	host := strings.TrimPrefix(home.URL, "http://")
	n := 0
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(401)
		if n++; n == 1 {
			io.WriteString(w, payload(t, "error_2fa_totp_401_constructed.json"))
			return
		}
		io.WriteString(w, mismatch(host))
	})
	var asked atomic.Int32
	_, err := client(t, srv, session.WithTrustedHosts(host), otp("123456", &asked)).Create(t.Context(), alice)
	var challenge *session.TwoFactorError
	assert.ErrorAs(t, err, &challenge)
	assert.EqualValues(t, 2, asked.Load())
	assert.Len(t, home.seen(), 2)
	assert.NotContains(t, home.seen()[0].body, "otp")
}

// A RoundTripper answers all requests, so that none leaves the process.
func TestHostsThatALoginIsMovedTo(t *testing.T) {
	t.Parallel()
	const none = ""
	for _, tc := range []struct {
		base, named, host string // host: the host in the error, or the host that the login moved to
		trusted           []string
		gone              bool
	}{
		{"https://app.files.com", "mysite.files.com", "mysite.files.com", nil, true},
		{"https://app.files.com", "MySite.Files.COM", "mysite.files.com", nil, true},
		{"https://app.files.com", "https://mysite.files.com", "mysite.files.com", nil, true},
		{"https://app.files.com", "https://mysite.files.com:443", "mysite.files.com", nil, true},
		{"https://app.files.com", "mysite.files.com:443", "mysite.files.com", nil, true},
		{"https://app.files.com", "files.com", "files.com", nil, true},
		{"https://app.files.com", "files.example.com", "files.example.com", []string{"Files.Example.com"}, true},
		{"https://files.example.com", "mysite.files.com", "mysite.files.com", []string{"mysite.files.com"}, true},
		{"https://app.files.com", "files.example.com", "files.example.com", []string{"example.com"}, false},
		{"https://files.example.com", "mysite.files.com", "mysite.files.com", nil, false},
		{"https://app.files.com", "evilfiles.com", "evilfiles.com", nil, false},
		{"https://app.files.com", "files.com.evil.example", "files.com.evil.example", nil, false},
		{"https://app.files.com", "app.files.com", none, nil, false},
		{"https://app.files.com", "https://app.files.com:443", none, nil, false},
		{"https://app.files.com", "http://mysite.files.com", none, nil, false},
		{"https://app.files.com", "mysite.files.com:8443", none, nil, false},
		{"https://app.files.com", "mysite.files.com.", none, nil, false},
		{"https://app.files.com", "mysite.files.com//", none, nil, false},
		{"https://app.files.com", "mysite.files.com/", "mysite.files.com", nil, true},
		{"https://app.files.com", "https://mysite.files.com/", "mysite.files.com", nil, true},
		{"https://app.files.com", "https://mysite.files.com/x", none, nil, false},
		{"https://app.files.com", "u@mysite.files.com", none, nil, false},
		{"https://app.files.com", "evil.example#.files.com", none, nil, false},
		{"https://app.files.com", "evil.example?.files.com", none, nil, false},
		{"https://app.files.com", `evil.example\.files.com`, none, nil, false},
		{"https://app.files.com", "evil.example%2f.files.com", none, nil, false},
		{"https://app.files.com", "evil.example\r\n.files.com", none, nil, false},
		{"https://app.files.com", "127.0.0.1", none, nil, false},
		{"https://app.files.com", "127.1", none, nil, false},
		{"https://app.files.com", "2130706433", none, nil, false},
		{"https://app.files.com", "0x7f.0x1", none, nil, false},
		{"https://app.files.com", "[::1]", none, nil, false},
		{"https://app.files.com", "127.0.0.1:4041", none, []string{"127.0.0.1:4041"}, false},
		{"https://app.files.com", "ftp://mysite.files.com", none, nil, false},
		{"https://app.files.com", "https://", none, nil, false},
		{"https://app.files.com", "", none, nil, false},
		{"https://app.files.com", "müsite.files.com", none, nil, false},
		{"https://app.files.com", "-a.files.com", none, nil, false},
		{"https://app.files.com", strings.Repeat("a", 64) + ".files.com", none, nil, false},
		{"https://app.files.com", strings.Repeat("a.", 125) + "files.com", none, nil, false},
		{"https://127.0.0.1:9", "127.0.0.1:4041", "127.0.0.1:4041", []string{"127.0.0.1:4041"}, true},
		{"https://127.0.0.1:9", "https://localhost:4041", "localhost:4041", []string{"localhost:4041"}, true},
		{"https://[::1]:9", "[::1]:4041", "[::1]:4041", []string{"[::1]:4041"}, true},
		{"https://127.0.0.1:9", "127.0.0.1:4041", "127.0.0.1:4041", nil, false},
		{"https://127.0.0.1:9", "http://127.0.0.1:4041", none, []string{"127.0.0.1:4041"}, false},
		{"https://127.0.0.1:9", "10.0.0.1:4041", none, nil, false},
		{"https://127.0.0.1:9", "127.0.0.1:9", none, []string{"127.0.0.1:9"}, false},
		{"https://127.0.0.1:9", "[::1%lo]:4041", none, nil, false},
		{"https://app.files.com", "\u212Aelvin.files.com", none, nil, false},
	} {
		var hosts []string
		hc := &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			hosts = append(hosts, r.URL.Scheme+"://"+r.URL.Host)
			body := `{"id":"1"}`
			status := 201
			if len(hosts) == 1 {
				named, _ := url.QueryUnescape(url.QueryEscape(tc.named))
				body, status = fmt.Sprintf(`{"type":"not-authenticated/lockout-region-mismatch","data":{"host":%s}}`, jsonString(named)), 401
			}
			return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
		})}
		c := newClient(t, session.WithSite(tc.base), session.WithHTTPClient(hc), session.WithTrustedHosts(tc.trusted...))
		s, err := c.Create(t.Context(), alice)
		if tc.gone {
			require.NoError(t, err, "%s names %s", tc.base, tc.named)
			assert.Equal(t, []string{tc.base, "https://" + tc.host}, hosts)
			assert.Equal(t, "https://"+tc.host, s.BaseURL)
			continue
		}
		var moved *session.RegionMismatchError
		require.ErrorAs(t, err, &moved, "%s names %s", tc.base, tc.named)
		assert.Equal(t, tc.host, moved.Host, "%s names %s", tc.base, tc.named)
		assert.Equal(t, []string{tc.base}, hosts)
	}
}

func TestAHostThatHoldsASecretIsNotShown(t *testing.T) {
	t.Parallel()
	srv := answer(t, 401, mismatch("hunter2.example.com"))
	_, err := client(t, srv).Create(t.Context(), session.CreateParams{Username: "alice", Password: "hunter2"})
	var moved *session.RegionMismatchError
	require.ErrorAs(t, err, &moved)
	assert.NotContains(t, fmt.Sprintf("%v %+v %#v", err, err, *moved), "hunter2")
	var asked []string
	hc := &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		asked = append(asked, r.URL.Host)
		return readResponse("HTTP/1.1 401 Unauthorized\r\n\r\n"+mismatch("hunter2.files.com"), r)
	})}
	_, err = session.Create(t.Context(), session.CreateParams{Username: "alice", Password: "hunter2"}, session.WithHTTPClient(hc))
	assert.NotContains(t, err.Error(), "hunter2")
	assert.Equal(t, []string{"app.files.com"}, asked, "the host is not looked up")
}

func TestTheRegionHostIsReadFromDataOrHeader(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		`{"type":"not-authenticated/lockout-region-mismatch","data":{"host":null}}`,
		`{"type":"not-authenticated/lockout-region-mismatch","errors":[{"data":{"host":"mysite.files.com"}}]}`,
	} {
		srv := answer(t, 401, body, "X-Files-Host", "mysite.files.com")
		_, err := client(t, srv).Create(t.Context(), alice)
		var moved *session.RegionMismatchError
		require.ErrorAs(t, err, &moved)
		assert.Equal(t, "mysite.files.com", moved.Host)
	}
}

func TestTwoRegionHeadersNameNoHost(t *testing.T) {
	t.Parallel()
	var asked []string
	hc := &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		asked = append(asked, r.URL.Host)
		return readResponse("HTTP/1.1 403 Forbidden\r\nX-Files-Host: mysite.files.com\r\nX-Files-Host: evil.example\r\n\r\n"+
			`{"type":"not-authenticated/lockout-region-mismatch"}`, r)
	})}
	_, err := session.Create(t.Context(), alice, session.WithHTTPClient(hc))
	var moved *session.RegionMismatchError
	require.ErrorAs(t, err, &moved)
	assert.Empty(t, moved.Host)
	assert.Equal(t, []string{"app.files.com"}, asked)
}

func TestARegionMismatchSaysHowToFollowIt(t *testing.T) {
	t.Parallel()
	err := refused(t, 401, mismatch("files.example.com"), http.Header{})
	assert.EqualError(t, err, `session: log in at app.files.com: 401 not-authenticated/lockout-region-mismatch: `+
		`the site is served from files.example.com; use its base URL, or WithTrustedHosts("files.example.com")`)
}

func TestDeleteIsNeverMoved(t *testing.T) {
	t.Parallel()
	home := answer(t, 204, "")
	host := strings.TrimPrefix(home.URL, "http://")
	srv := answer(t, 403, mismatch(host))
	err := client(t, srv, session.WithTrustedHosts(host)).Delete(t.Context(), &session.Session{ID: idCanary})
	var moved *session.RegionMismatchError
	assert.ErrorAs(t, err, &moved)
	assert.Empty(t, home.seen())
}

// In FuzzRegionMismatch the server names any host. A login may go only to a host of
// files.com, or to a trusted port of loopback from loopback.
func FuzzRegionMismatch(f *testing.F) {
	for _, named := range []string{"mysite.files.com", "https://mysite.files.com:443/", "evil.example#.files.com", "127.0.0.1:4041", "[::1]:4041", "http://localhost:1", "u@files.com", "files.com.", "0x7f.1", "https://"} {
		f.Add(session.DefaultBaseURL, named)
		f.Add("http://127.0.0.1:4040", named)
	}
	f.Add("http://127.0.0.10", "127.0.0.0:0")
	f.Fuzz(func(t *testing.T, base, named string) {
		var hosts []*url.URL
		hc := &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			hosts = append(hosts, r.URL)
			body := mismatch("")
			if utf8.ValidString(named) {
				body = strings.Replace(body, `""`, jsonString(named), 1)
			}
			return &http.Response{StatusCode: 401, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
		})}
		_, err := session.Create(t.Context(), alice, session.WithSite(base), session.WithHTTPClient(hc), session.WithTrustedHosts("127.0.0.1:4041", "[::1]:4041"))
		if errors.Is(err, session.ErrInvalidParams) {
			return
		}
		var moved *session.RegionMismatchError
		if !errors.As(err, &moved) || len(hosts) > 2 {
			t.Fatalf("%d requests: %v", len(hosts), err)
		}
		if len(hosts) < 2 {
			return
		}
		to := hosts[1]
		loopback := regexp.MustCompile(`^(127\.0\.0\.1|\[::1\]):4041$`)
		if !(to.Scheme == "https" && strings.HasSuffix("."+to.Host, ".files.com")) && !(to.Scheme == hosts[0].Scheme && loopback.MatchString(to.Host)) ||
			to.User != nil || to.Path != "/api/rest/v1/sessions" || to.RawQuery != "" {
			t.Fatalf("%q from %q goes to %v", named, base, to)
		}
	})
}
