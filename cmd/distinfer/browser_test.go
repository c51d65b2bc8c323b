package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/distinfer/distinfer/runtime/testkit"
)

// A tab is a tab of a browser that shows the page of a front. What the page complains
// of fails the test, and so does a request to anywhere else.
type tab struct {
	t    *testing.T
	ctx  context.Context
	base string

	mu         sync.Mutex
	complaints []string
}

// openBrowser starts a browser without a window, for as long as the test lasts.
func openBrowser(t *testing.T) context.Context {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.WSURLReadTimeout(testkit.Patience))
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // it has none for root
	}
	allocator, end := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(end)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start Chromium (`make setup` installs it): %v", err)
	}
	return ctx
}

// openTab opens the page in a tab of its own, which shares nothing with others.
func openTab(in context.Context, t *testing.T, base string) *tab {
	t.Helper()
	b := &tab{t: t, base: base}
	ctx, cancel := chromedp.NewContext(in, chromedp.WithNewBrowserContext(), chromedp.WithListener(b.listen))
	b.ctx = ctx
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("open a tab: %v", err)
	}
	order(b, log.Enable, cdp.Empty{})
	order(b, network.Enable, network.EnableParams{})
	b.do(chromedp.Navigate(base + "/"))
	t.Cleanup(func() {
		if t.Failed() {
			b.shoot("failed-" + strings.ReplaceAll(t.Name(), "/", "-"))
		}
		cancel()
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, c := range b.complaints {
			t.Error(c)
		}
	})
	return b
}

func (b *tab) listen(event any) {
	complaint := ""
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		complaint = "exception: " + e.ExceptionDetails.Text
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning {
			var said []string
			for _, a := range e.Args {
				said = append(said, string(a.Value))
			}
			complaint = "console: " + strings.Join(said, " ")
		}
	case *log.EventEntryAdded: // violations of the content security policy, too
		if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning {
			complaint = fmt.Sprintf("browser: %s %s", e.Entry.Text, e.Entry.URL)
		}
	case *network.EventRequestWillBeSent:
		if url := e.Request.URL; !strings.HasPrefix(url, b.base+"/") && !strings.HasPrefix(url, "blob:"+b.base) {
			complaint = "asked elsewhere: " + url
		}
	}
	if complaint != "" {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.complaints = append(b.complaints, complaint)
	}
}

// forgive takes complaints back that have to come. The browser may tell of them later than the page.
func (b *tab) forgive(part string) {
	b.t.Helper()
	testkit.Eventually(b.t, fmt.Sprintf("the browser said %q", part), func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		all := len(b.complaints)
		b.complaints = slices.DeleteFunc(b.complaints, func(c string) bool { return strings.Contains(c, part) })
		return len(b.complaints) < all
	})
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, testkit.Patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.t.Fatal(err)
	}
}

// order runs a command of the browser's protocol.
func order[P, R any](b *tab, command cdp.Command[P, R], params P) {
	b.t.Helper()
	if _, err := chromedp.Call(b.ctx, command, params); err != nil {
		b.t.Fatal(err)
	}
}

// eval computes an expression in the page.
func eval[T any](b *tab, expression string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%.200s: %v", expression, err)
	}
	return v
}

// until waits for an expression to become true.
func (b *tab) until(expression string) {
	b.t.Helper()
	// The page looks again and again by itself, which is quicker than being asked to.
	patient := fmt.Sprintf(`(async () => {
		for (let looks = 0; looks < 100; looks++) {
			if (%s) return true;
			await new Promise((next) => setTimeout(next, 20));
		}
		return false;
	})()`, expression)
	testkit.Eventually(b.t, expression, func() bool {
		v, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](patient, chromedp.EvalAwaitPromise))
		return err == nil && v // the page may be about to load
	})
}

// text is what an element says.
func (b *tab) text(id string) string {
	b.t.Helper()
	return eval[string](b, fmt.Sprintf("document.getElementById(%q).textContent", id))
}

// keys presses keys.
func (b *tab) keys(keys string) {
	b.t.Helper()
	b.do(chromedp.KeyEvent(keys))
}

// click clicks on an element as a mouse does.
func (b *tab) click(id string) {
	b.t.Helper()
	b.do(chromedp.Click(chromedp.ID(id)))
}

// drop drops a file on an element.
func (b *tab) drop(id, name, content string) {
	b.t.Helper()
	data, err := json.Marshal([]byte(content)) // as base64
	if err != nil {
		b.t.Fatal(err)
	}
	eval[bool](b, fmt.Sprintf(`(() => {
		const data = new DataTransfer();
		data.items.add(new File([Uint8Array.from(atob(%s), (c) => c.charCodeAt(0))], %q));
		for (const type of ["dragenter", "dragover", "drop"])
			document.getElementById(%q).dispatchEvent(new DragEvent(type, {dataTransfer: data, bubbles: true, cancelable: true}));
		return true;
	})()`, data, name, id))
}

// look sets the window's size and the colours that the user prefers.
func (b *tab) look(width, height int64, scheme string) {
	b.t.Helper()
	order(b, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: height, DeviceScaleFactor: 1, Mobile: width < 600})
	order(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme},
		{Name: "prefers-reduced-motion", Value: "reduce"},
	}})
}

// inBothLooks checks the page wide and light, then narrow and dark. Colours do not depend on the
// width.
func (b *tab) inBothLooks(when string) {
	b.t.Helper()
	for _, l := range []struct {
		scheme string
		width  int64
	}{{"light", 1440}, {"dark", 320}} {
		b.look(l.width, 900, l.scheme)
		b.accessible(fmt.Sprintf("%s, %s, %d", when, l.scheme, l.width))
		b.shoot(fmt.Sprintf("%s-%s-%d", when, l.scheme, l.width))
	}
}

// accessible fails for everything that axe finds, and when the page is wider than its window.
func (b *tab) accessible(when string) {
	b.t.Helper()
	source, err := os.ReadFile(filepath.Join(testkit.Root(b.t), ".setup", "web", "axe.min.js"))
	if err != nil {
		b.t.Fatalf("axe-core is missing; run `make setup`: %v", err)
	}
	if !eval[bool](b, `"axe" in window`) {
		eval[bool](b, string(source)+"; true")
	}
	type report struct {
		Violations []struct {
			ID, Help string
			Nodes    []struct{ HTML, FailureSummary string }
		}
		Passes int
	}
	r := eval[report](b, `axe.run({resultTypes: ["violations"]}).then(({violations, passes}) => ({violations, passes: passes.length}))`)
	for _, v := range r.Violations {
		for _, n := range v.Nodes {
			b.t.Errorf("%s: %s: %s\n%s\n%s", when, v.ID, v.Help, n.HTML, n.FailureSummary)
		}
	}
	if r.Passes < 10 {
		b.t.Errorf("%s: axe has looked at %d things only", when, r.Passes)
	}
	if wide := eval[int](b, "document.documentElement.scrollWidth - document.documentElement.clientWidth"); wide > 0 {
		b.t.Errorf("%s: the page is %d pixels wider than its window", when, wide)
	}
	b.t.Logf("axe, %s: %d rules passed, %d violated", when, r.Passes, len(r.Violations))
}

// shoot takes a picture into the folder of the environment's DISTINFER_TEST_SHOTS, if it names one.
func (b *tab) shoot(name string) {
	b.t.Helper()
	dir := os.Getenv("DISTINFER_TEST_SHOTS")
	if dir == "" {
		return
	}
	png, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		b.t.Log(err)
		return
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o600); err != nil {
		b.t.Error(err)
	}
}

// download clicks on an element, and returns the file that comes of it.
func (b *tab) download(id string) string {
	b.t.Helper()
	dir := b.t.TempDir()
	ctx, cancel := context.WithTimeout(b.ctx, testkit.Patience)
	defer cancel()
	progress := chromedp.BrowserEvents(ctx, browser.DownloadProgress)
	events := true
	_, err := chromedp.CallBrowser(ctx, browser.SetDownloadBehavior, browser.SetDownloadBehaviorParams{
		Behavior: browser.SetDownloadBehaviorBehaviorAllowAndName, BrowserContextID: chromedp.FromContext(b.ctx).BrowserContextID,
		DownloadPath: dir, EventsEnabled: &events,
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.click(id)
	for e, err := range progress {
		if err != nil {
			b.t.Fatalf("wait for the download: %v", err)
		}
		if e.State == browser.DownloadProgressStateCompleted {
			break
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 1 {
		b.t.Fatalf("the downloads are %v, %v", files, err)
	}
	data, err := os.ReadFile(files[0])
	if err != nil {
		b.t.Fatal(err)
	}
	return string(data)
}

// paste puts a text into an element.
func (b *tab) paste(id, text string) {
	b.t.Helper()
	b.do(chromedp.Focus(chromedp.ID(id)))
	order(b, input.InsertText, input.InsertTextParams{Text: text})
}

// predictAll are the front's own labels of texts.
func predictAll(t *testing.T, url string, texts []string) []string {
	t.Helper()
	body, err := json.Marshal(map[string]any{"inputs": texts, "parameters": map[string]int{"top_k": 1}})
	if err != nil {
		t.Fatal(err)
	}
	status, answer := fetch(t, "POST", url+"/predict", string(body))
	var answers [][]struct{ Label string }
	if err := json.Unmarshal([]byte(answer), &answers); status != 200 || err != nil {
		t.Fatalf("%d %s, %v", status, answer, err)
	}
	labels := make([]string, len(answers))
	for i, a := range answers {
		labels[i] = a[0].Label
	}
	return labels
}
