package oip

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/distinfer/distinfer/runtime/errcode"
)

// Parameters are those of a request, an input or an output, over HTTP or gRPC:
// bool, int64, uint64, float64 and string, and nil for other types. Unknown ones are ignored, as
// the protocol says.
type parameters map[string]any

// refused are the parameters that would change an answer in a way that is not possible
// here, and what to do instead.
var refused = []struct{ name, instead string }{
	{"shared_memory_region", "tensors cannot be in shared memory; send them in the request"},
	{"sequence_id", "a model keeps nothing between requests; send each by itself"},
	{"priority", "requests have no priorities; leave it out"},
	{"classification", "take the output as it is, or ask the model whose name ends in " + textSuffix},
}

// check refuses what cannot be honoured. Of is what has the parameters.
func (p parameters) check(of string) error {
	for _, r := range refused {
		switch p[r.name] {
		case nil, int64(0), uint64(0), float64(0), "":
		default:
			return errcode.Errorf(errcode.Invalid, "%s has the parameter %s, which is not supported: %s", of, r.name, r.instead)
		}
	}
	return nil
}

// flag is a parameter that is true or false, or what is meant when it is missing.
func (p parameters) flag(name string, missing bool) (bool, error) {
	v, given := p[name]
	if !given {
		return missing, nil
	}
	b, ok := v.(bool)
	if !ok {
		return false, errcode.Errorf(errcode.Invalid, "the parameter %s must be true or false", name)
	}
	return b, nil
}

// number is a parameter that is a whole number from 0 on.
func (p parameters) number(name string) (n int64, given bool, err error) {
	switch v := p[name].(type) {
	case int64:
		n = v
	case uint64:
		n = int64(min(v, math.MaxInt64))
	case float64: // 3.0 is whole, too, and more than any that matters is as much as that
		if v != math.Trunc(v) {
			return 0, true, errcode.Errorf(errcode.Invalid, "the parameter %s must be a whole number", name)
		}
		n = int64(max(-1, min(v, 1<<62)))
	default:
		if _, given = p[name]; given {
			return 0, true, errcode.Errorf(errcode.Invalid, "the parameter %s must be a whole number", name)
		}
		return 0, false, nil
	}
	if n < 0 {
		return 0, true, errcode.Errorf(errcode.Invalid, "the parameter %s is %d; it can be 0 or more", name, n)
	}
	return n, true, nil
}

// timeout is the time that a request allows itself in microseconds, as Triton has it,
// if that is less than what it has anyway.
func (p parameters) timeout(allowed time.Duration) (time.Duration, error) {
	n, _, err := p.number("timeout")
	if err != nil || n == 0 || n >= allowed.Microseconds() {
		return allowed, err
	}
	return time.Duration(n) * time.Microsecond, nil
}

// quote is a name that a client sent, short enough for a message.
func quote(name string) string {
	return fmt.Sprintf("%.100q", strings.ToValidUTF8(name, "\ufffd"))
}
