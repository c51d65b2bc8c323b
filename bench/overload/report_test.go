package overload

import "testing"

func TestCourseComparesTheHalvesOfAProcess(t *testing.T) {
	t.Parallel()
	looks := [][]float64{{1, 10}, {2, 40}, {1, 20}, {3, 30}, {2, 20}}
	if most, growth := course(looks, 0); most != 3 || growth != 1.5 {
		t.Errorf("%v, %v", most, growth)
	}
	if most, growth := course(looks, 1); most != 40 || growth != 0.75 {
		t.Errorf("%v, %v", most, growth)
	}
}
