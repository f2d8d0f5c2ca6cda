package storetest_test

import (
	"testing"

	"github.com/filescom/session"
	"github.com/filescom/session/storetest"
)

func TestMemoryStore(t *testing.T) {
	m := &memory{}
	storetest.Run(t, func(*testing.T) session.Store { return memoryStore{m} })
}

// breakableStore is a memoryStore whose lock can be taken from it.
type breakableStore struct{ memoryStore }

func (s breakableStore) BreakLock() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owner = nil
}

func TestBreakableStore(t *testing.T) {
	m := &memory{}
	storetest.Run(t, func(*testing.T) session.Store { return breakableStore{memoryStore{m}} })
}
