package text

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/distinfer/distinfer/runtime/strictjson"
)

// maxLabels bounds what num_labels alone may ask for.
const maxLabels = 1 << 20

// A Function turns logits into scores.
type Function int

// The functions that Hugging Face's text-classification pipeline knows. ByConfig is
// what config.json asks for; None leaves logits as they are.
const (
	ByConfig Function = iota
	Softmax
	Sigmoid
	None
)

// functions are the names that the pipeline gives them.
var functions = map[string]Function{"default": ByConfig, "softmax": Softmax, "sigmoid": Sigmoid, "none": None}

// ParseFunction finds a function by the name that the pipeline's parameter
// function_to_apply has for it.
func ParseFunction(name string) (Function, error) {
	f, ok := functions[name]
	if !ok {
		return 0, fmt.Errorf("%q is not a function to apply; it can be softmax, sigmoid, none or default", name)
	}
	return f, nil
}

// Config is what a model's config.json says of its answers.
type Config struct {
	architecture string
	labels       []string
	scoring      Function
	activation   Activation // of cross-encoders, for ByConfig; nil: scoring
	maxPositions int
	positionKey  string // that says so

	modelType       string
	heads, headSize int64 // of keys and values; 0: not said
	offsetPositions bool  // they start behind padID
	relative        bool  // texts may be longer than maxPositions
	padID           int64
	hasPadID        bool
	vocabulary      int
}

// A Result is a label and its score.
type Result struct {
	Label string  `json:"label"`
	Score float64 `json:"score"`
}

// LoadConfig reads a config.json. Unknown keys are ignored. Known keys must be right: id2label with
// the keys "0" to "n-1", in any order; problem_type one of regression, single_label_classification
// and multi_label_classification.
//
// Without id2label there are num_labels labels LABEL_0, LABEL_1, … and without that two, as in
// Hugging Face's transformers. With it num_labels does not count, nor does label2id in any case.
func LoadConfig(r io.Reader) (*Config, error) {
	c, err := loadConfig(r)
	if err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	return c, nil
}

func loadConfig(r io.Reader) (*Config, error) {
	o, err := readPythonObject(r)
	if err != nil {
		return nil, err
	}
	c := &Config{scoring: Softmax}
	if f, ok := o.Optional("id2label"); ok {
		if c.labels, err = readLabels(f); err != nil {
			return nil, err
		}
	} else {
		count := uint64(2)
		if counted, ok := o.Optional("num_labels"); ok {
			if count, err = counted.Uint(maxLabels); err != nil {
				return nil, err
			}
			if count == 0 {
				return nil, counted.Errorf("want at least 1")
			}
		}
		for i := range count {
			c.labels = append(c.labels, "LABEL_"+strconv.FormatUint(i, 10))
		}
	}
	problem := ""
	if f, ok := o.Optional("problem_type"); ok {
		of := []string{"regression", "single_label_classification", "multi_label_classification"}
		if problem, err = f.Choice(of...); err != nil {
			return nil, err
		}
	}
	// The order is that of the text-classification pipeline: one label is
	// scored by sigmoid even if the problem is single_label_classification.
	switch {
	case problem == "regression":
		c.scoring = None
	case problem == "multi_label_classification" || len(c.labels) == 1:
		c.scoring = Sigmoid
	}
	if f, ok := o.Optional("architectures"); ok {
		list, err := f.List()
		if err != nil {
			return nil, err
		}
		if len(list) > 0 {
			if c.architecture, err = list[0].Text(); err != nil {
				return nil, err
			}
		}
	}
	if err := c.loadActivation(o); err != nil {
		return nil, err
	}
	if err := c.loadPositions(o); err != nil {
		return nil, err
	}
	c.loadShape(o)
	if f, ok := o.Optional("pad_token_id"); ok && f.Raw()[0] != '-' { // some write -1 for none
		id, err := f.Uint32()
		if err != nil {
			return nil, err
		}
		c.padID, c.hasPadID = int64(id), true
	}
	if f, ok := o.Optional("vocab_size"); ok {
		if n, err := f.Uint(math.MaxInt32); err == nil {
			c.vocabulary = int(n)
		}
	}
	return c, nil
}

// readLabels reads id2label.
func readLabels(n strictjson.Value) ([]string, error) {
	o, err := n.Object()
	if err != nil {
		return nil, err
	}
	if o.Len() == 0 {
		return nil, n.Errorf("has no labels")
	}
	byID := make(map[int]strictjson.Value, o.Len())
	for key, f := range o.Fields() {
		// Python's int takes "01", "+1", "0_1" and " 1" too.
		if id, err := strconv.Atoi(strings.ReplaceAll(strings.TrimSpace(key), "_", "")); err == nil {
			if _, twice := byID[id]; twice {
				return nil, f.Errorf("given twice")
			}
			byID[id] = f
		}
	}
	labels := make([]string, o.Len())
	for i := range labels {
		f, ok := byID[i]
		if !ok {
			return nil, n.Errorf("has %d labels, but none of the key %q (want \"0\" to %q)", len(labels), strconv.Itoa(i), strconv.Itoa(len(labels)-1))
		}
		if labels[i], err = readLabel(f); err != nil {
			return nil, err
		}
	}
	return labels, nil
}

// readLabel reads a label, which is a string, or a number or the like as it is written.
func readLabel(n strictjson.Value) (string, error) {
	switch n.Kind() {
	case '"':
		return n.Text()
	case '{', '[':
		return "", n.Want("a string or a number")
	}
	return n.String(), nil
}

// positionKeys are the keys by which models say how many tokens they read; the first one that is
// given counts. transformers' max_position_embeddings is n_positions in the files of GPT-2, CTRL
// and T5.
var positionKeys = []string{"max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "max_sequence_length", "seq_length", "max_encoder_position_embeddings"}

// relativePositions are the model types for which the number of positions is no bound: they know
// distances between tokens only, or turn vectors by positions of any size, and read texts of any
// length.
var relativePositions = []string{
	"t5", "mt5", "umt5", "longt5", "switch_transformers", "xlnet", "deberta", "deberta-v2",
	"bloom", "eurobert", "falcon", "fsmt", "gemma", "gemma2", "gemma3_text", "gpt_neox", "granite", "jina_embeddings_v3", "llama", "m2m_100",
	"mistral", "modernbert", "nomic_bert", "olmo", "persimmon", "phi", "phi3", "qwen2", "qwen3", "smollm3", "stablelm", "starcoder2", "xglm",
}

// loadPositions reads how many tokens the model can read.
func (c *Config) loadPositions(o *strictjson.Object) error {
	for _, key := range positionKeys {
		f, ok := o.Optional(key)
		if !ok || f.Raw()[0] == '-' { // some write -1 for no bound
			continue
		}
		n, err := f.Uint(math.MaxInt32)
		if err != nil {
			return err
		}
		if n > 0 {
			c.maxPositions, c.positionKey = int(n), key
			break
		}
	}
	if f, ok := o.Optional("model_type"); ok {
		kind, err := f.Text()
		if err != nil {
			return err
		}
		c.offsetPositions = slices.Contains(offsetPositions, kind)
		c.relative = slices.Contains(relativePositions, kind)
	}
	if f, ok := o.Optional("position_biased_input"); ok && f.Kind() == 't' {
		c.relative = false // a DeBERTa with a table of positions beside the distances
	}
	return nil
}

// Architecture returns the name of the model's class in transformers, such as
// BertForSequenceClassification; "" if the file does not say.
func (c *Config) Architecture() string { return c.architecture }

// VocabularySize returns how many ids the model reads; 0 if the file does not say.
func (c *Config) VocabularySize() int { return c.vocabulary }

// Labels returns the labels, by id.
func (c *Config) Labels() []string { return slices.Clone(c.labels) }

// MaxPositions returns how many tokens the model can read (max_position_embeddings, or n_positions
// and the like); ok is false if the file does not say. Models that number positions from behind the
// padding id (RoBERTa and its kin) read fewer: by pad_token_id, or 1 without one, and one more.
func (c *Config) MaxPositions() (n int, ok bool) {
	n = c.maxPositions
	if pad, offset := c.PositionsFrom(); offset && n > 0 {
		n = max(1, n-int(pad)-1)
	}
	return n, n > 0
}

// MaxPositionEmbeddings returns the key of that name, or what transformers reads as it: of
// models without a table of positions it is the length they were trained with. ok is false
// when there is none.
func (c *Config) MaxPositionEmbeddings() (n int, ok bool) {
	if c.maxPositions == 0 || c.relative && c.positionKey != "max_position_embeddings" {
		return 0, false
	}
	return c.maxPositions, true
}

// Relative reports whether the model reads texts longer than MaxPositions too, since it
// has no table of positions.
func (c *Config) Relative() bool { return c.relative }

// offsetPositions are the model types whose positions start behind the padding id,
// as in Hugging Face's transformers (create_position_ids_from_input_ids).
var offsetPositions = []string{
	"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "roberta-prelayernorm", "xmod", "data2vec-text",
	"longformer", "mpnet", "ibert", "luke", "mluke", "layoutlmv3", "lilt", "markuplm", "esm", "ernie_m",
}

// PadTokenID returns the file's pad_token_id; ok is false if there is none.
// [Tokenizer.WithPadID] takes it.
func (c *Config) PadTokenID() (id int64, ok bool) { return c.padID, c.hasPadID }

// Results scores the logits of one text, one a label, with a function, and returns
// all labels, the highest score first and equal scores by id. ByConfig is the function that the
// files of a cross-encoder name. For others its rule is that of Hugging Face's text-classification
// pipeline: regression leaves logits as they are, multi_label_classification and a single label go
// through the sigmoid, all else through the softmax; here in float64.
//
// Logits of another number than the labels, and logits that are not a number,
// are an error, as are those infinities for which the softmax has no answer.
func (c *Config) Results(logits []float32, by Function) ([]Result, error) {
	if len(logits) != len(c.labels) {
		return nil, fmt.Errorf("scoring logits: %d logits for %d labels", len(logits), len(c.labels))
	}
	scores := make([]float64, len(logits))
	for i, l := range logits {
		if l != l {
			return nil, fmt.Errorf("scoring logits: the logit of %q is not a number", c.labels[i])
		}
		scores[i] = float64(l)
	}
	if err := c.activationOf(by)(scores); err != nil {
		return nil, fmt.Errorf("scoring logits: %w", err)
	}
	results := make([]Result, len(scores))
	for i, s := range scores {
		results[i] = Result{c.labels[i], s}
	}
	slices.SortStableFunc(results, func(a, b Result) int { return cmp.Compare(b.Score, a.Score) })
	return results, nil
}

// activationOf is what makes scores of logits.
func (c *Config) activationOf(by Function) Activation {
	if by == ByConfig {
		if c.activation != nil {
			return c.activation
		}
		by = c.scoring
	}
	switch by {
	case Softmax:
		return Probabilities
	case Sigmoid:
		return activations["Sigmoid"]
	}
	return activations["Identity"]
}

// loadActivation reads what CrossEncoder of sentence-transformers writes into config.json: since
// its version 4 sentence_transformers.activation_fn, before sbert_ce_default_activation_function.
func (c *Config) loadActivation(o *strictjson.Object) error {
	if f, ok := o.Optional("sentence_transformers"); ok && f.Kind() == '{' {
		inner, err := f.Object()
		if err != nil {
			return err
		}
		if f, ok := inner.Optional("activation_fn"); ok {
			return c.readActivation(f)
		}
	}
	if f, ok := o.Optional("sbert_ce_default_activation_function"); ok {
		return c.readActivation(f)
	}
	return nil
}

func (c *Config) readActivation(f strictjson.Value) error {
	class, err := f.Text()
	if err != nil {
		return err
	}
	with, err := c.WithActivation(class)
	if err != nil {
		return f.Errorf("%w", err)
	}
	*c = *with
	return nil
}

// WithActivation is the Config of a cross-encoder with a function of PyTorch, by the name of its
// class. One of another package is not made, as CrossEncoder does not without trust_remote_code:
// a single label is scored by the sigmoid then, and several are as the model gives them.
func (c *Config) WithActivation(class string) (*Config, error) {
	with := *c
	var err error
	switch {
	case strings.HasPrefix(class, torch):
		with.activation, err = ParseActivation(class)
	case len(c.labels) == 1:
		with.activation = activations["Sigmoid"]
	default:
		with.activation = activations["Identity"]
	}
	return &with, err
}

// Probabilities makes logits probabilities by the softmax, in place. It fails where the highest is
// infinite. The maximum is subtracted first, so that nothing overflows.
func Probabilities(x []float64) error {
	top := slices.Max(x)
	if math.IsInf(top, 0) {
		return errors.New("the highest logit is infinite")
	}
	sum := 0.0
	for i := range x {
		x[i] = math.Exp(x[i] - top)
		sum += x[i]
	}
	for i := range x {
		x[i] /= sum
	}
	return nil
}
