package encodings

import (
	"testing"
	"time"

	"github.com/distinfer/distinfer/runtime/encoding"
)

// A tensor of a megabyte, half of which is saved by an effort of 4 ms, breaks even
// where half a megabyte takes as long: at 1 Gbit/s.
func TestBreakEvenIsWhereTheEffortIsAsLongAsWhatIsSaved(t *testing.T) {
	t.Parallel()
	rows := func(speeds ...int) (list []row) {
		for _, s := range speeds {
			megabit := time.Duration(inverse(s) * float64(time.Second))
			list = append(list, row{speed: s, hop: map[encoding.Encoding]time.Duration{
				encoding.Float32: 3*time.Millisecond + 8*megabit, encoding.Float16: 7*time.Millisecond + 4*megabit,
			}})
		}
		return list
	}
	for _, c := range []struct {
		rows []row
		want string
	}{
		{rows(0, 2000, 800, 100), "1 Gbit/s"},
		{rows(0, 10), "1 Gbit/s"},
		{rows(800, 100), "more than the fastest link measured (800 Mbit/s)"},
		{rows(0, 2000), "less than the slowest link measured (2 Gbit/s)"},
	} {
		if got := breakEven(c.rows, encoding.Float16); got != c.want {
			t.Errorf("%v: %s, want %s", c.rows, got, c.want)
		}
	}
	k := kind{bytes: 1e6, converting: map[encoding.Encoding]time.Duration{encoding.Float16: 4 * time.Millisecond}, share: map[encoding.Encoding]float64{encoding.Float16: 0.5}}
	if got := speed(k.foretold(encoding.Float16)); got != "1 Gbit/s" {
		t.Errorf("foretold is %s", got)
	}
}
