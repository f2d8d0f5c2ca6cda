package session

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Store keeps one record that many processes share. It does not interpret the
// record; a [Source] does. A Store is safe for concurrent use, and while one Store
// holds the lock of a record, no other Store of that record gets it. Every method
// returns soon after its context ends. If the context has already ended, it changes
// nothing and returns the error of the context. No error of a Store holds a part of
// the record. The package storetest tests a Store.
type Store interface {
	// Load returns the record, or nil if there is none. It takes no lock, and never
	// returns a part of a record that is being saved. The caller may modify the
	// result.
	Load(ctx context.Context) ([]byte, error)
	// TryLock locks the record. It does not wait for another Lock: if the record is
	// locked, it returns an error that matches ErrLocked at once. The end of ctx
	// does not release the lock. If the error is not nil, the Lock is nil.
	TryLock(ctx context.Context) (Lock, error)
}

// Lock is the lock of a record, held until Unlock. After the lock was lost, and
// after Unlock, Save and Remove change nothing and return an error that matches
// [ErrLockLost].
type Lock interface {
	// Save replaces the record. If it fails, the old record remains. It does not
	// retain record, and may refuse a record of more than 2,500 bytes. The Store may
	// forget the record when the ttl of the last Save has passed. If ttl is 0, it
	// keeps the record forever.
	Save(ctx context.Context, record []byte, ttl time.Duration) error
	// Remove removes the record. It is no error if there is none.
	Remove(ctx context.Context) error
	// Unlock releases the lock. It takes at most 5 seconds, and may be called more
	// than once.
	Unlock()
}

var (
	// ErrLocked is matched by the error of TryLock while another Lock of the record
	// is held.
	ErrLocked = errors.New("the record is locked")
	// ErrLockLost is matched if a lock was lost, or unlocked, before it was used.
	ErrLockLost = errors.New("the lock of the record is lost")
)

// LoadSession returns the stored session, or nil if there is none. It is for
// programs that only look at a session. To share a session, use [Source.Store].
// LoadSession takes no lock, and does not check whether the session is still good.
// The caller may modify the session. The session has no client: see [Delete].
//
// The error is that of the Store, or says that the record is encrypted or of a newer
// version. It matches [ErrInvalidParams] if ctx or store is nil. A damaged
// record counts as none, and is not an error.
func LoadSession(ctx context.Context, store Store) (*Session, error) {
	if ctx == nil || store == nil {
		return nil, usageError("LoadSession requires a context and a Store; one of them is nil")
	}
	r, err := loadRecord(ctx, store)
	if err != nil || r.Session == nil {
		return nil, err
	}
	return &r.Session.Session, nil
}

// record is the content of a Store. Its JSON form may gain members within version 1.
// All times are by the clock of the process that saved them.
type record struct {
	Version float64        `json:"v"` // a newer one may be any number
	Session *savedSession  `json:"session,omitempty"`
	Failure *sharedFailure `json:"failure,omitempty"`  // holds for all credentials; nil after a login that succeeded
	InARow  int            `json:"in_a_row,omitempty"` // failures since a session was good for a minute
	Turns   []time.Time    `json:"turns,omitempty"`    // see keptSession.isTurn

	Refusals []refusal     `json:"refusals,omitempty"`
	Refused  *sharedAnswer `json:"refused,omitempty"` // the answer to the last of them
	Salt     []byte        `json:"salt,omitempty"`    // of their fingerprints
}

type savedSession struct {
	Session
	SavedBy  string        `json:"saved_by"` // the random ID of a Source
	SavedAt  time.Time     `json:"saved_at"`
	Lifetime time.Duration `json:"lifetime_ns"` // from SavedAt; 0 if TimeoutAt is not reported or not plausible
}

// sharedFailure describes a failed login to other processes.
type sharedFailure struct {
	At           time.Time     `json:"at"`
	Wait         time.Duration `json:"wait_ns"`                 // until the next login, from At
	Answer       *sharedAnswer `json:"answer,omitempty"`        // nil if there was none
	AddressBound bool          `json:"address_bound,omitempty"` // the failure is errAddressBound
}

// refusal says which credentials were refused, and when. It holds for refusalTime. It
// has no answer of its own, since a keyring keeps short records only.
type refusal struct {
	Fingerprint uint16    `json:"fingerprint"`
	At          time.Time `json:"at"`
}

// left returns how long f still holds. It is not above 0 if f no longer does.
func (f refusal) left(now time.Time) time.Duration { return refusalTime - now.Sub(f.At) }

// sharedAnswer is an APIError without its methods, since MarshalText would replace
// its JSON form. Its texts hold no secret.
type sharedAnswer APIError

const (
	recordVersion = 1
	largeRecord   = 1800 // bytes; encryption and base64 make 2,500 of them, the limit of Windows
)

// loadRecord loads the record. A damaged record counts as none, since otherwise
// somebody would have to delete it by hand. A record of a newer version is an error.
func loadRecord(ctx context.Context, store Store) (*record, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	data, err := store.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("session: load from the Store: %w", err)
	}
	if bytes.HasPrefix(data, []byte(encryptedPrefix)) {
		return nil, fmt.Errorf("session: load from the Store: %w: it is encrypted; use NewEncryptedStore", errNotDecrypted)
	}
	var only struct { // the members of a newer version may have other types
		Version float64 `json:"v"`
	}
	json.Unmarshal(data, &only)
	if only.Version > recordVersion {
		return nil, fmt.Errorf("session: load from the Store: the record has version %v; update this program, which reads version %d", only.Version, recordVersion)
	}
	r := &record{}
	if only.Version < recordVersion || json.Unmarshal(data, r) != nil {
		return &record{}, nil
	}
	if s := r.Session; s != nil {
		if _, err := s.validate(DefaultBaseURL); err != nil {
			r.Session = nil
		}
	}
	r.InARow = max(0, min(r.InARow, 100))
	return r, nil
}

// encode returns the JSON form of r and how long a Store must keep it. That is an
// hour longer than anything in r holds, since clocks differ. A record that is too
// large for the keyring of an operating system loses the texts of its failures.
func (r *record) encode(now time.Time) (data []byte, ttl time.Duration, err error) {
	ttl = r.Failure.left(now)
	for _, f := range r.Refusals {
		ttl = max(ttl, f.left(now))
	}
	switch {
	case r.Session != nil && r.Session.Lifetime == 0:
		ttl = max(ttl, (30*24-1)*time.Hour) // 30 days in the end: nobody knows when the session ends
	case r.Session != nil:
		ttl = max(ttl, r.Session.TimeoutAt.Sub(now))
	}
	if len(r.Refusals) == 0 {
		r.Refused = nil
	}
	r.Version = recordVersion
	data, err = json.Marshal(r)
	if len(data) > largeRecord {
		if r.Failure != nil {
			r.Failure.Answer.dropTexts()
		}
		r.Refused.dropTexts()
		data, err = json.Marshal(r)
	}
	if err != nil {
		return nil, 0, errors.New("the session has no JSON form; check its TimeoutAt")
	}
	return data, ttl + time.Hour, nil
}

func (a *sharedAnswer) dropTexts() {
	if a != nil {
		a.Title, a.Message, a.Instance = "", "", ""
	}
}

// left returns how long f still holds: at most f.Wait, even if the clock of the
// process that saved f is ahead, and not at all if that clock is far ahead. No failure
// holds longer than refusalTime, whatever the record says.
func (f *sharedFailure) left(now time.Time) time.Duration {
	if f == nil || f.At.Sub(now) > maxSkew {
		return 0
	}
	wait := min(f.Wait, refusalTime)
	return max(0, min(f.At.Add(wait).Sub(now), wait))
}

// fingerprint tells credentials apart, but is too short to confirm a guess: of a
// million passwords, about 15 have the same fingerprint.
func (r *record) fingerprint(base string, params CreateParams) uint16 {
	mac := hmac.New(sha256.New, r.Salt)
	fmt.Fprintf(mac, "%q %q %q", base, params.Username, params.Password)
	return binary.BigEndian.Uint16(mac.Sum(nil))
}

// errNotDecrypted is matched if a record was saved with other keys or another name, or
// if only one of the two Stores encrypts.
var errNotDecrypted = errors.New("the record cannot be decrypted")

// encryptedPrefix is the start of an encrypted record.
const encryptedPrefix = "files.com session, AES-256-GCM\n"

// encryptedStore encrypts the record of another Store.
type encryptedStore struct {
	store Store
	name  string
	keys  []cipher.AEAD
}

// NewEncryptedStore returns a Store that keeps its record in another Store,
// encrypted by AES-256-GCM. Use it if other people can read the other Store, such as
// a database. Anyone who can read a plain record can act as the user. Anyone who can
// write one decides where later calls go.
//
// A key is 32 random bytes. The first key encrypts, and every key decrypts. The keys
// are copied. The name may be any text, such as the site and the user. It is
// authenticated with the record, so a record that was copied from another name
// cannot be read. But the Store does not notice if somebody puts back an old record
// of the same name.
//
// A record that no key decrypts is an error and is left as it is, since processes
// with different keys would otherwise replace each other's sessions forever. If the
// key is lost, call [Source.Reset]: the next login replaces the record. To rotate a
// key, add the new one as the second key of every process, then make it the first one
// of every process. Remove the old one after the next login, which saves the record.
//
// The error matches [ErrInvalidParams] if store is nil, there is no key, or a key has
// another length.
func NewEncryptedStore(store Store, name string, keys ...[]byte) (Store, error) {
	if store == nil || len(keys) == 0 {
		return nil, usageError("NewEncryptedStore requires a Store and a key of 32 random bytes; one of them is missing")
	}
	s := &encryptedStore{store: store, name: name}
	for i, key := range keys {
		if len(key) != 32 {
			return nil, usageError(fmt.Sprintf("NewEncryptedStore: key %d has %d bytes; AES-256 requires 32", i+1, len(key)))
		}
		block, _ := aes.NewCipher(key)                 // fails only for other lengths
		aead, _ := cipher.NewGCMWithRandomNonce(block) // fails only for other ciphers
		s.keys = append(s.keys, aead)
	}
	return s, nil
}

// Load decrypts the record.
func (s *encryptedStore) Load(ctx context.Context) ([]byte, error) {
	data, err := s.store.Load(ctx)
	if err != nil || len(data) == 0 {
		return nil, err
	}
	sealed, found := bytes.CutPrefix(data, []byte(encryptedPrefix))
	if !found {
		return nil, fmt.Errorf("%w: it is not encrypted; let every program encrypt it, then call Source.Reset to replace it", errNotDecrypted)
	}
	for _, key := range s.keys {
		if plain, err := key.Open(nil, nil, sealed, []byte(s.name)); err == nil {
			return plain, nil
		}
	}
	return nil, fmt.Errorf("%w: another site, user or program may use this record with a name or a key of its own; give each a record of its own, add the key if it is missing, or call Source.Reset to replace the record", errNotDecrypted)
}

// TryLock locks the other Store.
func (s *encryptedStore) TryLock(ctx context.Context) (Lock, error) {
	lock, err := s.store.TryLock(ctx)
	if err != nil || lock == nil {
		return nil, err
	}
	return &encryptedLock{lock, s}, nil
}

// Format prints no key, whatever the verb.
func (s *encryptedStore) Format(f fmt.State, verb rune) {
	fmt.Fprintf(f, fmt.FormatString(f, verb), "EncryptedStore")
}

type encryptedLock struct {
	Lock
	store *encryptedStore
}

// Save encrypts the record by the first key.
func (l *encryptedLock) Save(ctx context.Context, record []byte, ttl time.Duration) error {
	sealed := l.store.keys[0].Seal(nil, nil, record, []byte(l.store.name))
	return l.Lock.Save(ctx, slices.Concat([]byte(encryptedPrefix), sealed), ttl)
}
