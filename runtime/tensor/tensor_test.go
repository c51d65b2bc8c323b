package tensor

import (
	"encoding/json"
	"math"
	"slices"
	"testing"
)

func TestElementsRefusesWhatWouldWrapAround(t *testing.T) {
	for _, c := range []struct {
		shape []int64
		want  int64
		bad   bool
	}{
		{nil, 1, false},
		{[]int64{2, 3}, 6, false},
		{[]int64{0, 5}, 0, false},
		{[]int64{0, math.MaxInt64}, 0, true},
		{[]int64{math.MaxInt64, 0}, 0, true},
		{[]int64{-1}, 0, true},
		{[]int64{0, -1}, 0, true},
		{[]int64{1 << 31, 1 << 31}, 0, true},
		{[]int64{1<<57 + 1}, 0, true}, // the bits of as many complex128 are 128 modulo 1 << 64
		{[]int64{1 << 32, 1 << 32, 1 << 32}, 0, true},
		{make([]int64, MaxRank+1), 0, true},
	} {
		got, err := Elements(c.shape)
		if (err != nil) != c.bad || got != c.want {
			t.Errorf("Elements(%v) = %d, %v", c.shape, got, err)
		}
	}
}

func TestCheckComparesDataWithShape(t *testing.T) {
	good := []Tensor{
		{DType: Float32, Shape: []int64{2}, Data: make([]byte, 8)},
		{DType: Int4, Shape: []int64{3}, Data: make([]byte, 2)},
		{DType: Bool, Data: make([]byte, 1)},
		{DType: Float32, Shape: []int64{0, 5}},
		{DType: String, Shape: []int64{2}, Strs: []string{"a", ""}},
	}
	for _, x := range good {
		if err := x.Check(); err != nil {
			t.Errorf("%v: %v", x, err)
		}
	}
	bad := []Tensor{
		{DType: Float32, Shape: []int64{2}, Data: make([]byte, 7)},
		{DType: Undefined, Shape: []int64{1}, Data: make([]byte, 1)},
		{DType: 99, Shape: []int64{1}, Data: make([]byte, 1)},
		{DType: String, Shape: []int64{2}, Strs: []string{"a"}},
		{DType: String, Shape: []int64{1}, Strs: []string{"a"}, Data: []byte{1}},
		{DType: Int8, Shape: []int64{1}, Data: []byte{1}, Strs: []string{"a"}},
	}
	for _, x := range bad {
		if x.Check() == nil {
			t.Errorf("%v was accepted", x)
		}
	}
}

func TestAsViewsTheSameMemoryAndCopiesWhenUnaligned(t *testing.T) {
	x := Of([]int64{3}, []int64{1, 2, 3})
	view, err := As[int64](x)
	if err != nil {
		t.Fatal(err)
	}
	view[1] = 7
	if again, _ := As[int64](x); again[1] != 7 {
		t.Error("As copied aligned memory")
	}
	if _, err := As[float32](x); err == nil {
		t.Error("int64 was viewed as float32")
	}
	odd := append([]byte{0}, x.Data...)[1:]
	x.Data = odd
	if got, err := As[int64](x); err != nil || !slices.Equal(got, []int64{1, 7, 3}) {
		t.Errorf("unaligned: %v, %v", got, err)
	}
}

func TestSpecMatchesAndResolves(t *testing.T) {
	ids := Spec{Name: "ids", DType: Int64, Dims: []Dim{Named("batch"), Named("sequence")}}
	mask := Spec{Name: "mask", DType: Int64, Dims: []Dim{Named("batch"), Named("sequence")}}
	hidden := Spec{Name: "hidden", DType: Float32, Dims: []Dim{Named("batch"), Named("sequence"), Fixed(4)}}
	two := func(a, b int64) Tensor { return Of([]int64{a, b}, make([]int64, a*b)) }

	sizes, err := MatchAll([]Spec{ids, mask}, Bag{"ids": two(2, 3), "mask": two(2, 3), "other": two(1, 1)})
	if err != nil {
		t.Fatal(err)
	}
	if shape, ok := hidden.Resolve(sizes); !ok || !slices.Equal(shape, []int64{2, 3, 4}) {
		t.Errorf("hidden resolves to %v, %v", shape, ok)
	}
	if _, ok := (Spec{Dims: []Dim{{}}}).Resolve(sizes); ok {
		t.Error("an unknown dimension resolved")
	}
	if _, ok := (Spec{Dims: []Dim{Named("width")}}).Resolve(sizes); ok {
		t.Error("a name without a size resolved")
	}
	for name, in := range map[string]Bag{
		"missing":            {"ids": two(2, 3)},
		"other type":         {"ids": two(2, 3), "mask": Of([]int64{2, 3}, make([]int32, 6))},
		"other rank":         {"ids": two(2, 3), "mask": Of([]int64{6}, make([]int64, 6))},
		"other size":         {"ids": two(2, 3), "mask": two(2, 4)},
		"data of wrong size": {"ids": two(2, 3), "mask": {DType: Int64, Shape: []int64{2, 3}, Data: make([]byte, 8)}},
	} {
		if _, err := MatchAll([]Spec{ids, mask}, in); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestSpecSurvivesJSON(t *testing.T) {
	in := Spec{Name: "x", DType: BFloat16, Dims: []Dim{Fixed(0), Fixed(3), Named("batch"), {}}}
	b, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"name":"x","dtype":"bfloat16","dims":[0,3,"batch",null]}`; string(b) != want {
		t.Errorf("got %s, want %s", b, want)
	}
	var out Spec
	if err := json.Unmarshal(b, &out); err != nil || out.String() != in.String() || !slices.Equal(out.Dims, in.Dims) {
		t.Errorf("%v came back as %v: %v", in, out, err)
	}
	for _, bad := range []string{`{"dims":[-1]}`, `{"dims":[1.5]}`, `{"dtype":"float31"}`, `{"dims":[{}]}`} {
		if json.Unmarshal([]byte(bad), &out) == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
}

func TestFloat16RoundTripsEveryNumber(t *testing.T) {
	for h := range 1 << 16 {
		h := uint16(h)
		f := FromFloat16(h)
		back := ToFloat16(f)
		if math.IsNaN(float64(f)) {
			if back&0x7c00 != 0x7c00 || back&0x3ff == 0 {
				t.Fatalf("%#04x: NaN became %#04x", h, back)
			}
			continue
		}
		if back != h {
			t.Fatalf("%#04x is %g and became %#04x", h, f, back)
		}
	}
	for f, want := range map[float32]uint16{
		1: 0x3c00, -2: 0xc000, 65504: 0x7bff, 65520: 0x7c00, 65519: 0x7bff, 1e-8: 0, 6e-8: 1,
		1 + 1.0/2048: 0x3c00, 1 + 3.0/2048: 0x3c02, float32(math.Inf(-1)): 0xfc00,
	} {
		if got := ToFloat16(f); got != want {
			t.Errorf("ToFloat16(%g) = %#04x, want %#04x", f, got, want)
		}
	}
}
