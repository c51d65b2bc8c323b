package main

import "testing"

func TestReplicasComputeAtOnce(t *testing.T) {
	for _, c := range []struct {
		addresses [][]string
		want      int
	}{
		{[][]string{{"a:1"}}, 2},
		{[][]string{{"a:1", "b:1", "c:1"}}, 6},
		{[][]string{{"a:1", "b:1"}, {"c:1"}}, 6},
	} {
		if got := batchesAtOnce(c.addresses); got != c.want {
			t.Errorf("%v: %d, not %d", c.addresses, got, c.want)
		}
	}
}
