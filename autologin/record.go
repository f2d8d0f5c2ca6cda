package autologin

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/filescom/session"
)

// record is the content of a Store. Its JSON form may gain members within version 1.
type record struct {
	Version  float64          `json:"v"` // a newer one may be any number
	Session  *session.Session `json:"session,omitempty"`
	Failures failures         `json:"failures,omitempty"` // the shared ones
	Salt     []byte           `json:"salt,omitempty"`     // of the fingerprints of failures
}

const recordVersion = 1

// storeTimeout limits each call of a Store.
const storeTimeout = 5 * time.Second

// loadRecord loads the record. It is empty if there is none or an error. A damaged record
// counts as none, since otherwise somebody would have to delete it by hand. A record of a
// newer version is an error.
func loadRecord(ctx context.Context, store Store) (*record, error) {
	const what = "read the stored session"
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	data, err := store.Load(ctx)
	if err != nil {
		return &record{}, explain(what, err)
	}
	if bytes.HasPrefix(data, []byte(encryptedPrefix)) {
		return &record{}, fmt.Errorf("session: %s: %w: it is encrypted, and this program has no key", what, errNotDecrypted)
	}
	r := &record{}
	err = json.Unmarshal(data, r) // goes on after a member of another type, and v is the first one
	if r.Version > recordVersion {
		return &record{}, fmt.Errorf("session: %s: it has version %v; update this program, which reads version %d", what, r.Version, recordVersion)
	}
	if err != nil || r.Version < recordVersion {
		return &record{}, nil
	}
	if r.Session != nil && r.Session.Validate() != nil {
		r.Session = nil
	}
	r.Failures = r.Failures[max(0, len(r.Failures)-2*maxRefusals):] // no Source saves more
	return r, nil
}

// encode returns the JSON form of r, and how long a Store must keep it. That is an hour longer
// than anything in r holds, since clocks differ, and 30 days if nobody knows when the session
// ends. encode removes the parameters of the login from the session in r.
func (r *record) encode(now time.Time) (data []byte, ttl time.Duration, err error) {
	for i := range r.Failures {
		ttl = max(ttl, r.Failures[i].left(now))
	}
	if r.Session != nil {
		s := *r.Session
		s.Username, s.Password, s.OTP, s.PartialSessionID = "", "", "", ""
		left := s.TimeoutAt.Sub(now)
		if s.TimeoutAt.IsZero() {
			left = (30*24 - 1) * time.Hour
		}
		r.Session, ttl = &s, max(ttl, min(left, 365*24*time.Hour))
	}
	r.Version = recordVersion
	data, err = json.Marshal(r)
	return data, ttl + time.Hour, err
}

// lock locks the record. If another Source has the lock, it pauses after the nth try and
// returns no Lock.
func (src *Source) lock(ctx context.Context, n int) (Lock, error) {
	asked, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	lock, err := src.store.TryLock(asked)
	switch {
	case errors.Is(err, ErrLocked):
		return nil, wait(ctx, src.closing, time.After(backoff(n, 10*time.Millisecond, 250*time.Millisecond)))
	case err != nil:
		return nil, explain("lock the stored session", err)
	case lock == nil:
		return nil, misuse("Store.TryLock returned neither a Lock nor an error; it must return one of them")
	}
	return lock, nil
}

// save saves r, and removes a record that holds nothing. It does so even if ctx has ended,
// since what r reports has already happened.
func (src *Source) save(ctx context.Context, r *record, lock Lock) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	data, ttl, err := r.encode(time.Now())
	switch {
	case err != nil:
	case r.Session == nil && len(r.Failures) == 0 && len(r.Salt) == 0:
		err = lock.Remove(ctx)
	default:
		err = lock.Save(ctx, data, ttl)
	}
	if err != nil {
		err = explain("save the session", err)
		src.logger.WarnContext(ctx, "Files.com session record not saved", "error", err.Error())
	}
	return err
}

// fingerprint tells credentials apart, but is too short to confirm a guess: of a million
// passwords, about 15 have the same one. A partial session ID takes the place of a
// password.
func (r *record) fingerprint(site string, params session.CreateParams) uint16 {
	mac := hmac.New(sha256.New, r.Salt)
	fmt.Fprintf(mac, "%q %q %q", site, params.Username, cmp.Or(params.Password, params.PartialSessionID))
	return binary.BigEndian.Uint16(mac.Sum(nil))
}
