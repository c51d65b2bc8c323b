// Package bundle is a split model on disk: a folder with one plain ONNX file a
// stage, the text files that belong to the model, and a manifest that says how
// they fit together and what each must hash to.
//
// It knows files and hashes. It must not know how a model is cut, what runs it,
// or how stages talk. A bundle is untrusted input: names are contained in the
// folder, sizes are bounded, hashes are checked before use.
package bundle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/distinfer/distinfer/runtime/tensor"
)

// maxObjects bounds what a manifest may hold, since a short text may describe a
// long list: "{}" is two bytes there, and hundreds in memory.
const maxObjects = 1 << 20

// Format is the version of the manifest that this package writes and reads.
const Format = 1

// ManifestName is the manifest's file name in the bundle's folder.
const ManifestName = "manifest.json"

// The files beside a model that a text classifier needs, in the layout that
// `optimum-cli export onnx` writes.
const (
	TokenizerName = "tokenizer.json"
	ConfigName    = "config.json"
)

// A Manifest describes a bundle.
type Manifest struct {
	Format  int           `json:"format"`
	Model   Model         `json:"model"`
	Inputs  []tensor.Spec `json:"inputs"`  // of the whole model
	Outputs []tensor.Spec `json:"outputs"` // of the whole model
	// Reference are the sizes of the named dimensions that the stages' costs
	// and bytes were reckoned at.
	Reference tensor.Sizes `json:"reference"`
	Stages    []Stage      `json:"stages"` // in rank order
	// Files are the other files of the bundle, such as the tokenizer.
	Files []File `json:"files,omitempty"`
}

// A Model tells where a bundle comes from.
type Model struct {
	Name      string  `json:"name"`
	SHA256    string  `json:"sha256"` // of the model file, in hexadecimal
	Bytes     int64   `json:"bytes"`
	IRVersion int64   `json:"ir_version"`
	Opsets    []Opset `json:"opsets"`
	Producer  string  `json:"producer,omitempty"`
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
	// Forward are the values that the stage does not compute with but passes
	// on, since a later stage or the caller needs them.
	Forward []string `json:"forward,omitempty"`

	Nodes          int     `json:"nodes"`
	Parameters     int64   `json:"parameters"`
	ParameterBytes int64   `json:"parameter_bytes"` // as stored
	Cost           float64 `json:"cost"`            // share of the whole model's time, 0 to 1
	BytesIn        int64   `json:"bytes_in"`        // received in one run at the reference sizes
	BytesOut       int64   `json:"bytes_out"`       // sent in one run at the reference sizes
}

var (
	plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)
	hexHash   = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// Decode reads a manifest and checks that it is whole and consistent. Fields it
// does not know are refused: they come from a newer version, which means
// something by them.
func Decode(b []byte) (*Manifest, error) {
	if n := bytes.Count(b, []byte("{")); n > maxObjects {
		return nil, fmt.Errorf("not a manifest: it has %d objects, at most %d are read", n, maxObjects)
	}
	var version struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(b, &version); err != nil {
		return nil, fmt.Errorf("not a manifest: %w", err)
	}
	if version.Format != Format {
		return nil, fmt.Errorf("manifest format %d is not known to this version of distinfer, which reads format %d", version.Format, Format)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	m := &Manifest{}
	if err := d.Decode(m); err != nil {
		return nil, fmt.Errorf("not a valid manifest: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("not a valid manifest: something follows the JSON object")
	}
	return m, m.check()
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

func (m *Manifest) check() error {
	if len(m.Stages) == 0 {
		return errors.New("the manifest names no stage")
	}
	seen := map[string]bool{ManifestName: true}
	file := func(f File) error {
		switch {
		case !plainName.MatchString(f.Name) || filepath.Base(f.Name) != f.Name:
			return fmt.Errorf("%q is not a plain file name", f.Name)
		case seen[f.Name]:
			return fmt.Errorf("file %q is named twice", f.Name)
		case !hexHash.MatchString(f.SHA256):
			return fmt.Errorf("the sha256 of %s is not 64 hexadecimal digits", f.Name)
		case f.Bytes < 0:
			return fmt.Errorf("the size of %s is negative", f.Name)
		}
		seen[f.Name] = true
		return nil
	}
	for _, f := range m.files() {
		if err := file(f); err != nil {
			return err
		}
	}
	// What is there before each stage must be what it takes and passes on.
	there := map[string]bool{}
	for _, s := range m.Inputs {
		there[s.Name] = true
	}
	for rank, s := range m.Stages {
		next := map[string]bool{}
		for _, in := range s.Inputs {
			if !there[in.Name] {
				return fmt.Errorf("stage %d needs %q, which the stage before it does not send", rank, in.Name)
			}
		}
		for _, name := range s.Forward {
			if !there[name] {
				return fmt.Errorf("stage %d forwards %q, which the stage before it does not send", rank, name)
			}
			next[name] = true
		}
		for _, out := range s.Outputs {
			next[out.Name] = true
		}
		there = next
	}
	for _, out := range m.Outputs {
		if !there[out.Name] {
			return fmt.Errorf("the model's output %q is not among what the last stage sends", out.Name)
		}
	}
	return nil
}
