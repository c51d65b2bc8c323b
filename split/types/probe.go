package types

import (
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/onnxfile"
)

// probed is what was found at other sizes than the reference.
type probed struct {
	points []Point // at two sets of sizes, or none when the model does not take them
	// symbolic is what is known without sizes. It is nil when that is not needed to
	// tell which dimensions are fixed, since one of the sets has large sizes.
	symbolic map[string]tensor.Spec
	declared map[string]tensor.Spec // what the model itself says
}

// A Point is the specs of all values at some sizes of the inputs' dimensions.
type Point struct {
	Sizes tensor.Sizes
	Specs map[string]tensor.Spec
}

// probe asks at two sets of sizes, small ones and large ones if the model takes
// them: a dimension may stay the same over many sizes (behind a convolution with a
// stride), or stop to follow another (at a limit on positions).
func (q *Inference) probe(names []string) probed {
	if len(names) == 0 {
		return probed{} // all is fixed
	}
	ask := func(p *probed, sizes tensor.Sizes) bool {
		specs, err := q.at(sizes, false)
		if err == nil {
			p.points = append(p.points, Point{sizes, specs})
		}
		return err == nil
	}
	p := probed{declared: map[string]tensor.Spec{}}
	for _, list := range [][]onnxfile.ValueInfo{q.g.Model.Graph.Values, q.g.Model.Graph.Outputs} {
		for _, v := range list {
			p.declared[v.Spec.Name] = v.Spec
		}
	}
	small, next := probes(names, 1)
	if ask(&p, small) {
		if ask(&p, largeProbe(names)) {
			return p
		}
		ask(&p, next)
	} else {
		small, next = probes(names, 16)
		if ask(&p, small) {
			ask(&p, next)
		}
	}
	if len(p.points) < 2 {
		p.points = nil
	}
	var err error
	if p.symbolic, err = q.at(nil, false); err != nil {
		p.symbolic = map[string]tensor.Spec{}
	}
	return p
}

// probes are two sets of sizes, multiples of times: dimension k is the k-th prime
// in the first and the one after it in the second, so that no two dimensions have
// the same pair of sizes, and none is large.
func probes(names []string, times int64) (first, second tensor.Sizes) {
	first, second = tensor.Sizes{}, tensor.Sizes{}
	prime := int64(2)
	for _, name := range names {
		first[name] = prime * times
		prime = nextPrime(prime)
		second[name] = prime * times
	}
	return first, second
}

func nextPrime(n int64) int64 {
	for {
		n++
		composite := false
		for d := int64(2); d*d <= n && !composite; d++ {
			composite = n%d == 0
		}
		if !composite {
			return n
		}
	}
}

// largeProbe are sizes that no layer of a model is likely to have, all different.
func largeProbe(names []string) tensor.Sizes {
	sizes := tensor.Sizes{}
	prime := int64(1000)
	for _, name := range names {
		prime = nextPrime(prime)
		sizes[name] = prime
	}
	return sizes
}

// follow tells, from what a value's dimensions were at the reference and at other
// sizes, which of them are fixed and which follow a dimension of the inputs.
// Everything else is unknown.
func (p probed) follow(at tensor.Spec, names []string, reference tensor.Sizes) []tensor.Dim {
	if len(names) == 0 {
		return at.Dims
	}
	dims := make([]tensor.Dim, len(at.Dims))
	for i, d := range at.Dims {
		if fixed := p.fixed(at.Name, i, d); fixed {
			dims[i] = d
			continue
		}
		for _, n := range names {
			if d.IsFixed() && d.Size == reference[n] && p.follows(at.Name, i, n) {
				dims[i] = tensor.Named(n)
			}
		}
	}
	return dims
}

// fixed reports whether dimension i of a value is d whatever the inputs' sizes are.
func (p probed) fixed(name string, i int, d tensor.Dim) bool {
	if !d.IsFixed() {
		return false
	}
	for _, a := range p.points {
		if dims := a.Specs[name].Dims; i >= len(dims) || dims[i] != d {
			return false
		}
	}
	if p.symbolic == nil {
		return true
	}
	for _, known := range []map[string]tensor.Spec{p.symbolic, p.declared} {
		if dims := known[name].Dims; i < len(dims) && dims[i] == d {
			return true
		}
	}
	return false
}

// follows reports whether dimension i of a value was that of the given name at all
// sizes that were asked.
func (p probed) follows(name string, i int, dim string) bool {
	for _, a := range p.points {
		if dims := a.Specs[name].Dims; i >= len(dims) || dims[i] != tensor.Fixed(a.Sizes[dim]) {
			return false
		}
	}
	return len(p.points) > 0
}
