package session_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/filescom/session"
	"github.com/filescom/session/sessiontest"
	"github.com/filescom/session/storetest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// memory is a record in memory. It counts the calls of its Stores, and fails if a
// test makes it.
type memory struct {
	mu                  sync.Mutex
	data                []byte
	ttl                 time.Duration
	owner               *memoryLock
	loads, locks, saves int

	fail      error                 // of every call
	failSave  func(save int) error  // of the nth Save, from 1
	afterSave func(save int) error  // of the nth Save, which takes effect
	onLock    func(m *memory) error // before TryLock; may change data
}

// errorAt returns a failSave of the nth Save. Save 1 is the one before Login, and
// Save 2 the one after it.
func errorAt(n int) func(int) error { return errorBetween(n, n) }

// errorFrom returns a failSave of the nth Save and all later ones.
func errorFrom(n int) func(int) error { return errorBetween(n, math.MaxInt) }

func errorBetween(first, last int) func(int) error {
	return func(save int) error {
		if save < first || save > last {
			return nil
		}
		return errBroken
	}
}

func (m *memory) store() session.Store { return memoryStore{m} }
func (*memory) String() string         { return "memory" }
func (*memory) GoString() string       { return "memory" }

func (m *memory) get() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return string(m.data)
}

func (m *memory) set(data string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.data = []byte(data)
}

func (m *memory) setFailure(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = err
}

func (m *memory) counts() (loads, locks, saves int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.loads, m.locks, m.saves
}

type memoryStore struct{ *memory }

type memoryLock struct{ *memory }

func (s memoryStore) Load(ctx context.Context) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loads++
	return bytes.Clone(s.data), errors.Join(ctx.Err(), s.fail)
}

func (s memoryStore) TryLock(ctx context.Context) (session.Lock, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := errors.Join(ctx.Err(), s.fail); err != nil {
		return nil, err
	}
	if s.onLock != nil {
		if err := s.onLock(s.memory); err != nil {
			return nil, err
		}
	}
	if s.owner != nil {
		return nil, session.ErrLocked
	}
	s.locks++
	s.owner = &memoryLock{s.memory}
	return s.owner, nil
}

func (s memoryStore) BreakLock() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owner = nil
}

func (l *memoryLock) Save(ctx context.Context, record []byte, ttl time.Duration) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.owner != l {
		return session.ErrLockLost
	}
	if err := errors.Join(ctx.Err(), l.fail); err != nil {
		return err
	}
	l.saves++
	if l.failSave != nil {
		if err := l.failSave(l.saves); err != nil {
			return err
		}
	}
	l.data, l.ttl = bytes.Clone(record), ttl
	if l.afterSave != nil {
		return l.afterSave(l.saves)
	}
	return nil
}

func (l *memoryLock) Remove(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.owner != l {
		return session.ErrLockLost
	}
	if err := errors.Join(ctx.Err(), l.fail); err != nil {
		return err
	}
	l.data = nil
	return nil
}

func (l *memoryLock) Unlock() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.owner == l {
		l.owner = nil
	}
}

func TestTheStoreInMemoryAndTheEncryptedStorePassTheStoreTests(t *testing.T) {
	t.Parallel()
	plain, encrypted := &memory{}, &memory{}
	t.Run("memory", func(t *testing.T) {
		storetest.Run(t, func(*testing.T) session.Store { return plain.store() })
	})
	t.Run("encrypted", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) session.Store {
			store, err := session.NewEncryptedStore(encrypted.store(), "alice", key(1))
			require.NoError(t, err)
			return breakable{store, encrypted.store().(memoryStore).BreakLock}
		})
	})
}

type breakable struct {
	session.Store
	breakLock func()
}

func (b breakable) BreakLock() { b.breakLock() }

func key(n byte) []byte { return bytes.Repeat([]byte{n}, 32) }

// fleet is a fake server with the user alice, and Sources that share a Store.
type fleet struct {
	*sessiontest.Server
	t      *testing.T
	record *memory
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{sessiontest.NewServer(sessiontest.User{Username: "alice", Password: passwordCanary}), t, &memory{}}
	t.Cleanup(f.Close)
	return f
}

// source returns a Source of alice, as in another process.
func (f *fleet) source(opts ...session.Option) *session.Source {
	return f.sourceOf(alice, opts...)
}

func (f *fleet) sourceOf(params session.CreateParams, opts ...session.Option) *session.Source {
	c := newClient(f.t, append([]session.Option{session.WithSite(f.URL), session.WithHTTPClient(f.Client())}, opts...)...)
	return &session.Source{
		Login:  func(ctx context.Context) (*session.Session, error) { return c.Create(ctx, params) },
		Logout: c.Delete,
		Store:  f.record.store(),
	}
}

// posts returns how many logins were sent.
func (f *fleet) posts() (n int) {
	for _, r := range f.Requests() {
		if r.Method == "POST" {
			n++
		}
	}
	return n
}

// id returns the ID of the session of src.
func (f *fleet) id(src *session.Source) string {
	f.t.Helper()
	s, err := src.Session(f.t.Context())
	require.NoError(f.t, err)
	return s.ID
}

func (f *fleet) err(src *session.Source) error {
	f.t.Helper()
	s, err := src.Session(f.t.Context())
	require.Error(f.t, err)
	assert.Nil(f.t, s)
	assertHidesSecrets(f.t, err)
	return err
}

func TestAStoredSessionCanBeLoaded(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	s, err := session.LoadSession(t.Context(), f.record.store())
	assert.NoError(t, err)
	assert.Nil(t, s, "nothing is stored")
	id := f.id(f.source())
	s, err = session.LoadSession(t.Context(), f.record.store())
	require.NoError(t, err)
	assert.Equal(t, id, s.ID)
	assert.Equal(t, f.URL, s.BaseURL)
	assert.False(t, s.TimeoutAt.IsZero())
	assert.NotEmpty(t, s.UserAgent)

	f.record.setFailure(errBroken)
	_, err = session.LoadSession(t.Context(), f.record.store())
	assert.ErrorIs(t, err, errBroken)
	_, err = session.LoadSession(t.Context(), nil)
	assert.EqualError(t, err, "session: LoadSession requires a context and a Store; one of them is nil")
	var none context.Context
	_, err = session.LoadSession(none, f.record.store())
	assert.ErrorIs(t, err, session.ErrInvalidParams)
}

func TestARecordThatCannotBeReadCountsAsNone(t *testing.T) {
	t.Parallel()
	good := `"session":{"id":"other","base_url":"https://app.files.com"}`
	for name, record := range map[string]string{
		"nothing":              "",
		"no JSON":              "garbage",
		"half of a record":     `{"v":1,` + good,
		"another JSON":         `[]`,
		"null":                 `null`,
		"no version":           `{` + good + `}`,
		"version 0":            `{"v":0,` + good + `}`,
		"a negative version":   `{"v":-1,` + good + `}`,
		"a version in words":   `{"v":"1",` + good + `}`,
		"another type":         `{"v":1,"session":[]}`,
		"no session":           `{"v":1}`,
		"no ID":                `{"v":1,"session":{"base_url":"https://app.files.com"}}`,
		"an ID with a newline": `{"v":1,"session":{"id":"a\nb"}}`,
		"an ID too long":       `{"v":1,"session":{"id":"` + strings.Repeat("a", 513) + `"}}`,
		"a bad origin":         `{"v":1,"session":{"id":"a","base_url":"ftp://x"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t)
			f.record.set(record)
			s, err := session.LoadSession(t.Context(), f.record.store())
			assert.NoError(t, err)
			assert.Nil(t, s)
			assert.Equal(t, f.id(f.source()), f.Sessions()[0])
			assert.Equal(t, f.id(f.source()), f.Sessions()[0])
			assert.Equal(t, 1, f.Counts().Logins)
		})
	}
}

func TestARecordOfANewerVersionIsLeftAsItIs(t *testing.T) {
	t.Parallel()
	for _, record := range []string{`{"v":2}`, `{"v":2,"session":["of another type"]}`, `{"turns":["soon"],"v":2}`, `{"v":1.5}`, `{"v":1e300}`} {
		f := newFleet(t)
		f.record.set(record)
		src := f.source()
		src.Reset()
		assert.ErrorContains(t, f.err(src), "update this program")
		_, err := session.LoadSession(t.Context(), f.record.store())
		assert.ErrorContains(t, err, "update this program")
		assert.ErrorContains(t, src.Revoke(t.Context()), "update this program")
		assert.Zero(t, f.posts())
		assert.Equal(t, record, f.record.get())
	}
}

func TestARecordMayGainMembers(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	id := f.id(f.source())
	f.record.set(strings.Replace(f.record.get(), `{"v":1,`, `{"v":1,"new":{"a":[1]},`, 1))
	assert.Equal(t, id, f.id(f.source()))
	assert.Equal(t, 1, f.Counts().Logins)
}

func TestASavedSessionHoldsNoParameterOfTheLogin(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	src := f.source()
	login := src.Login
	src.Login = func(ctx context.Context) (*session.Session, error) {
		s, err := login(ctx)
		if err == nil {
			s.Username, s.Password, s.OTP, s.PartialSessionID = "alice", passwordCanary, otpCanary, partialCanary
		}
		return s, err
	}
	s, err := src.Session(t.Context())
	require.NoError(t, err)
	assert.Equal(t, passwordCanary, s.Password, "the caller's own session is not modified")
	assertNoSecret(t, f.record.get())
	assert.NotContains(t, f.record.get(), "alice")
	assert.Contains(t, f.record.get(), s.ID)
}

func TestAnEncryptedRecordShowsNothing(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	store, err := session.NewEncryptedStore(f.record.store(), "alice", key(1))
	require.NoError(t, err)
	src := f.source()
	src.Store = store
	id := f.id(src)
	assert.NotContains(t, f.record.get(), id)
	assert.NotContains(t, f.record.get(), "timeout_at")
	s, err := session.LoadSession(t.Context(), store)
	require.NoError(t, err)
	assert.Equal(t, id, s.ID)
	first := f.record.get()
	src.Invalidate(s)
	f.id(src)
	assert.NotEqual(t, first[:60], f.record.get()[:60], "each record has a nonce of its own")
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		text := fmt.Sprintf(verb, store)
		assert.NotContains(t, text, "1, 1, 1")
		assert.NotContains(t, text, "01010101")
		assert.NotContains(t, text, "0x1")
	}
	for i := range len(first) {
		damaged := []byte(first)
		damaged[i] ^= 1
		f.record.set(string(damaged))
		_, err := session.LoadSession(t.Context(), store)
		assert.ErrorContains(t, err, "cannot be decrypted")
	}
}

func TestAKeyIsRotated(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	with := func(keys ...[]byte) *session.Source {
		src := f.source()
		var err error
		src.Store, err = session.NewEncryptedStore(src.Store, "alice", keys...)
		require.NoError(t, err)
		return src
	}
	id := f.id(with(key(1)))
	assert.Equal(t, id, f.id(with(key(1), key(2))))
	assert.Equal(t, id, f.id(with(key(2), key(1))))
	assert.Equal(t, 1, f.Counts().Logins)
	f.ExpireUser("alice")
	src := with(key(2), key(1))
	f.id(src)
	src.Invalidate(&session.Session{ID: id})
	second := f.id(src)
	assert.NotEqual(t, id, second)
	assert.Equal(t, second, f.id(with(key(2))), "the first key encrypts")
	assert.Equal(t, 2, f.Counts().Logins)
}

// Processes with different keys would replace each other's sessions for ever.
func TestARecordThatNoKeyDecryptsIsLeftUntilReset(t *testing.T) {
	t.Parallel()
	encrypted := func(t *testing.T, f *fleet, name string, keys ...[]byte) session.Store {
		store, err := session.NewEncryptedStore(f.record.store(), name, keys...)
		require.NoError(t, err)
		return store
	}
	for name, stores := range map[string]func(t *testing.T, f *fleet) (first, second session.Store){
		"another key": func(t *testing.T, f *fleet) (session.Store, session.Store) {
			return encrypted(t, f, "alice", key(1)), encrypted(t, f, "alice", key(2))
		},
		"another name": func(t *testing.T, f *fleet) (session.Store, session.Store) {
			return encrypted(t, f, "alice", key(1)), encrypted(t, f, "bob", key(1))
		},
		"no key": func(t *testing.T, f *fleet) (session.Store, session.Store) {
			return encrypted(t, f, "alice", key(1)), f.record.store()
		},
		"not encrypted": func(t *testing.T, f *fleet) (session.Store, session.Store) {
			return f.record.store(), encrypted(t, f, "alice", key(1))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t)
			first, second := stores(t, f)
			src := f.source()
			src.Store = first
			f.id(src)
			record := f.record.get()
			src = f.source()
			src.Store = second
			assert.ErrorContains(t, f.err(src), "cannot be decrypted")
			assert.Equal(t, record, f.record.get())
			assert.Equal(t, 1, f.posts())
			src.Reset()
			f.id(src)
			assert.NotEqual(t, record, f.record.get())
			assert.Equal(t, 2, f.posts())
		})
	}
}

func TestAKeyHas32Bytes(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		store session.Store
		keys  [][]byte
		want  string
	}{
		{(&memory{}).store(), [][]byte{key(1), []byte(strings.Repeat("k", 31))}, "session: NewEncryptedStore: key 2 has 31 bytes; AES-256 requires 32"},
		{(&memory{}).store(), [][]byte{nil}, "session: NewEncryptedStore: key 1 has 0 bytes; AES-256 requires 32"},
		{(&memory{}).store(), nil, "session: NewEncryptedStore requires a Store and a key of 32 random bytes; one of them is missing"},
		{nil, [][]byte{key(1)}, "session: NewEncryptedStore requires a Store and a key of 32 random bytes; one of them is missing"},
	} {
		store, err := session.NewEncryptedStore(tc.store, "alice", tc.keys...)
		assert.EqualError(t, err, tc.want)
		assert.ErrorIs(t, err, session.ErrInvalidParams)
		assert.Nil(t, store)
	}
}

func TestASessionWithoutAJSONFormIsLoggedOut(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	src := f.source()
	login := src.Login
	src.Login = func(ctx context.Context) (*session.Session, error) {
		s, err := login(ctx)
		if err == nil {
			s.TimeoutAt = time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)
		}
		return s, err
	}
	assert.ErrorContains(t, f.err(src), "no JSON form")
	assert.Empty(t, f.Sessions())
}

// recordOf returns the JSON of a record.
func recordOf(t *testing.T, members map[string]any) string {
	t.Helper()
	members["v"] = 1
	data, err := json.Marshal(members)
	require.NoError(t, err)
	return string(data)
}

// A keyring takes 2,500 bytes in base64.
func TestALargeRecordLosesTheTextsOfItsFailures(t *testing.T) {
	t.Parallel()
	for size, want := range map[int]string{100: "a message", 2000: ""} {
		record := &memory{}
		now := time.Now()
		record.set(recordOf(t, map[string]any{"session": map[string]any{"id": "good", "language": strings.Repeat("x", size), "saved_by": "other",
			"saved_at": now.Add(-time.Hour), "timeout_at": now.Add(time.Second), "lifetime_ns": time.Hour}}))
		failed := make(chan bool)
		src := &session.Source{Store: record.store(), Login: func(context.Context) (*session.Session, error) {
			defer close(failed)
			return nil, &session.APIError{StatusCode: 429, Type: "rate-limited/x", Message: "a message", Instance: "req", RetryAfter: time.Minute}
		}}
		s, err := src.Session(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "good", s.ID)
		src.Session(t.Context()) // starts a renewal, which fails
		<-failed
		assert.NoError(t, src.Close(t.Context()))
		record.set(strings.Replace(record.get(), `"id":"good"`, `"id":""`, 1)) // no session
		_, err = (&session.Source{Store: record.store(), Login: func(context.Context) (*session.Session, error) { return nil, errBroken }}).Session(t.Context())
		api := apiError(t, err)
		assert.Equal(t, want, api.Message)
		assert.ErrorIs(t, err, session.ErrRateLimited)
		assert.Equal(t, time.Minute, api.RetryAfter)
	}
}

// hookStore is a Store whose calls can be delayed or fail.
type hookStore struct {
	session.Store
	load   func(ctx context.Context) error         // before Load
	remove func(ctx context.Context) (bool, error) // if it returns true, instead of Remove
}

type hookLock struct {
	session.Lock
	store *hookStore
}

func (s *hookStore) Load(ctx context.Context) ([]byte, error) {
	if s.load != nil {
		if err := s.load(ctx); err != nil {
			return nil, err
		}
	}
	return s.Store.Load(ctx)
}

func (s *hookStore) TryLock(ctx context.Context) (session.Lock, error) {
	lock, err := s.Store.TryLock(ctx)
	if err != nil {
		return nil, err
	}
	return &hookLock{lock, s}, nil
}

func (l *hookLock) Remove(ctx context.Context) error {
	if l.store.remove != nil {
		if done, err := l.store.remove(ctx); done {
			return err
		}
	}
	return l.Lock.Remove(ctx)
}

// keyringSize is a Store of records that an OS keyring can keep.
type keyringSize struct{ session.Store }

type keyringSizeLock struct{ session.Lock }

func (k keyringSize) TryLock(ctx context.Context) (session.Lock, error) {
	lock, err := k.Store.TryLock(ctx)
	if err != nil {
		return nil, err
	}
	return keyringSizeLock{lock}, nil
}

func (l keyringSizeLock) Save(ctx context.Context, record []byte, ttl time.Duration) error {
	if n := base64.StdEncoding.EncodedLen(len(record)); n > 2500 {
		return fmt.Errorf("the record has %d bytes in base64", n)
	}
	return l.Lock.Save(ctx, record, ttl)
}

func TestFourRefusalsLeaveRoomForASessionInAKeyring(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.AddUser(sessiontest.User{Username: "alice", Password: passwordCanary, Session: map[string]any{"root_path": strings.Repeat("accounts/", 40)}})
	login := func(password string) error {
		src := f.sourceOf(session.CreateParams{Username: "alice", Password: password})
		src.Store = keyringSize{src.Store}
		_, err := src.Session(t.Context())
		return err
	}
	for i := range 4 {
		require.ErrorIs(t, login(fmt.Sprint("old", i)), session.ErrInvalidUsernameOrPassword)
	}
	assert.NoError(t, login(passwordCanary))
	assert.NoError(t, login("old0"), "the session is used")
	assert.Len(t, f.Sessions(), 1)
}
