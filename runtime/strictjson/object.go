package strictjson

import (
	"errors"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/distinfer/distinfer/runtime/errcode"
)

// An Object is an object of JSON, read field by field. As with bufio.Writer the first error
// sticks, and Err or Finish tells it; what is read after that is zero.
type Object struct {
	Value
	fields map[string]Value
	err    error
}

// Object reads an object with fields of any names.
func (v Value) Object() (*Object, error) {
	return v.object(func(string) (bool, error) { return true, nil })
}

// Only reads an object that may have these fields and no others.
func (v Value) Only(known ...string) (*Object, error) {
	return v.object(func(name string) (bool, error) {
		if slices.Contains(known, name) {
			return true, nil
		}
		return false, v.unknown(name, "known are "+strings.Join(slices.Sorted(slices.Values(known)), ", "))
	})
}

// Among reads an object that may have other fields than these, which are passed over. One that
// differs from these in case only is refused.
func (v Value) Among(known ...string) (*Object, error) {
	return v.object(func(name string) (bool, error) {
		if slices.Contains(known, name) {
			return true, nil
		}
		for _, k := range known {
			if strings.EqualFold(name, k) {
				return false, v.unknown(name, "it is spelt "+strconv.Quote(k))
			}
		}
		return false, nil
	})
}

// unknown refuses a field of v.
func (v Value) unknown(name, why string) error {
	where := v.Path()
	if where == "" {
		where = v.doc.name
	}
	return errcode.Errorf(errcode.Invalid, "the field %.80q of %s is not known; %s", name, where, why)
}

// object reads the fields of an object that keep selects.
func (v Value) object(keep func(name string) (bool, error)) (*Object, error) {
	if v.Kind() != '{' {
		return nil, v.Want("an object")
	}
	o := &Object{Value: v, fields: map[string]Value{}}
	decoder := borrow(v.raw, true)
	defer decoder.giveBack()
	if _, err := decoder.ReadToken(); err != nil {
		return nil, errors.Join(errRead, err)
	}
	for decoder.PeekKind() != '}' {
		token, err := decoder.ReadToken()
		if err != nil {
			return nil, errors.Join(errRead, err)
		}
		name := token.String()
		raw, err := decoder.ReadValue()
		if err != nil {
			return nil, errors.Join(errRead, err)
		}
		kept, err := keep(name)
		switch _, twice := o.fields[name]; {
		case err != nil:
			return nil, err
		case !kept:
		case twice:
			return nil, v.inner(decoder, raw).Errorf("is given twice")
		default:
			o.fields[name] = v.inner(decoder, raw)
		}
	}
	return o, nil
}

// Fail sets the error, unless there is one. nil is none.
func (o *Object) Fail(err error) {
	if o.err == nil {
		o.err = err
	}
}

// Err is the first error.
func (o *Object) Err() error { return o.err }

// Finish is the first error, or one about fields that were not taken.
func (o *Object) Finish() error {
	if o.err != nil || len(o.fields) == 0 {
		return o.err
	}
	var left []string
	for name := range o.fields {
		left = append(left, strconv.Quote(name))
	}
	slices.Sort(left)
	return o.Errorf("%s is not known here", strings.Join(left, ", "))
}

// Len is how many fields there are that were not taken.
func (o *Object) Len() int { return len(o.fields) }

// Fields are the fields that were not taken, in no order.
func (o *Object) Fields() iter.Seq2[string, Value] { return maps.All(o.fields) }

// Peek returns a field and leaves it there.
func (o *Object) Peek(name string) (Value, bool) {
	v, ok := o.fields[name]
	return v, ok
}

// Has reports whether a field is there.
func (o *Object) Has(name string) bool {
	_, ok := o.fields[name]
	return ok
}

// Take takes a field out.
func (o *Object) Take(name string) (Value, bool) {
	v, ok := o.fields[name]
	delete(o.fields, name)
	return v, ok
}

// Optional takes a field out. null is as if it were not there.
func (o *Object) Optional(name string) (Value, bool) {
	v, ok := o.Take(name)
	return v, ok && !v.IsNull()
}

// Required takes a field out that must be there.
func (o *Object) Required(name string) (Value, bool) {
	v, ok := o.Take(name)
	if !ok {
		o.Fail(o.Errorf("%q is missing", name))
	}
	return v, ok && o.err == nil
}

// Read reads a field that must be there.
func Read[T any](o *Object, name string, read func(Value) (T, error)) T {
	var got T
	if v, ok := o.Required(name); ok {
		var err error
		got, err = read(v)
		o.Fail(err)
	}
	return got
}

// ReadOptional reads a field that may be missing or null, which gives nil.
func ReadOptional[T any](o *Object, name string, read func(Value) (T, error)) *T {
	v, ok := o.Optional(name)
	if !ok {
		return nil
	}
	got, err := read(v)
	o.Fail(err)
	return &got
}

// Text reads a string that must be there.
func (o *Object) Text(name string) string { return Read(o, name, Value.Text) }

// Bool reads true or false, which must be there.
func (o *Object) Bool(name string) bool { return Read(o, name, Value.Bool) }

// List reads a list that must be there.
func (o *Object) List(name string) []Value { return Read(o, name, Value.List) }

// Uint reads an integer from 0 to limit that must be there.
func (o *Object) Uint(name string, limit uint64) uint64 {
	return Read(o, name, func(v Value) (uint64, error) { return v.Uint(limit) })
}

// Uint32 reads an integer that must be there.
func (o *Object) Uint32(name string) uint32 { return Read(o, name, Value.Uint32) }

// Choice reads a string that must be there and be one of a few.
func (o *Object) Choice(name string, of ...string) string {
	return Read(o, name, func(v Value) (string, error) { return v.Choice(of...) })
}

// OptionalText reads a string that may be missing or null.
func (o *Object) OptionalText(name string) (text string, given bool) {
	if s := ReadOptional(o, name, Value.Text); s != nil {
		return *s, true
	}
	return "", false
}

// Flag reads true or false. absent is meant by null, and when there is none.
func (o *Object) Flag(name string, absent bool) bool {
	if b := ReadOptional(o, name, Value.Bool); b != nil {
		return *b
	}
	return absent
}
