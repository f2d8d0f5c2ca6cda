// Command official is command login by the official SDK.
package main

import (
	"fmt"
	"os"

	files "github.com/Files-com/files-sdk-go/v3"
	"github.com/Files-com/files-sdk-go/v3/session"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: FILES_PASSWORD=... official user")
		os.Exit(2)
	}
	s, err := session.Create(files.SessionCreateParams{Username: os.Args[1], Password: os.Getenv("FILES_PASSWORD")})
	if err == nil {
		c := session.Client{Config: files.Config{SessionId: s.Id}.Init()}
		err = c.Delete()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
