package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/storage"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// patience is how long a test waits for a page.
const patience = 20 * time.Second

// browser is a window of a real Chromium, with cookies of its own.
type browser struct {
	t       *testing.T
	ctx     context.Context
	cookies cdp.BrowserContextID // the context that holds the cookies of the window

	mu     sync.Mutex
	errors []string // of the console
}

var (
	sharedChromium     context.Context
	stopSharedChromium = func() {}
	startShared        sync.Once
)

func TestMain(m *testing.M) {
	code := m.Run()
	stopSharedChromium()
	os.Exit(code)
}

// newBrowser returns a window of a Chromium that the tests share. It shares its
// cookies with no other window.
func newBrowser(t *testing.T) *browser {
	t.Helper()
	path := chromium(t)
	startShared.Do(func() { sharedChromium, stopSharedChromium = startChromium(path) })
	require.NoError(t, chromedp.Run(sharedChromium), "start Chromium")
	// chromedp.WithNewBrowserContext opens a tab, which requires an open window.
	executor := cdp.WithExecutor(sharedChromium, chromedp.FromContext(sharedChromium).Browser)
	cookies, err := target.CreateBrowserContext().WithDisposeOnDetach(true).Do(executor)
	require.NoError(t, err)
	id, err := target.CreateTarget("about:blank").WithBrowserContextID(cookies).WithNewWindow(true).Do(executor)
	require.NoError(t, err)
	return newWindow(t, sharedChromium, cookies, chromedp.WithTargetID(id))
}

// startBrowser starts another Chromium and returns its window.
func startBrowser(t *testing.T, opts ...chromedp.ExecAllocatorOption) *browser {
	t.Helper()
	ctx, stop := startChromium(chromium(t), opts...)
	t.Cleanup(stop)
	return newWindow(t, ctx, "")
}

// chromium returns the path of Chromium. It skips the test if there is none.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	const missing = "this test requires Chromium: on Debian, apt-get install chromium"
	if os.Getenv("CI") == "true" {
		t.Fatal(missing)
	}
	t.Skip(missing)
	return ""
}

// startChromium starts a Chromium with a new, empty profile. chromedp removes the
// profile when the browser stops.
func startChromium(path string, opts ...chromedp.ExecAllocatorOption) (context.Context, func()) {
	all := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.Flag("headless", "new"),
		chromedp.NoSandbox, // for root
		chromedp.DisableGPU,
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("no-proxy-server", true),
		chromedp.WSURLReadTimeout(patience),
	)
	allocator, stopAllocator := chromedp.NewExecAllocator(context.Background(), append(all, opts...)...)
	ctx, _ := chromedp.NewContext(allocator)
	return ctx, func() {
		chromedp.Cancel(ctx) // waits until Chromium has ended
		stopAllocator()
		chromedp.FromContext(ctx).Allocator.Wait() // and until its profile is removed
	}
}

func newWindow(t *testing.T, parent context.Context, cookies cdp.BrowserContextID, opts ...chromedp.ContextOption) *browser {
	t.Helper()
	require.NoError(t, chromedp.Run(parent), "start Chromium")
	ctx, stop := chromedp.NewContext(parent, opts...)
	b := &browser{t: t, ctx: ctx, cookies: cookies}
	chromedp.ListenTarget(ctx, b.listen)
	require.NoError(t, chromedp.Run(ctx), "open a window")
	t.Cleanup(func() {
		assert.Empty(t, b.consoleErrors(), "errors on the console")
		stop()
	})
	b.size(1280)
	return b
}

// listen keeps the errors of the console. It ignores the error that a page has a
// status of failure, since the pages of problems have one.
func (b *browser) listen(event any) {
	text := ""
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		text = e.ExceptionDetails.Error()
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.APITypeError || e.Type == runtime.APITypeWarning {
			text = fmt.Sprint(e.Type, e.Args)
		}
	case *log.EventEntryAdded:
		asset := strings.HasSuffix(e.Entry.URL, ".css") || strings.HasSuffix(e.Entry.URL, ".svg")
		if e.Entry.Source == log.SourceNetwork && !asset && strings.Contains(e.Entry.Text, "responded with a status of") {
			return
		}
		if e.Entry.Level == log.LevelError || e.Entry.Level == log.LevelWarning {
			text = e.Entry.Text + " " + e.Entry.URL
		}
	}
	if text != "" {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.errors = append(b.errors, text)
	}
}

func (b *browser) consoleErrors() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.errors
}

func (b *browser) forgetErrors() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.errors = nil
}

func (b *browser) do(actions ...chromedp.Action) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	require.NoError(b.t, chromedp.Run(ctx, actions...))
}

// open opens an address and waits for a page with a title.
func (b *browser) open(url, title string) {
	b.t.Helper()
	b.do(chromedp.Navigate(url))
	b.wait(title)
}

// wait waits until a page with a title is loaded. It asks for the target, since
// that requires no JavaScript.
func (b *browser) wait(title string) {
	b.t.Helper()
	got := ""
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		b.do(chromedp.ActionFunc(func(ctx context.Context) error {
			info, err := target.GetTargetInfo().WithTargetID(chromedp.FromContext(ctx).Target.TargetID).Do(ctx)
			if err == nil {
				got = info.Title
			}
			return err
		}))
		if got == title+" – Example Files" {
			b.do(chromedp.WaitReady("body", chromedp.ByQuery))
			return
		}
	}
	require.Failf(b.t, "the page does not come", "want %q, got %q", title, got)
}

func (b *browser) fill(id, text string) {
	b.t.Helper()
	b.do(chromedp.Clear("#"+id, chromedp.ByQuery), chromedp.SendKeys("#"+id, text, chromedp.ByQuery))
}

// press clicks a button or a link and waits for the next page.
func (b *browser) press(text, title string) {
	b.t.Helper()
	b.do(chromedp.Evaluate(`void (window.old = true)`, nil),
		chromedp.Click(fmt.Sprintf(`//button[.=%q] | //a[.=%q]`, text, text), chromedp.BySearch))
	require.Eventually(b.t, func() bool {
		left := false
		err := chromedp.Run(b.ctx, chromedp.Evaluate(`!window.old`, &left)) // fails between two pages
		return err == nil && left
	}, patience, 10*time.Millisecond, "the page stays")
	b.wait(title)
}

// signIn fills in the first page and waits for the next one.
func (b *browser) signIn(username, password, title string) {
	b.t.Helper()
	b.fill("username", username)
	b.fill("password", password)
	b.press("Sign in", title)
}

// keys presses keys in the element that has the focus.
func (b *browser) keys(keys string) { b.t.Helper(); b.do(chromedp.KeyEvent(keys)) }

func (b *browser) evaluate(script string) (text string) {
	b.t.Helper()
	b.do(chromedp.Evaluate(script, &text))
	return text
}

func (b *browser) text() string { b.t.Helper(); return b.evaluate(`document.body.innerText`) }
func (b *browser) html() string {
	b.t.Helper()
	return b.evaluate(`document.documentElement.outerHTML`)
}
func (b *browser) focused() string { b.t.Helper(); return b.evaluate(`document.activeElement.id`) }
func (b *browser) focusedText() string {
	b.t.Helper()
	return b.evaluate(`document.activeElement.innerText`)
}

func (b *browser) requireFocusRing() {
	b.t.Helper()
	style := b.evaluate(`(s => s.outlineStyle + " " + s.outlineWidth)(getComputedStyle(document.activeElement))`)
	require.Equal(b.t, "solid 3px", style)
}

// size sets the width of the window in pixels.
func (b *browser) size(width int64) {
	b.t.Helper()
	b.do(emulation.SetDeviceMetricsOverride(width, 720, 1, false))
}

// cookie returns the only cookie, or nil.
func (b *browser) cookie() *network.Cookie {
	b.t.Helper()
	var cookies []*network.Cookie
	b.do(chromedp.ActionFunc(func(ctx context.Context) (err error) {
		browser := cdp.WithExecutor(ctx, chromedp.FromContext(ctx).Browser)
		cookies, err = storage.GetCookies().WithBrowserContextID(b.cookies).Do(browser)
		return err
	}))
	require.LessOrEqual(b.t, len(cookies), 1)
	if len(cookies) == 0 {
		return nil
	}
	return cookies[0]
}
