package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-resty/resty/v2"
)

const path = "/api/rest/v1/sessions"

// Client logs users in and out. It is immutable, holds no user's secret and is
// safe for concurrent use; one serves any number of users. Its zero value is
// the client of no options.
type Client struct {
	config
	rest     *resty.Request // copied for each request: nothing of it is written to
	endpoint *url.URL       // of base
	late     error          // the cause of an exchange that ends by timeout
}

var byDefault struct {
	once   sync.Once
	client *Client
}

func defaultClient() *Client {
	byDefault.once.Do(func() { byDefault.client, _ = NewClient() })
	return byDefault.client
}

func clientFor(opts []Option) (*Client, error) {
	if len(opts) == 0 {
		return defaultClient(), nil
	}
	return NewClient(opts...)
}

// connect makes the resty client, over the copy of the caller's http.Client.
// It is not changed afterwards: resty does not guard its fields.
func (c *Client) connect() {
	hc := c.http
	hc.Jar = nil
	if hc.Transport == nil {
		hc.Transport = sharedTransport()
	}
	hc.Transport = noRedirect{hc.Transport}
	c.endpoint, c.late = endpoint(c.base), timeoutError(c.timeout)
	c.rest = resty.NewWithClient(&hc).
		SetDoNotParseResponse(true).
		SetPreRequestHook(func(_ *resty.Client, r *http.Request) error {
			r.Context().(*exchange).complete(r)
			return nil
		}).R()
	c.rest.Header = http.Header{
		"Accept":          {"application/json"},
		"Accept-Encoding": {"identity"}, // see decompress
		"Content-Type":    {"application/x-www-form-urlencoded"},
		"User-Agent":      {c.userAgent},
	}
	if c.language != "" {
		c.rest.Header["Accept-Language"] = []string{c.language}
	}
}

// Create logs a user in. The error is, or wraps:
//
//   - [ErrInvalidParams]: refused before anything was sent;
//   - *[APIError]: the server's refusal, see the Err variables that it matches;
//   - *[TwoFactorError]: a second factor is wanted and there is no [WithOTP], or
//     the one that was sent did not do;
//   - *[RegionMismatchError]: the site is served from a host that is not trusted;
//   - [ErrNotSent]: no connection was had, or ctx had ended before;
//   - [ErrOutcomeUnknown]: no answer, a 5xx, or an invalid success. Only then may
//     a session exist that nobody holds;
//   - the error of the [OTPFunc].
//
// It posts once for each host and code, and again only when no connection was
// had.
func (c *Client) Create(ctx context.Context, params CreateParams) (*Session, error) {
	if c == nil || c.rest == nil {
		c = defaultClient()
	}
	if ctx == nil {
		return nil, fmt.Errorf("session: log in: %w: context is nil", ErrInvalidParams)
	}
	s, err := c.logIn(ctx, c.base, params, &c.config)
	if moved, ok := err.(*movedError); ok {
		return c.logIn(ctx, moved.origin, params, nil)
	}
	return s, err
}

// logIn logs in at one host, with a second factor when that is asked for. A region
// mismatch that follow trusts is a *movedError.
func (c *Client) logIn(ctx context.Context, base string, params CreateParams, follow *config) (*Session, error) {
	s, err := c.post(ctx, base, params, params.secrets(), follow)
	challenge, wanted := err.(*TwoFactorError)
	if !wanted || c.otp == nil || params.OTP != "" {
		return s, err
	}
	partial := challenge.PartialSessionID
	code, err := c.otp(ctx, challenge)
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%w: %w", quiet(ctx, ctx.Err(), params.secrets(), true), err)
		}
		return nil, fmt.Errorf("session: log in at %s: ask for the second factor: %w", host(base), err)
	}
	answer := challenge.Answer(params, code)
	return c.post(ctx, base, answer, secrets{answer.OTP, params.Password, partial}, follow)
}

func (c *Client) post(ctx context.Context, base string, params CreateParams, hide secrets, follow *config) (*Session, error) {
	if err := params.validate(); err != nil {
		return nil, err
	}
	r := &request{
		op:      "log in at ",
		method:  http.MethodPost,
		base:    base,
		body:    params.encode(),
		secrets: hide,
		follow:  follow,
	}
	var s *Session
	err := c.do(ctx, r, func(a *answer) (err error) {
		if a.status/100 != 2 {
			return a.error(r)
		}
		if a.err != nil {
			return a.invalid(r, a.err)
		}
		if a.status != http.StatusOK && a.status != http.StatusCreated {
			return a.invalid(r, errors.New("a status that a login does not have"))
		}
		if s, err = decodeSession(a.body); err != nil {
			return a.invalid(r, err)
		}
		s.BaseURL, s.UserAgent, s.client = base, c.userAgent, c
		return nil
	})
	return s, err
}

// Delete logs s out, at the origin and with the User-Agent that made it when s
// names them. A session that has already ended is no error. It does not touch
// s, and is tried again when it fails: see [WithRetries]. Under a ctx that has
// ended nothing is sent: [context.WithoutCancel] keeps a log-out from that.
func (c *Client) Delete(ctx context.Context, s *Session) error {
	if c == nil || c.rest == nil {
		c = defaultClient()
	}
	if ctx == nil {
		return fmt.Errorf("session: log out: %w: context is nil", ErrInvalidParams)
	}
	base, err := s.address(c.base)
	if err != nil {
		return fmt.Errorf("session: log out: %w: %w", ErrInvalidParams, err)
	}
	r := &request{op: "log out at ", method: http.MethodDelete, base: base, session: s, secrets: secrets{s.ID}}
	return c.do(ctx, r, func(a *answer) error {
		if a.status/100 == 2 {
			return nil
		}
		if err := a.error(r); !errors.Is(err, ErrSessionEnded) {
			return err
		}
		return nil
	})
}

// request is what do sends. A DELETE may be sent again.
type request struct {
	op      string // for errors: what is done at base
	method  string
	base    string
	body    []byte   // of a login
	session *Session // to log out
	secrets secrets
	follow  *config // whose trust a region mismatch is followed by; nil: it is not
}

// doing says what r does, for errors.
func (r *request) doing() string { return r.op + host(r.base) }

// do sends r, reads the answer and has check judge it; then again, where that
// is allowed and of use.
func (c *Client) do(ctx context.Context, r *request, check func(*answer) error) error {
	sent := false
	var answered error // the last error that was an answer
	for attempt := 1; ; attempt++ {
		start := time.Now()
		a, err := c.attempt(ctx, r)
		failed, _ := err.(*failure)
		if err == nil {
			err = check(a)
			answered = err
		}
		sent = sent || failed == nil || failed.outcome != ErrNotSent
		if failed != nil && sent {
			failed.outcome = ErrOutcomeUnknown
		}
		if failed != nil && answered != nil {
			failed.cause.safe = append(failed.cause.safe, answered)
		}
		c.log(ctx, r, a, err, attempt, time.Since(start))
		again := failed != nil && !failed.certificate && (!sent || r.method == http.MethodDelete) ||
			err != nil && failed == nil && a.status/100 == 5 && r.method == http.MethodDelete
		if !again || attempt > c.retries || ctx.Err() != nil {
			return err
		}
		select {
		case <-time.After(backoff(attempt, 100*time.Millisecond, 2*time.Second)):
		case <-ctx.Done():
			outcome := ErrNotSent
			if sent {
				outcome = ErrOutcomeUnknown
			}
			cause := quiet(ctx, ctx.Err(), r.secrets, true)
			cause.safe = append(cause.safe, err)
			return &failure{op: r.doing(), outcome: outcome, cause: cause}
		}
	}
}

// backoff returns how long to wait after the nth failure: first, doubled each
// time up to most, of which chance takes up to a half.
func backoff(n int, first, most time.Duration) time.Duration {
	wait := min(most, first<<min(n-1, 10))
	return wait - rand.N(wait/2)
}

// log writes the record of an attempt.
func (c *Client) log(ctx context.Context, r *request, a *answer, err error, attempt int, took time.Duration) {
	level := slog.LevelDebug
	if err != nil {
		level = slog.LevelWarn
	}
	if c.logger == nil || !c.logger.Enabled(ctx, level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("method", r.method),
		slog.String("host", host(r.base)),
		slog.Duration("duration", took),
		slog.Int("attempt", attempt),
	}
	if a != nil {
		attrs = append(attrs, slog.Int("status", a.status))
	}
	var api *APIError
	if errors.As(err, &api) {
		kind := api.Type
		if errors.Is(err, ErrInvalidResponse) {
			kind = ErrInvalidResponse.Error()
		}
		attrs = append(attrs, slog.String("error_type", kind), slog.String("instance", api.Instance))
	} else if failed, ok := err.(*failure); ok {
		attrs = append(attrs, slog.String("error_type", failed.outcome.Error()), slog.String("error", failed.cause.Error()))
	}
	c.logger.LogAttrs(ctx, level, "Files.com session request", attrs...)
}

// host returns the host and port of an origin.
func host(origin string) string {
	_, host, _ := strings.Cut(origin, "://")
	return host
}
