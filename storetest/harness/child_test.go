//go:build unix

package harness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/filescom/session"
	"github.com/filescom/session/autologin"
)

// childVariable holds the task of a child process. Its value has no secret: the
// password is in a file.
const childVariable = "SESSION_HARNESS_CHILD"

// task is the work of a child process.
type task struct {
	Backend, Address string // of the Store
	URL              string // of the server
	PasswordFile     string
	From             string // the address from which the server is called; empty: any

	Workers  int           // that call the server, each through one Transport
	Calls    int           // of each worker; 0: until stdin ends
	Pause    time.Duration // after each call
	Counting int           // saves of a counter instead of calls; below 0: loads until stdin ends

	KillStep  int           // the process kills itself after this step of a login, from 1; 0: never
	KillDelay time.Duration // after the step
	StopStep  int           // the process stops itself at this step
	FailSave  int           // the first Save that fails, from 1; 0: none
}

// outcome is the report that a child process writes to stdout at its end.
type outcome struct {
	Calls  int
	Failed map[string]int // how many calls failed, by the kind of the error
	Good   bool           // the last call of each worker succeeded
	Torn   int            // records that were not whole
}

func (o outcome) failed() (n int) {
	for _, count := range o.Failed {
		n += count
	}
	return n
}

// add adds another outcome.
func (o *outcome) add(other outcome) {
	o.Calls += other.Calls
	o.Torn += other.Torn
	o.Good = o.Good && other.Good
	for kind, n := range other.Failed {
		o.Failed[kind] += n
	}
}

// runChild does a task and ends the process.
func runChild(text string) {
	var t task
	if err := json.Unmarshal([]byte(text), &t); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	store, err := backends[t.Backend].open(t.Address)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	stop := make(chan struct{})
	go func() {
		io.Copy(io.Discard, os.Stdin)
		close(stop)
	}()
	var result outcome
	if t.Counting != 0 {
		result = t.count(store, stop)
	} else {
		result = t.call(store, stop)
	}
	json.NewEncoder(os.Stdout).Encode(result)
	os.Exit(0)
}

// call calls the server through a Transport.
func (t task) call(store autologin.Store, stop <-chan struct{}) outcome {
	dialer := &net.Dialer{}
	if t.From != "" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(t.From)}
	}
	base := &http.Transport{DialContext: dialer.DialContext, MaxIdleConnsPerHost: 64}
	steps := &steps{task: t}
	logins := &http.Client{Transport: steppedTransport{base, steps}}
	c, err := session.NewClient(session.WithSite(t.URL), session.WithHTTPClient(logins), session.WithRetries(0))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	src := &autologin.Source{
		Client: c,
		Params: func(context.Context) (session.CreateParams, error) {
			defer steps.next()
			password, err := os.ReadFile(t.PasswordFile)
			return session.CreateParams{Username: "alice", Password: string(password)}, err
		},
		Store: steppedStore{store, steps},
	}
	authenticated := &http.Client{Transport: &autologin.Transport{Source: src, Base: base}}
	result := outcome{Failed: map[string]int{}, Good: true}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range t.Workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			kind := ""
			for n := 0; t.Calls == 0 || n < t.Calls; n++ {
				kind = get(authenticated, c.BaseURL()+"/api/rest/v1/folders")
				mu.Lock()
				result.Calls++
				if kind != "" {
					result.Failed[kind]++
				}
				mu.Unlock()
				select {
				case <-stop:
				case <-time.After(t.Pause/2 + rand.N(t.Pause+1)):
					continue
				}
				break
			}
			if kind != "" {
				mu.Lock()
				result.Good = false
				mu.Unlock()
			}
		}()
	}
	wg.Wait()
	if err := src.Close(context.Background()); err != nil {
		result.Failed["close"]++
	}
	return result
}

// get returns the kind of the error of a call, "" if it succeeded.
func get(hc *http.Client, url string) string {
	resp, err := hc.Get(url)
	if err != nil {
		return kindOf(err)
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	if resp.StatusCode != http.StatusOK {
		return resp.Status
	}
	return ""
}

func kindOf(err error) string {
	kind := "other: " + err.Error()
	var wait *autologin.BackoffError
	switch {
	case errors.Is(err, session.ErrLockedOut):
		kind = "locked out"
	case errors.Is(err, session.ErrInvalidUsernameOrPassword):
		kind = "wrong password"
	case errors.Is(err, session.ErrNotSent):
		kind = "not sent"
	case errors.Is(err, errSave):
		kind = "not saved"
	case errors.As(err, &wait):
		kind = "back-off"
	case errors.Is(err, session.ErrOutcomeUnknown):
		kind = "outcome unknown"
	}
	if strings.Contains(err.Error(), "another process") {
		kind += ", shared"
	}
	return kind
}

// count saves or loads a record that counts.
func (t task) count(store autologin.Store, stop <-chan struct{}) (result outcome) {
	ctx := context.Background()
	load := func() (n int) {
		data, err := store.Load(ctx)
		if err != nil {
			result.Torn++
			return 0
		}
		if len(data) == 0 {
			return 0
		}
		if fmt.Sscan(string(data), &n); string(data) != counter(n) {
			result.Torn++
		}
		return n
	}
	for ; result.Calls < t.Counting || t.Counting < 0; result.Calls++ {
		select {
		case <-stop:
			return result
		default:
		}
		if t.Counting < 0 {
			load()
			time.Sleep(rand.N(time.Millisecond))
			continue
		}
		lock, err := store.TryLock(ctx)
		for errors.Is(err, autologin.ErrLocked) {
			time.Sleep(rand.N(2 * time.Millisecond))
			lock, err = store.TryLock(ctx)
		}
		if err == nil {
			err = lock.Save(ctx, []byte(counter(load()+1)), time.Hour)
			lock.Unlock()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
	}
	return result
}

// counter returns a record of which the length and the end depend on n.
func counter(n int) string {
	return fmt.Sprintf("%d %s %d", n, strings.Repeat("x", n%1000), n)
}

// The steps of a login, as steps counts them. Each is counted at its end, except the
// POST, which is counted at its start.
const (
	stepLoad = 1 + iota
	stepLock
	stepLoadAgain
	stepParams
	stepSave
	stepPost
	stepAnswer
	stepSaveSession
	stepUnlock
)

// steps counts the steps of a login.
type steps struct {
	task  task
	mu    sync.Mutex
	count int
	saves int
}

func (s *steps) next() {
	s.mu.Lock()
	s.count++
	count := s.count
	s.mu.Unlock()
	switch count {
	case s.task.KillStep:
		time.AfterFunc(s.task.KillDelay, kill)
	case s.task.StopStep:
		stopSelf()
	}
}

// steppedTransport counts the POST of a login.
type steppedTransport struct {
	http.RoundTripper
	steps *steps
}

func (t steppedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodPost {
		t.steps.next()
		defer t.steps.next()
	}
	return t.RoundTripper.RoundTrip(r)
}

var errSave = errors.New("the disk is full")

type steppedStore struct {
	autologin.Store
	steps *steps
}

func (s steppedStore) Load(ctx context.Context) ([]byte, error) {
	defer s.steps.next()
	return s.Store.Load(ctx)
}

func (s steppedStore) TryLock(ctx context.Context) (autologin.Lock, error) {
	lock, err := s.Store.TryLock(ctx)
	if err != nil {
		return nil, err
	}
	s.steps.next()
	return steppedLock{lock, s.steps}, nil
}

type steppedLock struct {
	autologin.Lock
	steps *steps
}

func (l steppedLock) Save(ctx context.Context, record []byte, ttl time.Duration) error {
	defer l.steps.next()
	l.steps.mu.Lock()
	l.steps.saves++
	saves := l.steps.saves
	l.steps.mu.Unlock()
	if l.steps.task.FailSave != 0 && saves >= l.steps.task.FailSave {
		return errSave
	}
	return l.Lock.Save(ctx, record, ttl)
}

func (l steppedLock) Unlock() {
	l.Lock.Unlock()
	l.steps.next()
}
