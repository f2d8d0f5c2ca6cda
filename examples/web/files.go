package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/filescom/session"
	"github.com/filescom/session/autologin"
)

// callTimeout limits a call to Files.com on behalf of a user.
const callTimeout = 20 * time.Second

// user is a user who is signed in. The session stays in source.
type user struct {
	name   string
	base   string // origin of the API that created the session
	source *autologin.Source
	client *http.Client
}

// newUser returns the user of a session. All calls of the user go through a
// Transport, which sends the session to Files.com and to no other host. The
// source cannot log in again, since this server keeps no password: when the
// session ends, the user signs in again.
func newUser(name string, s *session.Session, base http.RoundTripper) *user {
	source := autologin.Static(s)
	return &user{
		name:   name,
		base:   s.BaseURL,
		source: source,
		client: &http.Client{Transport: &autologin.Transport{Source: source, Base: base}, Timeout: callTimeout},
	}
}

// logOut ends the session at Files.com. It does so even if ctx has ended.
func (u *user) logOut(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout/2)
	defer cancel()
	return u.source.Revoke(ctx)
}

// entry is a file or a folder, as the API lists it.
type entry struct {
	Path        string    `json:"path"`
	DisplayName string    `json:"display_name"`
	Type        string    `json:"type"` // "file" or "directory"
	Size        int64     `json:"size"` // in bytes
	Modified    time.Time `json:"mtime"`
}

func (e entry) Name() string   { return cmp.Or(e.DisplayName, e.Path) }
func (e entry) IsFolder() bool { return e.Type == "directory" }

// HumanSize returns the size in a unit that keeps the number short.
func (e entry) HumanSize() string {
	size, unit := float64(e.Size), 0
	for units := len(sizeUnits); size >= 999.5 && unit < units-1; unit++ {
		size /= 1000
	}
	if unit == 0 || size >= 99.5 {
		return fmt.Sprintf("%.0f %s", size, sizeUnits[unit])
	}
	return fmt.Sprintf("%.1f %s", size, sizeUnits[unit])
}

var sizeUnits = []string{"bytes", "KB", "MB", "GB", "TB"}

const (
	maxEntries = 200
	maxListing = 1 << 20 // bytes
)

// root lists the user's root folder, or the first maxEntries of it.
func (u *user) root(ctx context.Context) (entries []entry, more bool, err error) {
	url := fmt.Sprintf("%s/api/rest/v1/folders/?per_page=%d", u.base, maxEntries)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, false, err
	}
	resp, err := u.client.Do(req)
	if err != nil {
		return nil, false, err
	}
	defer resp.Body.Close()
	if err := session.CheckResponse(resp); err != nil {
		return nil, false, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxListing+1))
	switch {
	case err != nil:
		return nil, false, err
	case len(body) > maxListing:
		return nil, false, errors.New("the listing is too long")
	}
	if err := json.Unmarshal(body, &entries); err != nil {
		return nil, false, errors.New("the listing is not as expected") // the error of json quotes the listing
	}
	return entries, resp.Header.Get("X-Files-Cursor") != "", nil
}

// filesPage is the body of the page of files.
type filesPage struct {
	Entries []entry
	More    bool // there are entries that are not shown
}

func (s *site) files(w http.ResponseWriter, r *http.Request) {
	u := s.user(r)
	if u == nil {
		http.Redirect(w, r, "/sign-in", http.StatusSeeOther)
		return
	}
	entries, more, err := u.root(r.Context())
	switch {
	case s.user(r) == nil: // signed out meanwhile, in another tab
		s.problem(w, r, signedOut)
	case errors.Is(err, session.ErrSessionEnded):
		// The cookie stays as it is: by now it may be that of a new sign-in.
		s.users.take(s.id(r))
		s.sessions.Store.Delete(s.id(r))
		s.problem(w, r, sessionEnded)
	case err != nil:
		s.fail(w, r, err)
	default:
		s.render(w, http.StatusOK, "files", page{Title: "Your files", User: u.name, Body: filesPage{entries, more}})
	}
}
