// Package storetest tests implementations of [session.Store].
//
//	func TestStore(t *testing.T) {
//		path := filepath.Join(t.TempDir(), "session")
//		storetest.Run(t, func(t *testing.T) session.Store { return filestore.New(path) })
//	}
//
// # How to write a Store
//
// A Store keeps one record of at most a few kilobytes and a lock. It does not know
// what the record means, never waits for the lock, and never tries again: a
// [session.Source] does all of that. So a Store for a database takes about 60
// lines. These questions decide whether it is right:
//
//   - Who frees the lock of a process that died? The kernel or a server has to,
//     for example when a connection or a lease ends. A time that is written into
//     the record does not exclude: two processes may find it passed.
//   - Who notices that a lock was lost? Save and Remove have to compare the owner
//     of the lock and change the record in one step of the server. A check before
//     the change is too early.
//   - What does a reader see during Save? The record before it or after it.
//   - Who ends a call that hangs? Every method returns when its context ends.
//
// For PostgreSQL, one table holds all records:
//
//	CREATE TABLE sessions (name text PRIMARY KEY, record bytea NOT NULL, expires timestamptz)
//
// The methods do this:
//
//   - Load selects the record of the name for which expires is NULL or in the
//     future. sql.ErrNoRows means that there is none.
//   - TryLock takes a connection of its own by DB.Conn and runs SELECT
//     pg_try_advisory_lock(hashtextextended($1, 0)) on it. If the result is false,
//     it closes the connection and returns an error that wraps
//     [session.ErrLocked]. The server frees the lock when the connection ends.
//   - Save runs INSERT … ON CONFLICT (name) DO UPDATE on that connection, and
//     Remove runs DELETE. If the connection is broken (driver.ErrBadConn or
//     sql.ErrConnDone), the lock is lost too: they return an error that wraps
//     [session.ErrLockLost].
//   - Unlock runs pg_advisory_unlock, with a timeout of 5 seconds, and closes the
//     connection. If pg_advisory_unlock fails, it discards the connection by
//     returning driver.ErrBadConn from Conn.Raw: a pool must not keep a connection
//     that may still have the lock. A pooler that shares connections between
//     clients cannot be used.
//
// For etcd, the package go.etcd.io/etcd/client/v3/concurrency has the lock:
//
//   - Load gets the key.
//   - TryLock makes a Session with a lease of 15 seconds, which the client extends
//     by itself, and calls Mutex.TryLock on it. If that returns its ErrLocked,
//     TryLock closes the Session and returns [session.ErrLocked].
//   - Save is Txn().If(mutex.IsOwner()).Then(OpPut(key, record)). Remove is the
//     same with OpDelete. If the transaction did not succeed, they return
//     [session.ErrLockLost]. The ttl may be ignored.
//   - Unlock calls Mutex.Unlock, with a timeout of 5 seconds, and closes the
//     Session, which revokes the lease even if the call failed.
//
// In both, the methods of a lock that was unlocked return [session.ErrLockLost]
// without a request. The example is a Store in memory.
package storetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/filescom/session"
)

// Run tests that a Store keeps the contracts of [session.Store] and
// [session.Lock]. Each call of open opens the same record anew, as another process
// would: it shares no memory with the Stores of other calls, unless the record
// itself is in memory. The argument of open is the test that uses the Store, for
// its Cleanup method. Run removes the record, at the start too.
//
// If a Store has the method BreakLock(), Run also tests that a lost lock is
// noticed. BreakLock takes the lock from whoever has it, as the end of a lease
// would.
//
// Run does not test that the lock of a process that died is freed: that takes
// processes.
func Run(t *testing.T, open func(*testing.T) session.Store) {
	for _, test := range []struct {
		name string
		run  func(*suite)
	}{
		{"a removed record is empty", (*suite).removedRecordIsEmpty},
		{"a saved record is loaded by others", (*suite).savedRecordIsLoaded},
		{"a record is saved byte for byte", (*suite).savedByteForByte},
		{"a record is kept until its ttl", (*suite).keptUntilTTL},
		{"the lock excludes", (*suite).lockExcludes},
		{"a lock that was unlocked changes nothing", (*suite).unlockedChangesNothing},
		{"a second Unlock frees no other lock", (*suite).secondUnlock},
		{"a lock that was lost changes nothing", (*suite).lostLockChangesNothing},
		{"a context that has ended changes nothing", (*suite).endedContext},
		{"the lock outlives the context of TryLock", (*suite).lockOutlivesContext},
		{"saves beside loads", (*suite).savesBesideLoads},
		{"the record is in no text", (*suite).recordIsInNoText},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &suite{T: t, open: func() session.Store { return open(t) }}
			s.remove()
			defer s.remove()
			test.run(s)
		})
	}
}

// suite is one test of Run.
type suite struct {
	*testing.T
	open func() session.Store
}

// context returns a context that ends before the test would hang.
func (s *suite) context() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	s.Cleanup(cancel)
	return ctx
}

func (s *suite) check(what string, err error) {
	s.Helper()
	if err != nil {
		s.Fatalf("%s: %v", what, err)
	}
}

// checkIs checks that err matches target.
func (s *suite) checkIs(what string, err, target error) {
	s.Helper()
	if !errors.Is(err, target) {
		s.Errorf("%s: the error is %v, and does not match: %v", what, err, target)
	}
}

func (s *suite) load(store session.Store) []byte {
	s.Helper()
	record, err := store.Load(s.context())
	s.check("Load", err)
	return record
}

// checkRecord checks what another process loads.
func (s *suite) checkRecord(want string) {
	s.Helper()
	if got := s.load(s.open()); string(got) != want {
		s.Errorf("Load returned %d bytes, want another record of %d bytes", len(got), len(want))
	}
}

// lock locks the record. Nobody has the lock for long.
func (s *suite) lock(store session.Store) session.Lock {
	s.Helper()
	ctx := s.context()
	for {
		lock, err := store.TryLock(ctx)
		if err == nil {
			return lock
		}
		if !errors.Is(err, session.ErrLocked) || ctx.Err() != nil {
			s.Fatalf("TryLock: %v", err)
		}
		time.Sleep(time.Millisecond)
	}
}

// checkLocked checks that store cannot lock the record.
func (s *suite) checkLocked(who string, store session.Store) {
	s.Helper()
	lock, err := store.TryLock(s.context())
	s.checkIs("TryLock of a locked record, by "+who, err, session.ErrLocked)
	if err == nil {
		lock.Unlock()
	} else if lock != nil {
		s.Errorf("TryLock by %s returned a Lock and an error", who)
	}
}

func (s *suite) save(record string) {
	s.Helper()
	lock := s.lock(s.open())
	defer lock.Unlock()
	s.check("Save", lock.Save(s.context(), []byte(record), time.Hour))
}

func (s *suite) remove() {
	s.Helper()
	lock := s.lock(s.open())
	defer lock.Unlock()
	s.check("Remove", lock.Remove(s.context()))
}

func (s *suite) removedRecordIsEmpty() {
	s.checkRecord("")
	s.remove() // of no record
	s.save("record")
	s.remove()
	s.checkRecord("")
}

func (s *suite) savedRecordIsLoaded() {
	store, other := s.open(), s.open()
	lock := s.lock(store)
	defer lock.Unlock()
	s.check("Save", lock.Save(s.context(), []byte("first"), time.Hour))
	for name, store := range map[string]session.Store{"the same Store": store, "another Store": other} {
		if got := s.load(store); string(got) != "first" {
			s.Errorf("Load by %s returned %q while the record was locked, want %q", name, got, "first")
		}
	}
	s.check("the second Save under a lock", lock.Save(s.context(), []byte("2"), time.Hour))
	s.checkRecord("2")
	s.check("Remove", lock.Remove(s.context()))
	s.checkRecord("")
	s.check("Save after Remove", lock.Save(s.context(), []byte("third"), time.Hour))
	s.checkRecord("third")
}

func (s *suite) savedByteForByte() {
	all := make([]byte, 1500) // every byte, as in an encrypted record
	for i := range all {
		all[i] = byte(i)
	}
	for _, record := range []string{string(all), `{"v":1}`, "\n", " a ", "\x00", "\xff\xfe", "'; --\\", "æ\u2028"} {
		s.save(record)
		s.checkRecord(record)
	}
	record := []byte("not modified later")
	lock := s.lock(s.open())
	defer lock.Unlock()
	s.check("Save", lock.Save(s.context(), record, time.Hour))
	copy(record, "xxx")
	s.checkRecord("not modified later")
	copy(s.load(s.open()), "xxx")
	s.checkRecord("not modified later")
}

func (s *suite) keptUntilTTL() {
	for _, ttl := range []time.Duration{0, 10 * time.Second, 366 * 24 * time.Hour} {
		lock := s.lock(s.open())
		s.check("Save", lock.Save(s.context(), []byte(ttl.String()), ttl))
		lock.Unlock()
		s.checkRecord(ttl.String())
	}
	s.save("short")
	lock := s.lock(s.open())
	s.check("Save", lock.Save(s.context(), []byte("long"), 50*time.Millisecond))
	s.check("Save", lock.Save(s.context(), []byte("long"), 0))
	lock.Unlock()
	time.Sleep(100 * time.Millisecond)
	s.checkRecord("long") // the ttl of the last Save counts
}

func (s *suite) lockExcludes() {
	store, other := s.open(), s.open()
	for range 3 {
		lock := s.lock(store)
		s.checkLocked("another Store", other)
		s.checkLocked("the same Store", store)
		lock.Unlock()
		again, err := other.TryLock(s.context())
		s.check("TryLock after Unlock", err)
		again.Unlock()
	}
	s.lock(store).Unlock()
	s.checkRecord("") // a lock alone saves nothing
}

func (s *suite) unlockedChangesNothing() {
	s.save("record")
	lock := s.lock(s.open())
	lock.Unlock()
	s.checkUseless(lock)
	next := s.lock(s.open())
	s.checkUseless(lock)
	next.Unlock()
	s.checkRecord("record")
}

// checkUseless checks that lock saves and removes nothing.
func (s *suite) checkUseless(lock session.Lock) {
	s.Helper()
	s.checkIs("Save after the lock was lost", lock.Save(s.context(), []byte("wrong"), time.Hour), session.ErrLockLost)
	s.checkIs("Remove after the lock was lost", lock.Remove(s.context()), session.ErrLockLost)
}

func (s *suite) secondUnlock() {
	first := s.lock(s.open())
	first.Unlock()
	first.Unlock()
	second := s.lock(s.open())
	defer second.Unlock()
	first.Unlock()
	s.checkLocked("another Store", s.open())
	s.check("Save", second.Save(s.context(), []byte("second"), time.Hour))
	s.checkRecord("second")
}

func (s *suite) lostLockChangesNothing() {
	store := s.open()
	breaker, ok := store.(interface{ BreakLock() })
	if !ok {
		s.Skip("the Store has no method BreakLock()")
	}
	s.save("record")
	lost := s.lock(store)
	breaker.BreakLock()
	s.checkUseless(lost)
	s.checkRecord("record")
	next, err := s.open().TryLock(s.context())
	s.check("TryLock after the lock was lost", err)
	s.checkUseless(lost)
	lost.Unlock()
	s.checkLocked("another Store", s.open())
	s.check("Save by the next owner", next.Save(s.context(), []byte("next"), time.Hour))
	next.Unlock()
	s.checkRecord("next")
}

func (s *suite) endedContext() {
	s.save("record")
	store := s.open()
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := store.Load(ended)
	s.checkIs("Load", err, context.Canceled)
	_, err = store.TryLock(ended)
	s.checkIs("TryLock", err, context.Canceled)
	lock, err := s.open().TryLock(s.context())
	s.check("TryLock after one under an ended context", err)
	s.checkIs("Save", lock.Save(ended, []byte("wrong"), time.Hour), context.Canceled)
	s.checkIs("Remove", lock.Remove(ended), context.Canceled)
	s.checkRecord("record")
	s.check("Save after one under an ended context", lock.Save(s.context(), []byte("right"), time.Hour))
	s.checkRecord("right")
	lock.Unlock()
	s.lock(s.open()).Unlock()
}

func (s *suite) lockOutlivesContext() {
	ctx, cancel := context.WithCancel(context.Background())
	lock, err := s.open().TryLock(ctx)
	s.check("TryLock", err)
	cancel()
	s.checkLocked("another Store", s.open())
	s.check("Save", lock.Save(s.context(), []byte("record"), time.Hour))
	lock.Unlock()
	s.lock(s.open()).Unlock()
	s.checkRecord("record")
}

// savesBesideLoads has writers count in the record, each with a Store of its own,
// and readers check that each record is whole.
func (s *suite) savesBesideLoads() {
	const writers, saves, readers = 8, 25, 4
	done := make(chan struct{})
	var writing, reading sync.WaitGroup
	for range readers {
		reading.Add(1)
		go func() {
			defer reading.Done()
			store, last := s.open(), uint64(0)
			for {
				n, err := s.count(store)
				if err == nil && n < last {
					err = fmt.Errorf("the method Load returned the record of save %d after that of save %d", n, last)
				}
				if err != nil {
					s.Error(err)
					return
				}
				last = n
				select {
				case <-done:
					return
				case <-time.After(time.Millisecond):
				}
			}
		}()
	}
	for range writers {
		writing.Add(1)
		go func() {
			defer writing.Done()
			store := s.open()
			for range saves {
				if err := s.countOne(store); err != nil {
					s.Error(err)
					return
				}
			}
		}()
	}
	writing.Wait()
	close(done)
	reading.Wait()
	n, err := s.count(s.open())
	s.check("Load", err)
	if n != writers*saves {
		s.Errorf("the record counts %d saves of %d: an update is lost", n, writers*saves)
	}
}

// countOne locks the record, adds one to its count and saves it.
func (s *suite) countOne(store session.Store) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	lock, err := store.TryLock(ctx)
	for errors.Is(err, session.ErrLocked) && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
		lock, err = store.TryLock(ctx)
	}
	if err != nil {
		return fmt.Errorf("the method TryLock: %w", err)
	}
	defer lock.Unlock()
	n, err := s.count(store)
	if err != nil {
		return err
	}
	return lock.Save(ctx, countRecord(n+1), time.Hour)
}

// count loads the record and returns its count.
func (s *suite) count(store session.Store) (uint64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	record, err := store.Load(ctx)
	if err != nil {
		return 0, fmt.Errorf("the method Load: %w", err)
	}
	if len(record) == 0 {
		return 0, nil
	}
	if len(record) >= 8 {
		if n := binary.BigEndian.Uint64(record); bytes.Equal(record, countRecord(n)) {
			return n, nil
		}
	}
	return 0, fmt.Errorf("the method Load returned %d bytes that are no whole record", len(record))
}

// countRecord returns a record of count n: its length and all its bytes depend on n.
func countRecord(n uint64) []byte {
	record := binary.BigEndian.AppendUint64(nil, n)
	for range n%40 + 1 {
		sum := sha256.Sum256(record)
		record = append(record, sum[:]...)
	}
	return record
}

func (s *suite) recordIsInNoText() {
	const secret = "canary-0123456789"
	store := s.open()
	s.save(secret)
	s.load(store)
	lock := s.lock(store)
	s.check("Save", lock.Save(s.context(), []byte(secret), time.Hour))
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	var values []any
	_, err := s.open().TryLock(s.context())
	values = append(values, store, lock, err, lock.Save(ended, []byte(secret), time.Hour), lock.Remove(ended))
	_, err = store.Load(ended)
	values = append(values, err)
	lock.Unlock()
	values = append(values, lock.Save(s.context(), []byte(secret), time.Hour), lock.Remove(s.context()))
	for _, v := range values {
		if _, ok := v.(error); !ok && v != nil {
			for _, verb := range []string{"%v", "%+v", "%#v"} {
				s.checkQuiet(fmt.Sprintf(verb, v), secret)
			}
			continue
		}
		for _, verb := range []string{"%v", "%+v", "%#v", "%q", "%x"} {
			s.checkQuiet(fmt.Sprintf(verb, v), secret)
		}
	}
}

func (s *suite) checkQuiet(text, secret string) {
	s.Helper()
	if strings.Contains(text, secret) || strings.Contains(text, fmt.Sprintf("%x", secret)) {
		s.Errorf("the record is shown: %s", text)
	}
}
