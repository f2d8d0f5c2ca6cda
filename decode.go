package session

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"iter"
	"net/http"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// decodeSession decodes the answer to a login. It requires a JSON object with one
// valid id and nothing after it. Any other field that cannot be decoded keeps its
// zero value, so that a bad field does not lose a live session. Raw shares the
// memory of data.
func decodeSession(data []byte) (*Session, error) {
	object := trimJSON(data)
	if !json.Valid(object) || object[0] != '{' {
		return nil, errors.New("not a JSON object")
	}
	s := &Session{Raw: object}
	ids := 0
	for key, value := range members(object) {
		if string(key) == "id" {
			s.ID = parseID(value)
			ids++
		}
		field := sessionFields[string(key)]
		if field == nil {
			continue
		}
		switch field := field(s).(type) {
		case *string:
			*field = parseString(value)
		case *bool:
			*field = parseBool(value)
		case **int64:
			*field = parseInt(value)
		case *time.Time:
			*field = parseTime(value)
		}
	}
	switch {
	case ids > 1:
		return nil, errors.New("more than one id")
	case !validID(s.ID):
		return nil, errors.New("no valid id")
	}
	return s, nil
}

// sessionFields returns the field of each member of an answer, except id.
var sessionFields = map[string]func(*Session) any{
	"language":                    func(s *Session) any { return &s.Language },
	"login_token":                 func(s *Session) any { return &s.LoginToken },
	"login_token_domain":          func(s *Session) any { return &s.LoginTokenDomain },
	"max_dir_listing_size":        func(s *Session) any { return &s.MaxDirListingSize },
	"multiple_regions":            func(s *Session) any { return &s.MultipleRegions },
	"read_only":                   func(s *Session) any { return &s.ReadOnly },
	"root_path":                   func(s *Session) any { return &s.RootPath },
	"sftp_insecure_ciphers":       func(s *Session) any { return &s.SFTPInsecureCiphers },
	"site_id":                     func(s *Session) any { return &s.SiteID },
	"ssl_required":                func(s *Session) any { return &s.SSLRequired },
	"tls_disabled":                func(s *Session) any { return &s.TLSDisabled },
	"two_factor_setup_needed":     func(s *Session) any { return &s.TwoFactorSetupNeeded },
	"allowed_2fa_method_sms":      func(s *Session) any { return &s.Allowed2FAMethodSMS },
	"allowed_2fa_method_totp":     func(s *Session) any { return &s.Allowed2FAMethodTOTP },
	"allowed_2fa_method_u2f":      func(s *Session) any { return &s.Allowed2FAMethodU2F },
	"allowed_2fa_method_yubi":     func(s *Session) any { return &s.Allowed2FAMethodYubi },
	"allowed_2fa_method_webauthn": func(s *Session) any { return &s.Allowed2FAMethodWebAuthn },
	"use_provided_modified_at":    func(s *Session) any { return &s.UseProvidedModifiedAt },
	"windows_mode_ftp":            func(s *Session) any { return &s.WindowsModeFTP },
	"timeout_at":                  func(s *Session) any { return &s.TimeoutAt },
}

// errorBody holds the members of a JSON error. Each is decoded by itself, so that
// one bad member does not affect the others.
type errorBody struct {
	kind, title, message, instance string
	data                           json.RawMessage
	itemData                       json.RawMessage // data of the first object in errors
}

// parseError returns the parts of an error. It takes them from the body, or from the
// header if the body does not have them.
func (a *answer) parseError() errorBody {
	var body errorBody
	if value := trimJSON(a.body); json.Valid(value) {
		body = decodeError(value)
	}
	if !validType(body.kind) {
		body.kind = a.header.Get("X-Files-Error-Class")
	}
	if !validType(body.kind) {
		body.kind = ""
	}
	if body.instance == "" {
		body.instance = a.header.Get("X-Request-Id")
	}
	return body
}

// decodeError decodes an error that is valid JSON. In 2021 the API put the type
// and the data into a list of errors as well.
func decodeError(value []byte) errorBody {
	parts := pick(value, "type", "title", "error", "instance", "data", "errors")
	body := errorBody{
		kind:     parseString(parts["type"]),
		title:    parseString(parts["title"]),
		message:  cmp.Or(parseString(parts["error"]), parseString(value)),
		instance: parseString(parts["instance"]),
		data:     parts["data"],
	}
	for item := range elements(parts["errors"]) {
		if item[0] != '{' {
			continue
		}
		parts := pick(item, "type", "data")
		if !validType(body.kind) {
			body.kind = parseString(parts["type"])
		}
		body.itemData = parts["data"]
		break
	}
	return body
}

// decodeChallenge decodes the data of a demand for a second factor. Its lists have at
// most maxElements entries.
func decodeChallenge(data []byte) *TwoFactorError {
	const methods, signRequests = "two_factor_authentication_methods", "u2f_sign_requests"
	parts := pick(data, "partial_session_id", methods, signRequests)
	challenge := &TwoFactorError{PartialSessionID: parseID(parts["partial_session_id"])}
	if method := parseString(parts[methods]); method != "" {
		challenge.Methods = []string{method}
	}
	for value := range elements(parts[methods]) {
		if method := parseString(value); method != "" {
			challenge.Methods = append(challenge.Methods, method)
		}
	}
	for value := range elements(parts[signRequests]) {
		if value[0] != '{' {
			continue
		}
		parts := pick(value, "app_id", "challenge", "sign_request")
		sign := pick(parts["sign_request"], "version", "keyHandle")
		challenge.U2FSignRequests = append(challenge.U2FSignRequests, U2FSignRequest{
			AppID:     parseString(parts["app_id"]),
			Challenge: parseString(parts["challenge"]),
			Version:   parseString(sign["version"]),
			KeyHandle: parseString(sign["keyHandle"]),
		})
	}
	return challenge
}

// regionHost returns the host that a region mismatch names, in its data or in its
// only X-Files-Host header.
func (a *answer) regionHost(body errorBody) string {
	for _, data := range [...]json.RawMessage{body.data, body.itemData} {
		if host := parseString(pick(data, "host")["host"]); host != "" {
			return host
		}
	}
	if hosts := a.header.Values("X-Files-Host"); len(hosts) == 1 {
		return hosts[0]
	}
	return ""
}

// trimJSON removes a byte order mark and the white space around data.
func trimJSON(data []byte) []byte {
	return bytes.Trim(bytes.TrimPrefix(data, []byte("\ufeff")), jsonSpace)
}

const jsonSpace = " \t\r\n"

// members yields the keys and values of a JSON object, or the values of an array
// with a nil key. It yields nothing for any other value. The value must be valid
// JSON without space around it. In keys it decodes only \u escapes, since keys of
// the API have no others and a hostile answer may have 10,000 keys.
func members(value []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		if len(value) == 0 || value[0] != '{' && value[0] != '[' {
			return
		}
		var key []byte
		start, depth := 1, 0
		for i := 1; i < len(value); i++ {
			c := value[i]
			if c == '"' {
				i = stringEnd(value, i)
			}
			if depth == 0 && c == ':' {
				key, start = bytes.Trim(value[start:i], jsonSpace+`"`), i+1
				if bytes.Contains(key, []byte(`\u`)) {
					key = unquote(slices.Concat([]byte{'"'}, key, []byte{'"'}))
				}
			}
			if depth == 0 && (c == ',' || c == '}' || c == ']') {
				member := bytes.TrimSpace(value[start:i])
				if len(member) > 0 && !yield(key, member) { // empty objects and arrays have none
					return
				}
				start = i + 1
			}
			switch c {
			case '{', '[':
				depth++
			case '}', ']':
				depth--
			}
		}
	}
}

// stringEnd returns the index of the quotation mark that ends the string at i.
func stringEnd(value []byte, i int) int {
	for i++; value[i] != '"'; i++ {
		if value[i] == '\\' {
			i++
		}
	}
	return i
}

// pick returns the values of keys in a JSON object. If a key occurs twice, the last
// one counts.
func pick(object []byte, keys ...string) map[string][]byte {
	picked := make(map[string][]byte, len(keys))
	for key, value := range members(object) {
		if slices.Contains(keys, string(key)) {
			picked[string(key)] = value
		}
	}
	return picked
}

// maxElements limits every list of an answer. An answer of 64 KiB can hold 32,000
// elements, and a U2FSignRequest takes 64 bytes.
const maxElements = 32

// elements yields the first elements of a JSON array, up to maxElements.
func elements(array []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		n := 0
		for _, value := range members(array) {
			if n++; n > maxElements || !yield(value) {
				return
			}
		}
	}
}

// unquote returns the value of a JSON string, nil for any other value.
func unquote(value []byte) []byte {
	if len(value) == 0 || value[0] != '"' {
		return nil
	}
	if bytes.IndexByte(value, '\\') < 0 && utf8.Valid(value) {
		return value[1 : len(value)-1]
	}
	var s string
	json.Unmarshal(value, &s) // cannot fail
	return []byte(s)
}

// parseString returns the value of a JSON string, "" for any other value.
func parseString(value []byte) string { return string(unquote(value)) }

// parseID returns the value of a JSON string or of a number without sign and
// fraction.
func parseID(value []byte) string {
	if isDigits(string(value)) {
		return string(value)
	}
	return parseString(value)
}

// parseBool returns the value of a JSON boolean, false for any other value.
func parseBool(value []byte) bool { return string(value) == "true" }

// parseInt returns the value of a JSON integer, nil for any other value.
func parseInt(value []byte) *int64 {
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil {
		return nil
	}
	return &n
}

// parseTime returns the value of a JSON string in the form of RFC 3339. It
// returns the zero time for any other value, and for a time that cannot be
// marshalled again.
func parseTime(value []byte) time.Time {
	t, err := time.Parse(time.RFC3339, parseString(value))
	if err != nil {
		return time.Time{}
	}
	if _, err := t.MarshalText(); err != nil {
		return time.Time{}
	}
	return t
}

func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

func validType(kind string) bool {
	for i := range len(kind) {
		switch c := kind[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '/', c == '_', c == '-':
		default:
			return false
		}
	}
	return 1 <= len(kind) && len(kind) <= 128
}

// retryAfter returns the wait that the Retry-After header asks for, in seconds or
// until a date. It returns 0 for a wait that is negative or longer than a day. A
// date is compared with the Date header, if there is one.
func retryAfter(header http.Header, now time.Time) time.Duration {
	value := header.Get("Retry-After")
	var wait time.Duration
	if seconds, err := strconv.ParseUint(value, 10, 32); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		if server, err := http.ParseTime(header.Get("Date")); err == nil {
			now = server
		}
		wait = at.Sub(now)
	}
	if wait < 0 || wait > 24*time.Hour {
		return 0
	}
	return wait
}
