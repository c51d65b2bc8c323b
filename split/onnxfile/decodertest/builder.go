package decodertest

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/distinfer/distinfer/split/onnxfile/onnxtest"
)

const (
	epsilon   = 1e-6
	theta     = 1e6
	blockSize = 32 // numbers that share a scale

	typeFloat32 = 1
	typeUint8   = 2
	typeInt32   = 6
	typeInt64   = 7
	typeFloat16 = 10

	contrib = "com.microsoft"
)

// A builder builds the graph of a model, and writes its weights.
type builder struct {
	Shape
	Options
	graph onnxtest.Graph
	data  *weights
	scope string // of the names that are made
}

func (b *builder) float() int64 {
	if b.Precision == Float16 {
		return typeFloat16
	}
	return typeFloat32
}

// op adds a node of one output, which it returns.
func (b *builder) op(op, name string, inputs []string, attrs ...onnxtest.Message) string {
	return b.call("", op, name, 1, inputs, attrs...)[0]
}

// call adds a node of any domain, and returns its outputs.
func (b *builder) call(domain, op, name string, outputs int, inputs []string, attrs ...onnxtest.Message) []string {
	var out []string
	for i := range outputs {
		out = append(out, fmt.Sprintf("%s/%s/output_%d", b.scope, name, i))
	}
	b.graph.Call(domain, op, inputs, out, attrs...)
	return out
}

// ints adds a constant that is shared.
func (b *builder) ints(name string, dims []int64, values ...int64) {
	b.graph.Ints(name, dims, values...)
}

func floatAttr(name string, value float32) onnxtest.Message {
	m := onnxtest.Message{}.Text(1, name)
	m = binary.LittleEndian.AppendUint32(append(m, 2<<3|5), math.Float32bits(value))
	return m.Int(20, 1)
}

func intsAttr(name string, values ...int64) onnxtest.Message {
	m := onnxtest.Message{}.Text(1, name)
	for _, v := range values {
		m = m.Int(8, v)
	}
	return m.Int(20, 7)
}

// floats adds weights of the model's own type around middle.
func (b *builder) floats(name string, middle, scale float32, dims ...int64) string {
	n := int64(1)
	for _, d := range dims {
		n *= d
	}
	if b.Precision == Float16 {
		b.graph.External(name, typeFloat16, dims, dataName, b.data.float16s(n, middle, scale), 2*n)
	} else {
		b.graph.External(name, typeFloat32, dims, dataName, b.data.float32s(n, middle, scale), 4*n)
	}
	return name
}

// blocks adds a matrix of 4-bit numbers of the given rows, whose blocks have a scale each.
func (b *builder) blocks(name string, rows, inner int) []string {
	r, k := int64(rows), int64(inner)
	n := r * k / 2
	scales := r * k / blockSize
	dims, scaleDims := []int64{r, k / blockSize, blockSize / 2}, []int64{r * k / blockSize}
	if name == table { // GatherBlockQuantized keeps the dimensions of what it gathers from
		dims, scaleDims = []int64{r, k / 2}, []int64{r, k / blockSize}
	}
	// Of numbers from -8 to 7 the mean square is 21.
	scale := float32(1 / math.Sqrt(21*float64(inner)))
	b.graph.External(name+"_Q4", typeUint8, dims, dataName, b.data.bytes(n), n)
	b.graph.External(name+"_scales", typeFloat32, scaleDims, dataName, b.data.float32s(scales, scale, scale/4), 4*scales)
	return []string{name + "_Q4", name + "_scales"}
}

const table = "model.embed_tokens.weight"

// linear multiplies with a matrix.
func (b *builder) linear(name, x string, inner, outer int) string {
	if b.Precision == Int4 {
		w := b.blocks(b.scope+"."+name+".weight", outer, inner)
		return b.call(contrib, "MatMulNBits", name+"/MatMulNBits", 1, []string{x, w[0], w[1]},
			onnxtest.IntAttr("K", int64(inner)), onnxtest.IntAttr("N", int64(outer)), onnxtest.IntAttr("bits", 4), onnxtest.IntAttr("block_size", blockSize), onnxtest.IntAttr("accuracy_level", 4))[0]
	}
	scale := float32(math.Sqrt(3 / float64(inner))) // of uniform numbers, so that a unit vector stays one
	return b.op("MatMul", name+"/MatMul", []string{x, b.floats(b.scope+"."+name+".weight", 0, scale, int64(inner), int64(outer))})
}

// embed looks up the tokens' vectors.
func (b *builder) embed() string {
	if b.Precision == Int4 {
		w := b.blocks(table, b.Vocabulary, b.Hidden)
		return b.call(contrib, "GatherBlockQuantized", "embed_tokens/Gather", 1, []string{w[0], "input_ids", w[1]},
			onnxtest.IntAttr("bits", 4), onnxtest.IntAttr("block_size", blockSize), onnxtest.IntAttr("gather_axis", 0), onnxtest.IntAttr("quantize_axis", 1))[0]
	}
	return b.op("Gather", "embed_tokens/Gather", []string{b.floats(table, 0, 1, int64(b.Vocabulary), int64(b.Hidden)), "input_ids"})
}

// norm divides vectors by the root of their mean square, in float32, and scales them.
func (b *builder) norm(name, x string, width int) string {
	w := b.floats(b.scope+"."+name+".weight", 1, 0.1, int64(width))
	if b.Fused {
		return b.op("SimplifiedLayerNormalization", name+"/LayerNorm", []string{x, w}, onnxtest.IntAttr("axis", -1), floatAttr("epsilon", epsilon), onnxtest.IntAttr("stash_type", 1))
	}
	wide := x
	if b.Precision == Float16 {
		wide = b.op("Cast", name+"/Cast", []string{x}, onnxtest.IntAttr("to", typeFloat32))
	}
	square := b.op("Pow", name+"/Pow", []string{wide, "two"})
	mean := b.op("ReduceMean", name+"/ReduceMean", []string{square}, intsAttr("axes", -1))
	root := b.op("Sqrt", name+"/Sqrt", []string{b.op("Add", name+"/Add", []string{mean, "epsilon"})})
	scaled := b.op("Div", name+"/Div", []string{wide, root})
	if b.Precision == Float16 {
		scaled = b.op("Cast", name+"/Cast_1", []string{scaled}, onnxtest.IntAttr("to", typeFloat16))
	}
	return b.op("Mul", name+"/Mul", []string{w, scaled})
}

// build builds the graph.
func (b *builder) build() {
	g := &b.graph
	g.Input("input_ids", typeInt64, "batch_size", "sequence_length")
	g.Input("attention_mask", typeInt64, "batch_size", "sequence_length")
	if b.PositionIDs {
		g.Input("position_ids", typeInt64, "batch_size", "sequence_length")
	}
	b.constants()
	b.scope = "model"
	positions := b.positions()
	x := b.embed()
	var attend func(q, k, v string) string
	if b.Fused {
		attend = b.fusedAttention(positions)
	} else {
		attend = b.plainAttention(positions)
	}
	normed := ""
	for layer := range b.Layers {
		b.scope = fmt.Sprintf("model.layers.%d", layer)
		if normed == "" {
			normed = b.norm("input_layernorm", x, b.Hidden)
		}
		attention := b.linear("self_attn.o_proj", attend(b.projections(normed)), b.Heads*b.HeadDim, b.Hidden)
		x, normed = b.addAndNorm("post_attention_layernorm", x, attention)
		gate := b.linear("mlp.gate_proj", normed, b.Hidden, b.Intermediate)
		up := b.linear("mlp.up_proj", normed, b.Hidden, b.Intermediate)
		active := b.op("Mul", "mlp.act_fn/Mul", []string{gate, b.op("Sigmoid", "mlp.act_fn/Sigmoid", []string{gate})})
		down := b.linear("mlp.down_proj", b.op("Mul", "mlp/Mul", []string{active, up}), b.Intermediate, b.Hidden)
		next := "next_layernorm"
		if layer+1 == b.Layers {
			next = "norm"
		}
		x, normed = b.addAndNorm(next, x, down)
	}
	b.scope = "model"
	g.Node("Identity", []string{normed}, []string{"last_hidden_state"})
	g.Output("last_hidden_state", b.float(), "batch_size", "sequence_length", b.Hidden)
}

// addAndNorm adds what a block gives, and normalizes for the next one.
func (b *builder) addAndNorm(name, x, more string) (sum, normed string) {
	if !b.Fused {
		sum = b.op("Add", name+"/residual", []string{x, more})
		return sum, b.norm(name, sum, b.Hidden)
	}
	w := b.floats(b.scope+"."+name+".weight", 1, 0.1, int64(b.Hidden))
	out := []string{b.scope + "/" + name + "/output_0", b.scope + "/" + name + "/output_3"}
	b.graph.Call(contrib, "SkipSimplifiedLayerNormalization", []string{x, more, w}, []string{out[0], "", "", out[1]}, floatAttr("epsilon", epsilon))
	return out[1], out[0]
}

// projections are queries, keys and values, the first two normalized for each head.
func (b *builder) projections(x string) (q, k, v string) {
	q = b.linear("self_attn.q_proj", x, b.Hidden, b.Heads*b.HeadDim)
	k = b.linear("self_attn.k_proj", x, b.Hidden, b.KVHeads*b.HeadDim)
	v = b.linear("self_attn.v_proj", x, b.Hidden, b.KVHeads*b.HeadDim)
	q = b.norm("self_attn.q_norm", b.op("Reshape", "self_attn/Reshape_q", []string{q, "by_head"}), b.HeadDim)
	k = b.norm("self_attn.k_norm", b.op("Reshape", "self_attn/Reshape_k", []string{k, "by_head"}), b.HeadDim)
	return q, k, v
}

// constants adds what several nodes use.
func (b *builder) constants() {
	g := &b.graph
	g.Floats("two", nil, []float32{2})
	g.Floats("epsilon", nil, []float32{epsilon})
	b.ints("zero", nil, 0)
	b.ints("one", nil, 1)
	b.ints("axis_0", []int64{1}, 0)
	b.ints("axis_1", []int64{1}, 1)
	b.ints("axis_2", []int64{1}, 2)
	b.ints("axes_12", []int64{2}, 1, 2)
	b.ints("by_head", []int64{4}, 0, 0, -1, int64(b.HeadDim))
	b.ints("joined", []int64{3}, 0, 0, int64(b.Heads*b.HeadDim))
	b.ints("joined_kv", []int64{3}, 0, 0, int64(b.KVHeads*b.HeadDim))
}

// positions are the numbers of the tokens in their texts.
func (b *builder) positions() string {
	if b.PositionIDs {
		return "position_ids"
	}
	counted := b.op("CumSum", "position_ids/CumSum", []string{"attention_mask", "one"})
	return b.op("Max", "position_ids/Max", []string{b.op("Sub", "position_ids/Sub", []string{counted, "one"}), "zero"})
}
