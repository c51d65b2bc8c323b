// Package inputs reads tensors that somebody saved: .npz archives of NumPy, .pb
// files of ONNX, and folders of ONNX test data.
//
// It knows the formats and which inputs a model has; not what is done with them.
// Every byte it reads is untrusted: what is allocated is in proportion to what is
// read, and bounded. NumPy's format is read by code of its own, since a library
// would have to know ONNX's 16-bit floats, NumPy's strings and a bound.
package inputs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/onnxfile"
)

// maxBytes bounds one file, and what is in it, in bytes.
const maxBytes = 2 << 30

// A Set is what a model is run on once.
type Set struct {
	Name string     // of the file or folder
	In   tensor.Bag // all inputs of the model
	Want tensor.Bag // what some of the outputs are expected to be
}

// Read reads files and folders, for a model of the given inputs and outputs:
//
//   - an .npz with an array for each input, under the input's name;
//   - .pb files, each a TensorProto that bears the name of an input; all that are
//     given make one set;
//   - a folder of ONNX test data: input_0.pb, … in the order of the model's
//     inputs, and output_0.pb, … as far as they are there; or a folder of such
//     folders, test_data_set_0, ….
func Read(paths []string, ins, outs []tensor.Spec) ([]Set, error) {
	var sets []Set
	single := Set{In: tensor.Bag{}}
	for _, path := range paths {
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("there is no file %s", path)
		case err != nil:
			return nil, err
		case info.IsDir():
			more, err := readFolder(path, ins, outs)
			if err != nil {
				return nil, err
			}
			sets = append(sets, more...)
		case strings.EqualFold(filepath.Ext(path), ".npz"):
			in, err := readNPZ(path, ins)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
			sets = append(sets, Set{Name: path, In: in})
		case strings.EqualFold(filepath.Ext(path), ".pb"):
			name, t, err := readPB(path)
			if err != nil {
				return nil, err
			}
			if _, twice := single.In[name]; twice {
				return nil, fmt.Errorf("%s: tensor %q was given by another file already; put the files of each run into a folder of its own, as input_0.pb, input_1.pb", path, name)
			}
			single.In[name] = t
			single.Name = strings.TrimPrefix(single.Name+", "+path, ", ")
		default:
			return nil, fmt.Errorf("%s is neither an .npz, a .pb nor a folder of them", path)
		}
	}
	if len(single.In) > 0 {
		sets = append(sets, single)
	}
	for _, s := range sets {
		if err := check(s, ins); err != nil {
			return nil, fmt.Errorf("%s: %w", s.Name, err)
		}
	}
	return sets, nil
}

// check fails unless a set has exactly the inputs of the model.
func check(s Set, ins []tensor.Spec) error {
	for _, name := range s.In.Names() {
		if _, ok := tensor.Find(ins, name); !ok {
			return unknown(name, ins)
		}
		if t := s.In[name]; t.DType == tensor.Bool && slices.ContainsFunc(t.Data, func(b byte) bool { return b > 1 }) {
			return fmt.Errorf("%q holds a bool that is neither true nor false", name)
		}
	}
	_, err := tensor.MatchAll(ins, s.In)
	return err
}

func unknown(name string, ins []tensor.Spec) error {
	return fmt.Errorf("the model has no input %q; it has %s", name, strings.Join(tensor.Names(ins), ", "))
}

func readFolder(dir string, ins, outs []tensor.Spec) ([]Set, error) {
	if _, err := os.Stat(filepath.Join(dir, "input_0.pb")); err == nil {
		set := Set{Name: dir}
		if set.In, err = readNumbered(dir, "input", ins); err != nil {
			return nil, err
		}
		set.Want, err = readNumbered(dir, "output", outs)
		return []Set{set}, err
	}
	folders, err := filepath.Glob(filepath.Join(escaped(dir), "test_data_set_*", "input_0.pb"))
	if err != nil {
		return nil, err
	}
	if len(folders) == 0 {
		return nil, fmt.Errorf("%s holds neither input_0.pb nor folders test_data_set_0, … with one", dir)
	}
	slices.Sort(folders)
	var sets []Set
	for _, f := range folders {
		more, err := readFolder(filepath.Dir(f), ins, outs)
		if err != nil {
			return nil, err
		}
		sets = append(sets, more...)
	}
	return sets, nil
}

// escaped is a folder's name as a pattern that matches it alone.
func escaped(dir string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir)
}

// readNumbered reads the tensors of a folder that are there, kind_i.pb being that
// of the i-th spec.
func readNumbered(dir, kind string, specs []tensor.Spec) (tensor.Bag, error) {
	bag := tensor.Bag{}
	for i, spec := range specs {
		path := filepath.Join(dir, fmt.Sprintf("%s_%d.pb", kind, i))
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		_, t, err := readPB(path)
		if err != nil {
			return nil, err
		}
		bag[spec.Name] = t
	}
	return bag, nil
}

func readPB(path string) (name string, t tensor.Tensor, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", t, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxBytes {
		return "", t, fmt.Errorf("%s is not a regular file of at most %d GB", path, maxBytes>>30)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", t, err
	}
	if name, t, err = onnxfile.ParseTensor(data); err != nil {
		return "", t, fmt.Errorf("%s is not a TensorProto that can be read: %w", path, err)
	}
	return name, t, nil
}
