package storetest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/filescom/session/autologin"
	"github.com/filescom/session/storetest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMemory(t *testing.T) {
	t.Parallel()
	m := &memory{}
	storetest.Run(t, func(*testing.T) autologin.Store { return m })
}

// breakableStore is a memory whose lock can be taken from it.
type breakableStore struct{ *memory }

func (s breakableStore) BreakLock() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owner = nil
}

func TestBreakableStore(t *testing.T) {
	t.Parallel()
	m := &memory{}
	storetest.Run(t, func(*testing.T) autologin.Store { return breakableStore{m} })
}

// faultVariable names the fault of a faultyStore in a process that a test starts.
const faultVariable = "STORETEST_FAULT"

// faultyStore breaks one rule.
type faultyStore struct {
	breakableStore
	fault string
}

func (s faultyStore) Load(ctx context.Context) ([]byte, error) {
	record, err := s.breakableStore.Load(ctx)
	switch {
	case s.fault == "Load ignores its context" && err != nil:
		return record, nil
	case s.fault == "Load returns a part" && len(record) > 100:
		return record[:len(record)-1], err
	case s.fault == "Load returns its own bytes" && err == nil:
		return s.record, nil
	case s.fault == "a record is text" && err == nil:
		return fmt.Appendf(nil, "%q", record), nil
	}
	return record, err
}

func (s faultyStore) TryLock(ctx context.Context) (autologin.Lock, error) {
	lock, err := s.breakableStore.TryLock(ctx)
	switch {
	case s.fault == "TryLock waits" && err == autologin.ErrLocked:
		<-ctx.Done()
		return nil, ctx.Err()
	case s.fault == "TryLock returns nothing":
		return nil, nil
	case s.fault == "TryLock returns both" && err != nil:
		return &memoryLock{s.memory}, err
	case s.fault == "TryLock ignores its context" && ctx.Err() != nil:
		return s.breakableStore.TryLock(context.Background())
	case s.fault == "TryLock returns another error" && err != nil:
		return nil, errors.New("busy")
	case s.fault == "the lock excludes nobody" && err == autologin.ErrLocked:
		return faultyLock{&memoryLock{s.memory}, s}, nil
	case err != nil:
		return nil, err
	case s.fault == "the lock ends with its context":
		context.AfterFunc(ctx, lock.Unlock)
	}
	return faultyLock{lock.(*memoryLock), s}, nil
}

type faultyLock struct {
	*memoryLock
	store faultyStore
}

func (l faultyLock) Save(ctx context.Context, record []byte, ttl time.Duration) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	fault := l.store.fault
	switch {
	case fault == "Save retains its argument":
		l.record = record
		return nil
	case fault == "Save compares no owner", fault == "the lock excludes nobody", l.owner == l.memoryLock:
	default:
		return autologin.ErrLockLost
	}
	if ctx.Err() != nil && fault != "Save ignores its context" {
		if fault == "an error shows the record" {
			return fmt.Errorf("save %s: %w", record, ctx.Err())
		}
		return ctx.Err()
	}
	saved := append([]byte(nil), record...)
	l.record = saved
	if fault == "the first ttl counts" && ttl > 0 && ttl < time.Second {
		time.AfterFunc(ttl, func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.record = nil
		})
	}
	return nil
}

func (l faultyLock) Remove(ctx context.Context) error {
	if l.store.fault == "Remove does nothing" {
		return nil
	}
	return l.Save(ctx, nil, 0)
}

func (l faultyLock) Unlock() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.owner == l.memoryLock || l.store.fault == "Unlock frees the lock of another" {
		l.owner = nil
	}
}

func TestRunNamesTheRuleThatAStoreBreaks(t *testing.T) {
	t.Parallel()
	if fault := os.Getenv(faultVariable); fault != "" {
		m := &memory{}
		storetest.Run(t, func(*testing.T) autologin.Store {
			if fault == "open returns nil" {
				return nil
			}
			return faultyStore{breakableStore{m}, fault}
		})
		return
	}
	for _, tt := range []struct{ fault, rule, text string }{
		{"open returns nil", "the lock excludes", "the argument of Run returned nil; it must return a Store"},
		{"Load ignores its context", "a context that has ended changes nothing", `Load under a context that has ended returned no error; it must return one that matches "context canceled"`},
		{"Load returns a part", "every load is whole and no save is lost", "bytes that are no whole record; it must return all of one"},
		{"Load returns its own bytes", "a record is saved byte for byte", "Load must return a copy"},
		{"a record is text", "a record is saved byte for byte", "Load by another Store returned"},
		{"TryLock waits", "the lock excludes", "waited while the record was locked; it must return an error that matches ErrLocked at once"},
		{"TryLock returns nothing", "the lock excludes", "TryLock returned neither a Lock nor an error; it must return one of them"},
		{"TryLock returns both", "the lock excludes", "the Lock must be nil"},
		{"TryLock ignores its context", "a context that has ended changes nothing", "TryLock under a context that has ended returned no error"},
		{"TryLock returns another error", "the lock excludes", `TryLock by another Store while the record was locked returned the error "busy"; it must match "the record is locked"`},
		{"the lock excludes nobody", "the lock excludes", "TryLock by another Store while the record was locked returned no error"},
		{"the lock ends with its context", "the lock outlives the context of TryLock", "TryLock by another Store while the record was locked returned no error"},
		{"Save retains its argument", "a record is saved byte for byte", "Save must not retain it"},
		{"Save compares no owner", "a lock that was lost changes nothing", `Save by a lock that was unlocked or lost returned no error; it must return one that matches "the lock of the record is lost"`},
		{"Save ignores its context", "a context that has ended changes nothing", "Save under a context that has ended returned no error"},
		{"an error shows the record", "the record is in no error and no print", "no error, Store or Lock may show it"},
		{"the first ttl counts", "a record is kept until its ttl", "Load by another Store returned"},
		{"Remove does nothing", "a removed record is empty", "Load by another Store returned"},
		{"Unlock frees the lock of another", "a second Unlock frees no other lock", "TryLock by another Store while the record was locked returned no error"},
	} {
		t.Run(tt.fault, func(t *testing.T) {
			t.Parallel()
			rule := strings.ReplaceAll(tt.rule, " ", "_")
			cmd := exec.Command(os.Args[0], "-test.run", "^TestRunNamesTheRuleThatAStoreBreaks$/^"+rule+"$")
			cmd.Env = append(os.Environ(), faultVariable+"="+tt.fault)
			out, err := cmd.CombinedOutput()
			require.Error(t, err)
			assert.Contains(t, string(out), "--- FAIL: TestRunNamesTheRuleThatAStoreBreaks/"+rule)
			assert.Contains(t, string(out), tt.text)
			assert.NotContains(t, string(out), "panic:")
		})
	}
}
