package bundle

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"

	"github.com/distinfer/distinfer/runtime/tensor"
)

// check fails unless a manifest, which may be anybody's, is within all bounds and its stages fit
// together.
func (m *Manifest) check() error {
	if len(m.Stages) == 0 {
		return errors.New("the manifest names no stage")
	}
	if len(m.Stages) > maxStages {
		return fmt.Errorf("the manifest names %d stages, more than %d", len(m.Stages), maxStages)
	}
	if n := len(m.Model.Name); n > maxName {
		return fmt.Errorf("the name of the model has %d bytes, more than %d", n, maxName)
	}
	if m.Rows != nil {
		if err := m.Rows.check(); err != nil {
			return err
		}
	}
	for _, r := range m.Rewritten {
		if err := r.check(); err != nil {
			return err
		}
	}
	seen := map[string]bool{ManifestName: true}
	for _, f := range m.files() {
		if err := f.check(); err != nil {
			return err
		}
		if seen[f.Name] {
			return fmt.Errorf("file %q is named twice", f.Name)
		}
		seen[f.Name] = true
	}
	if err := checkSpecs("the model", m.Inputs, m.Outputs); err != nil {
		return err
	}
	if err := m.Limits.Validate(); err != nil {
		return fmt.Errorf("limits: %w", err)
	}
	for name, size := range m.Reference {
		if len(name) > maxName || size < 0 || size > maxReference {
			return fmt.Errorf("the reference size of dimension %.100q is %d; it can be 0 to %d", name, size, maxReference)
		}
	}
	for rank, s := range m.Stages {
		if err := s.check(fmt.Sprintf("stage %d", rank)); err != nil {
			return err
		}
	}
	return m.fits()
}

func (r Rewriting) check() error {
	switch {
	case len(r.Position) > maxName:
		return fmt.Errorf("the position of what was left out has a name of %d bytes, more than %d", len(r.Position), maxName)
	case r.Nodes < 0 || r.Products < 0:
		return errors.New("a count of what was left out is negative")
	}
	return nil
}

func (f File) check() error {
	switch {
	case !plainName.MatchString(f.Name) || filepath.Base(f.Name) != f.Name:
		return fmt.Errorf("%.200q is not a plain file name", f.Name)
	case !hexHash.MatchString(f.SHA256):
		return fmt.Errorf("the sha256 of %s is not 64 hexadecimal digits", f.Name)
	case f.Bytes < 0:
		return fmt.Errorf("the size of %s is negative", f.Name)
	}
	return nil
}

// check checks a stage by itself; what says which one it is.
func (s *Stage) check(what string) error {
	switch {
	// ONNX Runtime goes by the name: one that ends in .ort has another format, in
	// which nothing here could find external data.
	case filepath.Ext(s.Name) != ".onnx":
		return fmt.Errorf("the file of %s is %q, which does not end in .onnx", what, s.Name)
	case s.Bytes > math.MaxInt32:
		return fmt.Errorf("%s has %d bytes, more than an ONNX file can have", s.Name, s.Bytes)
	case s.Nodes < 0 || s.Parameters < 0 || s.ParameterBytes < 0 || s.LoadedBytes < 0 || s.BytesIn < 0 || s.BytesOut < 0 || s.Cost < 0:
		return fmt.Errorf("a count of %s is negative", what)
	}
	for _, name := range s.Forward {
		if len(name) > maxName {
			return fmt.Errorf("%s forwards a value whose name has %d bytes, more than %d", what, len(name), maxName)
		}
	}
	if err := s.Activations.Check(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return checkSpecs(what, s.Inputs, s.Outputs)
}

// checkSpecs checks the inputs and outputs of a stage or of the whole model.
func checkSpecs(what string, lists ...[]tensor.Spec) error {
	for _, list := range lists {
		for _, spec := range list {
			switch {
			case len(spec.Name) > maxName:
				return fmt.Errorf("a value of %s has a name of %d bytes, more than %d", what, len(spec.Name), maxName)
			case len(spec.Dims) > tensor.MaxRank:
				return fmt.Errorf("%q of %s has %d dimensions, more than %d", spec.Name, what, len(spec.Dims), tensor.MaxRank)
			case spec.AnyRank && len(spec.Dims) > 0:
				return fmt.Errorf("%q of %s has dimensions and no known number of them", spec.Name, what)
			}
			for _, d := range spec.Dims {
				if len(d.Name) > maxName {
					return fmt.Errorf("a dimension of %q of %s has a name of %d bytes, more than %d", spec.Name, what, len(d.Name), maxName)
				}
			}
		}
	}
	return nil
}

// fits fails unless each stage gets what it takes and passes on from the one before.
func (m *Manifest) fits() error {
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
