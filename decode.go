package session

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// decodeSession decodes the answer to a login. It requires a JSON object with a
// valid id and nothing after it. Any other member of a wrong type keeps its zero
// value, so that a bad member does not lose a live session. Raw shares the memory of
// data.
func decodeSession(data []byte) (*Session, error) {
	s := &Session{Raw: trimJSON(data)}
	answer := struct {
		*Session                        // the members below take the place of its own
		ID                       text   `json:"id"`
		TimeoutAt                moment `json:"timeout_at"`
		MaxDirListingSize        number `json:"max_dir_listing_size"`
		SiteID                   number `json:"site_id"`
		DefaultWorkspaceID       number `json:"default_workspace_id"`
		ImpersonatorUserID       number `json:"impersonator_user_id"`
		AIAssistantPersonalityID number `json:"ai_assistant_personality_id"`
	}{Session: s}
	if err := decodeObject(data, &answer); err != nil {
		return nil, err
	}
	s.ID, s.TimeoutAt = string(answer.ID), answer.TimeoutAt.Time
	s.MaxDirListingSize, s.SiteID = answer.MaxDirListingSize.value, answer.SiteID.value
	s.DefaultWorkspaceID, s.ImpersonatorUserID = answer.DefaultWorkspaceID.value, answer.ImpersonatorUserID.value
	s.AIAssistantPersonalityID = answer.AIAssistantPersonalityID.value
	s.Username, s.Password, s.OTP, s.PartialSessionID = "", "", "", "" // no answer may fill them
	if !validID(s.ID) {
		return nil, errors.New("no valid id")
	}
	return s, nil
}

// errorBody holds the members of a JSON error.
type errorBody struct {
	errorItem
	Title    string          `json:"title"`
	Message  string          `json:"error"`
	Instance string          `json:"instance"`
	Errors   list[errorItem] `json:"errors"` // in 2021 the API put the type and the data here as well
}

type errorItem struct {
	Type string          `json:"type"`
	Data json.RawMessage `json:"data"`
}

// errorData holds the members that the data of an error may have.
type errorData struct {
	Host             text         `json:"host"`
	PartialSessionID text         `json:"partial_session_id"`
	Methods          list[string] `json:"two_factor_authentication_methods"`
	U2FSignRequests  list[struct {
		AppID       string `json:"app_id"`
		Challenge   string `json:"challenge"`
		SignRequest struct {
			Version   string `json:"version"`
			KeyHandle string `json:"keyHandle"`
		} `json:"sign_request"`
	}] `json:"u2f_sign_requests"`
}

// parseError returns the parts of an error, and the secrets among them. It takes the
// parts from the body, or from the header if the body does not have them.
func (a *answer) parseError() (body errorBody, data errorData, hide secrets) {
	decodeObject(a.body, &body) // any other body has no parts
	decodeObject(body.Data, &data)
	var item errorItem
	if len(body.Errors) > 0 {
		item = body.Errors[0]
	}
	var other errorData
	decodeObject(item.Data, &other)
	decodeObject(item.Data, &data) // adds what data does not have: the first value counts
	hide = secrets{string(data.PartialSessionID), string(other.PartialSessionID)}
	body.Type = cmp.Or(errorType.FindString(body.Type), errorType.FindString(item.Type), errorType.FindString(a.header.Get("X-Files-Error-Class")))
	body.Instance = cmp.Or(body.Instance, a.header.Get("X-Request-Id"))
	if hosts := a.header.Values("X-Files-Host"); data.Host == "" && len(hosts) == 1 {
		data.Host = text(hosts[0])
	}
	return body, data, hide
}

// challenge returns the demand for a second factor that data describes.
func (data *errorData) challenge(hide secrets, err error) *TwoFactorError {
	challenge := &TwoFactorError{PartialSessionID: string(data.PartialSessionID), Err: err}
	for _, method := range data.Methods {
		if method != "" {
			challenge.Methods = append(challenge.Methods, hide.clean(method))
		}
	}
	for _, r := range data.U2FSignRequests {
		challenge.U2FSignRequests = append(challenge.U2FSignRequests,
			U2FSignRequest{r.AppID, r.Challenge, r.SignRequest.Version, r.SignRequest.KeyHandle})
	}
	return challenge
}

// errorType matches the type of an error.
var errorType = regexp.MustCompile(`^[a-z0-9/_-]{1,128}$`)

// decodeObject decodes a JSON object into v. It skips members of a wrong type.
func decodeObject(data []byte, v any) error {
	data = trimJSON(data)
	err := json.Unmarshal(data, v)
	if errors.As(err, new(*json.UnmarshalTypeError)) {
		err = nil // a member was skipped
	}
	if err != nil || data[0] != '{' {
		return errors.New("not a JSON object")
	}
	return nil
}

// trimJSON removes a byte order mark and the white space around data.
func trimJSON(data []byte) []byte {
	return bytes.Trim(bytes.TrimPrefix(data, []byte("\ufeff")), " \t\r\n")
}

// The types below accept every JSON value. A value that does not fit is as good as
// none. If a key is repeated, the first value that fits counts. parseError relies on
// that to merge two objects, and it limits a hostile answer.

// text is a string that takes up to 4 KiB, or a number without sign and fraction.
type text string

func (t *text) UnmarshalJSON(data []byte) error {
	switch {
	case *t != "", len(data) > 4<<10:
	case isDigits(string(data)):
		*t = text(data)
	default:
		json.Unmarshal(data, (*string)(t))
	}
	return nil
}

// number is an integer of 64 bits.
type number struct{ value *int64 }

func (n *number) UnmarshalJSON(data []byte) error {
	if value, err := strconv.ParseInt(string(data), 10, 64); err == nil && n.value == nil {
		n.value = &value
	}
	return nil
}

// moment is a time in the form of RFC 3339 that can be marshalled again.
type moment struct{ time.Time }

func (m *moment) UnmarshalJSON(data []byte) error {
	var t time.Time
	if m.IsZero() && t.UnmarshalJSON(data) == nil {
		if _, err := t.MarshalJSON(); err == nil {
			m.Time = t
		}
	}
	return nil
}

// maxElements limits every list of an answer. An answer of 64 KiB can hold 32,000
// elements.
const maxElements = 32

// list is an array without the elements that are no T, or one T in place of an array. It
// has at most maxElements elements.
type list[T any] []T

func (l *list[T]) UnmarshalJSON(data []byte) error {
	if *l != nil {
		return nil
	}
	elements := json.NewDecoder(bytes.NewReader(data))
	if data[0] == '[' {
		elements.Token()
		*l = list[T]{}
	}
	for n := 0; n < maxElements && elements.More(); n++ {
		var element *T
		if elements.Decode(&element) == nil && element != nil {
			*l = append(*l, *element)
		}
	}
	return nil
}

func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
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
