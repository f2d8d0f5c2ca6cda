package session_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/filescom/session"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The frames of HTTP/2 that the tests know.
const (
	frameData     = 0
	frameHeaders  = 1
	frameReset    = 3
	frameSettings = 4
	framePing     = 6
	frameGoAway   = 7

	protocolError = 1
	refusedStream = 7
)

// frame returns an HTTP/2 frame. Its payload is a list of 32-bit numbers.
func frame(kind, flags byte, stream uint32, numbers ...uint32) []byte {
	length := 4 * len(numbers)
	b := []byte{0, 0, byte(length), kind, flags}
	b = binary.BigEndian.AppendUint32(b, stream)
	for _, n := range numbers {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	return b
}

// http2Server answers each request with the frames that answer returns for the
// number of its stream. It does so after the request has arrived, or after its
// headers if early is set. It counts the requests that arrived completely.
func http2Server(t *testing.T, early bool, answer func(stream uint32) []byte) (c func(opts ...session.Option) *session.Client, requests func() int) {
	t.Helper()
	cert := httptest.NewUnstartedServer(nil)
	cert.StartTLS() // has a certificate
	cert.Close()
	var whole atomic.Int32
	origin, _ := listen(t, func(_ int, raw net.Conn) {
		conn := tls.Server(raw, &tls.Config{Certificates: cert.TLS.Certificates, NextProtos: []string{"h2"}})
		if _, err := io.ReadFull(conn, make([]byte, len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))); err != nil {
			return
		}
		conn.Write(frame(frameSettings, 0, 0))
		for {
			head := make([]byte, 9)
			if _, err := io.ReadFull(conn, head); err != nil {
				return
			}
			payload := make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
			if _, err := io.ReadFull(conn, payload); err != nil {
				return
			}
			kind, flags, stream := head[3], head[4], binary.BigEndian.Uint32(head[5:])
			end := (kind == frameData || kind == frameHeaders) && flags&1 != 0
			if end {
				whole.Add(1)
			}
			switch {
			case end, early && kind == frameHeaders:
				conn.Write(answer(stream))
			case kind == frameSettings && flags&1 == 0:
				conn.Write(frame(frameSettings, 1, 0))
			case kind == framePing && flags&1 == 0:
				conn.Write(frame(framePing, 1, 0, binary.BigEndian.Uint32(payload), binary.BigEndian.Uint32(payload[4:])))
			}
		}
	})
	tr := overHTTP2(t, cert)
	return func(opts ...session.Option) *session.Client {
		return newClient(t, append(opts, session.WithSite(strings.Replace(origin, "http", "https", 1)), session.WithHTTPClient(&http.Client{Transport: tr}))...)
	}, func() int { return int(whole.Load()) }
}

// net/http repeats a request by itself after each of these.
var repeated = map[string]func(stream uint32) []byte{
	"PROTOCOL_ERROR": func(stream uint32) []byte { return frame(frameReset, 0, stream, protocolError) },
	"REFUSED_STREAM": func(stream uint32) []byte { return frame(frameReset, 0, stream, refusedStream) },
	"GOAWAY":         func(uint32) []byte { return frame(frameGoAway, 0, 0, 0, 0) },
}

func TestALoginIsPostedOnceOverHTTP2(t *testing.T) {
	t.Parallel()
	for name, answer := range repeated {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, requests := http2Server(t, false, answer)
			_, err := c().Create(t.Context(), alice)
			assert.ErrorIs(t, err, session.ErrOutcomeUnknown)
			assert.NotErrorIs(t, err, session.ErrNotSent)
			assertHidesSecrets(t, err)
			assert.Equal(t, 1, requests())
		})
	}
}

func TestALoginThatIsResetAtItsHeadersEndsAfterThreeConnections(t *testing.T) {
	t.Parallel()
	c, requests := http2Server(t, true, repeated["PROTOCOL_ERROR"])
	_, err := c().Create(t.Context(), alice)
	assert.ErrorIs(t, err, session.ErrOutcomeUnknown)
	assert.LessOrEqual(t, requests(), 1, "at most one body was sent completely")
}

func TestALogOutEndsAfterThreeConnections(t *testing.T) {
	t.Parallel()
	for name, answer := range repeated {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, requests := http2Server(t, false, answer)
			err := c().Delete(t.Context(), &session.Session{ID: idCanary})
			assert.ErrorIs(t, err, session.ErrOutcomeUnknown)
			assert.NotErrorIs(t, err, context.Canceled)
			assertHidesSecrets(t, err)
			assert.LessOrEqual(t, requests(), 3)
		})
	}
}

// An answer of 4 MiB is not kept in memory while its first 64 KiB are read. A
// hostile answer of 64 KiB does not take many times as much memory.
func TestNoAnswerTakesMuchMemory(t *testing.T) {
	large := bytes.Repeat([]byte("x"), 4<<20)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusCreated)
		w.Write(large)
	}))
	srv.StartTLS()
	defer srv.Close()
	c := newClient(t, session.WithSite(srv.URL), session.WithHTTPClient(&http.Client{Transport: pooled(t, srv)}))
	logIn := func() {
		_, err := c.Create(t.Context(), alice)
		require.ErrorIs(t, err, session.ErrInvalidResponse)
	}
	logIn() // connects
	assert.Less(t, allocated(logIn), uint64(2<<20))

	const kind = `"type":"not-authenticated/two-factor-authentication-error"`
	for _, body := range []string{
		`{` + kind + `,"data":{"u2f_sign_requests":[` + strings.Repeat("{},", 21_000) + `{}]}}`,
		`{` + strings.Repeat("\"\xff\":0,", 10_900) + kind + `}`,
		`{` + strings.Repeat(`"\n":0,`, 9_300) + kind + `}`,
		`{` + strings.Repeat(`"\u0000":0,`, 5_900) + kind + `}`,
		`{` + kind + `,"errors":[` + strings.Repeat("0,", 32_000) + `0]}`,
		`{` + kind + `,"errors":[` + strings.Repeat("{},", 20_000) + `{}]}`,
		`{` + kind + strings.Repeat(`,"errors":[1]`, 4_500) + `}`,
		`{` + kind + `,"data":{"partial_session_id":"` + strings.Repeat(`\\`, 28_000) + `","two_factor_authentication_methods":[` + strings.Repeat(`"a",`, 40) + `"b"]}}`,
		`{` + kind + `,"data":{` + strings.Repeat(`"u2f_sign_requests":[{},{}],`, 2_000) + `"a":0}}`,
		`{` + kind + `,"data":{` + strings.Repeat(`"two_factor_authentication_methods":["a","b","c"],`, 1_200) + `"a":0}}`,
	} {
		assert.Less(t, allocated(func() {
			err := refused(t, 401, body, http.Header{})
			var challenge *session.TwoFactorError
			require.ErrorAs(t, err, &challenge)
			assert.LessOrEqual(t, len(challenge.U2FSignRequests), 32)
		}), uint64(2<<20), body[:60])
		logIn := func() { created(t, strings.Replace(body, kind, `"id":"1"`, 1)) }
		assert.Less(t, allocated(logIn), uint64(2<<20), body[:60])
	}
}
