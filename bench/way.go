package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	files "github.com/Files-com/files-sdk-go/v3"
	sdk "github.com/Files-com/files-sdk-go/v3/session"
	"github.com/filescom/session"
	"github.com/go-resty/resty/v2"
)

var (
	ctx   = context.Background()
	alice = session.CreateParams{Username: "alice", Password: "pass word+1"}
)

// way is a way to log in and out. Its calls are safe for concurrent use.
type way struct {
	name string
	call map[string]func() error // by operation
}

// operations are what a way can do. Delete logs out the same session each time,
// pair the one that it made.
var operations = []string{"Create", "Delete", "pair"}

func newWay[S any](name string, create func() (S, error), del func(S) error) way {
	one := sync.OnceValue(func() S { return must(create()) })
	return way{name, map[string]func() error{
		"Create": func() error { _, err := create(); return err },
		"Delete": func() error { return del(one()) },
		"pair": func() error {
			s, err := create()
			if err != nil {
				return err
			}
			return del(s)
		},
	}}
}

// ways returns every way to log in and out at base by rt, or each by a transport
// of its own if rt is nil.
func ways(base string, rt http.RoundTripper) []way {
	return []way{plain(base, rt), ours(base, rt), readme(base, rt), official(base, rt)}
}

// wayOf is one of ways.
func wayOf(name, base string, rt http.RoundTripper) way {
	all := ways(base, rt)
	return all[slices.IndexFunc(all, func(w way) bool { return w.name == name })]
}

const path = "/api/rest/v1/sessions"

// answer has the 19 documented fields of a login's answer.
type answer struct {
	ID                    string `json:"id"`
	Language              string `json:"language"`
	LoginToken            string `json:"login_token"`
	LoginTokenDomain      string `json:"login_token_domain"`
	MaxDirListingSize     int64  `json:"max_dir_listing_size"`
	MultipleRegions       bool   `json:"multiple_regions"`
	ReadOnly              bool   `json:"read_only"`
	RootPath              string `json:"root_path"`
	SFTPInsecureCiphers   bool   `json:"sftp_insecure_ciphers"`
	SiteID                int64  `json:"site_id"`
	SSLRequired           bool   `json:"ssl_required"`
	TLSDisabled           bool   `json:"tls_disabled"`
	TwoFactorSetupNeeded  bool   `json:"two_factor_setup_needed"`
	Allowed2FAMethodSMS   bool   `json:"allowed_2fa_method_sms"`
	Allowed2FAMethodTOTP  bool   `json:"allowed_2fa_method_totp"`
	Allowed2FAMethodU2F   bool   `json:"allowed_2fa_method_u2f"`
	Allowed2FAMethodYubi  bool   `json:"allowed_2fa_method_yubi"`
	UseProvidedModifiedAt bool   `json:"use_provided_modified_at"`
	WindowsModeFTP        bool   `json:"windows_mode_ftp"`
}

// plain is written by hand, with nothing but what is needed.
func plain(base string, rt http.RoundTripper) way {
	if rt == nil {
		rt = http.DefaultTransport.(*http.Transport).Clone()
	}
	hc := &http.Client{Transport: rt}
	create := func() (*answer, error) {
		form := url.Values{"username": {alice.Username}, "password": {alice.Password}}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+path, strings.NewReader(form.Encode()))
		if err != nil {
			return nil, err
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp, err := hc.Do(req)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusCreated {
			return nil, errors.New(resp.Status)
		}
		data, err := io.ReadAll(resp.Body)
		if err != nil {
			return nil, err
		}
		a := new(answer)
		return a, json.Unmarshal(data, a)
	}
	return newWay("plain", create, func(a *answer) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodDelete, base+path, nil)
		if err != nil {
			return err
		}
		req.Header.Set(session.AuthHeader, a.ID)
		resp, err := hc.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusNoContent {
			return errors.New(resp.Status)
		}
		return nil
	})
}

func ours(base string, rt http.RoundTripper) way {
	opts := []session.Option{session.WithBaseURL(base)}
	if rt != nil {
		opts = append(opts, session.WithHTTPClient(&http.Client{Transport: rt}))
	}
	c := must(session.NewClient(opts...))
	return newWay("session",
		func() (*session.Session, error) { return c.Create(ctx, alice) },
		func(s *session.Session) error { return c.Delete(ctx, s) })
}

// readme is resty as its README shows it.
func readme(base string, rt http.RoundTripper) way {
	rc := resty.New()
	if rt != nil {
		rc.SetTransport(rt)
	}
	create := func() (*answer, error) {
		a := new(answer)
		_, err := rc.R().
			SetContext(ctx).
			SetFormData(map[string]string{"username": alice.Username, "password": alice.Password}).
			SetResult(a).
			Post(base + path)
		return a, err
	}
	return newWay("resty", create, func(a *answer) error {
		_, err := rc.R().SetContext(ctx).SetHeader(session.AuthHeader, a.ID).Delete(base + path)
		return err
	})
}

// official is the SDK, with the retries and the logger that it has by default.
func official(base string, rt http.RoundTripper) way {
	config := files.Config{EndpointOverride: base}.Init()
	if rt != nil {
		config = config.SetCustomClient(&http.Client{Transport: rt})
	}
	c := sdk.Client{Config: config}
	create := func() (files.Session, error) {
		return c.Create(files.SessionCreateParams{Username: alice.Username, Password: alice.Password})
	}
	return newWay("official", create, func(s files.Session) error {
		config := config
		config.SessionId = s.Id
		return (&sdk.Client{Config: config}).Delete()
	})
}
