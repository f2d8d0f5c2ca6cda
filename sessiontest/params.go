package sessiontest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"unicode/utf8"
)

// maxBody limits the memory that a request takes.
const maxBody = 1 << 20

// loginForm holds the parameters of a login. The API ignores other parameters.
type loginForm struct {
	username, password, otp, partial string
	refusal                          *answer // the answer to a body that cannot be read
}

// readLogin reads a login in any encoding that the API accepts: JSON, a form, or
// multipart. An empty body has no parameters.
func readLogin(r *http.Request) loginForm {
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return unreadable("request-body-too-large", "Request body too large.", fmt.Sprintf("the body has more than %d bytes", maxBody))
	case err != nil:
		return unreadable("invalid-body", "Invalid body.", "the body ended early")
	case len(body) == 0:
		return loginForm{}
	}
	var params map[string]string
	media, options, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch media {
	case "application/json":
		params, err = parseJSON(body)
	case "application/x-www-form-urlencoded":
		params, err = parseForm(body)
	case "multipart/form-data":
		params, err = parseMultipart(body, options["boundary"])
	default:
		return unreadable("unsupported-media-type", "Unsupported media type.", fmt.Sprintf("the API takes no Content-Type %.80q", media))
	}
	if err != nil {
		return unreadable("invalid-body", "Invalid body.", "the body is not "+media+hint(r, body))
	}
	return loginForm{username: params["username"], password: params["password"], otp: params["otp"], partial: params["partial_session_id"]}
}

// hint names what clients do to a body that the API does not undo.
func hint(r *http.Request, body []byte) string {
	switch {
	case r.Header.Get("Content-Encoding") != "":
		return "; the API decodes no Content-Encoding"
	case bytes.HasPrefix(body, []byte("\ufeff")):
		return "; it begins with a byte order mark"
	}
	return ""
}

// unreadable refuses a body. All types of this group have the status 422.
func unreadable(name, message, reason string) loginForm {
	a := refuse(422, "bad-request/"+name, message, reason)
	return loginForm{refusal: &a}
}

// parseJSON reads the strings and numbers of an object. It ignores members of other
// types, such as "no_cookie": true, since a login does not need them.
func parseJSON(body []byte) (map[string]string, error) {
	members := map[string]any{}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber() // keeps the digits of a code
	if err := decoder.Decode(&members); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, errors.New("data after the object")
	}
	if members == nil {
		return nil, errors.New("null is no object")
	}
	params := map[string]string{}
	for name, value := range members {
		switch value := value.(type) {
		case string:
			params[name] = value
		case json.Number:
			params[name] = value.String()
		}
	}
	return params, nil
}

// parseForm reads a form. As in Rack, a name must be UTF-8, and if a parameter has
// several values, the last one counts.
func parseForm(body []byte) (map[string]string, error) {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	params := map[string]string{}
	for name, values := range form {
		if !utf8.ValidString(name) {
			return nil, errors.New("a name is not UTF-8") // so that gzip is no form
		}
		params[name] = values[len(values)-1]
	}
	return params, nil
}

// parseMultipart reads the parts that are not files. If a parameter has several
// values, the last one counts, as in Rack.
func parseMultipart(body []byte, boundary string) (map[string]string, error) {
	if boundary == "" || !bytes.Contains(body, []byte("--"+boundary+"--")) {
		return nil, errors.New("no boundary at the end") // the reader sometimes reports only io.EOF for this
	}
	params := map[string]string{}
	parts := multipart.NewReader(bytes.NewReader(body), boundary)
	for {
		part, err := parts.NextRawPart()
		if err == io.EOF {
			return params, nil
		}
		if err != nil {
			return nil, err
		}
		value, err := io.ReadAll(part)
		if err != nil {
			return nil, err
		}
		if part.FileName() == "" {
			params[part.FormName()] = string(value)
		}
	}
}
