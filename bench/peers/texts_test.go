package peers

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestTextsAreThoseOfTheFileInAnOrderThatStays(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{
		"table.tsv": "label\tcontent\n0\tone\n1\ttwo\n\n0\tthree\n",
		"lines.txt": "one\r\ntwo\n\nthree\n",
	} {
		path := filepath.Join(t.TempDir(), name)
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
	for name, content := range map[string]string{"a": "", "b": "\n\n", "c.tsv": "label\tcontent\n", "d.tsv": "label\tcontent\n0 one\n"} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if texts, err := readTexts(path); err == nil {
			t.Errorf("%q has the texts %q", content, texts)
		}
	}
}
