package strict_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/server/strict"
)

// read reads an object of one field of each kind.
func read(data []byte) (name string, list []string, err error) {
	r := strict.New(data, "the body", `{"name": "…"}`)
	var s *string
	var n *json.Number
	var b *bool
	err = r.Whole(strict.Fields{
		"name":   strict.Value(r, &s),
		"number": strict.Value(r, &n),
		"flag":   strict.Value(r, &b),
		"in":     r.Object(strict.Fields{"name": strict.Value(r, &s)}),
		"any":    r.Skip,
		"list": func(where string) error {
			if token, err := r.Next(); err != nil || token != json.Delim('[') {
				return err
			}
			return r.List(func(token json.Token, at string) error {
				list = append(list, at+strict.Kind(token))
				return nil
			}, where)
		},
	})
	if s != nil {
		name = *s
	}
	return name, list, err
}

func TestWhatIsWrongIsNamed(t *testing.T) {
	t.Parallel()
	for data, want := range map[string]string{
		``:                             `the body is not JSON of the form {"name": "…"}: it ends too early`,
		`{"name": "a"`:                 `the body is not JSON of the form {"name": "…"}: it ends too early`,
		`"a"`:                          `the body is not JSON of the form {"name": "…"}: the body must not be a string`,
		`{"NAME": "a"}`:                `the field "NAME" of the body is not known; known are any, flag, in, list, name, number`,
		`{"in": {"Name": "a"}}`:        `the field "Name" of "in" is not known; known are name`,
		`{"name": "a", "name": "b"}`:   `"name" is given twice`,
		`{"name": "a", "n\u0061me":1}`: `"name" is given twice`,
		`{"name": "a"} 1`:              `something follows the JSON in the body`,
		`{"name": 1}`:                  `"name" must be a string, not a number`,
		`{"number": "1"}`:              `"number" must be a number, not a string`,
		`{"flag": null, "number": []}`: `"number" must be a number, not a list`,
		`{"flag": 0}`:                  `"flag" must be true or false, not a number`,
		`{"in": true}`:                 `"in" must be an object, not true or false`,
	} {
		if _, _, err := read([]byte(data)); err == nil || errcode.Of(err) != errcode.Invalid || err.Error() != want {
			t.Errorf("%s: %v, want %s", data, err, want)
		}
	}
}

func TestNullIsAsIfItWereNotThere(t *testing.T) {
	t.Parallel()
	if name, _, err := read([]byte(`{"in": {"name": "a"}, "name": null, "number": null, "flag": null, "any": [{}]}`)); err != nil || name != "a" {
		t.Errorf("%q, %v", name, err)
	}
}

// What was read is a whole object: encoding/json takes it too, and an error is the client's.
func FuzzRead(f *testing.F) {
	for _, data := range []string{`{"name": "a", "list": [1, "b", null]}`, `{"in": {"name": null}}`, `{"any": [[{}]], "flag": true}`, `{"number": 1e999}`} {
		f.Add([]byte(data))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		_, list, err := read(data)
		switch {
		case err == nil && !json.Valid(data):
			t.Errorf("%q is taken", data)
		case err != nil && errcode.Of(err) != errcode.Invalid:
			t.Errorf("%q: %v is %s", data, err, errcode.Of(err))
		case strings.Count(string(data), ",")+1 < len(list):
			t.Errorf("%q is read as %q", data, list)
		}
	})
}
