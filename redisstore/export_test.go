package redisstore

// LockKey returns the key of the lock.
func LockKey(s *Store) (string, error) { return s.lockKey() }
