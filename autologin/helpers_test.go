package autologin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/filescom/session"
	"github.com/filescom/session/autologin"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// canaries are the secrets of the tests. No text may hold one.
const (
	passwordCanary = "pass word+canary&1"
	otpCanary      = "otp%canary=2"
	partialCanary  = "partial/canary/3"
	idCanary       = "id-canary-4-0123456789abcdef"
	tokenCanary    = "@tok-canary-5"
	awsCanary      = "aws/secret+canary=6"
)

var (
	alice    = session.CreateParams{Username: "alice", Password: passwordCanary}
	wrong    = session.CreateParams{Username: "alice", Password: otpCanary}
	canaries = []string{passwordCanary, otpCanary, partialCanary, idCanary, tokenCanary, awsCanary}
)

var errBroken = errors.New("broken")

// forms are the canaries, as they are and escaped.
var forms = func() (forms []string) {
	for _, canary := range canaries {
		quoted, _ := json.Marshal(canary)
		forms = append(forms, canary, url.QueryEscape(canary), url.PathEscape(canary),
			fmt.Sprintf("%x", canary), fmt.Sprintf("%X", canary), strings.Trim(string(quoted), `"`))
	}
	return forms
}()

// assertNoSecret checks that text holds no canary.
func assertNoSecret(t *testing.T, text string) {
	t.Helper()
	for _, form := range forms {
		if strings.Contains(text, form) {
			t.Errorf("a secret (%s) is shown: %s", form, text)
			return
		}
	}
}

var verbs = []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%e", "%c", "%U", "%o", "%b", "%T", "%10.3v", "%+q"}

// assertHidesSecrets checks that no way of printing, logging or marshalling v shows a
// canary, nor does any error that v wraps.
func assertHidesSecrets(t *testing.T, v any) {
	t.Helper()
	for _, verb := range verbs {
		assertNoSecret(t, fmt.Sprintf(verb, v))
	}
	var out bytes.Buffer
	slog.New(slog.NewTextHandler(&out, nil)).Info("m", "v", v)
	slog.New(slog.NewJSONHandler(&out, nil)).WithGroup("g").With("v", v).Info("m", "v", v)
	assertNoSecret(t, out.String())
	if data, err := json.Marshal(v); err == nil {
		assertNoSecret(t, string(data))
	}
	switch e := v.(type) {
	case interface{ Unwrap() error }:
		if e.Unwrap() != nil {
			assertHidesSecrets(t, e.Unwrap())
		}
	case interface{ Unwrap() []error }:
		for _, err := range e.Unwrap() {
			assertHidesSecrets(t, err)
		}
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func newClient(t testing.TB, opts ...session.Option) *session.Client {
	t.Helper()
	c, err := session.NewClient(opts...)
	require.NoError(t, err)
	return c
}

// freshTransport returns a transport with its own connections, which end with the test.
func freshTransport(t *testing.T) *http.Transport {
	t.Helper()
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

func apiError(t *testing.T, err error) *session.APIError {
	t.Helper()
	var api *session.APIError
	require.ErrorAs(t, err, &api)
	return api
}

// assertErrorIs checks that err matches target and hides all secrets.
func assertErrorIs(t *testing.T, err, target error, message ...any) {
	t.Helper()
	assert.ErrorIs(t, err, target, message...)
	assertHidesSecrets(t, err)
}

func backoffError(t *testing.T, err error) *autologin.BackoffError {
	t.Helper()
	var wait *autologin.BackoffError
	require.ErrorAs(t, err, &wait)
	assert.Positive(t, wait.Wait)
	return wait
}

func assertNoBackoff(t *testing.T, err error) {
	t.Helper()
	assert.False(t, errors.As(err, new(*autologin.BackoffError)), "%v", err)
}

func payload(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile("../testdata/" + name)
	require.NoError(t, err)
	return string(data)
}

// get calls Session in a goroutine and sends its outcome.
func get(ctx context.Context, src *autologin.Source) <-chan error {
	out := make(chan error, 1)
	go func() {
		_, err := src.Session(ctx)
		out <- err
	}()
	return out
}

// ended returns a context that has ended.
func ended(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// recovered returns what f panics with, or nil.
func recovered(f func()) (value any) {
	defer func() { value = recover() }()
	f()
	return nil
}

// output may be written by several goroutines at the same time.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) { o.mu.Lock(); defer o.mu.Unlock(); return o.b.Write(p) }
func (o *output) String() string              { o.mu.Lock(); defer o.mu.Unlock(); return o.b.String() }

func (o *output) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(o, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// waitFor polls until cond holds, for conditions without a channel.
func waitFor(t *testing.T, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the condition did not come to hold")
		}
	}
}
