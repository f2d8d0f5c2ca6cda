package session

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func decodePayload(t *testing.T, name string) *Session {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	require.NoError(t, err)
	s, err := decodeSession(data)
	require.NoError(t, err)
	assert.JSONEq(t, string(data), string(s.Raw))
	return s
}

func TestRecordedAnswersDecode(t *testing.T) {
	t.Parallel()
	size := int64(100000)
	s := decodePayload(t, "session_201_live_2025.json")
	assert.True(t, s.TimeoutAt.Equal(time.Date(2025, 5, 24, 0, 51, 16, 0, time.UTC)))
	s.Raw, s.TimeoutAt = nil, time.Time{}
	assert.Equal(t, &Session{ID: "87828d660ada5ee2951d00f46a871d602512b617", MaxDirListingSize: &size, SSLRequired: true}, s)

	size = 500000
	s = decodePayload(t, "session_201_live_2021.json")
	s.Raw = nil
	assert.Equal(t, &Session{ID: "ec8c49f257cd5386b5f14e316b1c530f0d248364", MaxDirListingSize: &size, SSLRequired: true}, s)

	s = decodePayload(t, "session_documented_public.json")
	s.Raw = nil
	assert.Equal(t, &Session{ID: "60525f92e859c4c3d74cb02fd176b1525901b525", Language: "en", ReadOnly: true}, s)
}

func TestDocumentedAnswersDecode(t *testing.T) {
	t.Parallel()
	one := int64(1)
	s := decodePayload(t, "session_documented_2020_int_id.json")
	s.Raw = nil
	assert.Equal(t, &Session{ID: "1", Language: "en", LoginToken: "@tok-randomcode", LoginTokenDomain: "https://mysite.files.com",
		MaxDirListingSize: &one, MultipleRegions: true, SiteID: &one, SSLRequired: true, TLSDisabled: true, TwoFactorSetupNeeded: true,
		Allowed2FAMethodSMS: true, Allowed2FAMethodTOTP: true, Allowed2FAMethodU2F: true, Allowed2FAMethodYubi: true,
		UseProvidedModifiedAt: true, WindowsModeFTP: true}, s, "read_only was a string")

	s = decodePayload(t, "session_full_documented.json")
	assert.True(t, s.Allowed2FAMethodWebAuthn)
	assert.Equal(t, "example", s.RootPath)
	assert.True(t, s.TimeoutAt.Equal(time.Date(2000, 1, 1, 1, 0, 0, 0, time.UTC)))
	assert.Empty(t, s.BaseURL+s.UserAgent)
}

// Every answered field that Session has is decoded, and from its own key alone.
func TestEveryFieldDecodes(t *testing.T) {
	t.Parallel()
	fields := 0
	typ := reflect.TypeFor[Session]()
	for i := range typ.NumField() {
		key, options, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
		if key == "" || key == "-" || options == "omitempty" || key == "id" {
			continue
		}
		fields++
		value := map[reflect.Kind]any{reflect.String: "x", reflect.Bool: true, reflect.Pointer: 7, reflect.Struct: "2025-05-23T20:51:16-04:00"}[typ.Field(i).Type.Kind()]
		data, err := json.Marshal(map[string]any{"id": "1", key: value})
		require.NoError(t, err)
		s, err := decodeSession(data)
		require.NoError(t, err)
		got, err := json.Marshal(s)
		require.NoError(t, err)
		var back map[string]any
		require.NoError(t, json.Unmarshal(got, &back))
		assert.EqualValues(t, value, back[key], key)
		require.NoError(t, json.Unmarshal(data, &back))

		other, err := decodeSession([]byte(strings.ReplaceAll(string(data), `"`+key+`"`, `"`+strings.ToUpper(key)+`"`)))
		require.NoError(t, err)
		assert.True(t, reflect.ValueOf(*other).Field(i).IsZero(), "%s in upper case", key)
	}
	assert.Equal(t, 20, fields, "19 with the ID less the ID, and the two that the wire adds")
}

func TestOddFieldsKeepTheirZeroValue(t *testing.T) {
	t.Parallel()
	for _, odd := range []string{`null`, `[]`, `{"id":"2"}`, `"\ud800"`, `1e400`, `-0.5`, `99999999999999999999`, `"x"`, `true`, `7`, `"2025-13-01T00:00:00Z"`, `"2025-05-23T20:51:16+24:00"`} {
		body := `{"id":"1"`
		typ := reflect.TypeFor[Session]()
		for i := range typ.NumField() {
			if key, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ","); key != "id" && key != "-" && key != "" {
				body += `,"` + key + `":` + odd
			}
		}
		s, err := decodeSession([]byte(body + `}`))
		require.NoError(t, err, odd)
		assert.Equal(t, "1", s.ID)
		assert.Empty(t, s.Username+s.Password+s.OTP+s.PartialSessionID+s.BaseURL+s.UserAgent, "never answered")
		assert.True(t, s.TimeoutAt.IsZero())
		assert.Equal(t, odd == "true", s.ReadOnly)
		assert.Equal(t, odd == "7", s.SiteID != nil)
		assert.Equal(t, odd[0] == '"', s.RootPath != "")
		_, err = json.Marshal(s)
		assert.NoError(t, err, "what was decoded can be stored")
	}
}

func TestJSONIsWalkedWhateverItsLayout(t *testing.T) {
	t.Parallel()
	s, err := decodeSession([]byte("\ufeff\r\n\t { \"x\" :{\"id\" : \"2\\\"}\" , \"y\":[ [ ] , {} ,\"]\" ] } ,\n\"\\u0069d\"\t:\t\"a\\u0062c\" , \"root_path\":\"Grüße\\n\",\"site_id\" :7 } \n"))
	require.NoError(t, err)
	assert.Equal(t, "abc", s.ID)
	assert.Equal(t, "Grüße\n", s.RootPath)
	assert.EqualValues(t, 7, *s.SiteID)
}

func TestErrorsThatMayQuoteTheWire(t *testing.T) {
	t.Parallel()
	for _, err := range []error{&http.MaxBytesError{}, textproto.ProtocolError("x"), errors.New(`got "x"`), errors.Join(io.EOF), fmt.Errorf("x: %w", &http.MaxBytesError{})} {
		assert.True(t, quotesWire(err), "%T", err)
	}
	for _, err := range []error{io.EOF, &net.OpError{Op: "dial", Err: errors.New("x")}, fmt.Errorf("x: %w", io.EOF)} {
		assert.False(t, quotesWire(err), "%T", err)
	}
}

func TestRetryAfterForms(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, "86400": 24 * time.Hour, "86401": 0, "-1": 0, "+7": 0, "1.5": 0, "x": 0, " 7": 0,
		"4294967296": 0, "99999999999999999999": 0,
		"Fri, 02 Jan 2026 03:04:15 GMT":  10 * time.Second,
		"Friday, 02-Jan-26 03:04:15 GMT": 10 * time.Second,
		"Fri, 02 Jan 2026 03:04:04 GMT":  0,
		"Fri, 02 Jan 2099 03:04:04 GMT":  0,
	} {
		assert.Equal(t, want, retryAfter(http.Header{"Retry-After": {value}}, now), value)
	}
	skewed := http.Header{"Retry-After": {"Fri, 02 Jan 2026 03:04:15 GMT"}, "Date": {"Fri, 02 Jan 2026 03:04:10 GMT"}}
	assert.Equal(t, 5*time.Second, retryAfter(skewed, now), "by the server's clock")
}

func TestCheckResponse(t *testing.T) {
	t.Parallel()
	assert.ErrorIs(t, CheckResponse(nil), ErrInvalidParams)
	assert.NoError(t, CheckResponse(&http.Response{StatusCode: 204}))
	assert.EqualError(t, CheckResponse(&http.Response{StatusCode: 404}), "session: call: 404 Not Found")
	req, err := http.NewRequest("GET", "https://mysite.files.com/api/rest/v1/folders/x?y=z", nil)
	require.NoError(t, err)
	req.Header.Set(AuthHeader, "id-canary")
	resp := &http.Response{StatusCode: 401, Request: req, Body: http.NoBody, Header: http.Header{"X-Request-Id": {"for id-canary"}}}
	assert.EqualError(t, CheckResponse(resp), "session: GET mysite.files.com: 401 Unauthorized (instance [redacted])")

	req.Header.Set("X-Files-Reauthentication", "password:pw-canary")
	resp.Header = http.Header{"X-Request-Id": {"pw-canary"}}
	assert.NotContains(t, CheckResponse(resp).Error(), "canary")

	broken := errors.New("broken")
	resp.Body = failingBody{broken}
	err = CheckResponse(resp)
	assert.ErrorIs(t, err, broken)
	assert.ErrorIs(t, err, ErrNotAuthenticated)
	_, err = resp.Body.Read(make([]byte, 1))
	assert.ErrorIs(t, err, broken)
}

type failingBody struct{ err error }

func (b failingBody) Read([]byte) (int, error) { return 0, b.err }
func (b failingBody) Close() error             { return nil }

func FuzzDecodeSession(f *testing.F) {
	names, err := filepath.Glob("testdata/session_*.json")
	require.NoError(f, err)
	for _, name := range names {
		data, err := os.ReadFile(name)
		require.NoError(f, err)
		f.Add(data)
	}
	for _, data := range []string{`{}`, `null`, `{"id":1}`, `{"id":"a\u0062"}`, `{"id":"1","id":"2"}`, "\ufeff{\"id\":\"1\"} ", `{"id":"1","timeout_at":"2025-05-23T20:51:16+24:00"}`, `{"id":"1","x":[{"id":"2"},"]}"]}`} {
		f.Add([]byte(data))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := decodeSession(data)
		if (s == nil) == (err == nil) {
			t.Fatal("a session or an error")
		}
		members := map[string]json.RawMessage{}
		object := []byte(strings.TrimPrefix(string(data), "\ufeff"))
		valid := json.Unmarshal(object, &members) == nil && strings.HasPrefix(strings.TrimLeft(string(object), " \t\r\n"), "{")
		if err != nil {
			var id string
			if valid && json.Unmarshal(members["id"], &id) == nil && validID(id) && err.Error() != "more than one id" {
				t.Fatalf("a session is lost: %v", err)
			}
			return
		}
		if !valid || !validID(s.ID) {
			t.Fatal("no object with a valid id")
		}
		var id any
		decoder := json.NewDecoder(strings.NewReader(string(members["id"])))
		decoder.UseNumber()
		if decoder.Decode(&id) != nil || id != any(s.ID) && id != any(json.Number(s.ID)) {
			t.Fatalf("id is %q, not %v", s.ID, id)
		}
		// what encoding/json decodes field by field, we do
		for key, value := range members {
			var text string
			var truth bool
			var number int64
			switch key {
			case "root_path":
				json.Unmarshal(value, &text)
				if s.RootPath != text {
					t.Fatalf("root_path is %q, not %q", s.RootPath, text)
				}
			case "read_only":
				json.Unmarshal(value, &truth)
				if s.ReadOnly != truth {
					t.Fatalf("read_only is %v", s.ReadOnly)
				}
			case "site_id":
				if json.Unmarshal(value, &number) == nil && string(value) != "null" && (s.SiteID == nil || *s.SiteID != number) {
					t.Fatalf("site_id is not %d", number)
				}
			}
		}
		stored, err := json.Marshal(s)
		if err != nil {
			t.Fatal("a session that cannot be stored:", err)
		}
		var loaded Session
		if err := json.Unmarshal(stored, &loaded); err != nil || loaded.ID != s.ID || !loaded.TimeoutAt.Equal(s.TimeoutAt) {
			t.Fatal("a session that cannot be loaded:", err)
		}
	})
}

// scan takes what encoding/json takes, and members are what that finds.
func FuzzScan(f *testing.F) {
	for _, seed := range []string{
		`{"a":[1,-0.5e+7,{"b":null}],"c":"\u00e9\"\\","\u0061":true,"a":false}`, `[]`, `{}`, ` 1`, `01`, `-`, `1.`, `1e`, `.5`, `+1`, `nul`, `truex`,
		`"\x"`, `"\u12g4"`, "\"\x1f\"", "\"\x7f\xff\"", `"`, `"\`, `"\u123`, `[1,]`, `[,1]`, `[1 2]`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{1:2}`, `{"a":1]`, `[1}`, `[1]]`, ``, `{`, `{"a`, `{"a" :1 , "b":2 }`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		data = trimJSON(data)
		valid := json.Valid(data)
		if scan(data, 0, 0, nil) == len(data) != valid {
			t.Fatalf("encoding/json says %v", valid)
		}
		got := map[string]string{}
		values := []string{}
		for key, value := range members(data) {
			got[string(key)] = string(value)
			values = append(values, string(value))
		}
		if !valid || !utf8.Valid(data) {
			return
		}
		var object map[string]json.RawMessage
		var array []json.RawMessage
		switch data[0] {
		case '{':
			if json.Unmarshal(data, &object) != nil || len(object) != len(got) {
				t.Fatalf("%q, not %q", got, object)
			}
			for key, value := range object {
				if got[key] != string(value) {
					t.Fatalf("%q is %q, not %q", key, got[key], value)
				}
			}
		case '[':
			if json.Unmarshal(data, &array) != nil || len(array) != len(values) {
				t.Fatalf("%q, not %q", values, array)
			}
			for i, value := range array {
				if values[i] != string(value) {
					t.Fatalf("%q, not %q", values[i], value)
				}
			}
		default:
			if len(values) > 0 {
				t.Fatalf("members of no object: %q", values)
			}
		}
	})
}

func TestJSONIsAsDeepAsThatOfTheStandardLibrary(t *testing.T) {
	t.Parallel()
	for _, depth := range []int{9_999, 10_000, 10_001, 30_000} {
		data := []byte(strings.Repeat("[", depth) + strings.Repeat("]", depth))
		assert.Equal(t, json.Valid(data), scan(data, 0, 0, nil) == len(data), depth)
	}
}

func TestEveryByteIsEscapedAsInAForm(t *testing.T) {
	t.Parallel()
	for c := range 256 {
		assert.Equal(t, url.QueryEscape(string([]byte{byte(c)})), string(appendEscaped(nil, string([]byte{byte(c)}))))
	}
}

func FuzzDecodeError(f *testing.F) {
	names, err := filepath.Glob("testdata/*")
	require.NoError(f, err)
	for _, name := range names {
		if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() {
			data, err := os.ReadFile(name)
			require.NoError(f, err)
			f.Add(401, data, "", "")
		}
	}
	f.Add(403, []byte("You have connected to a URL that has different security settings"), "", "mysite.files.com")
	f.Add(422, []byte(`{"type":"a","errors":[{"type":"b"}],"data":[]}`), "not-authenticated/locked-out", "")
	f.Fuzz(func(t *testing.T, status int, body []byte, class, host string) {
		const canary = "fuzz-canary"
		a := &answer{status: status, body: body, header: http.Header{"X-Files-Error-Class": {class}, "X-Files-Host": {host}, "X-Request-Id": {class}}}
		err := a.error(&request{op: "log in", base: DefaultBaseURL, secrets: secrets{canary, ""}})
		var api *APIError
		if !errors.As(err, &api) || api.StatusCode != status {
			t.Fatal("no APIError with the status")
		}
		if text := err.Error(); strings.Contains(text, canary) {
			t.Fatal("a secret is shown")
		}
		for _, shown := range []string{api.Type, api.Title, api.Message, api.Instance} {
			if len(shown) > 256 || strings.ContainsAny(shown, "\x00\x1b\r\n\x7f") {
				t.Fatalf("not clean: %q", shown)
			}
		}
		if api.Type != "" && !validType(api.Type) {
			t.Fatalf("not a type: %q", api.Type)
		}
		var moved *RegionMismatchError
		if text := err.Error(); len(text) > 16<<10 {
			t.Fatalf("%d bytes of text", len(text))
		}
		if errors.As(err, &moved) && moved.Host != "" && relocate(DefaultBaseURL, moved.Host) != "https://"+moved.Host {
			t.Fatalf("not a host to go to: %q", moved.Host)
		}
		if errors.Is(err, ErrInvalidResponse) != (status/100 == 2) {
			t.Fatal("an answer of success")
		}
	})
}

func FuzzRelocate(f *testing.F) {
	for _, named := range []string{"mysite.files.com", "https://mysite.files.com:443", "evil.example#.files.com", "127.0.0.1:4041", "[::1]:4041", "http://localhost:1", "u@files.com", "files.com.", "0x7f.1", "https://"} {
		f.Add(DefaultBaseURL, named)
		f.Add("http://127.0.0.1:4040", named)
	}
	f.Add("http://127.0.0.10", "127.0.0.0:0")
	f.Fuzz(func(t *testing.T, base, named string) {
		base, err := parseBaseURL(base)
		if err != nil {
			return
		}
		origin := relocate(base, named)
		if origin == "" {
			return
		}
		again, err := parseBaseURL(origin)
		if err != nil || again != origin {
			t.Fatalf("%q from %q is %q: %v", named, base, again, err)
		}
		req, err := http.NewRequest("POST", origin+path, nil)
		if err != nil || "https://"+req.URL.Host != origin && !isLoopback(req.URL.Hostname()) || req.URL.User != nil || req.URL.Path != path {
			t.Fatalf("%q from %q goes to %v", named, base, req.URL)
		}
		c := config{base: base}
		if c.trusts(origin) && !strings.HasSuffix("."+req.URL.Hostname(), ".files.com") {
			t.Fatalf("%q is trusted from %q", origin, base)
		}
	})
}

func FuzzRetryAfter(f *testing.F) {
	for _, value := range []string{"7", "-1", "", "Fri, 02 Jan 2026 03:04:15 GMT", "99999999999999999999"} {
		f.Add(value, "Fri, 02 Jan 2026 03:04:10 GMT")
		f.Add(value, "")
	}
	f.Fuzz(func(t *testing.T, value, date string) {
		wait := retryAfter(http.Header{"Retry-After": {value}, "Date": {date}}, time.Now())
		if wait < 0 || wait > 24*time.Hour {
			t.Fatalf("%q at %q is %v", value, date, wait)
		}
	})
}
