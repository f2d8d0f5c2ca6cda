package sessiontest

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
)

// Request is an entry of the journal. It holds no secret, unless the client put
// one into the path, the method or the Content-Type.
type Request struct {
	Method string `json:"method"`
	Path   string `json:"path"`
	Status int    `json:"status"` // 0: no answer
	User   string `json:"user"`   // the user who logged in, or who owns the live session; empty after a refusal
	Reason string `json:"reason"` // why the server refused; empty if it did not, or if a Fault replaced the answer
	Fault  bool   `json:"fault"`  // whether a Fault struck
}

// Counts holds the number of requests by outcome.
type Counts struct {
	Logins  int `json:"logins"`  // logins that created a session, even if the client did not get the answer
	Refused int `json:"refused"` // logins that the server refused, except those whose answer a Fault replaced
	Logouts int `json:"logouts"`
	Live    int `json:"live"`   // live sessions
	SMS     int `json:"sms"`    // codes by SMS, to users who have no other method
	Emails  int `json:"emails"` // codes by e-mail, likewise
}

// maxRequests limits the memory that the journal takes.
const maxRequests = 2 << 20

// record adds an entry to the journal. s.order is held, s.mu is not.
func (s *Server) record(r Request) {
	s.mu.Lock()
	if len(s.requests) == maxRequests {
		s.requests = slices.Delete(s.requests, 0, maxRequests/2)
	}
	s.requests = append(s.requests, r)
	watch := s.watch
	s.mu.Unlock()
	if watch != nil {
		watch(r)
	}
}

// Requests returns the journal, oldest entry first. It keeps at least the last
// million entries.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Counts returns the number of requests by outcome.
func (s *Server) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.counts
	c.Live = len(s.live())
	return c
}

// Watch calls f with each entry of the journal as it is made, one at a time and in
// the order of [Server.Requests]. The server waits for f, so f must not send
// requests to it or close it.
func (s *Server) Watch(f func(Request)) {
	s.set(func(c *settings) { c.watch = f })
}

// String returns the counts and the journal as a table, for the log of a test.
func (s *Server) String() string {
	counts, requests := s.Counts(), s.Requests()
	s.mu.Lock()
	pending := len(s.faults)
	s.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "%s %+v", s.URL, counts)
	if pending > 0 {
		fmt.Fprintf(&b, " faults pending: %d", pending)
	}
	b.WriteString("\n")
	if len(requests) == 0 {
		return b.String()
	}
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "#\tMETHOD\tPATH\tSTATUS\tUSER\tREASON\n")
	for i, r := range requests {
		fmt.Fprintf(w, "%d\t%s\t%s\t%d\t%s\t%s\n", i+1, printable(r.Method), r.escapedPath(), r.Status, printable(r.User), r.note())
	}
	w.Flush()
	return trailingSpace.ReplaceAllString(b.String(), "")
}

// trailingSpace matches the spaces that the table has for an empty last cell.
var trailingSpace = regexp.MustCompile(`(?m) +$`)

// String returns the entry as a line.
func (r Request) String() string {
	line := fmt.Sprintf("%-6s %s %d %s", printable(r.Method), r.escapedPath(), r.Status, printable(r.User))
	if note := r.note(); note != "" {
		line = strings.TrimSpace(line) + " (" + note + ")"
	}
	return strings.TrimSpace(line)
}

// note returns the reason of a refusal and whether a fault struck.
func (r Request) note() string {
	if !r.Fault {
		return printable(r.Reason)
	}
	return strings.TrimPrefix(printable(r.Reason)+", fault", ", ")
}

// escapedPath returns the path without control characters.
func (r Request) escapedPath() string {
	return (&url.URL{Path: r.Path}).EscapedPath()
}

// printable replaces control characters, which would break the table.
func printable(text string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return '?'
		}
		return c
	}, text)
}
