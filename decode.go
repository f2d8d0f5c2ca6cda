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
	if !bytes.HasPrefix(object, []byte("{")) || !json.Valid(object) {
		return nil, errors.New("not a JSON object")
	}
	s := &Session{Raw: object}
	ids := 0
	for key, value := range members(object) {
		switch string(key) {
		case "id":
			ids++
			s.ID = text(value)
			if s.ID == "" && digits(value) {
				s.ID = string(value)
			}
		case "language":
			s.Language = text(value)
		case "login_token":
			s.LoginToken = text(value)
		case "login_token_domain":
			s.LoginTokenDomain = text(value)
		case "max_dir_listing_size":
			s.MaxDirListingSize = number(value)
		case "multiple_regions":
			s.MultipleRegions = truth(value)
		case "read_only":
			s.ReadOnly = truth(value)
		case "root_path":
			s.RootPath = text(value)
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
// array. data must be valid JSON without white space around it; anything but
// an object or array yields nothing.
func members(data []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		if len(data) == 0 || data[0] != '{' && data[0] != '[' {
			return
		}
		for i := 1; ; {
			i = skip(data, i)
			if data[i] == '}' || data[i] == ']' {
				return
			}
			var key []byte
			if data[0] == '{' {
				end := valueEnd(data, i)
				if key = data[i+1 : end-1]; bytes.IndexByte(key, '\\') >= 0 {
					key = []byte(text(data[i:end]))
				}
				i = skip(data, end)
			}
			end := valueEnd(data, i)
			if !yield(key, data[i:end]) {
				return
			}
			i = end
		}
	}
}

// skip returns where the next key, value or end is: valid JSON has nothing else
// behind white space, commas and colons.
func skip(data []byte, i int) int {
	for strings.IndexByte(" \t\r\n,:", data[i]) >= 0 {
		i++
	}
	return i
}

// valueEnd returns where the value that begins at i ends. data is valid JSON.
func valueEnd(data []byte, i int) int {
	depth := 0
	for ; ; i++ {
		switch data[i] {
		case '"':
			for i++; data[i] != '"'; i++ {
				if data[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			depth++
			continue
		case '}', ']':
			depth--
		default:
			if depth > 0 {
				continue
			}
			for strings.IndexByte(" \t\r\n,]}", data[i]) < 0 {
				i++
			}
			return i
		}
		if depth == 0 {
			return i + 1
		}
	}
}

// text returns a JSON string's value, "" for any other value.
func text(value []byte) string {
	if len(value) < 2 || value[0] != '"' {
		return ""
	}
	plain := value[1 : len(value)-1]
	for _, c := range plain {
		if c == '\\' || c >= 0x80 {
			var s string
			json.Unmarshal(value, &s)
			return s
		}
	}
	return string(plain)
}

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
