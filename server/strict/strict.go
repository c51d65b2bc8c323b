// Package strict reads the JSON of clients token by token, so that nothing is built of
// what is not wanted, and refuses what would be without effect: a field that is not known
// or not spelt as it is, one that is given twice, and what follows the JSON. What is wrong
// is a errcode.Invalid that names it.
//
// A byte order mark before the JSON is passed over, as RFC 8259 allows.
//
// It knows JSON; not what is asked.
package strict

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/distinfer/distinfer/runtime/errcode"
)

// maxList is how many elements a list may have.
const maxList = 1 << 16

// A Reader reads JSON from its beginning to its end.
type Reader struct {
	tokens      *json.Decoder
	whole, form string
}

// New reads data. Errors call it whole, such as "the body", and say that it should be of a form.
func New(data []byte, whole, form string) *Reader {
	d := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(data, byteOrderMark)))
	d.UseNumber()
	return &Reader{d, whole, form}
}

var byteOrderMark = []byte("\ufeff")

// Fields are those that an object may have, each with what reads its value. That is told
// where the value stands, for errors.
type Fields map[string]func(where string) error

// Whole reads data that is one object, and nothing else.
func (r *Reader) Whole(fields Fields) error {
	return r.only(func(where string) error { return r.Fields(fields, where) })
}

// WholeAmong is Whole for an object that may have other fields, as FieldsAmong has it.
func (r *Reader) WholeAmong(fields Fields) error {
	return r.only(func(where string) error { return r.FieldsAmong(fields, where) })
}

func (r *Reader) only(read func(where string) error) error {
	token, err := r.Next()
	switch {
	case err != nil:
		return err
	case token != json.Delim('{'):
		return r.notJSON(r.whole + " must not be " + Kind(token))
	}
	if err := read(r.whole); err != nil {
		return err
	}
	return r.End()
}

// Next is the next token.
func (r *Reader) Next() (json.Token, error) {
	token, err := r.tokens.Token()
	switch {
	case errors.Is(err, io.EOF):
		return nil, r.notJSON("it ends too early")
	case err != nil:
		return nil, r.notJSON(strings.TrimPrefix(err.Error(), "json: "))
	}
	return token, nil
}

// End fails when something follows.
func (r *Reader) End() error {
	if _, err := r.tokens.Token(); !errors.Is(err, io.EOF) {
		return errcode.Errorf(errcode.Invalid, "something follows the JSON in %s", r.whole)
	}
	return nil
}

// Skip passes over a value, however it is nested.
func (r *Reader) Skip(string) error {
	var value json.RawMessage
	if err := r.tokens.Decode(&value); err != nil {
		return r.notJSON(strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}

// Fields reads the object that stands at a place, behind its brace.
func (r *Reader) Fields(fields Fields, where string) error {
	return r.fields(fields, func(key string) error {
		return errcode.Errorf(errcode.Invalid, "the field %.80q of %s is not known; known are %s", key, where, strings.Join(slices.Sorted(maps.Keys(fields)), ", "))
	})
}

// FieldsAmong is Fields for an object that may have other fields, which are passed over. One
// that is a known one but for its case is refused.
func (r *Reader) FieldsAmong(fields Fields, where string) error {
	return r.fields(fields, func(key string) error {
		for known := range fields {
			if strings.EqualFold(key, known) {
				return errcode.Errorf(errcode.Invalid, "the field %.80q of %s is not known; it is spelt %q", key, where, known)
			}
		}
		return r.Skip(key)
	})
}

func (r *Reader) fields(fields Fields, other func(key string) error) error {
	given := make([]string, 0, len(fields))
	for r.tokens.More() {
		token, err := r.Next()
		if err != nil {
			return err
		}
		key, _ := token.(string)
		read, known := fields[key]
		if !known {
			if err := other(key); err != nil {
				return err
			}
			continue
		}
		if slices.Contains(given, key) {
			return errcode.Errorf(errcode.Invalid, "%q is given twice", key)
		}
		given = append(given, key)
		if err := read(strconv.Quote(key)); err != nil {
			return err
		}
	}
	_, err := r.Next() // the brace
	return err
}

// Raw reads any value as it stands. null is as if it were not there.
func (r *Reader) Raw(to *json.RawMessage) func(where string) error {
	return func(string) error {
		if err := r.tokens.Decode(to); err != nil {
			return r.notJSON(strings.TrimPrefix(err.Error(), "json: "))
		}
		if string(*to) == "null" {
			*to = nil
		}
		return nil
	}
}

// Map reads an object whose fields have any names, or null, which is as if it were not there.
func (r *Reader) Map(to *map[string]json.RawMessage) func(where string) error {
	return func(where string) error {
		token, err := r.Next()
		switch {
		case err != nil || token == nil:
			return err
		case token != json.Delim('{'):
			return errcode.Errorf(errcode.Invalid, "%s must be an object, not %s", where, Kind(token))
		}
		*to = map[string]json.RawMessage{}
		err = r.fields(nil, func(key string) error {
			if _, twice := (*to)[key]; twice {
				return errcode.Errorf(errcode.Invalid, "%.80q of %s is given twice", key, where)
			}
			var value json.RawMessage
			err := r.Raw(&value)(key)
			(*to)[key] = value
			return err
		})
		return err
	}
}

// Object reads an object, or null, which is as if it were not there.
func (r *Reader) Object(fields Fields) func(where string) error {
	return func(where string) error {
		token, err := r.Next()
		switch {
		case err != nil || token == nil:
			return err
		case token != json.Delim('{'):
			return errcode.Errorf(errcode.Invalid, "%s must be an object, not %s", where, Kind(token))
		}
		return r.Fields(fields, where)
	}
}

// BeginList reads the bracket of a list that stands at a place, which List reads the rest of.
// It is not there when there is null. Anything else is an error that names what is wanted, such as
// "a list of labels".
func (r *Reader) BeginList(what, where string) (there bool, err error) {
	token, err := r.Next()
	switch {
	case err != nil || token == nil:
		return false, err
	case token != json.Delim('['):
		return false, errcode.Errorf(errcode.Invalid, "%s must be %s, not %s", where, what, Kind(token))
	}
	return true, nil
}

// List reads the list that stands at a place, behind its bracket. Each element is read
// with its first token.
func (r *Reader) List(each func(token json.Token, where string) error, where string) error {
	for i := 0; r.tokens.More(); i++ {
		if i == maxList {
			return errcode.Errorf(errcode.TooLarge, "%s has more than %d elements; send fewer at a time", where, maxList)
		}
		token, err := r.Next()
		if err != nil {
			return err
		}
		if err := each(token, where+"["+strconv.Itoa(i)+"]"); err != nil {
			return err
		}
	}
	_, err := r.Next() // the bracket
	return err
}

// Value reads a string, a number, or true or false. null is as if it were not there.
func Value[T string | json.Number | bool](r *Reader, to **T) func(where string) error {
	return func(where string) error {
		token, err := r.Next()
		if err != nil || token == nil {
			return err
		}
		v, ok := token.(T)
		if !ok {
			return errcode.Errorf(errcode.Invalid, "%s must be %s, not %s", where, Kind(v), Kind(token))
		}
		*to = &v
		return nil
	}
}

// notJSON says that the JSON is broken, or of another shape.
func (r *Reader) notJSON(why string) error {
	return errcode.Errorf(errcode.Invalid, "%s is not JSON of the form %s: %s", r.whole, r.form, why)
}

// Kind names what a token begins.
func Kind(token json.Token) string {
	switch token := token.(type) {
	case json.Delim:
		if token == '[' {
			return "a list"
		}
		return "an object"
	case string:
		return "a string"
	case json.Number:
		return "a number"
	case bool:
		return "true or false"
	default:
		return "null"
	}
}
