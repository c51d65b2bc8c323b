package tensor

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A Dim is one dimension of a Spec: a fixed size, a size that is known by a
// name ("batch") and equal wherever the name stands, or unknown (the zero Dim).
type Dim struct {
	Size int64  // 0 unless fixed
	Name string // "" unless named

	fixed bool
}

// Fixed is a dimension of the given size.
func Fixed(size int64) Dim { return Dim{Size: size, fixed: true} }

// Named is a dimension whose size is known by name.
func Named(name string) Dim { return Dim{Name: name} }

// IsFixed reports whether the dimension's size is known beforehand.
func (d Dim) IsFixed() bool { return d.fixed }

// String is the size, the name, or "?".
func (d Dim) String() string {
	switch {
	case d.fixed:
		return strconv.FormatInt(d.Size, 10)
	case d.Name != "":
		return d.Name
	}
	return "?"
}

// MarshalJSON writes a number, a string, or null.
func (d Dim) MarshalJSON() ([]byte, error) {
	switch {
	case d.fixed:
		return json.Marshal(d.Size)
	case d.Name != "":
		return json.Marshal(d.Name)
	}
	return []byte("null"), nil
}

// UnmarshalJSON reads what MarshalJSON writes.
func (d *Dim) UnmarshalJSON(b []byte) error {
	*d = Dim{}
	if string(b) == "null" {
		return nil
	}
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &d.Name)
	}
	var n int64
	if err := json.Unmarshal(b, &n); err != nil {
		return fmt.Errorf("dimension %s: want a number, a name or null", b)
	}
	if n < 0 {
		return fmt.Errorf("dimension %d is negative", n)
	}
	*d = Fixed(n)
	return nil
}

// A Spec describes a value before there is one: its name, its element type and its dimensions.
type Spec struct {
	Name  string `json:"name"`
	DType DType  `json:"dtype"`
	Dims  []Dim  `json:"dims"`
	// AnyRank is set when not even the number of dimensions is known; Dims is
	// then empty.
	AnyRank bool `json:"any_rank,omitempty"`
}

// String is such as "input_ids int64[batch,sequence]".
func (s Spec) String() string {
	dims := make([]string, len(s.Dims))
	for i, d := range s.Dims {
		dims[i] = d.String()
	}
	inner := strings.Join(dims, ",")
	if s.AnyRank {
		inner = "…"
	}
	return fmt.Sprintf("%s %s[%s]", s.Name, s.DType, inner)
}

// Sizes maps the names of dimensions to their sizes in one run.
type Sizes map[string]int64

// Match checks a tensor against the spec, and adds the sizes of its named dimensions to sizes. It
// fails when the type, the rank, a fixed dimension, or a named dimension that already has another
// size does not agree.
func (s Spec) Match(t Tensor, sizes Sizes) error {
	if t.DType != s.DType {
		return fmt.Errorf("%q is %s, the model wants %s", s.Name, t.DType, s.DType)
	}
	if err := t.Check(); err != nil {
		return fmt.Errorf("%q: %w", s.Name, err)
	}
	if s.AnyRank {
		return nil
	}
	if len(t.Shape) != len(s.Dims) {
		return fmt.Errorf("%q has shape %v, the model wants %s", s.Name, t.Shape, s)
	}
	for i, d := range s.Dims {
		got := t.Shape[i]
		if d.fixed && got != d.Size {
			return fmt.Errorf("%q has shape %v, the model wants %s", s.Name, t.Shape, s)
		}
		if d.Name == "" {
			continue
		}
		if have, ok := sizes[d.Name]; ok && have != got {
			return fmt.Errorf("%q has shape %v: dimension %s is %d here and %d elsewhere", s.Name, t.Shape, d.Name, got, have)
		}
		sizes[d.Name] = got
	}
	return nil
}

// Resolve gives the shape the value will have at the given sizes; ok is false
// when a dimension is unknown.
func (s Spec) Resolve(sizes Sizes) (shape []int64, ok bool) {
	if s.AnyRank {
		return nil, false
	}
	shape = make([]int64, len(s.Dims))
	for i, d := range s.Dims {
		switch {
		case d.fixed:
			shape[i] = d.Size
		case d.Name != "":
			n, known := sizes[d.Name]
			if !known {
				return nil, false
			}
			shape[i] = n
		default:
			return nil, false
		}
	}
	return shape, true
}

// MatchAll checks a bag against the specs of everything it must hold, and returns the sizes of the
// named dimensions. A missing tensor is an error that names it; tensors without a spec are ignored.
func MatchAll(specs []Spec, in Bag) (Sizes, error) {
	sizes := Sizes{}
	for _, s := range specs {
		t, ok := in[s.Name]
		if !ok {
			return nil, fmt.Errorf("tensor %q is missing (given: %s)", s.Name, strings.Join(in.Names(), ", "))
		}
		if err := s.Match(t, sizes); err != nil {
			return nil, err
		}
	}
	return sizes, nil
}

// Names are the names of the specs, in their order.
func Names(specs []Spec) []string {
	names := make([]string, len(specs))
	for i, s := range specs {
		names[i] = s.Name
	}
	return names
}

// Find returns the spec of the given name.
func Find(specs []Spec, name string) (Spec, bool) {
	i := slices.IndexFunc(specs, func(s Spec) bool { return s.Name == name })
	if i < 0 {
		return Spec{}, false
	}
	return specs[i], true
}
