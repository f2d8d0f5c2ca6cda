package session

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// answer is what the server said, read to its end or its limit.
type answer struct {
	status int
	header http.Header
	body   []byte
	err    error // why body is not whole; safe to show
}

// maxAnswer is how much is read of an answer's body, in bytes, and how much of
// it after decompression. A login answers 0.5 KiB.
const maxAnswer = 64 << 10

var errTooLarge = errors.New("the answer is larger than 64 KiB")

// readLimited reads r, which is expected to hold size bytes, if that is not
// negative, up to the limit.
func readLimited(r io.Reader, size int64) ([]byte, error) {
	if size < 0 {
		size = 511
	}
	data := make([]byte, 0, min(size, maxAnswer)+1) // one byte more, to see the end
	for {
		n, err := r.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		switch {
		case len(data) > maxAnswer:
			return data[:maxAnswer], errTooLarge
		case err == io.EOF:
			return data, nil
		case err != nil:
			return data, err
		case len(data) == cap(data):
			data = slices.Grow(data, min(cap(data), maxAnswer+1-cap(data)))
		}
	}
}

// decompress decodes a gzip, whatever its label: a request wants none, so that
// net/http, which does not bound what it decodes, leaves it alone. err is that
// of reading data.
func decompress(data []byte, err error) ([]byte, error) {
	if !bytes.HasPrefix(data, []byte("\x1f\x8b")) {
		return data, err
	}
	zr, zerr := gzip.NewReader(bytes.NewReader(data))
	if zerr != nil {
		return nil, errors.Join(err, zerr)
	}
	plain, zerr := readLimited(zr, -1)
	return plain, errors.Join(err, zerr)
}

// readBody reads a body under ctx and closes it. In HTTP/2 both may wait for
// other requests on the connection, whatever the context: so neither is waited
// for once that has ended.
func readBody(ctx context.Context, resp *http.Response) ([]byte, error) {
	if resp.ProtoMajor < 2 {
		return readAndClose(resp)
	}
	type result struct {
		data []byte
		err  error
	}
	done := make(chan result, 1)
	go func() {
		data, err := readAndClose(resp)
		done <- result{data, err}
	}()
	select {
	case r := <-done:
		return r.data, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func readAndClose(resp *http.Response) ([]byte, error) {
	defer resp.Body.Close()
	data, err := readLimited(resp.Body, resp.ContentLength)
	return decompress(data, err)
}

// invalid returns the error of a success that proves no session.
func (a *answer) invalid(r *request, why error) error {
	hide := r.secrets.forms()
	media, _, _ := mime.ParseMediaType(a.header.Get("Content-Type"))
	if media == "" {
		media = "no media type"
	}
	return &APIError{
		StatusCode: a.status,
		Instance:   hide.clean(a.header.Get("X-Request-Id")),
		op:         r.doing(),
		err:        fmt.Errorf("%w (%s): %w", ErrInvalidResponse, hide.clean(media), why),
	}
}

// error returns the typed error of an answer that is no success.
func (a *answer) error(r *request) error {
	var top, item errorBody
	switch body := trimJSON(a.body); {
	case !json.Valid(body):
	case body[0] == '"':
		top.message = text(body)
	default:
		top.read(body)
		for _, value := range members(top.errors) {
			if value[0] == '{' {
				item.read(value)
				break
			}
		}
	}
	if !validType(top.kind) {
		top.kind = item.kind
	}
	if !validType(top.kind) {
		top.kind = a.header.Get("X-Files-Error-Class")
	}
	if !validType(top.kind) {
		top.kind = ""
	}
	demand, inner := &TwoFactorError{}, TwoFactorError{}
	demand.read(top.data)
	inner.read(item.data)
	if len(demand.Methods) == 0 {
		demand.Methods, demand.U2FSignRequests = inner.Methods, inner.U2FSignRequests
	}
	demand.PartialSessionID = cmp.Or(demand.PartialSessionID, inner.PartialSessionID)
	if top.instance == "" {
		top.instance = a.header.Get("X-Request-Id")
	}

	_, name := splitType(top.kind)
	hide := append(r.secrets.forms(), secrets{demand.PartialSessionID, inner.PartialSessionID}.forms()...)
	err := &APIError{
		StatusCode: a.status,
		Type:       hide.cleanType(top.kind),
		Title:      hide.clean(top.title),
		Message:    hide.clean(top.message),
		Instance:   hide.clean(top.instance),
		RetryAfter: retryAfter(a.header, time.Now()),
		Data:       top.data,
		op:         r.doing(),
		err:        a.err,
	}
	denied := a.status == http.StatusUnauthorized || a.status == http.StatusForbidden
	switch {
	case name == twoFactorWanted:
		demand.Err = err
		for i, method := range demand.Methods {
			demand.Methods[i] = hide.clean(method)
		}
		return demand
	case denied && name == regionMismatch,
		a.status == http.StatusForbidden && top.kind == "" && a.header.Get("X-Files-Host") != "" &&
			bytes.HasPrefix(a.body, []byte("You have connected to a URL that has different security settings")):
		origin := relocate(r.base, cmp.Or(regionHost(top.data), regionHost(item.data), a.header.Get("X-Files-Host")))
		if origin != "" && r.follow != nil && r.follow.trusts(origin) {
			return &movedError{origin, err}
		}
		moved := &RegionMismatchError{Host: host(origin), Err: err}
		if hide.in(moved.Host) {
			moved.Host = ""
		}
		return moved
	}
	return err
}

// movedError has Create go to origin; it gets no further.
type movedError struct {
	origin string
	err    error
}

func (e *movedError) Error() string { return e.err.Error() }
func (e *movedError) Unwrap() error { return e.err }

// regionHost returns the host that the data of a region mismatch names.
func regionHost(data []byte) (host string) {
	for key, value := range members(data) {
		if string(key) == "host" {
			host = text(value)
		}
	}
	return host
}

// errorBody is the JSON of an error: every member is decoded on its own, so
// that an odd one costs no other.
type errorBody struct {
	kind, title, message, instance string
	data, errors                   json.RawMessage
}

func (b *errorBody) read(object []byte) {
	for key, value := range members(object) {
		switch string(key) {
		case "type":
			b.kind = text(value)
		case "title":
			b.title = text(value)
		case "error":
			b.message = text(value)
		case "instance":
			b.instance = text(value)
		case "data":
			b.data = value
		case "errors":
			b.errors = value
		}
	}
}

// read takes what the data of a demand for a second factor holds.
func (e *TwoFactorError) read(data []byte) {
	for key, value := range members(data) {
		switch string(key) {
		case "partial_session_id":
			if e.PartialSessionID = text(value); value[0] == '-' || digits(value[:1]) {
				e.PartialSessionID = string(value)
			}
		case "two_factor_authentication_methods":
			if method := text(value); method != "" {
				e.Methods = []string{method}
			}
			for _, value := range members(value) {
				if method := text(value); method != "" && len(e.Methods) < 32 {
					e.Methods = append(e.Methods, method)
				}
			}
		case "u2f_sign_requests":
			for _, value := range members(value) {
				var r U2FSignRequest
				for key, value := range members(value) {
					switch string(key) {
					case "app_id":
						r.AppID = text(value)
					case "challenge":
						r.Challenge = text(value)
					case "sign_request":
						for key, value := range members(value) {
							switch string(key) {
							case "version":
								r.Version = text(value)
							case "keyHandle":
								r.KeyHandle = text(value)
							}
						}
					}
				}
				e.U2FSignRequests = append(e.U2FSignRequests, r)
			}
		}
	}
}

func validType(kind string) bool {
	for i := range len(kind) {
		switch c := kind[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '/', c == '_', c == '-':
		default:
			return false
		}
	}
	return 1 <= len(kind) && len(kind) <= 128
}

// retryAfter reads the header's seconds or date; 0 for what is not between now
// and a day ahead. A date is taken relative to the server's own clock.
func retryAfter(header http.Header, now time.Time) time.Duration {
	value := header.Get("Retry-After")
	var wait time.Duration
	if seconds, err := strconv.ParseUint(value, 10, 32); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		if server, err := http.ParseTime(header.Get("Date")); err == nil {
			now = server
		}
		wait = at.Sub(now)
	}
	if wait < 0 || wait > 24*time.Hour {
		return 0
	}
	return wait
}

// failure is an exchange without an answer.
type failure struct {
	op          string
	outcome     error // ErrNotSent or ErrOutcomeUnknown
	cause       *quietError
	certificate bool // the server's did not verify
}

func (e *failure) Error() string {
	return "session: " + e.op + ": " + e.outcome.Error() + ": " + e.cause.Error()
}

func (e *failure) Unwrap() []error { return []error{e.outcome, e.cause} }

// quietError is an error of the transport, whose text may quote what the server
// sent. It shows and unwraps to what is safe of it, and errors.Is sees it all.
type quietError struct {
	text string
	safe []error
	is   func(target error) bool // closes over the error: no verb prints it
}

func (e *quietError) Error() string        { return e.text }
func (e *quietError) Unwrap() []error      { return e.safe }
func (e *quietError) Is(target error) bool { return e.is(target) }

// quiet makes a quietError of what an exchange under ctx returned. Before the
// request was sent the server had nothing to answer, so that all but the
// secrets may be shown.
func quiet(ctx context.Context, err error, s secrets, unsent bool) *quietError {
	for outer, ok := err.(*url.Error); ok; outer, ok = err.(*url.Error) {
		err = outer.Err
	}
	hide := s.forms()
	whole := errors.Join(err, ctx.Err(), context.Cause(ctx))
	q := &quietError{is: func(target error) bool { return errors.Is(whole, target) }}
	show := func(err error) { // errors whose own kind quotes nothing
		if !hide.in(err.Error()) {
			q.safe = append(q.safe, err)
		}
	}
	if ctx.Err() != nil {
		if cause := context.Cause(ctx); cause != ctx.Err() {
			show(cause)
		}
		show(ctx.Err())
	}
	var (
		cert    *tls.CertificateVerificationError
		op      *net.OpError
		timeout interface{ Timeout() bool }
	)
	switch {
	case errors.As(err, &cert):
		show(cert)
	case errors.As(err, &op) && (unsent || !quotesWire(op)):
		show(op)
	case unsent || !quotesWire(err):
		show(err)
	}
	if errors.As(err, &timeout) && timeout.Timeout() {
		show(context.DeadlineExceeded)
	}
	for _, plain := range []error{errTooLarge, gzip.ErrHeader, gzip.ErrChecksum, http.ErrSchemeMismatch, io.ErrUnexpectedEOF, io.EOF} {
		if errors.Is(err, plain) {
			show(plain)
			break
		}
	}
	q.text = fmt.Sprintf("the answer cannot be read (%T)", err)
	if len(q.safe) > 0 {
		q.text = hide.clean(q.safe[0].Error())
	}
	return q
}

// timeoutError is the cause of an exchange that took longer than WithTimeout.
type timeoutError time.Duration

func (e timeoutError) Error() string { return "no answer within " + time.Duration(e).String() }
func (e timeoutError) Unwrap() error { return context.DeadlineExceeded }

// quotesWire reports whether err may quote what a server sent, as the errors of
// net/http and the packages below it do, by type or by a text in quotes.
func quotesWire(err error) bool {
	for ; err != nil; err = errors.Unwrap(err) {
		if _, many := err.(interface{ Unwrap() []error }); many || strings.Contains(err.Error(), `"`) {
			return true
		}
		kind := strings.TrimPrefix(fmt.Sprintf("%T", err), "*")
		for _, pkg := range []string{"http.", "http2.", "textproto."} {
			if strings.HasPrefix(kind, pkg) {
				return true
			}
		}
	}
	return false
}
