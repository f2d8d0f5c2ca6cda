// Command totp logs in twice at a fake server, with codes that it computes from a
// TOTP secret. It is a separate module, since it requires a package that computes
// the codes.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"time"

	"github.com/filescom/session"
	"github.com/filescom/session/sessiontest"
	"github.com/pquerna/otp/totp"
)

// step is how long a code is good at Files.com.
const step = 30 * time.Second

// authenticator computes the codes of a TOTP secret. It returns no code twice, since
// Files.com accepts each code once. All logins of a user must share one
// authenticator. After a restart, its first code may be one that was sent before.
type authenticator struct {
	secret string        // in base32, as sites show it
	turn   chan struct{} // holds one caller at a time
	used   time.Time     // start of the step of the last code
}

func newAuthenticator(secret string) *authenticator {
	return &authenticator{secret: secret, turn: make(chan struct{}, 1)}
}

// code is a session.OTPFunc. If it has already returned the code of this step, it
// waits for the next step or the end of ctx.
func (a *authenticator) code(ctx context.Context, _ *session.TwoFactorError) (string, error) {
	select {
	case a.turn <- struct{}{}:
		defer func() { <-a.turn }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	now := time.Now().Truncate(step)
	if !now.After(a.used) {
		now = a.used.Add(step)
		select {
		case <-time.After(time.Until(now)):
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	code, err := totp.GenerateCode(a.secret, now)
	if err != nil {
		return "", fmt.Errorf("the TOTP secret is not valid: %w", err) // err holds no part of the secret
	}
	a.used = now
	return code, nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	const secret = "JBSWY3DPEHPK3PXP"
	user := sessiontest.User{Username: "alice", Password: "secret", OTP: "wanted"}
	srv := sessiontest.NewServer(user)
	defer srv.Close()

	a := newAuthenticator(secret)
	ask := func(ctx context.Context, challenge *session.TwoFactorError) (string, error) {
		code, err := a.code(ctx, challenge)
		user.OTP = code // the server knows the secret as well
		srv.AddUser(user)
		return code, err
	}
	for range 2 {
		fmt.Println("logging in; a second login within 30 seconds waits for the next code")
		s, err := session.Create(ctx, session.CreateParams{Username: "alice", Password: "secret"},
			session.WithSite(srv.URL), session.WithOTP(ask))
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("logged in at", time.Now().Format(time.TimeOnly))
		if err := session.Delete(context.WithoutCancel(ctx), s); err != nil {
			log.Print(err)
		}
	}
}
