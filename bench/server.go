package main

import (
	"crypto/tls"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"time"
)

// The protocols of a server.
const (
	http1  = "HTTP/1.1"
	https1 = "TLS HTTP/1.1"
	http2  = "TLS HTTP/2"
)

// server answers logins and log-outs from memory, and counts connections.
type server struct {
	*httptest.Server

	mu            sync.Mutex
	opened        float64 // connections
	open, most    float64 // of them at a time
	full, resumed float64 // TLS handshakes
	mostTLS       float64 // of them at a time, from the connection to the server's flight
}

// serve starts a server that takes its time for each answer. In the end it is to
// be closed.
func serve(protocol string, latency time.Duration) *server {
	s := new(server)
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		time.Sleep(latency)
		w.Header()["Content-Type"] = header["Content-Type"]
		if r.Method == http.MethodDelete {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		w.WriteHeader(http.StatusCreated)
		io.WriteString(w, documented)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // a client that ends breaks off handshakes that it does not need
	s.Config.ConnState = s.connState
	if protocol == http1 {
		s.Start()
		return s
	}
	s.TLS = &tls.Config{VerifyConnection: s.shook}
	s.EnableHTTP2 = protocol == http2
	s.StartTLS()
	return s
}

func (s *server) connState(c net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch state {
	case http.StateNew:
		s.opened++
		s.open++
		s.most = max(s.most, s.open)
		if _, secure := c.(*tls.Conn); secure {
			s.mostTLS = max(s.mostTLS, s.opened-s.full-s.resumed)
		}
	case http.StateClosed:
		s.open--
	}
}

// shook is called once in each handshake.
func (s *server) shook(state tls.ConnectionState) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if state.DidResume {
		s.resumed++
	} else {
		s.full++
	}
	return nil
}

// counted are the columns of counts.
var counted = []string{"conns", "most", "full TLS", "resumed", "most TLS"}

func (s *server) counts() []float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return []float64{s.opened, s.most, s.full, s.resumed, s.mostTLS}
}

// client takes a turn in a process that trusts s whatever the transport. The
// first argument of the turn is the URL of s.
func (s *server) client(turn string, args ...string) []float64 {
	file := must(os.CreateTemp("", "bench-*.pem"))
	defer os.Remove(file.Name())
	if cert := s.Certificate(); cert != nil {
		check(pem.Encode(file, &pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
	}
	check(file.Close())
	return child([]string{"SSL_CERT_FILE=" + file.Name()}, append([]string{turn, s.URL}, args...)...)
}
