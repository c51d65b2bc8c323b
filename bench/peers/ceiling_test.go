package peers

import (
	"slices"
	"testing"

	"github.com/distinfer/distinfer/runtime/tensor"
)

// tokens are the inputs of one text of n tokens, all of the same id.
func tokens(id int64, n int) tensor.Bag {
	ids, mask := slices.Repeat([]int64{id}, n), slices.Repeat([]int64{1}, n)
	shape := []int64{1, int64(n)}
	return tensor.Bag{"input_ids": tensor.Of(shape, ids), "attention_mask": tensor.Of(shape, mask)}
}

func values(t *testing.T, b tensor.Bag, name string) []int64 {
	t.Helper()
	v, err := tensor.As[int64](b[name])
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestAStackIsFilledUpBehindEachText(t *testing.T) {
	t.Parallel()
	got, err := stack([]tensor.Bag{tokens(7, 1), tokens(8, 3)})
	if err != nil {
		t.Fatal(err)
	}
	if ids := values(t, got, "input_ids"); !slices.Equal(ids, []int64{7, 0, 0, 8, 8, 8}) {
		t.Errorf("ids %v", ids)
	}
	if mask := values(t, got, "attention_mask"); !slices.Equal(mask, []int64{1, 0, 0, 1, 1, 1}) {
		t.Errorf("mask %v", mask)
	}
}

func TestOnlyTextsAtHandAreSorted(t *testing.T) {
	t.Parallel()
	c := &ceiling{single: []tensor.Bag{tokens(1, 4), tokens(2, 2), tokens(3, 3), tokens(4, 1)}}
	for _, test := range []struct {
		concurrency, piece int
		want               [][]int64 // the first ids of the rows of each batch
	}{
		{1, 1, [][]int64{{1}, {2}, {3}, {4}}},
		{2, 2, [][]int64{{2, 1}, {4, 3}}},
		{2, 1, [][]int64{{2}, {1}, {4}, {3}}},
		{wholeSet, 3, [][]int64{{4, 2, 3}, {1}}},
	} {
		batches, err := c.batches(test.concurrency, test.piece)
		if err != nil {
			t.Fatal(err)
		}
		var got [][]int64
		for _, b := range batches {
			var first []int64
			for row := range slices.Chunk(values(t, b, "input_ids"), int(length(b))) {
				first = append(first, row[0])
			}
			got = append(got, first)
		}
		if !slices.EqualFunc(got, test.want, slices.Equal) {
			t.Errorf("at %d in pieces of %d: %v, not %v", test.concurrency, test.piece, got, test.want)
		}
	}
}

func TestFormsFitTheTextsAtHand(t *testing.T) {
	t.Parallel()
	c := &ceiling{processors: 2}
	if got := c.forms(1); !slices.Equal(got, []form{{1, 2, 1}}) {
		t.Errorf("one at a time: %v", got)
	}
	if got := c.forms(3); !slices.Equal(got, []form{{1, 2, 3}}) {
		t.Errorf("fewer than the smallest piece: %v", got)
	}
	if got := c.forms(8); !slices.Equal(got, []form{{1, 2, 4}, {2, 1, 4}, {1, 2, 8}, {2, 1, 8}}) {
		t.Errorf("eight: %v", got)
	}
	if got := (&ceiling{processors: 1}).forms(4); !slices.Equal(got, []form{{1, 1, 4}}) {
		t.Errorf("one processor: %v", got)
	}
}
