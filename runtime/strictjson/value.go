package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/distinfer/distinfer/runtime/errcode"
)

// A Value is a part of a document. The zero Value is none.
type Value struct {
	doc *document
	raw []byte // of doc.data
	at  int    // where it begins there
}

// Kind is what the value is: 'n', 't', 'f', '"', '0', '[' or '{'.
func (v Value) Kind() jsontext.Kind { return jsontext.Value(v.raw).Kind() }

// IsNull reports whether the value is null.
func (v Value) IsNull() bool { return v.Kind() == 'n' }

// Raw is the value as it was written. It is a part of the document's memory.
func (v Value) Raw() []byte { return v.raw }

// String is the value as it was written, for errors.
func (v Value) String() string { return string(v.raw) }

// Path is the value's place in the document, such as model.merges[3] in a file; "" is the whole.
func (v Value) Path() string { return v.doc.path(v.at) }

// Errorf is an error about the value. What it says follows the place: `"inputs"[3] is empty` of a
// body, and `model.merges[3]: is empty` of a file.
func (v Value) Errorf(format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	where := v.Path()
	switch {
	case v.doc.isBody() && where == "":
		return errcode.Errorf(errcode.Invalid, "%s %w", v.doc.name, err)
	case v.doc.isBody():
		return errcode.Errorf(errcode.Invalid, "%s %w", where, err)
	case where == "":
		return err
	}
	return fmt.Errorf("%s: %w", where, err)
}

// Want is the error about a value of another kind than is wanted, such as "a string".
func (v Value) Want(what string) error {
	if v.doc.isBody() && v.Path() == "" {
		return v.doc.misshapen(fmt.Sprintf("%s must not be %s", v.doc.name, v.KindName()))
	}
	return v.Errorf("must be %s, not %s", what, v.KindName())
}

// KindName names the value's kind in a sentence.
func (v Value) KindName() string {
	switch v.Kind() {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case '"':
		return "a string"
	case '0':
		return "a number"
	case 't', 'f':
		return "true or false"
	}
	return "null"
}

// Text reads a string.
func (v Value) Text() (string, error) {
	if v.Kind() != '"' {
		return "", v.Want("a string")
	}
	return Unquote(v.raw), nil
}

// Unquote is the text of a string of JSON that was checked.
func Unquote(raw []byte) string {
	if bytes.IndexByte(raw, '\\') < 0 && utf8.Valid(raw) {
		return string(raw[1 : len(raw)-1])
	}
	text, _ := jsontext.AppendUnquote(make([]byte, 0, len(raw)), raw) // it says that it put U+FFFD for what is not UTF-8
	return string(text)
}

// Bool reads true or false.
func (v Value) Bool() (bool, error) {
	if k := v.Kind(); k != 't' && k != 'f' {
		return false, v.Want("true or false")
	}
	return v.raw[0] == 't', nil
}

// Number reads a number, as it was written.
func (v Value) Number() (json.Number, error) {
	if v.Kind() != '0' {
		return "", v.Want("a number")
	}
	return json.Number(v.raw), nil
}

// Uint reads an integer from 0 to limit, which is written as one.
func (v Value) Uint(limit uint64) (uint64, error) {
	if v.Kind() != '0' {
		return 0, v.Want("a number")
	}
	n, err := strconv.ParseUint(string(v.raw), 10, 64)
	if err != nil || n > limit {
		return 0, v.Errorf("want an integer from 0 to %d, not %s", limit, v.raw)
	}
	return n, nil
}

// Uint32 reads an integer, which is written as one.
func (v Value) Uint32() (uint32, error) {
	n, err := v.Uint(math.MaxUint32)
	return uint32(n), err
}

// Choice reads a string that must be one of a few.
func (v Value) Choice(of ...string) (string, error) {
	s, err := v.Text()
	if err == nil && !slices.Contains(of, s) {
		err = v.Errorf("%q is not supported (supported: %s)", s, strings.Join(of, ", "))
	}
	return s, err
}

// Decoder reads the value token by token, for what is too large to be read as Values. It does
// not fail, since the value was checked, but where it is asked for what is not there.
func (v Value) Decoder() *jsontext.Decoder {
	return jsontext.NewDecoder(bytes.NewBuffer(v.raw), lenient...)
}

// inner is the value that a decoder of this one just read.
func (v Value) inner(decoder *pooled, raw []byte) Value {
	return Value{v.doc, raw, v.at + int(decoder.InputOffset()) - len(raw)}
}

// errRead is of a decoder that fails on what was checked, which is a bug here.
var errRead = errors.New("JSON reads otherwise the second time")

// Each reads a list, element by element.
func (v Value) Each(read func(i int, element Value) error) error { return v.EachOf("a list", read) }

// EachOf is Each for a list that errors call what, such as "a list of labels".
func (v Value) EachOf(what string, read func(i int, element Value) error) error {
	if v.Kind() != '[' {
		return v.Want(what)
	}
	decoder := borrow(v.raw, true)
	defer decoder.giveBack()
	if _, err := decoder.ReadToken(); err != nil {
		return errors.Join(errRead, err)
	}
	for i := 0; decoder.PeekKind() != ']'; i++ {
		raw, err := decoder.ReadValue()
		switch {
		case err != nil:
			return errors.Join(errRead, err)
		case i == maxList && v.doc.isBody():
			return errcode.Errorf(errcode.TooLarge, "%s has more than %d elements; send fewer at a time", v.Path(), maxList)
		}
		if err := read(i, v.inner(decoder, raw)); err != nil {
			return err
		}
	}
	return nil
}

// FirstKind is the kind of a list's first element, or 0.
func (v Value) FirstKind() jsontext.Kind {
	if v.Kind() != '[' {
		return 0
	}
	return jsontext.Value(v.raw[1:]).Kind() // ']' is none
}

// List reads a list.
func (v Value) List() ([]Value, error) {
	var list []Value
	err := v.Each(func(_ int, element Value) error {
		list = append(list, element)
		return nil
	})
	return list, err
}
