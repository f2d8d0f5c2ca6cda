package main

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestAValueIsKeptUntilItExpires(t *testing.T) {
	assert.Equal(t, 5*time.Minute, challengeLife)
	synctest.Test(t, func(t *testing.T) {
		var dropped []string
		k := newKeeper(10, func(id, value string) { dropped = append(dropped, id+value) })
		k.put("a", "1", time.Now().Add(challengeLife))
		time.Sleep(challengeLife - time.Nanosecond)
		value, ok := k.get("a")
		assert.True(t, ok)
		assert.Equal(t, "1", value)
		time.Sleep(2 * time.Nanosecond)
		synctest.Wait()
		_, ok = k.get("a")
		assert.False(t, ok)
		assert.Equal(t, []string{"a1"}, dropped)
	})
}

func TestAValueThatWasTakenIsNotDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeper(10, func(id, value string) { t.Error(id) })
		k.put("a", "1", time.Now().Add(time.Minute))
		value, ok := k.take("a")
		assert.True(t, ok)
		assert.Equal(t, "1", value)
		_, ok = k.take("a")
		assert.False(t, ok)
		time.Sleep(time.Hour)
	})
}

func TestAFullKeeperDropsTheValueThatWouldExpireFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		dropped := 0
		k := newKeeper(1_000, func(string, int) { mu.Lock(); dropped++; mu.Unlock() })
		var all sync.WaitGroup
		for i := range 3_000 {
			all.Go(func() { k.put(fmt.Sprint(i), i, time.Now().Add(time.Hour+time.Duration(i))) })
		}
		all.Wait()
		assert.Len(t, k.kept, 1_000)
		assert.Equal(t, 2_000, dropped)
		k.put("last", -1, time.Now().Add(2*time.Hour))
		_, ok := k.get("last")
		assert.True(t, ok)
		assert.Len(t, k.takeAll(), 1_000)
	})
}

func TestOnlyOneOfManyCallersTakesAValue(t *testing.T) {
	k := newKeeper(10, func(string, int) {})
	k.put("a", 1, time.Now().Add(time.Hour))
	var taken atomic.Int32
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			if _, ok := k.take("a"); ok {
				taken.Add(1)
			}
		})
	}
	all.Wait()
	assert.EqualValues(t, 1, taken.Load())
}
