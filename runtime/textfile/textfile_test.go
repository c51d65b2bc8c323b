package textfile_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/distinfer/distinfer/runtime/textfile"
)

// read gives the texts of a file, or "-" and what is wrong.
func read(t *testing.T, in textfile.Reader, file string) (texts []string, numbers []int, err error) {
	t.Helper()
	err = in.Read(strings.NewReader(file), func(l textfile.Line) error {
		if l.Err != nil {
			l.Text = "-" + l.Err.Error()
		}
		texts, numbers = append(texts, l.Text), append(numbers, l.Number)
		return nil
	})
	return texts, numbers, err
}

func TestEveryFormatIsRead(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in      textfile.Reader
		file    string
		texts   []string
		numbers []int
	}{
		{textfile.Reader{Format: textfile.Lines}, "\ufeffa\r\n\nb \"c", []string{"a", "", `b "c`}, []int{1, 2, 3}},
		{textfile.Reader{Format: textfile.CSV}, "text\n\"a, b\n\"\"c\"\"\"\nd\n", []string{"a, b\n\"c\"", "d"}, []int{2, 4}},
		{textfile.Reader{Format: textfile.CSV, Column: "y"}, "x,y\n1,a\n2\n", []string{"a", "-there are 1 columns, and the text should be in column 2"}, []int{2, 3}},
		{textfile.Reader{Format: textfile.CSV}, "x\na\"b\nc\n", []string{`-bare " in non-quoted-field`, "c"}, []int{2, 3}},
		{textfile.Reader{Format: textfile.TSV, Column: "x"}, "x\ty\n\"a\t1\n", []string{`"a`}, []int{2}},
		{textfile.Reader{Format: textfile.JSONL}, "\"a\"\n{\"text\": \"b\"}\n{\"text\": 1}\n[]\n", []string{"a", "b", `-the object has no string in field "text"`, "-not a JSON string or object"}, []int{1, 2, 3, 4}},
		{textfile.Reader{Format: textfile.JSONL, Column: "x"}, "{\"x\": \"b\"}", []string{"b"}, []int{1}},
		{textfile.Reader{Format: textfile.CSV}, "", nil, nil},
	} {
		texts, numbers, err := read(t, c.in, c.file)
		if err != nil || !slices.Equal(texts, c.texts) || !slices.Equal(numbers, c.numbers) {
			t.Errorf("%v of %q: %q at %v (%v), want %q at %v", c.in, c.file, texts, numbers, err, c.texts, c.numbers)
		}
	}
}

func TestATableWithoutTheColumnIsNotRead(t *testing.T) {
	t.Parallel()
	for _, format := range []textfile.Format{textfile.CSV, textfile.TSV} {
		for _, column := range []string{"", "z"} {
			file := "x,y\n1,2\n"
			if format == textfile.TSV {
				file = strings.ReplaceAll(file, ",", "\t")
			}
			_, _, err := read(t, textfile.Reader{Format: format, Column: column}, file)
			var table *textfile.ColumnError
			if !errors.As(err, &table) || table.Column != column || !slices.Equal(table.Has, []string{"x", "y"}) {
				t.Errorf("%s, %q: %v", format, column, err)
			}
		}
	}
}

func TestTheFormatIsThatOfTheEnding(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]textfile.Format{"a.CSV": textfile.CSV, "b/a.tsv": textfile.TSV, "a.jsonl": textfile.JSONL, "a.ndjson": textfile.JSONL, "a.csv.txt": textfile.Lines, "-": textfile.Lines} {
		if got := textfile.FormatOf(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func TestReadingEndsWithItsReader(t *testing.T) {
	t.Parallel()
	stop := errors.New("stop")
	for _, format := range textfile.Formats() {
		lines := 0
		err := textfile.Reader{Format: format}.Read(strings.NewReader("\"text\"\n\"a\"\n\"b\"\n"), func(textfile.Line) error {
			lines++
			return stop
		})
		if !errors.Is(err, stop) || lines != 1 {
			t.Errorf("%s: %v after %d lines", format, err, lines)
		}
	}
}
