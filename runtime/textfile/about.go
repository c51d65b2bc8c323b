package textfile

import (
	"fmt"
	"strings"
)

// An About is what a file was found to be.
type About struct {
	Compression string // "gzip", "zstd" or ""
	Format      Format
	Encoding    string // a name of the WHATWG's
	Mark        bool   // it began with a byte order mark
	Delimiter   string // of a table
	Header      bool   // of a table: the first row names the columns

	Columns []string // or fields of the first object
	Column  int      // which holds the text; -1 while that is not known
	Pair    int      // which holds the second text, -1 for none

	named bool // by Options, so that it need not be said
}

var delimiterNames = map[string]string{",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}

// String says it in a few words, such as "CSV with semicolons, Windows-1252".
func (a About) String() string {
	words := []string{a.form(), a.encoding()}
	if a.Compression != "" {
		words = append(words, a.Compression)
	}
	if (a.Format == CSV || a.Format == TSV) && !a.Header {
		words = append(words, "no header")
	}
	if a.Column >= 0 && len(a.Columns) > 1 {
		which := fmt.Sprintf("column %q", a.Columns[a.Column])
		if a.Pair >= 0 {
			which = fmt.Sprintf("columns %q and %q", a.Columns[a.Column], a.Columns[a.Pair])
		}
		words = append(words, which)
	}
	return strings.Join(words, ", ")
}

// IsPlain reports whether there is nothing to say: lines or JSON in UTF-8, or a table whose column
// was named, with the delimiter that its format is named after.
func (a About) IsPlain() bool {
	usual := a.Format == CSV && a.Delimiter == "," || a.Format == TSV && a.Delimiter == "\t" || a.Delimiter == ""
	table := a.Format == CSV || a.Format == TSV
	return usual && a.Encoding == utf8Name && a.Compression == "" && (a.named || len(a.Columns) < 2) && (a.Header || !table)
}

func (a About) form() string {
	switch a.Format {
	case Lines:
		return "a text a line"
	case JSONL:
		return "JSON lines"
	case JSON:
		return "a JSON array"
	}
	form := strings.ToUpper(string(a.Format))
	if name := delimiterNames[a.Delimiter]; name != "" {
		return form + " with " + name
	}
	return fmt.Sprintf("%s with %q", form, a.Delimiter)
}

var encodingNames = map[string]string{utf8Name: "UTF-8", utf16LE: "UTF-16", utf16BE: "UTF-16", windows1252: "Windows-1252"}

func (a About) encoding() string {
	if name := encodingNames[a.Encoding]; name != "" {
		return name
	}
	return a.Encoding
}
