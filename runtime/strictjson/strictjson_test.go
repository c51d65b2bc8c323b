package strictjson_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/strictjson"
)

// read reads a body of one field of each kind.
func read(data []byte) (name string, list []string, err error) {
	v, err := strictjson.Body(data, "the body", `{"name": "…"}`)
	if err != nil {
		return "", nil, err
	}
	o, err := v.Only("name", "number", "flag", "in", "any", "list")
	if err != nil {
		return "", nil, err
	}
	s := strictjson.ReadOptional(o, "name", strictjson.Value.Text)
	_ = strictjson.ReadOptional(o, "number", strictjson.Value.Number)
	_ = o.Flag("flag", false)
	if in, ok := o.Optional("in"); ok {
		in, err := in.Only("name")
		if err != nil {
			return "", nil, err
		}
		if inner := strictjson.ReadOptional(in, "name", strictjson.Value.Text); inner != nil && s == nil {
			s = inner
		}
		o.Fail(in.Err())
	}
	if v, ok := o.Optional("list"); ok {
		o.Fail(v.EachOf("a list of things", func(_ int, e strictjson.Value) error {
			list = append(list, e.Path()+" "+e.KindName())
			return nil
		}))
	}
	if s != nil {
		name = *s
	}
	return name, list, o.Err()
}

func TestWhatIsWrongIsNamed(t *testing.T) {
	t.Parallel()
	for data, want := range map[string]string{
		``:                             `the body is not JSON of the form {"name": "…"}: it ends too early`,
		`{"name": "a"`:                 `the body is not JSON of the form {"name": "…"}: it ends too early`,
		`{"name": NaN}`:                `the body is not JSON of the form {"name": "…"}: invalid character 'N' at start of value within "/name" after offset 9`,
		`"a"`:                          `the body is not JSON of the form {"name": "…"}: the body must not be a string`,
		`{"NAME": "a"}`:                `the field "NAME" of the body is not known; known are any, flag, in, list, name, number`,
		`{"in": {"Name": "a"}}`:        `the field "Name" of "in" is not known; known are name`,
		`{"name": "a", "name": "b"}`:   `"name" is given twice`,
		`{"name": "a", "n\u0061me":1}`: `"name" is given twice`,
		`{"in": {"name": 1}}`:          `"in"."name" must be a string, not a number`,
		`{"name": "a"} 1`:              `something follows the JSON in the body`,
		`{"name": "a"}]`:               `something follows the JSON in the body`,
		`{"name": 1}`:                  `"name" must be a string, not a number`,
		`{"number": "1"}`:              `"number" must be a number, not a string`,
		`{"flag": null, "number": []}`: `"number" must be a number, not a list`,
		`{"flag": 0}`:                  `"flag" must be true or false, not a number`,
		`{"in": true}`:                 `"in" must be an object, not true or false`,
		`{"list": {}}`:                 `"list" must be a list of things, not an object`,
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

func TestAValueKnowsItsPlace(t *testing.T) {
	t.Parallel()
	_, list, err := read([]byte("\ufeff {\"list\" : [ 1 ,\t\"b\", [[{}]], {\"a/b\": 1}, null]} "))
	if want := []string{`"list"[0] a number`, `"list"[1] a string`, `"list"[2] a list`, `"list"[3] an object`, `"list"[4] null`}; err != nil || !reflect.DeepEqual(list, want) {
		t.Errorf("%q, %v", list, err)
	}
}

func TestAListOfABodyIsBounded(t *testing.T) {
	t.Parallel()
	data := `{"list": [` + strings.Repeat("0,", 1<<16) + `0]}`
	if v, err := strictjson.Body([]byte(data), "the body", "{}"); err != nil {
		t.Error(err)
	} else if o, err := v.Only("list"); err != nil {
		t.Error(err)
	} else if o.List("list"); errcode.Of(o.Err()) != errcode.TooLarge {
		t.Error(o.Err())
	}
	v, err := strictjson.File(strings.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	o, err := v.Object()
	if err != nil || len(o.List("list")) != 1<<16+1 || o.Err() != nil {
		t.Errorf("a file: %v, %v", err, o.Err())
	}
}

func TestOtherFieldsArePassedOver(t *testing.T) {
	t.Parallel()
	for data, want := range map[string]string{
		`{"id": "a", "x": 1, "x": {"y": 1, "y": 2}}`: "",
		`{"Id": "a"}`:            `the field "Id" of the body is not known; it is spelt "id"`,
		`{"id": "a", "id": "b"}`: `"id" is given twice`,
	} {
		v, err := strictjson.Body([]byte(data), "the body", "{}")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := v.Among("id"); fmt.Sprint(err) != want && (want != "" || err != nil) {
			t.Errorf("%s: %v, want %s", data, err, want)
		}
	}
}

func TestFilesAreReadAsTheyAreWritten(t *testing.T) {
	t.Parallel()
	for data, want := range map[string]string{
		``:                                 "not JSON: it ends too early",
		`{"a": {"b": [1, "\ud800"]}}`:      `not JSON: invalid surrogate pair`,
		"{\"a\": \"\xff\"}":                `not JSON: invalid UTF-8 within "/a"`,
		`{} {}`:                            "something follows the JSON",
		strings.Repeat("[", 33):            "nested deeper than 32 levels",
		`{"a": {"b": [1, {"c.d": true}]}}`: "a.b[1].c.d: must be a string, not true or false",
		`{"a": {"b": [1, {"c.d": 1, "c.d": 2}]}}`: "a.b[1].c.d: is given twice",
		`{"a": {"b": [1, {"c.d": "", "e": 1}]}}`:  `a.b[1]: "e" is not known here`,
	} {
		err := func() error {
			v, err := strictjson.File(strings.NewReader(data))
			if err != nil {
				return err
			}
			o, err := v.Object()
			if err != nil {
				return err
			}
			b := strictjson.Read(o, "a", strictjson.Value.Object)
			inner, err := b.List("b")[1].Object()
			if err != nil {
				return err
			}
			inner.Text("c.d")
			return inner.Finish()
		}()
		if err == nil || !strings.HasPrefix(err.Error(), want) || errcode.Of(err) != errcode.Internal {
			t.Errorf("%s: %v, want %s", data, err, want)
		}
	}
}

func TestPythonSaysWhatIsNoNumber(t *testing.T) {
	t.Parallel()
	data := "\ufeff" + `{"NaN": [NaN, -Infinity, Infinity, -1], "s": "\"NaN"}`
	if _, err := strictjson.File(strings.NewReader(data)); err == nil {
		t.Error("a file that is not Python's may have NaN")
	}
	v, err := strictjson.PythonFile(strings.NewReader(data))
	if want := `{"NaN": [null, null, null, -1], "s": "\"NaN"}`; err != nil || v.String() != want {
		t.Errorf("%s, %v", v, err)
	}
}

func TestNumbersStayExact(t *testing.T) {
	t.Parallel()
	for written, want := range map[string]string{
		"9007199254740993": "9007199254740993", "-9223372036854775808": "-9223372036854775808", "18446744073709551615": "18446744073709551615",
		"3.0": "3", "3e0": "3", "-30E-1": "-3", "1.5": "1.5", "9007199254740993.0": "9007199254740993.0", "1e300": "1e300", "1e999": "1e999",
	} {
		v, err := strictjson.Body([]byte(written), "it", "1")
		if err != nil {
			t.Fatal(err)
		}
		if n, err := v.Number(); err != nil || n.String() != written || strictjson.Whole(written) != want {
			t.Errorf("%s: %s, %v, %s", written, n, err, strictjson.Whole(written))
		}
	}
}

func TestShapesAreMeasured(t *testing.T) {
	t.Parallel()
	for data, want := range map[string]strictjson.Shape{
		``:                               {},
		`"[{\"[{"`:                       {},
		`{"a": [1, {}, "]"], "b": null}`: {Depth: 3, Objects: 2, Values: 6},
		`]]]][`:                          {Values: 1},
		strings.Repeat("[", 1000):        {Depth: 1000, Values: 1000},
	} {
		if got := strictjson.Measure([]byte(data)); got != want {
			t.Errorf("%s: %+v, want %+v", data, got, want)
		}
	}
}

// tree is what a value is for encoding/json, with each part read by the means for its kind.
func tree(v strictjson.Value) (any, error) {
	switch v.Kind() {
	case '{':
		o, err := v.Object()
		if err != nil {
			return nil, err
		}
		m := map[string]any{}
		for name, field := range o.Fields() {
			if m[name], err = tree(field); err != nil {
				return nil, err
			}
		}
		return m, nil
	case '[':
		list := []any{}
		err := v.Each(func(_ int, e strictjson.Value) error {
			t, err := tree(e)
			list = append(list, t)
			return err
		})
		return list, err
	case '"':
		return v.Text()
	case '0':
		return v.Number()
	case 't', 'f':
		return v.Bool()
	}
	return nil, nil
}

// What is read is what encoding/json reads, and an error is the client's.
func FuzzRead(f *testing.F) {
	for _, data := range []string{
		`{"name": "a", "list": [1, "b", null]}`, `{"in": {"name": null}}`, `{"any": [[{}]], "flag": true}`, `{"number": 1e999}`,
		"[\"\xff\", \"\\ud800\\ud83d\\ude00\\u0000\\/\", -0.0e+1, 18446744073709551616]", "\ufeff 1", `{"a":1,"a":2}`, strings.Repeat("[", 40) + strings.Repeat("]", 40),
	} {
		f.Add([]byte(data))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, list, err := read(data); err != nil && errcode.Of(err) != errcode.Invalid {
			t.Errorf("%q: %v is %s", data, err, errcode.Of(err))
		} else if strings.Count(string(data), ",")+1 < len(list) {
			t.Errorf("%q is read as %q", data, list)
		}
		v, err := strictjson.Body(data, "it", "{}")
		plain := bytes.TrimPrefix(data, []byte("\ufeff"))
		if valid := json.Valid(plain); valid != (err == nil) {
			t.Fatalf("%q: %v, and for encoding/json valid is %v", data, err, valid)
		}
		file, fileErr := strictjson.File(bytes.NewReader(data))
		if fileErr == nil && (err != nil || !utf8.Valid(data) || file.String() != v.String()) {
			t.Errorf("%q: %v as a body, and fine as a file", data, err)
		}
		if err != nil {
			return
		}
		got, err := tree(v)
		if err != nil {
			if strings.HasSuffix(err.Error(), "is given twice") {
				return
			}
			t.Fatalf("%q: %v", data, err)
		}
		decoder := json.NewDecoder(bytes.NewReader(plain))
		decoder.UseNumber()
		var want any
		if err := decoder.Decode(&want); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q is %v, want %v, %v", data, got, want, err)
		}
	})
}
