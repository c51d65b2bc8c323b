package bundle

import (
	"fmt"
	"slices"
)

// The sides of a text that a batch is padded on.
const (
	Left  = "left"
	Right = "right"
)

// Rows says which texts a model may get in one batch without changing each other's answers, as
// tried when the model was split. What was not tried is not allowed.
type Rows struct {
	// Independent reports whether texts of equal length may be computed together. Otherwise each is
	// computed alone.
	Independent bool `json:"independent"`
	// Padding are the sides, Left and Right, on which padding changes no answer. Without one, only
	// texts of equal length may be computed together.
	Padding []string `json:"padding,omitempty"`
	// Reason says why the rows are not independent, or why a side is missing.
	Reason string `json:"reason,omitempty"`
}

// Untested are the rows of a bundle that does not say what they are.
var Untested = Rows{Reason: "the bundle does not say which texts may be computed together: split the model again"}

// Together says which texts may be computed together, for people.
func (r Rows) Together() string {
	switch {
	case !r.Independent:
		return "none: each text is computed alone"
	case len(r.Padding) == 0:
		return "texts of equal length"
	case len(r.Padding) == 2:
		return "texts of any length, padded on either side"
	}
	return "texts of any length, padded on the " + r.Padding[0]
}

func (r *Rows) check() error {
	if n := len(r.Reason); n > maxName {
		return fmt.Errorf("the reason in rows has %d bytes, more than %d", n, maxName)
	}
	for i, side := range r.Padding {
		if side != Left && side != Right || slices.Contains(r.Padding[:i], side) {
			return fmt.Errorf("a side of padding in rows is %.100q; it can be %s or %s, each once", side, Left, Right)
		}
	}
	if len(r.Padding) > 0 && !r.Independent {
		return fmt.Errorf("rows that are not independent are said to be so when padded on the %s", r.Padding[0])
	}
	return nil
}
