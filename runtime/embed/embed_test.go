package embed

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/classify/classifytest"
	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/textmodel"
)

const (
	modulesJSON = `[{"path": "", "type": "sentence_transformers.models.Transformer"}, {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]`
	unitJSON    = `[{"path": "", "type": "sentence_transformers.models.Transformer"}, {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
{"path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}]`
)

// perToken is a model that answers a vector of two numbers for each token.
func perToken(files map[string]string) classifytest.Model {
	m := classifytest.Usual
	m.Files = files
	m.Outputs = []tensor.Spec{classifytest.Spec("last_hidden_state", tensor.Float32, classifytest.Batch, classifytest.Sequence, tensor.Fixed(2))}
	return m
}

// pooling are the files of a model with a configuration of its Pooling.
func pooling(config string) map[string]string {
	return map[string]string{"modules.json": modulesJSON, "1_Pooling.config.json": config}
}

// answers is a Runner that answers what its function makes of the ids and the mask.
type answers func(ids, mask []int64, shape []int64) tensor.Bag

func (f answers) Run(_ context.Context, in tensor.Bag) (tensor.Bag, error) {
	ids, err := tensor.As[int64](in["input_ids"])
	if err != nil {
		return nil, err
	}
	mask, err := tensor.As[int64](in["attention_mask"])
	return f(ids, mask, in["input_ids"].Shape), err
}

// poison is what no embedding may have anything of.
const poison = 1e6

// tokenVectors answers, for a token, its id and minus the square of it, and for padding
// what no embedding may have anything of.
var tokenVectors answers = func(ids, mask, shape []int64) tensor.Bag {
	return tensor.Bag{"last_hidden_state": tensor.Of([]int64{shape[0], shape[1], 2}, squares(ids, mask))}
}

func squares(ids, mask []int64) []float32 {
	var v []float32
	for i, id := range ids {
		if mask[i] == 0 {
			v = append(v, poison, poison)
		} else {
			v = append(v, float32(id), float32(-id*id))
		}
	}
	return v
}

func open(t testing.TB, m classifytest.Model, runner pipeline.Runner) (*Embedder, error) {
	t.Helper()
	b := m.Bundle(t)
	files, err := textmodel.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return New(b, files, runner)
}

func embedder(t testing.TB, m classifytest.Model, runner pipeline.Runner) *Embedder {
	t.Helper()
	e, err := open(t, m, runner)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// compute has texts answered as one batch.
func compute(t testing.TB, e *Embedder, texts ...string) []textmodel.Answer {
	t.Helper()
	var encoded []textmodel.Text
	for _, in := range textmodel.Inputs(texts) {
		text, err := e.Encode(in)
		if err != nil {
			t.Fatal(err)
		}
		encoded = append(encoded, text)
	}
	computed, _, err := e.Compute(t.Context(), encoded)
	if err != nil {
		t.Fatal(err)
	}
	return computed
}

func wantVector(t testing.TB, what string, got []float32, err error, want ...float64) {
	t.Helper()
	if err != nil || len(got) != len(want) {
		t.Errorf("%s: %v, %v; want %v", what, got, err, want)
		return
	}
	for i, w := range want {
		if !(math.Abs(float64(got[i])-w) <= 1e-6*max(1, math.Abs(w))) {
			t.Errorf("%s: %v, want %v", what, got, want)
			return
		}
	}
}

// byHand are the poolings of the vectors (10, -100), (11, -121) and (14, -196).
var byHand = map[string][]float64{
	"cls":                  {10, -100},
	"lasttoken":            {14, -196},
	"max":                  {14, -100},
	"mean":                 {35. / 3, -417. / 3},
	"mean_sqrt_len_tokens": {35 / math.Sqrt(3), -417 / math.Sqrt(3)},
	"weightedmean":         {(10. + 2*11 + 3*14) / 6, -(100. + 2*121 + 3*196) / 6},
}

func TestPoolingsAreOfTheTextsOwnTokens(t *testing.T) {
	t.Parallel()
	if len(byHand) != len(poolings) {
		t.Errorf("%d poolings, want %d", len(byHand), len(poolings))
	}
	for name, want := range byHand {
		for _, side := range []string{"Right", "Left"} {
			t.Run(name+", padded "+side, func(t *testing.T) {
				t.Parallel()
				m := perToken(pooling(`{"pooling_mode": "` + name + `"}`))
				m.Tokenizer = strings.Replace(m.Tokenizer, `{"version"`, `{"padding": {"strategy": "BatchLongest", "direction": "`+side+`", "pad_to_multiple_of": 8, "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"}, "version"`, 1)
				e := embedder(t, m, tokenVectors)
				computed := compute(t, e, "w0 w1 w4", "w3", "w0 w1 w2 w3 w4 w5 w6 w7 w8")
				got, err := e.Vector(computed[0])
				wantVector(t, "three tokens", got, err, want...)
				// Of one token, every pooling is the token's vector.
				got, err = e.Vector(computed[1])
				wantVector(t, "one token", got, err, 13, -169)
			})
		}
	}
}

func TestPoolingsFollowEachOther(t *testing.T) {
	t.Parallel()
	for config, names := range map[string]string{
		`{"pooling_mode": ["mean", "cls"]}`: "mean cls",
		`{"pooling_mode": ["cls", "mean"]}`: "cls mean",
		// As sentence-transformers has them, whatever their order in the file.
		`{"pooling_mode_lasttoken": true, "pooling_mode_weightedmean_tokens": true, "pooling_mode_mean_sqrt_len_tokens": true,
		  "pooling_mode_mean_tokens": true, "pooling_mode_max_tokens": true, "pooling_mode_cls_token": true, "word_embedding_dimension": 2}`: "cls max mean mean_sqrt_len_tokens weightedmean lasttoken",
		`{"pooling_mode_cls_token": false, "pooling_mode_max_tokens": true, "pooling_mode_mean_tokens": false}`: "max",
		`{"pooling_mode_cls_token": false}`: "mean",
		`{}`:                                "mean",
	} {
		var want []float64
		for _, name := range strings.Fields(names) {
			want = append(want, byHand[name]...)
		}
		e := embedder(t, perToken(pooling(config)), tokenVectors)
		got, err := e.Vector(compute(t, e, "w0 w1 w4")[0])
		wantVector(t, config, got, err, want...)
		if e.Assumed() {
			t.Errorf("%s: assumed", config)
		}
	}
}

func TestWithoutModulesTheMeanIsAssumed(t *testing.T) {
	t.Parallel()
	e := embedder(t, perToken(nil), tokenVectors)
	got, err := e.Vector(compute(t, e, "w0 w1 w4")[0])
	wantVector(t, "no modules.json", got, err, byHand["mean"]...)
	if !e.Assumed() {
		t.Error("not said to be assumed")
	}
}

func TestVectorsHaveLength1WhereTheModelSaysSo(t *testing.T) {
	t.Parallel()
	files := pooling(`{"pooling_mode": "cls"}`)
	files["modules.json"] = unitJSON
	e := embedder(t, perToken(files), tokenVectors)
	a := compute(t, e, "w0")[0]
	length := math.Sqrt(10*10 + 100*100)
	got, err := e.Vector(a)
	wantVector(t, "of length 1", got, err, 10/length, -100/length)
	got, err = e.Pooled(a)
	wantVector(t, "as it is", got, err, 10, -100)
	got[0] = 7 // is the caller's
	got, err = e.Pooled(a)
	wantVector(t, "a second time", got, err, 10, -100)
}

func TestNormalize(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in   []float32
		want []float64
	}{
		{[]float32{3, -4}, []float64{0.6, -0.8}},
		{[]float32{0, 0}, []float64{0, 0}},
		{[]float32{3e38, 4e38 / 2}, []float64{3 / math.Sqrt(13), 2 / math.Sqrt(13)}}, // its square is no float32
		{[]float32{1e-30, 0}, []float64{1e-18, 0}},                                   // a length of less than 1e-12 is taken for that
		{nil, nil},
	} {
		v := slices.Clone(c.in)
		Normalize(v)
		wantVector(t, "normalised", v, nil, c.want...)
	}
	tiny := []float32{1e-30}
	if Normalize(tiny); math.Abs(float64(tiny[0])/1e-18-1) > 1e-6 {
		t.Errorf("1e-30 becomes %g", tiny[0])
	}
}

func TestTheOutputThatIsTaken(t *testing.T) {
	t.Parallel()
	perText := tensor.Of([]int64{1, 2}, []float32{5, 6})
	tokens := tensor.Of([]int64{1, 3, 2}, squares([]int64{10, 11, 14}, []int64{1, 1, 1}))
	spec := func(name string, d tensor.DType, rank int) tensor.Spec {
		return classifytest.Spec(name, d, []tensor.Dim{classifytest.Batch, classifytest.Sequence, tensor.Fixed(2)}[3-rank:]...)
	}
	anyRank := tensor.Spec{Name: "out", DType: tensor.Float32, AnyRank: true}
	half := tensor.Tensor{DType: tensor.Float16, Shape: []int64{1, 2}, Data: []byte{0x00, 0x45, 0x00, 0x46}}
	for name, c := range map[string]struct {
		outputs []tensor.Spec
		bag     tensor.Bag
		want    []float64
	}{
		"sentence_embedding before all others": {
			[]tensor.Spec{spec("last_hidden_state", tensor.Float32, 3), spec("sentence_embedding", tensor.Float32, 2)},
			tensor.Bag{"last_hidden_state": tokens, "sentence_embedding": perText}, []float64{5, 6},
		},
		"last_hidden_state before token_embeddings": {
			[]tensor.Spec{spec("token_embeddings", tensor.Float32, 2), spec("last_hidden_state", tensor.Float32, 3)},
			tensor.Bag{"token_embeddings": perText, "last_hidden_state": tokens}, byHand["mean"],
		},
		"token_embeddings before one of another name": {
			[]tensor.Spec{spec("other", tensor.Float32, 2), spec("token_embeddings", tensor.Float32, 3)},
			tensor.Bag{"other": perText, "token_embeddings": tokens}, byHand["mean"],
		},
		"the only one":                        {[]tensor.Spec{spec("x", tensor.Float32, 2)}, tensor.Bag{"x": perText}, []float64{5, 6}},
		"of any rank, vectors of tokens":      {[]tensor.Spec{anyRank}, tensor.Bag{"out": tokens}, byHand["mean"]},
		"of any rank, a vector of the text":   {[]tensor.Spec{anyRank}, tensor.Bag{"out": perText}, []float64{5, 6}},
		"float16":                             {[]tensor.Spec{spec("x", tensor.Float16, 2)}, tensor.Bag{"x": half}, []float64{5, 6}},
		"sentence_embedding, to be pooled":    {[]tensor.Spec{spec("sentence_embedding", tensor.Float32, 3)}, tensor.Bag{"sentence_embedding": tokens}, byHand["mean"]},
		"last_hidden_state, pooled by itself": {[]tensor.Spec{spec("last_hidden_state", tensor.Float32, 2)}, tensor.Bag{"last_hidden_state": perText}, []float64{5, 6}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := classifytest.Usual
			m.Outputs = c.outputs
			e := embedder(t, m, answers(func(_, _, _ []int64) tensor.Bag { return c.bag }))
			got, err := e.Vector(compute(t, e, "w0 w1 w4")[0])
			wantVector(t, name, got, err, c.want...)
		})
	}
}

func TestOutputsThatAreNoVectorsAreRefused(t *testing.T) {
	t.Parallel()
	batch, sequence, two := classifytest.Batch, classifytest.Sequence, tensor.Fixed(2)
	for want, outputs := range map[string][]tensor.Spec{
		"2 outputs and none is named sentence_embedding": {classifytest.Spec("a", tensor.Float32, batch, two), classifytest.Spec("b", tensor.Float32, batch, two)},
		"0 outputs and none is named":                    {},
		"last_hidden_state float64[batch,sequence,2]":    {classifytest.Spec("last_hidden_state", tensor.Float64, batch, sequence, two)},
		"x float32[batch]":                               {classifytest.Spec("x", tensor.Float32, batch)},
		"x float32[batch,sequence,2,2]":                  {classifytest.Spec("x", tensor.Float32, batch, sequence, two, two)},
		"sentence_embedding int64[batch,2]":              {classifytest.Spec("sentence_embedding", tensor.Int64, batch, two)},
	} {
		m := classifytest.Usual
		m.Outputs = outputs
		if _, err := vectors(outputs, ofTexts, "last_hidden_state", ofTokens); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
		if len(outputs) == 0 {
			continue // no bundle has none
		}
		if _, err := open(t, m, tokenVectors); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestAnAnswerThatIsNoVectorFailsItsTextOnly(t *testing.T) {
	t.Parallel()
	inf := float32(math.Inf(1))
	for name, c := range map[string]struct {
		pooling string
		change  func(v []float32) // of w0, w1 w2 and padding, w3 w4
		want    [3]string
	}{
		"nothing":                            {"mean", func([]float32) {}, [3]string{}},
		"a NaN":                              {"mean", func(v []float32) { v[5] = inf - inf }, [3]string{1: "not a finite number"}},
		"an infinity":                        {"mean", func(v []float32) { v[8] = inf }, [3]string{2: "not a finite number"}},
		"minus infinity":                     {"max", func(v []float32) { v[0] = -inf }, [3]string{0: "not a finite number"}},
		"one of a token that does not count": {"cls", func(v []float32) { v[6] = inf - inf }, [3]string{}},
		"a vector of a NaN":                  {"max", func(v []float32) { v[4] = inf - inf }, [3]string{1: "not a finite number"}},
		"a NaN in padding":                   {"max", func(v []float32) { v[2], v[3] = inf-inf, inf }, [3]string{}},
		"too large a sum":                    {"mean_sqrt_len_tokens", func(v []float32) { v[4], v[6] = 3e38, 3e38 }, [3]string{1: "not a finite number"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := embedder(t, perToken(pooling(`{"pooling_mode": "`+c.pooling+`"}`)), answers(func(ids, mask, shape []int64) tensor.Bag {
				v := squares(ids, mask)
				c.change(v)
				return tensor.Bag{"last_hidden_state": tensor.Of([]int64{shape[0], shape[1], 2}, v)}
			}))
			for i, a := range compute(t, e, "w0", "w1 w2", "w3 w4") {
				got, err := e.Vector(a)
				switch want := c.want[i]; {
				case want == "" && (err != nil || len(got) != 2):
					t.Errorf("text %d: %v, %v", i, got, err)
				case want != "" && (err == nil || !strings.Contains(err.Error(), want) || errcode.Of(err) != errcode.Internal):
					t.Errorf("text %d: %v, %v; want %q", i, got, err, want)
				}
			}
		})
	}
}

func TestShapesThatAreNotVectorsAreErrors(t *testing.T) {
	t.Parallel()
	m := classifytest.Usual
	m.Outputs = []tensor.Spec{{Name: "x", DType: tensor.Float32, AnyRank: true}}
	for _, shape := range [][]int64{{2}, {2, 3, 0}, {2, 0}, {2, 3, 1, 1}} {
		e := embedder(t, m, answers(func(_, _, _ []int64) tensor.Bag {
			n, err := tensor.Elements(shape)
			if err != nil {
				t.Error(err)
			}
			return tensor.Bag{"x": tensor.Of(shape, make([]float32, n))}
		}))
		for _, a := range compute(t, e, "w0 w1 w2", "w1") {
			if v, err := e.Vector(a); err == nil || !strings.Contains(err.Error(), "of shape") {
				t.Errorf("%v: %v, %v", shape, v, err)
			}
		}
	}
}

func TestTextsAreCutAndLoweredAsTheFilesSay(t *testing.T) {
	t.Parallel()
	cut := func(sentence, config string) map[string]string {
		files := pooling(config)
		files["sentence_bert_config.json"] = sentence
		return files
	}
	for name, c := range map[string]struct {
		sentence, config string
		text             string
		want             int // the last token's id
		long             bool
	}{
		"as it is":                           {`{}`, "", "w1 w2 w3", 13, false},
		"no length":                          {`{"max_seq_length": null, "do_lower_case": false}`, "", "w1 w2 w3", 13, false},
		"cut":                                {`{"max_seq_length": 2}`, "", "w1 w2 w3", 12, true},
		"just long enough":                   {`{"max_seq_length": 3}`, "", "w1 w2 w3", 13, false},
		"shorter positions":                  {`{"max_seq_length": 3}`, `{"max_position_embeddings": 1}`, "w1 w2 w3", 11, true},
		"capitals":                           {`{}`, "", "w1 W2", 1, false},
		"capitals, lowered":                  {`{"do_lower_case": true}`, "", "w1 W2", 12, false},
		"capitals, lowered and cut":          {`{"do_lower_case": true, "max_seq_length": 1}`, "", "W2 w1", 12, true},
		"longer than the tokenizer's length": {`{"max_seq_length": 3}`, "truncates to 2", "w1 w2 w3", 13, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := perToken(cut(c.sentence, `{"pooling_mode": "lasttoken"}`))
			switch {
			case strings.HasPrefix(c.config, "truncates"):
				m.Tokenizer = strings.Replace(m.Tokenizer, `{"version"`, `{"truncation": {"max_length": 2, "strategy": "LongestFirst", "stride": 0}, "version"`, 1)
			case c.config != "":
				m.Config = c.config
			}
			e := embedder(t, m, tokenVectors)
			got, err := e.Vector(compute(t, e, c.text)[0])
			wantVector(t, name, got, err, float64(c.want), float64(-c.want*c.want))
			if long, err := e.Truncates(c.text); err != nil || long != c.long {
				t.Errorf("truncated: %v, %v", long, err)
			}
		})
	}
}

func TestPrompts(t *testing.T) {
	t.Parallel()
	const prompts = `{"prompts": {"query": "query: ", "passage": "", "clustering": "identify: "}, "default_prompt_name": %s, "similarity_fn_name": "cosine"}`
	for name, c := range map[string]struct {
		file string
		want map[string]string // by name; an error where it begins with "prompt_name"
	}{
		"no default":    {strings.Replace(prompts, "%s", "null", 1), map[string]string{"": "", "query": "query: ", "passage": "", "other": `prompt_name is "other"; the model has clustering, document, passage, query`, "document": ""}},
		"a default":     {strings.Replace(prompts, "%s", `"query"`, 1), map[string]string{"": "query: ", "clustering": "identify: ", "passage": ""}},
		"none":          {`{"prompts": {}}`, map[string]string{"": "", "query": "", "document": "", "other": `prompt_name is "other"; the model has document, query`}},
		"an odd prompt": {`{"prompts": {"": "nameless: "}}`, map[string]string{"": "nameless: "}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := embedder(t, perToken(map[string]string{"config_sentence_transformers.json": c.file}), tokenVectors)
			for asked, want := range c.want {
				got, err := e.Prompt(asked)
				switch wrong := strings.HasPrefix(want, "prompt_name"); {
				case !wrong && (got.Text != want || got.Skip != 0 || err != nil):
					t.Errorf("%q: %+v, %v; want %q", asked, got, err, want)
				case wrong && (err == nil || err.Error() != want || errcode.Of(err) != errcode.Invalid):
					t.Errorf("%q: %v, want %q", asked, err, want)
				}
			}
		})
	}
}

const (
	aPooling   = `{"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}`
	aDense     = `{"path": "2_Dense", "type": "sentence_transformers.models.Dense"}`
	aNormalize = `{"path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}`
)

// refused are files with part of the error that each must be refused with.
var refused = map[string]struct {
	files map[string]string
	want  string
}{
	"modules that are no list":        {map[string]string{"modules.json": `{}`}, "modules.json: must be a list, not an object"},
	"modules that are no JSON":        {map[string]string{"modules.json": `[`}, "modules.json: not JSON: it ends too early"},
	"modules without any":             {map[string]string{"modules.json": `[]`}, "modules.json: there is no module Pooling"},
	"a Transformer alone":             {map[string]string{"modules.json": `[{"path": "", "type": "sentence_transformers.models.Transformer"}]`}, "there is no module Pooling"},
	"a Dense without a file":          {behind("Dense", `{}`, ""), "module 1 (2_Dense): 2_Dense/config.json is missing, which says what the Dense does"},
	"a Dense without weights":         {behind("Dense", dense, ""), "module 1 (2_Dense): 2_Dense/model.safetensors is missing; put it beside the model, and split it again"},
	"a Dense before the Pooling":      {map[string]string{"modules.json": `[` + aDense + `, ` + aPooling + `]`, "2_Dense.config.json": dense, "1_Pooling.config.json": `{}`}, "Dense of sentence_embedding before the Pooling is not supported"},
	"a Dense of tokens, too late":     {behind("Dense", `{"in_features": 2, "out_features": 2, "module_input_name": "token_embeddings"}`, ""), "Dense of token_embeddings behind the Pooling is not supported"},
	"a Dense of something else":       {behind("Dense", `{"in_features": 2, "out_features": 2, "module_input_name": "x"}`, ""), `module_input_name is "x"`},
	"a Dense to something else":       {behind("Dense", `{"in_features": 2, "out_features": 2, "module_output_name": "x"}`, ""), `module_output_name "x"`},
	"a Dense with an odd function":    {behind("Dense", `{"in_features": 2, "out_features": 2, "activation_function": "torch.nn.modules.activation.PReLU"}`, ""), `activation_function: "torch.nn.modules.activation.PReLU" is not supported (supported, of torch.nn: CELU,`},
	"a Dense with another's function": {behind("Dense", `{"in_features": 2, "out_features": 2, "activation_function": "mine.Tanh"}`, ""), `"mine.Tanh" is not supported`},
	"a Dense with a function of null": {behind("Dense", `{"in_features": 2, "out_features": 2, "activation_function": null}`, ""), `activation_function: must be a string`},
	"a Dense without features":        {behind("Dense", `{"in_features": 2}`, ""), `"out_features" is missing`},
	"a LayerNorm without weights":     {behind("LayerNorm", `{"dimension": 2}`, ""), "2_LayerNorm/model.safetensors is missing"},
	"weights that are none":           {behind("Dense", dense, "1234567"), "2_Dense/model.safetensors: not safetensors: it ends too early"},
	"other weights":                   {behind("Dense", dense, file(map[string][]int{"weight": {2, 2}})), "2_Dense/model.safetensors has no tensor linear.weight"},
	"weights of another shape":        {behind("Dense", dense, file(map[string][]int{"linear.weight": {3, 2}})), "tensor linear.weight has shape [3 2], and config.json says [2 2]"},
	"a Dense of another width":        {behind("Dense", `{"in_features": 3, "out_features": 2, "bias": false}`, file(map[string][]int{"linear.weight": {2, 3}})), "a module takes vectors of 3 numbers, and the one before gives 2"},
	"another's module":                {map[string]string{"modules.json": `[{"path": "", "type": "custom_st.Transformer"}, ` + aPooling + `]`, "1_Pooling.config.json": `{}`}, `module 0 (): its type "custom_st.Transformer" is code that is not sentence-transformers' own`},
	"a module of sparse vectors":      {behind("SpladePooling", `{}`, ""), "SpladePooling is not supported there"},
	"a Transformer in second place":   {map[string]string{"modules.json": `[` + aPooling + `, {"path": "x", "type": "sentence_transformers.models.Transformer"}]`, "1_Pooling.config.json": `{}`}, "module 1 (x): Transformer is not supported there"},
	"two Poolings":                    {map[string]string{"modules.json": `[` + aPooling + `, ` + aPooling + `]`, "1_Pooling.config.json": `{}`}, "module 1 (1_Pooling): Pooling is not"},
	"a Normalize alone":               {map[string]string{"modules.json": `[` + aNormalize + `]`}, "there is no module Pooling"},
	"a module without a type":         {map[string]string{"modules.json": `[{"path": "x"}]`}, `modules.json: [0]: "type" is missing`},
	"no pooling file":                 {map[string]string{"modules.json": modulesJSON}, "1_Pooling/config.json is missing, which says how to pool"},
	"a pooling file outside":          {map[string]string{"modules.json": `[{"path": "../../etc", "type": "sentence_transformers.models.Pooling"}]`}, "../../etc/config.json is missing"},
	"a pooling file that is a list":   {pooling(`[]`), "1_Pooling/config.json: must be an object, not a list"},
	"an unknown pooling":              {pooling(`{"pooling_mode": "median"}`), `1_Pooling/config.json: pooling "median" is not supported (supported: cls, lasttoken, max, mean, mean_sqrt_len_tokens, weightedmean)`},
	"an unknown one in a list":        {pooling(`{"pooling_mode": ["mean", "median"]}`), `pooling "median" is not supported`},
	"a pooling by number":             {pooling(`{"pooling_mode": 3}`), "pooling_mode: must be a name or a list of names, not a number"},
	"no pooling at all":               {pooling(`{"pooling_mode": []}`), "pooling_mode: is empty"},
	"a pooling twice":                 {pooling(`{"pooling_mode": ["mean", "cls", "mean"]}`), `pooling "mean" is there twice`},
	"a length below 0":                {sentenceConfig(`{"max_seq_length": -1}`), "sentence_bert_config.json: max_seq_length: want an integer"},
	"a length that is a text":         {sentenceConfig(`{"max_seq_length": "5"}`), "sentence_bert_config.json: max_seq_length: must be a number, not a string"},
	"a length that is no int":         {sentenceConfig(`{"max_seq_length": 1e99}`), "sentence_bert_config.json: max_seq_length: want an integer"},
	"a chat template":                 {sentenceConfig(`{"modality_config": {"message": {"method": "forward", "method_output_name": "last_hidden_state"}}}`), "modality_config: has message: texts would be put into the tokenizer's chat template first"},
	"pictures":                        {sentenceConfig(`{"modality_config": {"image": {"method": "forward", "method_output_name": "last_hidden_state"}}}`), "modality_config: has no text"},
	"another output":                  {sentenceConfig(`{"modality_config": {"text": {"method": "get_text_features", "method_output_name": "pooler_output"}}}`), `modality_config.text: takes "pooler_output" of "get_text_features"`},
	"another task":                    {sentenceConfig(`{"transformer_task": "fill-mask"}`), `transformer_task is "fill-mask"`},
	"an unknown setting":              {sentenceConfig(`{"processor_kwargs": {"split_special_tokens": true}}`), "processor_kwargs.split_special_tokens: is a setting of the tokenizer that is not known here"},
	"no special tokens":               {sentenceConfig(`{"processing_kwargs": {"text": {"add_special_tokens": false}}}`), "processing_kwargs.text.add_special_tokens: is a setting"},
	"no truncation":                   {sentenceConfig(`{"processing_kwargs": {"text": {"truncation": false}}}`), "processing_kwargs.text.truncation: is false; texts are always truncated"},
	"a cross-encoder":                 {map[string]string{"config_sentence_transformers.json": `{"model_type": "CrossEncoder"}`}, `config_sentence_transformers.json: model_type is "CrossEncoder"`},
	"a default that is no prompt":     {map[string]string{"config_sentence_transformers.json": `{"prompts": {"a": ""}, "default_prompt_name": "b"}`}, `default_prompt_name is "b", which is not among the prompts`},
	"prompts that are no texts":       {map[string]string{"config_sentence_transformers.json": `{"prompts": {"a": 1}}`}, "config_sentence_transformers.json: prompts.a: must be a string, not a number"},
}

// dense is the configuration of a Dense.
const dense = `{"in_features": 2, "out_features": 2, "bias": false, "activation_function": "torch.nn.modules.linear.Identity"}`

func sentenceConfig(file string) map[string]string {
	return map[string]string{"sentence_bert_config.json": file}
}

// behind are the files of a model with a module behind its Pooling.
func behind(kind, config, weights string) map[string]string {
	folder := "2_" + kind
	files := map[string]string{
		"modules.json":          `[` + aPooling + `, {"path": "` + folder + `", "type": "sentence_transformers.models.` + kind + `"}]`,
		"1_Pooling.config.json": `{}`, folder + ".config.json": config,
	}
	if weights != "" {
		files[folder+".model.safetensors"] = weights
	}
	return files
}

// file is one of safetensors: of each tensor the numbers 0, 1, 2, …
func file(shapes map[string][]int) string {
	type entry struct {
		DType   string `json:"dtype"`
		Shape   []int  `json:"shape"`
		Offsets [2]int `json:"data_offsets"`
	}
	header := map[string]any{"__metadata__": map[string]string{"format": "pt"}}
	var data []byte
	for name, shape := range shapes {
		n := 1
		for _, d := range shape {
			n *= d
		}
		header[name] = entry{"F32", shape, [2]int{len(data), len(data) + 4*n}}
		for i := range n {
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(float32(i)))
		}
	}
	head, err := json.Marshal(header)
	if err != nil {
		panic(err)
	}
	return string(append(append(binary.LittleEndian.AppendUint64(nil, uint64(len(head))), head...), data...))
}

func TestFilesThatAreNotSupportedAreRefused(t *testing.T) {
	t.Parallel()
	for name, c := range refused {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := open(t, perToken(c.files), tokenVectors); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	t.Run("a length shorter than the special tokens", func(t *testing.T) {
		t.Parallel()
		m := perToken(map[string]string{"sentence_bert_config.json": `{"max_seq_length": 1}`})
		m.Tokenizer = strings.Replace(m.Tokenizer, `"model"`, `"post_processor": {"type": "BertProcessing", "sep": ["w0", 10], "cls": ["w1", 11]}, "model"`, 1)
		if _, err := open(t, m, tokenVectors); err == nil || !strings.Contains(err.Error(), "sentence_bert_config.json: max_seq_length: ") {
			t.Error(err)
		}
	})
}

// A model that pools by itself has done what modules.json lists, whatever that is.
func TestAModelThatPoolsByItselfNeedsNoModules(t *testing.T) {
	t.Parallel()
	m := classifytest.Usual
	m.Files = maps.Clone(refused["a module of sparse vectors"].files)
	m.Files["sentence_bert_config.json"] = `{"max_seq_length": 2}`
	m.Outputs = []tensor.Spec{classifytest.Spec("sentence_embedding", tensor.Float32, classifytest.Batch, tensor.Fixed(1))}
	e := embedder(t, m, answers(func(_, _, shape []int64) tensor.Bag {
		return tensor.Bag{"sentence_embedding": tensor.Of([]int64{1, 1}, []float32{float32(shape[1])})}
	}))
	got, err := e.Vector(compute(t, e, "w1 w2 w3")[0])
	wantVector(t, "the model's own", got, err, 2)
	if e.Assumed() {
		t.Error("said to be assumed")
	}
}

// FuzzModules reads any files; what is read must pool.
func FuzzModules(f *testing.F) {
	names := []string{"modules.json", "1_Pooling.config.json", "sentence_bert_config.json", "config_sentence_transformers.json"}
	add := func(files map[string]string) {
		f.Add(files[names[0]], files[names[1]], files[names[2]], files[names[3]])
	}
	for _, c := range refused {
		add(c.files)
	}
	add(map[string]string{names[0]: unitJSON, names[1]: `{"pooling_mode": ["mean", "max"]}`, names[2]: `{"max_seq_length": 128, "do_lower_case": true}`, names[3]: `{"prompts": {"a": "b"}, "default_prompt_name": "a"}`})
	f.Fuzz(func(t *testing.T, a, b, c, d string) {
		files := map[string]string{names[0]: a, names[1]: b, names[2]: c, names[3]: d}
		read := reader(func(name string) ([]byte, error) {
			if files[name] == "" {
				return nil, bundle.ErrNoFile
			}
			return []byte(files[name]), nil
		})
		for _, pooled := range []bool{false, true} {
			m, err := read.modules(pooled)
			if err != nil {
				continue
			}
			if m.length < 0 || pooled == (len(m.pooling) > 0) || len(m.pooling) > len(poolings) {
				t.Fatalf("%+v", m)
			}
			e := Embedder{modules: m, pooled: pooled}
			v, err := e.Vector(e.reduce(textmodel.Answer{Values: []float32{1, 2, 3, 4}, Shape: []int64{2, 2}}))
			if !pooled && len(m.tokens)+len(m.layers) == 0 && (err != nil || len(v) != 2*len(m.pooling)) {
				t.Errorf("%v, %v", v, err)
			}
		}
	})
}

// longAsIn are the cases in which versions of sentence-transformers differ, with the one that is
// followed.
var longAsIn = map[string]string{"tokenizer_args": "6.2.0"} // in 5 max_seq_length counts for more

// read is what a model reads of a text.
type read struct {
	Tokens int     `json:"tokens"`
	First  []int64 `json:"first"`
}

// TestTextsAreAsLongAsInSentenceTransformers compares with what versions 5 and 6 have their models
// read. Where these then fail for want of positions, as many as there are are read.
func TestTextsAreAsLongAsInSentenceTransformers(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(filepath.Join("..", "textmodel", "testdata", "limits.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Text  string `json:"text"`
		Cases map[string]struct {
			Files map[string]json.RawMessage `json:"files"`
			Want  map[string]json.RawMessage `json:"sentence-transformers"` // by version
		} `json:"cases"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Cases) < 40 {
		t.Errorf("only %d cases", len(file.Cases))
	}
	for name, c := range file.Cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := perToken(pooling(`{"pooling_mode": "cls"}`))
			for name, content := range c.Files {
				switch name {
				case bundle.TokenizerName:
					m.Tokenizer = string(content)
				case bundle.ConfigName:
					m.Config = string(content)
				default:
					m.Files[name] = string(content)
				}
			}
			var ids []int64
			e := embedder(t, m, answers(func(given, mask, shape []int64) tensor.Bag {
				ids = given
				return tokenVectors(given, mask, shape)
			}))
			compute(t, e, file.Text)
			for version, raw := range c.Want {
				if v, differ := longAsIn[name]; differ && v != version || string(raw) == `"refused"` {
					continue
				}
				var want *read
				if err := json.Unmarshal(raw, &want); err != nil {
					t.Fatal(err)
				}
				switch {
				case want == nil && len(ids) != 64:
					t.Errorf("%s fails; got %d tokens of a model with 64 positions", version, len(ids))
				case want != nil && (len(ids) != want.Tokens || !slices.Equal(ids[:3], want.First)):
					t.Errorf("%d tokens %v …; %s: %d %v …", len(ids), ids[:3], version, want.Tokens, want.First)
				}
			}
		})
	}
}
