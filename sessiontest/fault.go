package sessiontest

import (
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// EdgeHTML is the page that the edge of Files.com answers under a 502.
const EdgeHTML = "<html><head><title>502 Bad Gateway</title></head><body><center><h1>502 Bad Gateway</h1></center><hr><center>files.com</center></body></html>"

// Fault is something that goes wrong with requests. Status, Body and Reset
// replace the answer; then the request takes no effect, unless After says so. The
// other fields spoil the answer that there is.
type Fault struct {
	// The requests that it strikes. Of several faults that match, the first one
	// injected strikes.
	Method string  // empty: any
	Path   string  // the whole of it; empty: any
	Times  int     // how many; 0: one, or with Chance no end of them, as below 0
	Chance float64 // of each one, by the seed of the server; 0: certain

	After bool          // the request takes effect first
	Delay time.Duration // before the effect, of which there is none if the client leaves; with After behind it

	Status int    // 0 with a Body: 200
	Body   string // empty with a Status: none
	Reset  bool   // resets the connection instead of an answer; net/http repeats a GET that met that on a kept one

	Header   http.Header   // over that of the answer
	HTTPCode any           // the value of http-code in an error
	Drip     time.Duration // pause before each byte of the body
	Truncate int           // bytes at the end of the body that are not sent
	Surplus  string        // sent after the body
	Gzip     bool          // compresses the body, asked or not
	Bomb     int           // zero bytes, compressed, instead of the body
}

// Inject has a fault strike matching requests from now on. It panics when one of
// its fields makes no sense.
func (s *Server) Inject(f Fault) {
	for field, bad := range map[string]bool{
		"Method":   f.Method != strings.ToUpper(f.Method),
		"Path":     f.Path != "" && f.Path[0] != '/',
		"Chance":   f.Chance < 0 || f.Chance > 1,
		"Delay":    f.Delay < 0,
		"Status":   f.Status != 0 && (f.Status < 100 || f.Status > 999),
		"Drip":     f.Drip < 0,
		"Truncate": f.Truncate < 0,
		"Bomb":     f.Bomb < 0,
	} {
		if bad {
			panic("sessiontest: the " + field + " of a Fault makes no sense")
		}
	}
	if f.Times == 0 && f.Chance == 0 {
		f.Times = 1
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &f)
}

// Seed sets what the chances of faults are drawn from.
func (s *Server) Seed(seed uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rng = rand.New(rand.NewPCG(seed, 1))
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

// pause waits, and reports whether client and server are still there.
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

// spoil replaces an answer and sets its header.
func (f *Fault) spoil(rep *reply) {
	if f.replaces() {
		if rep.status = f.Status; f.Status == 0 && !f.Reset {
			rep.status = http.StatusOK
		}
		rep.body = []byte(f.Body)
		for _, name := range []string{"Content-Type", "X-Files-Error-Class"} {
			rep.header.Del(name)
		}
	}
	for name, values := range f.Header {
		rep.header[http.CanonicalHeaderKey(name)] = values
	}
}

// compress does what Gzip and Bomb say, if there is a fault, until closing.
func (f *Fault) compress(rep *reply, closing <-chan struct{}) {
	if f == nil || !f.Gzip && f.Bomb == 0 {
		return
	}
	var b bytes.Buffer
	zw := gzip.NewWriter(&b)
	if f.Bomb == 0 {
		zw.Write(rep.body)
	}
	io.CopyN(zw, zeros(closing), int64(f.Bomb))
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

// send writes an answer, over the bare connection where net/http would not let it be.
func (s *Server) send(w http.ResponseWriter, r *http.Request, rep reply, f *Fault) {
	if f == nil || !f.Reset && f.Drip == 0 && f.Truncate == 0 && f.Surplus == "" {
		for name, values := range rep.header {
			w.Header()[name] = values
		}
		w.WriteHeader(rep.status)
		w.Write(rep.body)
		return
	}
	s.hijacked.Add(1)
	defer s.hijacked.Done()
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic("sessiontest: a fault wants HTTP/1.1: " + err.Error())
	}
	defer conn.Close()
	sent := make(chan struct{})
	defer close(sent)
	go func() { // a client that does not read holds up no Close
		select {
		case <-s.closing:
			conn.Close()
		case <-sent:
		}
	}()
	if f.Reset {
		raw := conn
		if secure, ok := conn.(*tls.Conn); ok {
			raw = secure.NetConn()
		}
		if tcp, ok := raw.(*net.TCPConn); ok {
			tcp.SetLinger(0)
			tcp.Close() // before a TLS alert gets out
		}
		return
	}
	var head bytes.Buffer
	fmt.Fprintf(&head, "HTTP/1.1 %d %s\r\n", rep.status, http.StatusText(rep.status))
	rep.header.Set("Connection", "close")
	if rep.status != http.StatusNoContent || len(rep.body) > 0 {
		rep.header.Set("Content-Length", strconv.Itoa(len(rep.body)))
	}
	rep.header.Write(&head)
	head.WriteString("\r\n")
	conn.Write(head.Bytes())
	body := rep.body[:max(0, len(rep.body)-f.Truncate)]
	if r.Method == http.MethodHead {
		body = nil
	}
	body = append(body[:len(body):len(body)], f.Surplus...)
	if f.Drip == 0 {
		conn.Write(body)
		return
	}
	// nobody tells a hijacked handler that the client has left, but a write does
	for _, c := range body {
		select {
		case <-time.After(f.Drip):
		case <-s.closing:
			return
		}
		if _, err := conn.Write([]byte{c}); err != nil {
			return
		}
	}
}
