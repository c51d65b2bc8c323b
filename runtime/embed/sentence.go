package embed

import (
	"fmt"
	"math"
	"slices"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/strictjson"
)

// sentence is what sentence_bert_config.json says: how the module Transformer reads texts.
type sentence struct {
	length int   // most tokens of a text, whatever other files say; 0 when it does not say
	left   *bool // which end texts lose; nil when it does not say
	lower  bool
}

// sentence reads the file. It has been written in many versions: keys that say what the exported
// model has in it are passed over, and those that would change how texts are read and are not known
// here are refused.
func (read reader) sentence() (sentence, error) {
	s := sentence{}
	file, err := read.optional(bundle.SentenceConfigName)
	if err != nil || file == nil {
		return s, err
	}
	o, err := file.Object()
	if err == nil {
		err = s.read(o)
	}
	if err != nil {
		return s, fmt.Errorf("%s: %w", bundle.SentenceConfigName, err)
	}
	return s, nil
}

func (s *sentence) read(o *strictjson.Object) error {
	s.length = length(o, "max_seq_length")
	s.lower = o.Flag("do_lower_case", false)
	if task, given := o.OptionalText("transformer_task"); given && task != "feature-extraction" {
		o.Fail(fmt.Errorf("transformer_task is %.80q; embeddings are of feature-extraction", task))
	}
	if v, ok := o.Optional("modality_config"); ok {
		o.Fail(readModalities(v))
	}
	// The tokenizer's own settings count for more than all else; the first name is the older one.
	for _, name := range []string{"tokenizer_args", "processor_kwargs"} {
		if v, ok := o.Optional(name); ok {
			o.Fail(s.readTokenizer(v))
		}
	}
	if v, ok := o.Optional("processing_kwargs"); ok {
		o.Fail(s.readProcessing(v))
	}
	return o.Err()
}

// length reads a number of tokens that may be missing or null, which is 0.
func length(o *strictjson.Object, name string) int {
	n := strictjson.ReadOptional(o, name, func(v strictjson.Value) (uint64, error) { return v.Uint(math.MaxInt32) })
	if n == nil {
		return 0
	}
	return int(*n)
}

// readModalities takes models that are given a text as it is. What is rendered by a chat template
// before is not.
func readModalities(v strictjson.Value) error {
	o, err := v.Object()
	if err != nil {
		return err
	}
	if o.Has("message") {
		return o.Errorf("has message: texts would be put into the tokenizer's chat template first, which is not done here; save the model with the modality text alone")
	}
	text, ok := o.Optional("text")
	if !ok {
		return o.Errorf("has no text")
	}
	how, err := text.Object()
	if err != nil {
		return err
	}
	method, output := how.Text("method"), how.Text("method_output_name")
	if err := how.Err(); err != nil {
		return err
	}
	if method != "forward" || output != "last_hidden_state" {
		return text.Errorf("takes %.80q of %.80q; supported is last_hidden_state of forward", output, method)
	}
	return nil
}

// harmless are settings of the tokenizer that do not change what is made of a text: how it is found,
// and how batches are padded.
var harmless = []string{
	"use_fast", "trust_remote_code", "cache_dir", "token", "revision", "local_files_only", "subfolder",
	"padding", "padding_side", "pad_to_multiple_of", "return_tensors", "return_attention_mask", "return_token_type_ids",
	"clean_up_tokenization_spaces", "legacy",
}

// readTokenizer reads the settings with which the tokenizer is loaded.
func (s *sentence) readTokenizer(v strictjson.Value) error {
	o, err := v.Object()
	if err != nil {
		return err
	}
	if n := length(o, "model_max_length"); n > 0 {
		s.length = n
	}
	if side, given := o.OptionalText("truncation_side"); given {
		left := side == "left"
		s.left = &left
	}
	return onlyHarmless(o)
}

// readProcessing reads the settings with which the tokenizer is called.
func (s *sentence) readProcessing(v strictjson.Value) error {
	all, err := v.Object()
	if err != nil {
		return err
	}
	for _, name := range []string{"common", "text"} {
		v, ok := all.Optional(name)
		if !ok {
			continue
		}
		o, err := v.Object()
		if err != nil {
			return err
		}
		if n := length(o, "max_length"); n > 0 {
			s.length = n
		}
		if v, ok := o.Optional("truncation"); ok && v.Kind() != 't' && v.String() != `"longest_first"` {
			return v.Errorf("is %.40s; texts are always truncated", v)
		}
		if err := onlyHarmless(o); err != nil {
			return err
		}
	}
	return nil
}

// onlyHarmless refuses other settings than harmless ones.
func onlyHarmless(o *strictjson.Object) error {
	for name, v := range o.Fields() {
		if !slices.Contains(harmless, name) {
			return v.Errorf("is a setting of the tokenizer that is not known here; leave it out, if it changes nothing")
		}
	}
	return o.Err()
}
