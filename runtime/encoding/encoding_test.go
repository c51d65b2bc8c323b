package encoding

import (
	"context"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
)

var (
	inf = float32(math.Inf(1))
	nan = float32(math.NaN())
)

func alloc(n int) []byte { return tensor.AlignedBytes(int64(n)) }

// hidden is a tensor of random numbers of the given spread, long enough to be narrowed.
func hidden(seed uint64, spread float64, shape ...int64) tensor.Tensor {
	random := rand.New(rand.NewPCG(seed, 1))
	n, err := tensor.Elements(shape)
	if err != nil {
		panic(err)
	}
	values := make([]float32, n)
	for i := range values {
		values[i] = float32(spread * random.NormFloat64())
	}
	return tensor.Of(shape, values)
}

func valuesOf(t testing.TB, x tensor.Tensor) []float32 {
	t.Helper()
	values, err := tensor.As[float32](x)
	if err != nil {
		t.Fatal(err)
	}
	return values
}

// there sends a tensor over a link.
func there(t testing.TB, e Encoding, x tensor.Tensor) []float32 {
	t.Helper()
	n, ok := e.Narrow(x, alloc)
	if !ok {
		t.Fatalf("%s of shape %v is not narrowed", e, x.Shape)
	}
	y, err := n.Tensor(x.Shape)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(y.Shape, x.Shape) || y.Check() != nil || n.Bytes() >= x.Bytes() {
		t.Errorf("%s: %v arrives as %v, in %d bytes", e, x.Shape, y.Shape, n.Bytes())
	}
	return valuesOf(t, y)
}

func TestFloat16IsTheNearestNumber(t *testing.T) {
	t.Parallel()
	for i, spread := range []float64{1, 1e-3, 1e-6, 1e4} {
		x := hidden(uint64(i), spread, 3, 7, 384)
		for k, got := range there(t, Float16, x) {
			if want := tensor.FromFloat16(tensor.ToFloat16(valuesOf(t, x)[k])); got != want {
				t.Fatalf("number %d is %v, want %v", k, got, want)
			}
		}
	}
}

// What is rounded to a multiple of the scale is off by half of it at most, but for the
// last places of float32 in the multiplications.
func TestInt8IsOffByHalfAScaleAtMost(t *testing.T) {
	t.Parallel()
	for i, spread := range []float64{1, 1e-3, 1e30, 1e-30, 1e-37, 1e-40, 1e-44} {
		const row = 100
		x := hidden(uint64(i), spread, 5, 4, row)
		values := valuesOf(t, x)
		for r := range len(values) / row { // rows of very different size
			for k := range row {
				values[r*row+k] *= float32(math.Pow(2, float64(-r)))
			}
		}
		clear(values[row : 2*row])
		n, ok := Int8.Narrow(x, alloc)
		if !ok || len(n.Data) != len(values) || len(n.Scales) != 4*len(values)/row {
			t.Fatalf("%v: %d bytes and %d of scales", ok, len(n.Data), len(n.Scales))
		}
		got := there(t, Int8, x)
		for k, want := range values {
			scale := float64(math.Float32frombits(binary.LittleEndian.Uint32(n.Scales[k/row*4:])))
			most := 0.0
			for _, f := range values[k/row*row : (k/row+1)*row] {
				most = max(most, math.Abs(float64(f)))
			}
			if off := math.Abs(float64(got[k]) - float64(want)); off > scale/2*(1+1e-4) {
				t.Fatalf("spread %g: %v became %v, which is off by %g; the scale is %g", spread, want, got[k], off, scale)
			}
			if most == 0 && got[k] != 0 || scale > max(1.001*most/127, 0x1p-126) {
				t.Fatalf("spread %g: %v became %v; the scale of a row up to %g is %g", spread, want, got[k], most, scale)
			}
		}
	}
}

func TestInt8RoundsTiesToEven(t *testing.T) {
	t.Parallel()
	values := make([]float32, 2048)
	copy(values, []float32{127, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 126.5, -126.5, -127, 0.49, 0.51}) // the scale is 1
	got := there(t, Int8, tensor.Of([]int64{1, 2048}, values))
	if want := []float32{127, 0, 2, 2, 0, -2, -2, 126, -126, -127, 0, 1}; !slices.Equal(got[:len(want)], want) {
		t.Errorf("%v, want %v", got[:len(want)], want)
	}
}

func TestWhatTravelsAsItIs(t *testing.T) {
	t.Parallel()
	with := func(v float32) tensor.Tensor {
		x := hidden(1, 1, 4, 512)
		valuesOf(t, x)[777] = v
		return x
	}
	for name, c := range map[string]struct {
		x             tensor.Tensor
		float16, int8 bool
	}{
		"hidden states":         {hidden(1, 1, 4, 512), true, true},
		"a scalar":              {tensor.Of(nil, []float32{1}), false, false},
		"a small tensor":        {hidden(1, 1, 2, 511), false, false},
		"one that is not small": {hidden(1, 1, 2, 512), true, true},
		"a long vector":         {hidden(1, 1, 2048), true, true},
		"a column":              {hidden(1, 1, 2048, 1), true, false}, // it would grow
		"no elements":           {tensor.Of([]int64{0, 512}, []float32{}), false, false},
		"ids":                   {tensor.Of([]int64{4, 512}, make([]int64, 2048)), false, false},
		"float16":               {tensor.Tensor{DType: tensor.Float16, Shape: []int64{4096}, Data: make([]byte, 8192)}, false, false},
		"65519":                 {with(65519), true, true},
		"65520":                 {with(65520), false, true},
		"-1e38":                 {with(-1e38), false, true},
		"2^127":                 {with(0x1p127), false, false},
		"-MaxFloat32":           {with(-math.MaxFloat32), false, false}, // of a mask
		"infinity":              {with(inf), false, false},
		"NaN":                   {with(nan), false, false},
	} {
		for e, want := range map[Encoding]bool{Float32: false, Float16: c.float16, Int8: c.int8} {
			if _, ok := e.Narrow(c.x, alloc); ok != want {
				t.Errorf("%s: narrowed to %s is %v", name, e, ok)
			}
		}
	}
}

func TestWrongScalesAreRefused(t *testing.T) {
	t.Parallel()
	scales := func(values ...float32) []byte {
		var b []byte
		for _, v := range values {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
		}
		return b
	}
	for _, c := range []struct {
		shape  []int64
		scales []byte
		says   string
	}{
		{[]int64{2, 3}, scales(1), "needs 8 bytes of scales, there are 4"},
		{[]int64{2, 3}, scales(1, 2, 3), "needs 8 bytes"},
		{[]int64{2, 3}, scales(1, 2)[:7], "needs 8 bytes"},
		{[]int64{6}, nil, "needs 4 bytes"},
		{[]int64{2, 3}, scales(1, nan), "scale of row 1 is NaN"},
		{[]int64{2, 3}, scales(inf, 1), "scale of row 0 is +Inf"},
		{[]int64{2, 3}, scales(1, -1), "scale of row 1 is -1"},
	} {
		err := Scale(make([]float32, 6), c.shape, c.scales)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v, %v: %v; want %q", c.shape, c.scales, err, c.says)
		}
	}
	values := []float32{1, 2, 3, 4, 5, 6}
	if err := Scale(values, []int64{2, 3}, scales(0, 0.5)); err != nil || !slices.Equal(values, []float32{0, 0, 0, 2, 2.5, 3}) {
		t.Errorf("%v, %v", values, err)
	}
	if err := Scale(nil, []int64{3, 0}, nil); err != nil {
		t.Error(err)
	}
}

func TestNamesAreParsed(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]Encoding{"": Float32, "float32": Float32, "float16": Float16, "int8": Int8} {
		if e, err := Parse(name); e != want || err != nil {
			t.Errorf("%q is %q (%v)", name, e, err)
		}
	}
	if _, err := Parse("fp16"); err == nil || !strings.Contains(err.Error(), `"fp16"; known are float32, float16, int8`) {
		t.Error(err)
	}
}

// runnerFunc is a pipeline.Runner.
type runnerFunc func(context.Context, tensor.Bag) (tensor.Bag, error)

func (f runnerFunc) Run(ctx context.Context, in tensor.Bag) (tensor.Bag, error) { return f(ctx, in) }

func TestAChainNarrowsBetweenItsStagesOnly(t *testing.T) {
	t.Parallel()
	same := runnerFunc(func(_ context.Context, in tensor.Bag) (tensor.Bag, error) { return in, nil })
	x := hidden(1, 1, 8, 128)
	ids := tensor.Of([]int64{8}, make([]int64, 8))
	in := tensor.Bag{"x": x, "ids": ids}
	stage := pipeline.Stage{Runner: same, Inputs: []string{"x"}, Forward: []string{"ids"}}
	for e, crossed := range map[Encoding]int64{Float32: 4096, Float16: 2048, Int8: 1024 + 8*4} {
		for stages := range 4 {
			c := NewChain(slices.Repeat(pipeline.Chain{stage}, stages), e)
			out, err := c.Run(t.Context(), in)
			if err != nil || len(out) != 2 {
				t.Fatalf("%v, %v", out, err)
			}
			want := valuesOf(t, x)
			if stages > 1 && e != Float32 {
				want = there(t, e, x)
			}
			if e != Int8 && !slices.Equal(valuesOf(t, out["x"]), want) { // int8 rounds again at each cut
				t.Errorf("%s, %d stages: another x", e, stages)
			}
			if got := c.Crossed(); len(got) != max(0, stages-1) || slices.ContainsFunc(got, func(n int64) bool { return n != crossed+64 }) {
				t.Errorf("%s, %d stages: %v bytes crossed, want %d", e, stages, got, crossed+64)
			}
		}
	}
}

func BenchmarkInt8(b *testing.B) {
	x := hidden(1, 1, 32, 26, 384)
	n, _ := Int8.Narrow(x, alloc)
	values := make([]float32, len(n.Data))
	perElement := func(b *testing.B) {
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(values)), "ns/element")
	}
	b.Run("narrow", func(b *testing.B) {
		for b.Loop() {
			Int8.Narrow(x, func(int) []byte { return n.Data })
		}
		perElement(b)
	})
	b.Run("widen", func(b *testing.B) {
		for b.Loop() {
			Int8.Widen(values, n.Data)
			if err := Scale(values, x.Shape, n.Scales); err != nil {
				b.Fatal(err)
			}
		}
		perElement(b)
	})
}
