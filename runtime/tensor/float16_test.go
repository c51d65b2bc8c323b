package tensor

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// exact16 is what a float16 stands for, by the definition of the format.
func exact16(h uint16) float64 {
	exponent, fraction := int(h>>10&0x1f), float64(h&0x3ff)
	value := math.Ldexp(1+fraction/1024, exponent-15)
	switch {
	case exponent == 0:
		value = math.Ldexp(fraction, -24)
	case exponent == 31 && fraction == 0:
		value = math.Inf(1)
	case exponent == 31:
		return math.NaN()
	}
	if h&0x8000 != 0 {
		value = math.Copysign(value, -1)
	}
	return value
}

// nearest16 finds the float16 that is nearest to a number, and of two as near the even
// one, by comparing it with all of them.
func nearest16(f float32) uint16 {
	if math.IsNaN(float64(f)) {
		return 0x7e00
	}
	x := math.Abs(float64(f))
	above, _ := slices.BinarySearchFunc(magnitudes, x, func(m, x float64) int {
		if m < x {
			return -1
		}
		return 1
	})
	h := uint16(min(above, 0x7c00))
	if above > 0 {
		// 65536 stands for infinity, to which 65520 and more are rounded.
		below, here := magnitudes[h-1], magnitudes[h]
		if d := (x - below) - (here - x); d < 0 || d == 0 && (h-1)%2 == 0 {
			h--
		}
	}
	if math.Signbit(float64(f)) {
		h |= 0x8000
	}
	return h
}

// magnitudes are the numbers that float16 has, by their bits.
var magnitudes = func() []float64 {
	list := make([]float64, 0x7c01)
	for h := range list {
		list[h] = exact16(uint16(h))
	}
	list[0x7c00] = 65536
	return list
}()

func TestFloat16OfEveryPattern(t *testing.T) {
	t.Parallel()
	narrow := make([]uint16, 1<<16)
	for h := range narrow {
		narrow[h] = uint16(h)
	}
	wide := make([]float32, 1<<16)
	WidenFloat16(wide, narrow)
	for h, got := range wide {
		want := exact16(uint16(h))
		if single := FromFloat16(uint16(h)); math.Float32bits(single) != math.Float32bits(got) {
			t.Fatalf("%#04x is %v, and among others %v", h, single, got)
		}
		if math.IsNaN(want) {
			if !math.IsNaN(float64(got)) {
				t.Fatalf("%#04x is %v, want NaN", h, got)
			}
			continue
		}
		if math.Float64bits(float64(got)) != math.Float64bits(want) {
			t.Fatalf("%#04x is %v, want %v", h, got, want)
		}
	}
}

func TestFloat16RoundsToTheNearest(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(5, 6))
	var numbers []float32
	for h := range uint16(0x7bff) {
		// The number, the tie above it, and what is next to these.
		low, high := float32(exact16(h)), float32(exact16(h+1))
		tie := low + (high-low)/2
		for _, f := range []float32{low, tie} {
			numbers = append(numbers, f, math.Nextafter32(f, 0), math.Nextafter32(f, 1e9), -f)
		}
	}
	for range 1 << 20 {
		numbers = append(numbers, math.Float32frombits(random.Uint32())) // of every magnitude
		numbers = append(numbers, float32(random.NormFloat64()))
	}
	for range 1 << 10 {
		numbers = append(numbers, math.Float32frombits(random.Uint32()&0x807fffff)) // subnormal
	}
	numbers = append(numbers, 65504, 65519.99, 65520, -65520, 1e9, float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN()), 0, float32(math.Copysign(0, -1)))
	for _, f := range numbers {
		got, want := ToFloat16(f), nearest16(f)
		if math.IsNaN(float64(f)) {
			got &= 0x7fff
		}
		if got != want {
			t.Fatalf("%v (%#08x) became %#04x, want %#04x", f, math.Float32bits(f), got, want)
		}
	}
	fits := slices.DeleteFunc(numbers, func(f float32) bool { return !(math.Abs(float64(f)) < 65520) })
	narrow := make([]uint16, len(fits))
	if !NarrowFloat16(narrow, fits) {
		t.Error("what fits is refused")
	}
	for i, f := range fits {
		if narrow[i] != nearest16(f) {
			t.Fatalf("%v became %#04x among others, want %#04x", f, narrow[i], nearest16(f))
		}
	}
}

func TestWhatFloat16CannotHoldIsTold(t *testing.T) {
	t.Parallel()
	for _, bad := range []float32{65520, -65520, 1e38, float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN())} {
		for at := range 5 {
			from := make([]float32, 5)
			from[at] = bad
			if NarrowFloat16(make([]uint16, 5), from) {
				t.Errorf("%v at %d is not told of", bad, at)
			}
		}
	}
}

func BenchmarkFloat16(b *testing.B) {
	random := rand.New(rand.NewPCG(7, 8))
	wide := make([]float32, 1<<18)
	for i := range wide {
		wide[i] = float32(random.NormFloat64())
	}
	narrow := make([]uint16, len(wide))
	perElement := func(b *testing.B) {
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(wide)), "ns/element")
	}
	b.Run("narrow", func(b *testing.B) {
		for b.Loop() {
			NarrowFloat16(narrow, wide)
		}
		perElement(b)
	})
	b.Run("widen", func(b *testing.B) {
		for b.Loop() {
			WidenFloat16(wide, narrow)
		}
		perElement(b)
	})
}
