package chaos

import (
	"slices"
	"time"
)

// A fault is something that was done to the cluster, from one time to another.
type fault struct {
	what      string
	at, until time.Duration
	// outage means that nothing could have served in between.
	outage bool
}

// A recovery is how the requests got over a fault.
type recovery struct {
	// time is the longest that a request in flight while the fault lasted waited
	// for its answer, from the fault's beginning or, for a request made later,
	// from its own. After an outage it is the time from its end to the next right
	// answer.
	time time.Duration
	// gap is the longest time without a right answer, from the fault to the next
	// fault or the end of the load.
	gap time.Duration
	// full means that all of these requests were answered right or, after an
	// outage, that there was a right answer.
	full bool
}

// recoveries finds out how the requests got over each of the faults, which are
// in the order of their beginnings.
func recoveries(faults []fault, requests []request) []recovery {
	rights := rightTimes(requests)
	var end time.Duration
	for _, r := range requests {
		end = max(end, r.end)
	}
	list := make([]recovery, len(faults))
	for i, f := range faults {
		next := end
		if i+1 < len(faults) {
			next = faults[i+1].at
		}
		list[i] = recoveryFrom(f, requests, rights)
		list[i].gap = gap(rights, f.at, next)
	}
	return list
}

func recoveryFrom(f fault, requests []request, rights []time.Duration) recovery {
	if f.outage {
		i, _ := slices.BinarySearch(rights, f.until)
		if i == len(rights) {
			return recovery{}
		}
		return recovery{time: rights[i] - f.until, full: true}
	}
	r := recovery{full: true}
	for _, q := range requests {
		if q.end < f.at || q.start > f.until {
			continue
		}
		r.time = max(r.time, q.end-max(q.start, f.at))
		r.full = r.full && q.verdict.outcome == right
	}
	return r
}

// rightTimes are the times of the right answers, in order.
func rightTimes(requests []request) []time.Duration {
	var times []time.Duration
	for _, r := range requests {
		if r.verdict.outcome == right {
			times = append(times, r.end)
		}
	}
	slices.Sort(times)
	return times
}

// gap is the longest part of the time between from and to in which none of the
// sorted times is.
func gap(times []time.Duration, from, to time.Duration) time.Duration {
	var longest time.Duration
	last := from
	i, _ := slices.BinarySearch(times, from)
	for ; i < len(times) && times[i] < to; i++ {
		longest = max(longest, times[i]-last)
		last = times[i]
	}
	return max(longest, to-last)
}
