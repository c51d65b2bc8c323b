package rewrite

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/onnxfile/onnxtest"
)

const (
	f32   = int64(tensor.Float32)
	i64   = int64(tensor.Int64)
	width = 4
)

// A writer writes models of texts × positions × width.
type writer struct {
	onnxtest.Graph
	r     *rand.Rand
	names int
	mask  string // of texts × 1 × 1 × positions
}

func newWriter(seed uint64) *writer {
	w := &writer{r: rand.New(rand.NewPCG(seed, 7))}
	w.Input("ids", i64, "batch", "sequence")
	w.Floats("table", []int64{50, width}, w.numbers(50*width))
	w.Floats("places", []int64{1, 64, width}, w.numbers(64*width))
	w.Node("Not", []string{w.op("Cast", []string{"ids"}, onnxtest.IntAttr("to", 9))}, []string{"padding"})
	penalty := w.op("Mul", []string{w.op("Cast", []string{"padding"}, onnxtest.IntAttr("to", 1)), w.scalar(-1000)})
	w.mask = w.op("Unsqueeze", []string{penalty, w.ints(1, 2)})
	return w
}

func (w *writer) name() string {
	w.names++
	return fmt.Sprintf("v%d", w.names)
}

func (w *writer) op(op string, in []string, attrs ...onnxtest.Message) string {
	name := w.name()
	w.Node(op, in, []string{name}, attrs...)
	return name
}

func (w *writer) numbers(n int) []float32 {
	list := make([]float32, n)
	for i := range list {
		list[i] = w.r.Float32()*2 - 1
	}
	return list
}

func (w *writer) weight(dims ...int64) string {
	name, n := w.name(), int64(1)
	for _, d := range dims {
		n *= d
	}
	w.Floats(name, dims, w.numbers(int(n)))
	return name
}

func (w *writer) scalar(v float32) string {
	name := w.name()
	w.Floats(name, nil, []float32{v})
	return name
}

func (w *writer) ints(values ...int64) string {
	name := w.name()
	w.Ints(name, []int64{int64(len(values))}, values...)
	return name
}

func (w *writer) index(v int64) string {
	name := w.name()
	w.Ints(name, nil, v)
	return name
}

func (w *writer) size(of string, axis int64) string {
	return w.op("Gather", []string{w.op("Shape", []string{of}), w.ints(axis)}, onnxtest.IntAttr("axis", 0))
}

func perm(axes ...int64) onnxtest.Message { return onnxtest.IntsAttr("perm", axes...) }

// embedded are vectors of tokens and places.
func (w *writer) embedded() string {
	x := w.op("Gather", []string{"table", "ids"})
	places := w.op("Slice", []string{"places", w.ints(0), w.size("ids", 1), w.ints(1)})
	return w.op("Add", []string{x, places})
}

func (w *writer) norm(x string) string {
	return w.op("LayerNormalization", []string{x, w.weight(width), w.weight(width)})
}

// linear is a product, as exporters write it.
func (w *writer) linear(x string) string {
	switch w.r.IntN(4) {
	case 0: // of the positions of all texts
		flat := w.op("Reshape", []string{x, w.ints(-1, width)})
		y := w.op("Gemm", []string{flat, w.weight(width, width), w.weight(width)})
		shape := w.op("Concat", []string{w.size(x, 0), w.size(x, 1), w.ints(width)}, onnxtest.IntAttr("axis", 0))
		return w.op("Reshape", []string{y, shape})
	case 1:
		return w.op("MatMul", []string{x, w.weight(width, width)})
	}
	return w.op("Add", []string{w.weight(width), w.op("MatMul", []string{x, w.weight(width, width)})})
}

// heads are texts × 2 × positions × 2.
func (w *writer) heads(x string) string {
	shape := w.op("Concat", []string{w.size(x, 0), w.size(x, 1), w.ints(2, 2)}, onnxtest.IntAttr("axis", 0))
	if w.r.IntN(2) == 0 {
		shape = w.ints(0, 0, 2, 2)
	}
	return w.op("Transpose", []string{w.op("Reshape", []string{x, shape})}, perm(0, 2, 1, 3))
}

func (w *writer) attention(x string) string {
	q, k, v := w.heads(w.linear(x)), w.heads(w.linear(x)), w.heads(w.linear(x))
	if w.r.IntN(2) == 0 { // the scale as it is exported
		d := w.op("Sqrt", []string{w.op("Cast", []string{w.size(q, -1)}, onnxtest.IntAttr("to", 1))})
		q = w.op("Div", []string{q, d})
	}
	if w.r.IntN(2) == 0 { // something by place
		q = w.op("Mul", []string{q, w.op("Slice", []string{w.weight(1, 1, 64, 2), w.ints(0), w.size("ids", 1), w.ints(2)})})
	}
	scores := w.op("MatMul", []string{q, w.op("Transpose", []string{k}, perm(0, 1, 3, 2))})
	scores = w.op("Add", []string{scores, w.mask})
	switch w.r.IntN(4) {
	case 0: // a square of places
		cut := w.op("Slice", []string{w.weight(20, 20), w.ints(0, 0), w.op("Concat", []string{w.size("ids", 1), w.size("ids", 1)}, onnxtest.IntAttr("axis", 0)), w.ints(0, 1)})
		scores = w.op("Add", []string{scores, cut})
	case 1: // as many rows as there are queries, by their shape
		all := w.op("Shape", []string{scores})
		scores = w.op("Add", []string{scores, w.op("ConstantOfShape", []string{all})})
	}
	mixed := w.op("MatMul", []string{w.op("Softmax", []string{scores}, onnxtest.IntAttr("axis", -1)), v})
	back := w.op("Transpose", []string{mixed}, perm(0, 2, 1, 3))
	shape := w.op("Concat", []string{w.size(back, 0), w.size(back, 1), w.ints(width)}, onnxtest.IntAttr("axis", 0))
	return w.linear(w.op("Reshape", []string{back, shape}))
}

// other is one of the operators that layers have beside products.
func (w *writer) other(x string) string {
	last := func(from, to int64) string {
		return w.op("Slice", []string{x, w.ints(from), w.ints(to), w.ints(-1)})
	}
	switch w.r.IntN(9) {
	case 0:
		return w.op("Concat", []string{last(2, width), w.op("Neg", []string{last(0, 2)})}, onnxtest.IntAttr("axis", -1))
	case 1:
		mean := w.op("ReduceMean", []string{w.op("Mul", []string{x, x})}, onnxtest.IntsAttr("axes", -1), onnxtest.IntAttr("keepdims", 1))
		return w.op("Div", []string{x, w.op("Sqrt", []string{w.op("Add", []string{mean, w.scalar(1e-3)})})})
	case 2:
		return w.op("Where", []string{w.op("Greater", []string{x, w.scalar(0)}), x, w.weight(width)})
	case 3:
		return w.op("Transpose", []string{w.op("Tanh", []string{w.op("Transpose", []string{x}, perm(1, 0, 2))})}, perm(1, 0, 2))
	case 4:
		return w.op("Squeeze", []string{w.op("Erf", []string{w.op("Unsqueeze", []string{x, w.ints(1)})}), w.ints(1)})
	case 5: // all positions count
		return w.op("Add", []string{x, w.op("ReduceMean", []string{x}, onnxtest.IntsAttr("axes", 1), onnxtest.IntAttr("keepdims", 1))})
	case 6:
		return w.op("Add", []string{x, w.op("CumSum", []string{x, w.index(1)})})
	case 7:
		a, b := w.name(), w.name()
		w.Node("Split", []string{x, w.ints(1, 3)}, []string{a, b}, onnxtest.IntAttr("axis", 2))
		return w.op("Concat", []string{b, a}, onnxtest.IntAttr("axis", 2))
	}
	return w.op("Sigmoid", []string{x})
}

// layer is a layer of an encoder, or what could be one.
func (w *writer) layer(x string) string {
	x = w.norm(w.op("Add", []string{w.attention(x), x}))
	y := w.linear(w.op("Relu", []string{w.linear(x)}))
	if w.r.IntN(3) == 0 {
		y = w.other(y)
	}
	return w.norm(w.op("Add", []string{y, x}))
}

// selections are ways to write which position is read.
var spellings = map[string]func(w *writer, x string) string{
	"first": func(w *writer, x string) string {
		return w.op("Gather", []string{x, w.index(0)}, onnxtest.IntAttr("axis", 1))
	},
	"last": func(w *writer, x string) string {
		return w.op("Gather", []string{x, w.index(-1)}, onnxtest.IntAttr("axis", 1))
	},
	"list": func(w *writer, x string) string {
		return w.op("Squeeze", []string{w.op("Gather", []string{x, w.ints(1)}, onnxtest.IntAttr("axis", 1)), w.ints(1)})
	},
	"slice": func(w *writer, x string) string {
		return w.op("Squeeze", []string{w.op("Slice", []string{x, w.ints(0), w.ints(1), w.ints(1)}), w.ints(1)})
	},
	"sliced all": func(w *writer, x string) string {
		all := w.op("Slice", []string{x, w.ints(0), w.ints(math.MaxInt64), w.ints(0)})
		return w.op("Gather", []string{all, w.index(0)}, onnxtest.IntAttr("axis", 1))
	},
	"last slice": func(w *writer, x string) string {
		return w.op("Reshape", []string{w.op("Slice", []string{x, w.ints(-1), w.ints(math.MaxInt64), w.ints(1)}), w.ints(-1, width)})
	},
	"transposed": func(w *writer, x string) string {
		return w.op("Gather", []string{w.op("Transpose", []string{x}, perm(1, 0, 2)), w.index(0)})
	},
	"flattened": func(w *writer, x string) string {
		texts := w.op("Range", []string{w.index(0), w.op("Squeeze", []string{w.size("ids", 0), w.ints(0)}), w.index(1)})
		at := w.op("Add", []string{w.lastToken(), w.op("Mul", []string{texts, w.size(x, 1)})})
		return w.op("Gather", []string{w.op("Flatten", []string{x}, onnxtest.IntAttr("axis", 2)), at})
	},
	"pairs": func(w *writer, x string) string {
		texts := w.op("Range", []string{w.index(0), w.op("Squeeze", []string{w.size("ids", 0), w.ints(0)}), w.index(1)})
		pairs := w.op("Concat", []string{w.op("Unsqueeze", []string{texts, w.ints(1)}), w.op("Unsqueeze", []string{w.lastToken(), w.ints(1)})}, onnxtest.IntAttr("axis", 1))
		return w.op("GatherND", []string{x, pairs})
	},
}

// lastToken is the position of the last token that is no padding.
func (w *writer) lastToken() string {
	kept := w.op("Cast", []string{w.op("Not", []string{"padding"})}, onnxtest.IntAttr("to", i64))
	places := w.op("Range", []string{w.index(0), w.op("Squeeze", []string{w.size("ids", 1), w.ints(0)}), w.index(1)})
	return w.op("ArgMax", []string{w.op("Mul", []string{places, kept})}, onnxtest.IntAttr("axis", 1), onnxtest.IntAttr("keepdims", 0))
}

// model ends a model with what is read of x.
func (w *writer) model(spelling, x string) []byte {
	w.Node("MatMul", []string{spellings[spelling](w, x), w.weight(width, 3)}, []string{"logits"})
	w.Output("logits", f32, "batch", 3)
	return w.Model()
}
