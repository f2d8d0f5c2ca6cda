package interop

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/filescom/session"
	"github.com/filescom/session/autologin"
	"github.com/filescom/session/sessiontest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

// recorder records the spans of otelhttp.
type recorder struct {
	*tracetest.SpanRecorder
	provider *trace.TracerProvider
}

func newRecorder(t *testing.T) *recorder {
	r := &recorder{SpanRecorder: tracetest.NewSpanRecorder()}
	r.provider = trace.NewTracerProvider(trace.WithSpanProcessor(r.SpanRecorder))
	t.Cleanup(func() { assert.NoError(t, r.provider.Shutdown(context.Background())) })
	return r
}

// transport returns a RoundTripper that makes a span of each request.
func (r *recorder) transport() http.RoundTripper {
	return otelhttp.NewTransport(http.DefaultTransport,
		otelhttp.WithTracerProvider(r.provider), otelhttp.WithPropagators(propagation.TraceContext{}))
}

// requests returns the method and the status of each span.
func (r *recorder) requests() []string {
	var all []string
	for _, span := range r.Ended() {
		set := attribute.NewSet(span.Attributes()...)
		method, _ := set.Value("http.request.method")
		status, _ := set.Value("http.response.status_code")
		all = append(all, method.AsString()+" "+status.String())
	}
	return all
}

// assertNoSecret checks all that an exporter gets.
func (r *recorder) assertNoSecret(t *testing.T, secrets ...string) {
	t.Helper()
	text := ""
	for _, stub := range tracetest.SpanStubsFromReadOnlySpans(r.Ended()) {
		text += fmt.Sprintf("%s %+v %+v %+v %+v %+v\n", stub.Name, stub.Attributes, stub.Events, stub.Status, stub.Links, stub.Resource)
	}
	require.Contains(t, text, "url.full")
	for _, secret := range secrets {
		require.NotEmpty(t, secret)
		assert.NotContains(t, text, secret)
	}
}

func TestOpenTelemetryRecordsLoginsAndLogOutsWithoutSecrets(t *testing.T) {
	const password, guess, answer = "correct-horse-battery", "wrong-horse-battery", "cccccckdvvulgjvtkjdhtlrbjjct"
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: password, OTP: answer, Methods: []string{"yubi"}})
	defer srv.Close()
	r := newRecorder(t)
	partial := ""
	c, err := session.NewClient(session.WithSite(srv.URL), session.WithHTTPClient(&http.Client{Transport: r.transport()}),
		session.WithOTP(func(_ context.Context, challenge *session.TwoFactorError) (string, error) {
			partial = challenge.PartialSessionID
			return answer, nil
		}))
	require.NoError(t, err)

	_, err = c.Create(t.Context(), session.CreateParams{Username: "alice", Password: guess})
	assert.ErrorIs(t, err, session.ErrInvalidUsernameOrPassword)
	s, err := c.Create(t.Context(), session.CreateParams{Username: "alice", Password: password})
	require.NoError(t, err)
	require.NoError(t, c.Delete(t.Context(), s))
	assert.Equal(t, []string{"POST 401", "POST 401", "POST 201", "DELETE 204"}, r.requests())
	assert.Equal(t, codes.Error, r.Ended()[0].Status().Code)

	srv.Inject(sessiontest.Fault{Method: "POST", Reset: true})
	_, err = c.Create(t.Context(), session.CreateParams{Username: "alice", Password: password})
	assert.ErrorIs(t, err, session.ErrOutcomeUnknown)
	require.Len(t, r.Ended(), 5, "a login that may have arrived is not posted again")
	assert.NotEmpty(t, r.Ended()[4].Status().Description, "the error is recorded")

	srv.Close()
	_, err = c.Create(t.Context(), session.CreateParams{Username: "alice", Password: password})
	assert.ErrorIs(t, err, session.ErrNotSent, "the trace of the connection passes through otelhttp")
	assert.Len(t, r.Ended(), 8, "each try has a span")
	r.assertNoSecret(t, password, guess, answer, partial, s.ID)
}

func TestOpenTelemetryRecordsTheCallsOfATransportWithoutSecrets(t *testing.T) {
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: "correct-horse-battery"})
	defer srv.Close()
	parents := make(chan string, 10)
	srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { parents <- r.Header.Get("Traceparent") })
	r := newRecorder(t)
	c, err := session.NewClient(session.WithSite(srv.URL))
	require.NoError(t, err)
	src := autologin.New(c, session.CreateParams{Username: "alice", Password: "correct-horse-battery"})
	var ids []string
	hc := &http.Client{Transport: &autologin.Transport{Source: src, Base: r.transport()}}
	ctx, span := r.provider.Tracer("test").Start(t.Context(), "parent")
	traceID := span.SpanContext().TraceID().String()
	get := func() (int, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL+"/api/rest/v1/folders/", nil)
		require.NoError(t, err)
		resp, err := hc.Do(req)
		if err != nil {
			return 0, err
		}
		resp.Body.Close()
		return resp.StatusCode, nil
	}

	for range 2 {
		status, err := get()
		require.NoError(t, err)
		assert.Equal(t, http.StatusOK, status)
		assert.True(t, strings.HasPrefix(<-parents, "00-"+traceID+"-"), "the call belongs to the caller's trace")
		ids = append(ids, srv.Sessions()...)
		srv.ExpireUser("alice")
	}
	assert.Equal(t, []string{"GET 200", "GET 401", "GET 200"}, r.requests(), "the repeated call has a span of its own")
	for _, s := range r.Ended() {
		assert.Equal(t, span.SpanContext().SpanID(), s.Parent().SpanID())
	}

	_, err = get()
	require.NoError(t, err)
	ids = append(ids, srv.Sessions()...)
	srv.Inject(sessiontest.Fault{Method: "GET", Reset: true, Times: 10})
	_, err = get()
	assert.Error(t, errors.Unwrap(err))
	span.End()
	require.Len(t, ids, 3)
	r.assertNoSecret(t, append(ids, "correct-horse-battery")...)
}
