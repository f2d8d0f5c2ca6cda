// Command web is a site where users of Files.com sign in, with a second factor if
// they have one, see their root folder, and sign out. It is written to be copied.
//
// Without -url it signs in at a fake server that it starts itself.
//
// The files:
//
//	main.go     the flags, the server, and the fake server
//	site.go     the routes, the headers, the cookie, and how pages are rendered
//	signin.go   the sign-in with its two pages, and the sign-out
//	files.go    the calls to Files.com on behalf of a user
//	keeper.go   users and challenges in memory, until their end
//	problem.go  which page an error becomes
//	page        the templates and the stylesheet
package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/filescom/session"
	"github.com/filescom/session/sessiontest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "web:", err)
		os.Exit(1)
	}
}

// run serves the site until ctx ends. It prints the address to out and the log to
// errs.
func run(ctx context.Context, args []string, out, errs io.Writer) error {
	flags := flag.NewFlagSet("web", flag.ContinueOnError)
	flags.SetOutput(errs)
	addr := flags.String("addr", "127.0.0.1:8080", "`address` to listen on; one that other machines can reach requires -cert and -key")
	url := flags.String("url", "", "`origin` of the site at Files.com, such as https://mysite.files.com (default: a fake server)")
	cert := flags.String("cert", "", "`file` with the certificate, in PEM; serves https")
	key := flags.String("key", "", "`file` with the key of the certificate, in PEM")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%q is not a flag; use -help for a list", flags.Arg(0))
	}
	secure := *cert != "" || *key != ""
	if !secure && !isLoopback(*addr) {
		return fmt.Errorf("other machines can reach %s; give -cert and -key, so that passwords are encrypted", *addr)
	}
	users := ""
	if *url == "" {
		fake := startFake()
		defer fake.Close()
		*url, users = fake.URL, fakeUsers
	}
	log := slog.New(slog.NewTextHandler(errs, nil))
	client, err := session.NewClient(session.WithSite(*url), session.WithUserAgent("web-example/1"), session.WithLogger(log))
	if err != nil {
		return err
	}
	listener, err := listen(*addr, *cert, *key)
	if err != nil {
		return err
	}
	scheme := "http"
	if secure {
		scheme = "https"
	}
	fmt.Fprintf(out, "Open %s://%s in a browser. Users sign in at %s.\n%s", scheme, listener.Addr(), *url, users)
	return serve(ctx, listener, newSite(client, secure, log), log)
}

// isLoopback reports whether only this machine can reach addr.
func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	ip := net.ParseIP(host)
	return err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
}

// listen listens on addr, with TLS if cert or key is given.
func listen(addr, cert, key string) (net.Listener, error) {
	if cert == "" && key == "" {
		return net.Listen("tcp", addr)
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	return tls.Listen("tcp", addr, &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2", "http/1.1"}})
}

// newServer returns a server that no slow client can hold up.
func newServer(handler http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      loginTimeout + callTimeout, // longer than any page takes
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}

// serve serves the site until ctx ends. Then it lets running requests finish and
// logs all users out at Files.com: this server keeps their sessions in memory, so
// nobody could use or end them after it has stopped.
func serve(ctx context.Context, listener net.Listener, s *site, log *slog.Logger) error {
	server := newServer(s.handler(), log)
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	var err error
	select {
	case err = <-failed:
	case <-ctx.Done():
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), loginTimeout)
		defer cancel()
		err = server.Shutdown(ctx)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	s.close(ctx)
	return err
}

const fakeUsers = `That is a fake server with two users:
  alice, password secret
  bob, password secret, code 123456
`

// startFake starts a fake Files.com, where every user has the same root folder.
func startFake() *sessiontest.Server {
	fake := sessiontest.NewServer(
		sessiontest.User{Username: "alice", Password: "secret"},
		sessiontest.User{Username: "bob", Password: "secret", OTP: "123456"},
	)
	fake.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(fakeRoot)
	})
	return fake
}

var fakeRoot = []entry{
	{Path: "Contracts", Type: "directory", Modified: time.Date(2026, 11, 2, 9, 30, 0, 0, time.UTC)},
	{Path: "Photos", Type: "directory", Modified: time.Date(2026, 10, 28, 16, 5, 0, 0, time.UTC)},
	{Path: "Annual report 2025.pdf", Type: "file", Size: 2_480_113, Modified: time.Date(2026, 3, 14, 11, 0, 0, 0, time.UTC)},
	{Path: "Price list.csv", Type: "file", Size: 18_204, Modified: time.Date(2026, 11, 20, 7, 45, 0, 0, time.UTC)},
	{Path: "Read me.txt", Type: "file", Size: 642, Modified: time.Date(2025, 8, 1, 12, 0, 0, 0, time.UTC)},
}
