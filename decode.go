package session

import (
	"bytes"
	"encoding/json"
	"errors"
	"iter"
	"strconv"
	"strings"
	"time"
)

// decodeSession decodes the answer to a login. It wants a JSON object with one
// valid id and nothing after it; any other field that cannot be decoded keeps
// its zero value, so that no live session is lost for it. Raw is a part of data.
func decodeSession(data []byte) (*Session, error) {
	object := trimJSON(data)
	s := &Session{Raw: object}
	ids := 0
	var id, language, token, tokenDomain, root []byte
	end := scan(object, 0, 0, func(key, value []byte) bool {
		switch string(key) {
		case "id":
			ids++
			if id = unquote(value); digits(value) {
				id = value
			}
		case "language":
			language = unquote(value)
		case "login_token":
			token = unquote(value)
		case "login_token_domain":
			tokenDomain = unquote(value)
		case "max_dir_listing_size":
			s.MaxDirListingSize = number(value)
		case "multiple_regions":
			s.MultipleRegions = truth(value)
		case "read_only":
			s.ReadOnly = truth(value)
		case "root_path":
			root = unquote(value)
		case "sftp_insecure_ciphers":
			s.SFTPInsecureCiphers = truth(value)
		case "site_id":
			s.SiteID = number(value)
		case "ssl_required":
			s.SSLRequired = truth(value)
		case "tls_disabled":
			s.TLSDisabled = truth(value)
		case "two_factor_setup_needed":
			s.TwoFactorSetupNeeded = truth(value)
		case "allowed_2fa_method_sms":
			s.Allowed2FAMethodSMS = truth(value)
		case "allowed_2fa_method_totp":
			s.Allowed2FAMethodTOTP = truth(value)
		case "allowed_2fa_method_u2f":
			s.Allowed2FAMethodU2F = truth(value)
		case "allowed_2fa_method_yubi":
			s.Allowed2FAMethodYubi = truth(value)
		case "allowed_2fa_method_webauthn":
			s.Allowed2FAMethodWebAuthn = truth(value)
		case "use_provided_modified_at":
			s.UseProvidedModifiedAt = truth(value)
		case "windows_mode_ftp":
			s.WindowsModeFTP = truth(value)
		case "timeout_at":
			s.TimeoutAt = moment(value)
		}
		return true
	})
	if end != len(object) || !bytes.HasPrefix(object, []byte("{")) {
		return nil, errors.New("not a JSON object")
	}
	fields := [...]struct {
		of    *string
		value []byte
	}{{&s.ID, id}, {&s.Language, language}, {&s.LoginToken, token}, {&s.LoginTokenDomain, tokenDomain}, {&s.RootPath, root}}
	joined := make([]byte, 0, 256) // parts of one string take one allocation
	for _, f := range fields {
		joined = append(joined, f.value...)
	}
	texts := string(joined)
	for _, f := range fields {
		*f.of, texts = texts[:len(f.value)], texts[len(f.value):]
	}
	switch {
	case ids > 1:
		return nil, errors.New("more than one id")
	case !validID(s.ID):
		return nil, errors.New("no valid id")
	}
	return s, nil
}

// trimJSON takes a byte order mark and the white space around it off.
func trimJSON(data []byte) []byte {
	return bytes.Trim(bytes.TrimPrefix(data, []byte("\ufeff")), " \t\r\n")
}

// members yields the keys and values of a JSON object, or the values of an
// array; nothing of any other value.
func members(data []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) { scan(data, 0, 0, yield) }
}

// scan returns where the JSON value that begins at i ends, or -1 if there is
// none. What is in an object or array goes to yield, if that is not nil, before
// it is known whether the rest is valid, and until yield says false.
func scan(data []byte, i, depth int, yield func(key, value []byte) bool) int {
	if i >= len(data) {
		return -1
	}
	first := data[i]
	switch first {
	case '{', '[':
		if depth == 10_000 { // as deep as encoding/json goes
			return -1
		}
	case '"':
		return scanString(data, i)
	case 't':
		return scanWord(data, i, "true")
	case 'f':
		return scanWord(data, i, "false")
	case 'n':
		return scanWord(data, i, "null")
	default:
		return scanNumber(data, i)
	}
	last := first + 2 // in ASCII, of either pair
	if i = skipSpace(data, i+1); i < len(data) && data[i] == last {
		return i + 1
	}
	for {
		var key []byte
		if first == '{' {
			end := -1
			if i < len(data) && data[i] == '"' {
				end = scanString(data, i)
			}
			if end < 0 {
				return -1
			}
			key = data[i+1 : end-1]
			if yield != nil && bytes.IndexByte(key, '\\') >= 0 {
				key = []byte(text(data[i:end]))
			}
			if i = skipSpace(data, end); i >= len(data) || data[i] != ':' {
				return -1
			}
			i = skipSpace(data, i+1)
		}
		end := scan(data, i, depth+1, nil)
		if end < 0 || yield != nil && !yield(key, data[i:end]) {
			return end
		}
		if i = skipSpace(data, end); i >= len(data) {
			return -1
		}
		if data[i] == last {
			return i + 1
		}
		if data[i] != ',' {
			return -1
		}
		i = skipSpace(data, i+1)
	}
}

func skipSpace(data []byte, i int) int {
	for i < len(data) && (data[i] == ' ' || data[i] == '\n' || data[i] == '\r' || data[i] == '\t') {
		i++
	}
	return i
}

func scanWord(data []byte, i int, word string) int {
	if end := i + len(word); end <= len(data) && string(data[i:end]) == word {
		return end
	}
	return -1
}

func scanString(data []byte, i int) int {
	for i++; i < len(data); i++ {
		switch c := data[i]; {
		case c == '"':
			return i + 1
		case c < ' ':
			return -1
		case c != '\\':
		case i+1 < len(data) && strings.IndexByte(`"\/bfnrt`, data[i+1]) >= 0:
			i++
		case i+5 < len(data) && data[i+1] == 'u' && isHex(data[i+2:i+6]):
			i += 5
		default:
			return -1
		}
	}
	return -1
}

func isHex(digits []byte) bool {
	for _, c := range digits {
		if lower := c | 0x20; (c < '0' || c > '9') && (lower < 'a' || lower > 'f') {
			return false
		}
	}
	return true
}

func scanNumber(data []byte, i int) int {
	if i < len(data) && data[i] == '-' {
		i++
	}
	start := i
	if i = skipDigits(data, i); i == start || data[start] == '0' && i > start+1 {
		return -1
	}
	if i < len(data) && data[i] == '.' {
		start = i + 1
		if i = skipDigits(data, start); i == start {
			return -1
		}
	}
	if i < len(data) && data[i]|0x20 == 'e' {
		if i++; i < len(data) && (data[i] == '+' || data[i] == '-') {
			i++
		}
		start = i
		if i = skipDigits(data, start); i == start {
			return -1
		}
	}
	return i
}

func skipDigits(data []byte, i int) int {
	for i < len(data) && '0' <= data[i] && data[i] <= '9' {
		i++
	}
	return i
}

// unquote returns a JSON string's value, nothing for any other value.
func unquote(value []byte) []byte {
	if len(value) < 2 || value[0] != '"' {
		return nil
	}
	plain := value[1 : len(value)-1]
	for _, c := range plain {
		if c == '\\' || c >= 0x80 {
			var s string
			json.Unmarshal(value, &s)
			return []byte(s)
		}
	}
	return plain
}

func text(value []byte) string { return string(unquote(value)) }

// truth returns a JSON boolean's value, false for any other value.
func truth(value []byte) bool { return string(value) == "true" }

// number returns a JSON integer's value, nil for any other value.
func number(value []byte) *int64 {
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil {
		return nil
	}
	return &n
}

// moment returns the value of a JSON string in the form of RFC 3339, the zero
// time for any other value and for one that cannot be marshalled again.
func moment(value []byte) time.Time {
	t, err := time.Parse(time.RFC3339, text(value))
	if _, again := t.MarshalText(); err != nil || again != nil {
		return time.Time{}
	}
	return t
}

func digits[T string | []byte](s T) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return len(s) > 0
}
