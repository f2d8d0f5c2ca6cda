// Command filessession-fake serves the Files.com Session API from memory, for
// programs in any language:
//
//	filessession-fake -addr 127.0.0.1:4041 -user alice:secret -user bob:secret:totp
//
// It prints what it serves, and each request as it is answered, and ends on ^C.
package main

import (
	"crypto/rand"
	"encoding/base32"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/filescom/session/sessiontest"
)

func main() {
	log.SetFlags(log.Ltime)
	log.SetOutput(os.Stdout)
	addr := flag.String("addr", "127.0.0.1:4041", "address to serve on")
	lifetime := flag.Duration("lifetime", 6*time.Hour, "of sessions")
	tries := flag.Int("tries", 0, "wrong tries that lock a user out for 10 minutes; 0: any number")
	year := flag.Int("recorded", 2025, "year whose shapes are answered: 2021 or 2025")
	var users []sessiontest.User
	flag.Func("user", "name:password, or name:password:method for a second factor (totp, sms, yubi, …), or name:password:method:code", func(s string) error {
		u, err := parseUser(s)
		users = append(users, u)
		return err
	})
	flag.Parse()
	if flag.NArg() > 0 {
		log.Fatalf("what is %q? Only flags are known, see -help", flag.Arg(0))
	}
	switch {
	case *lifetime <= 0:
		log.Fatal("-lifetime must be above 0")
	case *tries < 0:
		log.Fatal("-tries must not be negative")
	case *year != 2021 && *year != 2025:
		log.Fatal("-recorded is 2021 or 2025")
	}
	if len(users) == 0 {
		users = []sessiontest.User{{Username: "alice", Password: "secret"}}
	}
	srv, err := sessiontest.Listen(*addr, users...)
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	srv.Watch(func(r sessiontest.Request) { log.Print(r) })
	srv.SetLifetime(*lifetime)
	srv.SetLockOut(*tries, 10*time.Minute)
	srv.SetRecording(sessiontest.Recording(fmt.Sprint(*year)))
	log.Print("serving ", srv.URL+"/api/rest/v1/sessions, and any other path under /api/rest/v1/")
	for _, u := range users {
		log.Print(describe(u))
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	<-stop
	log.Printf("%+v", srv.Counts())
}

// parseUser reads name:password:method:code; only the code may hold a colon. A
// totp without a code gets a secret.
func parseUser(s string) (sessiontest.User, error) {
	part := strings.SplitN(s, ":", 4)
	if len(part) < 2 || slices.Contains(part, "") {
		return sessiontest.User{}, errors.New("wants name:password, name:password:method or name:password:method:code")
	}
	u := sessiontest.User{Username: part[0], Password: part[1]}
	if len(part) == 2 {
		return u, nil
	}
	u.Methods = []string{part[2]}
	switch {
	case len(part) == 4:
		u.OTP = part[3]
	case part[2] == "totp":
		seed := make([]byte, 10)
		rand.Read(seed)
		u.TOTP = base32.StdEncoding.EncodeToString(seed)
	default:
		u.OTP = "123456"
	}
	return u, nil
}

func describe(u sessiontest.User) string {
	text := fmt.Sprintf("user %s, password %s", u.Username, u.Password)
	switch {
	case u.TOTP != "":
		text += fmt.Sprintf(", codes of the TOTP secret %s", u.TOTP)
	case u.OTP != "":
		text += fmt.Sprintf(", second factor %s: %s", u.Methods[0], u.OTP)
	}
	return text
}
