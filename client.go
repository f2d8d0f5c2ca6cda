package session

// The files of this package:
//
//	session.go    Session: which one can be sent, how it prints; the package functions
//	client.go     the steps of a login, a check and a log-out; when a request is sent again
//	attempt.go    one attempt: no redirect, no repetition by net/http, at most 64 KiB of answer;
//	              the error of the transport
//	pool.go       the transport that clients share: proxies, TLS, time limits
//	options.go    Option and every With function
//	origin.go     which sites are accepted, and where a login may be moved
//	params.go     CreateParams: what is required, and its encoding; the code of a second factor
//	decode.go     the JSON of answers, and Retry-After
//	errors.go     which answer leads to which error
//	redact.go     which texts may be shown

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-resty/resty/v2"
)

const (
	sessionsPath = "/api/rest/v1/sessions"
	sitePath     = "/api/rest/v1/site"
)

// Client logs users in and out. It is immutable, holds no secret of a user, and
// is safe for concurrent use. One Client serves any number of users. The zero
// value behaves like the client that NewClient() returns.
type Client struct {
	config
	rest *resty.Client // nil in the zero value
}

// NewClient returns a client that is configured by opts. It returns the error of the
// first bad option, which matches [ErrInvalidParams]. A Client need not be closed.
// All clients without [WithHTTPClient] share one transport, which takes its proxy
// from the environment ([http.ProxyFromEnvironment]) and does not limit the number
// of connections.
func NewClient(opts ...Option) (*Client, error) {
	c := &Client{config: config{
		base:      DefaultBaseURL,
		timeout:   30 * time.Second,
		retries:   2,
		userAgent: ourUserAgent,
	}}
	for _, opt := range opts {
		if opt == nil {
			return nil, fmt.Errorf("session: %w: an Option is nil; leave it out", ErrInvalidParams)
		}
		if err := opt(&c.config); err != nil {
			return nil, err
		}
	}
	c.rest = newREST(c.config)
	return c, nil
}

// newREST returns a resty client over a copy of the caller's http.Client. It must
// not be changed later, since resty does not lock its fields.
func newREST(c config) *resty.Client {
	hc := c.http
	hc.Jar = nil
	if hc.Transport == nil { // without WithHTTPClient
		hc.Transport = sharedTransport()
	}
	hc.Transport = onceTransport{hc.Transport}
	rest := resty.NewWithClient(&hc).
		SetDoNotParseResponse(true).
		SetHeader("Accept", "application/json").
		SetHeader("Accept-Encoding", "identity"). // else net/http decodes gzip
		SetHeader("User-Agent", c.userAgent)
	if c.language != "" {
		rest.SetHeader("Accept-Language", c.language)
	}
	return rest
}

var defaultClient = sync.OnceValue(func() *Client {
	c, _ := NewClient() // without options it cannot fail
	return c
})

func clientFor(opts []Option) (*Client, error) {
	if len(opts) == 0 {
		return defaultClient(), nil
	}
	return NewClient(opts...)
}

// ready returns the client that sends a request: c, or the default client for the zero
// value. A nil client or context is an error. A forgotten assignment must not post a
// password to the default host.
func (c *Client) ready(ctx context.Context, op string) (*Client, error) {
	switch {
	case c == nil:
		return nil, fmt.Errorf("session: %s: %w: the *Client is nil; create one with NewClient", op, ErrInvalidParams)
	case ctx == nil:
		return nil, fmt.Errorf("session: %s: %w: the context is nil; use context.Background()", op, ErrInvalidParams)
	case c.rest == nil:
		return defaultClient(), nil
	}
	return c, nil
}

// BaseURL returns the origin where c logs in, such as "https://mysite.files.com". The
// API may move a login elsewhere: see [Session.BaseURL].
func (c *Client) BaseURL() string { return cmp.Or(c.base, DefaultBaseURL) }

// Create logs a user in. The error is, or wraps:
//
//   - [ErrInvalidParams]: a parameter is refused and was not sent;
//   - *[APIError]: the server refuses the login; see the Err variables;
//   - *[TwoFactorError]: the server requires a second factor, and there is no
//     [WithOTP], or the code that was sent is not enough;
//   - *[RegionMismatchError]: the site is served from a host that is not trusted;
//   - [ErrNotSent]: no connection was established, or ctx had already ended;
//   - [ErrOutcomeUnknown]: there was no answer, a 5xx, or an invalid success. Only
//     in this case, a session may exist that nobody knows;
//   - the error of the [OTPFunc].
//
// It also matches the error of ctx if that has ended, and [context.DeadlineExceeded]
// after a timeout. Create sends one POST to each host, and a second one with a code
// of the OTPFunc. It sends a POST again only if no connection was established.
func (c *Client) Create(ctx context.Context, params CreateParams) (*Session, error) {
	c, err := c.ready(ctx, "log in")
	if err != nil {
		return nil, err
	}
	s, err := c.logIn(ctx, c.base, params)
	if mismatch, ok := err.(*RegionMismatchError); ok && c.trusts(mismatch.origin) {
		return c.logIn(ctx, mismatch.origin, params)
	}
	return s, err
}

// logIn logs in at one host, with a second factor if the server requires one.
func (c *Client) logIn(ctx context.Context, base string, params CreateParams) (*Session, error) {
	hide := secrets{params.Password, params.OTP, params.PartialSessionID}
	s, err := c.post(ctx, base, params, hide)
	challenge, ok := err.(*TwoFactorError)
	if !ok || c.otp == nil || params.OTP != "" {
		return s, err
	}
	hide = append(hide, challenge.PartialSessionID)
	code, err := c.otp(ctx, challenge)
	if err == nil && strings.TrimFunc(code, isInvisible) == "" {
		err = fmt.Errorf("%w: the code of the second factor is blank", ErrInvalidParams)
	}
	if err != nil {
		if ended := ctx.Err(); ended == err {
			err = newTransportError(ctx, &request{secrets: hide}, nil, ended) // with the cause
		} else if ended != nil {
			err = fmt.Errorf("%w: %w", newTransportError(ctx, &request{secrets: hide}, nil, ended), err)
		}
		return nil, fmt.Errorf("session: log in at %s: second factor: %w", hostOf(base), err)
	}
	params = challenge.Answer(params, code)
	return c.post(ctx, base, params, append(hide, code, params.OTP))
}

func (c *Client) post(ctx context.Context, base string, params CreateParams, hide secrets) (*Session, error) {
	if err := params.validate(); err != nil {
		return nil, err
	}
	r := &request{
		op:      "log in at " + hostOf(base),
		method:  http.MethodPost,
		base:    base,
		path:    sessionsPath,
		form:    params.encode(),
		secrets: hide,
	}
	var s *Session
	err := c.do(ctx, r, func(a *answer) error {
		err := a.failure()
		if challenge, ok := err.(*TwoFactorError); ok {
			challenge.codeRefused = params.OTP != ""
		}
		if err != nil {
			return err
		}
		if a.status != http.StatusOK && a.status != http.StatusCreated {
			return a.invalid(errors.New("a login is answered by 200 or 201"))
		}
		if s, err = decodeSession(a.body); err != nil {
			return a.invalid(err)
		}
		s.BaseURL, s.UserAgent, s.client = base, c.userAgent, c
		return nil
	})
	return s, err
}

// Delete logs s out. It sends the request to s.BaseURL with s.UserAgent, and uses
// those of the client if they are empty. It returns nil if the session has already
// ended. It does not modify s. It tries again after a failure: see [WithRetries]. If
// the server does not answer, each try takes as long as [WithTimeout] allows. Delete
// sends nothing if ctx has ended. To log out even then, derive a context with
// [context.WithoutCancel] and [context.WithTimeout]. The error is, or wraps,
// [ErrInvalidParams], an *[APIError], [ErrNotSent] or [ErrOutcomeUnknown].
func (c *Client) Delete(ctx context.Context, s *Session) error {
	return c.call(ctx, s, "log out", http.MethodDelete, sessionsPath, func(a *answer) error {
		if a.status/100 == 2 {
			return nil
		}
		if err := a.error(); !errors.Is(err, ErrSessionEnded) {
			return err
		}
		return nil
	})
}

// Check asks the API whether s is alive. It returns a copy of s with the TimeoutAt that
// the API reports, or with that of s if the API reports none. It does not modify s.
// It uses the address, the User-Agent and the retries of [Client.Delete]. The error
// matches [ErrSessionEnded] if the session has ended. After any other error it is
// unknown whether it has. A typed refusal of the API, such as one for lack of a
// permission, is no error: it shows that s is alive.
func (c *Client) Check(ctx context.Context, s *Session) (*Session, error) {
	var checked Session
	err := c.call(ctx, s, "check the session", http.MethodGet, sitePath, func(a *answer) error {
		checked = *s
		err := a.failure()
		var refusal *APIError
		if errors.As(err, &refusal) && refusal.showsLiveSession() {
			return nil
		}
		if err != nil {
			return err
		}
		var site struct {
			Session struct {
				TimeoutAt moment `json:"timeout_at"`
			} `json:"session"`
		}
		if err := decodeObject(a.body, &site); err != nil {
			return a.invalid(err)
		}
		if end := site.Session.TimeoutAt; !end.IsZero() {
			checked.TimeoutAt = end.Time
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &checked, nil
}

// call sends a request that carries s, and passes the answer to check.
func (c *Client) call(ctx context.Context, s *Session, op, method, path string, check func(*answer) error) error {
	c, err := c.ready(ctx, op)
	if err != nil {
		return err
	}
	base, err := s.validate(c.base)
	if err != nil {
		return fmt.Errorf("session: %s: %w: %w", op, ErrInvalidParams, err)
	}
	return c.do(ctx, &request{
		op:        op + " at " + hostOf(base),
		method:    method,
		base:      base,
		path:      path,
		sessionID: s.ID,
		userAgent: cmp.Or(s.UserAgent, c.userAgent),
		secrets:   secrets{s.ID, s.LoginToken, s.AWSSecretKey},
	}, check)
}

// request describes one API call.
type request struct {
	op        string // the call in words, for error messages
	method    string
	base      string // origin
	path      string
	form      []byte // body of a login
	sessionID string // "" for a login
	userAgent string // of the session
	secrets   secrets

	callersTransport bool         // the RoundTripper is the caller's, and no *http.Transport
	mayHaveArrived   bool         // the server may have received this attempt or an earlier one
	connections      atomic.Int64 // how many all attempts got together
}

// do sends r and passes the answer to check. It tries again as retryable allows.
func (c *Client) do(ctx context.Context, r *request, check func(*answer) error) error {
	_, standard := c.http.Transport.(*http.Transport)
	r.callersTransport = !standard && c.http.Transport != nil
	for n := 1; ; n++ {
		start := time.Now()
		a, err := c.attempt(ctx, r)
		if err == nil {
			err = check(a)
		}
		if failed, ok := err.(*transportError); !ok || failed.outcome != ErrNotSent {
			r.mayHaveArrived = true
		}
		c.log(ctx, r, a, err, n, time.Since(start))
		if n > c.retries || r.connections.Load() > c.maxRepeats() || ctx.Err() != nil || !r.retryable(err) {
			return err
		}
		select {
		case <-time.After(backoff(n)):
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", err, newTransportError(ctx, r, nil, ctx.Err()))
		}
	}
}

// retryable reports whether r may be sent again after err. A login that may have
// arrived is not sent again, since it could lock the user out, send another SMS, or
// leave a session behind. Any other request is sent again, since it is idempotent.
func (r *request) retryable(err error) bool {
	idempotent := r.method != http.MethodPost
	switch failed := err.(type) {
	case *transportError:
		return !failed.permanent() && (idempotent || !r.mayHaveArrived)
	case *APIError: // a 5xx, or an answer that was cut off
		return idempotent && (failed.StatusCode/100 == 5 || errors.As(failed.err, new(*transportError)))
	}
	return false
}

// backoff returns how long to wait after the nth attempt: 100 ms, doubled for each
// attempt up to 2 seconds, and reduced by up to 50% at random.
func backoff(n int) time.Duration {
	wait := min(2*time.Second, 100*time.Millisecond<<min(n-1, 10))
	return wait - rand.N(wait/2)
}

// log writes the record of one attempt. A demand for a second factor is no failure.
func (c *Client) log(ctx context.Context, r *request, a *answer, err error, attempt int, duration time.Duration) {
	if c.logger == nil {
		return
	}
	level := slog.LevelDebug
	if challenge, ok := err.(*TwoFactorError); err != nil && (!ok || challenge.codeRefused) {
		level = slog.LevelWarn
	}
	attrs := []slog.Attr{
		slog.String("method", r.method),
		slog.String("host", hostOf(r.base)),
		slog.Duration("duration", duration),
		slog.Int("attempt", attempt),
	}
	if a != nil {
		attrs = append(attrs, slog.Int("status", a.status))
	}
	var apiErr *APIError
	if failed, ok := err.(*transportError); ok {
		attrs = append(attrs, slog.String("error_type", failed.outcome.Error()), slog.String("error", failed.text))
	} else if errors.As(err, &apiErr) {
		kind := apiErr.Type
		if errors.Is(err, ErrInvalidResponse) {
			kind = ErrInvalidResponse.Error()
		}
		attrs = append(attrs, slog.String("error_type", kind), slog.String("instance", apiErr.Instance))
	}
	c.logger.LogAttrs(ctx, level, "Files.com session request", attrs...)
}
