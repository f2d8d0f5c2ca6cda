package redisstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Error is the error of a Store that cannot be used, or of a call that failed. It has no
// text of Redis or of the client. [errors.Is] matches the errors of the client.
type Error struct {
	Op      string // what failed: "load", "lock", "save" or "remove"; empty if the Store cannot be used
	Key     string // of the record
	Problem string // what is wrong, and what to do

	// matches holds the error of the client in a closure, so that no verb of fmt prints it.
	// It is nil if there is none.
	matches func(target error) bool
}

func (e *Error) Error() string {
	if e.Op == "" {
		return e.Problem
	}
	return fmt.Sprintf("cannot %s the session in Redis at %q: %s", e.Op, e.Key, e.Problem)
}

// Is reports whether the error of the client matches target.
func (e *Error) Is(target error) bool { return e.matches != nil && e.matches(target) }

// failure returns the error of a call that failed with err, without the text of err.
func (s *Store) failure(op string, err error) error {
	return &Error{Op: op, Key: s.key, Problem: explain(err),
		matches: func(target error) bool { return target != redis.Nil && errors.Is(err, target) }}
}

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
		// First, since this answer quotes the arguments, which could hold a code.
		{"unknown command", "the server does not know EVAL, EVALSHA or GET, which the store needs; allow them, for example by a configuration without rename-command"},
		{"command called from script", "scripts on the server do not know GET, SET, DEL or PEXPIRE, which the store needs; allow them, for example by a configuration without rename-command"},
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
		{"BUSY ", "a script of another program runs for too long, and the server does nothing else; wait until it ends, or end it by SCRIPT KILL or FUNCTION KILL"},
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
