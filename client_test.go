package session_test

import (
	"bytes"
	"io"
	"log"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/filescom/session"
	"github.com/filescom/session/sessiontest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheCallersHTTPClientIsNotTouched(t *testing.T) {
	t.Parallel()
	srv := answer(t, 201, `{"id":"1"}`)
	checked := false
	hc := &http.Client{Transport: srv.Client().Transport, Jar: &cookieJar{}, Timeout: time.Hour,
		CheckRedirect: func(*http.Request, []*http.Request) error { checked = true; return nil }}
	before := *hc
	_, err := session.Create(t.Context(), alice, session.WithSite(srv.URL), session.WithHTTPClient(hc))
	require.NoError(t, err)
	assert.Equal(t, before.Transport, hc.Transport)
	assert.Equal(t, before.Jar, hc.Jar)
	assert.Equal(t, before.Timeout, hc.Timeout)
	hc.CheckRedirect(nil, nil)
	assert.True(t, checked)
}

// A program that sets http.DefaultTransport, as tests and tracing do, expects every
// http.Client without a Transport to use it.
func TestAnHTTPClientWithoutATransportUsesTheDefaultOne(t *testing.T) {
	if os.Getenv("SESSION_TEST_DEFAULT_TRANSPORT") != "" {
		http.DefaultTransport = roundTripper(func(*http.Request) (*http.Response, error) { return nil, errBroken })
		_, err := session.Create(t.Context(), alice, session.WithHTTPClient(&http.Client{}))
		assert.ErrorIs(t, err, errBroken)
		return
	}
	t.Parallel()
	cmd := exec.Command(os.Args[0], "-test.run=^TestAnHTTPClientWithoutATransportUsesTheDefaultOne$") // since it changes a global
	cmd.Env = append(os.Environ(), "SESSION_TEST_DEFAULT_TRANSPORT=1")
	out, err := cmd.CombinedOutput()
	assert.NoError(t, err, "%s", out)
}

func TestEveryAttemptIsLogged(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	logger := session.WithLogger(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == "time" || a.Key == "duration" {
			return slog.Attr{}
		}
		return a
	}})))
	fake := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: passwordCanary})
	defer fake.Close()
	c := newClient(t, session.WithSite(fake.URL), session.WithHTTPClient(fake.Client()), logger)
	s, err := c.Create(t.Context(), alice)
	require.NoError(t, err)
	canaries := append([]string{s.ID}, canaries...)
	require.NoError(t, c.Delete(t.Context(), s))
	_, err = c.Create(t.Context(), session.CreateParams{Username: "alice", Password: otpCanary})
	instance := apiError(t, err).Instance
	broken, _ := failingDialer(t, 100, errBroken)
	_, err = session.Create(t.Context(), alice, session.WithHTTPClient(broken), session.WithRetries(1), logger)
	require.Error(t, err)
	srv := answer(t, 201, idCanary)
	_, err = client(t, srv, logger).Create(t.Context(), alice)
	require.Error(t, err)
	moving := answer(t, 401, mismatch(strings.TrimPrefix(fake.URL, "http://")))
	_, err = client(t, moving, logger, session.WithTrustedHosts(strings.TrimPrefix(fake.URL, "http://"))).Create(t.Context(), alice)
	require.NoError(t, err)

	fakeHost, host := strings.TrimPrefix(fake.URL, "http://"), strings.TrimPrefix(srv.URL, "http://")
	assert.Equal(t, strings.Join([]string{
		`level=DEBUG msg="Files.com session request" method=POST host=` + fakeHost + ` attempt=1 status=201`,
		`level=DEBUG msg="Files.com session request" method=DELETE host=` + fakeHost + ` attempt=1 status=204`,
		`level=WARN msg="Files.com session request" method=POST host=` + fakeHost + ` attempt=1 status=401 error_type=not-authenticated/invalid-username-or-password instance=` + instance,
		`level=WARN msg="Files.com session request" method=POST host=app.files.com attempt=1 error_type="not sent" error=broken`,
		`level=WARN msg="Files.com session request" method=POST host=app.files.com attempt=2 error_type="not sent" error=broken`,
		`level=WARN msg="Files.com session request" method=POST host=` + host + ` attempt=1 status=201 error_type="invalid response" instance=""`,
		`level=WARN msg="Files.com session request" method=POST host=` + strings.TrimPrefix(moving.URL, "http://") + ` attempt=1 status=401 error_type=not-authenticated/lockout-region-mismatch instance=""`,
		`level=DEBUG msg="Files.com session request" method=POST host=` + fakeHost + ` attempt=1 status=201`,
	}, "\n")+"\n", out.String())
	for _, canary := range canaries {
		assert.NotContains(t, out.String(), canary)
	}
}

func TestNothingIsWrittenToTheStandardLogger(t *testing.T) {
	var out bytes.Buffer
	log.SetOutput(&out)
	slogBefore := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})))
	stderr := os.Stderr
	r, w, err := os.Pipe()
	require.NoError(t, err)
	os.Stderr = w
	defer func() { os.Stderr = stderr; slog.SetDefault(slogBefore); log.SetOutput(stderr) }()
	for status, body := range map[int]string{201: `{"id":"` + idCanary + `"}`, 200: idCanary, 302: "", 401: `{"error":`, 500: `{"http-code":"500"}`, 503: ""} {
		srv := answer(t, status, body, "Content-Type", "application/json", "Location", "http://%"+tokenCanary)
		c := client(t, srv, session.WithRetries(1))
		c.Create(t.Context(), alice)
		c.Delete(t.Context(), &session.Session{ID: idCanary})
	}
	hc, _ := failingDialer(t, 100, errBroken)
	session.Create(t.Context(), alice, session.WithHTTPClient(hc), session.WithRetries(1))
	w.Close()
	written, err := io.ReadAll(r)
	require.NoError(t, err)
	assert.Empty(t, string(written)+out.String())
}
