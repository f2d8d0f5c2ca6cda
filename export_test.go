package session

// NewTransport makes another transport like the one that clients share.
var NewTransport = newTransport
