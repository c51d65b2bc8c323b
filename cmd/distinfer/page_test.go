package main_test

import (
	"context"
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/distinfer/distinfer/runtime/testkit"
)

// sentences are the first texts of SST-2's dev set, and what the file says of them.
func sentences(t *testing.T, n int) (tsv string, texts []string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(testkit.Root(t), "models", "testdata", "sst2", "dev.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfterN(string(data), "\n", n+2)[:n+1]
	for _, line := range lines[1:] {
		_, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		texts = append(texts, text)
	}
	return strings.Join(lines, ""), texts
}

// A stand is what tests of the page have in common, since it takes long to start: a browser,
// and stages of a classifier that is next to nothing to compute. No test may stop them.
type stand struct {
	browser context.Context
	bundle  string
	stages  []string // addresses
	url     string   // of a front
}

// A browser is shown what real processes do. Most of it is waiting, so all of it is done
// at the same time, in tabs that share nothing.
func TestThePage(t *testing.T) {
	t.Parallel()
	in := stand{browser: openBrowser(t), bundle: taskModel(t, "three", nil)}
	for rank := range 2 {
		_, address := stage(t, in.bundle, rank)
		in.stages = append(in.stages, address)
	}
	_, in.url = in.front(t)
	for name, test := range map[string]func(stand, *testing.T){
		"answers while one types, and pasted lines": usual,
		"labels a column of a file":                 dropping,
		"reads files as predict does":               readingFiles,
		"labels twenty thousand rows":               thousands,
		"waits for a front that is busy":            waiting,
		"asks for a token":                          withToken,
		"shows a stage that dies, and is back":      dying,
		"holds up no front that stops":              stopping,
		"needs no mouse":                            withoutMouse,
		"marks entities":                            markingEntities,
		"compares texts":                            comparing,
	} {
		t.Run(name, func(t *testing.T) { t.Parallel(); test(in, t) })
	}
}

// front starts a front of the stages that are there.
func (s stand) front(t *testing.T, args ...string) (*server, string) {
	t.Helper()
	return front(t, s.bundle, s.stages, args...)
}

// open opens the page of a front in a tab, and waits for it to be ready.
func (s stand) open(t *testing.T, url string) *tab {
	t.Helper()
	b := openTab(s.browser, t, url)
	b.until(ready)
	return b
}

// usual is what is done with a model of the size that is used.
func usual(in stand, t *testing.T) {
	_, url := serveTask(t, split(t, "sst2-minilm", 2))
	b := in.open(t, url)
	typing(b)
	b.do(chromedp.Reload())
	b.until(ready)
	pasting(b, url)
}

const ready = `document.getElementById("state").textContent === "Ready"`

const labelled = `!document.getElementById("result").hidden && !document.querySelector(".stale")`

func typing(b *tab) {
	b.inBothLooks("idle")
	b.click("text")
	b.keys("a moving and important film")
	b.until(labelled)
	if best := b.text("best"); best != "positive" {
		b.t.Errorf("the label is %q", best)
	}
	bars := eval[[]float64](b, `[...document.querySelectorAll("#scores .fill")].map((bar) => bar.getBoundingClientRect().width / bar.parentElement.clientWidth)`)
	if len(bars) != 2 || bars[0] < 0.9 || bars[0]+bars[1] < 0.99 || bars[0]+bars[1] > 1.01 {
		b.t.Errorf("the bars are %v of what they could be", bars)
	}
	b.keys(". no , it is dull , lifeless and a waste of time")
	b.until(labelled + ` && document.getElementById("best").textContent === "negative"`)
	b.until(`document.getElementById("spoken").textContent.startsWith("negative, ")`)
	b.until(`document.querySelectorAll("#waterfall li").length === 4`)
	b.inBothLooks("in-use")
}

const ended = `document.getElementById("cancel").hidden && document.getElementById("progress").value === document.getElementById("progress").max`

func pasting(b *tab, url string) {
	t := b.t
	_, texts := sentences(t, 80)
	b.look(1440, 900, "light")
	b.click("tab-many")
	b.shoot("many-empty")
	b.accessible("nothing pasted yet")
	b.paste("lines", strings.Join(texts, "\n\n")) // of which no empty line is a text
	b.click("run")
	b.until(ended)
	if said := b.text("progress-text"); !strings.HasPrefix(said, "80 of 80 labelled · ") {
		t.Errorf("it says %q", said)
	}
	b.until(`!document.getElementById("rows").textContent.includes("…")`)
	b.accessible("80 texts labelled, light, 1440")
	b.shoot("many-light-1440")
	records, err := csv.NewReader(strings.NewReader(b.download("download"))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(records) != 81 || strings.Join(records[0], "|") != "text|label|score" {
		t.Fatalf("%d records, the first %v", len(records), records[0])
	}
	want := predictAll(t, url, texts)
	for i, r := range records[1:] {
		text := texts[i]
		if strings.HasPrefix(text, "-") { // or it would be a formula
			text = "'" + text
		}
		if r[0] != text || r[1] != want[i] || !strings.HasPrefix(r[2], "0.") && r[2] != "1" {
			t.Errorf("record %d is %q, want %q, %s", i+1, r, text, want[i])
		}
	}
	// Sorted by score, the surest first; then by text; then those of one label.
	column := func(n int) []string {
		return eval[[]string](b, fmt.Sprintf(`[...document.querySelectorAll("#rows td:nth-child(%d)")].map((cell) => cell.textContent)`, n))
	}
	b.do(chromedp.Click(chromedp.CSS(`[data-sort="score"]`)))
	scores := column(4)
	if len(scores) != 50 || scores[0] < scores[49] || !eval[bool](b, `document.querySelector("th:nth-child(4)").ariaSort === "descending"`) {
		t.Errorf("sorted by score the page of %d goes from %s to %s", len(scores), scores[0], scores[len(scores)-1])
	}
	b.do(chromedp.Click(chromedp.CSS(`[data-sort="number"]`)))
	b.click("next")
	if numbers := column(1); numbers[0] != "51" {
		t.Errorf("the second page begins with %s", numbers[0])
	}
	eval[bool](b, `(() => { const only = document.getElementById("only"); only.value = "negative"; return only.dispatchEvent(new Event("change")); })()`)
	negative := 0
	for _, label := range want {
		if label == "negative" {
			negative++
		}
	}
	if said := b.text("page"); !strings.HasSuffix(said, fmt.Sprintf("of %d", negative)) {
		t.Errorf("of %d negative ones it shows %q", negative, said)
	}
}

// A file with quotes, line breaks in fields and an empty text, of which one column is read.
func dropping(in stand, t *testing.T) {
	url := in.url
	b := openTab(in.browser, t, url)
	b.look(320, 800, "dark")
	b.until(ready)
	b.click("tab-many")
	// It comes from a spreadsheet that writes a byte order mark and semicolons.
	b.drop("panel-many", "reviews.csv", "\ufeffid;review;note\r\n7;\"a \"\"lovely\"\"; warm film\";=1+1\r\n8;\"-dull,\nlifeless\";\"\"\r\n9;;-1,5\r\n")
	b.until(`document.getElementById("run").textContent === "Label 3 texts"`)
	if column := eval[string](b, `document.getElementById("column").selectedOptions[0].textContent`); column != "review" {
		t.Errorf("the column is %q", column)
	}
	b.click("run")
	b.until(ended)
	if said := b.text("file-kind"); said != `Read as CSV with semicolons, UTF-8, column "review".` {
		t.Errorf("it says %q", said)
	}
	if rows := eval[int](b, `document.querySelectorAll("#preview tr").length`); rows != 3 {
		t.Errorf("%d rows are shown before", rows)
	}
	b.accessible("a file, dark, 320")
	b.shoot("file-dark-320")
	// The download has the delimiter and the mark of the file.
	download := b.download("download")
	bare, marked := strings.CutPrefix(download, "\ufeff")
	reader := csv.NewReader(strings.NewReader(bare))
	reader.Comma = ';'
	records, err := reader.ReadAll()
	if err != nil || !marked {
		t.Fatalf("%v, with a mark: %v", err, marked)
	}
	label := predictAll(t, url, []string{`a "lovely"; warm film`, "-dull,\nlifeless"})
	got := fmt.Sprintf("%q", [][]string{records[0], append(records[1][:4:4], ""), append(records[2][:4:4], ""), records[3]})
	want := fmt.Sprintf("%q", [][]string{
		{"id", "review", "note", "label", "score", "error"},
		{"7", `a "lovely"; warm film`, "'=1+1", label[0], ""},
		{"8", "'-dull,\nlifeless", "", label[1], ""},
		{"9", "", "-1,5", "", "", "there is no text"},
	})
	if got != want {
		t.Errorf("the download is\n%s\nwant\n%s", got, want)
	}
	// The page reads what it has written as it was.
	b.click("remove")
	b.drop("panel-many", "again.csv", download)
	b.until(`document.getElementById("run").textContent === "Label 3 texts"`)
	b.click("run")
	b.until(ended)
	b.until(`document.querySelector("#rows tr:nth-child(2) td:nth-child(2)").textContent === "-dull,\nlifeless"`)
	// A real file as it is: its label column keeps its name.
	tsv, _ := sentences(t, 40)
	b.click("remove")
	b.drop("panel-many", "dev.tsv", tsv)
	b.until(`document.getElementById("run").textContent === "Label 40 texts"`)
	b.click("run")
	b.until(ended)
	if head, _, _ := strings.Cut(b.download("download"), "\r\n"); head != "label\tcontent\tpredicted_label\tpredicted_score" {
		t.Errorf("the columns are %s", head)
	}
}

func withoutMouse(in stand, t *testing.T) {
	b := in.open(t, in.url)
	focused := func() string {
		return eval[string](b, "document.activeElement.id || document.activeElement.textContent")
	}
	tabTo := func(id string) {
		t.Helper()
		for range 30 {
			if b.keys(kb.Tab); focused() == id {
				return
			}
		}
		t.Fatalf("the tab key does not lead to %s", id)
	}
	tabTo("tab-one")
	tabTo("text")
	b.keys("a lovely film")
	b.until(labelled)
	eval[bool](b, `(document.getElementById("tab-one").focus(), true)`)
	b.keys(kb.ArrowRight)
	if focused() != "tab-many" {
		t.Errorf("the arrow leads to %s", focused())
	}
	tabTo("lines")
	b.keys("a lovely film\na dull film")
	tabTo("run")
	b.keys(kb.Enter)
	b.until(ended)
	tabTo("download")
}

func withToken(in stand, t *testing.T) {
	const token = "0123456789abcdef-for-the-page"
	file := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, url := in.front(t, "--tokens", file)
	b := openTab(in.browser, t, url)
	b.until(`document.getElementById("dialog").open`)
	b.look(1440, 900, "light")
	b.accessible("asked for a token")
	b.shoot("token")
	b.keys("not-the-right-token" + kb.Enter)
	b.until(`document.getElementById("token-problem").textContent.includes("not known")`)
	b.keys(token + kb.Enter)
	b.until(ready)
	b.click("text")
	b.keys("a lovely film")
	b.until(labelled)
	b.do(chromedp.Reload())
	b.until(ready)
	if eval[bool](b, `document.getElementById("dialog").open`) {
		t.Error("it asks for the token again after a reload")
	}
	b.click("forget")
	b.until(`document.getElementById("dialog").open`)
	b.forgive("401")
}

func dying(in stand, t *testing.T) {
	second, address := stage(t, in.bundle, 1)
	_, url := front(t, in.bundle, []string{in.stages[0], address})
	b := openTab(in.browser, t, url)
	b.look(1440, 900, "light")
	b.until(ready)
	killed := time.Now()
	second.stop(t, syscall.SIGKILL)
	b.until(`document.getElementById("state").textContent === "Not ready" && document.querySelectorAll('[data-condition="down"]').length === 1`)
	t.Logf("a stage that was killed is shown so after %s", time.Since(killed).Round(10*time.Millisecond))
	if said := b.text("not-ready"); !strings.Contains(said, address) {
		t.Errorf("of the stage at %s it says %q", address, said)
	}
	b.until(`document.getElementById("changes").textContent.includes("can't be used")`)
	for _, scheme := range []string{"light", "dark"} {
		b.look(1440, 900, scheme)
		b.accessible("a dead stage, " + scheme)
		b.shoot("dead-" + scheme)
	}
	again := start(t, in.bundle, "serve-stage", "--bundle", in.bundle, "--rank", "1", "--listen", address)
	again.entry(t, "stage ready", 1)
	back := time.Now()
	b.until(ready + ` && document.querySelectorAll('[data-condition="ready"]').length === 2`)
	t.Logf("it is shown to be back after %s", time.Since(back).Round(10*time.Millisecond))
	b.click("text")
	b.keys("a lovely film")
	b.until(labelled)
}

func stopping(in stand, t *testing.T) {
	server, url := in.front(t)
	b := in.open(t, url)
	if code := server.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("the front ended with %d", code)
	}
	b.until(`document.getElementById("state").textContent === "No connection"`)
	b.forgive("net::ERR_")
}
