package sessiontest

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"
)

// send writes a reply. With a fault that breaks HTTP, it writes to the connection
// itself, since net/http would correct or refuse the reply.
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
		panic("sessiontest: this Fault requires HTTP/1.1: " + err.Error())
	}
	defer conn.Close()
	sent := make(chan struct{})
	defer close(sent)
	go func() { // so that Close does not wait for a client that does not read
		select {
		case <-s.closing:
			conn.Close()
		case <-sent:
		}
	}()
	if f.Reset {
		reset(conn)
		return
	}
	for name, values := range w.Header() { // of CORS
		if rep.header[name] == nil {
			rep.header[name] = values
		}
	}
	conn.Write(rawHead(rep))
	body := rep.body[:max(0, len(rep.body)-f.Truncate)]
	if r.Method == http.MethodHead {
		body = nil
	}
	body = append(body[:len(body):len(body)], f.Surplus...)
	if f.Drip == 0 {
		conn.Write(body)
		return
	}
	s.drip(conn, body, f.Drip)
}

// reset closes a connection with an RST instead of a FIN.
func reset(conn net.Conn) {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
		tcp.Close() // before a TLS alert is sent
	}
}

// rawHead returns the status line and the header of a reply.
func rawHead(rep reply) []byte {
	var head bytes.Buffer
	fmt.Fprintf(&head, "HTTP/1.1 %d %s\r\n", rep.status, http.StatusText(rep.status))
	rep.header.Set("Connection", "close")
	if rep.status != http.StatusNoContent || len(rep.body) > 0 {
		rep.header.Set("Content-Length", strconv.Itoa(len(rep.body)))
	}
	rep.header.Write(&head)
	head.WriteString("\r\n")
	return head.Bytes()
}

// drip writes a body byte by byte, until the client or the server closes. Only a
// write shows whether the client has left.
func (s *Server) drip(conn net.Conn, body []byte, pause time.Duration) {
	for i := range body {
		select {
		case <-time.After(pause):
		case <-s.closing:
			return
		}
		if _, err := conn.Write(body[i : i+1]); err != nil {
			return
		}
	}
}
