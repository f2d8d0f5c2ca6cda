// Command filessession-fake serves the Files.com Session API from memory, for
// programs in any language. It runs package sessiontest as a process.
//
//	filessession-fake -user alice:secret -user bob:secret:totp
//
// To standard output it prints the address that it serves, and each request as it
// answers it. It accepts requests once it has printed the line "serving" with the
// address. It ends on an interrupt or SIGTERM. In a test, start a program that was
// built: a signal to "go run" does not reach it. Flag -help lists all settings.
// The documentation of [sessiontest] says which bodies the API accepts.
//
// A test need not read what it prints. Requests never wait for the reader. The command
// drops lines about requests while more than 1 MiB of them wait for the reader, and
// later prints how many it dropped. It also goes on when the reader closes its end.
//
// # Users
//
// A user is name:password, name:password:method or name:password:method:code. The
// methods are totp, sms, email, static, yubi, u2f and webauthn. Without a code, a
// user with totp gets a secret and other users get the code 123456. The command
// prints the secrets that it chose itself, and none that it was given.
//
// A password with a colon, a TOTP secret, several methods and fields of the session
// require JSON, as in the control API:
//
//	-user '{"username":"carol","password":"a:b","totp":"jbsw y3dp ehpk 3pxp","methods":["totp","sms"]}'
//
// # TLS
//
// With -tls ca.pem it serves https, and writes the certificate of an authority that
// it creates for this run to ca.pem. Clients trust it by SSL_CERT_FILE,
// NODE_EXTRA_CA_CERTS, curl --cacert or their trust store. The server's certificate
// is for localhost, the name and the addresses of this machine, and each -tls-name,
// such as the name of a service in a compose file.
//
// # Browsers
//
// With -cors, pages of any origin may use the API: the command answers preflights, and
// sets the CORS headers of each answer. A page may send the headers X-FilesAPI-Auth and
// Content-Type by the methods GET, POST, PATCH, PUT and DELETE, without credentials such
// as cookies. The command neither prints preflights nor counts them. The control API never
// answers CORS.
//
// A browser may resolve localhost to 127.0.0.1 or to ::1. With -addr localhost:4041 the
// command serves both, if the machine has IPv6. It prints one of them.
//
// # Control API
//
// A second port lets a test change the server while it runs. It serves plain HTTP
// on loopback, unless -control names another address. Bodies and answers are JSON.
//
//	request        body                                        answer
//	GET  /counts                                               {"logins":1,"refused":0,"logouts":0,"live":1,"sms":0,"emails":0,"live_by_user":{"alice":1}}
//	GET  /requests                                             [{"method":"POST","path":"/api/rest/v1/sessions","status":201,"user":"alice","reason":"","fault":false}]
//	POST /users    {"username":"dave","password":"secret"}     {}
//	POST /expire   {"user":"alice"}, {"id":"…"}, {"all":true}  {"ended":1}
//	POST /faults   {"method":"POST","status":503,"times":2}    {}
//	POST /advance  {"by":"6h"}                                 {"now":"2026-01-02T15:04:05Z"}
//	POST /reset                                                {}
//
// POST /users adds a user, or replaces the user of that name. Its members are those
// of [sessiontest.User]: username, password, otp, totp, methods, single_use,
// change_password and session.
//
// POST /expire ends sessions, as their timeout would.
//
// POST /faults makes requests fail, or succeed with an answer of yours: a listing of
// the root folder is
// {"path":"/api/rest/v1/folders/","status":200,"body":"[{\"path\":\"a.txt\"}]"}. A body
// that is JSON is sent as application/json. The members are those of [sessiontest.Fault]:
// method, path, times and chance say which requests; after and delay say when;
// status, body, reset, header, http_code, drip, truncate, surplus, gzip and bomb say
// how. A delay and a drip are strings such as "250ms".
//
// POST /advance moves the clock of the server.
//
// POST /reset forgets sessions, requests, counts, faults and moves of the clock.
// The users are those of the flags again.
//
// An error is {"error":"…"} with the status 400, 404 or 405. No answer holds a
// password, a code or a session ID.
//
// A session of curl, with its output as comments:
//
//	url=http://127.0.0.1:4041/api/rest/v1
//	control=http://127.0.0.1:4042
//	id=$(curl -s -d 'username=alice&password=secret' $url/sessions | sed 's/.*"id":"\([^"]*\)".*/\1/')
//	curl -s -H "X-FilesAPI-Auth: $id" -w '\n' $url/folders/
//	# []
//	curl -s -d '{"user":"alice"}' $control/expire
//	# {"ended":1}
//	curl -s -H "X-FilesAPI-Auth: $id" -o /dev/null -w '%{http_code}\n' $url/folders/
//	# 401
//	curl -s -d '{"method":"POST","status":503}' $control/faults
//	# {}
//	curl -s -d 'username=alice&password=secret' -o /dev/null -w '%{http_code}\n' $url/sessions
//	# 503
//	curl -s $control/counts
//	# {"logins":1,"refused":0,"logouts":0,"live":0,"sms":0,"emails":0,"live_by_user":{}}
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/filescom/session/sessiontest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	c, err := parseFlags(os.Args[1:], os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		os.Exit(2) // parseFlags has printed the reason
	}
	errorLog := newOutput(os.Stderr)
	log.SetOutput(errorLog) // package net/http writes there
	err = run(ctx, c, os.Stdout)
	errorLog.close(flushTime)
	if err != nil {
		fmt.Fprintln(os.Stderr, "filessession-fake:", err)
		os.Exit(1)
	}
}

// flushTime is how long the program waits, at its end, for a reader of its output.
const flushTime = time.Second

// run serves until ctx ends.
func run(ctx context.Context, c config, w io.Writer) error {
	out := newOutput(w)
	defer out.close(flushTime)
	logger := log.New(kept{out}, "", log.Ltime)
	requests := log.New(out, "", log.Ltime)
	srv, authority, err := start(c)
	if err != nil {
		return fmt.Errorf("%w; name another address with -addr", err)
	}
	defer srv.Close()
	c.apply(srv)
	srv.Watch(func(r sessiontest.Request) { requests.Print(r) })
	if c.control != "off" {
		l, err := net.Listen("tcp", c.control)
		if err != nil {
			return fmt.Errorf("%w; name another address with -control, or turn the control API off with -control off", err)
		}
		api := &http.Server{Handler: &control{srv: srv, log: requests}, ReadHeaderTimeout: 10 * time.Second}
		defer api.Close()
		go api.Serve(l)
		logger.Print("control API on http://", reachable(l.Addr()))
	}
	if c.certFile != "" {
		if err := writeFile(c.certFile, authority); err != nil {
			return err
		}
		logger.Print("clients must trust the certificate in ", c.certFile)
	}
	for _, note := range c.notes {
		logger.Print(note)
	}
	for _, origin := range origins(srv, c.addr) {
		logger.Print("serving ", origin, "/api/rest/v1/")
	}
	<-ctx.Done()
	logger.Printf("%+v", srv.Counts())
	return nil
}

// start starts the server. With TLS it also returns the certificate of the
// authority.
func start(c config) (srv *sessiontest.Server, authority []byte, err error) {
	if c.certFile == "" {
		srv, err = sessiontest.Listen(c.addr, c.users...)
		return srv, nil, err
	}
	var cert tls.Certificate
	cert, authority, err = newCertificate(certificateNames(c))
	if err != nil {
		return nil, nil, err
	}
	srv, err = sessiontest.ListenTLS(c.addr, cert, c.users...)
	return srv, authority, err
}
