package sessiontest_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"

	"github.com/filescom/session/sessiontest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// multipartLogin encodes fields and a file.
func multipartLogin(t *testing.T, fields ...string) (contentType, body string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for i := 0; i < len(fields); i += 2 {
		require.NoError(t, w.WriteField(fields[i], fields[i+1]))
	}
	file, err := w.CreateFormFile("password", "password.txt")
	require.NoError(t, err)
	file.Write([]byte("not the password"))
	require.NoError(t, w.Close())
	return w.FormDataContentType(), b.String()
}

func TestALoginMayBeMultipart(t *testing.T) {
	t.Parallel()
	srv := newServer(t, sessiontest.User{Username: "a b", Password: "p+&%ü\r\n", OTP: "123456"})
	contentType, body := multipartLogin(t, "username", "a b", "password", "p+&%ü\r\n", "otp", "123456")
	assert.Equal(t, 201, send(t, srv, "POST", sessions, contentType, body, "").status)
	contentType, body = multipartLogin(t, "username", "a b", "password", "guess")
	assert.Equal(t, 401, send(t, srv, "POST", sessions, contentType, body, "").status)
}

func TestMalformedMultipartIsAnInvalidBody(t *testing.T) {
	t.Parallel()
	srv := newServer(t, alice)
	contentType, body := multipartLogin(t, "username", "alice", "password", "secret")
	for name, tc := range map[string]struct{ contentType, body string }{
		"no boundary":      {"multipart/form-data", body},
		"another boundary": {"multipart/form-data; boundary=x", body},
		"cut off":          {contentType, body[:len(body)/2]},
		"no header's end":  {"multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data"},
		"garbage":          {"multipart/form-data; boundary=x", "--x\r\n\x00\xff\r\n--x--"},
		"a huge header":    {"multipart/form-data; boundary=x", "--x\r\nA: " + strings.Repeat("x", 500_000)},
	} {
		r := send(t, srv, "POST", sessions, tc.contentType, tc.body, "")
		assert.Equal(t, 422, r.status, name)
		assert.Equal(t, "bad-request/invalid-body", kind(r), name)
	}
	assert.Empty(t, srv.Sessions())
}

func TestMembersOfOtherTypesAreIgnored(t *testing.T) {
	t.Parallel()
	srv := newServer(t, sessiontest.User{Username: "alice", Password: "secret", OTP: "123456"})
	for _, extra := range []string{`"no_cookie":true`, `"locale":null`, `"oauth":{"a":[1]}`, `"interface":["web"]`, `"n":1.5`} {
		body := `{"username":"alice","password":"secret","otp":"123456",` + extra + `}`
		assert.Equal(t, 201, send(t, srv, "POST", sessions, "application/json", body, "").status, extra)
	}
	body := `{"username":"alice","password":"secret","otp":123456}`
	assert.Equal(t, 201, send(t, srv, "POST", sessions, "application/json", body, "").status, "digits are taken as a string")
	body = `{"username":"alice","password":["secret"],"otp":"123456"}`
	assert.Equal(t, "not-authenticated/invalid-username-or-password", kind(send(t, srv, "POST", sessions, "application/json", body, "")))
}

func TestBodiesThatCannotBeReadHaveTheTypesAndTheStatusOfTheCatalogue(t *testing.T) {
	t.Parallel()
	srv := newServer(t, alice)
	for name, tc := range map[string]struct{ contentType, body, kind string }{
		"text":              {"text/plain", "username=alice", "bad-request/unsupported-media-type"},
		"no type":           {"", "username=alice", "bad-request/unsupported-media-type"},
		"bad escape":        {form, "%zz", "bad-request/invalid-body"},
		"list":              {"application/json", `[]`, "bad-request/invalid-body"},
		"null":              {"application/json", `null`, "bad-request/invalid-body"},
		"cut off":           {"application/json", `{"username":`, "bad-request/invalid-body"},
		"data after it":     {"application/json", `{} {}`, "bad-request/invalid-body"},
		"deep":              {"application/json", strings.Repeat(`{"a":`, 20_000), "bad-request/invalid-body"},
		"more than one MiB": {form, strings.Repeat("x", 2<<20), "bad-request/request-body-too-large"},
	} {
		r := send(t, srv, "POST", sessions, tc.contentType, tc.body, "")
		assert.Equal(t, 422, r.status, name)
		assert.Equal(t, tc.kind, kind(r), name)
		assert.Equal(t, tc.kind, r.header.Get("X-Files-Error-Class"), name)
	}
}

func TestBodiesAreReadAsRubyGrapeReadsThem(t *testing.T) {
	t.Parallel()
	const json, object, bom = "application/json", `{"username":"alice","password":"secret"}`, "\ufeff"
	compressed := func(body string) string {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		io.WriteString(w, body)
		w.Close()
		return b.String()
	}
	for name, tc := range map[string]struct {
		contentType, encoding, body string
		status                      int
		reason                      string
	}{
		"a charset":                 {json + "; charset=utf-8", "", object, 201, ""},
		"an encoding that is wrong": {json, "gzip", object, 201, ""},
		"a vendor's JSON":           {"application/vnd.api+json", "", object, 422, `the API takes no Content-Type "application/vnd.api+json"`},
		"a mark before JSON":        {json, "", bom + object, 422, "the body is not application/json; it begins with a byte order mark"},
		"a mark before a form":      {form, "", bom + "a=b&" + good, 201, ""},
		"a mark before a name":      {form, "", bom + good, 401, "the body has no username; a JSON body requires Content-Type: application/json"},
		"compressed JSON":           {json, "gzip", compressed(object), 422, "the body is not application/json; the API decodes no Content-Encoding"},
		"a compressed form":         {form, "gzip", compressed(good), 422, "the body is not " + form + "; the API decodes no Content-Encoding"},
		"gzip without the header":   {form, "", compressed(good), 422, "the body is not " + form},
	} {
		srv := newServer(t, alice)
		req, err := http.NewRequestWithContext(t.Context(), "POST", srv.URL+sessions, strings.NewReader(tc.body))
		require.NoError(t, err)
		req.Header.Set("Content-Type", tc.contentType)
		if tc.encoding != "" {
			req.Header.Set("Content-Encoding", tc.encoding)
		}
		assert.Equal(t, tc.status, do(t, srv, req).status, name)
		assert.Equal(t, tc.reason, srv.Requests()[0].Reason, name)
	}
}

func TestAMethodThatIsNotServedHasTheTypeAndTheStatusOfTheCatalogue(t *testing.T) {
	t.Parallel()
	srv := newServer(t, alice)
	id := logIn(t, srv, good).body["id"].(string)
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodPatch} {
		r := send(t, srv, method, sessions, "", "", id)
		assert.Equal(t, 422, r.status)
		assert.Equal(t, "bad-request/method-not-allowed", kind(r))
		assert.Equal(t, "Method Not Allowed", r.body["title"])
	}
}

func TestTheLastOfSeveralValuesCounts(t *testing.T) {
	t.Parallel()
	srv := newServer(t, alice)
	assert.Equal(t, 201, logIn(t, srv, "username=bob&username=alice&password=secret").status)
	contentType, body := multipartLogin(t, "username", "bob", "username", "alice", "password", "secret")
	assert.Equal(t, 201, send(t, srv, "POST", sessions, contentType, body, "").status)
	assert.Equal(t, 201, send(t, srv, "POST", sessions, "application/json", `{"username":"bob","username":"alice","password":"secret"}`, "").status)
}
