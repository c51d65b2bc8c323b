package main_test

import (
	"encoding/csv"
	"fmt"
	"net"
	neturl "net/url"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/distinfer/distinfer/runtime/textfile/textfiletest"
)

// A file of 20,000 rows is sorted while it is labelled, gets through a front that dies and
// comes back, and is cancelled, without more than a page of it in the document.
func thousands(in stand, t *testing.T) {
	const n = 20_000
	gone, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := gone.Addr().String()
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	stages := []string{in.stages[0], in.stages[1] + "|" + nobody}
	server, url := front(t, in.bundle, stages)
	b := openTab(in.browser, t, url)
	b.look(320, 800, "dark")
	b.until(ready)
	// One of two replicas is dead, and the other does its work.
	b.until(`document.querySelectorAll('[data-condition="down"]').length === 1 && document.querySelectorAll('[data-condition="ready"]').length === 2`)
	b.accessible("a replica that is dead, dark, 320")

	var file strings.Builder
	file.WriteString("number,text\n")
	for i := range n {
		fmt.Fprintf(&file, "%d,\"film %d, a good one\"\n", i, i*7919%n)
	}
	b.click("tab-many")
	b.drop("panel-many", "many.csv", file.String())
	b.until(`document.getElementById("run").textContent === "Label 20,000 texts"`)
	eval[bool](b, `(() => {
		window.stalls = [];
		new PerformanceObserver((list) => window.stalls.push(...list.getEntries().map((entry) => entry.duration))).observe({type: "longtask"});
		return true;
	})()`)
	b.click("run")
	done := `document.getElementById("progress").value`
	b.until(done + " > 500")
	b.do(chromedp.Click(chromedp.CSS(`[data-sort="text"]`)))
	server.stop(t, syscall.SIGKILL)
	b.until(`document.getElementById("state").textContent === "No connection"`)
	b.until(`document.getElementById("progress-text").textContent.includes("the server can't be reached, going on in")`)
	b.accessible("no front, dark, 320")
	before := eval[int](b, done)
	at, err := neturl.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	front(t, in.bundle, stages, "--port", at.Port())
	b.until(fmt.Sprintf("%s > %d", done, before+500))
	b.until(ready)
	b.click("cancel")
	b.until(`document.getElementById("cancel").hidden && document.getElementById("progress-text").textContent.endsWith("cancelled")`)
	if focused := eval[string](b, "document.activeElement.id"); focused != "run" {
		t.Errorf("with the button to cancel the focus went to %q", focused)
	}
	if said := b.text("again"); said != "Go on" || strings.Contains(b.text("progress-text"), "failed") {
		t.Errorf("cancelled, it says %q and offers to %q", b.text("progress-text"), said)
	}
	answered := eval[int](b, done)
	b.do(chromedp.Click(chromedp.CSS(`[data-sort="score"]`)))
	b.click("next")
	if rows := eval[int](b, `document.querySelectorAll("#rows tr").length`); rows != 50 {
		t.Errorf("there are %d rows in the document", rows)
	}
	if said := b.text("page"); said != "51–100 of 20,000" {
		t.Errorf("the second page is %q", said)
	}
	b.accessible("20,000 rows, cancelled, dark, 320")
	records, err := csv.NewReader(strings.NewReader(b.download("download"))).ReadAll()
	if err != nil || len(records) != n+1 {
		t.Fatalf("the download has %d records, %v", len(records), err)
	}
	for i, r := range records[1:] {
		if r[0] != fmt.Sprint(i) {
			t.Fatalf("record %d is %q", i, r)
		}
		if strings.HasPrefix(r[2], "LABEL_") {
			answered--
		}
	}
	if answered != 0 {
		t.Errorf("the download has %d fewer labels than were shown", answered)
	}
	measured(t, "page: 20,000 rows, %.0f MB of JavaScript's heap, the longest stall of the page %.0f ms",
		eval[float64](b, "performance.memory.usedJSHeapSize / 1e6"), eval[float64](b, "Math.max(0, ...window.stalls)"))
	b.forgive("net::ERR_")
	b.do(chromedp.Navigate("about:blank")) // so that it does not miss the front when that ends
}

// A front that takes few texts at a time refuses some of a batch for now (429).
func waiting(in stand, t *testing.T) {
	_, texts := sentences(t, 300)
	_, url := in.front(t, "--max-texts", "40")
	b := in.open(t, url)
	b.click("tab-many")
	eval[bool](b, `(() => {
		window.said = "";
		new MutationObserver(() => (window.said += document.getElementById("progress-text").textContent + "\n"))
			.observe(document.getElementById("progress-text"), {childList: true, subtree: true, characterData: true});
		return true;
	})()`)
	b.paste("lines", strings.Join(texts, "\n"))
	b.click("run")
	b.until(ended)
	if said := b.text("progress-text"); !strings.HasPrefix(said, "300 of 300 labelled · ") {
		t.Errorf("it says %q", said)
	}
	if said := eval[string](b, "window.said"); !strings.Contains(said, "the server is busy, going on in 1 s") {
		t.Errorf("it never said that the server was busy: %q", said)
	}
	b.forgive("429")
}

// shownFiles are those of the corpus that the page is shown; it has no rules of its own.
var shownFiles = []string{"latin.txt", "powershell.txt", "excel.csv", "lines.json", "array.json", "comma.csv.gz", "objects.jsonl.zst", "mixed.txt", "book.xlsx", "lone-quote.csv", "cyrillic.txt"}

// Files are read as predict reads them, by the same code, and rules can be overruled.
func readingFiles(in stand, t *testing.T) {
	b := in.open(t, in.url)
	b.look(1440, 900, "light")
	b.click("tab-many")
	for _, c := range textfiletest.Corpus(t) {
		if !slices.Contains(shownFiles, c.Name) {
			continue
		}
		data, err := os.ReadFile(c.Path)
		if err != nil {
			t.Fatal(err)
		}
		b.drop("panel-many", c.Name, string(data))
		if c.Refused != "" {
			b.until(fmt.Sprintf(`document.getElementById("many-problem").textContent.includes(%q) && document.getElementById("run").disabled`, c.Refused))
			continue
		}
		b.until(fmt.Sprintf(`document.getElementById("file-kind").textContent === %q`, "Read as "+c.About+"."))
		shown := eval[[]string](b, `[...document.querySelectorAll("#preview tr")].map((row) => row.lastElementChild.textContent + "|" + row.querySelector(".chosen")?.textContent)`)
		for i, row := range shown {
			want := c.Rows[i]
			if want.Error != "" && !strings.Contains(row, want.Error) || want.Error == "" && !strings.HasSuffix(row, "|"+want.Text) {
				t.Errorf("%s: row %d is shown as %q, want %+v", c.Name, i, row, want)
			}
		}
	}
	// Of two columns neither of which says that it holds texts, one is chosen.
	b.drop("panel-many", "survey.csv", "title;subject\na;caf\xe9\nb;d\xe9j\xe0 vu\n")
	b.until(`document.getElementById("file-kind").textContent.endsWith("Say which column holds the texts.") && document.getElementById("run").disabled`)
	b.accessible("a file, light, 1440")
	choose := func(id, value string) {
		eval[bool](b, fmt.Sprintf(`(() => { const node = document.getElementById(%q); node.value = %q; return node.dispatchEvent(new Event("change")); })()`, id, value))
	}
	choose("column", "subject")
	b.until(`document.getElementById("file-kind").textContent === "Read as CSV with semicolons, Windows-1252, column \"subject\"." && !document.getElementById("run").disabled`)
	b.shoot("file-light-1440")
	choose("encoding", "windows-1251")
	b.until(`document.querySelector("#preview .chosen").textContent === "cafй"`)
	b.forgive("400")
}
