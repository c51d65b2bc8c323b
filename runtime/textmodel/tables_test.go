package textmodel

import (
	"slices"
	"strings"
	"testing"

	"github.com/distinfer/distinfer/runtime/classify/classifytest"
	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/tensor"
)

// limits are those of a model with ids up to one, token types up to another, and so many
// positions, if they are not 0.
func limits(lastID, lastType, tokens int64) *tensor.Limits {
	return &tensor.Limits{Values: []tensor.ValueLimit{
		{Input: "input_ids", Min: -lastID - 1, Max: lastID, Table: "E"},
		{Input: "token_type_ids", Min: -lastType - 1, Max: lastType, Table: "T"},
	}, Tokens: tokens}
}

// What a model's tables do not have is said of the text that has it, before any run.
func TestWhatTheTablesDoNotHaveIsSaidBeforeTheRun(t *testing.T) {
	t.Parallel()
	m := classifytest.Usual
	m.Tokenizer = with("post_processor", `{"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}}], "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}], "special_tokens": {}}`)
	pair := "w1"
	for name, c := range map[string]struct {
		limits *tensor.Limits
		input  Input
		says   string
	}{
		"within":            {limits(19, 1, 0), Input{Text: "w9 w9", Pair: &pair}, ""},
		"nothing is known":  {nil, Input{Text: "w9", Pair: &pair}, ""},
		"an id":             {limits(18, 1, 0), Input{Text: "w8 w9"}, "token 1 of the text has the id 19, and the model's table E ends at 18"},
		"an id of the pair": {limits(10, 1, 0), Input{Text: "w0", Pair: &pair}, "token 1 of the text has the id 11"},
		"a pair":            {limits(19, 0, 0), Input{Text: "w9", Pair: &pair}, "takes no pairs of texts"},
		"not a pair":        {limits(19, 0, 0), Input{Text: "w9"}, ""},
	} {
		m.Limits = c.limits
		_, err := model(t, m, numbered(2, false)).Encode(c.input)
		if c.says == "" && err != nil || c.says != "" && (errcode.Of(err) != errcode.Invalid || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
	m.Inputs, m.Limits = classifytest.BERTInputs[:2], limits(19, 0, 0)
	if _, err := model(t, m, numbered(2, false)).Encode(Input{Text: "w9", Pair: &pair}); err != nil {
		t.Errorf("a model without token types: %v", err)
	}
}

func TestTextsAreCutToThePositionsOfTheTable(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		limits *tensor.Limits
		config string
		want   int
	}{
		"of texts":                    {&tensor.Limits{Tokens: 5}, classifytest.ConfigJSON, 5},
		"of the sequence":             {&tensor.Limits{Tokens: 7, Sizes: []tensor.SizeLimit{{Dims: []string{"sequence"}, Max: 6}, {Dims: []string{"other"}, Max: 2}}}, classifytest.ConfigJSON, 6},
		"of ids of positions":         {&tensor.Limits{Values: []tensor.ValueLimit{{Input: "position_ids", Min: -8, Max: 7}}}, classifytest.ConfigJSON, 8},
		"of positions behind padding": {&tensor.Limits{Values: []tensor.ValueLimit{{Input: "position_ids", Min: -10, Max: 9}}}, `{"model_type": "roberta", "pad_token_id": 1}`, 8},
		"more than config.json says":  {&tensor.Limits{Tokens: 9}, `{"max_position_embeddings": 4}`, 4},
		"less than config.json says":  {&tensor.Limits{Tokens: 3}, `{"max_position_embeddings": 4}`, 3},
	} {
		m := classifytest.Usual
		m.Limits, m.Config = c.limits, c.config
		m.Inputs = append(slices.Clone(m.Inputs), classifytest.Spec("position_ids", tensor.Int64, classifytest.Batch, classifytest.Sequence))
		text, err := model(t, m, numbered(2, false)).Encode(Input{Text: strings.Repeat("w1 ", 40)})
		if err != nil || len(text.encoding.IDs) != c.want {
			t.Errorf("%s: %d tokens, %v; want %d", name, len(text.encoding.IDs), err, c.want)
		}
	}
}

// A padding token that the table does not have is not brought into it by other texts.
func TestTextsAreNotPaddedWithWhatTheTableDoesNotHave(t *testing.T) {
	t.Parallel()
	m := classifytest.Usual
	m.Config = `{"pad_token_id": 20}`
	for last, mixes := range map[int64]bool{20: true, 19: false} {
		m.Limits = limits(last, 1, 0)
		if got := model(t, m, numbered(2, false)).Mixes(); got != mixes {
			t.Errorf("a table up to %d: texts of different lengths are computed together: %v", last, got)
		}
	}
}
