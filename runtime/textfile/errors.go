package textfile

import (
	"fmt"
	"strings"
)

// A KindError is about a file that is no file of texts.
type KindError struct {
	Is   string // what it is, such as "an Excel workbook or another zip archive"
	Does string // what to do
}

func (e *KindError) Error() string { return fmt.Sprintf("it is %s; %s", e.Is, e.Does) }

// An EncodingError is about bytes in an encoding that no rule finds.
type EncodingError struct {
	Line int
	Why  string
}

func (e *EncodingError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Why) }

// A ColumnError is about a table that has not the column, or has several when none is named.
type ColumnError struct {
	Column string // "" when none is named
	Has    []string
	Likely []string // columns whose names say that they hold texts, when none is named
	Twice  bool     // there are two of the name
}

func (e *ColumnError) Error() string {
	has := strings.Join(e.Has, ", ")
	switch {
	case e.Twice:
		return fmt.Sprintf("the input has more than one column %q (%s)", e.Column, has)
	case e.Column != "":
		return fmt.Sprintf("the input has no column %q; it has %s", e.Column, has)
	case len(e.Likely) > 0:
		return fmt.Sprintf("the input has %d columns (%s), and it is not said which holds the text: perhaps %s", len(e.Has), has, strings.Join(e.Likely, " or "))
	}
	return fmt.Sprintf("the input has %d columns (%s), and it is not said which holds the text", len(e.Has), has)
}

// A HeaderError is about a first row that may name the only column or be a text.
type HeaderError struct{ First string }

func (e *HeaderError) Error() string {
	return fmt.Sprintf("line 1, %.60q, may be a text or the name of the column", e.First)
}

// A QuoteError is about a quote that takes in rows.
type QuoteError struct {
	Line int // where it stands
	Why  string
}

func (e *QuoteError) Error() string {
	return fmt.Sprintf("line %d: a quoted cell begins here and %s; close the quote, or double a quote that is part of the text", e.Line, e.Why)
}

// A JSONError is about JSON that is neither lines nor an array.
type JSONError struct{ Why string }

func (e *JSONError) Error() string {
	return e.Why + "; wanted is a JSON string or object a line, or one array of them"
}
