// Package redisstore keeps a session in Redis, for a fleet of workers on many
// machines. It requires Redis 6 or later, or Valkey: one server, Sentinel, a cluster
// or a ring. It reads from the primary alone, even if the client sends reads to
// replicas: a replica may still have a session that has ended.
//
// Anybody who can read the record can act as its user. So encrypt it: pass a Store of
// this package to [autologin.Encrypt], and give the Source the result.
//
// The record is at the key that [New] is given. The lock is at "{key}:lock", or at
// "key:lock" if the key has a hash tag of its own. So both have one hash slot, as
// scripts in a cluster require. A user of an ACL requires the right to run EVAL,
// EVALSHA, GET, SET, DEL and PEXPIRE on both.
//
// The lock is a lease of 15 seconds. It is extended every 3 seconds while it is held.
// If its process dies, the lock is free within 15 seconds. If the process is stopped
// for longer, or if Redis loses the lock, Save and Remove change nothing: the script
// that makes the change compares the owner of the lock first. So a failover that loses
// the lock costs one more login at worst.
//
// Errors hold no text of Redis or of the client, since Redis quotes commands.
// [errors.Is] matches the errors of the client all the same, except [redis.Nil].
package redisstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/filescom/session/autologin"
	"github.com/redis/go-redis/v9"
)

const (
	lease        = 15 * time.Second
	extendEvery  = 3 * time.Second
	unlockWithin = 5 * time.Second
)

// Except loadScript, each script gets the key of the lock, the key of the record, and
// the owner of the lock as its first argument. After a failure, a client may run a
// script again: the second run changes nothing more.
var (
	loadScript = redis.NewScript(`return redis.call('GET', KEYS[1])`)

	lockScript = redis.NewScript(`
		if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
		if redis.call('GET', KEYS[1]) == ARGV[1] then return 1 end
		return 0`)
	extendScript = redis.NewScript(`
		if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
		return redis.call('PEXPIRE', KEYS[1], ARGV[2])`)
	releaseScript = redis.NewScript(`
		if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
		return redis.call('DEL', KEYS[1])`)

	saveScript = redis.NewScript(`
		if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
		redis.call('GET', KEYS[2]) -- fails if it holds another kind of value
		if ARGV[3] == '0' then
			redis.call('SET', KEYS[2], ARGV[2])
		else
			redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
		end
		return 1`)
	removeScript = redis.NewScript(`
		if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
		redis.call('GET', KEYS[2]) -- as above
		redis.call('DEL', KEYS[2])
		return 1`)
)

// Store is an [autologin.Store] in Redis. It is safe for concurrent use. The methods of
// the zero value return an error, since it has no client.
type Store struct {
	client redis.UniversalClient
	key    string
}

// New returns the Store of the record at key. It sends nothing yet. The caller owns
// the client, and closes it after the last use of the Store and its Locks.
//
// The methods of the Store return an [Error] if the client is nil, if the key is empty,
// or if no key for a lock has the same hash slot. A key has none if it has a "}" but no
// hash tag, such as "a}b".
func New(client redis.UniversalClient, key string) *Store {
	if v := reflect.ValueOf(client); v.Kind() == reflect.Pointer && v.IsNil() { // such as a nil *redis.Client
		client = nil
	}
	return &Store{client: client, key: key}
}

// Load returns the record, nil if there is none.
func (s *Store) Load(ctx context.Context) ([]byte, error) {
	if _, err := s.lockKey(); err != nil {
		return nil, err
	}
	record, _, err := call(ctx, s.get)
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	if err != nil {
		return nil, s.failure("load", err)
	}
	return []byte(record), nil
}

// TryLock locks the record, and extends the lock in a goroutine until Unlock. The
// Lock is safe for concurrent use. If Redis does not answer, or answers with an error,
// TryLock frees the lock in the background, since Redis may have given it.
func (s *Store) TryLock(ctx context.Context) (autologin.Lock, error) {
	key, err := s.lockKey()
	if err != nil {
		return nil, err
	}
	l := &lock{store: s, key: key, owner: rand.Text(), ended: make(chan struct{})}
	locked, ended, err := l.run(ctx, lockScript, lease.Milliseconds())
	if err != nil && ended != nil { // even an error of Redis may be the answer to a second try of the client
		go func() {
			<-ended // the script may run until then
			l.release()
		}()
	}
	if err != nil {
		return nil, s.failure("lock", err)
	}
	if !locked {
		return nil, fmt.Errorf("%w, in Redis at %q", autologin.ErrLocked, s.key)
	}
	held, stop := context.WithCancel(context.Background())
	l.stop = stop
	go l.extend(held)
	return l, nil
}

// lock is the lock of a Store.
type lock struct {
	store *Store
	key   string
	owner string             // random
	stop  context.CancelFunc // ends extend
	ended chan struct{}      // closed when extend has ended; the lock then counts as lost
}

// Save replaces the record. Redis forgets it after ttl. If no answer of Redis
// arrives, Redis may have the new record, or get it until Unlock. The lock then counts
// as lost, so that nothing else is saved before.
func (l *lock) Save(ctx context.Context, record []byte, ttl time.Duration) error {
	var ms int64
	if ttl != 0 {
		ms = max(ttl.Milliseconds(), 1)
	}
	// The call may outlast ctx, so it gets a copy of the record.
	return l.change(ctx, "save", saveScript, string(record), ms)
}

// Remove removes the record. If no answer of Redis arrives, the lock counts as lost,
// as after Save.
func (l *lock) Remove(ctx context.Context) error { return l.change(ctx, "remove", removeScript) }

// change runs a script that changes the record if the lock is held.
func (l *lock) change(ctx context.Context, verb string, script *redis.Script, args ...any) error {
	select {
	case <-l.ended:
		return l.lost()
	default:
	}
	held, ended, err := l.run(ctx, script, args...)
	var answer redis.Error
	if err != nil && ended != nil && !errors.As(err, &answer) { // the script may have run, or may still run
		l.end()
	}
	switch {
	case err != nil:
		return l.store.failure(verb, err)
	case !held:
		return l.lost()
	}
	return nil
}

func (l *lock) lost() error {
	return fmt.Errorf("%w: it was unlocked, its lease has ended, or a call got no answer, in Redis at %q", autologin.ErrLockLost, l.store.key)
}

// Unlock frees the lock. If Redis cannot be reached, the lock is free when its lease
// ends.
func (l *lock) Unlock() {
	l.end()
	l.release()
}

// end ends extend, which returns at once.
func (l *lock) end() {
	l.stop()
	<-l.ended
}

// release frees the lock if its owner still has it.
func (l *lock) release() {
	ctx, cancel := context.WithTimeout(context.Background(), unlockWithin)
	defer cancel()
	_, _, _ = l.run(ctx, releaseScript) // if this fails, the lease ends by itself
}

// extend extends the lease until ctx ends or the lock is lost. While Redis cannot be
// reached it tries again, since the lease may still last.
func (l *lock) extend(ctx context.Context) {
	defer close(l.ended)
	ticker := time.NewTicker(extendEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		attempt, cancel := context.WithTimeout(ctx, extendEvery)
		held, _, err := l.run(attempt, extendScript, lease.Milliseconds())
		cancel()
		if err == nil && !held {
			return
		}
	}
}

// run runs a script on the keys of lock and record. It returns as call does.
func (l *lock) run(ctx context.Context, script *redis.Script, args ...any) (bool, <-chan struct{}, error) {
	return call(ctx, func(ctx context.Context) (bool, error) {
		return script.Run(ctx, l.store.client, []string{l.key, l.store.key}, append([]any{l.owner}, args...)...).Bool()
	})
}

// get returns the record of the primary. A client of a cluster, or one of another
// kind, may send GET to a replica, but sends a script to the primary.
func (s *Store) get(ctx context.Context) (string, error) {
	if client, ok := s.client.(*redis.Client); ok {
		return client.Get(ctx, s.key).Result()
	}
	return loadScript.Run(ctx, s.client, []string{s.key}).Text()
}

// call calls f in a goroutine. It returns when f has ended or ctx ends: a client
// without the option ContextTimeoutEnabled reads until its own timeouts, and none
// heeds a cancel. The channel is closed when f has ended. It is nil if f was not
// called.
func call[T any](ctx context.Context, f func(context.Context) (T, error)) (T, <-chan struct{}, error) {
	var none, result T
	if ctx.Err() != nil {
		return none, nil, ctx.Err()
	}
	var err error
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		result, err = f(ctx)
	}()
	select {
	case <-ended:
		return result, ended, err
	case <-ctx.Done():
		return none, ended, ctx.Err()
	}
}

// lockKey returns the key of the lock, which has the hash slot of the record's key.
func (s *Store) lockKey() (string, error) {
	switch {
	case s.client == nil:
		return "", &Error{Key: s.key, Problem: "the store has no client; make it by redisstore.New, with a client such as redis.NewClient returns"}
	case s.key == "":
		return "", &Error{Key: s.key, Problem: "the key of the store is empty; give redisstore.New a name for the record"}
	}
	for _, key := range []string{s.key + ":lock", "{" + s.key + "}:lock"} {
		if hashTag(key) == hashTag(s.key) {
			return key, nil
		}
	}
	return "", &Error{Key: s.key, Problem: fmt.Sprintf("no lock can have the hash slot of the key %q; put a part of the key in braces, as in {session}:alice, or use no braces", s.key)}
}

// hashTag returns the part of a key that decides on its slot: the text between the
// first "{" and the next "}", or the whole key if there is no such text.
func hashTag(key string) string {
	if _, rest, found := strings.Cut(key, "{"); found {
		if tag, _, found := strings.Cut(rest, "}"); found && tag != "" {
			return tag
		}
	}
	return key
}
