package main

import (
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/filescom/session/sessiontest"
)

// config holds the values of the flags.
type config struct {
	addr, control string
	certFile      string // empty: no TLS
	names         []string
	users         []sessiontest.User
	notes         []string // lines about the users
	lifetime      time.Duration
	sliding       bool
	cors          bool
	tries         int
	lockedFor     time.Duration
	lockWithin    time.Duration
	limit         int
	window        time.Duration
	bindUserAgent bool
	regionHost    string
	regionForm    string
	recording     string
	seed          uint64
}

// parseFlags reads the flags. It prints an error before it returns it.
func parseFlags(args []string, stderr io.Writer) (config, error) {
	var c config
	var users []string
	fs := flag.NewFlagSet("filessession-fake", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.StringVar(&c.addr, "addr", "127.0.0.1:4041", "`address` to serve the API on; 0.0.0.0:4041 is any address of this machine, localhost:4041 is 127.0.0.1 and [::1]")
	fs.StringVar(&c.control, "control", "127.0.0.1:4042", "`address` to serve the control API on, or off")
	fs.StringVar(&c.certFile, "tls", "", "serve https, and write the certificate that clients must trust to this `file`")
	fs.Func("tls-name", "additional host `name` or address in the certificate; may be given several times", func(name string) error {
		c.names = append(c.names, name)
		return nil
	})
	fs.BoolVar(&c.cors, "cors", false, "let pages of any origin in a browser use the API, with the headers X-FilesAPI-Auth and Content-Type\n"+
		"and the methods GET, POST, PATCH, PUT and DELETE, without credentials; the control API never allows it")
	fs.Func("user", "`user` that may log in: name:password, name:password:method, name:password:method:code, or JSON as in the control API;\n"+
		"may be given several times (default alice:secret)", func(text string) error {
		users = append(users, text) // parsed below, since package flag would print the password of a bad one
		return nil
	})
	fs.DurationVar(&c.lifetime, "lifetime", 6*time.Hour, "`duration` of a session")
	fs.BoolVar(&c.sliding, "sliding", true, "end a session a lifetime after its last request; with -sliding=false, a lifetime after its login")
	fs.IntVar(&c.tries, "lock-out", 0, "`number` of failed tries that lock a user out; 0 locks nobody out")
	fs.DurationVar(&c.lockedFor, "lock-out-period", time.Hour, "`duration` of a lock-out")
	fs.DurationVar(&c.lockWithin, "lock-out-window", 6*time.Hour, "`duration` for which a failed try counts")
	fs.IntVar(&c.limit, "rate-limit", 0, "`number` of logins within the window; further ones are answered by 429; 0 is no limit")
	fs.DurationVar(&c.window, "rate-limit-window", time.Minute, "`duration` of the window of the rate limit")
	fs.BoolVar(&c.bindUserAgent, "bind-user-agent", false, "refuse a session that comes with a User-Agent other than that of its login")
	fs.StringVar(&c.regionHost, "region-host", "", "`host` or origin that the server says the site has moved to, as for a site in another region")
	fs.StringVar(&c.regionForm, "region-form", string(sessiontest.Region403JSON), "`form` of that answer: 403-json, 401-json or 403-text")
	fs.StringVar(&c.recording, "recording", string(sessiontest.Recording2025), "`year` of the recorded answers that the server follows: 2025 or 2021")
	fs.Uint64Var(&c.seed, "seed", 1, "`number` that seeds the random choice of faults")
	if err := fs.Parse(args); err != nil {
		return config{}, err
	}
	err := c.check(fs.Args())
	if err == nil {
		err = c.addUsers(users)
	}
	if err != nil {
		fmt.Fprintln(stderr, "filessession-fake:", err)
		return config{}, err
	}
	return c, nil
}

// addUsers parses the values of -user.
func (c *config) addUsers(texts []string) error {
	for i, text := range texts {
		u, note, err := parseUser(text)
		if err != nil {
			return fmt.Errorf("-user number %d: %w", i+1, err)
		}
		c.users = append(c.users, u)
		c.notes = append(c.notes, note)
	}
	if len(texts) == 0 {
		c.users = []sessiontest.User{{Username: "alice", Password: "secret"}}
		c.notes = []string{"user alice, password secret"}
	}
	return nil
}

// check returns an error for the first value that is not valid.
func (c *config) check(args []string) error {
	for _, d := range []struct {
		flag  string
		value time.Duration
	}{
		{"-lifetime", c.lifetime}, {"-lock-out-period", c.lockedFor}, {"-lock-out-window", c.lockWithin}, {"-rate-limit-window", c.window},
	} {
		if d.value <= 0 {
			return fmt.Errorf("%s is %v; it must be above 0", d.flag, d.value)
		}
	}
	form, recording := sessiontest.RegionForm(c.regionForm), sessiontest.Recording(c.recording)
	switch {
	case len(args) > 0:
		return fmt.Errorf("unexpected argument %q; every setting is a flag, see -help", args[0])
	case c.tries < 0:
		return fmt.Errorf("-lock-out is %d; it must not be negative", c.tries)
	case c.limit < 0:
		return fmt.Errorf("-rate-limit is %d; it must not be negative", c.limit)
	case form != sessiontest.Region403JSON && form != sessiontest.Region401JSON && form != sessiontest.Region403Text:
		return fmt.Errorf("-region-form is %q; use 403-json, 401-json or 403-text", c.regionForm)
	case recording != sessiontest.Recording2025 && recording != sessiontest.Recording2021:
		return fmt.Errorf("-recording is %q; use 2025 or 2021", c.recording)
	case len(c.names) > 0 && c.certFile == "":
		return fmt.Errorf("-tls-name %q requires -tls", c.names[0])
	}
	return nil
}

// apply applies the flags to a server.
func (c *config) apply(srv *sessiontest.Server) {
	srv.SetLifetime(c.lifetime)
	srv.SetSliding(c.sliding)
	srv.SetCORS(c.cors)
	srv.SetLockOut(c.tries, c.lockedFor)
	srv.SetLockOutWindow(c.lockWithin)
	srv.SetRateLimit(c.limit, c.window)
	if c.bindUserAgent {
		srv.BindUserAgent()
	}
	srv.MoveTo(c.regionHost, sessiontest.RegionForm(c.regionForm))
	srv.SetRecording(sessiontest.Recording(c.recording))
	srv.Seed(c.seed)
}
