package redisstore_test

import (
	"bytes"
	"context"
	"fmt"
	"log"

	"github.com/alicebob/miniredis/v2"
	"github.com/filescom/session"
	"github.com/filescom/session/autologin"
	"github.com/filescom/session/redisstore"
	"github.com/filescom/session/sessiontest"
	"github.com/redis/go-redis/v9"
)

// keyOfFleet is one of the secrets of the fleet. It is 32 random bytes, as made by:
// openssl rand -base64 32
var keyOfFleet = bytes.Repeat([]byte{1}, 32)

func ExampleNew() {
	srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: "secret"})
	defer srv.Close()
	server, err := miniredis.Run()
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	c, err := session.NewClient(session.WithSite(srv.URL))
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()

	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer client.Close()
	store, err := autologin.Encrypt(redisstore.New(client, "files:mysite:alice"), "mysite:alice", keyOfFleet)
	if err != nil {
		log.Fatal(err)
	}
	src := autologin.New(c, session.CreateParams{Username: "alice", Password: "secret"})
	src.Store = store
	defer src.Close(ctx) // logs nobody out

	if _, err := src.Session(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println(srv.Counts().Logins, server.Keys())
	// Output: 1 [files:mysite:alice]
}

// Three deployments replace a key, one after another, while the fleet runs.
func ExampleNew_keyRotation() {
	server, err := miniredis.Run()
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer client.Close()
	oldKey, newKey := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	ctx := context.Background()
	deploy := func(keys ...[]byte) autologin.Store {
		store, err := autologin.Encrypt(redisstore.New(client, "files:mysite:alice"), "mysite:alice", keys...)
		if err != nil {
			log.Fatal(err)
		}
		return store
	}
	save := func(store autologin.Store) {
		lock, err := store.TryLock(ctx)
		if err != nil {
			log.Fatal(err)
		}
		defer lock.Unlock()
		if err := lock.Save(ctx, []byte("record"), 0); err != nil {
			log.Fatal(err)
		}
	}

	before := deploy(oldKey)
	first := deploy(oldKey, newKey)  // everywhere, before any process encrypts by the new key
	second := deploy(newKey, oldKey) // everywhere
	third := deploy(newKey)          // when no record of the old key is left: after the next login

	save(before)
	record, err := first.Load(ctx)
	fmt.Printf("%s %v\n", record, err)
	save(second)
	record, err = first.Load(ctx)
	fmt.Printf("%s %v\n", record, err)
	record, err = third.Load(ctx)
	fmt.Printf("%s %v\n", record, err)
	// Output:
	// record <nil>
	// record <nil>
	// record <nil>
}
