package tensor

import (
	"strings"
	"testing"
)

func TestLimitsNameTheValueAndItsPlace(t *testing.T) {
	t.Parallel()
	l := &Limits{Values: []ValueLimit{{"ids", -3, 2, "E (3 rows)"}, {"types", 0, 0, "T (1 rows)"}}, Sizes: []SizeLimit{{[]string{"a", "b"}, 4}}}
	if err := l.Validate(); err != nil {
		t.Fatal(err)
	}
	for want, c := range map[string]struct {
		ids   Tensor
		sizes Sizes
	}{
		"": {Of([]int64{2, 3}, []int64{-3, 0, 2, 1, 1, 1}), Sizes{"a": 4, "b": 9}},
		`"ids" has the value 3 at [1 2]; its table E (3 rows) takes -3 to 2`:  {Of([]int64{2, 3}, []int64{0, 0, 0, 0, 0, 3}), nil},
		`"ids" has the value -4 at [1]; its table E (3 rows) takes -3 to 2`:   {Of([]int64{2}, []int32{0, -4}), nil},
		`"ids" has the value 200 at []; its table E (3 rows) takes -3 to 2`:   {Of(nil, []uint8{200}), nil},
		"dimension a is 5, and the model's tables are for 4 at most":          {Of([]int64{0}, []int64{}), Sizes{"a": 5, "b": 6}},
		`"types" has the value 1 at [0 1]; its table T (1 rows) takes 0 to 0`: {Of([]int64{1}, []int64{0}), Sizes{"types": 1}},
	} {
		bag := Bag{"ids": c.ids, "types": Of([]int64{1, 2}, []int64{0, c.sizes["types"]})}
		switch err := l.Check(bag, c.sizes); {
		case want == "" && err != nil, want != "" && (err == nil || err.Error() != want):
			t.Errorf("%v, want %q", err, want)
		}
	}
	if err := l.Check(Bag{"other": Of(nil, []float32{1})}, nil); err != nil {
		t.Error(err)
	}
	var none *Limits
	if err := none.Check(nil, nil); err != nil {
		t.Error(err)
	}
	for _, wrong := range []*Limits{{Tokens: -1}, {Values: []ValueLimit{{Min: 1}}}, {Sizes: []SizeLimit{{Max: 1}}}, {Sizes: []SizeLimit{{Dims: []string{"a"}, Max: -1}}}, {Values: make([]ValueLimit, maxLimits+1)}} {
		if err := wrong.Validate(); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v is taken", wrong)
		}
	}
}
