// Package generate makes inputs that a model is likely to take, from what its operators take them
// for. A table says it for each input of an operator: places along an axis, lengths, shapes, …
//
// It knows the graph's operators, and nothing of cutting or comparing.
package generate

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/graph"
	"github.com/distinfer/distinfer/split/onnxfile"
)

// A sense is what an operator takes the values of one of its inputs for.
type sense uint8

const (
	placeOnAxis  sense = iota + 1 // places along the axis of the data (of any axis, without an attribute axis)
	lengthOnAxis                  // at least 1 and at most as long as the axis of the data
	smallCount                    // 1, 2 or 3
	zero                          // 0
	one                           // 1
	beyondAxes                    // more than any axis is long, or as much as a signal needs
	axisNumbers                   // 0, 1, 2, …
	unitAxes                      // axes of the data that are 1
	anyShape                      // -1, 1, 1, …, which any data can be given
	sameDims                      // the dimensions of the data, and 1 behind them
	lastDim                       // the last dimension of the data, and 1 behind it
	partsOfAxis                   // as many numbers that add up to the axis of the data
	aboveZero                     // above 0
)

// A use is one input of an operator: its sense, which other input of the operator
// is the data that bounds it, and the axis when there is no attribute axis.
type use struct {
	sense
	data int
	axis int64
}

// anyAxis is the axis of an operator that has none: the values have to suit all.
const anyAxis = math.MinInt64

// uses are the inputs, by operator and position, that do not take just any value.
var uses = map[string]map[int]use{
	"Gather":                    {1: {placeOnAxis, 0, 0}},
	"GatherElements":            {1: {placeOnAxis, 0, 0}},
	"GatherND":                  {1: {placeOnAxis, 0, anyAxis}},
	"Scatter":                   {1: {placeOnAxis, 0, 0}},
	"ScatterElements":           {1: {placeOnAxis, 0, 0}},
	"ScatterND":                 {1: {placeOnAxis, 0, anyAxis}},
	"TensorScatter":             {2: {zero, 0, 0}},
	"RoiAlign":                  {2: {placeOnAxis, 0, 0}},
	"MaxUnpool":                 {1: {placeOnAxis, 0, anyAxis}, 2: {sameDims, 0, 0}},
	"Attention":                 {6: {lengthOnAxis, 1, -2}},
	"RotaryEmbedding":           {3: {placeOnAxis, 1, 0}},
	"NegativeLogLikelihoodLoss": {1: {placeOnAxis, 0, 1}},
	"SoftmaxCrossEntropyLoss":   {1: {placeOnAxis, 0, 1}},
	"Reshape":                   {1: {anyShape, 0, 0}},
	"Expand":                    {1: {one, 0, 0}},
	"Tile":                      {1: {smallCount, 0, 0}},
	"ConstantOfShape":           {0: {smallCount, 0, 0}},
	"AffineGrid":                {1: {sameDims, 0, 0}},
	"CenterCropPad":             {1: {smallCount, 0, 0}},
	"Col2Im":                    {1: {lastDim, 0, 0}, 2: {one, 0, 0}},
	"Slice":                     {1: {zero, 0, 0}, 2: {beyondAxes, 0, 0}, 3: {axisNumbers, 0, 0}, 4: {one, 0, 0}},
	"Pad":                       {1: {zero, 0, 0}, 3: {axisNumbers, 0, 0}},
	"Resize":                    {1: {zero, 0, 0}, 2: {one, 0, 0}, 3: {sameDims, 0, 0}},
	"Upsample":                  {1: {one, 0, 0}},
	"Unsqueeze":                 {1: {axisNumbers, 0, 0}},
	"Squeeze":                   {1: {unitAxes, 0, 0}},
	"Split":                     {1: {partsOfAxis, 0, 0}},
	"SplitToSequence":           {1: {partsOfAxis, 0, 0}},
	"SequenceAt":                {1: {zero, 0, 0}},
	"TopK":                      {1: {one, 0, 0}},
	"OneHot":                    {1: {smallCount, 0, 0}},
	"Range":                     {0: {zero, 0, 0}, 1: {smallCount, 0, 0}, 2: {one, 0, 0}},
	"Trilu":                     {1: {zero, 0, 0}},
	"CumSum":                    {1: {zero, 0, 0}},
	"CumProd":                   {1: {zero, 0, 0}},
	"Loop":                      {0: {smallCount, 0, 0}},
	"RNN":                       {4: {lengthOnAxis, 0, 0}},
	"GRU":                       {4: {lengthOnAxis, 0, 0}},
	"LSTM":                      {4: {lengthOnAxis, 0, 0}},
	"ReverseSequence":           {1: {one, 0, 0}},
	"NonMaxSuppression":         {2: {smallCount, 0, 0}, 3: {aboveZero, 0, 0}, 4: {aboveZero, 0, 0}},
	"Dropout":                   {1: {aboveZero, 0, 0}},
	"BatchNormalization":        {4: {aboveZero, 0, 0}},
	"Bernoulli":                 {0: {aboveZero, 0, 0}},
	"Clip":                      {1: {zero, 0, 0}, 2: {smallCount, 0, 0}},
	"Div":                       {1: {aboveZero, 0, 0}}, // integers cannot be divided by 0
	"Mod":                       {1: {aboveZero, 0, 0}},
	"QuantizeLinear":            {1: {aboveZero, 0, 0}},
	"DequantizeLinear":          {1: {aboveZero, 0, 0}, 2: {zero, 0, 0}},
	"QLinearMatMul":             {1: {aboveZero, 0, 0}, 4: {aboveZero, 0, 0}, 6: {aboveZero, 0, 0}},
	"QLinearConv":               {1: {aboveZero, 0, 0}, 4: {aboveZero, 0, 0}, 6: {aboveZero, 0, 0}},
	"DFT":                       {1: {smallCount, 0, 0}, 2: {one, 0, 0}},
	"STFT":                      {1: {smallCount, 0, 0}, 3: {smallCount, 0, 0}},
	"HannWindow":                {0: {smallCount, 0, 0}},
	"HammingWindow":             {0: {smallCount, 0, 0}},
	"BlackmanWindow":            {0: {smallCount, 0, 0}},
	"MelWeightMatrix":           {0: {smallCount, 0, 0}, 1: {beyondAxes, 0, 0}, 2: {beyondAxes, 0, 0}, 3: {zero, 0, 0}, 4: {smallCount, 0, 0}},

	"com.microsoft.RotaryEmbedding":         {1: {placeOnAxis, 2, 0}},
	"com.microsoft.EmbedLayerNormalization": {0: {placeOnAxis, 2, 0}, 1: {placeOnAxis, 4, 0}, 8: {placeOnAxis, 3, 0}},
	"com.microsoft.GatherBlockQuantized":    {1: {placeOnAxis, 0, 0}},
}

// useOf looks up the k-th input of a node.
func useOf(n onnxfile.Node, k int) (use, bool) {
	op := n.OpType
	if n.Domain != "" && n.Domain != "ai.onnx" {
		op = n.Domain + "." + op
	} else if strings.HasPrefix(op, "Reduce") && k == 1 {
		return use{axisNumbers, 0, 0}, true
	}
	u, ok := uses[op][k]
	return u, ok
}

// PlacesIn reports whether a node takes the values of its k-th input for places along an axis of
// another input, the data.
func PlacesIn(n onnxfile.Node, k int) (data int, axis int64, ok bool) {
	u, ok := useOf(n, k)
	if !ok || u.sense != placeOnAxis {
		return 0, 0, false
	}
	return u.data, n.Int("axis", u.axis), true
}

// Operators whose result has the values of their first input, and those whose
// result has the values of any.
var (
	keepFirst = map[string]bool{
		"Cast": true, "CastLike": true, "Identity": true, "Reshape": true, "Unsqueeze": true, "Squeeze": true, "Flatten": true,
		"Transpose": true, "Slice": true, "Gather": true, "Expand": true, "Tile": true, "Split": true, "Pad": true, "Clip": true,
	}
	keepAll = map[string]bool{"Concat": true, "Where": true, "Max": true, "Min": true}
)

// A Generator makes inputs that a model is likely to take, from what its operators
// take them for. The same sizes and manner give the same inputs.
type Generator struct {
	Specs  []tensor.Spec // all values that inputs can be made for
	Random bool          // some operator may give another result every time

	inputs    []tensor.Spec // the model's
	reference tensor.Sizes
	weights   map[string][]int64 // dimensions
	uses      map[string][]usage // of a value, directly or through nodes that keep values
}

// A usage is a use by a node.
type usage struct {
	use
	data string // the name of the data
}

// New makes a Generator of what the graphs, which share the names of their values, do
// with the values.
func New(m *bundle.Manifest, graphs []*onnxfile.Graph) *Generator {
	g := &Generator{Specs: slices.Clone(m.Inputs), inputs: m.Inputs, reference: m.Reference, weights: map[string][]int64{}, uses: map[string][]usage{}}
	for _, s := range m.Stages {
		for _, spec := range slices.Concat(s.Inputs, s.Outputs) {
			if _, known := tensor.Find(g.Specs, spec.Name); !known {
				g.Specs = append(g.Specs, spec)
			}
		}
	}
	origins := map[string][]string{} // of a value: the values it holds the elements of
	for _, s := range g.Specs {
		origins[s.Name] = []string{s.Name}
	}
	for _, part := range graphs {
		for _, t := range part.Initializers {
			g.weights[t.Name] = t.Dims
		}
		for _, n := range part.Nodes {
			g.Random = g.Random || graph.Random(n.OpType) || n.Bodies > 0 || n.Domain != "" && n.Domain != "ai.onnx"
			g.note(n, origins)
		}
	}
	return g
}

func (g *Generator) note(n onnxfile.Node, origins map[string][]string) {
	var kept []string
	for k, name := range n.Inputs {
		if keepAll[n.OpType] || keepFirst[n.OpType] && k == 0 {
			kept = append(kept, origins[name]...)
		}
		u, ok := useOf(n, k)
		if !ok {
			continue
		}
		if u.axis != anyAxis {
			u.axis = n.Int("axis", u.axis)
		}
		used := usage{use: u}
		if u.data < len(n.Inputs) {
			used.data = n.Inputs[u.data]
		}
		for _, origin := range origins[name] {
			if !slices.Contains(g.uses[origin], used) {
				g.uses[origin] = append(g.uses[origin], used)
			}
		}
	}
	for _, out := range n.Outputs {
		for _, origin := range kept {
			if !slices.Contains(origins[out], origin) {
				origins[out] = append(origins[out], origin)
			}
		}
	}
}

// A Trial is one set of sizes.
type Trial struct {
	Sizes       tensor.Sizes
	Lead, Other int64 // of dimensions that have no name: the first of an input, and the others
	Late        bool  // to be tried only when the model accepts no other
	Empty       bool  // inputs without elements
}

// Trials are the sizes that inputs are generated at: single items, odd ones, and
// the sizes in between; large ones, as some models take only those, such as of
// images; those that the costs were estimated at; and none at all.
func (g *Generator) Trials() []Trial {
	names, leading := graph.DimNames(g.inputs)
	var list []Trial
	add := func(t Trial, except func(name string) bool) {
		t.Sizes = tensor.Sizes{}
		for _, n := range names {
			t.Sizes[n] = t.Other
			if leading[n] || except(n) {
				t.Sizes[n] = t.Lead
			}
		}
		addUp(t.Sizes)
		list = append(list, t)
	}
	nothing := func(string) bool { return false }
	for _, t := range []Trial{{Lead: 1, Other: 1}, {Lead: 2, Other: 7}, {Lead: 3, Other: 16}, {Lead: 1, Other: 33}, {Lead: 5, Other: 12}, {Lead: 2, Other: 64}} {
		add(t, nothing)
	}
	// Sound and images of usual sizes, to models that take nothing smaller; at last
	// with what is not of the first input (such as a state) as small as can be.
	others, _ := graph.DimNames(g.inputs[min(1, len(g.inputs)):])
	for _, except := range []func(string) bool{nothing, func(n string) bool { return slices.Contains(others, n) }} {
		for _, size := range []int64{224, 512, 576, 16000} {
			add(Trial{Lead: 1, Other: size, Late: true}, except)
		}
	}
	if len(names) == 0 && !anyRank(g.inputs) {
		return list[:2] // twice at the only size there is
	}
	if len(g.reference) > 0 {
		list = append(list, Trial{Sizes: g.reference, Lead: 1, Other: 4})
	}
	// A size of 0 in the file means that the size is not known; to some models it
	// means 0.
	empty := Trial{Sizes: tensor.Sizes{}, Lead: 1, Other: 1, Late: true, Empty: true}
	for _, n := range names {
		empty.Sizes[n] = 1
	}
	for _, s := range g.inputs {
		for i, d := range s.Dims {
			if d.Name == graph.UnnamedDim(s.Name, i) {
				empty.Sizes[d.Name] = 0
			}
		}
	}
	return append(list, empty)
}

func anyRank(specs []tensor.Spec) bool {
	return slices.ContainsFunc(specs, func(s tensor.Spec) bool { return s.AnyRank })
}

// addUp gives a dimension whose name is a sum of others, such as "past + 1", the
// size it then has.
func addUp(sizes tensor.Sizes) {
	for name := range sizes {
		terms := strings.Split(name, "+")
		var sum int64
		for _, term := range terms {
			term = strings.TrimSpace(term)
			n, ok := sizes[term]
			if !ok {
				if _, err := fmt.Sscanf(term, "%d", &n); err != nil {
					sum = -1
					break
				}
			}
			sum += n
		}
		if len(terms) > 1 && sum > 0 {
			sizes[name] = sum
		}
	}
}

// A Manner is how to make values that nothing is known of.
type Manner struct {
	integers func(r *rand.Rand, width int64) func(i int64) int64
	low      float64 // floats are between low and 1
	rank     int     // of inputs whose rank is not known
}

// Manners are to be tried in turn until the model accepts one.
func (g *Generator) Manners() []Manner {
	constant := func(n int64) func(*rand.Rand, int64) func(int64) int64 {
		return func(*rand.Rand, int64) func(int64) int64 { return func(int64) int64 { return n } }
	}
	small := func(r *rand.Rand, _ int64) func(int64) int64 {
		return func(int64) int64 { return 1 + r.Int64N(3) }
	}
	rising := func(*rand.Rand, int64) func(int64) int64 { return func(i int64) int64 { return i } }
	ranks := []int{2}
	if anyRank(g.inputs) {
		ranks = []int{2, 1, 3, 0, 4}
	}
	var list []Manner
	for _, rank := range ranks {
		list = append(list,
			Manner{mask, -1, rank}, Manner{mask, 0.05, rank}, Manner{small, -1, rank}, Manner{constant(0), 0.05, rank},
			Manner{constant(1), 0.05, rank}, Manner{rising, 0.05, rank}, Manner{small, 0.999, rank})
	}
	return list
}

// mask makes ones followed by zeros in every row, as in the mask of a padded batch.
func mask(r *rand.Rand, width int64) func(int64) int64 {
	ones := int64(0)
	return func(i int64) int64 {
		if i%width == 0 {
			ones = 1 + r.Int64N(width)
		}
		if i%width < ones {
			return 1
		}
		return 0
	}
}

// maxGenerated bounds the elements of a generated input, whose size the model
// file decides.
const maxGenerated = 1 << 26

// Make makes tensors for the given specs.
func (g *Generator) Make(specs []tensor.Spec, t Trial, m Manner, seed uint64) (tensor.Bag, error) {
	bag := tensor.Bag{}
	for i, spec := range specs {
		x, err := g.tensor(spec, t, m, rand.New(rand.NewPCG(seed, uint64(i))))
		if err != nil {
			return nil, fmt.Errorf("input %s: %w", spec, err)
		}
		bag[spec.Name] = x
	}
	return bag, nil
}

// shapeAt is the shape of a value at the sizes of a trial. What has no name takes
// the trial's sizes by its place.
func shapeAt(s tensor.Spec, t Trial, m Manner) []int64 {
	dims := s.Dims
	if s.AnyRank {
		dims = make([]tensor.Dim, m.rank)
	}
	shape := make([]int64, len(dims))
	for i, d := range dims {
		n, named := t.Sizes[d.Name]
		switch {
		case d.IsFixed():
			shape[i] = d.Size
		case named:
			shape[i] = n
		case i == 0:
			shape[i] = t.Lead
		default:
			shape[i] = t.Other
		}
	}
	return shape
}

func (g *Generator) tensor(spec tensor.Spec, t Trial, m Manner, r *rand.Rand) (tensor.Tensor, error) {
	shape := shapeAt(spec, t, m)
	n, err := tensor.Elements(shape)
	if err == nil && n > maxGenerated {
		err = fmt.Errorf("%d elements are more than are generated", n)
	}
	if err != nil {
		return tensor.Tensor{}, err
	}
	if spec.DType == tensor.String {
		x := tensor.Tensor{DType: spec.DType, Shape: shape}
		for range n {
			x.Strs = append(x.Strs, fmt.Sprintf("text %d", r.IntN(10)))
		}
		return x, nil
	}
	x, err := tensor.New(spec.DType, shape)
	if err != nil {
		return tensor.Tensor{}, err
	}
	width := int64(1)
	if len(shape) > 0 {
		width = max(shape[len(shape)-1], 1)
	}
	integer := m.integers(r, width)
	float := func(int64) float64 { return m.low + (1-m.low)*r.Float64() }
	if f := g.meant(spec.Name, n, t, m, r); f != nil {
		integer = f
		float = func(i int64) float64 { return float64(f(i)) }
	} else if g.has(spec.Name, aboveZero) {
		integer = func(int64) int64 { return 1 + r.Int64N(3) }
		float = func(int64) float64 { return 0.05 + 0.9*r.Float64() }
	}
	return x, Fill(x, integer, float)
}

func (g *Generator) has(name string, s sense) bool {
	return slices.ContainsFunc(g.uses[name], func(u usage) bool { return u.sense == s })
}

// dims are the dimensions of a value, if they are known.
func (g *Generator) dims(name string, t Trial, m Manner) []int64 {
	if dims, ok := g.weights[name]; ok {
		return dims
	}
	if spec, ok := tensor.Find(g.Specs, name); ok {
		return shapeAt(spec, t, m)
	}
	return nil
}

// meant makes the i-th of n values of an input that is used in a sense, or is nil.
// Of several uses the first counts, but of indices the one with the least bound.
func (g *Generator) meant(name string, n int64, t Trial, m Manner, r *rand.Rand) func(i int64) int64 {
	var first usage
	var dims []int64
	bound := int64(math.MaxInt64)
	for _, u := range g.uses[name] {
		if u.sense == aboveZero || first.sense == placeOnAxis && u.sense != placeOnAxis {
			continue
		}
		d := g.dims(u.data, t, m)
		switch {
		case u.sense == placeOnAxis:
			first, dims = u, d
			bound = min(bound, extent(d, u.axis, slices.Min(append([]int64{math.MaxInt64}, d...))))
		case first.sense == 0:
			first, dims = u, d
			bound = extent(d, u.axis, 1)
		}
	}
	at := func(list []int64) func(int64) int64 {
		return func(i int64) int64 {
			if i < int64(len(list)) {
				return list[i]
			}
			return 1
		}
	}
	switch first.sense {
	case placeOnAxis:
		if bound == math.MaxInt64 {
			return func(int64) int64 { return 0 } // the size of the table is not known
		}
		return func(int64) int64 { return r.Int64N(max(bound, 1)) }
	case lengthOnAxis:
		return func(int64) int64 { return 1 + r.Int64N(max(bound, 1)) }
	case smallCount:
		return func(int64) int64 { return 1 + r.Int64N(3) }
	case zero:
		return func(int64) int64 { return 0 }
	case one:
		return func(int64) int64 { return 1 }
	case beyondAxes:
		return func(int64) int64 { return 127 } // fits every type
	case axisNumbers:
		return func(i int64) int64 { return i }
	case unitAxes:
		var axes []int64
		for i, d := range dims {
			if d == 1 {
				axes = append(axes, int64(i))
			}
		}
		return at(axes)
	case anyShape:
		return at([]int64{-1})
	case sameDims:
		return at(dims)
	case lastDim:
		return at(dims[max(len(dims)-1, 0):])
	case partsOfAxis:
		return func(i int64) int64 { return bound/n + (i+1)/n*(bound%n) } // the last has the rest
	}
	return nil
}

// extent is the dimension of an axis, which counts from the end when it is
// negative.
func extent(dims []int64, axis, missing int64) int64 {
	if axis < 0 && axis != anyAxis {
		axis += int64(len(dims))
	}
	if axis < 0 || axis >= int64(len(dims)) {
		return missing
	}
	return dims[axis]
}

// Fill gives every element of a tensor a value.
func Fill(t tensor.Tensor, integer func(i int64) int64, float func(i int64) float64) error {
	switch t.DType {
	case tensor.Float32, tensor.Complex64:
		t.DType = tensor.Float32
		return fillWith(t, func(i int64) float32 { return float32(float(i)) })
	case tensor.Float64, tensor.Complex128:
		t.DType = tensor.Float64
		return fillWith(t, float)
	case tensor.Float16:
		t.DType = tensor.Uint16
		return fillWith(t, func(i int64) uint16 { return tensor.ToFloat16(float32(float(i))) })
	case tensor.BFloat16:
		t.DType = tensor.Uint16
		return fillWith(t, func(i int64) uint16 { return uint16(math.Float32bits(float32(float(i))) >> 16) })
	case tensor.Float8E4M3FN, tensor.Float8E4M3FNUZ, tensor.Float8E5M2, tensor.Float8E5M2FNUZ:
		return fillFloat8(t, float)
	case tensor.Int4, tensor.Uint4, tensor.Float4E2M1:
		t.DType = tensor.Uint8
		return fillWith(t, func(i int64) uint8 { return uint8(integer(2*i)&7 | integer(2*i+1)&7<<4) })
	case tensor.Int8:
		return fillWith(t, func(i int64) int8 { return int8(integer(i)) })
	case tensor.Int16:
		return fillWith(t, func(i int64) int16 { return int16(integer(i)) })
	case tensor.Int32:
		return fillWith(t, func(i int64) int32 { return int32(integer(i)) })
	case tensor.Int64:
		return fillWith(t, integer)
	case tensor.Uint8:
		return fillWith(t, func(i int64) uint8 { return uint8(integer(i)) })
	case tensor.Uint16:
		return fillWith(t, func(i int64) uint16 { return uint16(integer(i)) })
	case tensor.Uint32:
		return fillWith(t, func(i int64) uint32 { return uint32(integer(i)) })
	case tensor.Uint64:
		return fillWith(t, func(i int64) uint64 { return uint64(integer(i)) })
	case tensor.Bool:
		return fillWith(t, func(i int64) bool { return integer(i)&1 == 1 })
	}
	return fmt.Errorf("values of type %s cannot be generated", t.DType)
}

func fillWith[T tensor.Element](t tensor.Tensor, value func(i int64) T) error {
	data, err := tensor.As[T](t)
	for i := range data {
		data[i] = value(int64(i))
	}
	return err
}

// fillFloat8 gives every element the number of its type that is nearest.
func fillFloat8(t tensor.Tensor, float func(i int64) float64) error {
	var numbers []float64
	for bits := range 256 {
		numbers = append(numbers, tensor.FromFloat8(t.DType, uint8(bits)))
	}
	t.DType = tensor.Uint8
	return fillWith(t, func(i int64) uint8 {
		x, nearest := float(i), 0
		for bits, n := range numbers {
			if math.Abs(n-x) < math.Abs(numbers[nearest]-x) { // never for a NaN
				nearest = bits
			}
		}
		return uint8(nearest)
	})
}
