// Command login logs a user in and out: what a program of this alone weighs.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/filescom/session"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: FILES_PASSWORD=... login user")
		os.Exit(2)
	}
	ctx := context.Background()
	s, err := session.Create(ctx, session.CreateParams{Username: os.Args[1], Password: os.Getenv("FILES_PASSWORD")})
	if err == nil {
		err = session.Delete(ctx, s)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
