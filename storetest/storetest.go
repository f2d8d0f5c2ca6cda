// Package storetest tests implementations of [autologin.Store].
//
//	func TestStore(t *testing.T) {
//		path := filepath.Join(t.TempDir(), "session")
//		storetest.Run(t, func(t *testing.T) autologin.Store { return filestore.New(path) })
//	}
//
// # How to write a Store
//
// A Store keeps a lock and one record of at most a few kilobytes. It does not know
// the meaning of the record, never waits for the lock, and never tries again: an
// [autologin.Source] does all of that. So a Store for a database takes about 60 lines.
// It has to keep four promises:
//
//   - The lock of a process that died is freed by the kernel or by a server, for
//     example when a connection or a lease ends. A time in the record is no lock: two
//     processes may find that it has passed.
//   - A lock that was lost saves nothing. Save and Remove compare the owner of the
//     lock and change the record in one step of the server. A check before the change
//     is too early.
//   - A reader gets the record before a Save or the one after it, never a part.
//   - Every method returns soon after its context has ended, even if a call hangs.
//
// For PostgreSQL, one table holds all records:
//
//	CREATE TABLE sessions (name text PRIMARY KEY, record bytea NOT NULL, expires timestamptz)
//
// The methods do this:
//
//   - Load selects the record of the name for which expires is NULL or in the
//     future. The error sql.ErrNoRows means that there is none.
//   - TryLock takes a connection of its own by DB.Conn and runs SELECT
//     pg_try_advisory_lock(hashtextextended($1, 0)) on it. If the result is false,
//     it closes the connection and returns an error that wraps
//     [autologin.ErrLocked]. The server frees the lock when the connection ends.
//   - Save runs INSERT … ON CONFLICT (name) DO UPDATE on that connection, and
//     Remove runs DELETE. If the connection is broken (driver.ErrBadConn or
//     sql.ErrConnDone), the lock is lost too. Then they return an error that wraps
//     [autologin.ErrLockLost].
//   - Unlock runs pg_advisory_unlock, with a timeout of 5 seconds, and closes the
//     connection. If pg_advisory_unlock fails, Unlock discards the connection by
//     returning driver.ErrBadConn from Conn.Raw: a pool must not keep a connection
//     that may still have the lock. For the same reason, no pooler between client and
//     server may share connections.
//
// For etcd, the package go.etcd.io/etcd/client/v3/concurrency has the lock:
//
//   - Load gets the key.
//   - TryLock makes a Session with a lease of 15 seconds, which the client extends
//     by itself, and calls Mutex.TryLock on it. If that returns the ErrLocked of its
//     package, TryLock closes the Session and returns [autologin.ErrLocked].
//   - Save is Txn().If(mutex.IsOwner()).Then(OpPut(key, record)). Remove is the
//     same with OpDelete. If the transaction did not succeed, they return
//     [autologin.ErrLockLost]. They may ignore the ttl.
//   - Unlock calls Mutex.Unlock, with a timeout of 5 seconds, and closes the
//     Session, which revokes the lease even if the call failed.
//
// In both, the methods of a Lock return [autologin.ErrLockLost] after Unlock, without a
// request. The example is a Store in memory.
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

	"github.com/filescom/session/autologin"
)

// Run tests that a Store keeps the contracts of [autologin.Store] and [autologin.Lock],
// each rule in a subtest that is named after it.
//
// Each call of open returns a Store of the same record, opened anew as by another
// process: the Stores share no memory, unless the record itself is in memory. The
// argument of open is the subtest that uses the Store, for its method Cleanup. Run
// removes the record at the start and at the end of each subtest. No other program may
// use the record meanwhile.
//
// If the Stores have a method BreakLock(), Run also tests that a lost lock changes
// nothing. BreakLock takes the lock from its owner, as the end of a lease would.
//
// Run does not test that the lock of a process that died is freed, since that requires
// processes.
func Run(t *testing.T, open func(*testing.T) autologin.Store) {
	for _, test := range []struct {
		rule string
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
		{"every load is whole and no save is lost", (*suite).savesBesideLoads},
		{"the record is in no error and no print", (*suite).recordIsInNoText},
	} {
		t.Run(test.rule, func(t *testing.T) {
			s := &suite{T: t, opener: open}
			s.remove()
			s.Cleanup(s.remove)
			test.run(s)
		})
	}
}

// suite is one test of Run.
type suite struct {
	*testing.T
	opener func(*testing.T) autologin.Store
}

func (s *suite) open() autologin.Store {
	s.Helper()
	store := s.opener(s.T)
	if store == nil {
		s.Fatal("the argument of Run returned nil; it must return a Store")
	}
	return store
}

// context returns a context that ends before the test would hang.
func (s *suite) context() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	s.Cleanup(cancel)
	return ctx
}

// check ends the test if the call failed.
func (s *suite) check(call string, err error) {
	s.Helper()
	if err != nil {
		s.Fatalf("%s returned the error %q; it must succeed", call, err)
	}
}

// checkIs checks that the error of a call matches target.
func (s *suite) checkIs(call string, err, target error) {
	s.Helper()
	if err == nil {
		s.Errorf("%s returned no error; it must return one that matches %q", call, target)
	} else if !errors.Is(err, target) {
		s.Errorf("%s returned the error %q; it must match %q", call, err, target)
	}
}

func (s *suite) load(store autologin.Store) []byte {
	s.Helper()
	record, err := store.Load(s.context())
	s.check("Load", err)
	return record
}

// checkRecord checks the record that another process loads.
func (s *suite) checkRecord(want string) {
	s.Helper()
	if got := s.load(s.open()); string(got) != want {
		s.Errorf("Load by another Store returned %.60q; it must return %.60q", got, want)
	}
}

// tryLock tries to lock the record, and checks that there is a Lock or an error. The
// Lock is unlocked at the end of the test.
func (s *suite) tryLock(store autologin.Store, ctx context.Context) (autologin.Lock, error) {
	s.Helper()
	lock, err := store.TryLock(ctx)
	switch {
	case lock == nil && err == nil:
		s.Fatal("TryLock returned neither a Lock nor an error; it must return one of them")
	case lock != nil && err != nil:
		s.Fatalf("TryLock returned a Lock and the error %q; the Lock must be nil", err)
	case lock != nil:
		s.Cleanup(lock.Unlock)
	}
	return lock, err
}

// lock locks the record, which nobody else has locked for long.
func (s *suite) lock(store autologin.Store) autologin.Lock {
	s.Helper()
	ctx := s.context()
	for {
		lock, err := s.tryLock(store, ctx)
		switch {
		case err == nil:
			return lock
		case ctx.Err() != nil:
			s.Fatal("the record is still locked after 30 s; Unlock must free the lock, and no other program may use the record")
		case !errors.Is(err, autologin.ErrLocked):
			s.check("TryLock of a record that is not locked", err)
		}
		time.Sleep(time.Millisecond)
	}
}

// checkLocked checks that a Store cannot lock the record, and does not wait.
func (s *suite) checkLocked(name string, store autologin.Store) {
	s.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	lock, err := s.tryLock(store, ctx)
	if ctx.Err() != nil {
		s.Fatalf("TryLock by %s waited while the record was locked; it must return an error that matches ErrLocked at once", name)
	}
	s.checkIs("TryLock by "+name+" while the record was locked", err, autologin.ErrLocked)
	if err == nil {
		lock.Unlock()
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
	for name, store := range map[string]autologin.Store{"the same Store": store, "another Store": other} {
		if got := s.load(store); string(got) != "first" {
			s.Errorf("Load by %s returned %q while the record was locked; it must return %q", name, got, "first")
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
	record, store := []byte("not modified later"), s.open()
	lock := s.lock(store)
	defer lock.Unlock()
	s.check("Save", lock.Save(s.context(), record, time.Hour))
	copy(record, "xxx")
	if string(s.load(store)) != "not modified later" {
		s.Error("the record changed with the argument of Save; Save must not retain it")
	}
	copy(s.load(store), "xxx")
	if string(s.load(store)) != "not modified later" {
		s.Error("the record changed with the result of Load; Load must return a copy")
	}
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
		again, err := s.tryLock(other, s.context())
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
func (s *suite) checkUseless(lock autologin.Lock) {
	s.Helper()
	s.checkIs("Save by a lock that was unlocked or lost", lock.Save(s.context(), []byte("wrong"), time.Hour), autologin.ErrLockLost)
	s.checkIs("Remove by a lock that was unlocked or lost", lock.Remove(s.context()), autologin.ErrLockLost)
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
	next, err := s.tryLock(s.open(), s.context())
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
	s.checkIs("Load under a context that has ended", err, context.Canceled)
	_, err = s.tryLock(store, ended)
	s.checkIs("TryLock under a context that has ended", err, context.Canceled)
	lock, err := s.tryLock(s.open(), s.context())
	s.check("TryLock after one under a context that has ended", err)
	s.checkIs("Save under a context that has ended", lock.Save(ended, []byte("wrong"), time.Hour), context.Canceled)
	s.checkIs("Remove under a context that has ended", lock.Remove(ended), context.Canceled)
	s.checkRecord("record")
	s.check("Save after one under a context that has ended", lock.Save(s.context(), []byte("right"), time.Hour))
	s.checkRecord("right")
	lock.Unlock()
	s.lock(s.open()).Unlock()
}

func (s *suite) lockOutlivesContext() {
	ctx, cancel := context.WithCancel(context.Background())
	lock, err := s.tryLock(s.open(), ctx)
	s.check("TryLock", err)
	cancel()
	time.Sleep(50 * time.Millisecond) // a Store that frees the lock may do so in a goroutine
	s.checkLocked("another Store", s.open())
	s.check("Save after the context of TryLock has ended", lock.Save(s.context(), []byte("record"), time.Hour))
	lock.Unlock()
	s.lock(s.open()).Unlock()
	s.checkRecord("record")
}

// savesBesideLoads has writers count in the record, and readers check that each
// record is whole. Goroutines share Stores.
func (s *suite) savesBesideLoads() {
	const writers, saves, readers = 8, 25, 4
	var stores [readers]autologin.Store
	for i := range stores {
		stores[i] = s.open()
	}
	done := make(chan struct{})
	var writing, reading sync.WaitGroup
	for _, store := range stores {
		reading.Add(1)
		go func() {
			defer reading.Done()
			for last := uint64(0); ; {
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
	for i := range writers {
		writing.Add(1)
		go func() {
			defer writing.Done()
			for range saves {
				if err := s.countOne(stores[i%len(stores)]); err != nil {
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
		s.Errorf("the record counts %d of %d saves; a save must not be lost while the lock is held", n, writers*saves)
	}
}

// countOne locks the record, adds one to its count and saves it.
func (s *suite) countOne(store autologin.Store) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	lock, err := store.TryLock(ctx)
	for errors.Is(err, autologin.ErrLocked) && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
		lock, err = store.TryLock(ctx)
	}
	switch {
	case err != nil:
		return fmt.Errorf("the method TryLock returned the error %q; it must lock the record in the end", err)
	case lock == nil:
		return errors.New("the method TryLock returned neither a Lock nor an error; it must return one of them")
	}
	defer lock.Unlock()
	n, err := s.count(store)
	if err != nil {
		return err
	}
	if err := lock.Save(ctx, countRecord(n+1), time.Hour); err != nil {
		return fmt.Errorf("the method Save returned the error %q; it must succeed", err)
	}
	return nil
}

// count loads the record and returns its count.
func (s *suite) count(store autologin.Store) (uint64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	record, err := store.Load(ctx)
	if err != nil {
		return 0, fmt.Errorf("the method Load returned the error %q; it must succeed", err)
	}
	if len(record) == 0 {
		return 0, nil
	}
	if len(record) >= 8 {
		if n := binary.BigEndian.Uint64(record); bytes.Equal(record, countRecord(n)) {
			return n, nil
		}
	}
	return 0, fmt.Errorf("the method Load returned %d bytes that are no whole record; it must return all of one", len(record))
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
	_, err := s.tryLock(s.open(), s.context())
	values = append(values, store, lock, err, lock.Save(ended, []byte(secret), time.Hour), lock.Remove(ended))
	_, err = store.Load(ended)
	values = append(values, err)
	lock.Unlock()
	values = append(values, lock.Save(s.context(), []byte(secret), time.Hour), lock.Remove(s.context()))
	for _, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%q", "%x"} {
			s.checkQuiet(fmt.Sprintf(verb, v), secret)
		}
	}
}

func (s *suite) checkQuiet(text, secret string) {
	s.Helper()
	if strings.Contains(text, secret) || strings.Contains(text, fmt.Sprintf("%x", secret)) {
		s.Errorf("the record is in a text of fmt; no error, Store or Lock may show it: %s", text)
	}
}
