package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestTextsAreThoseOfTheFileInAnOrderThatStays(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{
		"table, second column": "label\tcontent\n0\tone\n1\ttwo\n\n0\tthree\n",
		"table, first column":  "content\tlabel\none\t0\ntwo\t1\r\nthree\t1",
		"lines":                "one\r\ntwo\n\nthree\n",
	} {
		path := filepath.Join(t.TempDir(), "texts")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		first, err := readTexts(path)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if again, _ := readTexts(path); !slices.Equal(first, again) {
			t.Errorf("%s: %q, then %q", name, first, again)
		}
		if slices.Sort(first); !slices.Equal(first, []string{"one", "three", "two"}) {
			t.Errorf("%s: %q", name, first)
		}
	}
}

func TestTextsThatAreNotThere(t *testing.T) {
	t.Parallel()
	for _, content := range []string{"", "\n\n", "label\tcontent\n", "label\tcontent\n0 one\n"} {
		path := filepath.Join(t.TempDir(), "texts")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if texts, err := readTexts(path); err == nil {
			t.Errorf("%q has the texts %q", content, texts)
		}
	}
}
