package autologin_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/filescom/session"
	"github.com/filescom/session/autologin"
	"github.com/filescom/session/sessiontest"
	"github.com/filescom/session/storetest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// record is a record in memory. It counts the calls of its Stores, and fails if a test
// makes it.
type record struct {
	mu                  sync.Mutex
	data                []byte
	ttl                 time.Duration
	owner               *recordLock
	loads, locks, saves int

	fail      error                           // of every call
	failSave  func(save int) error            // of the nth Save, from 1
	afterSave func(save int) error            // of the nth Save, which takes effect
	onLock    func(r *record) error           // before TryLock; may change data
	onLoad    func(ctx context.Context) error // before Load
	onRemove  func(ctx context.Context) error // before Remove
	onUnlock  func()                          // before Unlock
}

// errorAt returns a failSave of the nth Save. Save 1 is the one before a login, and Save
// 2 the one after it.
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

func (r *record) store() autologin.Store { return recordStore{r} }
func (*record) String() string           { return "record" }
func (*record) GoString() string         { return "record" }

func (r *record) get() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return string(r.data)
}

func (r *record) set(data string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.data = []byte(data)
}

func (r *record) setFailure(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = err
}

func (r *record) counts() (loads, locks, saves int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.loads, r.locks, r.saves
}

// breakLock takes the lock away from its holder.
func (r *record) breakLock() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.owner = nil
}

// lock locks the record, as another process does.
func (r *record) lock(t *testing.T) autologin.Lock {
	t.Helper()
	lock, err := r.store().TryLock(t.Context())
	require.NoError(t, err)
	return lock
}

type recordStore struct{ *record }

type recordLock struct{ *record }

func (s recordStore) Load(ctx context.Context) ([]byte, error) {
	if s.onLoad != nil {
		if err := s.onLoad(ctx); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loads++
	return bytes.Clone(s.data), errors.Join(ctx.Err(), s.fail)
}

func (s recordStore) TryLock(ctx context.Context) (autologin.Lock, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := errors.Join(ctx.Err(), s.fail); err != nil {
		return nil, err
	}
	if s.onLock != nil {
		if err := s.onLock(s.record); err != nil {
			return nil, err
		}
	}
	if s.owner != nil {
		return nil, autologin.ErrLocked
	}
	s.locks++
	s.owner = &recordLock{s.record}
	return s.owner, nil
}

// change runs f for the holder of the lock.
func (l *recordLock) change(ctx context.Context, f func() error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.owner != l {
		return autologin.ErrLockLost
	}
	if err := errors.Join(ctx.Err(), l.fail); err != nil {
		return err
	}
	return f()
}

func (l *recordLock) Save(ctx context.Context, data []byte, ttl time.Duration) error {
	return l.change(ctx, func() error {
		l.saves++
		if l.failSave != nil {
			if err := l.failSave(l.saves); err != nil {
				return err
			}
		}
		l.data, l.ttl = bytes.Clone(data), ttl
		if l.afterSave != nil {
			return l.afterSave(l.saves)
		}
		return nil
	})
}

func (l *recordLock) Remove(ctx context.Context) error {
	if l.onRemove != nil {
		if err := l.onRemove(ctx); err != nil {
			return err
		}
	}
	return l.change(ctx, func() error { l.data = nil; return nil })
}

func (l *recordLock) Unlock() {
	if l.onUnlock != nil {
		l.onUnlock()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.owner == l {
		l.owner = nil
	}
}

// recordOf returns the JSON of a record.
func recordOf(t *testing.T, members map[string]any) string {
	t.Helper()
	members["v"] = 1
	data, err := json.Marshal(members)
	require.NoError(t, err)
	return string(data)
}

var (
	jsonTime   = regexp.MustCompile(`"\d{4}-\d\d-\d\dT[^"]+"`)
	jsonNumber = regexp.MustCompile(`:-?\d+`)
)

// changeFailures replaces what matches pattern in the failures of the record.
func (r *record) changeFailures(t *testing.T, pattern *regexp.Regexp, replace func(string) string) {
	t.Helper()
	var members map[string]json.RawMessage
	require.NoError(t, json.Unmarshal([]byte(r.get()), &members))
	require.Regexp(t, pattern, string(members["failures"]))
	members["failures"] = json.RawMessage(pattern.ReplaceAllStringFunc(string(members["failures"]), replace))
	data, err := json.Marshal(members)
	require.NoError(t, err)
	r.set(string(data))
}

// shiftFailures dates the failures of the record by a clock that is ahead by d.
func (r *record) shiftFailures(t *testing.T, d time.Duration) {
	t.Helper()
	r.changeFailures(t, jsonTime, func(text string) string {
		at, err := time.Parse(`"`+time.RFC3339+`"`, text)
		require.NoError(t, err)
		return at.Add(d).Format(`"` + time.RFC3339Nano + `"`)
	})
}

func key(n byte) []byte { return bytes.Repeat([]byte{n}, 32) }

// fleet is a fake server with the user alice, and Sources that share a record.
type fleet struct {
	*sessiontest.Server
	t      *testing.T
	record *record
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{sessiontest.NewServer(sessiontest.User{Username: "alice", Password: passwordCanary}), t, &record{}}
	t.Cleanup(f.Close)
	return f
}

// source returns a Source of alice, as in another process.
func (f *fleet) source(opts ...session.Option) *autologin.Source { return f.sourceOf(alice, opts...) }

func (f *fleet) sourceOf(params session.CreateParams, opts ...session.Option) *autologin.Source {
	f.t.Helper()
	src := autologin.New(f.client(opts...), params)
	src.Store = f.record.store()
	return src
}

func (f *fleet) client(opts ...session.Option) *session.Client {
	f.t.Helper()
	return newClient(f.t, append([]session.Option{session.WithSite(f.URL), session.WithHTTPClient(f.Client())}, opts...)...)
}

// hooked returns a Source like source. The hook sees each of its requests to the API
// first, and answers it if it returns an answer or an error.
func (f *fleet) hooked(hook roundTripper, opts ...session.Option) *autologin.Source {
	f.t.Helper()
	base := f.Client().Transport
	return f.source(append(opts, session.WithHTTPClient(&http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		if resp, err := hook(r); resp != nil || err != nil {
			return resp, err
		}
		return base.RoundTrip(r)
	})}))...)
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
func (f *fleet) id(src *autologin.Source) string {
	f.t.Helper()
	s, err := src.Session(f.t.Context())
	require.NoError(f.t, err)
	return s.ID
}

func (f *fleet) err(src *autologin.Source) error {
	f.t.Helper()
	s, err := src.Session(f.t.Context())
	require.Error(f.t, err)
	assert.Nil(f.t, s)
	f.hidesSecrets(err)
	return err
}

// hidesSecrets checks that v shows neither a canary nor a live session.
func (f *fleet) hidesSecrets(v any) {
	f.t.Helper()
	assertHidesSecrets(f.t, v)
	for _, id := range f.Sessions() {
		assert.NotContains(f.t, fmt.Sprintf("%+v", v), id)
	}
}

// stored returns the stored session.
func (f *fleet) stored() *session.Session {
	f.t.Helper()
	s, err := autologin.Load(f.t.Context(), f.record.store())
	require.NoError(f.t, err)
	return s
}

// breakable is a Store whose lock storetest can take away.
type breakable struct {
	autologin.Store
	record *record
}

func (b breakable) BreakLock()                 { b.record.breakLock() }
func (b breakable) Format(f fmt.State, _ rune) { fmt.Fprint(f, b.Store) }

func TestTheStoreInMemoryAndTheEncryptedStorePassTheStoreTests(t *testing.T) {
	t.Parallel()
	plain, secret := &record{}, &record{}
	for name, open := range map[string]func(t *testing.T) autologin.Store{
		"memory":    func(*testing.T) autologin.Store { return breakable{plain.store(), plain} },
		"encrypted": func(t *testing.T) autologin.Store { return breakable{encrypted(t, secret, "alice", key(1)), secret} },
	} {
		t.Run(name, func(t *testing.T) { storetest.Run(t, open) })
	}
}

func TestAStoredSessionCanBeLoaded(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	assert.Nil(t, f.stored(), "nothing is stored")
	id := f.id(f.source())
	s := f.stored()
	assert.Equal(t, id, s.ID)
	assert.Equal(t, f.URL, s.BaseURL)
	assert.False(t, s.TimeoutAt.IsZero())
	assert.NotEmpty(t, s.UserAgent)

	f.record.setFailure(errBroken)
	_, err := autologin.Load(t.Context(), f.record.store())
	assertErrorIs(t, err, errBroken)
	f.hidesSecrets(err)
	var none context.Context
	for _, load := range []func() (*session.Session, error){
		func() (*session.Session, error) { return autologin.Load(t.Context(), nil) },
		func() (*session.Session, error) { return autologin.Load(none, f.record.store()) },
	} {
		s, err := load()
		assert.Nil(t, s)
		assert.EqualError(t, err, "session: invalid parameters: Load requires a context and a Store; one of them is nil")
		assertErrorIs(t, err, session.ErrInvalidParams)
	}
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
			assert.Nil(t, f.stored())
			id := f.id(f.source())
			assert.Equal(t, []string{id}, f.Sessions())
			assert.Equal(t, id, f.id(f.source()))
			assert.Equal(t, 1, f.Counts().Logins)
		})
	}
}

func TestARecordOfANewerVersionIsLeftAsItIs(t *testing.T) {
	t.Parallel()
	for _, record := range []string{`{"v":2}`, `{"v":2,"session":["of another type"]}`, `{"failures":["soon"],"v":2}`, `{"v":1.5}`, `{"v":1e300}`} {
		f := newFleet(t)
		f.record.set(record)
		src := f.source()
		src.Reset()
		assert.ErrorContains(t, f.err(src), "update this program")
		_, err := autologin.Load(t.Context(), f.record.store())
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

func TestARecordIsKeptAnHourLongerThanItHolds(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		lifetime time.Duration
		fail     roundTripper
		want     time.Duration
	}{
		"a session":                {lifetime: 6 * time.Hour, want: 7 * time.Hour},
		"a session without an end": {want: 30 * 24 * time.Hour},
		"a back-off":               {fail: refuse(503, "", "Retry-After", "600"), want: time.Hour + 10*time.Minute},
		"a lock-out":               {fail: lockedOut, want: time.Hour + 15*time.Minute},
		"a refusal":                {fail: wrongPassword, want: 2 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &record{}
				(&api{lifetime: tc.lifetime, onLogin: tc.fail}).source(t, r.store()).Session(t.Context())
				assert.Equal(t, tc.want, r.ttl)
			})
		})
	}
}

// Another program may have stored the parameters of its login. They do not last.
func TestASavedSessionHoldsNoParameterOfTheLogin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, r := &api{lifetime: time.Hour, slides: true}, &record{}
		sessionID(t, a.source(t, r.store()))
		assertNotContainsParams := func() {
			t.Helper()
			for _, param := range []string{"alice", passwordCanary, otpCanary, partialCanary} {
				assert.NotContains(t, r.get(), param)
			}
		}
		assertNotContainsParams()
		r.set(strings.Replace(r.get(), `"session":{`, fmt.Sprintf(`"session":{"username":"alice","password":%q,"otp":%q,"partial_session_id":%q,`,
			passwordCanary, otpCanary, partialCanary), 1))
		src := a.source(t, r.store())
		assert.Equal(t, nth(1), sessionID(t, src))
		time.Sleep(59*time.Minute + 30*time.Second)
		sessionID(t, src) // starts a renewal, which saves the session again
		assert.Equal(t, 1, a.checks)
		assert.Contains(t, r.get(), nth(1))
		assertNotContainsParams()
	})
}

// encrypted returns an encrypted Store of r.
func encrypted(t *testing.T, r *record, name string, keys ...[]byte) autologin.Store {
	t.Helper()
	store, err := autologin.Encrypt(r.store(), name, keys...)
	require.NoError(t, err)
	return store
}

func TestAnEncryptedRecordShowsNothing(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	store := encrypted(t, f.record, "alice", key(1))
	src := f.source()
	src.Store = store
	id := f.id(src)
	assert.NotContains(t, f.record.get(), id)
	assert.NotContains(t, f.record.get(), "timeout_at")
	s, err := autologin.Load(t.Context(), store)
	require.NoError(t, err)
	assert.Equal(t, id, s.ID)
	first := f.record.get()
	src.Invalidate(s)
	f.id(src)
	assert.NotEqual(t, first[:60], f.record.get()[:60], "each record has a nonce of its own")
	for _, verb := range verbs[:16] { // not %T
		if verb != "%T" {
			assert.Equal(t, "autologin.Encrypt", fmt.Sprintf(verb, store))
		}
	}
	for i := range len(first) {
		damaged := []byte(first)
		damaged[i] ^= 1
		f.record.set(string(damaged))
		_, err := autologin.Load(t.Context(), store)
		assert.ErrorContains(t, err, "cannot be decrypted")
	}
}

func TestAKeyIsRotated(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	with := func(keys ...[]byte) *autologin.Source {
		src := f.source()
		src.Store = encrypted(t, f.record, "alice", keys...)
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
	for name, stores := range map[string]func(t *testing.T, r *record) (first, second autologin.Store){
		"another key": func(t *testing.T, r *record) (first, second autologin.Store) {
			return encrypted(t, r, "alice", key(1)), encrypted(t, r, "alice", key(2))
		},
		"another name": func(t *testing.T, r *record) (first, second autologin.Store) {
			return encrypted(t, r, "alice", key(1)), encrypted(t, r, "bob", key(1))
		},
		"no key": func(t *testing.T, r *record) (first, second autologin.Store) {
			return encrypted(t, r, "alice", key(1)), r.store()
		},
		"not encrypted": func(t *testing.T, r *record) (first, second autologin.Store) {
			return r.store(), encrypted(t, r, "alice", key(1))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t)
			first, second := stores(t, f.record)
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
	const missing = "session: invalid parameters: Encrypt requires a Store and a key of 32 random bytes; one of them is missing"
	store := (&record{}).store()
	for _, tc := range []struct {
		store autologin.Store
		keys  [][]byte
		want  string
	}{
		{store: store, keys: [][]byte{key(1), []byte(strings.Repeat("k", 31))}, want: "session: invalid parameters: key 2 of Encrypt has 31 bytes; AES-256 requires 32"},
		{store: store, keys: [][]byte{nil}, want: "session: invalid parameters: key 1 of Encrypt has 0 bytes; AES-256 requires 32"},
		{store: store, want: missing},
		{keys: [][]byte{key(1)}, want: missing},
	} {
		store, err := autologin.Encrypt(tc.store, "alice", tc.keys...)
		assert.EqualError(t, err, tc.want)
		assertErrorIs(t, err, session.ErrInvalidParams)
		assert.Nil(t, store)
	}
}

type nilLockStore struct{ autologin.Store }

func (nilLockStore) TryLock(context.Context) (autologin.Lock, error) { return nil, nil }

func TestAStoreThatReturnsNoLockIsAnError(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	src := f.source()
	src.Store = nilLockStore{src.Store}
	assert.ErrorContains(t, f.err(src), "Store.TryLock returned neither a Lock nor an error")
	assert.Zero(t, f.posts())
}

func TestAnEncryptedStoreThatReturnsNoLockIsAnError(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	src := f.source()
	var err error
	src.Store, err = autologin.Encrypt(nilLockStore{src.Store}, "alice", key(1))
	require.NoError(t, err)
	assert.ErrorContains(t, f.err(src), "Store.TryLock returned neither a Lock nor an error")
	assert.Zero(t, f.posts())
}

// keyringSize is a Store of records that the keyring of Windows can keep.
type keyringSize struct {
	autologin.Store
	largest *int
}

type keyringSizeLock struct {
	autologin.Lock
	largest *int
}

func (k keyringSize) TryLock(ctx context.Context) (autologin.Lock, error) {
	lock, err := k.Store.TryLock(ctx)
	if err != nil {
		return nil, err
	}
	return keyringSizeLock{lock, k.largest}, nil
}

func (l keyringSizeLock) Save(ctx context.Context, record []byte, ttl time.Duration) error {
	n := base64.StdEncoding.EncodedLen(len(record))
	if *l.largest = max(*l.largest, n); n > 2500 {
		return fmt.Errorf("the record has %d bytes in base64", n)
	}
	return l.Lock.Save(ctx, record, ttl)
}

func TestFourRefusalsLeaveRoomForASessionInAKeyring(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.AddUser(sessiontest.User{Username: "alice", Password: passwordCanary, Session: map[string]any{"root_path": strings.Repeat("accounts/", 40)}})
	largest := 0
	login := func(password string) error {
		store, err := autologin.Encrypt(keyringSize{f.record.store(), &largest}, "alice", key(1))
		require.NoError(t, err)
		src := f.sourceOf(session.CreateParams{Username: "alice", Password: password})
		src.Store = store
		_, err = src.Session(t.Context())
		return err
	}
	for i := range 4 {
		require.ErrorIs(t, login(fmt.Sprint("old", i)), session.ErrInvalidUsernameOrPassword)
	}
	assert.NoError(t, login(passwordCanary))
	assert.NoError(t, login("old0"), "the session is used")
	assert.Len(t, f.Sessions(), 1)
	t.Logf("the largest record has %d bytes in base64", largest)
}
