package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/filescom/session/sessiontest"
)

// control is the control API of a server.
type control struct {
	srv *sessiontest.Server
	log *log.Logger
}

// routes lists the requests of the control API. Their answers have a JSON form.
var routes = []struct {
	method, path string
	serve        func(*sessiontest.Server, io.Reader) (any, error)
}{
	{"GET", "/counts", counts},
	{"GET", "/requests", requests},
	{"POST", "/users", addUser},
	{"POST", "/expire", expire},
	{"POST", "/faults", inject},
	{"POST", "/advance", advance},
	{"POST", "/reset", reset},
}

func (c *control) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	status, answer := c.serve(w, r)
	c.log.Printf("control: %s %s %d", r.Method, r.URL.EscapedPath(), status)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(answer)
}

func (c *control) serve(w http.ResponseWriter, r *http.Request) (status int, answer any) {
	status = http.StatusNotFound
	var known []string
	for _, route := range routes {
		known = append(known, route.method+" "+route.path)
		switch {
		case route.path != r.URL.Path:
		case route.method != r.Method:
			w.Header().Set("Allow", route.method)
			status = http.StatusMethodNotAllowed
		default:
			answer, err := route.serve(c.srv, http.MaxBytesReader(w, r.Body, 1<<20))
			if err != nil {
				return http.StatusBadRequest, failure{err.Error()}
			}
			return http.StatusOK, answer
		}
	}
	return status, failure{fmt.Sprintf("unknown request %s %q; use %s", r.Method, r.URL.Path, strings.Join(known, ", "))}
}

// failure is the answer to a request that was refused.
type failure struct {
	Error string `json:"error"`
}

// done is the answer to a request that returns no data.
type done struct{}

func counts(srv *sessiontest.Server, _ io.Reader) (any, error) {
	return struct {
		sessiontest.Counts
		LiveByUser map[string]int `json:"live_by_user"`
	}{srv.Counts(), srv.LiveByUser()}, nil
}

func requests(srv *sessiontest.Server, _ io.Reader) (any, error) {
	return append([]sessiontest.Request{}, srv.Requests()...), nil // [] rather than null
}

func addUser(srv *sessiontest.Server, body io.Reader) (any, error) {
	u, err := decode[sessiontest.User](body)
	if err != nil {
		return nil, err
	}
	if err := checkUser(u); err != nil {
		return nil, err
	}
	srv.AddUser(u)
	return done{}, nil
}

func expire(srv *sessiontest.Server, body io.Reader) (any, error) {
	which, err := decode[struct {
		User string `json:"user"`
		ID   string `json:"id"`
		All  bool   `json:"all"`
	}](body)
	if err != nil {
		return nil, err
	}
	ended := 0
	switch {
	case which.User != "" && which.ID == "" && !which.All:
		ended = srv.ExpireUser(which.User)
	case which.User == "" && which.ID != "" && !which.All:
		if srv.Expire(which.ID) {
			ended = 1
		}
	case which.User == "" && which.ID == "" && which.All:
		for _, id := range srv.Sessions() {
			if srv.Expire(id) {
				ended++
			}
		}
	default:
		return nil, errors.New(`write one of {"user":"alice"}, {"id":"…"} and {"all":true}`)
	}
	return struct {
		Ended int `json:"ended"`
	}{ended}, nil
}

func inject(srv *sessiontest.Server, body io.Reader) (any, error) {
	given, err := decode[struct {
		sessiontest.Fault
		Delay duration `json:"delay"`
		Drip  duration `json:"drip"`
	}](body)
	if err != nil {
		return nil, err
	}
	f := given.Fault
	f.Delay, f.Drip = time.Duration(given.Delay), time.Duration(given.Drip)
	if err := f.Validate(); err != nil {
		return nil, err
	}
	srv.Inject(f)
	return done{}, nil
}

func advance(srv *sessiontest.Server, body io.Reader) (any, error) {
	clock, err := decode[struct {
		By *duration `json:"by"`
	}](body)
	if err != nil {
		return nil, err
	}
	if clock.By == nil {
		return nil, errors.New(`by is missing; write it as in {"by":"6h"}`)
	}
	srv.Advance(time.Duration(*clock.By))
	return struct {
		Now time.Time `json:"now"`
	}{srv.Now().UTC().Truncate(time.Second)}, nil
}

func reset(srv *sessiontest.Server, _ io.Reader) (any, error) {
	srv.Reset()
	return done{}, nil
}

// duration is a JSON string such as "250ms".
type duration time.Duration

func (d *duration) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) == nil {
		if parsed, err := time.ParseDuration(text); err == nil {
			*d = duration(parsed)
			return nil
		}
	}
	return fmt.Errorf(`%.40s is not a duration; use one such as "250ms" or "6h"`, data)
}

// decode reads one JSON object and nothing else. A member that T does not have is an
// error, since its name is probably misspelled.
func decode[T any](r io.Reader) (T, error) {
	var v, none T
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	err := d.Decode(&v)
	var wrongType *json.UnmarshalTypeError
	var tooLarge *http.MaxBytesError
	switch {
	case err == io.EOF:
		return none, errors.New("the JSON object is missing")
	case errors.As(err, &tooLarge):
		return none, errors.New("the JSON object is larger than 1 MiB")
	case errors.As(err, &wrongType) && wrongType.Field == "":
		return none, fmt.Errorf("the JSON is of type %s; it must be an object", wrongType.Value)
	case errors.As(err, &wrongType):
		return none, fmt.Errorf("%q is of type %s; it must be %s", strings.TrimPrefix(wrongType.Field, "Fault."), wrongType.Value, kindName(wrongType.Type))
	case err != nil:
		return none, errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := d.Token(); err != io.EOF {
		return none, errors.New("data after the JSON object; send one object")
	}
	return v, nil
}

// kindName returns the JSON name of a Go type.
func kindName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice:
		return "a list"
	case reflect.Map, reflect.Struct:
		return "an object"
	}
	return "a number"
}
