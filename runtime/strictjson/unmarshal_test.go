package strictjson_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/distinfer/distinfer/runtime/strictjson"
)

func TestAFieldGivenTwiceIsRefusedWhereverItStands(t *testing.T) {
	t.Parallel()
	type inner struct {
		Name string `json:"name"`
	}
	type outer struct {
		Size  int            `json:"size"`
		List  []inner        `json:"list"`
		Sizes map[string]int `json:"sizes"`
	}
	for data, says := range map[string]string{
		`{"size": 1, "list": [{"name": "a"}], "sizes": {"b": 2}, "other": 3}`: "",
		`{"size": 1, "size": 2}`:                 `duplicate object member name "size"`,
		`{"list": [{"name": "a", "name": "b"}]}`: `duplicate object member name "name"`,
		`{"sizes": {"b": 1, "b": 2}}`:            `duplicate object member name "b"`,
		`{"other": {"x": 1, "x": 2}}`:            `duplicate object member name "x"`,
		`{"size": "1"}`:                          "cannot unmarshal",
		"{\"list\": [{\"name\": \"\xff\"}]}":     "invalid UTF-8",
		`{"size": 1} {}`:                         "invalid character '{' after top-level value",
		`{"size": 1`:                             "unexpected EOF",
	} {
		var got outer
		err := strictjson.Unmarshal([]byte(data), &got)
		if says == "" {
			if err != nil || got.Size != 1 || got.List[0].Name != "a" || got.Sizes["b"] != 2 {
				t.Errorf("%s: %+v, %v", data, got, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", data, err, says)
		}
	}
	var unknown *strictjson.UnknownFieldError
	for _, data := range []string{`{"list": [{"name": "a", "colour": 1}]}`, `{"list": [{"Name": "a"}]}`} {
		if err := strictjson.UnmarshalKnown([]byte(data), new(outer)); !errors.As(err, &unknown) || !strings.HasPrefix(unknown.Path, "/list/0/") {
			t.Errorf("%s: %v", data, err)
		}
	}
}
