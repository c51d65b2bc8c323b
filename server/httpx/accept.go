package httpx

import (
	"strconv"
	"strings"
)

// Accepted is how much a client likes what it names in headers such as Accept or
// Accept-Encoding (RFC 9110, section 12.4.2): from 0, which is also what it does not name, to
// 1, which is also what it names without a quality.
func Accepted(headers []string, name string) (quality float64) {
	for _, header := range headers {
		for one := range strings.SplitSeq(header, ",") {
			named, parameters, _ := strings.Cut(one, ";")
			if strings.EqualFold(strings.TrimSpace(named), name) {
				quality = max(quality, qualityOf(parameters))
			}
		}
	}
	return quality
}

// qualityOf is the parameter q, and 1 when that is missing or not a quality.
func qualityOf(parameters string) float64 {
	for one := range strings.SplitSeq(parameters, ";") {
		name, value, _ := strings.Cut(one, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "q") {
			continue
		}
		if q, err := strconv.ParseFloat(strings.TrimSpace(value), 64); err == nil && q >= 0 && q <= 1 {
			return q
		}
	}
	return 1
}

// names reports whether one of the headers, such as Accept-Encoding, names something, with
// whatever quality.
func names(headers []string, name string) bool {
	for _, header := range headers {
		for one := range strings.SplitSeq(header, ",") {
			named, _, _ := strings.Cut(one, ";")
			if strings.EqualFold(strings.TrimSpace(named), name) {
				return true
			}
		}
	}
	return false
}
