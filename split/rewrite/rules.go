package rewrite

import (
	"slices"
	"strings"

	"github.com/distinfer/distinfer/split/onnxfile"
)

// A rule says how an operator computes selected rows only, from its outputs that are used and their
// shape; nil is for not at all. A rule answers for what the operator does with every element of its
// inputs: what it is not sure of, it refuses.
type rule func(a *analysis, n *onnxfile.Node, used []int, out shape, at place) *step

// through applies the rule of a node's operator.
func (a *analysis) through(n *onnxfile.Node, used []int, out shape, at place) *step {
	if at.axis >= len(out) || a.sel.value != "" && !at.merged && (at.axis == 0 || !out[0].is(a.sel.batch)) {
		return nil
	}
	r := ruleOf(n)
	if r == nil || len(n.Inputs) == 0 {
		return nil
	}
	return r(a, n, used, out, at)
}

func ruleOf(n *onnxfile.Node) rule {
	switch {
	case !n.Standard() && n.Domain != "com.microsoft":
		return nil
	case n.Standard() && elementwise[n.OpType], !n.Standard() && contribElementwise[n.OpType]:
		return elementwiseRule
	}
	if n.Standard() {
		if strings.HasPrefix(n.OpType, "Reduce") {
			return reduceRule
		}
		return standardRules(n.OpType)
	}
	return contribRules(n.OpType)
}

func standardRules(op string) rule {
	switch op {
	case "MatMul":
		return matMulRule
	case "MatMulInteger":
		return matMulIntegerRule
	case "Gemm":
		return gemmRule
	case "Einsum":
		return einsumRule
	case "LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization":
		return normalizationRule
	case "Softmax", "LogSoftmax":
		return softmaxRule
	case "LpNormalization":
		return alongRule
	case "DequantizeLinear", "QuantizeLinear":
		return quantizeRule
	case "Transpose":
		return transposeRule
	case "Reshape", "Flatten":
		return reshapeRule
	case "Unsqueeze", "Squeeze":
		return squeezeRule
	case "Concat":
		return concatRule
	case "Split":
		return splitRule
	case "Slice":
		return sliceRule
	case "Gather":
		return gatherRule
	case "GatherElements":
		return gatherElementsRule
	case "Dropout":
		return dropoutRule
	}
	return nil
}

func contribRules(op string) rule {
	switch op {
	case "DequantizeLinear", "QuantizeLinear":
		return quantizeRule
	case "SkipLayerNormalization", "SkipSimplifiedLayerNormalization":
		return skipNormalizationRule
	case "FusedMatMul", "MatMulNBits", "MatMulIntegerToFloat":
		return fusedMatMulRule
	case "MultiHeadAttention":
		return multiHeadRule
	}
	return nil
}

// elementwise operators compute each element from those at its place in inputs that are broadcast.
var elementwise = set(`Abs Acos Add And Asin Atan BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast Ceil Celu Clip Cos Cosh
	Div Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Less
	LessOrEqual Log Max Mean Min Mish Mod Mul Neg Not Or Pow Reciprocal Relu Round Selu Sigmoid Sign Sin Sinh
	Softplus Softsign Sqrt Sub Sum Swish Tan Tanh ThresholdedRelu Where Xor`)

var contribElementwise = set("BiasGelu FastGelu Gelu QuickGelu")

func set(words string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(words) {
		m[w] = true
	}
	return m
}

// all are the uses of inputs that are read whole, but for what is given.
func all(n *onnxfile.Node, given map[int]use) *step {
	s := &step{uses: make([]use, len(n.Inputs))}
	for k, u := range given {
		s.uses[k] = u
	}
	return s
}

// first is a step that reads the same rows of the first input.
func first(n *onnxfile.Node, at place) *step { return all(n, map[int]use{0: {rows, at}}) }

// alike reports whether an input has the rows, and where it has texts.
func (a *analysis) alike(in shape, at place) bool {
	if at.axis >= len(in) {
		return false
	}
	if at.merged {
		return at.axis == 0
	}
	return in[at.axis].is(a.sel.size) && (a.sel.value == "" || at.axis > 0 && in[0].is(a.sel.batch))
}

// broadcast is how an input is read that is broadcast to a shape, at the given axis of that.
func (a *analysis) broadcast(name string, rank int, size dim, at place) (use, bool) {
	in, ok := a.shape(name)
	if !ok || len(in) > rank {
		return use{}, false
	}
	axis := at.axis - (rank - len(in))
	if axis < 0 || in[axis].one() && !size.one() {
		return use{}, true
	}
	if !in[axis].is(size) {
		return use{}, false
	}
	own := place{axis: axis, merged: at.merged}
	switch {
	case at.merged:
		return use{rows, own}, axis == 0
	case a.alike(in, own) && (a.sel.value == "" || len(in) == rank):
		return use{rows, own}, true
	case a.sel.value != "" && in[axis].is(a.sel.size) && (len(in) < rank || in[0].one()):
		own.lift = rank
		return use{rows, own}, true
	}
	return use{}, false
}

func elementwiseRule(a *analysis, n *onnxfile.Node, used []int, out shape, at place) *step {
	if used[0] != 0 || a.opset < 7 { // before that they broadcast in another way
		return nil
	}
	s := all(n, nil)
	some := false
	for k, name := range n.Inputs {
		if name == "" {
			continue
		}
		u, ok := a.broadcast(name, len(out), out[at.axis], at)
		if !ok {
			return nil
		}
		s.uses[k] = u
		some = some || u.kind == rows
	}
	if !some {
		return nil
	}
	return s
}

// matMulRule is that of a product of matrices. Each row of it is of one row of the left one.
func matMulRule(a *analysis, n *onnxfile.Node, _ []int, out shape, at place) *step {
	left, okLeft := a.shape(n.Inputs[0])
	right, okRight := a.shape(n.Inputs[1])
	r := len(out)
	if !okLeft || !okRight || len(left) < 2 || len(right) < 2 || at.axis > r-2 {
		return nil
	}
	l, ok := a.broadcast(n.Inputs[0], r, out[at.axis], at)
	if !ok {
		return nil
	}
	s := all(n, map[int]use{0: l})
	if at.axis < r-2 { // one of the matrices
		if s.uses[1], ok = a.broadcast(n.Inputs[1], r, out[at.axis], at); !ok {
			return nil
		}
	}
	if l.kind != rows && s.uses[1].kind != rows {
		return nil
	}
	return s
}

func matMulIntegerRule(a *analysis, n *onnxfile.Node, used []int, out shape, at place) *step {
	if len(n.Inputs) > 2 && n.Inputs[2] != "" && !a.single(n.Inputs[2]) {
		return nil
	}
	return a.leftOnly(n, used, out, at)
}

// leftOnly is a product whose right matrix is the same for all.
func (a *analysis) leftOnly(n *onnxfile.Node, _ []int, out shape, at place) *step {
	left, ok := a.shape(n.Inputs[0])
	if !ok || len(left) != len(out) || len(left) < 2 || at.axis > len(out)-2 || !left[at.axis].is(out[at.axis]) || !a.alike(left, at) {
		return nil
	}
	if right, ok := a.shape(n.Inputs[1]); !ok || len(right) > 2 && at.axis < len(out)-2 {
		return nil
	}
	return first(n, at)
}

func fusedMatMulRule(a *analysis, n *onnxfile.Node, used []int, out shape, at place) *step {
	if n.Int("transA", 0) != 0 || n.Int("transBatchA", 0) != 0 || n.Int("transBatchB", 0) != 0 {
		return nil
	}
	if n.OpType == "MatMulIntegerToFloat" && (!a.single(n.Inputs[2]) || len(n.Inputs) > 4 && n.Inputs[4] != "" && !a.single(n.Inputs[4])) {
		return nil
	}
	return a.leftOnly(n, used, out, at)
}

func gemmRule(a *analysis, n *onnxfile.Node, _ []int, out shape, at place) *step {
	if at.axis != 0 || n.Int("transA", 0) != 0 || a.opset < 7 {
		return nil
	}
	s := first(n, at)
	if len(n.Inputs) > 2 && n.Inputs[2] != "" {
		u, ok := a.broadcast(n.Inputs[2], 2, out[0], at)
		if !ok {
			return nil
		}
		s.uses[2] = u
	}
	return s
}

// einsumRule follows the letter of the positions.
func einsumRule(a *analysis, n *onnxfile.Node, _ []int, out shape, at place) *step {
	left, right, ok := strings.Cut(strings.ReplaceAll(n.Text("equation"), " ", ""), "->")
	terms := strings.Split(left, ",")
	if !ok || a.sel.value != "" || at.merged || strings.Contains(left, ".") || len(terms) != len(n.Inputs) || len(right) != len(out) {
		return nil
	}
	s := all(n, nil)
	for k, term := range terms {
		axis := strings.IndexByte(term, right[at.axis])
		if axis < 0 {
			continue
		}
		in, ok := a.shape(n.Inputs[k])
		own := place{axis: axis}
		if strings.Count(term, right[at.axis:at.axis+1]) != 1 || !ok || len(in) != len(term) || !a.alike(in, own) {
			return nil
		}
		s.uses[k] = use{rows, own}
	}
	return s
}

// normalizationRule is that of operators that normalise each row by itself.
func normalizationRule(a *analysis, n *onnxfile.Node, used []int, out shape, at place) *step {
	from := wrap(n.Int("axis", -1), len(out))
	if len(used) != 1 || used[0] != 0 || int64(at.axis) >= from {
		return nil
	}
	for _, name := range n.Inputs[1:] {
		if name != "" && (a.rank(name) < 0 || a.rank(name) > len(out)-int(from)) {
			return nil
		}
	}
	return first(n, at)
}

func skipNormalizationRule(a *analysis, n *onnxfile.Node, used []int, out shape, at place) *step {
	if at.axis >= len(out)-1 || slices.ContainsFunc(used, func(k int) bool { return k != 0 && k != 3 }) {
		return nil
	}
	in, ok := a.shape(n.Inputs[0])
	skip, okSkip := a.shape(n.Inputs[1])
	if !ok || !okSkip || !slices.EqualFunc(in, skip, dim.is) {
		return nil
	}
	for _, name := range n.Inputs[2:] {
		if name != "" && a.rank(name) != 1 {
			return nil
		}
	}
	return all(n, map[int]use{0: {rows, at}, 1: {rows, at}})
}

func softmaxRule(a *analysis, n *onnxfile.Node, _ []int, out shape, at place) *step {
	axis := wrap(n.Int("axis", -1), len(out))
	if a.opset < 13 { // of all axes from there on
		if axis = wrap(n.Int("axis", 1), len(out)); int64(at.axis) >= axis {
			return nil
		}
	}
	return a.along(n, int(axis), at)
}

func alongRule(a *analysis, n *onnxfile.Node, _ []int, out shape, at place) *step {
	return a.along(n, int(wrap(n.Int("axis", -1), len(out))), at)
}

// along is a step of an operator that works along an axis and keeps the shape.
func (a *analysis) along(n *onnxfile.Node, axis int, at place) *step {
	if axis == at.axis || a.sel.value != "" && axis == 0 {
		return nil
	}
	return first(n, at)
}

// quantizeRule is that of scales for the whole tensor, or along another axis.
func quantizeRule(a *analysis, n *onnxfile.Node, _ []int, out shape, at place) *step {
	if n.Int("block_size", 0) != 0 || len(n.Inputs) < 2 {
		return nil
	}
	if a.single(n.Inputs[1]) && a.rank(n.Inputs[1]) <= 1 {
		return first(n, at)
	}
	if a.rank(n.Inputs[1]) != 1 || wrap(n.Int("axis", 1), len(out)) == int64(at.axis) {
		return nil
	}
	return first(n, at)
}

func dropoutRule(_ *analysis, n *onnxfile.Node, used []int, _ shape, at place) *step {
	if len(used) != 1 || used[0] != 0 || len(n.Inputs) > 2 && n.Inputs[2] != "" {
		return nil
	}
	return first(n, at)
}

// multiHeadRule is that of attention whose queries come by themselves: each of them is computed
// without the others.
func multiHeadRule(a *analysis, n *onnxfile.Node, used []int, out shape, at place) *step {
	query, ok := a.shape(n.Inputs[0])
	if !ok || at.merged || at.axis != 1 || len(out) != 3 || len(query) != 3 || len(used) != 1 || used[0] != 0 || n.Int("unidirectional", 0) != 0 {
		return nil
	}
	if len(n.Inputs) < 3 || a.rank(n.Inputs[1]) != 3 || a.rank(n.Inputs[2]) != 3 {
		return nil
	}
	s := first(n, at)
	for k, name := range n.Inputs {
		switch {
		case name == "" || k < 4:
		case k == 4: // key_padding_mask
			if a.rank(name) != 2 {
				return nil
			}
		case k == 5: // attention_bias
			u, ok := a.broadcast(name, 4, a.sel.size, place{axis: 2})
			if !ok || u.at.lift != 0 || u.kind != rows {
				return nil // ONNX Runtime wants a row for each query
			}
			s.uses[k] = u
		default:
			return nil
		}
	}
	return s
}
