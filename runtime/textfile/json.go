package textfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

var errNoText = errors.New("not a JSON string or object")

// looksLikeJSON reports whether the first line is an object, or an array of strings or objects
// begins: no text that anybody wrote looks like that.
func looksLikeJSON(head []byte) bool {
	first, _, _ := bytes.Cut(bytes.TrimLeft(head, " \t\r\n"), []byte("\n"))
	if bytes.HasPrefix(first, []byte("{")) {
		return json.Valid(first)
	}
	return isArray(head)
}

// isArray reports whether an array of strings or objects begins, or an empty one.
func isArray(head []byte) bool {
	d := jsontext.NewDecoder(bytes.NewReader(head))
	if t, err := d.ReadToken(); err != nil || t.Kind() != '[' {
		return false
	}
	switch d.PeekKind() {
	case ']':
		_, err := d.ReadToken()
		return err == nil
	case '"', '{':
	default:
		return false
	}
	if err := d.SkipValue(); err != nil {
		return errors.Is(err, io.ErrUnexpectedEOF) // it is longer than what is there
	}
	next, err := d.ReadToken()
	switch {
	case err != nil:
		return errors.Is(err, io.ErrUnexpectedEOF)
	case next.Kind() != ']':
		return true
	}
	rest, _, _ := bytes.Cut(head[d.InputOffset():], []byte("\n"))
	return len(bytes.TrimSpace(rest)) == 0
}

// openJSON tells an array from lines.
func (f *File) openJSON(lines *lineReader) error {
	head := bytes.TrimLeft(lines.head(), " \t\r\n")
	f.about.Columns, f.about.Column = []string{"text"}, 0
	if f.options.Column != "" {
		f.about.Columns[0], f.about.named = f.options.Column, true
	}
	if len(head) > 0 && head[0] == '[' && f.options.Format != JSONL && (f.options.Format == JSON || isArray(head)) {
		f.about.Format = JSON
		f.rows = func(each func(Row) error) error { return f.readArray(lines, each) }
		return nil
	}
	if err := f.refuseJSON(head); err != nil {
		return err
	}
	f.about.Format = JSONL
	f.rows = func(each func(Row) error) error { return f.readLines(lines, each) }
	return nil
}

// refuseJSON refuses what is neither lines nor an array, where the first line says so.
func (f *File) refuseJSON(head []byte) error {
	first, _, more := bytes.Cut(head, []byte("\n"))
	switch first = bytes.TrimSpace(first); {
	case f.options.Format == JSON:
		return &JSONError{"it does not begin with a bracket"}
	case f.options.Format == JSONL || len(first) == 0 || json.Valid(first) || !more && len(head) >= headBytes:
		return nil
	case first[0] == '{':
		return &JSONError{"it is one JSON object over several lines"}
	}
	return &JSONError{fmt.Sprintf("line 1, %.40q, is not JSON", first)}
}

func (f *File) readLines(lines *lineReader, each func(Row) error) error {
	objects := 0
	for {
		l, err := lines.next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case l.err == nil && strings.TrimSpace(l.text) == "":
			continue
		}
		row := Row{Line: l.number, Err: l.err}
		if l.err == nil {
			if row, err = f.value(l.number, []byte(l.text), &objects); err != nil {
				return err
			}
		}
		if err := each(row); err != nil {
			return err
		}
	}
}

// readArray reads the elements of an array.
func (f *File) readArray(lines *lineReader, each func(Row) error) error {
	from := &placed{r: lines.r, most: maxRow}
	d := jsontext.NewDecoder(from, jsontext.AllowDuplicateNames(true))
	if _, err := d.ReadToken(); err != nil {
		return arrayError(from.line(d.InputOffset()), err)
	}
	for objects := 0; ; {
		from.most = d.InputOffset() + maxRow
		kind := d.PeekKind()
		if kind == ']' {
			_, _ = d.ReadToken()
			if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
				return arrayError(from.line(d.InputOffset()), errors.New("something follows the array"))
			}
			return nil
		}
		raw, err := d.ReadValue()
		at := from.line(d.InputOffset() - int64(len(raw)))
		if err != nil {
			return arrayError(from.line(d.InputOffset()), err)
		}
		row, err := f.value(at, raw, &objects)
		if err == nil {
			err = each(row)
		}
		if err != nil {
			return err
		}
	}
}

func arrayError(line int, err error) error {
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) {
		err = syntax.Err
	}
	return fmt.Errorf("line %d: the JSON array cannot be read on: %w", line, err)
}

// value takes the texts out of a value of JSON: a string, or an object with them in fields.
func (f *File) value(line int, raw []byte, objects *int) (Row, error) {
	row := Row{Line: line}
	raw = bytes.TrimSpace(raw)
	if len(raw) > 0 && raw[0] == '"' && f.about.Pair < 0 && f.options.Pair == "" {
		text, err := unquote(raw)
		row.Text, row.Err = text, err
		row.Cells = f.lone(text)
		return row, nil
	}
	if len(raw) == 0 || raw[0] != '{' {
		row.Err = errNoText
		return row, nil
	}
	names, values, err := fields(raw)
	if err != nil {
		row.Err = err
		return row, nil //nolint:nilerr // the row has it
	}
	if len(names) == 0 {
		row.Err = noString(f.about.Columns[max(0, f.about.Column)])
		return row, nil
	}
	if *objects++; *objects == 1 {
		if err := f.findFields(names); err != nil {
			return row, err
		}
	}
	row.Object = bytes.Clone(raw)
	row.Cells = make([]string, len(f.about.Columns))
	for i, c := range f.about.Columns {
		row.Cells[i] = cellOf(values[c])
	}
	if f.about.Column < 0 {
		return row, nil
	}
	row.Text, row.Err = textOf(values, f.about.Columns[f.about.Column])
	if f.about.Pair >= 0 && row.Err == nil {
		var pair string
		pair, row.Err = textOf(values, f.about.Columns[f.about.Pair])
		row.Pair = &pair
	}
	return row, nil
}

// lone has a text in its column, and nothing in the others.
func (f *File) lone(text string) []string {
	cells := make([]string, len(f.about.Columns))
	cells[max(0, f.about.Column)] = text
	return cells
}

// findFields takes the fields of the first object for the columns. A field that was asked for may
// be missing from it.
func (f *File) findFields(names []string) error {
	for _, asked := range []string{f.options.Column, f.options.Pair} {
		if asked != "" && !slices.Contains(names, asked) {
			names = append(names, asked)
		}
	}
	var err error
	f.find(func(a *About) {
		a.Columns, a.Column, a.Header = names, -1, true
		err = f.findColumns()
	})
	return err
}

func textOf(values map[string]jsontext.Value, name string) (string, error) {
	v := values[name]
	if len(v) == 0 || v[0] != '"' {
		return "", noString(name)
	}
	return unquote(v)
}

func noString(name string) error { return fmt.Errorf("the object has no string in field %q", name) }

func unquote(raw []byte) (string, error) {
	d := jsontext.NewDecoder(bytes.NewReader(raw))
	t, err := d.ReadToken()
	if err != nil {
		return "", jsonError(err)
	}
	text := t.String()
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return "", errNoText
	}
	return text, nil // with NUL characters that were escaped: those are no sign of another kind of file
}

// jsonError says what is wrong with a value, and not where in the bytes of it.
func jsonError(err error) error {
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) {
		return fmt.Errorf("%w: %w", errNoText, syntax.Err)
	}
	return errNoText
}

func cellOf(v jsontext.Value) string {
	if len(v) == 0 || v.Kind() == 'n' {
		return ""
	}
	if v.Kind() == '"' {
		if s, err := unquote(v); err == nil {
			return s
		}
	}
	return string(v)
}

// fields are those of an object, in its order.
func fields(raw []byte) (names []string, values map[string]jsontext.Value, err error) {
	d := jsontext.NewDecoder(bytes.NewReader(raw))
	values = map[string]jsontext.Value{}
	if _, err := d.ReadToken(); err != nil {
		return nil, nil, jsonError(err)
	}
	for d.PeekKind() == '"' {
		name, err := d.ReadToken()
		if err != nil {
			return nil, nil, jsonError(err)
		}
		key := name.String()
		v, err := d.ReadValue()
		if err != nil {
			return nil, nil, jsonError(err)
		}
		names, values[key] = append(names, key), v.Clone()
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, nil, jsonError(err)
	}
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, nil, errNoText
	}
	return names, values, nil
}

// placed finds the lines of offsets that are asked for in order, and bounds what is read at once.
type placed struct {
	r      io.Reader
	most   int64
	n      int64
	breaks []int64 // of line feeds that were not passed
	passed int
}

func (p *placed) Read(b []byte) (int, error) {
	if p.n > p.most {
		return 0, fmt.Errorf("an element is longer than %d MB", maxRow>>20)
	}
	n, err := p.r.Read(b[:min(len(b), headBytes)])
	for i, c := range b[:n] {
		if c == '\n' {
			p.breaks = append(p.breaks, p.n+int64(i))
		}
	}
	p.n += int64(n)
	return n, err
}

func (p *placed) line(offset int64) int {
	for len(p.breaks) > 0 && p.breaks[0] < offset {
		p.breaks = p.breaks[1:]
		p.passed++
	}
	return p.passed + 1
}
