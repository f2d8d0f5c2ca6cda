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
	text = strings.Join(forms(text), "\n")
	return slices.ContainsFunc(s, func(secret string) bool {
		return slices.ContainsFunc(forms(secret), func(plain string) bool {
			plain = strings.TrimSpace(plain)
			if len(secret) >= 8 || plain == "" {
				return plain != "" && strings.Contains(text, plain)
			}
			alone := `(^|[^\pL\p{Nd}])` + regexp.QuoteMeta(plain) + `([^\pL\p{Nd}]|$)`
			return regexp.MustCompile(alone).MatchString(text)
		})
	})
}

// forms returns text in lower case: as it is, without control characters, and unescaped.
// The last one alone would not do, since a character before or after a secret can make an
// escape of a part of it.
func forms(text string) []string {
	return []string{strings.ToLower(text), strings.ToLower(withoutControls(text)), strings.ToLower(withoutControls(unescape(text)))}
}

var (
	percentEscapes = regexp.MustCompile(`(%[0-9a-fA-F]{2})+`)
	jsonEscapes    = regexp.MustCompile(`(\\u[0-9a-fA-F]{4}|\\["\\/bfnrt])+`)
)

// unescape removes what HTML, URLs, forms and JSON escape, up to four times over. Texts
// that were escaped in different ways become the same text.
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
	return text
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
	group, _, found := strings.Cut(kind, "/")
	switch {
	case !s.in(kind):
		return kind
	case meaningOf(kind) != nil:
		return path.Base(kind)
	case found && !s.in(group):
		return group + "/redacted"
	}
	return "redacted"
}

// format prints text for verb, with the flags of f.
func format(f fmt.State, verb rune, text string) {
	fmt.Fprintf(f, fmt.FormatString(f, verb), text)
}

var plainName = regexp.MustCompile(`^[A-Za-z0-9._-]*$`)

// quote quotes a value, unless it may be a part of a URL that has a password in it.
func quote(value string) string {
	if !plainName.MatchString(value) {
		return "the value"
	}
	return strconv.Quote(value)
}
