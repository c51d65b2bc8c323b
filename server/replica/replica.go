// Package replica decides to which replica of a rank a call goes, which replicas are ejected and
// for how long, and whether a failed call may be retried.
//
// It is a state machine without I/O: it receives events with their time, and knows no
// connection, clock or goroutine. The caller serializes events.
package replica

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Policy holds the times and limits of a Set.
type Policy struct {
	// A replica that cannot be used is tried again after Retry, then after twice
	// that, and so on up to MaxRetry.
	Retry, MaxRetry time.Duration

	// A replica that can be used but should not be, since it is slow or cannot
	// reach the stage behind it, is ejected for Cooldown, the next time for twice that, and
	// so on up to MaxCooldown. It is still used when no other can be.
	Cooldown, MaxCooldown time.Duration

	// A replica that was well for Proven is trusted as at first: the next time it
	// is tried again after Retry, or is ejected for Cooldown.
	Proven time.Duration

	// A replica is slow when its calls take SlowFactor times as long as those of
	// the median of the others, and longer than SlowFloor. Each must have made
	// SlowCalls calls since its last ejection.
	SlowFactor float64
	SlowFloor  time.Duration
	SlowCalls  int

	// Retries is how many calls may be retried at once; every call that succeeds allows for
	// RetryShare of another.
	Retries, RetryShare float64
}

// DefaultPolicy is a policy for replicas on one local network.
var DefaultPolicy = Policy{
	Retry: 50 * time.Millisecond, MaxRetry: time.Second,
	Cooldown: time.Second, MaxCooldown: 30 * time.Second,
	Proven:     10 * time.Second,
	SlowFactor: 4, SlowFloor: 20 * time.Millisecond, SlowCalls: 16,
	Retries: 256, RetryShare: 0.2,
}

// A Condition says whether a replica can be used.
type Condition int

// The conditions.
const (
	Unknown Condition = iota // it was not observed yet
	Ready                    // it answers, and serves what it should
	Down                     // it cannot be reached, or does not answer
	Wrong                    // it answers, but serves something else
)

// String is the condition's name.
func (c Condition) String() string {
	return [...]string{"unknown", "ready", "down", "wrong"}[c]
}

// A Set is the replicas of one rank.
type Set struct {
	policy   Policy
	replicas []*replica
	turn     int // of the replica that is next among equals
	retries  float64
	alone    string // the address of the replica that a suspect has to itself
}

type replica struct {
	address   string
	condition Condition
	why       error     // it is not Ready
	since     time.Time // it is in this condition
	calls     int       // in flight

	retry     growth // of the time until it is tried again
	ejections growth
	until     time.Time // when its cooldown ends

	// The mean time of a call, over the last ones made.
	mean  time.Duration
	count int
}

// A growth doubles a time whenever it is used.
type growth struct{ times int }

func (g *growth) next(first, longest time.Duration) time.Duration {
	d := first << min(g.times, 30)
	g.times++
	if d > longest || d <= 0 {
		return longest
	}
	return d
}

// New makes a set without replicas.
func New(p Policy) *Set { return &Set{policy: p, retries: p.Retries} }

// Keep makes the set hold the replicas at the given addresses, and says which are
// new to it and which it held and no longer does.
func (s *Set) Keep(addresses []string) (added, gone []string) {
	for _, a := range addresses {
		if s.find(a) == nil {
			s.replicas = append(s.replicas, &replica{address: a})
			added = append(added, a)
		}
	}
	s.replicas = slices.DeleteFunc(s.replicas, func(r *replica) bool {
		left := !slices.Contains(addresses, r.address)
		if left {
			gone = append(gone, r.address)
		}
		return left
	})
	return added, gone
}

func (s *Set) find(address string) *replica {
	for _, r := range s.replicas {
		if r.address == address {
			return r
		}
	}
	return nil
}

// Ready records that a replica can be used, and reports whether that is news.
func (s *Set) Ready(now time.Time, address string) (news bool) {
	r := s.find(address)
	if r == nil {
		return false
	}
	if r.condition == Ready {
		if now.Sub(r.since) > s.policy.Proven {
			r.retry.times = 0
		}
		return false
	}
	r.condition, r.why, r.since = Ready, nil, now
	r.mean, r.count = 0, 0
	return true
}

// Fail records that a probed replica is Down or Wrong, and why. It returns when to probe again,
// and whether that is news.
func (s *Set) Fail(now time.Time, address string, c Condition, why error) (retry time.Duration, news bool) {
	r := s.find(address)
	if r == nil {
		return s.policy.MaxRetry, false
	}
	news = r.condition != c || r.why == nil || r.why.Error() != why.Error()
	if r.condition == Ready && now.Sub(r.since) > s.policy.Proven {
		r.retry.times = 0
	}
	if r.condition != c {
		r.since = now
	}
	r.condition, r.why = c, why
	return r.retry.next(s.policy.Retry, s.policy.MaxRetry), news
}

// Lost records that a call to a replica failed, and reports whether that is news: then the
// replica is Down or Wrong as of now, and should be probed at once.
func (s *Set) Lost(now time.Time, address string, c Condition, why error) (news bool) {
	r := s.find(address)
	if r == nil || r.condition != Ready {
		return false
	}
	if now.Sub(r.since) > s.policy.Proven {
		r.retry.times = 0
	}
	r.condition, r.why, r.since = c, why, now
	return true
}

// Eject leaves out a replica for its cooldown, and reports whether there is another to use.
func (s *Set) Eject(now time.Time, address string) bool {
	r := s.find(address)
	if r == nil || r.condition != Ready {
		return false
	}
	if !slices.ContainsFunc(s.replicas, func(o *replica) bool { return o != r && o.usable(now) }) {
		return false
	}
	if now.Sub(r.until) > s.policy.Proven {
		r.ejections.times = 0
	}
	r.until = now.Add(r.ejections.next(s.policy.Cooldown, s.policy.MaxCooldown))
	r.mean, r.count = 0, 0
	return true
}

func (r *replica) usable(now time.Time) bool { return r.condition == Ready && !r.until.After(now) }

// Pick chooses the replica for a call: the usable one with the fewest calls in flight, and among
// equals each in turn. It leaves out replicas that skip names, and the one that a suspect has to
// itself: other calls there would become suspects when it dies. Every Pick must be followed by a
// Done.
func (s *Set) Pick(now time.Time, skip func(address string) bool) (address string, ok bool) {
	var best *replica
	better := func(r *replica) bool {
		if best == nil || r.usable(now) != best.usable(now) {
			return best == nil || r.usable(now)
		}
		return r.calls < best.calls
	}
	n := len(s.replicas)
	for i := range n {
		at := (s.turn + i) % n
		if r := s.replicas[at]; r.condition == Ready && r.address != s.alone && !skip(r.address) && better(r) {
			best = r
		}
	}
	if best == nil {
		return "", false
	}
	s.turn = (slices.Index(s.replicas, best) + 1) % n
	best.calls++
	return best.address, true
}

// PickAlone is Pick for a suspect. Until DoneAlone, which must follow in addition to Done, no
// other call of this set goes to the replica, and no other suspect to any. So an input ends one
// replica at a time.
func (s *Set) PickAlone(now time.Time, skip func(address string) bool) (address string, ok bool) {
	if s.alone != "" {
		return "", false
	}
	if address, ok = s.Pick(now, skip); ok {
		s.alone = address
	}
	return address, ok
}

// DoneAlone is documented at PickAlone.
func (s *Set) DoneAlone() { s.alone = "" }

// Held reports whether a suspect has a replica to itself.
func (s *Set) Held() bool { return s.alone != "" }

// Done records the end of a call that Pick chose the replica for. took is the time of the replica
// and of the network, or negative if the call failed.
func (s *Set) Done(now time.Time, address string, took time.Duration) {
	r := s.find(address)
	if took >= 0 {
		s.retries = min(s.policy.Retries, s.retries+s.policy.RetryShare)
	}
	if r == nil { // it left meanwhile
		return
	}
	r.calls = max(0, r.calls-1)
	if took < 0 {
		return
	}
	r.count++
	r.mean += (took - r.mean) / time.Duration(min(r.count, s.policy.SlowCalls))
	if s.slow(r) {
		s.Eject(now, address)
	}
}

// slow compares a replica with the median of the others.
func (s *Set) slow(r *replica) bool {
	if r.count < s.policy.SlowCalls || r.mean < s.policy.SlowFloor {
		return false
	}
	var others []time.Duration
	for _, o := range s.replicas {
		if o != r && o.condition == Ready && o.count >= s.policy.SlowCalls {
			others = append(others, o.mean)
		}
	}
	if len(others) == 0 {
		return false
	}
	slices.Sort(others)
	return float64(r.mean) > s.policy.SlowFactor*float64(others[(len(others)-1)/2])
}

// TakeRetry reports whether a call that failed may be retried, and counts it.
func (s *Set) TakeRetry() bool {
	if s.retries < 1 {
		return false
	}
	s.retries--
	return true
}

// A Status is what is known of one replica.
type Status struct {
	Address   string
	Condition Condition
	Ejected   bool  // it is in its cooldown
	Calls     int   // in flight
	Err       error // why it is not Ready
}

// Status lists the replicas by address.
func (s *Set) Status(now time.Time) []Status {
	list := make([]Status, len(s.replicas))
	for i, r := range s.replicas {
		list[i] = Status{r.address, r.condition, r.condition == Ready && !r.usable(now), r.calls, r.why}
	}
	slices.SortFunc(list, func(a, b Status) int { return cmp.Compare(a.Address, b.Address) })
	return list
}

// Usable reports whether some replica can be used, and Hopeless whether none can
// and that is nothing that waiting mends: all are Wrong.
func (s *Set) Usable() bool {
	return slices.ContainsFunc(s.replicas, func(r *replica) bool { return r.condition == Ready })
}

// Failed reports whether every replica was probed and none can be used. It is false for a new
// set.
func (s *Set) Failed() bool {
	return !slices.ContainsFunc(s.replicas, func(r *replica) bool { return r.condition == Ready || r.condition == Unknown })
}

// Hopeless is documented at Usable.
func (s *Set) Hopeless() bool {
	return len(s.replicas) > 0 && !slices.ContainsFunc(s.replicas, func(r *replica) bool { return r.condition != Wrong })
}

// Err says why no replica can be used, or is nil when one can.
func (s *Set) Err() error {
	if s.Usable() {
		return nil
	}
	var reasons []string
	for _, r := range s.replicas {
		why := errors.New("it has not answered yet")
		if r.why != nil {
			why = r.why
		}
		reasons = append(reasons, why.Error())
	}
	slices.Sort(reasons)
	reasons = slices.Compact(reasons)
	if len(reasons) == 0 {
		return errors.New("it has no replicas")
	}
	return fmt.Errorf("%s", strings.Join(reasons, "; "))
}
