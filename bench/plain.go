package main

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/filescom/session"
)

const (
	path          = "/api/rest/v1/sessions"
	maxAnswerSize = 1 << 20
)

// plain is a client written by hand with net/http and encoding/json.
type plain struct {
	http *http.Client
	url  string
}

func newPlain(base string, rt http.RoundTripper) client {
	if rt == nil {
		rt = http.DefaultTransport.(*http.Transport).Clone()
	}
	p := plain{&http.Client{Transport: rt}, base + path}
	return newClient(p.create, p.delete)
}

func (p plain) create() (*answer, error) {
	form := url.Values{"username": {alice.Username}, "password": {alice.Password}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := p.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		return nil, errors.New(resp.Status)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerSize))
	if err != nil {
		return nil, err
	}
	a := new(answer)
	if err := json.Unmarshal(data, a); err != nil {
		return nil, err
	}
	return a, nil
}

func (p plain) delete(a *answer) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, p.url, nil)
	if err != nil {
		return err
	}
	req.Header.Set(session.AuthHeader, a.ID)
	resp, err := p.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		return errors.New(resp.Status)
	}
	return nil
}

// An answer holds the 19 documented fields of the answer to a login.
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
