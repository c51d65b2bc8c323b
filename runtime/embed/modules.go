package embed

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/strictjson"
)

// modules are what the files of sentence-transformers say.
type modules struct {
	pooling       []string // of poolings; the vectors one after the other
	assumed       bool     // no file says how to pool
	normalized    bool
	length        int // most tokens of a text; 0 when no file says
	lower         bool
	prompts       map[string]string
	defaultPrompt string
}

// A reader reads a file of a bundle. It fails with bundle.ErrNoFile when there is no
// file of that name.
type reader func(name string) ([]byte, error)

// modules reads the files of sentence-transformers, as far as there are any. A model that
// pools by itself has done what modules.json lists.
func (read reader) modules(pooled bool) (modules, error) {
	m := modules{}
	var sentence struct {
		Length int  `json:"max_seq_length"`
		Lower  bool `json:"do_lower_case"`
	}
	var prompts struct {
		Prompts map[string]string `json:"prompts"`
		Default *string           `json:"default_prompt_name"`
	}
	err := errors.Join(read.optional(bundle.SentenceConfigName, &sentence), read.optional(bundle.PromptsName, &prompts))
	if err != nil {
		return m, err
	}
	if sentence.Length < 0 {
		return m, fmt.Errorf("%s: max_seq_length is %d", bundle.SentenceConfigName, sentence.Length)
	}
	m.length, m.lower, m.prompts = sentence.Length, sentence.Lower, prompts.Prompts
	if prompts.Default != nil {
		m.defaultPrompt = *prompts.Default
		if _, ok := m.prompts[m.defaultPrompt]; !ok {
			return m, fmt.Errorf("%s: default_prompt_name is %q, which is not among the prompts", bundle.PromptsName, m.defaultPrompt)
		}
	}
	if pooled {
		return m, nil
	}
	var list []struct {
		Path string `json:"path"`
		Type string `json:"type"`
	}
	if err := read.optional(bundle.ModulesName, &list); err != nil {
		return m, err
	}
	if list == nil {
		m.pooling, m.assumed = []string{"mean"}, true // what sentence-transformers assumes
		return m, nil
	}
	for i, module := range list {
		kind := module.Type[strings.LastIndexByte(module.Type, '.')+1:]
		switch {
		case kind == "Transformer" && i == 0:
		case kind == "Pooling" && m.pooling == nil:
			if err := m.readPooling(read, module.Path); err != nil {
				return m, err
			}
		case kind == "Normalize" && i == len(list)-1:
			m.normalized = true
		default:
			return m, fmt.Errorf("%s: module %d is %s (%s), which is not supported there; what is supported is a Transformer, a Pooling and then at most a Normalize. Export the model with these modules in it, so that it has an output sentence_embedding",
				bundle.ModulesName, i, kind, module.Path)
		}
	}
	if m.pooling == nil {
		return m, fmt.Errorf("%s: there is no module Pooling", bundle.ModulesName)
	}
	return m, nil
}

// older are the keys of poolings before there was pooling_mode, in the order in which
// vectors follow each other.
var older = []struct{ key, pooling string }{
	{"pooling_mode_cls_token", "cls"},
	{"pooling_mode_max_tokens", "max"},
	{"pooling_mode_mean_tokens", "mean"},
	{"pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens"},
	{"pooling_mode_weightedmean_tokens", "weightedmean"},
	{"pooling_mode_lasttoken", "lasttoken"},
}

// readPooling reads the configuration of the Pooling module in a folder.
func (m *modules) readPooling(read reader, folder string) error {
	name := bundle.ModuleConfigName(folder)
	var fields map[string]json.RawMessage
	err := read.optional(name, &fields)
	if err == nil && fields == nil {
		err = fmt.Errorf("%s/config.json is missing, which says how to pool; put it beside the model and split it again", folder)
	}
	if err != nil {
		return err
	}
	if raw, ok := fields["pooling_mode"]; ok {
		var one string
		switch {
		case json.Unmarshal(raw, &one) == nil:
			m.pooling = []string{one}
		case json.Unmarshal(raw, &m.pooling) != nil || len(m.pooling) == 0:
			return fmt.Errorf("%s: pooling_mode is neither a name nor a list of names", name)
		}
	} else {
		for _, o := range older {
			if string(fields[o.key]) == "true" {
				m.pooling = append(m.pooling, o.pooling)
			}
		}
		if m.pooling == nil {
			m.pooling = []string{"mean"}
		}
	}
	for i, p := range m.pooling {
		if slices.Contains(m.pooling[:i], p) {
			return fmt.Errorf("%s: pooling %q is there twice", name, p)
		}
		if poolings[p] == nil {
			return fmt.Errorf("%s: pooling %q is not supported (supported: %s)", name, p, strings.Join(slices.Sorted(maps.Keys(poolings)), ", "))
		}
	}
	if string(fields["include_prompt"]) == "false" && len(m.prompts) > 0 {
		return fmt.Errorf("%s: include_prompt is false, which is not supported for a model with prompts", name)
	}
	return nil
}

// optional reads a JSON file into v, if there is one.
func (read reader) optional(name string, v any) error {
	data, err := read(name)
	if errors.Is(err, bundle.ErrNoFile) {
		return nil
	}
	var file strictjson.Value
	if err == nil {
		file, err = strictjson.PythonFile(bytes.NewReader(data))
	}
	if err == nil {
		err = json.Unmarshal(file.Raw(), v)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
