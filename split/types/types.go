// Package types asks an engine.Engine for the types and shapes of all values of a graph. The graph is
// written without its weights and with every value as an output, at several sizes of its inputs.
//
// It does not know what the answers are for: neither costs nor stages.
package types

import (
	"crypto/sha256"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/engine"
	"github.com/distinfer/distinfer/split/graph"
	"github.com/distinfer/distinfer/split/onnxfile"
)

// ReferenceBatch and referenceOthers are the sizes at which costs are estimated,
// unless told otherwise: one item of a batch, and of everything else (tokens, for
// a text model) the first number that the model takes; one with few positions
// does not take many.
const ReferenceBatch = 1

func referenceOthers() []int64 { return []int64{128, 64, 32, 16, 8, 4, 2, 1, 256, 512} }

// maxReference bounds the sizes that costs can be estimated at.
const maxReference = 1 << 20

// References are the sizes to estimate costs at, in order of preference.
func References(g *graph.Graph, given map[string]int64) ([]tensor.Sizes, error) {
	names, leading := graph.DimNames(g.Inputs)
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
				sizes[n] = ReferenceBatch
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

// Infer asks the engine for the types of all values, and for their shapes at
// the first of the reference sizes that the model takes, which it returns. Which
// dimension of a value follows which dimension of the inputs is found by asking
// again, at other sets of sizes.
func Infer(g *graph.Graph, e engine.Engine, data *onnxfile.DataFolder, references []tensor.Sizes) (*Values, tensor.Sizes, error) {
	q, err := NewInference(g, e, data)
	if err != nil {
		return nil, nil, err
	}
	defer q.Close()
	names, _ := graph.DimNames(g.Inputs)
	// The probes do not depend on the reference.
	var at map[string]tensor.Spec
	var reference tensor.Sizes
	var found probed
	var work errgroup.Group
	work.Go(func() (err error) {
		at, reference, err = q.firstAccepted(references)
		return err
	})
	work.Go(func() error {
		found = q.probe(names)
		return nil
	})
	if err := work.Wait(); err != nil {
		return nil, nil, err
	}

	v := NewValues(g)
	v.Points = append([]Point{{reference, at}}, found.points...)
	for _, spec := range g.Inputs {
		v.Specs[spec.Name] = spec
		if shape, ok := spec.Resolve(reference); ok {
			v.Add(spec, shape)
		}
	}
	for _, t := range g.Model.Graph.Initializers {
		spec := specOf(t)
		v.Specs[t.Name] = spec
		v.Add(spec, t.Dims)
	}
	for name, spec := range at {
		if g.Producer[name] < 0 {
			continue
		}
		if shape, ok := spec.Resolve(nil); ok {
			v.Add(spec, shape)
		}
		spec.Dims = found.follow(spec, names, reference)
		v.Specs[name] = spec
	}
	return v, reference, nil
}

func specOf(t onnxfile.Initializer) tensor.Spec {
	spec := tensor.Spec{Name: t.Name, DType: t.DType}
	for _, n := range t.Dims {
		spec.Dims = append(spec.Dims, tensor.Fixed(n))
	}
	return spec
}

// An Inference asks the engine for types and shapes, a slice of the nodes at a
// time: the time it takes for one question grows with the square of the values.
// Deep models repeat themselves: what is the same question but for the names is
// asked once.
type Inference struct {
	g      *graph.Graph
	engine engine.Engine
	small  map[string][]byte // external data of initializers that stay
	data   *onnxfile.DataFolder
	dir    string

	mutex    sync.Mutex
	answered map[[sha256.Size]byte][]tensor.Spec // by question, in the order of the outputs
}

// sliceNodes is how many nodes one question to the engine is about: as many as
// ordinary models have, and few enough that its time does not matter. It has many
// divisors, so that slices of models that repeat themselves are soon the same.
const sliceNodes = 720

// skeletonIR is the newest IR version that a skeleton has: one that every supported
// release of ONNX Runtime reads. What later ones added does not change types, so
// that a model may be newer than the runtime.
const skeletonIR = 10

// NewInference makes an Inference; Close removes what it wrote.
func NewInference(g *graph.Graph, e engine.Engine, data *onnxfile.DataFolder) (*Inference, error) {
	small, err := smallExternal(g, data)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "distinfer-skeleton-")
	if err != nil {
		return nil, fmt.Errorf("make a temporary folder: %w; choose another place with TMPDIR", err)
	}
	return &Inference{g: g, engine: e, small: small, data: data, dir: dir, answered: map[[sha256.Size]byte][]tensor.Spec{}}, nil
}

// firstAccepted asks at one set of sizes after the other, and at last without
// sizes, until the model is accepted. The error is that of the first.
func (q *Inference) firstAccepted(references []tensor.Sizes) (at map[string]tensor.Spec, reference tensor.Sizes, err error) {
	for _, sizes := range append(slices.Clone(references), tensor.Sizes{}) {
		at, errAt := q.at(sizes, true)
		if errAt == nil {
			return at, sizes, nil
		}
		if err == nil {
			err = errAt
		}
	}
	return nil, nil, err
}

// at asks for the types of all values at the given sizes of the inputs'
// dimensions. Unless ranks is set, values of unknown rank may be reported as
// scalars.
func (q *Inference) at(sizes tensor.Sizes, ranks bool) (map[string]tensor.Spec, error) {
	specs := q.inputsAt(sizes)
	// What one slice leaves open is an input of the next.
	ranks = ranks || len(q.g.Nodes) > sliceNodes
	for start := 0; start < len(q.g.Nodes); start += sliceNodes {
		if err := q.slice(start, min(start+sliceNodes, len(q.g.Nodes)), specs, ranks); err != nil {
			return nil, err
		}
	}
	return specs, nil
}

// inputsAt are the types of the inputs at the given sizes.
func (q *Inference) inputsAt(sizes tensor.Sizes) map[string]tensor.Spec {
	specs := make(map[string]tensor.Spec, len(q.g.Producer))
	for _, spec := range q.g.Inputs {
		if shape, ok := spec.Resolve(sizes); ok {
			spec.Dims = make([]tensor.Dim, len(shape))
			for i, n := range shape {
				spec.Dims[i] = tensor.Fixed(n)
			}
		}
		specs[spec.Name] = spec
	}
	return specs
}

// slice adds the types of what the nodes from start up to end make.
func (q *Inference) slice(start, end int, specs map[string]tensor.Spec, ranks bool) error {
	skeleton := q.skeleton(start, end, specs)
	answers, err := q.types(skeleton)
	if err != nil {
		return fmt.Errorf("ONNX Runtime does not accept the model: %w", err)
	}
	var unsure []string
	for _, spec := range answers {
		if ranks && len(spec.Dims) == 0 && spec.DType != tensor.Undefined {
			if spec.DType > tensor.BFloat16 { // no release has Shape for all of these
				spec.AnyRank = true
			} else {
				unsure = append(unsure, spec.Name)
			}
		}
		specs[spec.Name] = spec
	}
	return q.settleRanks(skeleton, unsure, specs)
}

// settleRanks tells scalars from values of unknown rank, which the engine
// reports alike: the shape of a scalar has no elements, that of a value of
// unknown rank an unknown number of them.
func (q *Inference) settleRanks(skeleton onnxfile.Subgraph, unsure []string, specs map[string]tensor.Spec) error {
	if len(unsure) == 0 {
		return nil
	}
	for _, name := range unsure {
		skeleton.Added = append(skeleton.Added, onnxfile.AddedNode{OpType: "Shape", Inputs: []string{name}, Outputs: []string{name + rankSuffix}})
		skeleton.Outputs = append(skeleton.Outputs, onnxfile.Declare(tensor.Spec{Name: name + rankSuffix}))
	}
	shapes, err := q.types(skeleton)
	if err != nil {
		return fmt.Errorf("ask for ranks: %w", err)
	}
	for _, shape := range shapes[len(shapes)-len(unsure):] {
		name := strings.TrimSuffix(shape.Name, rankSuffix)
		spec := specs[name]
		spec.AnyRank = len(shape.Dims) != 1 || !shape.Dims[0].IsFixed() || shape.Dims[0].Size != 0
		specs[name] = spec
	}
	return nil
}

// Accepts reports whether the operators of the first nodes accept inputs of some sizes.
func (q *Inference) Accepts(sizes tensor.Sizes, nodes int) bool {
	return q.slice(0, min(len(q.g.Nodes), nodes), q.inputsAt(sizes), false) == nil
}

// Close removes the temporary files.
func (q *Inference) Close() { _ = os.RemoveAll(q.dir) }
