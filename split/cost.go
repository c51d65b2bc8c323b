package split

import (
	"slices"

	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/onnxfile"
)

// The machine that costs are estimated for: a few cores, and an ordinary
// network. Costs are whole picoseconds, so that the same model gives the same
// plan on every architecture.
const (
	picosecondsPerFLOP     = 20    // 50 GFLOP/s
	picosecondsPerByte     = 100   // 10 GB/s of memory
	picosecondsPerLinkByte = 8_000 // 1 Gbit/s
)

// nodeCost is the time one run of node i takes at the reference shape.
func (p *planner) nodeCost(i int) int64 {
	flops, bytes := p.work(i)
	return flops*picosecondsPerFLOP + bytes*picosecondsPerByte
}

// work is what node i computes and touches at the reference shape: floating
// point operations and bytes. Where shapes are unknown it counts what is known.
func (p *planner) work(i int) (flops, bytes int64) {
	g, v := p.g, p.v
	n := g.Nodes[i]
	var out, outBytes int64 // of the first output; of all
	for k, name := range n.Outputs {
		outBytes += v.Sizes[name]
		if k == 0 {
			out = elements(v.Shapes[name])
		}
	}
	in := func(k int) []int64 {
		if k < len(n.Inputs) {
			return v.Shapes[n.Inputs[k]]
		}
		return nil
	}
	if picks[n.OpType] {
		return 0, 2 * outBytes // reads no more of its table than it gives
	}
	bytes = outBytes
	for _, name := range g.Deps[i] {
		bytes += v.Sizes[name]
	}
	switch n.OpType {
	case "MatMul", "MatMulInteger", "QLinearMatMul", "FusedMatMul", "MatMulNBits", "MatMulBnb4", "MatMulFpQ4",
		"MatMulIntegerToFloat", "DynamicQuantizeMatMul", "TransposeMatMul":
		if a := in(0); len(a) > 0 {
			return 2 * out * a[len(a)-1], bytes
		}
	case "GroupQueryAttention", "MultiHeadAttention", "Attention", "QAttention", "DecoderMaskedMultiHeadAttention":
		return p.attention(n), bytes
	case "Gemm", "FusedGemm":
		if a := in(0); len(a) == 2 {
			inner := a[1]
			if n.Int("transA", 0) != 0 {
				inner = a[0]
			}
			return 2 * out * inner, bytes
		}
	case "Conv", "ConvInteger", "FusedConv":
		if w := in(1); len(w) > 0 && w[0] > 0 {
			return 2 * out * (elements(w) / w[0]), bytes
		}
	case "ConvTranspose":
		if x, w := in(0), in(1); len(x) > 0 && len(w) > 0 && w[0] > 0 {
			return 2 * elements(x) * (elements(w) / w[0]), bytes
		}
	case "RNN", "GRU", "LSTM":
		if x := in(0); len(x) == 3 {
			return 2 * x[0] * x[1] * (elements(in(1)) + elements(in(2))), bytes
		}
	}
	return out, bytes
}

// picks are operators that read a part of their first input.
var picks = map[string]bool{
	"Gather": true, "GatherND": true, "GatherElements": true, "Slice": true, "GatherBlockQuantized": true,
}

// attention is the operations of attention: of each query with each key, twice; with the
// projection where it is part of the operator.
func (p *planner) attention(n onnxfile.Node) int64 {
	shape := func(k int) []int64 {
		if k < len(n.Inputs) {
			return p.v.Shapes[n.Inputs[k]]
		}
		return nil
	}
	q, keys := shape(0), shape(1)
	if len(q) < 3 {
		return 0
	}
	if n.OpType == "QAttention" || n.OpType == "Attention" && !n.Standard() { // keys are the projection's weights
		if len(keys) < 2 {
			return 0
		}
		return 2*q[0]*q[1]*elements(keys) + 4*q[1]*q[0]*q[1]*keys[1]/3
	}
	length := q[len(q)-2]
	if len(keys) == len(q) {
		length = max(length, keys[len(keys)-2])
	}
	return 4 * elements(q) * length
}

func elements(shape []int64) int64 {
	if shape == nil {
		return 0
	}
	n, err := tensor.Elements(shape)
	if err != nil {
		return 0
	}
	return n
}

// isLayer reports whether node i is a layer: an anchored node with a weight of
// its own that is a matrix or more (a linear or convolutional layer, a table of
// embeddings, a recurrent cell).
func (p *planner) isLayer(i int) bool {
	g, v := p.g, p.v
	return slices.ContainsFunc(g.Deps[i], func(name string) bool {
		return g.IsConstant(name) && len(v.Specs[name].Dims) >= 2 && elements(v.Shapes[name]) > 1
	})
}
