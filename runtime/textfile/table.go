package textfile

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	// maxCellLines bounds a cell: more lines than a text has, and fewer than a quote takes in that
	// nobody closed.
	maxCellLines = 1000

	// A quoted cell whose inner lines all have as many cells as the table takes in rows, if they
	// are at least this many: of two columns a text with a comma in each line looks the same.
	likeRows       = 3
	likeRowsOfTwo  = 20
	maxHeaderRunes = 64
)

// A table reads rows of cells.
type table struct {
	lines     *lineReader
	delimiter string
	loose     bool // a quote that does not close is part of its text
	width     int  // cells of the first row
}

// openTable finds the delimiter, the header and the columns.
func (f *File) openTable(lines *lineReader) error {
	t := &table{lines: lines, loose: f.about.Format == TSV}
	if err := f.findDelimiter(t); err != nil {
		return err
	}
	f.about.Delimiter = t.delimiter
	first, err := t.row()
	if errors.Is(err, io.EOF) {
		f.rows = func(func(Row) error) error { return nil }
		return nil
	}
	if err != nil {
		return err
	}
	if first.Err != nil {
		return fmt.Errorf("line %d: %w", first.Line, first.Err)
	}
	t.width = len(first.Cells)
	if err := f.findHeader(first.Cells); err != nil {
		return err
	}
	f.about.Columns = f.columnsOf(first.Cells)
	if err := f.findColumns(); err != nil {
		return err
	}
	f.rows = func(each func(Row) error) error {
		if !f.about.Header {
			if err := each(f.choose(first)); err != nil {
				return err
			}
		}
		return f.readTable(t, each)
	}
	return nil
}

func (f *File) readTable(t *table, each func(Row) error) error {
	for {
		row, err := t.row()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = each(f.choose(row))
		}
		if err != nil {
			return err
		}
	}
}

// findDelimiter takes the one asked for, else that of "sep=;" in the first line, which Excel
// understands, else tabs for TSV, else which parts the first line into the most cells.
func (f *File) findDelimiter(t *table) error {
	first, err := t.lines.next()
	if errors.Is(err, io.EOF) {
		first, err = line{}, nil
	}
	if err != nil {
		return err
	}
	asked := f.options.Delimiter
	named, found := strings.CutPrefix(first.text, "sep=")
	if found = found && utf8.RuneCountInString(named) == 1; !found {
		t.lines.unread([]line{first})
	}
	switch {
	case asked != "":
		t.delimiter = asked
	case found:
		t.delimiter = named
	case f.about.Format == TSV:
		t.delimiter = "\t"
	default:
		t.delimiter = delimiterOf(first.text)
	}
	if utf8.RuneCountInString(t.delimiter) != 1 || strings.ContainsAny(t.delimiter, "\"\r\n") {
		return fmt.Errorf("the delimiter %q is not one character that can part cells", t.delimiter)
	}
	return nil
}

func delimiterOf(first string) string {
	unquoted := regexp.MustCompile(`"[^"]*"?`).ReplaceAllString(first, "")
	best := ","
	for _, d := range []string{";", "\t", "|"} {
		if strings.Count(unquoted, d) > strings.Count(unquoted, best) {
			best = d
		}
	}
	return best
}

// row reads a row. It ends with io.EOF, or with why no row can follow.
func (t *table) row() (Row, error) {
	for {
		first, err := t.lines.next()
		if err != nil {
			return Row{}, err
		}
		if first.err != nil {
			return Row{Line: first.number, Err: first.err}, nil //nolint:nilerr // the row has it
		}
		if strings.TrimSpace(first.text) == "" && t.width != 1 || first.text == "" {
			continue
		}
		return t.from(first)
	}
}

// from reads the row that begins with a line.
func (t *table) from(first line) (Row, error) {
	row := Row{Line: first.number}
	var p rowParser
	switch end := p.feed(first.text, t.delimiter); {
	case end == whole:
		row.Cells, row.Err = p.cells, t.check(p.cells)
		return row, nil
	case t.loose && t.isLiteral(first.text, end):
		row.Cells = strings.Split(first.text, t.delimiter)
		return row, nil
	case end == torn:
		row.Err = errors.New("a quote inside a quoted cell is not doubled, or text follows a closing quote")
		return row, nil
	}
	return t.further(row, &p, first)
}

// isLiteral reports whether a row of TSV has as many cells as it should when its quotes are text.
func (t *table) isLiteral(first string, end rowEnd) bool {
	fits := func(s string) bool { return t.width == 0 || strings.Count(s, t.delimiter)+1 == t.width }
	if !fits(first) {
		return false
	}
	if end == torn {
		return true
	}
	next, err := t.lines.next()
	if err != nil {
		return true // what is wrong comes again
	}
	t.lines.unread([]line{next})
	return next.text == "" || fits(next.text)
}

// further reads the lines that a cell in quotes takes in.
func (t *table) further(row Row, p *rowParser, first line) (Row, error) {
	size, inner, like := len(first.text), 0, true
	for n := 1; ; n++ {
		l, err := t.lines.next()
		switch {
		case errors.Is(err, io.EOF):
			return row, &QuoteError{row.Line, "does not end before the file does"}
		case err != nil:
			return row, err
		}
		if size += len(l.text); size > maxRow || n > maxCellLines {
			return row, &QuoteError{row.Line, fmt.Sprintf("does not end within %d lines", n)}
		}
		row.Err = errors.Join(row.Err, l.err)
		switch p.feed(l.text, t.delimiter) {
		case open:
			inner++
			like = like && strings.Count(l.text, t.delimiter)+1 == t.width
			continue
		case torn:
			return row, &QuoteError{row.Line, fmt.Sprintf("seems to end on line %d, at a quote that text follows", l.number)}
		}
		if like && (t.width > 2 && inner >= likeRows || t.width == 2 && inner >= likeRowsOfTwo) {
			return row, &QuoteError{row.Line, fmt.Sprintf("takes in what look like rows, up to line %d", l.number)}
		}
		row.Cells = p.cells
		row.Err = errors.Join(row.Err, t.check(p.cells))
		return row, nil
	}
}

// check refuses a row with more cells than the first: an unquoted delimiter is in a text then.
func (t *table) check(cells []string) error {
	if t.width == 0 || len(cells) <= t.width || !slices.ContainsFunc(cells[t.width:], func(s string) bool { return s != "" }) {
		return nil
	}
	return fmt.Errorf("there are %d columns where the first row has %d; put cells that hold %q in quotes", len(cells), t.width, t.delimiter)
}

// A rowEnd is what a line is to its row.
type rowEnd int

const (
	whole rowEnd = iota // the row ends with it
	open                // it ends within a cell in quotes
	torn                // text follows a closing quote
)

// A rowParser parts lines into the cells of a row.
type rowParser struct {
	cells  []string
	cell   strings.Builder // in quotes, so far
	inside bool            // of quotes
}

func (p *rowParser) feed(s, delimiter string) rowEnd {
	for {
		if !p.inside {
			if !strings.HasPrefix(s, `"`) {
				cell, rest, more := strings.Cut(s, delimiter)
				if p.cells = append(p.cells, restore(cell)); !more {
					return whole
				}
				s = rest
				continue
			}
			p.inside, s = true, s[1:]
		}
		text, rest, closed := strings.Cut(s, `"`)
		p.cell.WriteString(text)
		if !closed {
			p.cell.WriteByte('\n')
			return open
		}
		if s = rest; strings.HasPrefix(s, `"`) {
			p.cell.WriteByte('"')
			s = s[1:]
			continue
		}
		p.inside = false
		behind, rest, more := strings.Cut(s, delimiter)
		if strings.TrimSpace(behind) != "" {
			return torn
		}
		p.cells = append(p.cells, restore(p.cell.String()))
		p.cell.Reset()
		if !more {
			return whole
		}
		s = rest
	}
}

var (
	formula = regexp.MustCompile(`^'+[=+\-@\t\r\n＝＋－＠]`)
	number  = regexp.MustCompile(`^[+-]?(\d[\d.,]*|[.,]\d+)([eE][+-]?\d+)?%?$`)
)

// restore takes away the apostrophe that programs, the page's downloads among them, put before a
// cell that a spreadsheet would take for a formula.
func restore(cell string) string {
	if strings.HasPrefix(cell, "'") && formula.MatchString(cell) && !number.MatchString(strings.TrimLeft(cell, "'")) {
		return cell[1:]
	}
	return cell
}

var columnName = regexp.MustCompile(`^[\p{L}_#][\p{L}\p{M}\p{N}_ ./#()-]*$`)

// findHeader says whether the first row names the columns: each of its cells is a short name.
func (f *File) findHeader(first []string) error {
	switch f.options.Header {
	case HeaderYes, HeaderNo:
		f.about.Header = f.options.Header == HeaderYes
		return nil
	case HeaderByRule:
	default:
		return fmt.Errorf("the header %q is neither yes nor no", f.options.Header)
	}
	if f.options.Column != "" && slices.ContainsFunc(first, func(cell string) bool { return is(cell, f.options.Column) }) || slices.ContainsFunc(first, saysText) {
		f.about.Header = true
		return nil
	}
	names := 0
	for _, cell := range first {
		cell = strings.TrimSpace(cell)
		if cell == "" || utf8.RuneCountInString(cell) <= maxHeaderRunes && columnName.MatchString(cell) && !strings.HasSuffix(cell, ".") {
			names++
		}
	}
	f.about.Header = names == len(first)
	if len(first) == 1 && f.about.Header && strings.Contains(strings.TrimSpace(first[0]), " ") && !f.options.Show {
		return &HeaderError{first[0]}
	}
	return nil
}

func (f *File) columnsOf(first []string) []string {
	columns := make([]string, len(first))
	for i, cell := range first {
		columns[i] = strings.TrimSpace(cell)
		if !f.about.Header || columns[i] == "" {
			columns[i] = fmt.Sprint("column ", i+1)
		}
	}
	return columns
}

// textNames are what people call columns of texts.
var textNames = regexp.MustCompile(`(?i)^(texts?|sentences?|contents?|reviews?|comments?|messages?|tweets?|body|documents?|inputs?)$`)

func saysText(name string) bool { return textNames.MatchString(strings.TrimSpace(name)) }

func is(cell, name string) bool { return strings.TrimSpace(cell) == strings.TrimSpace(name) }

// findColumns finds which columns hold the texts.
func (f *File) findColumns() (err error) {
	columns := f.about.Columns
	if f.options.Pair != "" {
		if f.about.Pair, err = f.column(f.options.Pair); err != nil {
			return err
		}
	}
	if f.options.Column != "" {
		f.about.named = true
		f.about.Column, err = f.column(f.options.Column)
		return err
	}
	var likely []string
	for i, c := range columns {
		if c == "text" || len(columns) == 1 {
			f.about.Column = i
			return nil
		}
		if saysText(c) && f.about.Header {
			likely = append(likely, c)
			f.about.Column = i
		}
	}
	if len(likely) != 1 {
		f.about.Column = -1
		if !f.options.Show {
			return &ColumnError{Has: columns, Likely: likely}
		}
	}
	return nil
}

func (f *File) column(name string) (int, error) {
	found := -1
	for i, c := range f.about.Columns {
		if !is(c, name) {
			continue
		}
		if found >= 0 {
			return -1, &ColumnError{Column: name, Has: f.about.Columns, Twice: true}
		}
		found = i
	}
	if found < 0 {
		return -1, &ColumnError{Column: name, Has: f.about.Columns}
	}
	return found, nil
}

// choose takes the texts out of a row's cells.
func (f *File) choose(row Row) Row {
	if row.Err != nil || f.about.Column < 0 {
		return row
	}
	row.Text, row.Err = f.cell(row, f.about.Column)
	if f.about.Pair >= 0 && row.Err == nil {
		var pair string
		pair, row.Err = f.cell(row, f.about.Pair)
		row.Pair = &pair
	}
	return row
}

func (f *File) cell(row Row, i int) (string, error) {
	if i >= len(row.Cells) {
		return "", fmt.Errorf("there are %d columns, and the text should be in column %d", len(row.Cells), i+1)
	}
	return row.Cells[i], nil
}
