package cluster

import "testing"

func TestRanksHereAreThoseOnThisMachine(t *testing.T) {
	t.Parallel()
	const elsewhere = "192.0.2.1:2222"
	for _, c := range []struct {
		stages Addresses
		listen string
		want   int
	}{
		{nil, "localhost:2222", 3},
		{nil, "127.0.0.1:2222", 3},
		{nil, elsewhere, 1},
		{Addresses{{"localhost:1"}, {elsewhere}, {elsewhere, "127.0.0.1:3"}}, "localhost:1", 2},
		{Addresses{{elsewhere}, {elsewhere}, {elsewhere}}, elsewhere, 1},
	} {
		if got := c.stages.RanksHere(t.Context(), 3, c.listen); got != c.want {
			t.Errorf("%v, listening on %s: %d, want %d", c.stages, c.listen, got, c.want)
		}
	}
}
