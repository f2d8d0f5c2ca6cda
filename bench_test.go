package session_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/filescom/session"
)

// stub answers every request from memory.
func stub(status int, body string) roundTripper {
	header := http.Header{"Content-Type": {"application/json"}}
	return func(r *http.Request) (*http.Response, error) {
		if r.Body != nil {
			io.Copy(io.Discard, r.Body)
			r.Body.Close()
		}
		return &http.Response{StatusCode: status, ProtoMajor: 1, Header: header, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), Request: r}, nil
	}
}

func must(b *testing.B, err error) {
	if err != nil {
		b.Fatal(err)
	}
}

// plain is the baseline: a login by hand with net/http and encoding/json.
func plain(ctx context.Context, hc *http.Client, params session.CreateParams) (*session.Session, error) {
	form := url.Values{"username": {params.Username}, "password": {params.Password}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, session.DefaultBaseURL+"/api/rest/v1/sessions", strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	resp, err := hc.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	s := new(session.Session)
	return s, json.NewDecoder(bytes.NewReader(data)).Decode(s)
}

func BenchmarkCreate(b *testing.B) {
	hc := &http.Client{Transport: stub(201, payload(b, "session_full_documented.json"))}
	c, err := session.NewClient(session.WithHTTPClient(hc))
	must(b, err)
	ctx := context.Background()
	b.Run("session", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, err := c.Create(ctx, alice)
			must(b, err)
		}
	})
	b.Run("plain", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, err := plain(ctx, hc, alice)
			must(b, err)
		}
	})
}

func BenchmarkDelete(b *testing.B) {
	hc := &http.Client{Transport: stub(204, "")}
	c, err := session.NewClient(session.WithHTTPClient(hc))
	must(b, err)
	ctx := context.Background()
	s := &session.Session{ID: strings.Repeat("a", 40), BaseURL: session.DefaultBaseURL}
	b.Run("session", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			must(b, c.Delete(ctx, s))
		}
	})
	b.Run("plain", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			req, err := http.NewRequestWithContext(ctx, http.MethodDelete, session.DefaultBaseURL+"/api/rest/v1/sessions", nil)
			must(b, err)
			req.Header.Set(session.AuthHeader, s.ID)
			resp, err := hc.Do(req)
			must(b, err)
			resp.Body.Close()
		}
	})
}
