// Package textfiletest has files of texts as people have them, each with what it is to be read as.
// Whoever reads files is tested with them: the package textfile, the commands and the page.
package textfiletest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/distinfer/distinfer/runtime/testkit"
	"github.com/distinfer/distinfer/runtime/textfile"
)

// A File is one of the corpus.
type File struct {
	Name    string  `json:"file"`
	Kind    string  `json:"kind"` // in words
	Options Options `json:"options"`
	About   string  `json:"about"`   // what it is read as
	Refused string  `json:"refused"` // part of why it is refused; "" when it is read
	Rows    []Row   `json:"rows"`    // of a file that is refused, those before the place
	Path    string  `json:"-"`
}

// Options are those of package textfile that a file needs.
type Options struct{ Column, Pair, Encoding string }

// A Row is what a row is read as.
type Row struct {
	Line  int     `json:"line"`
	Text  string  `json:"text"`
	Pair  *string `json:"pair"`
	Error string  `json:"error"` // part of why it has no text
}

// Open are the options to open the file with.
func (f File) Open() textfile.Options {
	return textfile.Options{Name: f.Name, Column: f.Options.Column, Pair: f.Options.Pair, Encoding: f.Options.Encoding}
}

// Corpus are all files.
func Corpus(t testing.TB) []File {
	t.Helper()
	dir := filepath.Join(testkit.Root(t), "runtime", "textfile", "testdata", "corpus")
	data, err := os.ReadFile(filepath.Join(dir, "table.json"))
	if err != nil {
		t.Fatal(err)
	}
	var files []File
	if err := json.Unmarshal(data, &files); err != nil {
		t.Fatal(err)
	}
	for i := range files {
		files[i].Path = filepath.Join(dir, files[i].Name)
	}
	return files
}
