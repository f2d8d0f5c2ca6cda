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
	"unicode"

	"github.com/filescom/session"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// created returns the result of a login that is answered by body.
func created(t testing.TB, body string) (*session.Session, error) {
	t.Helper()
	return session.Create(t.Context(), alice, session.WithHTTPClient(&http.Client{Transport: stub(http.StatusCreated, body)}))
}

// decoded returns the session of an answer as it would be stored, without what the
// client adds to it.
func decoded(t testing.TB, body string) *session.Session {
	t.Helper()
	s, err := created(t, body)
	require.NoError(t, err)
	data, err := json.Marshal(s)
	require.NoError(t, err)
	stored := &session.Session{}
	require.NoError(t, json.Unmarshal(data, stored))
	stored.BaseURL, stored.UserAgent = "", ""
	return stored
}

func TestRecordedAnswersDecode(t *testing.T) {
	t.Parallel()
	size := int64(100000)
	s := decoded(t, payload(t, "session_201_live_2025.json"))
	assert.True(t, s.TimeoutAt.Equal(time.Date(2025, 5, 24, 0, 51, 16, 0, time.UTC)))
	s.TimeoutAt = time.Time{}
	assert.Equal(t, &session.Session{ID: "87828d660ada5ee2951d00f46a871d602512b617", MaxDirListingSize: &size, SSLRequired: true,
		LegacyChecksumsMode: true}, s)

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
		key, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
		switch key {
		case "", "-", "id", "username", "password", "otp", "partial_session_id", "base_url", "user_agent":
		default:
			keys[key] = i
		}
	}
	return keys
}

func TestEveryFieldIsDecodedFromItsKeyAndStored(t *testing.T) {
	t.Parallel()
	assert.Len(t, answerKeys(), 34, "18 of the first model beside the id, and 16 that came later")
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
		assert.Len(t, back, 2, "only the fields that the answer has are stored")
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

// members returns the members of a JSON object by their keys in lower case, since
// encoding/json ignores the case of keys. It returns nil for any other value, and for
// an object whose keys repeat each other or are not ASCII.
func members(data string) map[string]json.RawMessage {
	exact := map[string]json.RawMessage{}
	object := strings.TrimPrefix(data, "\ufeff")
	if json.Unmarshal([]byte(object), &exact) != nil || len(exact) == 0 {
		return nil
	}
	count := 0
	decoder := json.NewDecoder(strings.NewReader(object))
	for decoder.Token(); decoder.More(); count++ {
		decoder.Token()
		decoder.Decode(new(json.RawMessage))
	}
	lower := map[string]json.RawMessage{}
	for key, value := range exact {
		if strings.ContainsFunc(key, func(r rune) bool { return r > unicode.MaxASCII }) {
			return nil
		}
		lower[strings.ToLower(key)] = value
	}
	if len(lower) != count {
		return nil
	}
	return lower
}

// FuzzDecodeSession compares a decoded session with the members of the answer.
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
	validID := regexp.MustCompile(`^[!-~]{1,512}$`)
	f.Fuzz(func(t *testing.T, data string) {
		if len(data) > 60<<10 {
			return
		}
		s, err := created(t, data)
		if (s == nil) == (err == nil) {
			t.Fatal("a session or an error")
		}
		members := members(data)
		if err != nil {
			var id string
			if json.Unmarshal(members["id"], &id) == nil && validID.MatchString(id) {
				t.Fatalf("a session is lost: %v", err)
			}
			return
		}
		if !validID.MatchString(s.ID) || !json.Valid(s.Raw) || s.Raw[0] != '{' {
			t.Fatalf("a session of %q", data)
		}
		stored, err := json.Marshal(s)
		if err != nil {
			t.Fatal("the session cannot be stored:", err)
		}
		var loaded session.Session
		if err := json.Unmarshal(stored, &loaded); err != nil || loaded.ID != s.ID || !loaded.TimeoutAt.Equal(s.TimeoutAt) {
			t.Fatal("the session cannot be loaded:", err)
		}
		if members == nil {
			return
		}
		var id string
		if json.Unmarshal(members["id"], &id) != nil {
			id = string(members["id"])
		}
		if id != s.ID {
			t.Fatalf("id is %q, not %q", s.ID, id)
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
	})
}
