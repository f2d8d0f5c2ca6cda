package redisstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/redis/go-redis/v9"
)

// failure returns the error of a call that failed with err, without the text of err.
func (s *Store) failure(verb string, err error) error {
	return &callError{
		text:    fmt.Sprintf("cannot %s the session in Redis at %q: %s", verb, s.key, explain(err)),
		matches: func(target error) bool { return target != redis.Nil && errors.Is(err, target) },
	}
}

// callError is an error without the text of its cause. A closure holds the cause, so
// that no verb of fmt prints it.
type callError struct {
	text    string
	matches func(target error) bool
}

func (e *callError) Error() string        { return e.text }
func (e *callError) Is(target error) bool { return e.matches(target) }

// explain returns the reason and the remedy for an error of the client.
func explain(err error) string {
	var answer redis.Error
	var network *net.OpError
	switch {
	case errors.As(err, &answer):
		return explainAnswer(answer.Error())
	case errors.As(err, &network) && network.Timeout():
		return "the server does not answer in time; check that it can be reached at the address of the client"
	case errors.Is(err, context.Canceled):
		return context.Canceled.Error()
	case errors.Is(err, redis.ErrClosed):
		return "the client is closed; close it after the last use of the store"
	case errors.Is(err, redis.ErrPoolTimeout), errors.Is(err, redis.ErrPoolExhausted):
		return "all connections of the client are in use; raise its PoolSize"
	case errors.Is(err, context.DeadlineExceeded):
		return context.DeadlineExceeded.Error()
	}
	return "the connection failed; check that the server runs at the address of the client"
}

// explainAnswer returns the reason and the remedy for an error that the server
// answered. In the answer to a script, Redis 6 puts other words before the code.
func explainAnswer(text string) string {
	const noRights = "the user of Redis may not do that; allow EVAL, EVALSHA, GET, SET, DEL and PEXPIRE on the keys of record and lock"
	for _, known := range []struct{ code, text string }{
		{"NOAUTH", "the server asks for a password; set it in the options of the client"},
		{"WRONGPASS", "the server refuses the user name or the password; set them in the options of the client"},
		{"NOPERM", noRights},
		{"ACL failure in script", noRights},
		{"The user executing the script can't", noRights},
		{"READONLY", "the server is a read-only replica; connect to the primary"},
		{"NOREPLICAS", "the server has too few replicas to take writes; start them, or lower its min-replicas-to-write"},
		{"MISCONF", "the server cannot save to its disk, so it takes no writes; repair its disk"},
		{"OOM command", "the memory of the server is full; raise its maxmemory"},
		{"WRONGTYPE", "the key, or that of its lock, holds another kind of value; use another key"},
		{"LOADING", "the server is still starting; try again later"},
		{"MASTERDOWN", "the server is a replica that has lost its primary; connect to the primary"},
		{"CLUSTERDOWN", "the cluster is down; start its other nodes"},
		{"MOVED", "the server is a part of a cluster; use redis.NewClusterClient"},
		{"max number of clients", "the server has too many clients; raise its maxclients"},
	} {
		if strings.Contains(text, known.code) {
			return known.text
		}
	}
	return "the server answered an error that is not known here; look at the log of the server"
}
