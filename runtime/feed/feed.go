// Package feed says how the inputs of a text model are filled: which one takes the ids of tokens,
// which a mask, positions, or a cache that is still empty; and which cannot be filled from texts.
//
// It knows names, types and dimensions of inputs. It does not know how texts become tokens, nor
// what computes.
package feed

import (
	"slices"

	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/text"
)

// A Model is what is known of a model beside its inputs.
type Model struct {
	Type string // model_type of config.json, such as "bert"; "" is unknown

	// PadID is the id behind which positions begin, for models that number tokens other than
	// this one (RoBERTa and its kin); -1 for models that number places.
	PadID int64

	// Heads and HeadSize are those of the keys and values, for a cache whose dimensions the
	// model does not fix; 0 is unknown.
	Heads, HeadSize int64

	// GlobalFirst says that the first token has global attention, and not none, where the model
	// leaves that open.
	GlobalFirst bool
}

// A Plan says how each input is filled.
type Plan struct {
	IDs       string // name of the input of ids
	Mask      string // of the mask of padding; "" is none
	Types     string // of the types of tokens; "" is none
	Positions string // of the positions; "" is none

	// First is the position of the first token.
	First int64
	// Rows and Length are what the model fixes; 0 is any.
	Rows, Length int

	inputs []input
	model  Model
}

// An input is one that can be filled.
type input struct {
	tensor.Spec
	role
	cache []int64 // dimensions of a cache; see cacheShape
}

// New plans how to fill inputs. It fails with an Error when one cannot be.
func New(inputs []tensor.Spec, m Model) (*Plan, error) {
	p := &Plan{model: m, First: first(m)}
	unknown := -1
	for _, spec := range inputs {
		r := roleOf(spec, m)
		if r == 0 {
			if why, from := refusal(spec.Name); why != "" {
				return nil, &Error{spec, why, from}
			}
			if unknown >= 0 {
				return nil, &Error{p.inputs[unknown].Spec, "its name does not say what it is for", Unknown}
			}
			unknown = len(p.inputs)
		}
		p.inputs = append(p.inputs, input{Spec: spec, role: r})
	}
	if unknown >= 0 {
		if p.has(ids) || !integers(p.inputs[unknown].Spec) || len(p.inputs[unknown].Dims) != 2 {
			return nil, &Error{p.inputs[unknown].Spec, "its name does not say what it is for", Unknown}
		}
		p.inputs[unknown].role = ids // without ids a model reads no text, so these are they
	}
	if !p.has(ids) {
		return nil, &NoIDsError{inputs}
	}
	for i := range p.inputs {
		if err := p.take(&p.inputs[i]); err != nil {
			return nil, err
		}
	}
	if p.Length == 1 && p.has(cache) {
		return nil, &Error{p.ids(), "it takes one token at a time, each with the cache of those before it", Step}
	}
	return p, nil
}

// IDs is the name of the input that takes ids; "" where there is none.
func IDs(inputs []tensor.Spec) string {
	p, err := New(inputs, Model{PadID: -1})
	if err != nil {
		return ""
	}
	return p.IDs
}

func (p *Plan) has(r role) bool {
	return slices.ContainsFunc(p.inputs, func(in input) bool { return in.role == r })
}

// ids is the input of ids.
func (p *Plan) ids() tensor.Spec {
	return p.inputs[slices.IndexFunc(p.inputs, func(in input) bool { return in.role == ids })].Spec
}

// take checks an input, and notes what the model fixes by it.
func (p *Plan) take(in *input) error {
	if err := in.check(); err != nil {
		return err
	}
	for name, r := range map[*string]role{&p.IDs: ids, &p.Mask: mask, &p.Types: types, &p.Positions: positions} {
		if in.role != r {
			continue
		}
		if *name != "" {
			return &Error{in.Spec, "another input, " + *name + ", seems to be for the same", Unknown}
		}
		*name = in.Name
	}
	var err error
	switch in.role {
	case cache:
		if in.cache, err = cacheShape(in.Spec, p.model); err != nil {
			return err
		}
	case ids, mask, types, positions, globalMask, unmasked, cachePositions:
		if length := in.Dims[len(in.Dims)-1]; length.IsFixed() {
			if err := fix(&p.Length, length, in.Spec, "tokens"); err != nil {
				return err
			}
		}
	}
	switch {
	case in.role == positions && in.shared(p.ids()), len(in.Dims) < 2:
		return nil // one row of them serves all texts
	case in.role == cache && in.cache[0] != perRow:
		return nil
	case in.Dims[0].IsFixed():
		return fix(&p.Rows, in.Dims[0], in.Spec, "texts")
	}
	return nil
}

// shared reports whether the positions of one text are for all of a batch.
func (in input) shared(ids tensor.Spec) bool {
	return len(in.Dims) == 1 || in.Dims[0].IsFixed() && in.Dims[0].Size == 1 && !ids.Dims[0].IsFixed()
}

// fix notes a number that the model fixes, which has to be the same for all inputs.
func fix(n *int, d tensor.Dim, s tensor.Spec, of string) error {
	if d.Size < 1 || *n > 0 && int64(*n) != d.Size {
		return &Error{s, "it fixes another number of " + of + " than the inputs before it, or none", Fixed}
	}
	*n = int(d.Size)
	return nil
}

// Batch makes the model's inputs of a batch of texts. They may share memory with it.
func (p *Plan) Batch(b text.Batch) tensor.Bag {
	bag := make(tensor.Bag, len(p.inputs))
	ids := p.ids()
	for _, in := range p.inputs {
		rows := int64(b.Rows)
		if in.role == positions && in.shared(ids) {
			rows = 1
		}
		shape := []int64{rows, int64(b.Length)}
		switch {
		case in.role == cache:
			shape = in.empty(int64(b.Rows))
		case in.role == useCache || in.role == keepLogits:
			shape = make([]int64, len(in.Dims))
			for i := range shape {
				shape[i] = 1
			}
		case len(in.Dims) == 1:
			shape = shape[1:]
		}
		bag[in.Name] = of(in.DType, shape, p.values(in, b))
	}
	return bag
}
