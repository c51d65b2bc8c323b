package split

import (
	"slices"

	"github.com/distinfer/distinfer/runtime/tensor"
)

// The machine that costs are reckoned for: a few cores, and an ordinary
// network. Costs are whole picoseconds, so that the same model gives the same
// plan on every architecture.
const (
	picosecondsPerFLOP     = 20    // 50 GFLOP/s
	picosecondsPerByte     = 100   // 10 GB/s of memory
	picosecondsPerLinkByte = 8_000 // 1 Gbit/s
)

// nodeCost is the time one run of node i takes at the reference shape.
func (g *graph) nodeCost(i int, v *values) int64 {
	flops, bytes := g.work(i, v)
	return flops*picosecondsPerFLOP + bytes*picosecondsPerByte
}

// work is what node i computes and touches at the reference shape: floating
// point operations and bytes. Where shapes are unknown it counts what is known.
func (g *graph) work(i int, v *values) (flops, bytes int64) {
	n := g.nodes[i]
	var out, outBytes int64 // of the first output; of all
	for k, name := range n.Outputs {
		outBytes += v.sizes[name]
		if k == 0 {
			out = elements(v.shape[name])
		}
	}
	in := func(k int) []int64 {
		if k < len(n.Inputs) {
			return v.shape[n.Inputs[k]]
		}
		return nil
	}
	if n.OpType == "Gather" || n.OpType == "GatherND" || n.OpType == "GatherElements" || n.OpType == "Slice" {
		return 0, 2 * outBytes // reads no more of its table than it gives
	}
	bytes = outBytes
	for _, name := range g.deps[i] {
		bytes += v.sizes[name]
	}
	switch n.OpType {
	case "MatMul", "MatMulInteger", "QLinearMatMul", "FusedMatMul":
		if a := in(0); len(a) > 0 {
			return 2 * out * a[len(a)-1], bytes
		}
	case "Gemm":
		if a := in(0); len(a) == 2 {
			inner := a[1]
			if g.attrInt(i, "transA", 0) != 0 {
				inner = a[0]
			}
			return 2 * out * inner, bytes
		}
	case "Conv", "ConvInteger":
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

func (g *graph) attrInt(i int, name string, missing int64) int64 {
	for _, a := range g.nodes[i].Attributes {
		if a.Name == name {
			return a.I
		}
	}
	return missing
}

// isLayer reports whether node i is a layer: an anchored node with a weight of
// its own that is a matrix or more (a linear or convolutional layer, a table of
// embeddings, a recurrent cell).
func (g *graph) isLayer(i int, v *values) bool {
	return slices.ContainsFunc(g.deps[i], func(name string) bool {
		return g.isConstant(name) && len(v.specs[name].Dims) >= 2 && elements(v.shape[name]) > 1
	})
}
