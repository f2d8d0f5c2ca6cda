// Package redisstore keeps a session in Redis, for a fleet of workers on many
// machines. It needs Redis 6 or later, or Valkey: one server, Sentinel, a cluster or
// a ring. It reads from the primary alone, even if the client sends reads to
// replicas: a replica may still have a session that has ended.
//
// Anybody who can read the record acts as its user. So encrypt it: pass a Store of
// this package to [session.NewEncryptedStore], and give the Source the result.
//
// The record is at the key that [New] is given, and the lock beside it: at
// "{key}:lock", or at "key:lock" if the key has a hash tag of its own. Both names
// have one hash slot, as scripts in a cluster require. A user of an ACL must be
// allowed to run EVAL, EVALSHA, GET, SET, DEL and PEXPIRE on both.
//
// The lock is a lease of 15 seconds, extended every 3 seconds while it is held. If
// its process dies, the lock is free within 15 seconds. If the process is stopped for
// longer, or Redis loses the lock, then Save and Remove change nothing: each of them
// compares the owner of the lock in the script that makes the change. A failover that
// loses the lock therefore costs a second login at worst.
//
// No error of this package has a text of Redis or of the client, since Redis quotes
// commands. [errors.Is] matches the errors of the client all the same, except
// [redis.Nil].
package redisstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/filescom/session"
	"github.com/redis/go-redis/v9"
)

const (
	lease        = 15 * time.Second
	extendEvery  = 3 * time.Second
	unlockWithin = 5 * time.Second
)

// Except loadScript, each script gets the key of the lock first, and the owner of the
// lock as its first argument. A client may run a script twice, as it tries again after
// a failure: the second run changes nothing.
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
		if ARGV[3] == '0' then
			redis.call('SET', KEYS[2], ARGV[2])
		else
			redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
		end
		return 1`)
	removeScript = redis.NewScript(`
		if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
		redis.call('DEL', KEYS[2])
		return 1`)
)

// Store is a [session.Store] in Redis. It is safe for concurrent use. The zero value
// has no client, and its methods return an error.
type Store struct {
	client redis.UniversalClient
	key    string
}

// New returns the Store of the record at key. It sends nothing yet. The client stays
// the caller's, who closes it after the last use of the Store.
//
// If the key is empty, or if no lock can have its hash slot, every method of the
// Store returns an error. A key with a "}" but no hash tag has no such lock: "a}b".
func New(client redis.UniversalClient, key string) *Store {
	return &Store{client: client, key: key}
}

// Load returns the record, nil if there is none.
func (s *Store) Load(ctx context.Context) ([]byte, error) {
	if _, err := s.lockKey(); err != nil {
		return nil, err
	}
	record, err := s.call(ctx, s.get).Text()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	if err != nil {
		return nil, s.failure("load", err)
	}
	return []byte(record), nil
}

// TryLock locks the record, and extends the lock in a goroutine until Unlock. If no
// answer of Redis arrives, TryLock frees the lock in the background, since it may have it.
func (s *Store) TryLock(ctx context.Context) (session.Lock, error) {
	key, err := s.lockKey()
	if err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, s.failure("lock", ctx.Err())
	}
	l := &lock{store: s, key: key, owner: rand.Text(), ended: make(chan struct{})}
	locked, err := s.run(ctx, lockScript, []string{key}, l.owner, lease.Milliseconds()).Bool()
	if err != nil {
		var answer redis.Error
		if !errors.As(err, &answer) {
			go l.release(context.WithoutCancel(ctx))
		}
		return nil, s.failure("lock", err)
	}
	if !locked {
		return nil, fmt.Errorf("%w, in Redis at %q", session.ErrLocked, key)
	}
	held, unlock := context.WithCancel(context.WithoutCancel(ctx))
	l.unlocked, l.unlock = held.Done(), unlock
	go l.extend(held)
	return l, nil
}

// lock is the lock of a Store.
type lock struct {
	store    *Store
	key      string
	owner    string // random
	once     sync.Once
	unlock   context.CancelFunc // ends extend
	unlocked <-chan struct{}    // closed by unlock
	ended    chan struct{}      // closed when extend has ended
}

// Save replaces the record. Redis forgets it after ttl.
func (l *lock) Save(ctx context.Context, record []byte, ttl time.Duration) error {
	var ms int64
	if ttl != 0 {
		ms = max(ttl.Milliseconds(), 1)
	}
	// The call may outlast ctx, so it gets a copy of the record.
	return l.change(ctx, "save", saveScript, string(record), ms)
}

// Remove removes the record.
func (l *lock) Remove(ctx context.Context) error { return l.change(ctx, "remove", removeScript) }

// change runs a script that changes the record if the lock is held.
func (l *lock) change(ctx context.Context, verb string, script *redis.Script, args ...any) error {
	select {
	case <-l.unlocked:
		return fmt.Errorf("%w: it was unlocked, in Redis at %q", session.ErrLockLost, l.key)
	default:
	}
	held, err := l.store.run(ctx, script, []string{l.key, l.store.key}, append([]any{l.owner}, args...)...).Bool()
	if err != nil {
		return l.store.failure(verb, err)
	}
	if !held {
		return fmt.Errorf("%w: its lease has ended, or Redis has lost it, at %q", session.ErrLockLost, l.key)
	}
	return nil
}

// Unlock frees the lock. If Redis cannot be reached, the lock is free when its lease
// ends.
func (l *lock) Unlock() {
	l.once.Do(func() {
		l.unlock()
		<-l.ended
		l.release(context.Background())
	})
}

// release frees the lock if its owner still has it.
func (l *lock) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, unlockWithin)
	defer cancel()
	_ = l.store.run(ctx, releaseScript, []string{l.key}, l.owner).Err() // the lease ends by itself
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
		held, err := l.store.run(attempt, extendScript, []string{l.key}, l.owner, lease.Milliseconds()).Bool()
		cancel()
		if err == nil && !held {
			return
		}
	}
}

// get gets the record from the primary. A client of a cluster, or one of another
// kind, may send GET to a replica, but sends a script to the primary.
func (s *Store) get(ctx context.Context) *redis.Cmd {
	if client, ok := s.client.(*redis.Client); ok {
		return client.Do(ctx, "GET", s.key)
	}
	return loadScript.Run(ctx, s.client, []string{s.key})
}

// run runs a script.
func (s *Store) run(ctx context.Context, script *redis.Script, keys []string, args ...any) *redis.Cmd {
	return s.call(ctx, func(ctx context.Context) *redis.Cmd { return script.Run(ctx, s.client, keys, args...) })
}

// call calls f, and returns when ctx ends even if f goes on: a client without the
// option ContextTimeoutEnabled reads until its own timeouts, and none heeds a cancel.
func (s *Store) call(ctx context.Context, f func(context.Context) *redis.Cmd) *redis.Cmd {
	if ctx.Err() == nil {
		answer := make(chan *redis.Cmd, 1)
		go func() { answer <- f(ctx) }()
		select {
		case cmd := <-answer:
			return cmd
		case <-ctx.Done():
		}
	}
	cmd := redis.NewCmd(ctx)
	cmd.SetErr(ctx.Err())
	return cmd
}

// lockKey returns the key of the lock, which has the hash slot of the record's key.
func (s *Store) lockKey() (string, error) {
	switch {
	case s.client == nil:
		return "", errors.New("the store has no client; make it by redisstore.New, with a client")
	case s.key == "":
		return "", errors.New("the key of the store is empty; give redisstore.New a name for the record")
	}
	for _, key := range []string{s.key + ":lock", "{" + s.key + "}:lock"} {
		if hashTag(key) == hashTag(s.key) {
			return key, nil
		}
	}
	return "", fmt.Errorf("no lock can have the hash slot of the key %q; put a part of the key in braces, as in {session}:alice, or use no braces", s.key)
}

// hashTag returns the part of a key that decides on its slot: what is between the
// first "{" and the next "}", or the whole key if there is nothing between them.
func hashTag(key string) string {
	if _, rest, found := strings.Cut(key, "{"); found {
		if tag, _, found := strings.Cut(rest, "}"); found && tag != "" {
			return tag
		}
	}
	return key
}
