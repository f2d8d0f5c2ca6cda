package sessiontest

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// EdgeHTML is the body of a 502 of the edge servers of Files.com.
const EdgeHTML = "<html><head><title>502 Bad Gateway</title></head><body><center><h1>502 Bad Gateway</h1></center><hr><center>files.com</center></body></html>"

// Fault makes requests fail. Status, Body and Reset replace the answer; then the
// request has no effect, unless After is set. The fields from Header on spoil the
// answer.
type Fault struct {
	// These fields select the requests that the Fault strikes. If several faults
	// match a request, the one that was injected first strikes.
	Method string  `json:"method"` // empty: any method
	Path   string  `json:"path"`   // the whole path; empty: any path
	Times  int     `json:"times"`  // number of requests; 0: one, or any number if Chance is set; negative: any number
	Chance float64 `json:"chance"` // probability for each request, from 0 to 1; see Server.Seed; 0: every request

	// These fields say when the request takes effect.
	After bool          `json:"after"` // the request takes effect before the Fault strikes
	Delay time.Duration `json:"delay"` // pause before the effect, or after it if After is set; a client that leaves before the effect prevents it

	// These fields replace the answer.
	Status int    `json:"status"` // 0 with a Body: 200
	Body   string `json:"body"`   // empty with a Status: no body; JSON is sent as application/json, unless Header has a Content-Type
	Reset  bool   `json:"reset"`  // resets the connection instead; on a reused connection, net/http repeats a GET

	// These fields spoil the answer.
	Header   http.Header   `json:"header"`    // replaces these header fields
	HTTPCode any           `json:"http_code"` // the value of http-code in an error
	Drip     time.Duration `json:"drip"`      // pause before each byte of the body
	Truncate int           `json:"truncate"`  // bytes at the end of the body that are not sent
	Surplus  string        `json:"surplus"`   // sent after the body
	Gzip     bool          `json:"gzip"`      // compresses the body, even if the client does not accept that
	Bomb     int64         `json:"bomb"`      // number of zero bytes, compressed, that replace the body
}

// Validate returns an error if a field is not valid, or if the Fault has no effect.
func (f Fault) Validate() error {
	_, badCode := json.Marshal(f.HTTPCode)
	switch {
	case f.Method != strings.ToUpper(f.Method):
		return fmt.Errorf("Fault.Method is %q; write %q", f.Method, strings.ToUpper(f.Method))
	case f.Path != "" && !strings.HasPrefix(f.Path, "/api/rest/v1/"):
		return fmt.Errorf("Fault.Path is %q; it must begin with /api/rest/v1/", f.Path)
	case !(f.Chance >= 0 && f.Chance <= 1): // NaN is neither
		return fmt.Errorf("Fault.Chance is %v; it must be between 0 and 1", f.Chance)
	case f.Status != 0 && (f.Status < 100 || f.Status > 999):
		return fmt.Errorf("Fault.Status is %d; it must be between 100 and 999, or 0 for that of the answer", f.Status)
	case badCode != nil:
		return fmt.Errorf("Fault.HTTPCode has no JSON form: %w", badCode)
	case !f.hasEffect():
		return errors.New("the Fault has no effect; set Status, Body, Reset, Delay or a field that spoils the answer")
	}
	for _, field := range []struct {
		name  string
		value int64
	}{
		{"Fault.Delay", int64(f.Delay)}, {"Fault.Drip", int64(f.Drip)}, {"Fault.Truncate", int64(f.Truncate)}, {"Fault.Bomb", f.Bomb},
	} {
		if field.value < 0 {
			return fmt.Errorf("%s is %d; it must not be negative", field.name, field.value)
		}
	}
	return nil
}

func (f Fault) hasEffect() bool {
	return f.Status != 0 || f.Body != "" || f.Reset || f.Delay != 0 || f.Header != nil || f.HTTPCode != nil ||
		f.Drip != 0 || f.Truncate != 0 || f.Surplus != "" || f.Gzip || f.Bomb != 0
}

// Inject makes a Fault strike matching requests from now on. It panics with the
// error of [Fault.Validate], if there is one.
func (s *Server) Inject(f Fault) {
	if err := f.Validate(); err != nil {
		panic("sessiontest: " + err.Error())
	}
	if f.Times == 0 && f.Chance == 0 {
		f.Times = 1
	}
	f.Header = f.Header.Clone()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &f)
}

// strikes returns the fault that strikes r, if any.
func (s *Server) strikes(r *http.Request) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, f := range s.faults {
		if f.Method != "" && f.Method != r.Method || f.Path != "" && f.Path != r.URL.Path ||
			f.Chance > 0 && s.rng.Float64() >= f.Chance {
			continue
		}
		struck := *f
		if f.Times--; f.Times == 0 {
			s.faults = append(s.faults[:i:i], s.faults[i+1:]...)
		}
		return &struck
	}
	return nil
}

func (f *Fault) replaces() bool { return f.Status != 0 || f.Body != "" || f.Reset }

// preventsEffect reports whether f answers instead of the API. f may be nil.
func (f *Fault) preventsEffect() bool { return f != nil && !f.After && f.replaces() }

// pause waits. It reports false if the client leaves or the server closes meanwhile.
func (s *Server) pause(r *http.Request, d time.Duration) bool {
	if d == 0 {
		return true
	}
	select {
	case <-time.After(d):
		return true
	case <-r.Context().Done():
	case <-s.closing:
	}
	return false
}

// spoil replaces the answer if the fault has one, and sets its header fields.
func (f *Fault) spoil(rep *reply) {
	if f.replaces() {
		if rep.status = f.Status; f.Status == 0 && !f.Reset {
			rep.status = http.StatusOK
		}
		rep.body = []byte(f.Body)
		for _, name := range []string{"Content-Type", "X-Files-Error-Class"} {
			rep.header.Del(name)
		}
		if json.Valid(rep.body) {
			rep.header.Set("Content-Type", "application/json")
		}
	}
	for name, values := range f.Header {
		rep.header[http.CanonicalHeaderKey(name)] = values
	}
}

// compress applies Gzip and Bomb. It stops when the server closes. f may be nil.
func (f *Fault) compress(rep *reply, closing <-chan struct{}) {
	if f == nil || !f.Gzip && f.Bomb == 0 {
		return
	}
	var b bytes.Buffer
	zw := gzip.NewWriter(&b)
	if f.Bomb == 0 {
		zw.Write(rep.body)
	}
	io.CopyN(zw, zeros(closing), f.Bomb)
	zw.Close()
	rep.body = b.Bytes()
	rep.header.Set("Content-Encoding", "gzip")
}

// zeros reads as zero bytes until it is closed.
type zeros <-chan struct{}

func (z zeros) Read(p []byte) (int, error) {
	select {
	case <-z:
		return 0, io.EOF
	default:
		clear(p)
		return len(p), nil
	}
}
