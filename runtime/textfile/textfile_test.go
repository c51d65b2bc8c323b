package textfile_test

import (
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/distinfer/distinfer/runtime/textfile"
	"github.com/distinfer/distinfer/runtime/textfile/textfiletest"
)

// read opens and reads a file.
func read(r io.Reader, o textfile.Options) (about textfile.About, rows []textfile.Row, err error) {
	f, err := textfile.Open(r, o)
	if err != nil {
		return about, nil, err
	}
	err = f.Read(func(row textfile.Row) error {
		rows = append(rows, row)
		return nil
	})
	return f.About(), rows, err
}

func TestTheCorpusIsReadAsItsTableSays(t *testing.T) {
	t.Parallel()
	for _, c := range textfiletest.Corpus(t) {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(c.Path)
			if err != nil {
				t.Fatal(err)
			}
			for how, r := range map[string]io.Reader{
				"at once":     bytes.NewReader(data),
				"byte a byte": iotest.OneByteReader(bytes.NewReader(data)),
			} {
				about, rows, err := read(r, c.Open())
				if c.Refused != "" {
					if err == nil || !strings.Contains(err.Error(), c.Refused) || len(rows) != len(c.Rows) {
						t.Errorf("%s: %v after %d rows, want %q after %d", how, err, len(rows), c.Refused, len(c.Rows))
					}
					continue
				}
				if err != nil || about.String() != c.About {
					t.Errorf("%s: read as %s (%v), want %s", how, about, err, c.About)
				}
				compare(t, how, rows, c.Rows)
			}
		})
	}
}

func compare(t *testing.T, how string, rows []textfile.Row, want []textfiletest.Row) {
	t.Helper()
	if len(rows) != len(want) {
		t.Errorf("%s: %d rows, want %d: %+v", how, len(rows), len(want), rows)
		return
	}
	for i, row := range rows {
		w := want[i]
		if w.Error != "" {
			if row.Err == nil || !strings.Contains(row.Err.Error(), w.Error) || row.Line != w.Line {
				t.Errorf("%s: line %d: %v, want line %d: %s", how, row.Line, row.Err, w.Line, w.Error)
			}
			continue
		}
		if row.Err != nil || row.Line != w.Line || row.Text != w.Text || (row.Pair == nil) != (w.Pair == nil) || row.Pair != nil && *row.Pair != *w.Pair {
			t.Errorf("%s: line %d: %q (%v), want line %d: %q", how, row.Line, row.Text, row.Err, w.Line, w.Text)
		}
	}
}

func TestAColumnThatIsNotThereIsNamed(t *testing.T) {
	t.Parallel()
	for file, o := range map[string]textfile.Options{
		"a\tb\n1\t2\n": {Format: textfile.TSV, Column: "z"},
		"a,b\n1,2\n":   {Format: textfile.CSV},
		"{\"a\": 1}\n": {Format: textfile.JSONL},
	} {
		_, _, err := read(strings.NewReader(file), o)
		var column *textfile.ColumnError
		if o.Format == textfile.JSONL { // of one field, which holds no string
			if err != nil {
				t.Errorf("%q: %v", file, err)
			}
			continue
		}
		if !errors.As(err, &column) || column.Column != o.Column || fmt.Sprint(column.Has) != "[a b]" {
			t.Errorf("%q: %v", file, err)
		}
	}
}

func TestReadingEndsWithItsReader(t *testing.T) {
	t.Parallel()
	stop := errors.New("stop")
	files := map[textfile.Format]string{textfile.JSON: `["a", "b"]`}
	for _, format := range textfile.Formats() {
		file := files[format]
		if file == "" {
			file = "\"text\"\n\"a\"\n\"b\"\n"
		}
		f, err := textfile.Open(strings.NewReader(file), textfile.Options{Format: format})
		if err != nil {
			t.Fatal(err)
		}
		rows := 0
		err = f.Read(func(textfile.Row) error {
			rows++
			return stop
		})
		if !errors.Is(err, stop) || rows != 1 {
			t.Errorf("%s: %v after %d rows", format, err, rows)
		}
	}
}

// What a pipe has sent is read before it sends more.
func TestAPipeIsReadAsItComes(t *testing.T) {
	t.Parallel()
	for name, parts := range map[string][]string{
		"-":       {"good\n", "bad\n"},
		"a.js":    {"caf\xe9\n", "\xe9t\xe9\n"},
		"a.csv":   {"id,text\n", "1,good\n", "2,\"b\n", "a\"\n"},
		"a.json":  {"[\n", "\"a\",\n", "\"b\"\n]\n"},
		"b.jsonl": {"\"a\"\n", "\"b\"\n"},
		"u.txt":   {"\xff\xfea\x00\n\x00", "b\x00\n\x00"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, w := io.Pipe()
			got := make(chan int, 8)
			go func() {
				rows := 0
				f, err := textfile.Open(r, textfile.Options{Name: name})
				if err == nil {
					err = f.Read(func(textfile.Row) error {
						rows++
						got <- rows
						return nil
					})
				}
				if err != nil {
					t.Error(err)
				}
				close(got)
			}()
			for i, part := range parts {
				if _, err := w.Write([]byte(part)); err != nil {
					t.Fatal(err)
				}
				if i == len(parts)-2 && name != "a.json" && name != "a.csv" {
					<-got // before the last part comes
				}
			}
			_ = w.Close()
			for range got {
			}
		})
	}
}

func TestWhatExpandsWithoutEndIsRefused(t *testing.T) {
	t.Parallel()
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	zeros := append(bytes.Repeat([]byte("a"), 2<<20), 10)
	for range 50 {
		_, _ = z.Write(zeros)
	}
	_ = z.Close()
	for _, most := range []int64{0, 1 << 20} {
		_, rows, err := read(bytes.NewReader(bomb.Bytes()), textfile.Options{MaxExpanded: most})
		var kind *textfile.KindError
		if !errors.As(err, &kind) || len(rows) > 40 || most > 0 && len(rows) > 1 {
			t.Errorf("after %d rows: %v", len(rows), err)
		}
	}
}

func TestALateByteThatNoTextHasIsThatOfItsRow(t *testing.T) {
	t.Parallel()
	file := strings.Repeat("good\n", 1<<15) + "b\x00ad\ngood\n"
	_, rows, err := read(strings.NewReader(file), textfile.Options{})
	if n := 1<<15 + 2; err != nil || len(rows) != n || rows[n-2].Err == nil || rows[n-1].Err != nil {
		t.Errorf("%d rows, %v", len(rows), err)
	}
}

func TestARowIsBounded(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]string{"a.txt": "", "a.csv": "text\n\"", "a.json": `["`, "a.jsonl": `"`} {
		r := io.MultiReader(strings.NewReader(begin), io.LimitReader(endless{}, 64<<20))
		if _, rows, err := read(r, textfile.Options{Name: name}); err == nil || !strings.Contains(err.Error(), "16 MB") && !strings.Contains(err.Error(), "1000 lines") {
			t.Errorf("%s: %d rows, %v", name, len(rows), err)
		}
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'a'
	}
	return len(p), nil
}

// What Go's own reader of CSV accepts is read as it reads it.
func FuzzTablesAreReadAsCSVIs(f *testing.F) {
	for _, seed := range []string{"a,b\n\"c\nd\",e\n", "a\n\"b\"\"c\"\n", "x,y\r\n1,\"2\r\n3\"\r\n", "a,b\n1,2,3\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, file string) {
		want, err := csv.NewReader(strings.NewReader(file)).ReadAll()
		if err != nil || strings.ContainsAny(file, "'\x00") || !utf8.ValidString(file) || strings.Contains(strings.ReplaceAll(file, "\r\n", ""), "\r") || strings.HasPrefix(file, "sep=") || strings.Contains(file, "\ufeff") {
			t.Skip()
		}
		_, rows, err := read(strings.NewReader(file), textfile.Options{Format: textfile.CSV, Header: textfile.HeaderNo, Delimiter: ",", Show: true})
		if err != nil {
			var kind *textfile.KindError
			var quote *textfile.QuoteError
			if errors.As(err, &kind) || errors.As(err, &quote) {
				t.Skip()
			}
			t.Fatalf("%q: %v", file, err)
		}
		var got [][]string
		for _, row := range rows {
			got = append(got, row.Cells)
		}
		blank := func(cells []string) bool { return strings.TrimSpace(strings.Join(cells, "")) == "" }
		want, got = slices.DeleteFunc(want, blank), slices.DeleteFunc(got, blank)
		if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
			t.Errorf("%q: read as %q, want %q", file, got, want)
		}
	})
}

// Whatever a file holds, reading it ends, texts are texts, and rows are in order.
func FuzzAnyFileIsReadOrRefused(f *testing.F) {
	for _, c := range textfiletest.Corpus(f) {
		data, err := os.ReadFile(c.Path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, c.Name)
	}
	f.Fuzz(func(t *testing.T, data []byte, name string) {
		_, rows, err := read(bytes.NewReader(data), textfile.Options{Name: name, MaxExpanded: 1 << 20})
		_, again, err2 := read(iotest.HalfReader(bytes.NewReader(data)), textfile.Options{Name: name, MaxExpanded: 1 << 20})
		if (err == nil) != (err2 == nil) && len(data) < 1<<10 || err == nil && len(rows) != len(again) {
			t.Errorf("%d rows (%v), and %d (%v) when it comes in parts", len(rows), err, len(again), err2)
		}
		last := 0
		for _, row := range rows {
			if row.Line < last || row.Err == nil && (!utf8.ValidString(row.Text) || strings.Contains(row.Text, "\x00")) {
				t.Errorf("line %d after %d: %q", row.Line, last, row.Text)
			}
			last = row.Line
		}
	})
}

// The reference lists every file of the corpus, and what happens to it.
func TestTheReferenceListsTheCorpus(t *testing.T) {
	t.Parallel()
	reference, err := os.ReadFile("../../docs/reference/files.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range textfiletest.Corpus(t) {
		found := false
		for line := range strings.Lines(string(reference)) {
			found = found || strings.HasPrefix(line, "| "+c.Kind) && strings.Contains(line, "| `"+c.Name+"` | ") && strings.Contains(line, c.About) && strings.Contains(line, c.Refused)
		}
		if !found {
			t.Errorf("docs/reference/files.md does not say what happens to %s (%s): %s%s", c.Name, c.Kind, c.About, c.Refused)
		}
	}
}
