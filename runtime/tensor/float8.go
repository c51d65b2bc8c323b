package tensor

import "math"

// FromFloat8 widens a float of 8 bits, as onnx.proto describes the four kinds.
func FromFloat8(d DType, bits uint8) float64 {
	mantissa, bias, special := 3, 7, uint8(0x7f) // Float8E4M3FN: one NaN, no infinity
	switch d {
	case Float8E4M3FNUZ:
		bias = 8
	case Float8E5M2:
		mantissa, bias, special = 2, 15, 0x7c
	case Float8E5M2FNUZ:
		mantissa, bias = 2, 16
	}
	sign := 1.0
	if bits&0x80 != 0 {
		sign = -1
	}
	magnitude := bits & 0x7f
	switch unsignedZero := d == Float8E4M3FNUZ || d == Float8E5M2FNUZ; {
	case unsignedZero && bits == 0x80, !unsignedZero && magnitude > special, d == Float8E4M3FN && magnitude == special:
		return math.NaN()
	case d == Float8E5M2 && magnitude == special:
		return math.Inf(int(sign))
	}
	exponent := int(magnitude >> mantissa)
	fraction := float64(magnitude&(1<<mantissa-1)) / float64(int(1)<<mantissa)
	if exponent == 0 {
		return sign * math.Ldexp(fraction, 1-bias)
	}
	return sign * math.Ldexp(1+fraction, exponent-bias)
}
