package session_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/filescom/session"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// created returns the result of a login that is answered by body.
func created(t testing.TB, body string) (*session.Session, error) {
	t.Helper()
	return session.Create(t.Context(), alice, session.WithHTTPClient(&http.Client{Transport: stub(http.StatusCreated, body)}))
}

// decoded returns the session of an answer, without what the client adds to it.
func decoded(t testing.TB, body string) *session.Session {
	t.Helper()
	s, err := created(t, body)
	require.NoError(t, err)
	return &session.Session{ID: s.ID, Language: s.Language, LoginToken: s.LoginToken, LoginTokenDomain: s.LoginTokenDomain,
		MaxDirListingSize: s.MaxDirListingSize, MultipleRegions: s.MultipleRegions, ReadOnly: s.ReadOnly, RootPath: s.RootPath,
		SFTPInsecureCiphers: s.SFTPInsecureCiphers, SiteID: s.SiteID, SSLRequired: s.SSLRequired, TLSDisabled: s.TLSDisabled,
		TwoFactorSetupNeeded: s.TwoFactorSetupNeeded, Allowed2FAMethodSMS: s.Allowed2FAMethodSMS, Allowed2FAMethodTOTP: s.Allowed2FAMethodTOTP,
		Allowed2FAMethodU2F: s.Allowed2FAMethodU2F, Allowed2FAMethodYubi: s.Allowed2FAMethodYubi, UseProvidedModifiedAt: s.UseProvidedModifiedAt,
		WindowsModeFTP: s.WindowsModeFTP, Allowed2FAMethodWebAuthn: s.Allowed2FAMethodWebAuthn, TimeoutAt: s.TimeoutAt}
}

func TestRecordedAnswersDecode(t *testing.T) {
	t.Parallel()
	size := int64(100000)
	s := decoded(t, payload(t, "session_201_live_2025.json"))
	assert.True(t, s.TimeoutAt.Equal(time.Date(2025, 5, 24, 0, 51, 16, 0, time.UTC)))
	s.TimeoutAt = time.Time{}
	assert.Equal(t, &session.Session{ID: "87828d660ada5ee2951d00f46a871d602512b617", MaxDirListingSize: &size, SSLRequired: true}, s)

	size = 500000
	s = decoded(t, payload(t, "session_201_live_2021.json"))
	assert.Equal(t, &session.Session{ID: "ec8c49f257cd5386b5f14e316b1c530f0d248364", MaxDirListingSize: &size, SSLRequired: true}, s)

	s = decoded(t, payload(t, "session_documented_public.json"))
	assert.Equal(t, &session.Session{ID: "60525f92e859c4c3d74cb02fd176b1525901b525", Language: "en", ReadOnly: true}, s)
}

func TestDocumentedAnswersDecode(t *testing.T) {
	t.Parallel()
	one := int64(1)
	s := decoded(t, payload(t, "session_documented_2020_int_id.json"))
	assert.Equal(t, &session.Session{ID: "1", Language: "en", LoginToken: "@tok-randomcode", LoginTokenDomain: "https://mysite.files.com",
		MaxDirListingSize: &one, MultipleRegions: true, SiteID: &one, SSLRequired: true, TLSDisabled: true, TwoFactorSetupNeeded: true,
		Allowed2FAMethodSMS: true, Allowed2FAMethodTOTP: true, Allowed2FAMethodU2F: true, Allowed2FAMethodYubi: true,
		UseProvidedModifiedAt: true, WindowsModeFTP: true}, s, "read_only was a string")

	s = decoded(t, payload(t, "session_full_documented.json"))
	assert.True(t, s.Allowed2FAMethodWebAuthn)
	assert.Equal(t, "example", s.RootPath)
	assert.True(t, s.TimeoutAt.Equal(time.Date(2000, 1, 1, 1, 0, 0, 0, time.UTC)))
}

func TestRawIsTheWholeAnswer(t *testing.T) {
	t.Parallel()
	body := payload(t, "session_201_live_2025.json")
	s, err := created(t, "\ufeff"+body)
	require.NoError(t, err)
	assert.Equal(t, strings.TrimSpace(body), string(s.Raw))
}

// answerKeys returns the JSON keys of the fields of Session that an answer may set,
// except id, with the index of each field.
func answerKeys() map[string]int {
	keys := map[string]int{}
	typ := reflect.TypeFor[session.Session]()
	for i := range typ.NumField() {
		key, options, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
		if key != "" && key != "-" && key != "id" && options != "omitempty" {
			keys[key] = i
		}
	}
	return keys
}

func TestEveryFieldIsDecodedOnlyFromItsOwnKey(t *testing.T) {
	t.Parallel()
	assert.Len(t, answerKeys(), 20, "18 documented ones beside the id, and the two that the wire adds")
	for key, i := range answerKeys() {
		kind := reflect.TypeFor[session.Session]().Field(i).Type.Kind()
		value := map[reflect.Kind]any{reflect.String: "x", reflect.Bool: true, reflect.Pointer: 7, reflect.Struct: "2025-05-23T20:51:16-04:00"}[kind]
		data, err := json.Marshal(map[string]any{"id": "1", key: value})
		require.NoError(t, err)
		stored, err := json.Marshal(decoded(t, string(data)))
		require.NoError(t, err)
		var back map[string]any
		require.NoError(t, json.Unmarshal(stored, &back))
		assert.EqualValues(t, value, back[key], key)

		other := decoded(t, strings.ReplaceAll(string(data), `"`+key+`"`, `"`+strings.ToUpper(key)+`"`))
		assert.True(t, reflect.ValueOf(*other).Field(i).IsZero(), "%s in upper case", key)
	}
}

func TestFieldsThatCannotBeDecodedKeepTheirZeroValue(t *testing.T) {
	t.Parallel()
	for _, odd := range []string{`null`, `[]`, `{"id":"2"}`, `"\ud800"`, `1e400`, `-0.5`, `99999999999999999999`, `"x"`, `true`, `7`, `"2025-13-01T00:00:00Z"`, `"2025-05-23T20:51:16+24:00"`} {
		body := `{"id":"1","username":` + odd + `,"password":` + odd + `,"otp":` + odd + `,"partial_session_id":` + odd + `,"base_url":` + odd + `,"user_agent":` + odd
		for key := range answerKeys() {
			body += `,"` + key + `":` + odd
		}
		s, err := created(t, body+`}`)
		require.NoError(t, err, odd)
		assert.Equal(t, "1", s.ID)
		assert.Empty(t, s.Username+s.Password+s.OTP+s.PartialSessionID, "the API does not answer them")
		assert.Equal(t, session.DefaultBaseURL+" filescom-session-go", s.BaseURL+" "+s.UserAgent, "the client sets them")
		assert.True(t, s.TimeoutAt.IsZero())
		assert.Equal(t, odd == "true", s.ReadOnly)
		assert.Equal(t, odd == "7", s.SiteID != nil)
		assert.Equal(t, odd[0] == '"', s.RootPath != "")
		_, err = json.Marshal(s)
		assert.NoError(t, err, "a decoded session can be stored")
	}
}

func TestJSONDecodesWhateverItsLayout(t *testing.T) {
	t.Parallel()
	s := decoded(t, "\ufeff\r\n\t { \"x\" :{\"id\" : \"2\\\"}\" , \"y\":[ [ ] , {} ,\"]\" ] } ,\n\"\\u0069d\"\t:\t\"a\\u0062c\" , \"root_path\":\"Grüße\\n\",\"site_id\" :7 } \n")
	assert.Equal(t, "abc", s.ID)
	assert.Equal(t, "Grüße\n", s.RootPath)
	assert.EqualValues(t, 7, *s.SiteID)
}

// FuzzDecodeSession compares a decoded session with encoding/json.
func FuzzDecodeSession(f *testing.F) {
	names, err := filepath.Glob("testdata/session_*.json")
	require.NoError(f, err)
	for _, name := range names {
		data, err := os.ReadFile(name)
		require.NoError(f, err)
		f.Add(string(data))
	}
	for _, data := range []string{`{}`, `null`, `{"id":1}`, `{"id":"a\u0062"}`, `{"id":"1","id":"2"}`, "\ufeff{\"id\":\"1\"} ", "{\"id\":\"1\"}\v",
		`{"id":"1","timeout_at":"2025-05-23T20:51:16+24:00"}`, `{"id":"1","x":[{"id":"2"},"]}"]}`, `{"id":"1","root_path":"\ud83d\ude00\"\\","":{}}`} {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data string) {
		if len(data) > 60<<10 {
			return
		}
		s, err := created(t, data)
		if (s == nil) == (err == nil) {
			t.Fatal("a session or an error")
		}
		members := map[string]json.RawMessage{}
		object := []byte(strings.TrimPrefix(data, "\ufeff"))
		valid := json.Unmarshal(object, &members) == nil && strings.HasPrefix(strings.TrimLeft(string(object), " \t\r\n"), "{")
		if err != nil {
			var id string
			if valid && json.Unmarshal(members["id"], &id) == nil && regexp.MustCompile(`^[!-~]{1,512}$`).MatchString(id) && !strings.Contains(err.Error(), "more than one id") {
				t.Fatalf("a session is lost: %v", err)
			}
			return
		}
		var id any
		decoder := json.NewDecoder(strings.NewReader(string(members["id"])))
		decoder.UseNumber()
		if !valid || decoder.Decode(&id) != nil || id != any(s.ID) && id != any(json.Number(s.ID)) {
			t.Fatalf("id is %q, not %v", s.ID, id)
		}
		fields := reflect.ValueOf(*s)
		for key, i := range answerKeys() {
			want := reflect.New(fields.Field(i).Type())
			if key == "timeout_at" || members[key] == nil || json.Unmarshal(members[key], want.Interface()) != nil {
				continue
			}
			if !reflect.DeepEqual(want.Elem().Interface(), fields.Field(i).Interface()) {
				t.Fatalf("%s is %v, not %v", key, fields.Field(i), want.Elem())
			}
		}
		stored, err := json.Marshal(s)
		if err != nil {
			t.Fatal("the session cannot be stored:", err)
		}
		var loaded session.Session
		if err := json.Unmarshal(stored, &loaded); err != nil || loaded.ID != s.ID || !loaded.TimeoutAt.Equal(s.TimeoutAt) {
			t.Fatal("the session cannot be loaded:", err)
		}
	})
}
