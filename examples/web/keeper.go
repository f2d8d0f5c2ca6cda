package main

import (
	"sync"
	"time"
)

// keeper keeps values in memory by the ID of a browser session, so that neither a
// cookie nor a database ever holds them. Each value expires, and their number is
// limited, so that nobody can fill the memory. A keeper is safe for concurrent use.
type keeper[T any] struct {
	limit   int                      // at least 1
	dropped func(id string, value T) // gets each value that expired or had to make room

	mu   sync.Mutex
	kept map[string]kept[T]
}

type kept[T any] struct {
	value T
	until time.Time
	timer *time.Timer
}

func newKeeper[T any](limit int, dropped func(id string, value T)) *keeper[T] {
	return &keeper[T]{limit: limit, dropped: dropped, kept: map[string]kept[T]{}}
}

// put keeps a value until a time. A full keeper drops the value that would expire
// first. If it refused the new value instead, an attacker could fill it and shut
// everybody out.
func (k *keeper[T]) put(id string, value T, until time.Time) {
	k.mu.Lock()
	oldest, full := "", len(k.kept) >= k.limit
	if full {
		for other, v := range k.kept {
			if oldest == "" || v.until.Before(k.kept[oldest].until) {
				oldest = other
			}
		}
	}
	displaced := k.remove(oldest)
	k.kept[id] = kept[T]{value, until, time.AfterFunc(time.Until(until), func() { k.drop(id) })}
	k.mu.Unlock()
	if full {
		k.dropped(oldest, displaced)
	}
}

// get returns a value and leaves it there.
func (k *keeper[T]) get(id string) (value T, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	v, ok := k.kept[id]
	return v.value, ok
}

// take removes a value and returns it. If there are several callers, one of them
// gets it.
func (k *keeper[T]) take(id string) (value T, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, ok = k.kept[id]
	return k.remove(id), ok
}

// takeAll removes all values and returns them.
func (k *keeper[T]) takeAll() []T {
	k.mu.Lock()
	defer k.mu.Unlock()
	var all []T
	for id := range k.kept {
		all = append(all, k.remove(id))
	}
	return all
}

// remove requires that k.mu is locked.
func (k *keeper[T]) remove(id string) T {
	v, ok := k.kept[id]
	if ok {
		v.timer.Stop()
		delete(k.kept, id)
	}
	return v.value
}

func (k *keeper[T]) drop(id string) {
	if value, ok := k.take(id); ok {
		k.dropped(id, value)
	}
}
