// Package types asks an engine.Engine for the types and shapes of all values of a graph. The graph is
// written without its weights and with every value as an output, at several sizes of its inputs.
//
// It does not know what the answers are for: neither costs nor stages.
package types

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/engine"
	"github.com/distinfer/distinfer/split/graph"
	"github.com/distinfer/distinfer/split/onnxfile"
)

// The largest numbers of elements of initializers that stay in a skeleton. Shapes
// depend on the values of integers (shapes, axes, indices), and of a few floats (the
// scales of a Resize, the limits of a Range).
const (
	smallInitializer = 512
	smallFloats      = 32
)

// Values are what is known of every value of a graph.
type Values struct {
	Specs  map[string]tensor.Spec
	Sizes  map[string]int64 // bytes at the reference shape; 0 when unknown
	Shapes map[string][]int64

	Dims   []string // the names of the inputs' dimensions
	Points []Point  // what was answered at several sizes, the reference first

	g *graph.Graph
}

// keptWhole reports whether an initializer stays in a skeleton.
func keptWhole(t onnxfile.Initializer) bool {
	switch t.DType {
	case tensor.Float32, tensor.Float64, tensor.Float16, tensor.BFloat16:
		return t.Elements() <= smallFloats
	case tensor.String:
		return true
	}
	return t.Elements() <= smallInitializer || !t.DType.Known()
}

// smallExternal reads the data of the initializers that stay in a skeleton and
// have it in another file.
func smallExternal(g *graph.Graph, from *onnxfile.DataFolder) (map[string][]byte, error) {
	small := map[string][]byte{}
	for _, t := range g.Model.Graph.Initializers {
		if t.External == nil {
			continue
		}
		r, err := from.Data(t)
		if err != nil {
			return nil, err
		}
		if !keptWhole(t) {
			continue // it is there, and large enough
		}
		if small[t.Name], err = io.ReadAll(r); err != nil {
			return nil, fmt.Errorf("read external data of initializer %q: %w", t.Name, err)
		}
	}
	return small, nil
}

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

// probed is what was found at other sizes than the reference.
type probed struct {
	points []Point // at two sets of sizes, or none when the model does not take them
	// symbolic is what is known without sizes. It is nil when that is not needed to
	// tell which dimensions are fixed, since one of the sets has large sizes.
	symbolic map[string]tensor.Spec
	declared map[string]tensor.Spec // what the model itself says
}

// A Point is the specs of all values at some sizes of the inputs' dimensions.
type Point struct {
	Sizes tensor.Sizes
	Specs map[string]tensor.Spec
}

// probe asks at two sets of sizes, small ones and large ones if the model takes
// them: a dimension may stay the same over many sizes (behind a convolution with a
// stride), or stop to follow another (at a limit on positions).
func (q *Inference) probe(names []string) probed {
	if len(names) == 0 {
		return probed{} // all is fixed
	}
	ask := func(p *probed, sizes tensor.Sizes) bool {
		specs, err := q.at(sizes, false)
		if err == nil {
			p.points = append(p.points, Point{sizes, specs})
		}
		return err == nil
	}
	p := probed{declared: map[string]tensor.Spec{}}
	for _, list := range [][]onnxfile.ValueInfo{q.g.Model.Graph.Values, q.g.Model.Graph.Outputs} {
		for _, v := range list {
			p.declared[v.Spec.Name] = v.Spec
		}
	}
	small, next := probes(names, 1)
	if ask(&p, small) {
		if ask(&p, largeProbe(names)) {
			return p
		}
		ask(&p, next)
	} else {
		small, next = probes(names, 16)
		if ask(&p, small) {
			ask(&p, next)
		}
	}
	if len(p.points) < 2 {
		p.points = nil
	}
	var err error
	if p.symbolic, err = q.at(nil, false); err != nil {
		p.symbolic = map[string]tensor.Spec{}
	}
	return p
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

// rankSuffix makes the name of the shape of a value.
const rankSuffix = "/rank of it"

// A skeleton is a part of the graph without its weights: every large initializer
// is a typed input instead, and every value is an output without a type. ONNX
// Runtime infers the types and shapes of all values from it in milliseconds,
// however large the model is.
//
// What the nodes need of those before them are typed inputs, too, but constants
// and cheap values, on whose contents shapes may depend, are made again, and so is
// what cannot be an input since it is no tensor.
func (q *Inference) skeleton(start, end int, specs map[string]tensor.Spec) onnxfile.Subgraph {
	g := q.g
	s := onnxfile.Subgraph{Inline: q.small, Data: "skeleton.data", IRVersion: min(g.Model.IRVersion, skeletonIR)}
	again := map[int]bool{}
	declared := map[string]bool{}
	var weights []int
	// Making values again is bounded: a model can be nothing but cheap nodes.
	budget := sliceNodes
	var need func(name string)
	need = func(name string) {
		p := g.Producer[name]
		if p >= start || p >= 0 && again[p] || declared[name] {
			return
		}
		if p >= 0 && (specs[name].DType == tensor.Undefined || g.Roles[p] != graph.Anchored && budget > 0) {
			again[p] = true
			budget--
			for _, dep := range g.Deps[p] {
				need(dep)
			}
			return
		}
		declared[name] = true
		if p == graph.FromInitializer {
			i := g.Initializer[name]
			if t := g.Model.Graph.Initializers[i]; keptWhole(t) {
				weights = append(weights, i)
			} else {
				s.Inputs = append(s.Inputs, onnxfile.Declare(specOf(t)))
			}
			return
		}
		s.Inputs = append(s.Inputs, onnxfile.Declare(specs[name]))
	}
	for i := start; i < end; i++ {
		for _, dep := range g.Deps[i] {
			need(dep)
		}
	}
	slices.Sort(weights)
	s.Initializers = weights
	s.Nodes = slices.Sorted(maps.Keys(again))
	for i := start; i < end; i++ {
		s.Nodes = append(s.Nodes, i)
		for _, name := range g.Nodes[i].Outputs {
			if name != "" {
				s.Outputs = append(s.Outputs, onnxfile.Declare(tensor.Spec{Name: name}))
			}
		}
	}
	return s
}

// question identifies a skeleton but for the names in it: each stands for the place
// where it first occurs.
func (q *Inference) question(s onnxfile.Subgraph) [sha256.Size]byte {
	places := map[string]int{}
	var text []byte
	name := func(n string) {
		place, known := places[n]
		if !known {
			place = len(places)
			places[n] = place
		}
		text = binary.AppendVarint(text, int64(place))
	}
	list := func(names []string) {
		text = binary.AppendVarint(text, int64(len(names)))
		for _, n := range names {
			name(n)
		}
	}
	value := func(v onnxfile.ValueInfo) {
		spec := v.Spec
		spec.Name = ""
		text = append(append(text, spec.String()...), 0)
	}
	name("") // an input that is left out is always the first
	graph := &q.g.Model.Graph
	for _, v := range s.Inputs {
		name(v.Spec.Name)
		value(v)
	}
	for _, i := range s.Initializers {
		t := &graph.Initializers[i]
		name(t.Name)
		text = t.AppendContent(text)
		text = append(text, s.Inline[t.Name]...)
	}
	add := func(inputs, captures, outputs []string) {
		list(inputs)
		list(captures)
		list(outputs)
	}
	for _, i := range s.Nodes {
		n := &graph.Nodes[i]
		text = n.AppendKind(text)
		add(n.Inputs, n.Captures, n.Outputs)
		for _, out := range n.Outputs {
			for _, v := range graph.ValuesOf(out) {
				value(v)
			}
		}
	}
	for _, n := range s.Added {
		text = append(append(text, n.OpType...), 0)
		add(n.Inputs, nil, n.Outputs)
	}
	for _, v := range s.Outputs {
		name(v.Spec.Name)
	}
	return sha256.Sum256(text)
}

// types asks for the types of a skeleton's outputs.
func (q *Inference) types(skeleton onnxfile.Subgraph) ([]tensor.Spec, error) {
	question := q.question(skeleton)
	q.mutex.Lock()
	answer, known := q.answered[question]
	q.mutex.Unlock()
	if !known {
		byName, err := q.ask(skeleton)
		if err != nil {
			return nil, err
		}
		for _, out := range skeleton.Outputs {
			answer = append(answer, byName[out.Spec.Name])
		}
		q.mutex.Lock()
		q.answered[question] = answer
		q.mutex.Unlock()
	}
	named := slices.Clone(answer)
	for i, out := range skeleton.Outputs {
		named[i].Name = out.Spec.Name
	}
	return named, nil
}

// ask writes a skeleton and has the engine read it.
func (q *Inference) ask(skeleton onnxfile.Subgraph) (map[string]tensor.Spec, error) {
	part, err := q.g.Model.Part(skeleton)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(q.dir, "")
	if err != nil {
		return nil, fmt.Errorf("write to the temporary folder: %w; choose another with TMPDIR", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "skeleton.onnx")
	if err := part.WriteTemp(path, skeleton.Data, q.data); err != nil {
		return nil, err
	}
	specs, err := q.engine.Types(path)
	if err != nil {
		return nil, err
	}
	byName := make(map[string]tensor.Spec, len(specs))
	for _, s := range specs {
		byName[s.Name] = s
	}
	for _, out := range skeleton.Outputs {
		if _, ok := byName[out.Spec.Name]; !ok {
			return nil, fmt.Errorf("it says nothing of value %q", out.Spec.Name)
		}
	}
	return byName, nil
}

// NewValues makes Values of a graph of which nothing is known.
func NewValues(g *graph.Graph) *Values {
	names, _ := graph.DimNames(g.Inputs)
	return &Values{Specs: map[string]tensor.Spec{}, Sizes: map[string]int64{}, Shapes: map[string][]int64{}, Dims: names, g: g}
}

// Add notes the shape of a value at the reference.
func (v *Values) Add(spec tensor.Spec, shape []int64) {
	v.Shapes[spec.Name] = shape
	if n, err := tensor.Elements(shape); err == nil {
		v.Sizes[spec.Name] = max(spec.DType.Bytes(n), 0)
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

// largeProbe are sizes that no layer of a model is likely to have, all different.
func largeProbe(names []string) tensor.Sizes {
	sizes := tensor.Sizes{}
	prime := int64(1000)
	for _, name := range names {
		prime = nextPrime(prime)
		sizes[name] = prime
	}
	return sizes
}

// follow tells, from what a value's dimensions were at the reference and at other
// sizes, which of them are fixed and which follow a dimension of the inputs.
// Everything else is unknown.
func (p probed) follow(at tensor.Spec, names []string, reference tensor.Sizes) []tensor.Dim {
	if len(names) == 0 {
		return at.Dims
	}
	dims := make([]tensor.Dim, len(at.Dims))
	for i, d := range at.Dims {
		if fixed := p.fixed(at.Name, i, d); fixed {
			dims[i] = d
			continue
		}
		for _, n := range names {
			if d.IsFixed() && d.Size == reference[n] && p.follows(at.Name, i, n) {
				dims[i] = tensor.Named(n)
			}
		}
	}
	return dims
}

// fixed reports whether dimension i of a value is d whatever the inputs' sizes are.
func (p probed) fixed(name string, i int, d tensor.Dim) bool {
	if !d.IsFixed() {
		return false
	}
	for _, a := range p.points {
		if dims := a.Specs[name].Dims; i >= len(dims) || dims[i] != d {
			return false
		}
	}
	if p.symbolic == nil {
		return true
	}
	for _, known := range []map[string]tensor.Spec{p.symbolic, p.declared} {
		if dims := known[name].Dims; i < len(dims) && dims[i] == d {
			return true
		}
	}
	return false
}

// follows reports whether dimension i of a value was that of the given name at all
// sizes that were asked.
func (p probed) follows(name string, i int, dim string) bool {
	for _, a := range p.points {
		if dims := a.Specs[name].Dims; i >= len(dims) || dims[i] != tensor.Fixed(a.Sizes[dim]) {
			return false
		}
	}
	return len(p.points) > 0
}

// Accepts reports whether the operators of the first nodes accept inputs of some sizes.
func (q *Inference) Accepts(sizes tensor.Sizes, nodes int) bool {
	return q.slice(0, min(len(q.g.Nodes), nodes), q.inputsAt(sizes), false) == nil
}

// Close removes the temporary files.
func (q *Inference) Close() { _ = os.RemoveAll(q.dir) }

// List is the specs of some values.
func (v *Values) List(names []string) []tensor.Spec {
	specs := make([]tensor.Spec, len(names))
	for i, name := range names {
		specs[i] = v.Specs[name]
	}
	return specs
}

// Bytes is the size of some values at the reference shape.
func (v *Values) Bytes(names []string) int64 {
	var sum int64
	for _, name := range names {
		sum += v.Sizes[name]
	}
	return sum
}

// Subgraph is a part of the graph, by the indices of its nodes and initializers and the names of
// its inputs and outputs.
func (v *Values) Subgraph(nodes, weights []int, inputs, outputs []string) onnxfile.Subgraph {
	s := onnxfile.Subgraph{Nodes: nodes, Initializers: weights}
	for _, name := range inputs {
		s.Inputs = append(s.Inputs, v.Info(name))
	}
	// Initializers that callers of the whole model may override stay so.
	for _, i := range weights {
		if info, ok := v.g.Declared[v.g.Model.Graph.Initializers[i].Name]; ok {
			s.Inputs = append(s.Inputs, info)
		}
	}
	for _, name := range outputs {
		s.Outputs = append(s.Outputs, v.Info(name))
	}
	return s
}

// Info is what the model declares of an input or output, or else what was inferred.
func (v *Values) Info(name string) onnxfile.ValueInfo {
	if info, ok := v.g.Declared[name]; ok {
		return info
	}
	return onnxfile.Declare(v.Specs[name])
}
