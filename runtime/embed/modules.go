package embed

import (
	"bytes"
	"cmp"
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
	sentence
	tokens     []layer  // of each token's vector, before the pooling
	pooling    []string // of poolings; the vectors one after the other
	layers     []layer  // behind the pooling
	assumed    bool     // no file says how to pool
	normalized bool     // at the end
	promptless bool     // tokens of the prompt are not pooled

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
	var err error
	if m.sentence, err = read.sentence(); err != nil {
		return m, err
	}
	if err := m.readPrompts(read, pooled); err != nil || pooled {
		return m, err
	}
	list, err := read.optional(bundle.ModulesName)
	if err != nil {
		return m, err
	}
	if list == nil {
		m.pooling, m.assumed = []string{"mean"}, true // what sentence-transformers assumes
		return m, nil
	}
	names := map[string]bool{}
	err = list.Each(func(i int, v strictjson.Value) error {
		o, err := v.Object()
		if err != nil {
			return err
		}
		if name, given := o.OptionalText("name"); given && o.Err() == nil {
			if names[name] {
				return fmt.Errorf("module %d: there is another of the name %.80q, in whose place sentence-transformers puts this one; give each a name of its own", i, name)
			}
			names[name] = true
		}
		path, _ := o.OptionalText("path")
		kind := o.Text("type")
		if o.Err() != nil {
			return o.Err()
		}
		if err := m.add(read, i, kind, path); err != nil {
			return fmt.Errorf("module %d (%s): %w", i, path, err)
		}
		return nil
	})
	switch {
	case err != nil:
		err = fmt.Errorf("%s: %w", bundle.ModulesName, err)
	case m.pooling == nil:
		err = fmt.Errorf("%s: there is no module Pooling", bundle.ModulesName)
	case m.normalized:
		m.layers = m.layers[:len(m.layers)-1]
	}
	return m, err
}

// library begins the types of sentence-transformers' own modules.
const library = "sentence_transformers."

// add takes note of a module.
func (m *modules) add(read reader, i int, class, folder string) error {
	kind := class[strings.LastIndexByte(class, '.')+1:]
	if !strings.HasPrefix(class, library) {
		return fmt.Errorf("its type %.200q is code that is not sentence-transformers' own, and is not run; export the model with its modules in it, so that it has an output sentence_embedding", class)
	}
	var err error
	switch {
	case kind == "Transformer" && i == 0, kind == "Dropout" && m.pooling != nil:
	case kind == "Pooling" && m.pooling == nil:
		return m.readPooling(read, folder)
	case kind == "Normalize":
		return m.addNormalize(read, folder)
	case kind == "Dense", kind == "LayerNorm" && m.pooling != nil:
		err = m.addLayer(read, kind, folder)
	default:
		return fmt.Errorf("%s is not supported there; what is supported is a Transformer, a Pooling, and then Dense, LayerNorm, Normalize and Dropout. Export the model with its modules in it, so that it has an output sentence_embedding", kind)
	}
	m.normalized = m.normalized && kind == "Dropout"
	return err
}

// The vectors that modules take and give, by sentence-transformers' names.
const (
	ofTexts  = "sentence_embedding"
	ofTokens = "token_embeddings"
)

// addNormalize takes note of the Normalize in a folder, which may have no file.
func (m *modules) addNormalize(read reader, folder string) error {
	config, err := read.moduleConfig(folder)
	if err != nil {
		return err
	}
	of, err := vectorsOf(config)
	switch {
	case err != nil:
		return err
	case of == ofTokens && m.pooling == nil:
		m.tokens = append(m.tokens, normalize)
	case of == ofTexts && m.pooling != nil:
		if m.normalized { // twice is once
			return nil
		}
		m.layers, m.normalized = append(m.layers, normalize), true
	}
	return nil // there are no such vectors, or nothing reads them any more
}

// addLayer takes note of a module with weights.
func (m *modules) addLayer(read reader, kind, folder string) error {
	config, err := read.moduleConfig(folder)
	if err != nil {
		return err
	}
	if config.Len() == 0 {
		return fmt.Errorf("%s/config.json is missing, which says what the %s does; put it beside the model and split it again", folder, kind)
	}
	of, err := vectorsOf(config)
	switch {
	case err != nil:
		return err
	case of == ofTokens && m.pooling != nil:
		return fmt.Errorf("%s of %s behind the Pooling is not supported", kind, ofTokens)
	case of == ofTexts && m.pooling == nil:
		return fmt.Errorf("%s of %s before the Pooling is not supported", kind, ofTexts)
	}
	load := read.dense
	if kind == "LayerNorm" {
		load = read.layerNorm
	}
	l, err := load(folder, config)
	if err != nil {
		return err
	}
	if m.pooling == nil {
		m.tokens = append(m.tokens, l)
	} else {
		m.layers = append(m.layers, l)
	}
	return nil
}

// vectorsOf reads which vectors a module changes.
func vectorsOf(config *strictjson.Object) (string, error) {
	in, given := config.OptionalText("module_input_name")
	if !given {
		in = ofTexts
	}
	out, given := config.OptionalText("module_output_name")
	switch {
	case config.Err() != nil:
		return "", config.Err()
	case in != ofTexts && in != ofTokens || given && out != in:
		return "", fmt.Errorf("config.json: module_input_name is %.80q and module_output_name %.80q; supported are %s and %s, the same for both", in, out, ofTexts, ofTokens)
	}
	return in, nil
}

// chain is how many numbers layers make of some; 0 is not known.
func chain(layers []layer, n int) (int, error) {
	for _, l := range layers {
		if l.in == 0 {
			continue
		}
		if n != 0 && n != l.in {
			return 0, fmt.Errorf("%s: a module takes vectors of %d numbers, and the one before gives %d", bundle.ModulesName, l.in, n)
		}
		n = l.out
	}
	return n, nil
}

// dimension is how many numbers an embedding has, of tokens' vectors of a width; 0 is not known.
func (m *modules) dimension(width int) (int, error) {
	width, err := chain(m.tokens, width)
	if err != nil {
		return 0, err
	}
	return chain(m.layers, width*len(m.pooling))
}

// readPrompts reads what may be put before texts. The prompts query and document there always are,
// as for encode_query and encode_document of sentence-transformers; without the file they are empty.
func (m *modules) readPrompts(read reader, pooled bool) error {
	m.prompts = map[string]string{"query": "", "document": ""}
	file, err := read.optional(bundle.PromptsName)
	if err != nil || file == nil {
		return err
	}
	o, err := file.Object()
	if err != nil {
		return fmt.Errorf("%s: %w", bundle.PromptsName, err)
	}
	if kind, given := o.OptionalText("model_type"); given && kind != "SentenceTransformer" && !pooled {
		o.Fail(fmt.Errorf("model_type is %.80q, whose answers are not embeddings as a SentenceTransformer makes them", kind))
	}
	if prompts, ok := o.Optional("prompts"); ok {
		o.Fail(m.addPrompts(prompts))
	}
	m.defaultPrompt, _ = o.OptionalText("default_prompt_name")
	if _, ok := m.prompts[m.defaultPrompt]; !ok && m.defaultPrompt != "" {
		o.Fail(fmt.Errorf("default_prompt_name is %q, which is not among the prompts", m.defaultPrompt))
	}
	if o.Err() != nil {
		return fmt.Errorf("%s: %w", bundle.PromptsName, o.Err())
	}
	return nil
}

func (m *modules) addPrompts(v strictjson.Value) error {
	o, err := v.Object()
	if err != nil {
		return err
	}
	for name, v := range o.Fields() {
		prompt := ""
		if !v.IsNull() {
			if prompt, err = v.Text(); err != nil {
				return err
			}
		}
		m.prompts[name] = prompt
	}
	return nil
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
	file, err := read.optional(bundle.ModuleConfigName(folder))
	switch {
	case err != nil:
		return err
	case file == nil:
		return fmt.Errorf("%s/config.json is missing, which says how to pool; put it beside the model and split it again", folder)
	}
	o, err := file.Object()
	if err == nil {
		m.promptless = !o.Flag("include_prompt", true)
		m.pooling, err = poolingModes(o)
		err = cmp.Or(err, o.Err())
	}
	if err != nil {
		return fmt.Errorf("%s/config.json: %w", folder, err)
	}
	return nil
}

// poolingModes reads how to pool: pooling_mode, or the older keys.
func poolingModes(o *strictjson.Object) (modes []string, err error) {
	v, ok := o.Optional("pooling_mode")
	switch {
	case ok && v.Kind() == '"':
		mode, err := v.Text()
		if err != nil {
			return nil, err
		}
		modes = []string{strings.ToLower(mode)}
	case ok:
		err := v.EachOf("a name or a list of names", func(_ int, v strictjson.Value) error {
			mode, err := v.Text()
			modes = append(modes, mode)
			return err
		})
		if err != nil {
			return nil, err
		}
		if len(modes) == 0 {
			return nil, v.Errorf("is empty")
		}
	default:
		for _, old := range older {
			if v, ok := o.Optional(old.key); ok && (v.Kind() == 't' || v.String() == "1") {
				modes = append(modes, old.pooling)
			}
		}
		if modes == nil {
			modes = []string{"mean"}
		}
	}
	for i, p := range modes {
		if slices.Contains(modes[:i], p) {
			return nil, fmt.Errorf("pooling %q is there twice", p)
		}
		if poolings[p] == nil {
			return nil, fmt.Errorf("pooling %q is not supported (supported: %s)", p, strings.Join(slices.Sorted(maps.Keys(poolings)), ", "))
		}
	}
	return modes, nil
}

// moduleConfig reads the configuration of the module in a folder. Without the file it is empty.
func (read reader) moduleConfig(folder string) (*strictjson.Object, error) {
	file, err := read.optional(bundle.ModuleConfigName(folder))
	if err != nil {
		return nil, err
	}
	if file == nil {
		return &strictjson.Object{}, nil
	}
	return file.Object()
}

// optional reads a JSON file; nil is that there is none.
func (read reader) optional(name string) (*strictjson.Value, error) {
	data, err := read(name)
	if errors.Is(err, bundle.ErrNoFile) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	file, err := strictjson.PythonFile(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &file, nil
}
