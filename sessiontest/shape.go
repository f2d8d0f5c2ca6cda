package sessiontest

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
)

// reply is an answer as bytes.
type reply struct {
	status int // 0: none
	header http.Header
	body   []byte
}

// render gives an answer the shape of the recording, and applies a fault.
func (s *Server) render(r *http.Request, a answer, f *Fault) reply {
	h := http.Header{}
	server, instance := "files.com", randomHex(16)
	if s.recording == Recording2021 {
		server, instance = "nginx", randomUUID()
	}
	h.Set("Cache-Control", "no-cache, no-store, max-age=0, must-revalidate")
	h.Set("Expires", "Fri, 01 Jan 1990 00:00:00 GMT")
	h.Set("Pragma", "no-cache")
	h.Set("Server", server)
	h.Set("X-Request-Id", instance)
	maps.Copy(h, a.header)
	if a.kind != "" {
		a.body = s.failure(a, instance, r.Header.Get("Accept-Language"), f)
		if s.recording != Recording2021 {
			h.Set("X-Files-Error-Class", a.kind)
		}
	}
	rep := reply{status: a.status, header: h}
	switch body := a.body.(type) {
	case nil:
	case string:
		rep.body = []byte(body)
	default:
		rep.body, _ = json.Marshal(body) // cannot fail: Validate has checked the fields of the user
		h.Set("Content-Type", "application/json")
	}
	if f != nil {
		f.spoil(&rep)
	}
	return rep
}

// failure is the JSON of a refusal.
func (s *Server) failure(a answer, instance, language string, f *Fault) map[string]any {
	m := map[string]any{"error": translate(a.message, language), "http-code": a.status,
		"instance": instance, "title": title(a.kind), "type": a.kind}
	if a.data != nil {
		m["data"] = a.data
	}
	if s.recording == Recording2021 {
		s.age(m)
	}
	if f != nil && f.HTTPCode != nil {
		m["http-code"] = f.HTTPCode
	}
	return m
}

// age gives a failure the shape of 2021.
func (s *Server) age(failure map[string]any) {
	kind := failure["type"].(string)
	if kind == "not-authenticated/invalid-username-or-password" {
		failure["type"] = "bad-request/invalid-username-or-password"
	}
	failure["error"] = strings.Replace(failure["error"].(string), "2FA Authentication", "2FA Authenication", 1)
	_, name, _ := strings.Cut(kind, "/")
	inner := maps.Clone(failure)
	inner["type"] = "401-" + name
	failure["errors"] = []any{inner}
}

// title returns the title of a type: "Locked Out" for
// "not-authenticated/locked-out".
func title(kind string) string {
	_, name, found := strings.Cut(kind, "/")
	if !found {
		name = kind
	}
	words := strings.Split(name, "-")
	for i, word := range words {
		if word != "" {
			words[i] = strings.ToUpper(word[:1]) + word[1:]
		}
	}
	return strings.Join(words, " ")
}

// german has the messages that the server can translate.
var german = map[string]string{
	"Invalid username or password": "Ungültiger Benutzername oder ungültiges Passwort",
	"Your account is locked out.":  "Ihr Konto ist gesperrt.",
	"The API key or Session token provided could not be used to validate this request.": "Der API-Schlüssel oder das Sitzungstoken konnte diese Anfrage nicht bestätigen.",
}

// translate returns a message in the language of an Accept-Language header, as
// the API does. The server knows German and English.
func translate(message, accept string) string {
	if text, known := german[message]; known && strings.HasPrefix(strings.ToLower(accept), "de") {
		return text
	}
	return message
}

func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return hex.EncodeToString(b)
}

func randomUUID() string {
	b := make([]byte, 16)
	rand.Read(b)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80 // version 4
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
