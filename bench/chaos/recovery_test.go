package chaos

import (
	"strings"
	"testing"
	"time"
)

// sec makes a request from one second to another.
func sec(start, end float64, o outcome) request {
	return request{at(start), at(end), verdict{outcome: o}}
}

func at(seconds float64) time.Duration { return time.Duration(seconds * float64(time.Second)) }

func TestRecovery(t *testing.T) {
	for _, c := range []struct {
		name     string
		fault    fault
		requests []request
		time     time.Duration
		full     bool
	}{
		{"the last of those in flight", fault{at: at(10), until: at(10)},
			[]request{sec(1, 9, right), sec(9, 10.3, right), sec(9.5, 10.8, right), sec(10.5, 20, right)}, at(0.8), true},
		{"made while it lasts: from when it was made", fault{at: at(10), until: at(14)},
			[]request{sec(9, 10.5, right), sec(11, 13, right), sec(14.5, 20, right)}, at(2), true},
		{"in flight at its end", fault{at: at(10), until: at(14)},
			[]request{sec(13, 16.5, right)}, at(3.5), true},
		{"one of them was not answered right", fault{at: at(10), until: at(10)},
			[]request{sec(9, 10.3, right), sec(9, 10.4, typed)}, at(0.4), false},
		{"an error before and one after do not count", fault{at: at(10), until: at(11)},
			[]request{sec(8, 9.9, lost), sec(9, 10.3, right), sec(11.1, 12, wrong)}, at(0.3), true},
		{"after an outage the next right answer", fault{at: at(10), until: at(14), outage: true},
			[]request{sec(9, 10.5, typed), sec(13, 14.2, typed), sec(14.1, 14.4, right), sec(9, 16, right)}, at(0.4), true},
		{"no right answer after an outage", fault{at: at(10), until: at(14), outage: true},
			[]request{sec(9, 13, right), sec(14, 15, typed)}, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := recoveries([]fault{c.fault}, c.requests)
			if len(got) != 1 || got[0].time != c.time || got[0].full != c.full {
				t.Errorf("got %+v, want %v and full %v", got, c.time, c.full)
			}
		})
	}
}

func TestGapsOfFaults(t *testing.T) {
	requests := []request{sec(0, 9.9, right), sec(0, 10.5, right), sec(0, 11, typed), sec(0, 12, right), sec(0, 19, right), sec(0, 21, right), sec(0, 30, lost)}
	faults := []fault{{at: at(10)}, {at: at(20)}}
	got := recoveries(faults, requests)
	// 12 to 19, in which nothing was answered right; then from 21 to the end.
	if got[0].gap != at(7) || got[1].gap != at(9) {
		t.Errorf("gaps are %v and %v", got[0].gap, got[1].gap)
	}
}

func TestGap(t *testing.T) {
	times := []time.Duration{at(1), at(2), at(6)}
	for _, c := range []struct{ from, to, want time.Duration }{
		{at(0), at(7), at(4)},
		{at(0), at(3), at(1)},
		{at(2.5), at(5), at(2.5)},
		{at(6.5), at(9), at(2.5)},
		{at(0), at(20), at(14)},
	} {
		if got := gap(times, c.from, c.to); got != c.want {
			t.Errorf("from %v to %v the gap is %v, want %v", c.from, c.to, got, c.want)
		}
	}
}

func count(t *testing.T, s scenario, faults []fault, troubles []string, requests ...request) result {
	t.Helper()
	return newResult(&s, requests, faults, 3, troubles, func(s string) string { return strings.ReplaceAll(s, "1234", "a port") })
}

func withStatus(r request, status int, why string) request {
	r.verdict.status, r.verdict.why = status, why
	return r
}

func TestInvariant(t *testing.T) {
	kill := []fault{{at: at(5), until: at(6)}}
	good := sec(1, 2, right)
	for _, c := range []struct {
		name string
		got  result
		held bool
	}{
		{"all right", count(t, scenario{}, kill, nil, good), true},
		{"no request", count(t, scenario{}, kill, nil), false},
		{"no fault", count(t, scenario{}, nil, nil, good), false},
		{"no fault meant", count(t, scenario{faultless: true}, nil, nil, good), true},
		{"a wrong answer", count(t, scenario{}, kill, nil, good, sec(5, 6, wrong)), false},
		{"a lost request", count(t, scenario{}, kill, nil, good, sec(5, 6, lost)), false},
		{"an error as JSON", count(t, scenario{}, kill, nil, good, withStatus(sec(5, 6, typed), 503, "gone")), false},
		{"another error", count(t, scenario{}, kill, nil, good, sec(5, 6, untyped)), false},
		{"a process that ended by itself", count(t, scenario{}, kill, []string{"stage-0-a ended by itself"}, good), false},
	} {
		if c.got.Held != c.held {
			t.Errorf("%s: %+v", c.name, c.got)
		}
	}
}

func TestInvariantOfAnOutage(t *testing.T) {
	s := scenario{outage: true}
	outage := []fault{{at: at(10), until: at(20), outage: true}}
	before, after := sec(1, 2, right), sec(20, 21, right)
	for _, c := range []struct {
		name string
		r    request
		held bool
	}{
		{"made before, failed within", withStatus(sec(9, 11, typed), 503, ""), true},
		{"made within, the time was up", withStatus(sec(15, 25, typed), 504, ""), true},
		{"made just after its end", withStatus(sec(21, 21.1, typed), 503, ""), true},
		{"failed before", withStatus(sec(8, 9, typed), 503, ""), false},
		{"made long after its end", withStatus(sec(23, 24, typed), 503, ""), false},
		{"a status that says something else", withStatus(sec(15, 16, typed), 500, ""), false},
		{"refused", withStatus(sec(15, 16, typed), 429, ""), false},
		{"not JSON", withStatus(sec(15, 16, untyped), 503, ""), false},
		{"lost", sec(15, 16, lost), false},
		{"wrong", withStatus(sec(15, 16, wrong), 200, ""), false},
	} {
		if got := count(t, s, outage, nil, before, c.r, after); got.Held != c.held {
			t.Errorf("%s: held is %v: %+v", c.name, got.Held, got)
		}
	}
	if got := count(t, s, outage, nil, before, withStatus(sec(15, 25, typed), 504, "")); got.Held {
		t.Error("nothing was answered after the outage, and the invariant held")
	}
	if got := count(t, s, nil, nil, before, after); got.Held {
		t.Error("there was no outage, and the invariant held")
	}
}

func TestResultCounts(t *testing.T) {
	got := count(t, scenario{}, []fault{{at: at(5), until: at(5)}, {at: at(8), until: at(8)}}, nil,
		sec(0, 1, right), sec(0, 2, right), sec(4, 6, right), sec(7, 10, wrong),
		withStatus(sec(7.5, 9, typed), 503, "port 1234"), withStatus(sec(7.6, 9.5, typed), 503, "port a port"), withStatus(sec(7, 9, lost), 0, "EOF"))
	if got.Requests != 7 || got.Right != 3 || got.Wrong != 1 || got.Lost != 1 || got.Typed != 2 || got.Untyped != 0 || got.Retries != 3 {
		t.Errorf("counts: %+v", got)
	}
	if got.Rate != 0.3 || got.Latency != (millis{2000, 2000, 2000}) || got.Seconds != 10 {
		t.Errorf("rate and latency: %+v", got)
	}
	if got.Faults != 2 || got.Unrecovered != 1 || got.Recovery.Max != 1000 || got.Gap.Max != 2000 || got.LongestGap != 4000 {
		t.Errorf("faults: %+v", got)
	}
	if len(got.Reasons) != 3 || got.Reasons[0] != (reasonCount{"typed error", 503, "port a port", 2}) {
		t.Errorf("reasons: %+v", got.Reasons)
	}
	var table strings.Builder
	fast, slow := got, got
	fast.Scenario, fast.Unrecovered, fast.Recovery.Max = "kill", 0, 999
	slow.Scenario = "kill"
	if err := writeTable(&table, []result{fast, slow}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"BROKEN", "2 times typed error 503: port a port", "14 requests in all", "second replica: met", "second replica: MISSED"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, table.String())
		}
	}
}
