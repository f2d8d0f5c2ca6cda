package session

import (
	"bytes"
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

func readLimited(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxAnswer+1))
	if len(data) > maxAnswer {
		return data[:maxAnswer], errTooLarge
	}
	return data, err
}

// decompress decodes a gzip that net/http left alone, which it does where it did
// not ask for one itself. err is that of reading data.
func decompress(data []byte, header http.Header, err error) ([]byte, error) {
	if header.Get("Content-Encoding") != "gzip" || len(data) == 0 {
		return data, err
	}
	zr, zerr := gzip.NewReader(bytes.NewReader(data))
	if zerr != nil {
		return nil, errors.Join(err, zerr)
	}
	plain, zerr := readLimited(zr)
	return plain, errors.Join(err, zerr)
}

// invalid returns the error of a success that proves no session.
func (a *answer) invalid(r *request, why error) error {
	media, _, _ := mime.ParseMediaType(a.header.Get("Content-Type"))
	if media == "" {
		media = "no media type"
	}
	return &APIError{
		StatusCode: a.status,
		Instance:   r.secrets.clean(a.header.Get("X-Request-Id")),
		op:         r.op,
		err:        fmt.Errorf("%w (%s): %w", ErrInvalidResponse, r.secrets.clean(media), why),
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
	demand := &TwoFactorError{}
	demand.read(top.data)
	if len(demand.Methods) == 0 {
		demand.read(item.data)
	}
	if top.instance == "" {
		top.instance = a.header.Get("X-Request-Id")
	}

	_, name := splitType(top.kind)
	hide := append(r.secrets[:len(r.secrets):len(r.secrets)], demand.PartialSessionID)
	err := &APIError{
		StatusCode: a.status,
		Type:       hide.cleanType(top.kind),
		Title:      hide.clean(top.title),
		Message:    hide.clean(top.message),
		Instance:   hide.clean(top.instance),
		RetryAfter: retryAfter(a.header, time.Now()),
		Data:       top.data,
		op:         r.op,
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
		host := a.header.Get("X-Files-Host")
		for key, value := range members(top.data) {
			if string(key) == "host" {
				host = text(value)
			}
		}
		_, host, _ = strings.Cut(relocate(r.base, host), "://")
		return &RegionMismatchError{Host: host, Err: err}
	}
	return err
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
			if e.PartialSessionID = text(value); digits(value) {
				e.PartialSessionID = string(value)
			}
		case "two_factor_authentication_methods":
			if method := text(value); method != "" {
				e.Methods = append(e.Methods, method)
			}
			for _, value := range members(value) {
				if method := text(value); method != "" {
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
func quiet(ctx context.Context, err error, hide secrets, unsent bool) *quietError {
	for whole, ok := err.(*url.Error); ok; whole, ok = err.(*url.Error) {
		err = whole.Err
	}
	q := &quietError{is: func(target error) bool { return errors.Is(err, target) }}
	if ctx.Err() != nil {
		if cause := context.Cause(ctx); cause != ctx.Err() {
			q.safe = append(q.safe, cause)
		}
		q.safe = append(q.safe, ctx.Err())
	}
	var (
		cert    *tls.CertificateVerificationError
		alert   tls.AlertError
		op      *net.OpError
		timeout interface{ Timeout() bool }
	)
	switch {
	case errors.As(err, &cert):
		q.safe = append(q.safe, cert)
	case errors.As(err, &op):
		q.safe = append(q.safe, op)
	case errors.As(err, &alert):
		q.safe = append(q.safe, alert)
	}
	if errors.As(err, &timeout) && timeout.Timeout() {
		q.safe = append(q.safe, context.DeadlineExceeded)
	}
	for _, plain := range []error{errTooLarge, gzip.ErrHeader, gzip.ErrChecksum, http.ErrSchemeMismatch, io.ErrUnexpectedEOF, io.EOF} {
		if errors.Is(err, plain) {
			q.safe = append(q.safe, plain)
			break
		}
	}
	switch {
	case len(q.safe) > 0:
		q.text = hide.clean(q.safe[0].Error())
	case unsent || !quotesWire(err):
		q.text = hide.clean(err.Error())
	default:
		q.text = fmt.Sprintf("the answer cannot be read (%T)", err)
	}
	return q
}

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
