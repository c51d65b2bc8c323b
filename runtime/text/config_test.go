package text

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
)

func ExampleConfig_Results() {
	c, err := LoadConfig(strings.NewReader(`{"id2label": {"0": "negative", "1": "positive"}}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	results, err := c.Results([]float32{-1, 2}, ByConfig)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, r := range results {
		fmt.Printf("%s %.4f\n", r.Label, r.Score)
	}
	// Output:
	// positive 0.9526
	// negative 0.0474
}

func loadConfigString(t *testing.T, s string) *Config {
	t.Helper()
	c, err := LoadConfig(strings.NewReader(s))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestConfigResults(t *testing.T) {
	sigmoid1 := 1 / (1 + math.Exp(-1))
	soft := math.E / (math.E + 1)
	for _, c := range []struct {
		config string
		logits []float32
		want   []Result
	}{
		{`{}`, []float32{0, 1}, []Result{{"LABEL_1", soft}, {"LABEL_0", 1 - soft}}},
		{`{"num_labels": 1}`, []float32{1}, []Result{{"LABEL_0", sigmoid1}}},
		{`{"num_labels": 1, "problem_type": "single_label_classification"}`, []float32{1}, []Result{{"LABEL_0", sigmoid1}}},
		{`{"id2label": {"0": "r"}, "problem_type": "regression"}`, []float32{-7.5}, []Result{{"r", -7.5}}},
		{`{"id2label": {"1": "b", "0": "a"}, "problem_type": "multi_label_classification"}`, []float32{1, 1}, []Result{{"a", sigmoid1}, {"b", sigmoid1}}},
		{`{"id2label": {"1": "b", "0": "a", "2": "c"}, "problem_type": null}`, []float32{3, 3, 3}, []Result{{"a", 1. / 3}, {"b", 1. / 3}, {"c", 1. / 3}}},
		{`{}`, []float32{math.MaxFloat32, -math.MaxFloat32}, []Result{{"LABEL_0", 1}, {"LABEL_1", 0}}},
		{`{}`, []float32{float32(math.Inf(-1)), 0}, []Result{{"LABEL_1", 1}, {"LABEL_0", 0}}},
		{`{"num_labels": 1}`, []float32{-1000}, []Result{{"LABEL_0", 0}}},
	} {
		got, err := loadConfigString(t, c.config).Results(c.logits, ByConfig)
		if err != nil || len(got) != len(c.want) {
			t.Errorf("%s: %v, %v", c.config, got, err)
			continue
		}
		for i := range got {
			if got[i].Label != c.want[i].Label || math.Abs(got[i].Score-c.want[i].Score) > 1e-15 {
				t.Errorf("%s: got %v, want %v", c.config, got, c.want)
			}
		}
	}
}

func TestAFunctionMayBeAskedFor(t *testing.T) {
	half := 1 / (1 + math.Exp(-0.5))
	for _, config := range []string{`{}`, `{"problem_type": "regression"}`, `{"problem_type": "multi_label_classification"}`} {
		c := loadConfigString(t, config)
		for name, want := range map[string]float64{"none": 0.5, "sigmoid": half, "softmax": half} {
			by, err := ParseFunction(name)
			if err != nil {
				t.Fatal(err)
			}
			got, err := c.Results([]float32{0.5, 0}, by)
			if err != nil || math.Abs(got[0].Score-want) > 1e-15 {
				t.Errorf("%s, %s: %v, %v; want %v", config, name, got, err, want)
			}
		}
	}
	if by, err := ParseFunction("default"); by != ByConfig || err != nil {
		t.Errorf("default is %v, %v", by, err)
	}
	for _, name := range []string{"", "Softmax", "relu"} {
		if _, err := ParseFunction(name); err == nil {
			t.Errorf("%q is a function", name)
		}
	}
}

func TestConfigRefuses(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	two := loadConfigString(t, `{}`)
	for _, logits := range [][]float32{nil, {1}, {1, 2, 3}, {nan, 0}, {0, nan}, {inf, 0}, {-inf, -inf}} {
		if r, err := two.Results(logits, ByConfig); err == nil {
			t.Errorf("%v: %v", logits, r)
		}
	}
	for config, want := range map[string]string{
		`{"id2label": {"0": "a", "2": "b"}}`:   `id2label: has 2 labels, but none of the key "1"`,
		`{"id2label": {"0": "a", "1.0": "b"}}`: `none of the key "1"`,
		`{"id2label": {"1": "a", "01": "b"}}`:  "given twice",
		`{"id2label": {"0": "a", "0": "b"}}`:   "id2label.0: is given twice",
		`{"id2label": {}}`:                     "id2label: has no labels",
		`{"id2label": {"0": []}}`:              "id2label.0: must be a string or a number, not a list",
		`{"id2label": ["a"]}`:                  "id2label: must be an object, not a list",
		`{"num_labels": 0}`:                    "num_labels",
		`{"num_labels": 99999999999}`:          "num_labels: want an integer",
		`{"problem_type": "ranking"}`:          `problem_type: "ranking" is not supported (supported: regression,`,
		`{"pad_token_id": "x"}`:                "pad_token_id: must be a number, not a string",
		`{"max_position_embeddings": 1.5}`:     "max_position_embeddings: want an integer",
		`[]`:                                   "must be an object",
	} {
		_, err := LoadConfig(strings.NewReader(config))
		if err == nil || !strings.HasPrefix(err.Error(), "config.json: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s:\nwant %q\ngot  %v", config, want, err)
		}
	}
}

// TestConfigsThatPythonWrites has what transformers reads, and as it reads it.
func TestConfigsThatPythonWrites(t *testing.T) {
	for config, want := range map[string][]string{
		`{"id2label": {"0": 0, "1": 1}}`:                                 {"0", "1"},
		`{"id2label": {"0": 1.5, "1": true, "2": -1}}`:                   {"1.5", "true", "-1"},
		`{"id2label": {"0": "a", "1": "b", "2": "c"}, "num_labels": 2}`:  {"a", "b", "c"},
		`{"id2label": {"0": "a"}, "num_labels": null}`:                   {"a"},
		`{"id2label": null, "num_labels": 3}`:                            {"LABEL_0", "LABEL_1", "LABEL_2"},
		`{"id2label": {"00": "a", " 1": "b"}}`:                           {"a", "b"},
		`{"initializer_range": NaN, "x": Infinity, "y": [-Infinity, 1]}`: {"LABEL_0", "LABEL_1"},
		`{"x": "NaN, \"Infinity", "id2label": {"0": "NaN"}}`:             {"NaN"},
		"\uFEFF" + `{"id2label": {"0": "\uFEFF"}}`:                       {"\uFEFF"},
	} {
		if got := loadConfigString(t, config).Labels(); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %q, want %q", config, got, want)
		}
	}
	for _, wrong := range []string{`{"x": NaNa}`, `{"x": Inf}`, `{"x": --Infinity}`, `{NaN: 1}`} {
		if _, err := LoadConfig(strings.NewReader(wrong)); err == nil {
			t.Errorf("%s is read", wrong)
		}
	}
}

func TestConfigFields(t *testing.T) {
	c := loadConfigString(t, `{"architectures": ["X"], "max_position_embeddings": 512, "pad_token_id": 3, "id2label": {"0": "a"}}`)
	n, ok := c.MaxPositions()
	id, hasID := c.PadTokenID()
	if n != 512 || !ok || id != 3 || !hasID || !reflect.DeepEqual(c.Labels(), []string{"a"}) {
		t.Error(n, ok, id, hasID, c.Labels())
	}
	for config, want := range map[string]int{
		`{"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}`:    512,
		`{"model_type": "xlm-roberta", "max_position_embeddings": 8194}`:                  8192,
		`{"model_type": "camembert", "max_position_embeddings": 514, "pad_token_id": 3}`:  510,
		`{"model_type": "roberta", "max_position_embeddings": 1, "pad_token_id": 1}`:      1,
		`{"model_type": "distilbert", "max_position_embeddings": 512, "pad_token_id": 1}`: 512,
		`{"model_type": "deberta-v2", "max_position_embeddings": 512, "pad_token_id": 0}`: 512,
	} {
		if n, _ := loadConfigString(t, config).MaxPositions(); n != want {
			t.Errorf("%s: %d positions, not %d", config, n, want)
		}
	}
	c = loadConfigString(t, `{"pad_token_id": -1, "max_position_embeddings": null}`)
	if _, ok := c.MaxPositions(); ok {
		t.Error("MaxPositions of null")
	}
	if _, ok := c.PadTokenID(); ok {
		t.Error("PadTokenID of -1")
	}
}
