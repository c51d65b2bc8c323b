package feed

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/distinfer/distinfer/runtime/tensor"
)

// A Cause is why an input cannot be filled, by what would avoid it.
type Cause int

// The causes.
const (
	Unknown   Cause = iota // its name says nothing
	Decoder                // it is for the decoder behind an encoder
	Embedded               // it takes vectors in place of ids
	Training               // it is for training
	OtherKind              // it takes something other than text
	Fixed                  // inputs fix different sizes
	Cache                  // it is a cache that cannot be empty
	Step                   // the model computes a token at a time
	Shape                  // it has another type or shape than inputs of its name have
)

// advice is what to do, by cause.
var advice = map[Cause]string{
	Unknown:   "name the inputs as transformers does when exporting (input_names of torch.onnx.export), or export the model without it",
	Decoder:   "export the encoder alone",
	Embedded:  "export the model with input_ids in its place",
	Training:  "export the model for inference, without it",
	OtherKind: "export a model that reads text alone",
	Fixed:     "export all inputs with the same sizes, or with dynamic ones",
	Cache:     "export the model without a cache",
	Step:      "export the model without a cache",
	Shape:     "export it as transformers has it",
}

// An Error says that an input of a model cannot be filled from texts.
type Error struct {
	Input tensor.Spec
	Why   string
	Cause Cause
}

// filled are the inputs that can be.
const filled = "input_ids, attention_mask, token_type_ids, position_ids, global_attention_mask, and past_key_values and use_cache_branch for no earlier tokens"

func (e *Error) Error() string {
	message := fmt.Sprintf("the model's input %s cannot be filled from texts: %s; %s", e.Input, e.Why, advice[e.Cause])
	switch e.Cause {
	case Shape, Fixed, Step:
		return message
	}
	return message + "; inputs that can be filled are " + filled
}

// A NoIDsError says that a model reads no ids of tokens.
type NoIDsError struct{ Inputs []tensor.Spec }

func (e *NoIDsError) Error() string {
	var names []string
	for _, s := range e.Inputs {
		names = append(names, s.String())
	}
	return "the model has no input input_ids, so it reads no texts; its inputs are " + strings.Join(names, ", ")
}

// refusals are inputs that are known and cannot be filled.
var refusals = []struct {
	name *regexp.Regexp
	why  string
	Cause
}{
	{regexp.MustCompile(`^decoder_|encoder_(hidden_states?|outputs?|attention_mask)|^cross_|^past.*(encoder|cross)`), "it is for the decoder of an encoder-decoder model", Decoder},
	{regexp.MustCompile(`inputs?_embeds$|_embeds$|_embeddings?$`), "it takes vectors, and texts are ids", Embedded},
	{regexp.MustCompile(`^labels?$|^start_positions$|^end_positions$|^next_sentence_label$`), "it is the right answer, for training", Training},
	{regexp.MustCompile(`^pixel_|^images?$|^input_features$|^input_values$|^audio|^video|^visual_|_grid_thw$`), "it takes images or sound", OtherKind},
	{regexp.MustCompile(`^bbox$|^boxes$|^xpath_`), "it takes the places of words on a page", OtherKind},
	{regexp.MustCompile(`^entity_`), "it takes entities of the text", OtherKind},
	{regexp.MustCompile(`^langs?$|^lang_id|^task_id$|^adapter_mask$`), "it takes a language or task, which texts do not say", Unknown},
	{regexp.MustCompile(`^past|conv_state|ssm_state|recurrent_state`), "it is a state of earlier tokens", Cache},
	{regexp.MustCompile(`padding_mask$`), "some models want 1 for padding here and others 1 for tokens", Unknown},
}

// refusal says why an input of a name cannot be filled; "" when nothing is known of it.
func refusal(name string) (why string, c Cause) {
	for _, r := range refusals {
		if r.name.MatchString(strings.ToLower(name)) {
			return r.why, r.Cause
		}
	}
	return "", Unknown
}
