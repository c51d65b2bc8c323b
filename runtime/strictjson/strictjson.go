// Package strictjson is the one reader of JSON that others wrote: the bodies of clients, and
// the files of models.
//
// [Body] and [File] check a document once, as a whole. What they return, a [Value], is a view of
// it: nothing is built of a part until it is asked for, the fields of an [Object] come in any
// order, and numbers stay the text that they are. A Value finds its place in the document when
// an error needs it.
//
// Duplicate names are refused where an object is read, not in what is passed over: only there
// would they have an effect, and a body with a million names costs no memory.
//
// It knows JSON, not what it means.
package strictjson

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/distinfer/distinfer/runtime/errcode"
)

// Bounds of documents. A model's own files are far below them.
const (
	maxFile      = 64 << 20 // bytes
	maxFileDepth = 32       // nested objects and lists
	maxList      = 1 << 16  // elements of a list in a body
)

// A document is what Values are parts of.
type document struct {
	data []byte
	// name and form are what errors call a body and say that it should look like. Both are
	// empty for a file.
	name, form string
}

func (d *document) isBody() bool { return d.name != "" }

// Body checks JSON that a client sent. Errors call it by name, such as "the body", and say what
// form it should have. They have the code [errcode.Invalid], or [errcode.TooLarge] for a list of
// more than 65536 elements.
//
// Text that is not UTF-8, and half of a surrogate pair, become U+FFFD. A byte order mark before
// the JSON is passed over, as RFC 8259 allows.
func Body(data []byte, name, form string) (Value, error) {
	return (&document{data, name, form}).parse()
}

// File reads a file of JSON of at most 64 MiB, nested at most 32 deep. Text that is not UTF-8,
// or that has half of a surrogate pair, is refused: it would not be found in a vocabulary.
func File(r io.Reader) (Value, error) {
	data, err := readFile(r)
	if err != nil {
		return Value{}, err
	}
	return file(data)
}

// PythonFile is File for what Python's json module wrote, in which NaN, Infinity and -Infinity
// are read as null.
func PythonFile(r io.Reader) (Value, error) {
	data, err := readFile(r)
	if err != nil {
		return Value{}, err
	}
	return file(plain(data))
}

func readFile(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("larger than %d MiB", maxFile>>20)
	}
	return data, err
}

func file(data []byte) (Value, error) {
	if Measure(data).Depth > maxFileDepth {
		return Value{}, fmt.Errorf("nested deeper than %d levels", maxFileDepth)
	}
	return (&document{data: data}).parse()
}

var byteOrderMark = []byte("\ufeff")

func (d *document) parse() (Value, error) {
	d.data = bytes.TrimPrefix(d.data, byteOrderMark)
	decoder := borrow(d.data, d.isBody())
	defer decoder.giveBack()
	raw, err := decoder.ReadValue()
	if err != nil {
		return Value{}, d.broken(err)
	}
	v := Value{d, raw, int(decoder.InputOffset()) - len(raw)}
	if _, err := decoder.ReadToken(); !errors.Is(err, io.EOF) {
		if d.isBody() {
			return Value{}, errcode.Errorf(errcode.Invalid, "something follows the JSON in %s", d.name)
		}
		return Value{}, fmt.Errorf("something follows the JSON, which ends after %d bytes", v.at+len(raw))
	}
	return v, nil
}

// A pooled decoder is of this package only. Large objects have a decoder for each list in them.
type pooled struct {
	jsontext.Decoder
	buffer bytes.Buffer
}

var (
	decoders = sync.Pool{New: func() any { return new(pooled) }}
	exact    = []jsontext.Options{jsontext.AllowDuplicateNames(true)}
	lenient  = []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}
)

// borrow returns a decoder of data, which takes what is not UTF-8 if it is to replace it.
func borrow(data []byte, replace bool) *pooled {
	p := decoders.Get().(*pooled)
	p.buffer = *bytes.NewBuffer(data)
	options := exact
	if replace {
		options = lenient
	}
	p.Reset(&p.buffer, options...)
	return p
}

func (p *pooled) giveBack() {
	p.buffer = bytes.Buffer{}
	p.Reset(&p.buffer) // which lets go of the data
	decoders.Put(p)
}

// broken says what is wrong with what is not JSON.
func (d *document) broken(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("it ends too early")
	} else {
		err = errors.New(strings.TrimPrefix(err.Error(), "jsontext: "))
	}
	return d.misshapen(err.Error())
}

// misshapen is the error about a document as a whole.
func (d *document) misshapen(why string) error {
	if d.isBody() {
		return errcode.Errorf(errcode.Invalid, "%s is not JSON of the form %s: %s", d.name, d.form, why)
	}
	return fmt.Errorf("not JSON: %s", why)
}

// A Shape is what JSON is made of.
type Shape struct {
	Depth   int // of objects and lists in each other
	Objects int
	Values  int // objects, lists, and a value for each comma
}

// Measure counts brackets and commas outside of strings. It takes data that is not JSON, too,
// and so costs little before a bomb is read.
func Measure(data []byte) Shape {
	var s Shape
	depth, inString := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{', c == '[':
			if depth++; depth > s.Depth {
				s.Depth = depth
			}
			if s.Values++; c == '{' {
				s.Objects++
			}
		case c == '}', c == ']':
			depth--
		case c == ',':
			s.Values++
		}
	}
	return s
}

// plain has null for NaN, Infinity and -Infinity.
func plain(data []byte) []byte {
	var out []byte
	done, inString := 0, false
	for i := 0; i < len(data); i++ {
		c := data[i]
		switch {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case !inString && (c == 'N' || c == 'I' || c == '-'):
			for _, name := range []string{"NaN", "Infinity", "-Infinity"} {
				if bytes.HasPrefix(data[i:], []byte(name)) {
					out = append(append(out, data[done:i]...), "null"...)
					i += len(name) - 1
					done = i + 1
					break
				}
			}
		}
	}
	if out == nil {
		return data
	}
	return append(out, data[done:]...)
}

// path is the place of the part that begins at an offset, "" for the whole: model.merges[3] in a
// file, and in a body, whose errors are sentences, "inputs"[3]."text".
func (d *document) path(at int) string {
	decoder := borrow(d.data, true)
	defer decoder.giveBack()
	for decoder.InputOffset() <= int64(at) {
		if _, err := decoder.ReadToken(); err != nil {
			return ""
		}
	}
	var b strings.Builder
	level := 0
	for token := range decoder.StackPointer().Tokens() {
		level++
		if kind, _ := decoder.StackIndex(level); kind == '[' {
			b.WriteString("[" + token + "]")
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		if d.isBody() {
			fmt.Fprintf(&b, "%.80q", token)
		} else {
			b.WriteString(token)
		}
	}
	return b.String()
}

// Whole is the text of a number without a point and an exponent, if it is whole: 3.0 and 3e0 are
// the integer 3. From 2^53 on, where floats are not exact, it stays as it is.
func Whole(number string) string {
	if !strings.ContainsAny(number, ".eE") {
		return number
	}
	f, err := strconv.ParseFloat(number, 64)
	if err != nil || f != math.Trunc(f) || math.Abs(f) >= 1<<53 {
		return number
	}
	return strconv.FormatInt(int64(f), 10)
}
