// Command fleet is one of many workers that act for one user. They share a session
// through Redis, so that all of them together log in once.
//
// It reads these variables of the environment:
//
//   - FILES_SITE, such as mysite for mysite.files.com
//   - FILES_USERNAME and FILES_PASSWORD
//   - REDIS_URL, such as rediss://:password@host:6379
//   - FILES_SESSION_KEY, which encrypts the session, as made by: openssl rand -base64 32
//   - FILES_SESSION_KEY_NEXT, which may be unset: a second key that decrypts it
//
// To replace the key, set the new one as FILES_SESSION_KEY_NEXT of every worker. Then
// swap the two keys of every worker. After the next login, remove
// FILES_SESSION_KEY_NEXT, which is the old key by then.
package main

import (
	"context"
	"encoding/base64"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/filescom/session"
	"github.com/filescom/session/autologin"
	"github.com/filescom/session/redisstore"
	"github.com/redis/go-redis/v9"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c := must(session.NewClient(session.WithSite(variable("FILES_SITE"))))
	user, password := variable("FILES_USERNAME"), variable("FILES_PASSWORD")
	options, err := redis.ParseURL(variable("REDIS_URL"))
	if err != nil {
		log.Fatal("REDIS_URL is not the URL of a Redis, such as rediss://:password@host:6379") // err may hold the password
	}
	keys := [][]byte{key("FILES_SESSION_KEY")}
	if os.Getenv("FILES_SESSION_KEY_NEXT") != "" {
		keys = append(keys, key("FILES_SESSION_KEY_NEXT"))
	}
	name := c.BaseURL() + ":" + user
	src := autologin.New(c, session.CreateParams{Username: user, Password: password})
	src.Store = must(autologin.Encrypt(redisstore.New(redis.NewClient(options), "files:"+name), name, keys...))
	files := &http.Client{Transport: &autologin.Transport{Source: src}}
	log.Printf("working for %s at %s", user, c.BaseURL())
	for ctx.Err() == nil {
		req := must(http.NewRequestWithContext(ctx, "GET", c.BaseURL()+"/api/rest/v1/folders/?per_page=1", nil)) // put your work here
		resp, err := files.Do(req)
		if err == nil {
			err = session.CheckResponse(resp)
			resp.Body.Close()
		}
		if err != nil && ctx.Err() == nil {
			log.Print(err) // the next call logs in again, as soon as it may
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
	src.Close(ctx) // logs nobody out
}

// variable returns a variable of the environment, which must be set.
func variable(name string) string {
	value := os.Getenv(name)
	if value == "" {
		log.Fatal(name, " is not set")
	}
	return value
}

// key returns the key in a variable of the environment.
func key(name string) []byte {
	key, err := base64.StdEncoding.DecodeString(variable(name))
	if err != nil || len(key) != 32 {
		log.Fatal(name, " is not 32 bytes in base64; make it by: openssl rand -base64 32")
	}
	return key
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}
