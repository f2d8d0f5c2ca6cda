package session

// NewTransport makes another transport like the one that clients share.
var NewTransport = newTransport

// Waiters returns how many callers wait for the login under way.
func Waiters(src *Source) int {
	src.mu.Lock()
	defer src.mu.Unlock()
	if src.flight == nil {
		return 0
	}
	return src.flight.waiters
}
