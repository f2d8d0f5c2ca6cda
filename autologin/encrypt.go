package autologin

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"time"
)

// errNotDecrypted is matched if a record was saved with other keys or another name, or if
// only one of two programs encrypts.
var errNotDecrypted = errors.New("the record cannot be decrypted")

// encryptedPrefix is the start of an encrypted record.
const encryptedPrefix = "files.com session, AES-256-GCM\n"

// encryptedStore encrypts the record of another Store.
type encryptedStore struct {
	store Store
	name  string
	keys  []cipher.AEAD
}

// Encrypt returns a Store that keeps its record in store, encrypted by AES-256-GCM. Use it
// if other people can read store, such as a database: anyone who can read a plain record
// can act as the user.
//
// A key is 32 random bytes. The first key encrypts, and every key decrypts. The name may be
// any text, such as the site and the user. It is authenticated with the record, so a record
// of another name cannot be read. But the Store does not notice if somebody puts back an
// old record of the same name.
//
// A record that no key decrypts is an error and is left as it is, since processes with
// different keys would otherwise replace each other's sessions forever. If the key is lost,
// call [Source.Reset]: the next login replaces the record. To rotate a key, add the new one
// as the second key of every process, then make it the first one of every process. Remove
// the old one after the next login, which saves the record.
//
// The error matches [session.ErrInvalidParams] if store is nil, there is no key, or a key
// has another length.
func Encrypt(store Store, name string, keys ...[]byte) (Store, error) {
	if store == nil || len(keys) == 0 {
		return nil, misuse("Encrypt requires a Store and a key of 32 random bytes; one of them is missing")
	}
	s := &encryptedStore{store: store, name: name}
	for i, key := range keys {
		if len(key) != 32 {
			return nil, misuse(fmt.Sprintf("key %d of Encrypt has %d bytes; AES-256 requires 32", i+1, len(key)))
		}
		block, _ := aes.NewCipher(key)                 // fails only for other lengths
		aead, _ := cipher.NewGCMWithRandomNonce(block) // fails only for other ciphers
		s.keys = append(s.keys, aead)
	}
	return s, nil
}

func (s *encryptedStore) Load(ctx context.Context) ([]byte, error) {
	data, err := s.store.Load(ctx)
	if err != nil || len(data) == 0 {
		return nil, err
	}
	sealed, found := bytes.CutPrefix(data, []byte(encryptedPrefix))
	if !found {
		return nil, fmt.Errorf("%w: it is not encrypted; all programs that share it must use the same key", errNotDecrypted)
	}
	for _, key := range s.keys {
		if plain, err := key.Open(nil, nil, sealed, []byte(s.name)); err == nil {
			return plain, nil
		}
	}
	return nil, fmt.Errorf("%w: it was saved with another key, or for another name; all programs that share it must use the same key and name", errNotDecrypted)
}

func (s *encryptedStore) TryLock(ctx context.Context) (Lock, error) {
	lock, err := s.store.TryLock(ctx)
	if err != nil || lock == nil {
		return nil, err
	}
	return &encryptedLock{lock, s}, nil
}

// Format prints no key, whatever the verb.
func (s *encryptedStore) Format(f fmt.State, _ rune) { fmt.Fprint(f, "autologin.Encrypt") }

type encryptedLock struct {
	Lock
	store *encryptedStore
}

// Save encrypts the record by the first key.
func (l *encryptedLock) Save(ctx context.Context, record []byte, ttl time.Duration) error {
	sealed := l.store.keys[0].Seal([]byte(encryptedPrefix), nil, record, []byte(l.store.name))
	return l.Lock.Save(ctx, sealed, ttl)
}
