package cluster

import "testing"

func TestTheGroupOfALeaderWorkerSet(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		leader, port, want string
		size               int
	}{
		{"nlp-0.nlp.default", "2222", "nlp-0.nlp.default:2222,nlp-0-1.nlp.default:2222,nlp-0-2.nlp.default:2222", 3},
		{"nlp-12", "2222", "nlp-12:2222", 1},
		{"nlp-0.nlp", "none", "", 2},
		{"", "2222", "", 2},
		{"nlp-0.nlp", "2222", "", 0},
	} {
		got, err := Group(c.leader, c.size, c.port)
		if (err != nil) != (c.want == "") || err == nil && got.String() != c.want {
			t.Errorf("group of %q with %d pods: %v, %v, want %q", c.leader, c.size, got, err, c.want)
		}
	}
}
