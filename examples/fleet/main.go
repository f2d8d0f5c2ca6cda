// Command fleet is one of many workers that act for one user. They share a session
// through Redis, so that all of them together log in once.
//
// It reads these variables of the environment:
//
//   - FILES_URL, such as https://mysite.files.com
//   - FILES_USERNAME and FILES_PASSWORD
//   - REDIS_URL, such as rediss://:password@host:6379
//   - FILES_SESSION_KEY, which encrypts the session, as made by: openssl rand -base64 32
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
	"github.com/filescom/session/redisstore"
	"github.com/redis/go-redis/v9"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c := must(session.NewClient(session.WithSite(os.Getenv("FILES_URL"))))
	url, user := c.BaseURL(), os.Getenv("FILES_USERNAME")
	options, err := redis.ParseURL(os.Getenv("REDIS_URL"))
	if err != nil {
		log.Fatal("REDIS_URL is not the URL of a Redis, such as rediss://:password@host:6379") // err may hold the password
	}
	key, err := base64.StdEncoding.DecodeString(os.Getenv("FILES_SESSION_KEY"))
	if err != nil {
		log.Fatal("FILES_SESSION_KEY is not base64; make it by: openssl rand -base64 32")
	}
	src := &session.Source{
		Login: func(ctx context.Context) (*session.Session, error) {
			return c.Create(ctx, session.CreateParams{Username: user, Password: os.Getenv("FILES_PASSWORD")})
		},
		Logout: c.Delete,
		Store:  must(session.NewEncryptedStore(redisstore.New(redis.NewClient(options), "files:"+url+":"+user), url+":"+user, key)),
	}
	files := &http.Client{Transport: &session.Transport{Source: src}}
	for ctx.Err() == nil {
		req := must(http.NewRequestWithContext(ctx, "GET", url+"/api/rest/v1/folders/?per_page=1", nil)) // put your work here
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

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}
