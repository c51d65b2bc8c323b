package main

import "testing"

func TestStagesGiveMetricsBehindTheFront(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		admin  string
		number int
		want   string // "" is a refusal, but of no --admin
	}{
		{"", 1, ""},
		{"localhost:9099", 0, "localhost:9100"},
		{"localhost:9099", 2, "localhost:9102"},
		{":9099", 0, ":9100"},
		{"[::1]:9099", 1, "[::1]:9101"},
		{"localhost:0", 3, "localhost:0"},
		{"localhost:65533", 1, "localhost:65535"},
		{"localhost:65533", 2, ""},
	} {
		var o upOptions
		o.Admin = c.admin
		got, err := o.stageAdmin(c.number)
		if got != c.want || (err != nil) != (c.want == "" && c.admin != "") {
			t.Errorf("stage process %d behind %q gives metrics at %q, want %q: %v", c.number, c.admin, got, c.want, err)
		}
	}
}
