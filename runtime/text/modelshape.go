package text

import (
	"math"

	"github.com/distinfer/distinfer/runtime/strictjson"
)

// ModelType returns transformers' name of the kind of model, such as "bert"; "" if the file does
// not say.
func (c *Config) ModelType() string { return c.modelType }

// KeyValues returns the number of heads of keys and values and the size of one, where the file
// says them; 0 is unknown.
func (c *Config) KeyValues() (heads, size int64) { return c.heads, c.headSize }

// PositionsFrom returns the id behind which the model's positions begin, for models that number
// tokens other than padding (RoBERTa and its kin); ok is false for models that number places.
func (c *Config) PositionsFrom() (padID int64, ok bool) {
	switch {
	case !c.offsetPositions:
		return 0, false
	case c.hasPadID:
		return c.padID, true
	}
	return 1, true // the default of those models
}

// The keys by which models say the same.
var (
	hiddenKeys = []string{"hidden_size", "n_embd", "d_model"}
	headKeys   = []string{"num_attention_heads", "n_head", "num_heads"}
	sharedKeys = []string{"num_key_value_heads", "num_kv_heads"}
)

// loadShape reads the model's type and its heads. What is no number counts as not said.
func (c *Config) loadShape(o *strictjson.Object) {
	if f, ok := o.Optional("model_type"); ok {
		c.modelType, _ = f.Text()
	}
	hidden, heads := firstNumber(o, hiddenKeys), firstNumber(o, headKeys)
	if c.headSize = firstNumber(o, []string{"head_dim"}); c.headSize == 0 && heads > 0 {
		c.headSize = hidden / heads
	}
	if c.heads = firstNumber(o, sharedKeys); c.heads == 0 {
		c.heads = heads
	}
}

// firstNumber is the first of the keys that has a number above 0; 0 is for none.
func firstNumber(o *strictjson.Object, keys []string) int64 {
	for _, key := range keys {
		if f, ok := o.Optional(key); ok {
			if n, err := f.Uint(math.MaxInt32); err == nil && n > 0 {
				return int64(n)
			}
		}
	}
	return 0
}
