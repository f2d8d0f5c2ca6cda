package autologin_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/filescom/session"
	"github.com/filescom/session/autologin"
)

var (
	traces    = flag.Int("traces", 10_000, "random traces of the model test")
	firstSeed = flag.Uint64("seed", 0, "seed of the first trace of the model test")
)

// Each trace is a random sequence of calls, of time that passes, and of what a site and a
// Store do. The world checks after each of them what must never happen.
func TestNoSequenceOfEventsBreaksARule(t *testing.T) {
	n := *traces
	if testing.Short() {
		n /= 10
	}
	const parts = 8
	for part := range parts {
		t.Run(fmt.Sprint("part", part+1), func(t *testing.T) {
			t.Parallel()
			for i := part; i < n && !t.Failed(); i += parts {
				synctest.Test(t, func(t *testing.T) { newWorld(t, *firstSeed+uint64(i)).run() })
			}
		})
	}
}

// world is a site with one user, and the Sources that share a session of that user.
type world struct {
	t       *testing.T
	seed    uint64
	client  *session.Client
	store   *memoryStore // nil: one Source without a Store
	actors  []*actor
	sliding bool
	life    time.Duration // of sessions; 0: not reported

	mu       sync.Mutex // guards the fields below
	rng      *rand.Rand
	events   []string
	broken   bool // a rule was broken
	password string
	live     map[string]time.Time // end of each session that is alive
	made     int
	posting  int
	left     map[string]bool // sessions that may be alive although nobody knows them

	loginFault string
	checkFault bool // checks are answered by a proxy
	storeFault string
	noLock     bool // the Store has failed in this trace, so that a Source may not know what others know
	mended     bool // nothing fails any more

	refused  map[string]time.Time // when a password was refused last
	heldTill time.Time            // no login before
	heldFrom time.Time
	forgiven time.Time // the last Reset or Close, which may allow a login
}

// actor is a Source with the parameters that its program has.
type actor struct {
	*autologin.Source
	w        *world
	n        int
	password string          // guarded by w.mu, as are the fields below
	ended    map[string]bool // by Invalidate
	closed   bool
}

func newWorld(t *testing.T, seed uint64) *world {
	rng := rand.New(rand.NewPCG(seed, 1))
	w := &world{t: t, seed: seed, rng: rng, password: "password0", live: map[string]time.Time{}, left: map[string]bool{}, refused: map[string]time.Time{}}
	w.sliding = rng.IntN(2) == 0
	w.life = []time.Duration{0, 10 * time.Second, 3 * time.Minute, 6 * time.Hour}[rng.IntN(4)]
	w.client = newClient(t, session.WithHTTPClient(&http.Client{Transport: w}), session.WithRetries(rng.IntN(2)))
	sources := 1
	if rng.IntN(3) > 0 {
		w.store, sources = &memoryStore{}, 1+rng.IntN(3)
	}
	for n := range sources {
		w.addSource(n)
	}
	return w
}

func (w *world) addSource(n int) {
	a := &actor{Source: &autologin.Source{Client: w.client}, w: w, n: n, password: "password0", ended: map[string]bool{}}
	a.Params = a.params
	if w.store != nil {
		a.Store = worldStore{w}
	}
	w.actors = append(w.actors, a)
}

func (w *world) run() {
	w.logf("sliding %v, life %v, %d sources, store %v", w.sliding, w.life, len(w.actors), w.store != nil)
	var calls sync.WaitGroup
	for range 10 + w.pick(20) {
		w.step(w.actors[w.pick(len(w.actors))], &calls)
	}
	calls.Wait()
	w.checkEnd()
}

// step makes one random event happen. Calls may go on during later events.
func (w *world) step(a *actor, calls *sync.WaitGroup) {
	switch w.pick(21) {
	case 0, 1, 2, 3, 4:
		for range 1 + w.pick(3) {
			calls.Go(a.session)
		}
	case 5, 6:
		calls.Go(a.request)
	case 7, 8, 9, 10, 11:
		pause := []time.Duration{time.Millisecond, time.Second, 6 * time.Second, 40 * time.Second, 70 * time.Second, 11 * time.Minute, 62 * time.Minute, 7 * time.Hour}[w.pick(8)]
		w.logf("%v pass", pause)
		time.Sleep(pause)
	case 12:
		w.set("the site ends all sessions", func() { clear(w.live) })
	case 13:
		a.invalidateAny()
	case 14:
		w.set("source %d: Reset", func() { w.forgiven = time.Now() }, a.n)
		a.Reset()
	case 15:
		calls.Go(a.revoke)
	case 16:
		password := fmt.Sprint("password", w.pick(3))
		w.set("source %d has password %s", func() { a.password = password }, a.n, password)
	case 17:
		password := fmt.Sprint("password", w.pick(3))
		w.set("the password is %s", func() { w.password = password }, password)
	case 18:
		fault := []string{"", "", "503", "429", "broken", "not sent", "locked out"}[w.pick(7)]
		w.set("login fault %q", func() { w.loginFault = fault }, fault)
	case 19:
		on := w.pick(2) == 0
		w.set("check fault %v", func() { w.checkFault = on }, on)
	case 20:
		fault := []string{"", "", "load", "lock", "save", "answer", "lost", "hang"}[w.pick(8)]
		if w.store != nil {
			w.set("store fault %q", func() { w.storeFault, w.noLock = fault, w.noLock || fault != "" }, fault)
		}
		if w.pick(8) == 0 {
			calls.Go(a.close)
		}
	}
}

// checkEnd mends everything. Then every Source must work again, and no session may be
// alive that nobody knows.
func (w *world) checkEnd() {
	time.Sleep(time.Minute) // the logins whose callers have left come to their end
	w.set("mend", func() {
		w.loginFault, w.checkFault, w.storeFault, w.forgiven, w.mended = "", false, "", time.Now(), true
		for _, a := range w.actors {
			a.password = w.password
		}
	})
	var open []*actor
	for _, a := range w.actors {
		if !a.closed {
			open = append(open, a)
			a.Reset()
		}
	}
	for _, a := range open {
		if s, err := a.Session(w.t.Context()); err != nil {
			w.failf("source %d does not work again: %v", a.n, err)
		} else if !w.alive(s.ID) {
			a.Invalidate(s)
			if _, err := a.Session(w.t.Context()); err != nil {
				w.failf("source %d does not log in after the end of its session: %v", a.n, err)
			}
		}
	}
	if len(open) > 0 {
		if err := open[0].Revoke(w.t.Context()); err != nil {
			w.failf("Revoke: %v", err)
		}
		w.checkNoneLeft("Revoke")
	}
	for _, a := range w.actors {
		if err := a.Close(w.t.Context()); err != nil {
			w.failf("Close: %v", err)
		}
		if _, err := a.Session(w.t.Context()); !errors.Is(err, autologin.ErrClosed) {
			w.failf("after Close: %v", err)
		}
	}
	if w.store == nil || len(open) > 0 {
		w.checkNoneLeft("Close")
	}
}

func (w *world) checkNoneLeft(when string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id := range w.live {
		if w.isLive(id) && !w.left[id] {
			w.fail("session %s is alive after %s, and nobody knows it", id, when)
		}
	}
}

// session calls Session, and checks what it returns.
func (a *actor) session() {
	limit := time.Duration(1+a.w.pick(40)) * 500 * time.Millisecond
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	before, start := a.endedBefore(), time.Now()
	s, err := a.callSession(ctx)
	now := time.Now()
	switch {
	case now.Sub(start) > limit:
		a.w.failf("source %d: Session took %v of %v", a.n, now.Sub(start), limit)
	case err != nil:
		a.w.logf("source %d: %v", a.n, err)
		return
	case !s.TimeoutAt.IsZero() && !now.Before(s.TimeoutAt):
		a.w.failf("source %d: session %s is past its end", a.n, s.ID)
	case before[s.ID]:
		a.w.failf("source %d: session %s had ended", a.n, s.ID)
	}
	a.w.logf("source %d: session %s", a.n, s.ID)
	if !a.w.use(s.ID) {
		a.invalidate(s)
	}
}

// callSession turns a panic of Params into an error.
func (a *actor) callSession(ctx context.Context) (s *session.Session, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	return a.Session(ctx)
}

// request sends a body through a Transport.
func (a *actor) request() {
	defer func() { recover() }() // a panic of Params
	limit := time.Duration(1+a.w.pick(60)) * time.Second
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, http.MethodPost, session.DefaultBaseURL+"/api/rest/v1/folders", io.NopCloser(strings.NewReader("body")))
	start := time.Now()
	resp, err := (&autologin.Transport{Source: a.Source, Base: a.w}).RoundTrip(req)
	if took := time.Since(start); took > limit {
		a.w.failf("source %d: a request took %v of %v", a.n, took, limit)
	}
	if err == nil {
		resp.Body.Close()
		a.w.logf("source %d: request answered by %d", a.n, resp.StatusCode)
	}
}

func (a *actor) invalidate(s *session.Session) {
	a.Invalidate(s)
	a.w.set("source %d: Invalidate %s", func() { a.ended[s.ID] = true }, a.n, s.ID)
}

// invalidateAny is a mistake of a program: the session may be alive, or of another time.
func (a *actor) invalidateAny() {
	a.w.mu.Lock()
	id := fmt.Sprint("session-", a.w.made-a.w.rng.IntN(2))
	a.w.left[id] = true
	a.w.mu.Unlock()
	a.invalidate(&session.Session{ID: id})
}

func (a *actor) endedBefore() map[string]bool {
	a.w.mu.Lock()
	defer a.w.mu.Unlock()
	before := map[string]bool{}
	for id := range a.ended {
		before[id] = !a.w.noLock
	}
	return before
}

func (a *actor) revoke() {
	defer func() { recover() }() // a panic of Params
	limit := time.Duration(1+a.w.pick(20)) * time.Second
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	a.w.logf("source %d: Revoke within %v", a.n, limit)
	start := time.Now()
	err := a.Revoke(ctx)
	if took := time.Since(start); took > limit+6*time.Second { // 5 more for a call of the Store
		a.w.failf("source %d: Revoke took %v of %v", a.n, took, limit)
	}
	a.w.logf("source %d: Revoke returned %v", a.n, err)
}

func (a *actor) close() {
	defer func() { recover() }() // a panic of Params
	limit := time.Duration(1+a.w.pick(10)) * time.Second
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	a.w.set("source %d: Close within %v", func() { a.closed, a.w.forgiven = true, time.Now() }, a.n, limit)
	start := time.Now()
	err := a.Close(ctx)
	if took := time.Since(start); took > limit {
		a.w.failf("source %d: Close took %v of %v", a.n, took, limit)
	}
	a.w.set("source %d: Close returned %v", func() { a.w.forgiven = time.Now() }, a.n, err)
}

// params is the function Params of a program, which may take time, fail and panic.
func (a *actor) params(ctx context.Context) (session.CreateParams, error) {
	if a.w.pick(4) == 0 {
		time.Sleep(time.Duration(a.w.pick(3000)) * time.Millisecond)
	}
	if _, err := a.Session(ctx); !errors.Is(err, session.ErrInvalidParams) {
		a.w.failf("source %d: Params may call its own Source: %v", a.n, err)
	}
	event := a.w.pick(40)
	a.w.mu.Lock()
	defer a.w.mu.Unlock()
	switch {
	case a.w.mended:
	case event == 0:
		return session.CreateParams{}, errors.New("no password")
	case event == 1:
		panic("no password")
	case event == 2:
		return session.CreateParams{Username: "alice"}, nil // the file is empty
	}
	return session.CreateParams{Username: "alice", Password: a.password}, nil
}

// RoundTrip is the site.
func (w *world) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := w.travel(r); err != nil {
		return nil, err
	}
	if r.Method == http.MethodPost && r.URL.Path == "/api/rest/v1/sessions" {
		return w.logIn(r)
	}
	body, _ := io.ReadAll(r.Body)
	w.mu.Lock()
	defer w.mu.Unlock()
	id := r.Header.Get(session.AuthHeader)
	isCheck := r.URL.Path == "/api/rest/v1/site"
	switch {
	case isCheck && w.checkFault:
		w.left[id] = true // the Source may log in without knowing that it is alive
		return respond(r, http.StatusBadGateway, "<html>"), nil
	case !w.isLive(id):
		return sessionEnded(r)
	case r.Method == http.MethodDelete:
		delete(w.live, id)
		return respond(r, http.StatusNoContent, ""), nil
	case !isCheck && string(body) != "body":
		w.fail("the body of a request was lost: %q", body)
	}
	w.slide(id)
	return respond(r, http.StatusOK, fmt.Sprintf(`{"session":{%s}}`, timeoutAt(w.live[id]))), nil
}

// travel is the time that a request takes.
func (w *world) travel(r *http.Request) error {
	if r.Body == nil {
		r.Body = http.NoBody
	}
	select {
	case <-time.After(time.Duration(w.pick(300)) * time.Millisecond):
		return nil
	case <-r.Context().Done():
		return context.Cause(r.Context())
	}
}

func (w *world) logIn(r *http.Request) (*http.Response, error) {
	password := form(r).Password
	w.mu.Lock()
	w.checkLogin(password)
	w.posting++
	fault := w.loginFault
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.posting--
	}()
	if fault == "not sent" {
		httptrace.ContextClientTrace(r.Context()).GetConn("app.files.com")
		return nil, errBroken
	}
	if err := w.travel(r); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case fault == "503":
		w.hold(500 * time.Millisecond)
		return unavailable(r)
	case fault == "429":
		w.hold(7 * time.Second)
		return refuse(429, "rate-limited/too-many-login-attempts", "Retry-After", "7")(r)
	case fault == "broken":
		w.hold(500 * time.Millisecond)
		return breakConnection(r)
	case fault == "locked out":
		w.hold(15 * time.Minute)
		return lockedOut(r)
	case password != w.password:
		w.refused[password] = time.Now()
		return wrongPassword(r)
	}
	return w.create(r), nil
}

// checkLogin checks that a login may be posted.
func (w *world) checkLogin(password string) {
	now := time.Now()
	w.event("login with %s", password)
	if w.posting > 0 {
		w.fail("two logins run at the same time")
	}
	if w.noLock {
		return
	}
	// A Reset or a Close during the login that failed makes its failure void.
	const longestLogin = time.Minute
	at, refused := w.refused[password]
	if refused && now.Sub(at) < time.Hour && at.Sub(w.forgiven) > longestLogin {
		w.fail("password %s is posted again %v after it was refused", password, now.Sub(at))
	}
	if now.Before(w.heldTill) && w.heldFrom.Sub(w.forgiven) > longestLogin {
		w.fail("a login is posted %v before the end of the wait", w.heldTill.Sub(now))
	}
}

func (w *world) hold(wait time.Duration) { w.heldFrom, w.heldTill = time.Now(), time.Now().Add(wait) }

// create makes a session. The one before it must not be alive, unless nobody could know.
func (w *world) create(r *http.Request) *http.Response {
	now, end := time.Now(), time.Time{}
	for id := range w.live {
		ends := !w.sliding && w.life > 0 && w.live[id].Sub(now) < time.Minute
		if w.isLive(id) && !ends && !w.left[id] && !w.noLock {
			w.fail("a login replaces session %s, which is alive", id)
		}
		w.left[id] = true
	}
	w.made++
	id := fmt.Sprint("session-", w.made)
	if w.life > 0 {
		end = now.Add(w.life)
	}
	w.live[id] = end
	w.event("session %s is made", id)
	return respond(r, http.StatusCreated, strings.TrimSuffix(fmt.Sprintf(`{"id":%q,%s`, id, timeoutAt(end)), ",")+"}")
}

func (w *world) isLive(id string) bool {
	end, live := w.live[id]
	return live && (end.IsZero() || time.Now().Before(end))
}

func (w *world) slide(id string) {
	if w.sliding && w.life > 0 {
		w.live[id] = time.Now().Add(w.life)
	}
}

func (w *world) alive(id string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.isLive(id)
}

// use sends a request with the session. It reports whether that is alive.
func (w *world) use(id string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	live := w.isLive(id)
	if live {
		w.slide(id)
	}
	return live
}

func (w *world) pick(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rng.IntN(n)
}

func (w *world) set(format string, change func(), args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.event(format, args...)
	change()
}

func (w *world) logf(format string, args ...any)  { w.set(format, func() {}, args...) }
func (w *world) failf(format string, args ...any) { w.set("", func() { w.fail(format, args...) }) }

// event keeps a line of the trace. w.mu is held.
func (w *world) event(format string, args ...any) {
	w.events = append(w.events, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
}

// fail reports the first broken rule with its trace. w.mu is held.
func (w *world) fail(format string, args ...any) {
	if w.broken {
		return
	}
	w.broken = true
	w.t.Errorf("seed %d: %s\n%s", w.seed, fmt.Sprintf(format, args...), strings.Join(w.events, "\n"))
}

// worldStore is the Store of the world with its faults.
type worldStore struct{ w *world }

type worldLock struct {
	autologin.Lock
	w *world
}

// fault waits until ctx ends if the Store hangs. It reports whether the fault is one of
// those.
func (s worldStore) fault(ctx context.Context, faults ...string) bool {
	s.w.mu.Lock()
	fault := s.w.storeFault
	s.w.mu.Unlock()
	if fault == "hang" {
		<-ctx.Done()
	}
	return slices.Contains(faults, fault)
}

func (s worldStore) Load(ctx context.Context) ([]byte, error) {
	if s.fault(ctx, "load") {
		return nil, errBroken
	}
	return s.w.store.Load(ctx)
}

func (s worldStore) TryLock(ctx context.Context) (autologin.Lock, error) {
	if s.fault(ctx, "lock") {
		return nil, errBroken
	}
	lock, err := s.w.store.TryLock(ctx)
	if err != nil {
		return nil, err
	}
	return worldLock{lock, s.w}, nil
}

func (l worldLock) Save(ctx context.Context, record []byte, ttl time.Duration) error {
	s := worldStore{l.w}
	if s.fault(ctx, "lost") {
		return autologin.ErrLockLost
	}
	if s.fault(ctx, "save") {
		return errBroken
	}
	err := l.Lock.Save(ctx, record, ttl)
	if s.fault(ctx, "answer") {
		return errBroken
	}
	return err
}

func (l worldLock) Remove(ctx context.Context) error {
	if (worldStore{l.w}).fault(ctx, "save", "lost") {
		return errBroken
	}
	return l.Lock.Remove(ctx)
}
