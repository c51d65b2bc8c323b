package tensor

import (
	"math"
	"testing"
)

func TestFloatsOfEightBitsAreWidened(t *testing.T) {
	t.Parallel()
	nan, inf := math.NaN(), math.Inf(1)
	for _, c := range []struct {
		d    DType
		bits uint8
		want float64
	}{
		{Float8E4M3FN, 0x38, 1}, {Float8E4M3FN, 0x7e, 448}, {Float8E4M3FN, 0x01, 0x1p-9}, {Float8E4M3FN, 0xff, nan}, {Float8E4M3FN, 0x80, 0},
		{Float8E4M3FNUZ, 0x40, 1}, {Float8E4M3FNUZ, 0x7f, 240}, {Float8E4M3FNUZ, 0x80, nan}, {Float8E4M3FNUZ, 0x01, 0x1p-10},
		{Float8E5M2, 0x3c, 1}, {Float8E5M2, 0x7b, 57344}, {Float8E5M2, 0xfc, -inf}, {Float8E5M2, 0x7d, nan}, {Float8E5M2, 0x01, 0x1p-16},
		{Float8E5M2FNUZ, 0xc0, -1}, {Float8E5M2FNUZ, 0x7f, 57344}, {Float8E5M2FNUZ, 0x80, nan}, {Float8E5M2FNUZ, 0x01, 0x1p-17},
	} {
		if got := FromFloat8(c.d, c.bits); got != c.want && !(math.IsNaN(got) && math.IsNaN(c.want)) {
			t.Errorf("%s %#x is %g, want %g", c.d, c.bits, got, c.want)
		}
	}
}
