// Package bundle is a split model on disk: a folder with one plain ONNX file a
// stage, the text files that belong to the model, and a manifest that says how
// they fit together and what each must hash to.
//
// It knows files and hashes. It must not know how a model is cut, what runs it,
// or how stages talk. A bundle is untrusted input: names are contained in the
// folder, sizes are bounded, hashes are checked before use.
package bundle

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/distinfer/distinfer/runtime/memory"
	"github.com/distinfer/distinfer/runtime/strictjson"
	"github.com/distinfer/distinfer/runtime/tensor"
)

// Format is the version of the manifest that this package writes and reads. It rises when a field
// changes its meaning. A new optional field does not need that: programs that do not know it refuse
// manifests with it, and accept manifests without.
const Format = 1

// ManifestName is the manifest's file name in the bundle's folder.
const ManifestName = "manifest.json"

// The files beside a model that say how it reads texts, in the layout that
// `optimum-cli export onnx` writes.
const (
	TokenizerName       = "tokenizer.json"
	ConfigName          = "config.json"
	TokenizerConfigName = "tokenizer_config.json"
	SpecialTokensName   = "special_tokens_map.json"
)

// The files of sentence-transformers beside a model: what it is made of, how texts come
// to it, and what may be put before them.
const (
	ModulesName        = "modules.json"
	SentenceConfigName = "sentence_bert_config.json"
	PromptsName        = "config_sentence_transformers.json"
)

// WeightsName and OldWeightsName are files of the weights of a module that modules.json lists.
const (
	WeightsName    = "model.safetensors"
	OldWeightsName = "pytorch_model.bin"
)

// ModuleConfigName is the name in a bundle of the config.json in the folder of a module that
// modules.json lists.
func ModuleConfigName(folder string) string { return ModuleFileName(folder, ConfigName) }

// ModuleFileName is the name in a bundle, which has no folders, of a file in the folder of a
// module: 2_Dense.model.safetensors. What a plain name cannot have is escaped, so that every folder
// has a name of its own.
func ModuleFileName(folder, file string) string {
	var b strings.Builder
	for i, c := range []byte(path.Clean(folder)) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if i == 0 && !letter {
			b.WriteByte('m')
		}
		if letter || i > 0 && (c == '.' || c == '_') {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "-%02x", c)
		}
	}
	return b.String() + "." + file
}

// A Manifest describes a bundle.
type Manifest struct {
	Format  int           `json:"format"`
	Model   Model         `json:"model"`
	Inputs  []tensor.Spec `json:"inputs"`  // of the whole model
	Outputs []tensor.Spec `json:"outputs"` // of the whole model
	// Limits are what the model's own tables allow of the inputs, as far as it is known.
	Limits *tensor.Limits `json:"limits,omitempty"`
	// Reference are the sizes of the named dimensions at which the stages' costs and bytes were
	// estimated.
	Reference tensor.Sizes `json:"reference"`
	Stages    []Stage      `json:"stages"` // in rank order
	// Rewritten says what the stages do not compute that the model's file does; their answers are the
	// same but for rounding.
	Rewritten []Rewriting `json:"rewritten,omitempty"`
	// Files are the other files of the bundle, such as the tokenizer.
	Files []File `json:"files,omitempty"`
	// Rows says which texts may be computed together. It is nil for a model that reads no texts,
	// and in older bundles: then none may.
	Rows *Rows `json:"rows,omitempty"`
}

// A Model says where a bundle comes from.
type Model struct {
	Name      string  `json:"name"`
	SHA256    string  `json:"sha256"` // of the model file, in hexadecimal
	Bytes     int64   `json:"bytes"`
	IRVersion int64   `json:"ir_version"`
	Opsets    []Opset `json:"opsets"`
	Producer  string  `json:"producer,omitempty"`
}

// A Rewriting is something that was left out of a model's graph.
type Rewriting struct {
	// Position is the only position of a text that some nodes compute: a number, from the end where it
	// is negative, or the name of the value that has one for each text.
	Position string `json:"position"`
	Nodes    int    `json:"nodes"`    // that compute this position only
	Products int    `json:"products"` // products of matrices among them
}

// An Opset is a version of a domain's operators that the model relies on.
type Opset struct {
	Domain  string `json:"domain"`
	Version int64  `json:"version"`
}

// A File is a file of a bundle.
type File struct {
	Name   string `json:"file"` // in the bundle's folder, never a path
	SHA256 string `json:"sha256"`
	Bytes  int64  `json:"bytes"`
}

// A Stage is one part of the model.
type Stage struct {
	File
	// Data is the file of external data that the stage's weights are in, or nil
	// when they are in the stage's own file.
	Data *File `json:"data,omitempty"`

	Inputs  []tensor.Spec `json:"inputs"`
	Outputs []tensor.Spec `json:"outputs"`
	// Forward are the values that the stage passes on without computing with them: a later stage or
	// the caller needs them.
	Forward []string `json:"forward,omitempty"`

	Nodes          int   `json:"nodes"`
	Parameters     int64 `json:"parameters"`
	ParameterBytes int64 `json:"parameter_bytes"` // as stored
	// LoadedBytes is what the weights take in memory where that is not what they take as they are
	// stored: half precision is computed as float32 on a processor. See Loaded.
	LoadedBytes int64   `json:"loaded_bytes,omitempty"`
	Cost        float64 `json:"cost"`      // share of the whole model's time, 0 to 1
	BytesIn     int64   `json:"bytes_in"`  // received in one run at the reference sizes
	BytesOut    int64   `json:"bytes_out"` // sent in one run at the reference sizes

	// Activations is the memory of a run beside weights, in bytes by the sizes of the inputs'
	// dimensions. It is empty when it is not known.
	Activations memory.Estimate `json:"activations,omitempty"`
}

// Loaded is what the weights take in memory once they are loaded, in bytes.
func (s Stage) Loaded() int64 {
	if s.LoadedBytes > 0 {
		return s.LoadedBytes
	}
	return s.ParameterBytes
}

var (
	plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)
	hexHash   = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// What a manifest may hold. Objects and values are counted before it is read: two
// bytes of an empty object become the several hundred of a Stage.
const (
	maxObjects   = 1 << 17
	maxValues    = 1 << 20
	maxStages    = 1024
	maxName      = 4096    // bytes of the name of a tensor, a dimension or the model, and of a reason
	maxReference = 1 << 20 // the size of a dimension
)

// countable fails when JSON holds more than a manifest may. A comma or a bracket
// stands before each value; those in strings are not counted.
func countable(b []byte) error {
	s := strictjson.Measure(b)
	if s.Objects > maxObjects || s.Values > maxValues {
		return fmt.Errorf("it holds %d objects and %d values, more than %d and %d", s.Objects, s.Values, maxObjects, maxValues)
	}
	return nil
}

// Decode reads a manifest and checks that it is whole and consistent. Unknown fields are refused:
// they come from a newer version, to which they mean something.
func Decode(b []byte) (*Manifest, error) {
	var version struct {
		Format int `json:"format"`
	}
	if err := strictjson.Unmarshal(b, &version); err != nil {
		return nil, fmt.Errorf("not a manifest: %w", err)
	}
	if version.Format != Format {
		return nil, fmt.Errorf("manifest format %d is not known to this version of distinfer, which reads format %d", version.Format, Format)
	}
	if err := countable(b); err != nil {
		return nil, fmt.Errorf("not a manifest: %w", err)
	}
	m := &Manifest{}
	if err := strictjson.UnmarshalKnown(b, m); err != nil {
		return nil, fmt.Errorf("not a valid manifest: %w%s", err, remedy(err))
	}
	return m, m.check()
}

// remedy says what to do about a manifest that holds what this version does not know.
func remedy(err error) string {
	if unknown := (*strictjson.UnknownFieldError)(nil); errors.As(err, &unknown) {
		return "; another version of distinfer made it: use that, or split the model again with this one"
	}
	return ""
}

// Encode writes the manifest. The same manifest gives the same bytes.
func (m *Manifest) Encode() ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	b, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return nil, err
	}
	if err := countable(b); err != nil {
		return nil, err
	}
	return append(b, '\n'), nil
}

// StageFiles are the files that a machine needs for the stage of the given rank,
// besides the manifest.
func (m *Manifest) StageFiles(rank int) ([]File, error) {
	if rank < 0 || rank >= len(m.Stages) {
		return nil, fmt.Errorf("the bundle has %d stages: there is no rank %d (ranks are 0 to %d)", len(m.Stages), rank, len(m.Stages)-1)
	}
	s := m.Stages[rank]
	list := []File{s.File}
	if s.Data != nil {
		list = append(list, *s.Data)
	}
	return list, nil
}

// Spare are the values that a stage sends on for the caller alone: outputs of the model that no
// later stage needs.
func (m *Manifest) Spare(rank int) (names []string) {
	s := m.Stages[rank]
	for _, name := range slices.Concat(tensor.Names(s.Outputs), s.Forward) {
		_, output := tensor.Find(m.Outputs, name)
		needed := slices.ContainsFunc(m.Stages[rank+1:], func(later Stage) bool {
			_, is := tensor.Find(later.Inputs, name)
			return is
		})
		if output && !needed {
			names = append(names, name)
		}
	}
	return names
}

// files are all files of the bundle but the manifest itself.
func (m *Manifest) files() []File {
	list := slices.Clone(m.Files)
	for _, s := range m.Stages {
		list = append(list, s.File)
		if s.Data != nil {
			list = append(list, *s.Data)
		}
	}
	return list
}
