package main_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/distinfer/distinfer/runtime/textfile/textfiletest"
)

// labelledFiles are those of the corpus that take a process each; files that are refused take next to none.
var labelledFiles = map[string]bool{
	"powershell.txt": true, "latin.txt": true, "mixed.txt": true, "excel.csv": true, "breaks.csv": true, "pairs.tsv": true,
	"lines.json": true, "array.json": true, "comma.csv.gz": true, "objects.jsonl.zst": true, "lone-quote-end.csv": true,
}

func TestPredictReadsFilesAsPeopleHaveThem(t *testing.T) {
	t.Parallel()
	bundle := taskModel(t, "three", nil)
	for _, c := range textfiletest.Corpus(t) {
		if !labelledFiles[c.Name] && (c.Refused == "" || len(c.Rows) > 0) {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			args := []string{"predict", c.Path, "--bundle", bundle, "-o", "json", "--keep"}
			if c.Options.Encoding != "" {
				args = append(args, "--encoding", c.Options.Encoding)
			}
			if c.Options.Pair != "" {
				args = append(args, "--columns", c.Options.Column+","+c.Options.Pair)
			} else if c.Options.Column != "" {
				args = append(args, "--column", c.Options.Column)
			}
			r := run(t, t.TempDir(), "", args...)
			var lines []string
			if r.stdout != "" {
				lines = strings.Split(strings.TrimSuffix(r.stdout, "\n"), "\n")
			}
			bad := 0
			for i, want := range c.Rows {
				var got struct {
					Line         int
					Label, Error string
				}
				if i >= len(lines) || json.Unmarshal([]byte(lines[i]), &got) != nil || got.Line != want.Line || (got.Error == "") != (want.Error == "") || !strings.Contains(got.Error, want.Error) {
					t.Fatalf("row %d of %q, want %+v", i, lines, want)
				}
				if want.Error != "" {
					bad++
				}
			}
			if len(lines) != len(c.Rows) || (r.code == 0) != (c.Refused == "" && bad == 0) || !strings.Contains(r.stderr, c.Refused) || c.Refused != "" && !strings.Contains(r.stderr, c.Name) {
				t.Errorf("%d lines, want %d: %+v", len(lines), len(c.Rows), r)
			}
		})
	}
}

// What a table is read from standard input as is the same, and tables come back as they were.
func TestPredictWritesTables(t *testing.T) {
	t.Parallel()
	bundle := taskModel(t, "three", nil)
	file := "\ufeffid;review;note\r\n7;\"a \"\"lovely\"\"; film\";x\r\n8;dull;\r\n"
	r := run(t, t.TempDir(), file, "predict", "--bundle", bundle, "--format", "csv", "-o", "csv")
	lines := strings.Split(r.stdout, "\n")
	if r.code != 0 || len(lines) != 4 || lines[0] != "\ufeffid;review;note;label;score;error" || !strings.HasPrefix(lines[1], "7;\"a \"\"lovely\"\"; film\";x;LABEL_") {
		t.Errorf("%+v", r)
	}
	if want := "standard input is read as CSV with semicolons, UTF-8, column \"review\"\n"; r.stderr != want {
		t.Errorf("%q, want %q", r.stderr, want)
	}
	for _, c := range []struct {
		args, says string
		code       int
	}{
		{"--columns a", "--columns", 2},
		{"--columns a,b --column c", "--column and --columns", 2},
		{"--delimiter ab", "--delimiter", 2},
		{"--format lines --delimiter tab", "--delimiter", 2},
		{"--encoding klingon", "klingon", 2},
		{"--keep", "-o json", 2},
		{"--header maybe", "maybe", 2},
	} {
		if r := run(t, t.TempDir(), "a\n", append([]string{"predict", "--bundle", bundle}, strings.Fields(c.args)...)...); r.code != c.code || !strings.Contains(r.stderr, c.says) {
			t.Errorf("%s: %+v", c.args, r)
		}
	}
}
