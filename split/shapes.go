package split

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/onnxfile"
)

// smallInitializer is the largest number of elements of an initializer that
// stays in a skeleton: shapes depend on the values of small ones.
const smallInitializer = 512

// Values are what is known of every value of a graph.
type values struct {
	specs map[string]tensor.Spec
	sizes map[string]int64 // bytes at the reference shape; 0 when unknown
	shape map[string][]int64
}

// A skeleton is the graph without its weights: every large initializer is a
// typed input instead, and every value is an output without a type. ONNX
// Runtime infers the types and shapes of all values from it in milliseconds,
// however large the model is.
func (g *graph) skeleton(sizes tensor.Sizes, small map[string][]byte) onnxfile.Subgraph {
	s := onnxfile.Subgraph{Inline: small}
	for i := range g.nodes {
		s.Nodes = append(s.Nodes, i)
	}
	for i, t := range g.model.Graph.Initializers {
		if t.Elements() <= smallInitializer || t.DType == tensor.String {
			s.Initializers = append(s.Initializers, i)
			continue
		}
		spec := tensor.Spec{Name: t.Name, DType: t.DType}
		for _, n := range t.Dims {
			spec.Dims = append(spec.Dims, tensor.Fixed(n))
		}
		s.Inputs = append(s.Inputs, onnxfile.Declare(spec))
	}
	for _, spec := range g.inputSpecs() {
		if shape, ok := spec.Resolve(sizes); ok {
			for i, n := range shape {
				spec.Dims[i] = tensor.Fixed(n)
			}
		}
		s.Inputs = append(s.Inputs, onnxfile.Declare(spec))
	}
	for _, n := range g.nodes {
		for _, name := range n.Outputs {
			if name != "" {
				s.Outputs = append(s.Outputs, onnxfile.Declare(tensor.Spec{Name: name}))
			}
		}
	}
	return s
}

// smallExternal reads the data of the initializers that stay in a skeleton and
// have it in another file.
func (g *graph) smallExternal(from *onnxfile.DataFolder) (map[string][]byte, error) {
	small := map[string][]byte{}
	for _, t := range g.model.Graph.Initializers {
		if t.External == nil {
			continue
		}
		r, err := from.Data(t)
		if err != nil {
			return nil, err
		}
		if t.Elements() > smallInitializer {
			continue // it is there, and large enough
		}
		if small[t.Name], err = io.ReadAll(r); err != nil {
			return nil, fmt.Errorf("read external data of initializer %q: %w", t.Name, err)
		}
	}
	return small, nil
}

// inputSpecs are the specs of the inputs a caller has to give. A dimension that
// the model leaves unknown gets a name of its own.
func (g *graph) inputSpecs() []tensor.Spec {
	var specs []tensor.Spec
	for _, v := range g.model.Graph.Inputs {
		if !slices.Contains(g.inputs, v.Spec.Name) {
			continue
		}
		spec := v.Spec
		spec.Dims = slices.Clone(spec.Dims)
		for i, d := range spec.Dims {
			if !d.IsFixed() && d.Name == "" {
				spec.Dims[i] = tensor.Named(fmt.Sprintf("%s.%d", spec.Name, i))
			}
		}
		specs = append(specs, spec)
	}
	return specs
}

// dimNames are the names of the inputs' dimensions, in order of appearance;
// leading[name] is set where the name is the first dimension of an input.
func dimNames(specs []tensor.Spec) (names []string, leading map[string]bool) {
	leading = map[string]bool{}
	for _, s := range specs {
		for i, d := range s.Dims {
			if d.Name == "" {
				continue
			}
			if !slices.Contains(names, d.Name) {
				names = append(names, d.Name)
			}
			leading[d.Name] = leading[d.Name] || i == 0
		}
	}
	return names, leading
}

// referenceBatch and referenceOthers are the sizes at which costs are reckoned,
// unless told otherwise: one item of a batch, and of everything else (tokens, for
// a text model) the first number that the model takes; one with few positions
// does not take many.
const referenceBatch = 1

func referenceOthers() []int64 { return []int64{128, 64, 32, 16, 8, 4, 2, 1, 256, 512} }

// maxReference bounds the sizes that costs can be reckoned at.
const maxReference = 1 << 20

// references are the sizes to reckon costs at, in order of preference.
func (g *graph) references(given map[string]int64) ([]tensor.Sizes, error) {
	names, leading := dimNames(g.inputSpecs())
	for n := range given {
		if !slices.Contains(names, n) {
			return nil, fmt.Errorf("the model has no dimension %q; it has %q", n, names)
		}
		if given[n] < 1 || given[n] > maxReference {
			return nil, fmt.Errorf("dimension %s cannot be %d; it can be 1 to %d", n, given[n], maxReference)
		}
	}
	var list []tensor.Sizes
	for _, other := range referenceOthers() {
		sizes, free := tensor.Sizes{}, false
		for _, n := range names {
			size, told := given[n]
			switch {
			case told:
				sizes[n] = size
			case leading[n]:
				sizes[n] = referenceBatch
			default:
				sizes[n], free = other, true
			}
		}
		list = append(list, sizes)
		if !free {
			break
		}
	}
	return list, nil
}

// infer asks the engine for the types of all values, and for their shapes at
// the first of the reference sizes that the model takes, which it returns. Which
// dimension of a value follows which dimension of
// the inputs is found by asking twice more, at two other sets of sizes.
func (g *graph) infer(e Engine, data *onnxfile.DataFolder, references []tensor.Sizes) (*values, tensor.Sizes, error) {
	small, err := g.smallExternal(data)
	if err != nil {
		return nil, nil, err
	}
	dir, err := os.MkdirTemp("", "distinfer-skeleton-")
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	ask := func(sizes tensor.Sizes, ranksOf ...string) (map[string]tensor.Spec, error) {
		path := filepath.Join(dir, "skeleton.onnx")
		skeleton := g.skeleton(sizes, small)
		for _, name := range ranksOf {
			skeleton.Added = append(skeleton.Added, onnxfile.AddedNode{OpType: "Shape", Inputs: []string{name}, Outputs: []string{name + rankSuffix}})
			skeleton.Outputs = append(skeleton.Outputs, onnxfile.Declare(tensor.Spec{Name: name + rankSuffix}))
		}
		if err := writeModel(path, g.model, skeleton); err != nil {
			return nil, fmt.Errorf("write to the temporary folder: %w; choose another with TMPDIR", err)
		}
		specs, err := e.Types(path)
		if err != nil {
			return nil, fmt.Errorf("ONNX Runtime does not accept the model: %w", err)
		}
		byName := make(map[string]tensor.Spec, len(specs))
		for _, s := range specs {
			byName[s.Name] = s
		}
		return byName, nil
	}

	at, reference, err := firstAccepted(references, ask)
	if err != nil {
		return nil, nil, err
	}
	if err := settleRanks(at, func(names []string) (map[string]tensor.Spec, error) { return ask(reference, names...) }); err != nil {
		return nil, nil, err
	}
	names, _ := dimNames(g.inputSpecs())
	// Shapes stay unknown when the model takes neither small sizes nor larger ones.
	var one, two map[string]tensor.Spec
	var first, second tensor.Sizes
	for _, times := range []int64{1, 16} {
		first, second = probes(names, times)
		a, errA := ask(first)
		b, errB := ask(second)
		if errA == nil && errB == nil {
			one, two = a, b
			break
		}
	}

	v := &values{specs: map[string]tensor.Spec{}, sizes: map[string]int64{}, shape: map[string][]int64{}}
	for _, spec := range g.inputSpecs() {
		v.specs[spec.Name] = spec
		if shape, ok := spec.Resolve(reference); ok {
			v.note(spec, shape)
		}
	}
	for _, t := range g.model.Graph.Initializers {
		spec := tensor.Spec{Name: t.Name, DType: t.DType}
		for _, n := range t.Dims {
			spec.Dims = append(spec.Dims, tensor.Fixed(n))
		}
		v.specs[t.Name] = spec
		v.note(spec, t.Dims)
	}
	for name, spec := range at {
		if shape, ok := spec.Resolve(nil); ok {
			v.note(spec, shape)
		}
		spec.Dims = follow(spec.Dims, one[name].Dims, two[name].Dims, names, reference, first, second)
		v.specs[name] = spec
	}
	return v, reference, nil
}

// firstAccepted asks at one set of sizes after the other, and at last without
// sizes, until the model is accepted. The error is that of the first.
func firstAccepted(references []tensor.Sizes, ask func(tensor.Sizes, ...string) (map[string]tensor.Spec, error)) (at map[string]tensor.Spec, reference tensor.Sizes, err error) {
	for _, sizes := range append(slices.Clone(references), tensor.Sizes{}) {
		at, errAsk := ask(sizes)
		if errAsk == nil {
			return at, sizes, nil
		}
		if err == nil {
			err = errAsk
		}
	}
	return nil, nil, err
}

// rankSuffix makes the name of the shape of a value.
const rankSuffix = "/rank of it"

// settleRanks tells scalars from values of unknown rank, which the engine
// reports alike: the shape of a scalar has no elements, that of a value of
// unknown rank an unknown number of them.
func settleRanks(at map[string]tensor.Spec, ask func(names []string) (map[string]tensor.Spec, error)) error {
	var unsure []string
	for name, spec := range at {
		if spec.DType != tensor.Undefined && len(spec.Dims) == 0 {
			unsure = append(unsure, name)
		}
	}
	if len(unsure) == 0 {
		return nil
	}
	slices.Sort(unsure)
	shapes, err := ask(unsure)
	if err != nil {
		return err
	}
	for _, name := range unsure {
		spec := at[name]
		shape := shapes[name+rankSuffix].Dims
		spec.AnyRank = len(shape) != 1 || !shape[0].IsFixed() || shape[0].Size != 0
		at[name] = spec
	}
	return nil
}

func (v *values) note(spec tensor.Spec, shape []int64) {
	v.shape[spec.Name] = shape
	if n, err := tensor.Elements(shape); err == nil {
		v.sizes[spec.Name] = max(spec.DType.Bytes(n), 0)
	}
}

// probes are two sets of sizes, multiples of times: dimension k is the k-th prime
// in the first and the one after it in the second, so that no two dimensions have
// the same pair of sizes, and none is large.
func probes(names []string, times int64) (first, second tensor.Sizes) {
	first, second = tensor.Sizes{}, tensor.Sizes{}
	prime := int64(2)
	for _, name := range names {
		first[name] = prime * times
		prime = nextPrime(prime)
		second[name] = prime * times
	}
	return first, second
}

func nextPrime(n int64) int64 {
	for {
		n++
		composite := false
		for d := int64(2); d*d <= n && !composite; d++ {
			composite = n%d == 0
		}
		if !composite {
			return n
		}
	}
}

// follow tells, from what a value's dimensions were at three sets of sizes, which
// of them are fixed and which follow a dimension of the inputs. Everything else
// is unknown.
func follow(at, one, two []tensor.Dim, names []string, reference, first, second tensor.Sizes) []tensor.Dim {
	dims := make([]tensor.Dim, len(at))
	if len(one) != len(at) || len(two) != len(at) {
		return dims
	}
	for i := range at {
		if !at[i].IsFixed() || !one[i].IsFixed() || !two[i].IsFixed() {
			continue
		}
		if one[i].Size == two[i].Size {
			if at[i].Size == one[i].Size {
				dims[i] = at[i]
			}
			continue
		}
		for _, n := range names {
			if at[i].Size == reference[n] && one[i].Size == first[n] && two[i].Size == second[n] {
				dims[i] = tensor.Named(n)
			}
		}
	}
	return dims
}

// writeModel writes a subgraph to a file.
func writeModel(path string, m *onnxfile.Model, s onnxfile.Subgraph) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() {
		if errClose := f.Close(); err == nil {
			err = errClose
		}
	}()
	w := bufio.NewWriterSize(f, 1<<20)
	if err := m.Write(w, s); err != nil {
		return err
	}
	return w.Flush()
}
