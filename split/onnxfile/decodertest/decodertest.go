// Package decodertest writes decoder models of any size with random weights, as exporters write
// them: Qwen3 without a head, which gives a vector for each token. They are for tests and
// benchmarks of what depends on sizes and operators; what the models answer means nothing.
//
// Weights lie in a file of their own and are never in memory. The same arguments give the same
// bytes.
package decodertest

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/distinfer/distinfer/split/onnxfile/onnxtest"
)

// A Shape is the sizes of a model.
type Shape struct {
	Layers       int
	Hidden       int
	Heads        int // of queries
	KVHeads      int // of keys and values
	HeadDim      int
	Intermediate int
	Vocabulary   int
	Positions    int
}

// The shapes of published models, and a small one that has all of their parts.
var (
	Embedding600M = Shape{Layers: 28, Hidden: 1024, Heads: 16, KVHeads: 8, HeadDim: 128, Intermediate: 3072, Vocabulary: 151_669, Positions: 32_768}
	Embedding8B   = Shape{Layers: 36, Hidden: 4096, Heads: 32, KVHeads: 8, HeadDim: 128, Intermediate: 12_288, Vocabulary: 151_665, Positions: 32_768}
	Tiny          = Shape{Layers: 2, Hidden: 64, Heads: 4, KVHeads: 2, HeadDim: 16, Intermediate: 96, Vocabulary: 320, Positions: 512}
)

// A Precision is how weights are stored and what is computed with.
type Precision string

// Precisions. Int4 stores matrices in blocks of 32 numbers of 4 bits with a float32 scale
// each, and computes in float32.
const (
	Float32 Precision = "float32"
	Float16 Precision = "float16"
	Int4    Precision = "int4"
)

// Precisions lists them.
var Precisions = []Precision{Float32, Float16, Int4}

// Options say how a model is written.
type Options struct {
	Precision Precision
	// Fused uses the operators of ONNX Runtime's own domain for normalization, positions and
	// attention. Without it there are ONNX's own, but for the 4-bit matrices.
	Fused bool
	// PositionIDs makes position_ids an input, instead of counting them in the graph.
	PositionIDs bool
	// Sparse writes no weights: their file has its size, and takes no space on the disk.
	Sparse bool
}

// dataName is the name that exporters give the file of weights.
const dataName = "model.onnx_data"

// Write writes model.onnx, its weights, a tokenizer of bytes and the files of
// sentence-transformers into a folder.
func Write(dir string, s Shape, o Options) (err error) {
	if s.Layers < 1 || s.Hidden%blockSize != 0 || s.Intermediate%blockSize != 0 || s.HeadDim%2 != 0 || s.KVHeads < 1 || s.Heads%s.KVHeads != 0 || s.Vocabulary < firstFree {
		return fmt.Errorf("no model has the shape %+v", s)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	data, err := createWeights(filepath.Join(dir, dataName), o.Sparse)
	if err != nil {
		return err
	}
	b := &builder{Shape: s, Options: o, data: data}
	b.build()
	if err := data.close(); err != nil {
		return err
	}
	model := b.graph.ModelAt(8, 17)
	if o.Fused || o.Precision == Int4 {
		model = model.Embed(8, onnxtest.Message{}.Text(1, "com.microsoft").Int(2, 1))
	}
	files := textFiles(s)
	files["model.onnx"] = string(model)
	for name, content := range files {
		path := filepath.Join(dir, name)
		err = errors.Join(err, os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o600))
	}
	return err
}

// The tokenizer knows each byte, and the tokens that end and pad a text.
const (
	endOfText = 256
	firstFree = endOfText + 1
)

// textFiles are the files beside the model, by name.
func textFiles(s Shape) map[string]string {
	encode := func(v any) string {
		b, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			panic(err) // these are plain values
		}
		return string(b) + "\n"
	}
	type object map[string]any
	module := func(i int, path, class string) object {
		return object{"idx": i, "name": fmt.Sprint(i), "path": path, "type": "sentence_transformers.models." + class}
	}
	return map[string]string{
		"config.json": encode(object{
			"architectures": []string{"Qwen3Model"}, "model_type": "qwen3", "hidden_size": s.Hidden, "num_hidden_layers": s.Layers,
			"num_attention_heads": s.Heads, "num_key_value_heads": s.KVHeads, "head_dim": s.HeadDim, "intermediate_size": s.Intermediate,
			"vocab_size": s.Vocabulary, "max_position_embeddings": s.Positions, "rms_norm_eps": epsilon, "rope_theta": theta,
			"pad_token_id": endOfText, "eos_token_id": endOfText,
		}),
		"tokenizer.json":            tokenizer(),
		"tokenizer_config.json":     encode(object{"tokenizer_class": "Qwen2Tokenizer", "model_max_length": s.Positions, "pad_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}),
		"modules.json":              encode([]object{module(0, "", "Transformer"), module(1, "1_Pooling", "Pooling"), module(2, "2_Normalize", "Normalize")}),
		"1_Pooling/config.json":     encode(object{"word_embedding_dimension": s.Hidden, "pooling_mode_lasttoken": true, "include_prompt": true}),
		"sentence_bert_config.json": encode(object{"max_seq_length": s.Positions, "do_lower_case": false}),
		"config_sentence_transformers.json": encode(object{
			"prompts":             map[string]string{"query": "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:", "document": ""},
			"default_prompt_name": nil, "similarity_fn_name": "cosine",
		}),
	}
}

// tokenizer is a byte-level tokenizer.json without merges: each byte is a token.
func tokenizer() string {
	vocabulary := map[string]int{}
	next := 256
	for i := range 256 {
		r := rune(i)
		// The bytes that are no visible characters of Latin-1 stand further up, as in GPT-2.
		if i < '!' || i > '~' && i < '¡' || i == 0xad {
			r = rune(next)
			next++
		}
		vocabulary[string(r)] = i
	}
	type object map[string]any
	byteLevel := object{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": true}
	end := object{"SpecialToken": object{"id": "<|endoftext|>", "type_id": 0}}
	sequence := func(id string) object { return object{"Sequence": object{"id": id, "type_id": 0}} }
	text, err := json.Marshal(object{
		"version": "1.0", "truncation": nil, "padding": nil, "normalizer": nil,
		"added_tokens":  []object{{"id": endOfText, "content": "<|endoftext|>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}},
		"pre_tokenizer": byteLevel, "decoder": byteLevel,
		"post_processor": object{
			"type": "TemplateProcessing", "single": []object{sequence("A"), end}, "pair": []object{sequence("A"), end, sequence("B"), end},
			"special_tokens": object{"<|endoftext|>": object{"id": "<|endoftext|>", "ids": []int{endOfText}, "tokens": []string{"<|endoftext|>"}}},
		},
		"model": object{"type": "BPE", "dropout": nil, "unk_token": nil, "continuing_subword_prefix": "", "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false, "vocab": vocabulary, "merges": []string{}},
	})
	if err != nil {
		panic(err) // these are plain values
	}
	return string(text)
}
