package decodertest

import (
	"math"

	"github.com/distinfer/distinfer/split/onnxfile/onnxtest"
)

// frequencies are those of the rotary positions.
func (b *builder) frequencies() []float32 {
	f := make([]float32, b.HeadDim/2)
	for i := range f {
		f[i] = float32(math.Pow(theta, -2*float64(i)/float64(b.HeadDim)))
	}
	return f
}

// fusedAttention is attention by ONNX Runtime's own operators.
func (b *builder) fusedAttention(positions string) func(q, k, v string) string {
	half := int64(b.HeadDim / 2)
	cosines, sines := make([]float32, 0, int64(b.Positions)*half), make([]float32, 0, int64(b.Positions)*half)
	for p := range b.Positions {
		for _, f := range b.frequencies() {
			sin, cos := math.Sincos(float64(p) * float64(f))
			cosines, sines = append(cosines, float32(cos)), append(sines, float32(sin))
		}
	}
	b.graph.Floats("cos_cache_32", []int64{int64(b.Positions), half}, cosines)
	b.graph.Floats("sin_cache_32", []int64{int64(b.Positions), half}, sines)
	cos := b.op("Cast", "cos_cache", []string{"cos_cache_32"}, onnxtest.IntAttr("to", b.float()))
	sin := b.op("Cast", "sin_cache", []string{"sin_cache_32"}, onnxtest.IntAttr("to", b.float()))

	length := b.op("ReduceSum", "seqlens_k/ReduceSum", []string{"attention_mask", "axis_1"}, onnxtest.IntAttr("keepdims", 0))
	last := b.op("Cast", "seqlens_k/Cast", []string{b.op("Sub", "seqlens_k/Sub", []string{length, "one"})}, onnxtest.IntAttr("to", typeInt32))
	shape := b.op("Shape", "total/Shape", []string{"attention_mask"})
	total := b.op("Cast", "total/Cast", []string{b.op("Gather", "total/Gather", []string{shape, "one"})}, onnxtest.IntAttr("to", typeInt32))
	rotate := func(name, x, as string, heads int) string {
		return b.call(contrib, "RotaryEmbedding", "self_attn/RotaryEmbedding_"+name, 1, []string{b.op("Reshape", "self_attn/Reshape_1"+name, []string{x, as}), positions, cos, sin},
			onnxtest.IntAttr("num_heads", int64(heads)), onnxtest.IntAttr("rotary_embedding_dim", 0))[0]
	}
	return func(q, k, v string) string {
		q, k = rotate("q", q, "joined", b.Heads), rotate("k", k, "joined_kv", b.KVHeads)
		return b.call(contrib, "GroupQueryAttention", "self_attn/GroupQueryAttention", 3, []string{q, k, v, "", "", last, total},
			onnxtest.IntAttr("num_heads", int64(b.Heads)), onnxtest.IntAttr("kv_num_heads", int64(b.KVHeads)), floatAttr("scale", float32(1/math.Sqrt(float64(b.HeadDim)))))[0]
	}
}

// plainAttention is attention as torch exports it.
func (b *builder) plainAttention(positions string) func(q, k, v string) string {
	cos, sin := b.rotary(positions)
	bias := b.causalMask()
	groups := int64(b.Heads / b.KVHeads)
	half := int64(b.HeadDim / 2)
	b.ints("half", []int64{1}, half)
	b.ints("end", []int64{1}, math.MaxInt64)
	b.ints("axis_3", []int64{1}, 3)
	b.ints("kv_heads", []int64{1}, int64(b.KVHeads))
	b.ints("groups", []int64{1}, groups)
	b.ints("heads", []int64{1}, int64(b.Heads))
	b.ints("head_dim", []int64{1}, int64(b.HeadDim))
	shape := b.op("Shape", "input/Shape", []string{"input_ids"})
	rows := b.op("Slice", "input/rows", []string{shape, "axis_0", "axis_1"})
	tokens := b.op("Slice", "input/tokens", []string{shape, "axis_1", "axis_2"})
	repeated := b.op("Concat", "repeat/shape", []string{rows, "kv_heads", "groups", tokens, "head_dim"}, onnxtest.IntAttr("axis", 0))
	flat := b.op("Concat", "repeat/flat", []string{rows, "heads", tokens, "head_dim"}, onnxtest.IntAttr("axis", 0))
	b.scalar("scale", float32(1/math.Sqrt(float64(b.HeadDim))))
	rotate := func(name, x string) string {
		n := func(part string) string { return "self_attn/" + name + "/" + part }
		x = b.op("Transpose", n("Transpose"), []string{x}, intsAttr("perm", 0, 2, 1, 3))
		first := b.op("Slice", n("Slice"), []string{x, "axis_0", "half", "axis_3"})
		second := b.op("Slice", n("Slice_1"), []string{x, "half", "end", "axis_3"})
		turned := b.op("Concat", n("Concat"), []string{b.op("Neg", n("Neg"), []string{second}), first}, onnxtest.IntAttr("axis", -1))
		return b.op("Add", n("Add"), []string{b.op("Mul", n("Mul"), []string{x, cos}), b.op("Mul", n("Mul_1"), []string{turned, sin})})
	}
	repeat := func(name, x string) string {
		n := func(part string) string { return "self_attn/" + name + "/" + part }
		x = b.op("Expand", n("Expand"), []string{b.op("Unsqueeze", n("Unsqueeze"), []string{x, "axis_2"}), repeated})
		return b.op("Reshape", n("Reshape_2"), []string{x, flat})
	}
	return func(q, k, v string) string {
		q, k = rotate("q", q), repeat("k", rotate("k", k))
		v = b.op("Transpose", "self_attn/v/Transpose", []string{b.op("Reshape", "self_attn/v/Reshape", []string{v, "by_head"})}, intsAttr("perm", 0, 2, 1, 3))
		v = repeat("v", v)
		scores := b.op("MatMul", "self_attn/MatMul", []string{q, b.op("Transpose", "self_attn/k/Transpose_1", []string{k}, intsAttr("perm", 0, 1, 3, 2))})
		scores = b.op("Add", "self_attn/Add", []string{b.op("Mul", "self_attn/Mul", []string{scores, "scale"}), bias})
		out := b.op("MatMul", "self_attn/MatMul_1", []string{b.op("Softmax", "self_attn/Softmax", []string{scores}, onnxtest.IntAttr("axis", -1)), v})
		out = b.op("Transpose", "self_attn/Transpose_1", []string{out}, intsAttr("perm", 0, 2, 1, 3))
		return b.op("Reshape", "self_attn/Reshape_3", []string{out, "joined"})
	}
}

// scalar adds a constant of the model's own type.
func (b *builder) scalar(name string, value float32) {
	b.graph.Floats(name+"_32", nil, []float32{value})
	b.graph.Node("Cast", []string{name + "_32"}, []string{name}, onnxtest.IntAttr("to", b.float()))
}

// rotary computes the cosines and sines of positions.
func (b *builder) rotary(positions string) (cos, sin string) {
	b.graph.Floats("frequencies", []int64{1, int64(b.HeadDim / 2)}, b.frequencies())
	numbers := b.op("Cast", "rotary/Cast", []string{b.op("Unsqueeze", "rotary/Unsqueeze", []string{positions, "axis_2"})}, onnxtest.IntAttr("to", typeFloat32))
	angles := b.op("MatMul", "rotary/MatMul", []string{numbers, "frequencies"})
	both := b.op("Concat", "rotary/Concat", []string{angles, angles}, onnxtest.IntAttr("axis", -1))
	part := func(op string) string {
		x := b.op("Unsqueeze", "rotary/Unsqueeze_"+op, []string{b.op(op, "rotary/"+op, []string{both}), "axis_1"})
		return b.op("Cast", "rotary/Cast_"+op, []string{x}, onnxtest.IntAttr("to", b.float()))
	}
	return part("Cos"), part("Sin")
}

// causalMask is what is added to scores: nothing where a token may look, and the least number
// of float16 at later tokens and at padding.
func (b *builder) causalMask() string {
	b.scalar("nothing", 0)
	b.scalar("least", -65504)
	length := b.op("Gather", "mask/Gather", []string{b.op("Shape", "mask/Shape", []string{"attention_mask"}), "one"})
	numbers := b.op("Range", "mask/Range", []string{"zero", length, "one"})
	rows := b.op("Unsqueeze", "mask/Unsqueeze", []string{numbers, "axis_1"})
	earlier := b.op("LessOrEqual", "mask/LessOrEqual", []string{numbers, rows})
	real := b.op("Cast", "mask/Cast", []string{b.op("Unsqueeze", "mask/Unsqueeze_1", []string{"attention_mask", "axes_12"})}, onnxtest.IntAttr("to", 9))
	return b.op("Where", "mask/Where", []string{b.op("And", "mask/And", []string{earlier, real}), "nothing", "least"})
}
