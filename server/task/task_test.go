package task

import (
	"strings"
	"testing"

	"github.com/distinfer/distinfer/runtime/embed"
	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/server/front"
)

// embedder makes no vectors, and lists no prompts.
var embedder = Embeddings{Embedder: &embed.Embedder{}}

// What is wrong whatever is asked for is said in the same words on every route, of bodies
// and of lines.
func TestEveryRouteReadsItsBodyStrictly(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		read func([]byte, string) (front.Request, error)
		in   string // the field with the texts
		more string // a field that takes true, a number or a string
	}{
		"entities":       {Entities{}.Routes()["/predict"].Body, "inputs", `"parameters": {"ignore_labels": []}`},
		"a line":         {Entities{}.Routes()["/predict"].Line, "inputs", `"parameters": {"ignore_labels": []}`},
		"/predict":       {embedder.Routes()["/predict"].Body, "inputs", `"normalize": true`},
		"/embed":         {embedder.Routes()["/embed"].Body, "inputs", `"normalize": true`},
		"/embed, a line": {embedder.Routes()["/embed"].Line, "inputs", `"normalize": true`},
		"/v1/embeddings": {embedder.Routes()["/v1/embeddings"].Body, "input", `"dimensions": 32.0`},
	} {
		fill := strings.NewReplacer("$in", `"`+c.in+`"`, "$more", c.more)
		for body, want := range map[string]string{
			`[]`:                           "must not be a list",
			`null`:                         "must not be null",
			`{$in: "a"`:                    "it ends too early",
			`{}`:                           "$in is missing",
			`{$in: null}`:                  "$in is missing",
			`{$in: []}`:                    "$in is an empty list",
			`{$in: ""}`:                    "$in is empty",
			`{$in: ["a", ""]}`:             "$in[1] is empty",
			`{$in: ["a", null]}`:           "$in[1] must be a text, not null",
			`{$in: [1, 2]}`:                "token ids are not taken",
			`{$in: [[1], [2]]}`:            "token ids are not taken",
			`{$in: [["a"]]}`:               "$in[0] is a list",
			`{$in: {"text": "a"}}`:         "$in must be a text, not an object",
			`{$in: "a", "more": 1}`:        `the field "more" of the `,
			`{"INPUTS": "a"}`:              `the field "INPUTS" of the `,
			`{"Input": "a"}`:               `the field "Input" of the `,
			`{$in: "a", $in: ["b"]}`:       "$in is given twice",
			`{$in: "a", $more, $more}`:     "is given twice",
			`{$in: "a"} x`:                 "something follows",
			`{$in: "a"}{}`:                 "something follows",
			`{$in: "a"}]`:                  "something follows",
			`{$in: NaN}`:                   "is not JSON of the form",
			`{$in: "a", $more, Infinity}`:  "is not JSON of the form",
			`{$in: ` + deep:                "is not JSON of the form",
			`{$in: "a",` + deep:            "is not JSON of the form",
			`{$in: [` + manyTexts + `""]}`: "has more than 65536 elements",
		} {
			_, err := c.read([]byte(fill.Replace(body)), "the body")
			code := errcode.Invalid
			if strings.Contains(want, "65536") {
				code = errcode.TooLarge
			}
			if err == nil || errcode.Of(err) != code || !strings.Contains(err.Error(), fill.Replace(want)) {
				t.Errorf("%s: %.80s: %v, want %q", name, fill.Replace(body), err, fill.Replace(want))
			}
		}
		if q, err := c.read([]byte(fill.Replace(`{$in: ["a"], $more}`)), "the body"); err != nil || len(q.Inputs) != 1 {
			t.Errorf("%s: %v, %v", name, q.Inputs, err)
		}
	}
}

var (
	deep      = strings.Repeat("[", 1<<16)
	manyTexts = strings.Repeat(`"a",`, 1<<16)
)

func TestBodiesSayWhatIsWrongWithThem(t *testing.T) {
	t.Parallel()
	embed, openAI := embedder.Routes()["/embed"].Body, embedder.Routes()["/v1/embeddings"].Body
	entities := Entities{}.Routes()["/predict"].Body
	for _, c := range []struct {
		read       func([]byte, string) (front.Request, error)
		body, want string
	}{
		{entities, ``, "the body is not JSON"},
		{entities, `{"inputs": "a", "parameters": {"stride": 3}}`, "stride is not supported"},
		{entities, `{"inputs": "a", "parameters": {"aggregation_strategy": "best"}}`, `aggregation_strategy is "best"`},
		{entities, `{"inputs": "a", "parameters": {"Stride": null}}`, `the field "Stride" of "parameters"`},
		{entities, `{"inputs": "a", "parameters": {"ignore_labels": [], "ignore_labels": ["O"]}}`, `"ignore_labels" is given twice`},
		{entities, `{"inputs": "a", "parameters": {"ignore_labels": "O"}}`, "must be a list of labels, not a string"},
		{entities, `{"inputs": "a", "parameters": {"ignore_labels": ["O", null]}}`, `"ignore_labels"[1] must be a string, not null`},
		{entities, `{"inputs": "a", "parameters": []}`, "must be an object, not a list"},
		{entities, `{"inputs": "a", "options": ` + deep, "the body is not JSON"},
		{embed, `{"inputs": "a", "normalize": "yes"}`, `"normalize" must be true or false, not a string`},
		{embed, `{"inputs": "a", "dimensions": "32"}`, `"dimensions" must be a number, not a string`},
		{embed, `{"inputs": "a", "prompt_name": 1}`, `"prompt_name" must be a string, not a number`},
		{embed, `{"inputs": "a", "truncation_direction": "left"}`, "right"},
		{embed, `{"inputs": "a", "encoding_format": "base64"}`, "float"},
		{openAI, `{"input": "a", "encoding_format": "int8"}`, "float or base64"},
		{openAI, `{"input": "a", "user": 1}`, `"user" must be a string`},
		{openAI, `{"input": "a", "truncate": true}`, `known are dimensions, encoding_format, input, model, user`},
	} {
		if _, err := c.read([]byte(c.body), "the body"); err == nil || errcode.Of(err) != errcode.Invalid || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.80s: %v, want %q", c.body, err, c.want)
		}
	}
	for body, want := range map[string]int{`{"inputs": "a"}`: 1, `{"inputs": ["a", "b"], "options": {"x": [1]}}`: 2, `{"inputs": ["a"], "parameters": {"ignore_labels": []}}`: 1, `{"inputs": "a", "parameters": null}`: 1} {
		if q, err := entities([]byte(body), "the body"); err != nil || len(q.Inputs) != want {
			t.Errorf("%s: %v, %v", body, q.Inputs, err)
		}
	}
	for _, body := range []string{`{"input": "a", "model": "b", "encoding_format": "base64", "dimensions": 32, "user": "c"}`, `{"input": ["a"], "model": null, "encoding_format": null, "dimensions": null, "user": null}`} {
		if q, err := openAI([]byte(body), "the body"); err != nil || len(q.Inputs) != 1 {
			t.Errorf("%s: %v, %v", body, q.Inputs, err)
		}
	}
}

// A line that is a string is that text, and cannot say what only a body can.
func TestALineIsATextOrABody(t *testing.T) {
	t.Parallel()
	read := func(line string) (front.Request, error) {
		return embedder.Routes()["/embed"].Line([]byte(line), "line 7")
	}
	for line, want := range map[string]string{
		`"a", "b"`: "something follows the JSON in line 7",
		`"a"], "normalize": false, "options": ["b"`: "something follows",
		`{"inputs": ["a", "b"]}`:                    "2 texts; send a line for each",
		`{"text": "a"}`:                             `the field "text" of line 7 is not known`,
		`""`:                                        "is empty",
	} {
		if q, err := read(line); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v, want %q", line, q.Inputs, err, want)
		}
	}
	if q, err := read(`"a \"]"`); err != nil || len(q.Inputs) != 1 || q.Inputs[0].Text != `a "]` {
		t.Errorf("%v, %v", q.Inputs, err)
	}
}

// What can be read are texts that are not empty; the rest is an error that is the
// client's.
func FuzzEntitiesBody(f *testing.F) {
	for _, body := range []string{`{"inputs": "a"}`, `{"inputs": ["a", "b"], "parameters": {"aggregation_strategy": "max", "ignore_labels": ["O"]}}`, `{"inputs": [[1]]}`, `{"inputs": "\ud800"}`} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		q, err := Entities{}.read(body, "the body", false)
		if err != nil {
			if errcode.Of(err) != errcode.Invalid {
				t.Errorf("%q: %v is %s", body, err, errcode.Of(err))
			}
			return
		}
		if len(q.Inputs) == 0 {
			t.Errorf("%q has no text", body)
		}
		for _, in := range q.Inputs {
			if in.Text == "" {
				t.Errorf("%q has an empty text", body)
			}
		}
	})
}
