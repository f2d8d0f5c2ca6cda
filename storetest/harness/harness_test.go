//go:build unix

package harness

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/filescom/session/autologin"
	"github.com/filescom/session/filestore"
	"github.com/filescom/session/sessiontest"
)

var (
	endings = flag.Int("endings", 8, "how often a session is ended in a test")
	rounds  = flag.Int("rounds", 24, "how many processes are killed")
	seed    = flag.Uint64("seed", 1, "seed of the moments at which processes are killed")
)

// backend is a kind of Store.
type backend struct {
	open    func(address string) (autologin.Store, error)
	address func(t *testing.T) string // of a new record
	lease   time.Duration             // after which the lock of a stopped process is lost; 0: never
}

var backends = map[string]backend{
	"file": {
		open:    func(path string) (autologin.Store, error) { return filestore.New(path), nil },
		address: func(t *testing.T) string { return filepath.Join(t.TempDir(), "folder", "session") },
	},
}

func TestMain(m *testing.M) {
	if text := os.Getenv(childVariable); text != "" {
		runChild(text)
	}
	flag.Parse()
	code := m.Run()
	if len(table) > 0 {
		fmt.Println("| Store | Rule | Processes | Counted |\n| --- | --- | --- | --- |")
		for _, row := range table {
			fmt.Println(row)
		}
	}
	os.Exit(code)
}

var table []string

// fleet is a server, a record, and the processes that share it.
type fleet struct {
	*testing.T
	*sessiontest.Server
	backend string
	task    task
}

// each runs test with every backend.
func each(t *testing.T, test func(f *fleet)) {
	if testing.Short() {
		t.Skip("the test starts processes")
	}
	for name, b := range backends {
		t.Run(name, func(t *testing.T) {
			srv := sessiontest.NewServer(sessiontest.User{Username: "alice", Password: "first"})
			t.Cleanup(srv.Close)
			f := &fleet{T: t, Server: srv, backend: name, task: task{Backend: name, Address: b.address(t), URL: srv.URL,
				PasswordFile: filepath.Join(t.TempDir(), "password"), Workers: 1, Calls: 1, Pause: 10 * time.Millisecond}}
			f.setPassword("first")
			test(f)
		})
	}
}

func (f *fleet) setPassword(password string) {
	f.Helper()
	if err := os.WriteFile(f.task.PasswordFile, []byte(password), 0o600); err != nil {
		f.Fatal(err)
	}
}

// report adds a row to the table.
func (f *fleet) report(rule, processes, format string, args ...any) {
	table = append(table, fmt.Sprintf("| %s | %s | %s | %s |", f.backend, rule, processes, fmt.Sprintf(format, args...)))
}

func (f *fleet) posts() (n int) {
	for _, r := range f.Requests() {
		if r.Method == "POST" {
			n++
		}
	}
	return n
}

// want checks a count.
func (f *fleet) want(counted string, got, want int) {
	f.Helper()
	if got != want {
		f.Errorf("%s: got %d, want %d; the server counted %+v", counted, got, want, f.Counts())
	}
}

// child is a process under way.
type child struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	result chan outcome // the zero outcome if it was killed
}

// start starts a process.
func (f *fleet) start(change func(*task)) *child {
	f.Helper()
	t := f.task
	if change != nil {
		change(&t)
	}
	text, err := json.Marshal(t)
	if err != nil {
		f.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+string(text))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		f.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		f.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { cmd.Process.Kill() })
	c := &child{cmd, stdin, make(chan outcome, 1)}
	go func() {
		var result outcome
		json.NewDecoder(stdout).Decode(&result)
		cmd.Wait()
		c.result <- result
	}()
	return c
}

// startAll starts n processes.
func (f *fleet) startAll(n int, change func(*task)) []*child {
	f.Helper()
	var children []*child
	for range n {
		children = append(children, f.start(change))
	}
	return children
}

// wait returns the sum of the outcomes of processes.
func (f *fleet) wait(children []*child) outcome {
	f.Helper()
	sum := outcome{Failed: map[string]int{}, Good: true}
	for _, c := range children {
		select {
		case o := <-c.result:
			sum.add(o)
		case <-time.After(2 * time.Minute):
			f.Fatal("a process does not end within 2 minutes")
		}
	}
	return sum
}

// stop ends processes that run until they are told.
func (f *fleet) stop(children []*child) outcome {
	f.Helper()
	for _, c := range children {
		c.stdin.Close()
	}
	return f.wait(children)
}

// until waits until a condition holds.
func (f *fleet) until(event string, cond func() bool) {
	f.Helper()
	for deadline := time.Now().Add(time.Minute); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			f.Fatalf("it did not happen within a minute that %s; the server counted %+v", event, f.Counts())
		}
	}
}

func TestEachEndingCostsOneLogin(t *testing.T) {
	for _, tc := range []struct {
		processes, workers, calls int
		every                     time.Duration
	}{
		{8, 8, 0, time.Second},
		{8, 1, 200, 500 * time.Millisecond},
	} {
		each(t, func(f *fleet) {
			children := f.startAll(tc.processes, func(t *task) { t.Workers, t.Calls, t.Pause = tc.workers, tc.calls, 20*time.Millisecond })
			f.until("a process logs in", func() bool { return f.Counts().Logins > 0 })
			ended := 0
			done := make(chan outcome, 1)
			if tc.calls > 0 {
				go func() { done <- f.wait(children) }()
			}
			var sum outcome
			for ticker := time.Tick(tc.every); ; {
				select {
				case sum = <-done:
				case <-ticker:
					if tc.calls > 0 || ended < *endings {
						ended += f.ExpireUser("alice")
						continue
					}
					sum = f.stop(children)
				}
				break
			}
			last := 0
			if f.Counts().Live == 0 {
				last = 1 // nobody was there to notice
			}
			f.want("logins", f.Counts().Logins, ended+1-last)
			f.want("POSTs", f.posts(), ended+1-last)
			f.want("failed calls", sum.failed(), 0)
			f.want("log-outs", f.Counts().Logouts, 0)
			f.report("an ending costs one login", fmt.Sprintf("%d × %d workers, ended every %v", tc.processes, tc.workers, tc.every),
				"%d logins for %d endings (%.2f); %d calls, %d failed", f.Counts().Logins, ended,
				float64(f.Counts().Logins-1+last)/float64(max(1, ended)), sum.Calls, sum.failed())
		})
	}
}

func TestNoRecordIsTornOrLost(t *testing.T) {
	each(t, func(f *fleet) {
		const writers, saves, readers = 8, 200, 4
		reading := f.startAll(readers, func(t *task) { t.Counting = -1 })
		f.wait(f.startAll(writers, func(t *task) { t.Counting = saves }))
		sum := f.stop(reading)
		store, err := backends[f.backend].open(f.task.Address)
		if err != nil {
			f.Fatal(err)
		}
		data, err := store.Load(f.Context())
		if err != nil || string(data) != counter(writers*saves) {
			f.Errorf("an update is lost: the record is %.20q (%v)", data, err)
		}
		f.want("torn records", sum.Torn, 0)
		f.report("no record is torn or lost", fmt.Sprintf("%d × %d saves, %d readers", writers, saves, readers), "%d loads, %d torn; no update lost", sum.Calls, sum.Torn)
	})
}

func TestAProcessThatIsStoppedLeavesOneSession(t *testing.T) {
	each(t, func(f *fleet) {
		stopped := f.start(func(t *task) { t.StopStep = stepPost })
		time.Sleep(500 * time.Millisecond)
		others := f.startAll(3, nil)
		logins, logouts := 1, 0
		if lease := backends[f.backend].lease; lease > 0 {
			f.want("failed calls", f.wait(others).failed(), 0)
			logins, logouts = 2, 1
		} else {
			time.Sleep(500 * time.Millisecond)
			f.want("POSTs while the process has the lock", f.posts(), 0)
		}
		stopped.cmd.Process.Signal(syscall.SIGCONT)
		all := []*child{stopped}
		if logouts == 0 {
			all = append(all, others...)
		}
		f.want("failed calls", f.wait(all).failed(), 0)
		f.want("logins", f.Counts().Logins, logins)
		f.want("log-outs", f.Counts().Logouts, logouts)
		f.want("live sessions", f.Counts().Live, 1)
		f.report("a stopped process leaves one session", "1 stopped before its POST, 3 waiting", "%d logins, %d logged out, %d live", f.Counts().Logins, f.Counts().Logouts, f.Counts().Live)
	})
}

func TestNothingIsPostedThatCannotBeKept(t *testing.T) {
	each(t, func(f *fleet) {
		sum := f.wait(f.startAll(8, func(t *task) { t.FailSave = 1 }))
		f.want("calls that were not saved", sum.Failed["not saved"], 8)
		f.want("POSTs", f.posts(), 0)
		sum = f.wait(f.startAll(8, func(t *task) { t.FailSave = 2 }))
		f.want("calls that were not saved", sum.Failed["not saved"], 8)
		f.want("logins", f.Counts().Logins, 8)
		f.want("log-outs", f.Counts().Logouts, 8)
		f.report("no login is posted that cannot be saved", "8 that cannot save, 8 that cannot save twice", "0 POSTs; then %d logins, %d logged out", f.Counts().Logins, f.Counts().Logouts)
	})
}

func TestAWrongPasswordIsPostedOnceByAllProcesses(t *testing.T) {
	each(t, func(f *fleet) {
		f.setPassword("wrong")
		const processes = 40
		sum := f.wait(f.startAll(processes, nil))
		f.want("POSTs", f.posts(), 1)
		f.want("refused calls", sum.Failed["wrong password"]+sum.Failed["wrong password, shared"], processes)
		f.setPassword("first")
		sum = f.wait(f.startAll(processes, nil))
		f.want("POSTs", f.posts(), 2)
		f.want("failed calls", sum.failed(), 0)
		f.report("a wrong password is posted once", fmt.Sprintf("%d with a wrong password, %d with the right one", processes, processes), "1 POST; then 1 POST, 0 failed")
	})
}

func TestAPasswordIsChangedUnderTheProcesses(t *testing.T) {
	each(t, func(f *fleet) {
		children := f.startAll(8, func(t *task) { t.Workers, t.Calls = 4, 0 })
		f.until("a process logs in", func() bool { return f.Counts().Logins > 0 })
		time.Sleep(time.Second)
		f.AddUser(sessiontest.User{Username: "alice", Password: "second"})
		f.ExpireUser("alice")
		f.until("a login is refused", func() bool { return f.Counts().Refused > 0 })
		time.Sleep(time.Second)
		f.want("refused POSTs", f.Counts().Refused, 1)
		f.setPassword("second")
		f.want("failed calls of a process with the new password", f.wait(f.startAll(1, nil)).failed(), 0)
		time.Sleep(6 * time.Second) // the others look every 5 s
		sum := f.stop(children)
		if !sum.Good {
			f.Error("a process did not adopt the session of the new password")
		}
		f.want("logins", f.Counts().Logins, 2)
		f.want("refused POSTs", f.Counts().Refused, 1)
		f.report("a changed password is refused once", "8 × 4 workers, password changed", "1 refused POST, 1 login; all use the new session within 6 s")
	})
}

func TestALockOutIsKnownToAllProcesses(t *testing.T) {
	each(t, func(f *fleet) {
		f.SetLockOut(1, time.Hour)
		const processes = 20
		var children []*child
		for i := range processes {
			name := filepath.Join(f.TempDir(), "password")
			if err := os.WriteFile(name, []byte(fmt.Sprint("wrong", i)), 0o600); err != nil {
				f.Fatal(err)
			}
			children = append(children, f.start(func(t *task) { t.PasswordFile = name }))
		}
		sum := f.wait(children)
		f.want("failed calls", sum.failed(), processes)
		f.want("POSTs", f.posts(), 2)
		f.want("calls that were told of the lock-out", sum.Failed["locked out, shared"], processes-2)
		f.report("a lock-out is known to all", fmt.Sprintf("%d with passwords of their own, lock-out after 1", processes), "%d POSTs; %d told by another", f.posts(), sum.Failed["locked out, shared"])
	})
}

func TestBackOffIsSharedUnlessTheHostIsToBlame(t *testing.T) {
	each(t, func(f *fleet) {
		sum := f.wait(f.startAll(8, func(t *task) { t.URL = "http://127.0.0.1:1" }))
		f.want("calls that were not sent", sum.Failed["not sent"], 8)
		f.Inject(sessiontest.Fault{Method: "POST", Status: 503, Header: http.Header{"Retry-After": {"60"}}})
		f.want("failed calls of the process that met the 503", f.wait(f.startAll(1, nil)).failed(), 1)
		sum = f.wait(f.startAll(4, nil))
		f.want("calls that backed off", sum.Failed["back-off, shared"], 4)
		f.want("POSTs", f.posts(), 1)
		f.report("back-off is shared", "8 without a connection, 1 that met a 503, 4 after it", "1 POST; 4 of 4 backed off")
	})
}

func TestAKilledProcessLeavesTheStoreUsable(t *testing.T) {
	each(t, func(f *fleet) {
		random := rand.New(rand.NewPCG(*seed, 0))
		killed, abandoned, n := 0, 0, *rounds
		if backends[f.backend].lease > 0 {
			n = max(1, n/8) // each takes as long as a lease
		}
		for range n {
			f.task.Address = backends[f.backend].address(f.T)
			f.Reset()
			step, delay := stepLoad+random.IntN(stepUnlock), time.Duration(random.IntN(1500))*time.Microsecond
			f.Inject(sessiontest.Fault{Method: "POST", Delay: time.Millisecond, After: true})
			victim := f.start(func(t *task) { t.KillStep, t.KillDelay, t.Calls, t.Pause = step, delay, 0, time.Millisecond })
			time.Sleep(time.Duration(random.IntN(40)) * time.Millisecond)
			survivors := f.startAll(3, nil)
			sum := f.wait(survivors)
			if o := f.stop([]*child{victim}); o.Calls == 0 {
				killed++
			}
			f.want(fmt.Sprintf("failed calls after a kill %v after step %d", delay, step), sum.failed(), 0)
			logins := f.Counts().Logins
			if logins < 1 || logins > 2 {
				f.Errorf("%d logins after a kill %v after step %d, want 1, or 2 if it was between the login and its save", logins, delay, step)
			}
			abandoned += logins - 1
			f.want("failed calls of the next process", f.wait(f.startAll(1, nil)).failed(), 0)
			f.want("logins by the next process", f.Counts().Logins-logins, 0)
		}
		f.report("a killed process leaves the Store usable", fmt.Sprintf("%d killed after a step of 9, 3 beside each", killed), "0 failed; %d were killed between login and save", abandoned)
	})
}

func TestElevenProcessesThatWaitForAKilledOneMakeOneLogin(t *testing.T) {
	each(t, func(f *fleet) {
		victim := f.start(func(t *task) { t.StopStep = stepPost })
		time.Sleep(500 * time.Millisecond)
		waiting := f.startAll(11, nil)
		time.Sleep(time.Second)
		f.want("POSTs while the process has the lock", f.posts(), 0)
		start := time.Now()
		victim.cmd.Process.Kill()
		sum := f.wait(waiting)
		took := time.Since(start)
		f.want("failed calls", sum.failed(), 0)
		f.want("logins", f.Counts().Logins, 1)
		f.report("a killed process leaves one login to those that wait", "1 killed before its POST, 11 waiting", "%d login, %d failed, all done after %v", f.Counts().Logins, sum.failed(), took.Round(10*time.Millisecond))
	})
}

func TestMachinesWhoseSessionsAreBoundToAnAddressLogInAnew(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has more than one loopback address without a setting")
	}
	each(t, func(f *fleet) {
		f.bindAddresses()
		const runs = 10 // of a cron job on two machines
		sum := outcome{Failed: map[string]int{}}
		for i := range runs {
			address := []string{"127.0.0.2", "127.0.0.3"}[i%2]
			sum.add(f.wait([]*child{f.start(func(t *task) { t.From = address })}))
		}
		f.want("failed calls", sum.failed(), 0)
		f.want("logins", f.Counts().Logins, runs)
		f.report("sessions are bound to an address", fmt.Sprintf("2 addresses in turn, %d runs", runs), "%d logins, %d failed", f.Counts().Logins, sum.failed())
	})
}

// bindAddresses makes the server refuse a session to any address except the one that
// made it: a server before it puts the address in place of the User-Agent.
func (f *fleet) bindAddresses() {
	f.Helper()
	f.BindUserAgent()
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		if err != nil {
			panic(err)
		}
		r.Header.Set("User-Agent", host)
		f.ServeHTTP(w, r)
	}))
	f.Cleanup(front.Close)
	f.task.URL = front.URL
}
