package session_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/filescom/session"
	"github.com/filescom/session/sessiontest"
	"github.com/stretchr/testify/assert"
)

var load = flag.Bool("load", false, "run the load tests in full: 50,000 users, 10,000 logins")

// twelve kinds of faults. Each twentieth request meets one of them.
var twelve = []sessiontest.Fault{
	{Status: 503},
	{Status: 504, After: true},
	{Status: 502, Body: sessiontest.EdgeHTML},
	{Status: 429, Header: http.Header{"Retry-After": {"1"}}},
	{Status: 307, Header: http.Header{"Location": {"https://elsewhere.example/"}}},
	{Reset: true},
	{Reset: true, After: true},
	{Truncate: 1, After: true},
	{Surplus: "{}"},
	{Gzip: true},
	{Bomb: 1 << 20},
	{HTTPCode: []any{"401"}, Delay: time.Millisecond},
}

// Every login ends in a session or a typed error. The sessions that are live at the
// end are those whose outcome was reported as unknown. No goroutine or file is left
// open, and no secret is shown.
func TestEveryLoginUnderFaultsEndsInASessionOrATypedError(t *testing.T) {
	for name, start := range map[string]func(...sessiontest.User) *sessiontest.Server{"plain": sessiontest.NewServer, "TLS": sessiontest.NewTLSServer} {
		t.Run(name, func(t *testing.T) {
			users := 1_000
			if *load {
				users = 50_000
			}
			underFaults(t, start(), users)
		})
	}
}

func underFaults(t *testing.T, srv *sessiontest.Server, users int) {
	before := descriptors()
	var out output
	log.SetOutput(&out)
	defer log.SetOutput(os.Stderr)
	for i := range users {
		srv.AddUser(sessiontest.User{Username: fmt.Sprint("user", i), Password: passwordCanary,
			Session: map[string]any{"id": fmt.Sprint(idCanary, i)}})
	}
	srv.Seed(4)
	for _, f := range twelve {
		f.Chance = 0.05 / float64(len(twelve))
		srv.Inject(f)
	}
	tr := srv.Client().Transport.(*http.Transport)
	tr.MaxIdleConnsPerHost = 64
	c := newClient(t, session.WithSite(srv.URL), session.WithHTTPClient(srv.Client()),
		session.WithLogger(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))))

	outcomes := make([]error, users)
	start := time.Now()
	var next atomic.Int32
	var wg sync.WaitGroup
	for range 64 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := int(next.Add(1)) - 1; i < users; i = int(next.Add(1)) - 1 {
				outcomes[i] = visit(t, c, srv, i)
			}
		}()
	}
	wg.Wait()
	took := time.Since(start)

	posts, unknown, orphans := 0, 0, 0
	for _, err := range outcomes {
		if errors.Is(err, session.ErrOutcomeUnknown) {
			unknown++
		}
	}
	for _, r := range srv.Requests() {
		if r.Method != http.MethodPost {
			continue
		}
		posts++
		var i int
		if fmt.Sscanf(r.User, "user%d", &i); r.User != "" && outcomes[i] != nil {
			orphans++
			assert.ErrorIs(t, outcomes[i], session.ErrOutcomeUnknown, r.User)
		}
	}
	assert.Equal(t, users, posts, "one POST for each login")
	assert.Equal(t, orphans, srv.Counts().Live)
	assert.NotZero(t, orphans)
	assertNoSecret(t, out.String())
	t.Logf("%d users in %v: %d unknown, of which %d live", users, took.Round(time.Millisecond), unknown, orphans)
	srv.Close()
	if before >= 0 {
		assert.Eventually(t, func() bool { return descriptors() <= before }, 10*time.Second, time.Millisecond)
	}
}

// visit logs in, makes a call and logs out, and returns the outcome of the login.
// Each of these ends in success or a typed error.
func visit(t *testing.T, c *session.Client, srv *sessiontest.Server, i int) error {
	ctx := t.Context()
	s, err := c.Create(ctx, session.CreateParams{Username: fmt.Sprint("user", i), Password: passwordCanary})
	if (s == nil) == (err == nil) {
		t.Error("neither or both of a session and an error")
	}
	typed := func(err error) {
		var api *session.APIError
		if !errors.As(err, &api) && !errors.Is(err, session.ErrOutcomeUnknown) && !errors.Is(err, session.ErrNotSent) {
			t.Errorf("not typed: %v", err)
		}
		assertNoSecret(t, err.Error())
	}
	if err != nil {
		typed(err)
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.BaseURL+"/api/rest/v1/x", nil)
	if err != nil {
		t.Error(err)
	}
	req.Header.Set(session.AuthHeader, s.ID)
	if resp, err := srv.Client().Transport.RoundTrip(req); err == nil {
		if err := session.CheckResponse(resp); err != nil {
			typed(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	for range 20 {
		if err = c.Delete(ctx, s); err == nil {
			return nil
		}
		typed(err)
	}
	t.Errorf("not logged out: %v", err)
	return nil
}

// The connections of a hundred of ten thousand logins are reset, half of them before
// and half after the login took effect. Only the server knows which.
func TestALoginWhoseConnectionIsResetIsPostedOnce(t *testing.T) {
	logins, each := 1_000, 100
	if *load {
		logins, each = 10_000, 200
	}
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: passwordCanary})
	defer srv.Close()
	c := newClient(t, session.WithSite(srv.URL), session.WithHTTPClient(srv.Client()))
	var next, unknown, failed atomic.Int32
	var wg sync.WaitGroup
	for range 64 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := int(next.Add(1)) - 1; i < logins; i = int(next.Add(1)) - 1 {
				if i%(each/2) == 0 {
					srv.Inject(sessiontest.Fault{Method: http.MethodPost, Reset: true, After: i%each == 0})
				}
				s, err := c.Create(context.Background(), alice)
				switch {
				case errors.Is(err, session.ErrOutcomeUnknown):
					unknown.Add(1)
				case err != nil || c.Delete(context.Background(), s) != nil:
					failed.Add(1)
				}
			}
		}()
	}
	wg.Wait()
	posts := 0
	for _, r := range srv.Requests() {
		if r.Method == http.MethodPost {
			posts++
		}
	}
	resets := 2 * logins / each
	assert.Zero(t, failed.Load())
	assert.Equal(t, logins, posts)
	assert.EqualValues(t, resets, unknown.Load())
	assert.Equal(t, resets/2, srv.Counts().Live, "%v", srv.Counts())
}

// output may be written by several goroutines at the same time.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) { o.mu.Lock(); defer o.mu.Unlock(); return o.b.Write(p) }
func (o *output) String() string              { o.mu.Lock(); defer o.mu.Unlock(); return o.b.String() }

// descriptors returns the number of open files of this process, or -1 if it is not
// known.
func descriptors() int {
	runtime.GC()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return -1
	}
	return len(entries)
}
