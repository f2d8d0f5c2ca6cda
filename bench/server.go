package main

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"time"
)

// The protocols of a server.
const (
	http1  = "HTTP/1.1"
	https1 = "TLS HTTP/1.1"
	http2  = "TLS HTTP/2"
)

// documented is the answer to a login, with the 19 documented fields.
const documented = `{"id":"60525f92e859c4c3d74cb02fd176b1525901b525","language":"en","login_token":"@tok-randomcode",` +
	`"login_token_domain":"https://mysite.files.com","max_dir_listing_size":100000,"multiple_regions":true,"read_only":true,` +
	`"root_path":"example","sftp_insecure_ciphers":false,"site_id":1,"ssl_required":true,"tls_disabled":false,` +
	`"two_factor_setup_needed":false,"allowed_2fa_method_sms":true,"allowed_2fa_method_totp":true,"allowed_2fa_method_u2f":true,` +
	`"allowed_2fa_method_yubi":true,"use_provided_modified_at":true,"windows_mode_ftp":false}`

// delays says how long a server waits in each TLS handshake and before each answer.
type delays struct{ connect, answer time.Duration }

// startServer starts a server that answers logins and log-outs from memory. The
// caller must close it.
func startServer(protocol string, d delays) *httptest.Server {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		time.Sleep(d.answer)
		w.Header().Set("Content-Type", "application/json")
		if r.Method == http.MethodDelete {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		w.WriteHeader(http.StatusCreated)
		io.WriteString(w, documented)
	}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // a client may close a connection during the handshake
	if protocol == http1 {
		srv.Start()
		return srv
	}
	srv.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		time.Sleep(d.connect)
		return nil, nil // keeps this configuration
	}}
	srv.EnableHTTP2 = protocol == http2
	srv.StartTLS()
	return srv
}

// trustTestServers makes every transport of this process trust the certificate
// that all httptest servers share. The go:debug line of main.go lets the fallback
// roots replace those of the system. trustTestServers must be called once.
func trustTestServers() {
	srv := httptest.NewTLSServer(nil)
	defer srv.Close()
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	x509.SetFallbackRoots(roots)
}
