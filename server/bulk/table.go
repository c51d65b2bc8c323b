package bulk

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"slices"
	"strconv"

	"github.com/distinfer/distinfer/runtime/text"
)

// A table writes replies as rows: the cells of the input, the answer, and what was wrong. It has
// the delimiter of an input that is CSV too, and a byte order mark where the input had one or was
// UTF-16, without which Excel would not know UTF-8.
type table struct {
	Output
	to      *bufio.Writer
	rows    *csv.Writer // nil before the first row
	columns int         // of the input
}

func newTable(o Output, to *bufio.Writer) *table { return &table{Output: o, to: to} }

// begin writes the names of the columns.
func (t *table) begin() error {
	about := t.About()
	if about.Mark {
		if _, err := t.to.WriteString("\ufeff"); err != nil {
			return err
		}
	}
	t.rows = csv.NewWriter(t.to)
	switch {
	case t.Form == TSV:
		t.rows.Comma = '\t'
	case about.Delimiter != "":
		t.rows.Comma = []rune(about.Delimiter)[0]
	}
	t.columns = len(about.Columns)
	added := []string{"label", "score", "error"}
	if t.Answer != "" {
		added = []string{t.Answer, "error"}
	}
	for i := range added {
		for slices.Contains(about.Columns, added[i]) {
			added[i] = "predicted_" + added[i]
		}
	}
	return t.rows.Write(slices.Concat(about.Columns, added))
}

func (t *table) write(l Line) error {
	if t.rows == nil {
		if err := t.begin(); err != nil {
			return err
		}
	}
	row := slices.Clone(l.Cells[:min(len(l.Cells), t.columns)])
	for len(row) < t.columns {
		row = append(row, "")
	}
	answer, err := t.answer(l)
	if err != nil {
		return err
	}
	problem := ""
	if l.Reply.Err != nil {
		problem = l.Reply.Err.Error()
	}
	return t.rows.Write(append(append(row, answer...), problem))
}

func (t *table) answer(l Line) ([]string, error) {
	results, _ := l.Answer.([]text.Result)
	switch {
	case t.Answer == "" && len(results) == 0:
		return []string{"", ""}, nil
	case t.Answer == "":
		return []string{results[0].Label, strconv.FormatFloat(results[0].Score, 'f', 6, 64)}, nil
	case l.Reply.Err != nil:
		return []string{""}, nil //nolint:nilerr // the row has it
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(l.Answer)
	return []string{string(bytes.TrimSpace(b.Bytes()))}, err
}

func (t *table) flush() error {
	if t.rows == nil {
		return nil
	}
	t.rows.Flush()
	return t.rows.Error()
}
