package split

import (
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/graph"
	"github.com/distinfer/distinfer/split/types"
)

// widths tell how wide weights are in memory, where that is not how they are stored.
type widths struct {
	// widened are those of half precision that a processor computes as float32: ONNX Runtime
	// makes a copy of that type, twice as large.
	widened map[string]bool
	// packed is how many numbers a byte of a weight has, if it has more than one.
	packed map[string]int64
}

// narrow are operators that read weights of half precision as they are. (Measured with ONNX
// Runtime 1.32: a table stays as it is in the file, a matrix of MatMul takes 4 bytes a number.)
var narrow = map[string]bool{"MatMulNBits": true, "MatMulBnb4": true}

func widthsOf(g *graph.Graph, v *types.Values) widths {
	w := widths{map[string]bool{}, map[string]int64{}}
	for i, n := range g.Nodes {
		if g.Roles[i] == graph.Constant {
			continue
		}
		for _, name := range g.Deps[i] {
			t := v.Specs[name].DType
			if (t == tensor.Float16 || t == tensor.BFloat16) && g.IsConstant(name) && !picks[n.OpType] && !narrow[n.OpType] {
				w.widened[name] = true
			}
		}
		at := 1 // of the weights among the inputs
		switch n.OpType {
		case "GatherBlockQuantized":
			at = 0
		case "MatMulNBits", "MatMulBnb4":
		default:
			continue
		}
		if bits := n.Int("bits", 4); at < len(n.Inputs) && bits > 0 && bits < 8 && v.Specs[n.Inputs[at]].DType == tensor.Uint8 {
			w.packed[n.Inputs[at]] = 8 / bits
		}
	}
	return w
}

// bytes is what a weight takes in memory that is stored in some bytes.
func (w widths) bytes(name string, stored int64) int64 {
	if w.widened[name] {
		return 2 * stored
	}
	return stored
}

// packed is how many numbers an element of a weight has.
func (p *planner) packed(name string) int64 { return max(p.loaded.packed[name], 1) }

// loadedBytes is what the weights of a part take in memory, once constants are computed.
func (p *planner) loadedBytes(part part) (sum int64) {
	seen := map[string]bool{}
	for _, i := range part.sub.Nodes {
		if p.g.Roles[i] == graph.Constant {
			continue
		}
		for _, name := range p.g.Deps[i] {
			if !seen[name] && p.g.IsConstant(name) {
				seen[name] = true
				sum += p.loaded.bytes(name, p.weightBytes(name))
			}
		}
	}
	return sum
}
