package session

import (
	"encoding/json"
	"fmt"
	"html"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// redacted replaces a text that holds a secret.
const redacted = "[redacted]"

// secrets are the secret values of one request. No text may show one.
type secrets []string

// in reports whether text holds one of the secrets, as it is or escaped. A secret of
// less than 8 bytes must stand between characters that are neither letters nor
// digits, so that the code "1" does not hide every support ID.
func (s secrets) in(text string) bool {
	text = fold(text) + "\n" + unescape(text) // a % before a secret would hide its first digits from unescape
	return slices.ContainsFunc(s, func(secret string) bool {
		return slices.ContainsFunc([]string{fold(secret), unescape(secret)}, func(plain string) bool {
			plain = strings.TrimSpace(plain)
			if len(secret) >= 8 || plain == "" {
				return plain != "" && strings.Contains(text, plain)
			}
			alone := `(^|[^\pL\p{Nd}])` + regexp.QuoteMeta(plain) + `([^\pL\p{Nd}]|$)`
			return regexp.MustCompile(alone).MatchString(text)
		})
	})
}

// fold returns text in lower case and without control characters.
func fold(text string) string { return strings.ToLower(withoutControls(text)) }

var (
	percentEscapes = regexp.MustCompile(`(%[0-9a-fA-F]{2})+`)
	jsonEscapes    = regexp.MustCompile(`(\\u[0-9a-fA-F]{4}|\\["\\/bfnrt])+`)
)

// unescape removes what HTML, URLs, forms and JSON escape, up to four times over. The
// result is in lower case and without control characters. Texts that were escaped in
// different ways become the same text.
func unescape(text string) string {
	for range 4 {
		before := text
		text = html.UnescapeString(text)
		text = percentEscapes.ReplaceAllStringFunc(text, func(escapes string) string {
			plain, _ := url.PathUnescape(escapes)
			return plain
		})
		text = jsonEscapes.ReplaceAllStringFunc(text, func(escapes string) (plain string) {
			json.Unmarshal([]byte(`"`+escapes+`"`), &plain)
			return plain
		})
		if text = strings.ReplaceAll(text, "+", " "); text == before {
			break
		}
	}
	return fold(text)
}

func withoutControls(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, text)
}

// clean returns a text of the server without control characters and cut to 256
// bytes, or "[redacted]" for a text that holds a secret.
func (s secrets) clean(text string) string {
	if s.in(text) {
		return redacted
	}
	plain := withoutControls(text)
	if len(plain) > 256 {
		plain = strings.ToValidUTF8(plain[:256], "")
	}
	return plain
}

// cleanType returns an error type without a secret. It keeps the names that this
// package knows: they are words of the API, even if a password is the same word.
func (s secrets) cleanType(kind string) string {
	if !s.in(kind) {
		return kind
	}
	if meaningOf(kind) != nil {
		return path.Base(kind)
	}
	return "redacted"
}

// format prints text for verb, with the flags of f.
func format(f fmt.State, verb rune, text string) {
	fmt.Fprintf(f, fmt.FormatString(f, verb), text)
}

// quote quotes a value, unless it may be a URL with a password in it.
func quote(value string) string {
	if strings.Contains(value, "@") {
		return "the value"
	}
	return strconv.Quote(value)
}
