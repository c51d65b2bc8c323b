package activations

import (
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/onnxfile"
	"github.com/distinfer/distinfer/split/types"
)

// attention operators keep the scores of all heads, in float32: a number for each pair of
// tokens. Their values name the attribute that has the number of heads.
var attention = map[string]string{
	"GroupQueryAttention": "num_heads", "MultiHeadAttention": "num_heads", "Attention": "num_heads",
	"QAttention": "num_heads", "DecoderMaskedMultiHeadAttention": "num_heads",
}

// copies are the operators of attention that copy what they are given.
var copies = map[string]bool{"GroupQueryAttention": true, "MultiHeadAttention": true}

// scores adds the scores that an operator of attention computes. It reports false when their size
// is not known.
func (w *walk) scores(workspace moment, n onnxfile.Node) bool {
	attribute := attention[n.OpType]
	if attribute == "" || len(n.Inputs) < 2 {
		return true
	}
	if copies[n.OpType] && !w.copied(workspace, n) {
		return false
	}
	if n.OpType == "GroupQueryAttention" && w.inPieces(n) {
		return true
	}
	own := n.Standard() // ONNX's operator has heads as a dimension, or as an attribute
	if own {
		attribute = "q_num_heads"
	}
	projects := n.OpType == "QAttention" || n.OpType == "Attention" && !own
	heads := n.Int(attribute, 0)
	of, size, ok := w.fits.fit(func(p types.Point) (float64, bool) {
		q, ok := w.fits.shape(p, n.Inputs[0])
		if !ok || len(q) < 3 {
			return 0, false
		}
		queries := q[len(q)-2]
		keys := queries
		if !projects && n.Inputs[1] != "" {
			k, ok := w.fits.shape(p, n.Inputs[1])
			if !ok || len(k) < 2 {
				return 0, false
			}
			if len(k) == len(q) {
				keys = max(keys, k[len(k)-2])
			}
		}
		numbers := max(heads, 1) * q[0] * queries * keys
		if own && len(q) == 4 {
			numbers = q[0] * q[1] * queries * keys
		}
		return 4 * float64(numbers), true
	})
	if !ok {
		return false
	}
	workspace.add(of, size)
	if projects { // queries, keys and values, which are no values of the graph
		if of, size, ok = w.fits.of(n.Outputs[0]); ok {
			workspace.add(of, 3*size)
		}
	}
	return ok
}

// copied adds the copies that are made of queries, keys and values, which are computed head by head;
// and those of queries and keys that are rotated.
func (w *walk) copied(workspace moment, n onnxfile.Node) bool {
	for k, name := range n.Inputs[:min(3, len(n.Inputs))] {
		if name == "" {
			continue
		}
		of, size, ok := w.fits.of(name)
		if !ok {
			return false
		}
		workspace.add(of, size)
		if k < 2 && n.Int("do_rotary", 0) == 1 {
			workspace.add(of, size)
		}
	}
	return true
}

// inPieces reports whether scores are computed a piece at a time. (ONNX Runtime 1.32 does so in
// float32, unless something is added to the scores.)
func (w *walk) inPieces(n onnxfile.Node) bool {
	const firstAdded = 10 // attention_bias, and what was added to the operator later
	for k, name := range n.Inputs {
		if k >= firstAdded && name != "" {
			return false
		}
	}
	return w.fits.v.Specs[n.Inputs[0]].DType == tensor.Float32
}
