package filestore

var ModeError = modeError

// Failure returns the error of a Store for an error of the system.
func Failure(s *Store, op string, err error) error { return s.failure(op, err) }
