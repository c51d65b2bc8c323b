package replica_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/distinfer/distinfer/server/replica"
)

var policy = replica.Policy{
	Retry: 50 * time.Millisecond, MaxRetry: time.Second,
	Cooldown: time.Second, MaxCooldown: 30 * time.Second, Proven: 10 * time.Second,
	SlowFactor: 4, SlowFloor: 20 * time.Millisecond, SlowCalls: 4,
	Retries: 3, RetryShare: 0.5,
}

var (
	start   = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	errBoom = errors.New("boom")
)

func none(string) bool { return false }

// set is one with replicas that are ready from start on.
func set(names ...string) *replica.Set {
	s := replica.New(policy)
	s.Keep(names)
	for _, n := range names {
		s.Ready(start, n)
	}
	return s
}

func pick(t *testing.T, s *replica.Set, now time.Time) string {
	t.Helper()
	a, ok := s.Pick(now, none)
	if !ok {
		t.Fatal("none is picked")
	}
	return a
}

func TestLeastBusyIsPickedAndEqualsTakeTurns(t *testing.T) {
	t.Parallel()
	s := set("a", "b", "c")
	var got []string
	for range 6 {
		got = append(got, pick(t, s, start))
	}
	if want := []string{"a", "b", "c", "a", "b", "c"}; !slices.Equal(got, want) {
		t.Errorf("picked %v, want %v", got, want)
	}
	s.Done(start, "b", time.Millisecond)
	if got := pick(t, s, start); got != "b" {
		t.Errorf("%s is picked, b has the fewest calls", got)
	}
	// Idle ones take turns too: else one of them would do all the work.
	s = set("a", "b")
	got = nil
	for range 4 {
		a := pick(t, s, start)
		s.Done(start, a, time.Millisecond)
		got = append(got, a)
	}
	if want := []string{"a", "b", "a", "b"}; !slices.Equal(got, want) {
		t.Errorf("picked %v, want %v", got, want)
	}
}

func TestOnlyReadyOnesArePicked(t *testing.T) {
	t.Parallel()
	s := replica.New(policy)
	if _, ok := s.Pick(start, none); ok {
		t.Error("one is picked of none")
	}
	s.Keep([]string{"new", "down", "wrong", "well"})
	s.Fail(start, "down", replica.Down, errBoom)
	s.Fail(start, "wrong", replica.Wrong, errBoom)
	if a, ok := s.Pick(start, none); ok {
		t.Errorf("%s is picked", a)
	}
	s.Ready(start, "well")
	for range 3 {
		if a := pick(t, s, start); a != "well" {
			t.Errorf("%s is picked", a)
		}
	}
	if a, ok := s.Pick(start, func(a string) bool { return a == "well" }); ok {
		t.Errorf("%s is picked although the only one was to be skipped", a)
	}
}

func TestTimeUntilATryGrowsAndIsShortAgainOnceProven(t *testing.T) {
	t.Parallel()
	s := set("a")
	fail := func(now time.Time) time.Duration {
		d, _ := s.Fail(now, "a", replica.Down, errBoom)
		return d
	}
	for i, want := range []time.Duration{50, 100, 200, 400, 800, 1000, 1000} {
		if got := fail(start); got != want*time.Millisecond {
			t.Errorf("try %d: in %v, want %vms", i, got, int64(want))
		}
	}
	// Coming back for a moment is not enough.
	s.Ready(start, "a")
	if got := fail(start.Add(time.Second)); got != time.Second {
		t.Errorf("after a moment: in %v", got)
	}
	s.Ready(start.Add(2*time.Second), "a")
	if got := fail(start.Add(20 * time.Second)); got != 50*time.Millisecond {
		t.Errorf("after a long while: in %v", got)
	}
}

// Many calls fail at once when a replica dies; that is one failure.
func TestCallsThatFailDoNotDelayTheNextTry(t *testing.T) {
	t.Parallel()
	s := set("a")
	if !s.Lost(start, "a", replica.Down, errBoom) {
		t.Error("the first call that fails is no news")
	}
	for range 20 {
		if s.Lost(start, "a", replica.Down, errBoom) {
			t.Error("the others are news")
		}
	}
	if s.Usable() || s.Err() == nil {
		t.Error("it can be used")
	}
	if d, news := s.Fail(start, "a", replica.Down, errBoom); d != 50*time.Millisecond || news {
		t.Errorf("it is looked at again after %v, news %v", d, news)
	}
	// One that keeps dying is given time all the same.
	for _, want := range []time.Duration{100, 200, 400} {
		s.Ready(start, "a")
		s.Lost(start, "a", replica.Wrong, errBoom)
		if d, _ := s.Fail(start, "a", replica.Wrong, errBoom); d != want*time.Millisecond {
			t.Errorf("after %v, want %v ms", d, int64(want))
		}
	}
	s.Ready(start, "a")
	s.Lost(start.Add(time.Minute), "a", replica.Down, errBoom)
	if d, _ := s.Fail(start.Add(time.Minute), "a", replica.Down, errBoom); d != 50*time.Millisecond {
		t.Errorf("after a long while: %v", d)
	}
	if s.Lost(start, "b", replica.Down, errBoom) {
		t.Error("one that is not there is news")
	}
}

func TestNewsAreTold(t *testing.T) {
	t.Parallel()
	s := replica.New(policy)
	s.Keep([]string{"a"})
	type step struct {
		what string
		news bool
	}
	ready := func() bool { return s.Ready(start, "a") }
	fail := func(c replica.Condition, err error) bool { _, news := s.Fail(start, "a", c, err); return news }
	for i, got := range []step{
		{"ready", ready()}, {"ready", !ready()}, {"down", fail(replica.Down, errBoom)}, {"down", !fail(replica.Down, errors.New("boom"))},
		{"another reason", fail(replica.Down, errors.New("bang"))}, {"wrong", fail(replica.Wrong, errors.New("bang"))}, {"ready", ready()},
	} {
		if !got.news {
			t.Errorf("step %d, %s", i, got.what)
		}
	}
}

func TestASetFailsOnceAllWereLookedAtInVain(t *testing.T) {
	t.Parallel()
	s := replica.New(policy)
	for _, step := range []struct {
		what   string
		do     func()
		failed bool
	}{
		{"new", func() { s.Keep([]string{"a", "b"}) }, false},
		{"one is down", func() { s.Fail(start, "a", replica.Down, errBoom) }, false},
		{"both are down", func() { s.Fail(start, "b", replica.Wrong, errBoom) }, true},
		{"one is back", func() { s.Ready(start, "a") }, false},
		{"and lost", func() { s.Lost(start, "a", replica.Down, errBoom) }, true},
		{"another is added", func() { s.Keep([]string{"a", "b", "c"}) }, false},
	} {
		step.do()
		if s.Failed() != step.failed {
			t.Errorf("%s: failed is %v", step.what, s.Failed())
		}
	}
}

func TestHopelessIfAllAreWrong(t *testing.T) {
	t.Parallel()
	s := replica.New(policy)
	if s.Hopeless() || s.Usable() {
		t.Error("a set of none")
	}
	s.Keep([]string{"a", "b"})
	s.Fail(start, "a", replica.Wrong, errors.New("a is of another bundle"))
	if s.Hopeless() {
		t.Error("one is unknown")
	}
	s.Fail(start, "b", replica.Down, errors.New("b is unreachable"))
	if s.Hopeless() {
		t.Error("one is down, and may come back")
	}
	if err := s.Err(); err == nil || err.Error() != "a is of another bundle; b is unreachable" {
		t.Errorf("the reason is %v", err)
	}
	s.Fail(start, "b", replica.Wrong, errBoom)
	if !s.Hopeless() {
		t.Error("all are wrong")
	}
	s.Ready(start, "b")
	if s.Hopeless() || !s.Usable() || s.Err() != nil {
		t.Error("one can be used")
	}
}

func calls(t *testing.T, s *replica.Set, now time.Time, n int, times map[string]time.Duration) {
	t.Helper()
	for range n {
		a := pick(t, s, now)
		s.Done(now, a, times[a])
	}
}

func ejected(s *replica.Set, now time.Time) (names []string) {
	for _, r := range s.Status(now) {
		if r.Ejected {
			names = append(names, r.Address)
		}
	}
	return names
}

func TestSlowReplicaRestsForAGrowingTime(t *testing.T) {
	t.Parallel()
	s := set("fast", "slow", "usual")
	times := map[string]time.Duration{"fast": 30 * time.Millisecond, "usual": 90 * time.Millisecond, "slow": 400 * time.Millisecond}
	now := start
	for i, rest := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
		calls(t, s, now, 30, times)
		if got := ejected(s, now); !slices.Equal(got, []string{"slow"}) {
			t.Fatalf("round %d: %v rest", i, got)
		}
		for range 10 {
			a := pick(t, s, now)
			s.Done(now, a, times[a])
			if a == "slow" {
				t.Fatalf("round %d: the one that rests is used", i)
			}
		}
		if end := now.Add(rest * time.Second); len(ejected(s, end.Add(-1))) != 1 || len(ejected(s, end)) != 0 {
			t.Fatalf("round %d: it does not rest for %d s", i, rest)
		}
		now = now.Add(rest * time.Second)
	}
	// Mended, it is used like the others, and trusted as at first.
	times["slow"] = 30 * time.Millisecond
	now = now.Add(time.Minute)
	calls(t, s, now, 60, times)
	if got := ejected(s, now); len(got) != 0 {
		t.Errorf("%v rest", got)
	}
	times["slow"] = 4 * time.Second
	calls(t, s, now, 60, times)
	if len(ejected(s, now)) != 1 || len(ejected(s, now.Add(time.Second))) != 0 {
		t.Error("the first rest after a long while is not short")
	}
}

func TestWhatIsNotSlow(t *testing.T) {
	t.Parallel()
	for name, times := range map[string]map[string]time.Duration{
		"alike":            {"a": 100 * time.Millisecond, "b": 300 * time.Millisecond},
		"both hardly long": {"a": time.Millisecond, "b": 19 * time.Millisecond},
		"alone":            {"a": time.Minute},
	} {
		s := replica.New(policy)
		for a := range times {
			s.Keep([]string{"a", "b"}[:len(times)])
			s.Ready(start, a)
		}
		calls(t, s, start, 100, times)
		if got := ejected(s, start); len(got) != 0 {
			t.Errorf("%s: %v rest", name, got)
		}
	}
}

func TestTheLastOneDoesNotRest(t *testing.T) {
	t.Parallel()
	s := set("a", "b")
	if !s.Eject(start, "a") {
		t.Error("a does not rest, although there is b")
	}
	if s.Eject(start, "b") {
		t.Error("b rests, and a does")
	}
	s.Fail(start, "b", replica.Down, errBoom)
	if a := pick(t, s, start); a != "a" {
		t.Errorf("%s is picked", a)
	}
}

func TestRetriesAreAShareOfWhatSucceeds(t *testing.T) {
	t.Parallel()
	s := set("a")
	allowed := func() (n int) {
		for s.TakeRetry() {
			n++
		}
		return n
	}
	if n := allowed(); n != 3 {
		t.Errorf("%d at first", n)
	}
	for range 5 {
		s.Done(start, pick(t, s, start), time.Millisecond)
		s.Done(start, pick(t, s, start), -1)
	}
	if n := allowed(); n != 2 {
		t.Errorf("%d after five calls that succeed", n)
	}
	for range 100 {
		s.Done(start, pick(t, s, start), time.Millisecond)
	}
	if n := allowed(); n != 3 {
		t.Errorf("%d after many", n)
	}
}

func TestReplicasComeAndGo(t *testing.T) {
	t.Parallel()
	s := set("a", "b")
	pick(t, s, start)
	added, gone := s.Keep([]string{"b", "c"})
	if !slices.Equal(added, []string{"c"}) || !slices.Equal(gone, []string{"a"}) {
		t.Errorf("added %v, gone %v", added, gone)
	}
	s.Done(start, "a", time.Millisecond) // its call ends later
	s.Ready(start, "a")
	s.Fail(start, "a", replica.Down, errBoom)
	if s.Eject(start, "a") {
		t.Error("one that is gone rests")
	}
	for range 3 {
		if got := pick(t, s, start); got != "b" {
			t.Errorf("%s is picked", got)
		}
	}
	s.Keep(nil)
	if err := s.Err(); err == nil || !strings.Contains(err.Error(), "no replicas") {
		t.Errorf("got %v", err)
	}
}

// Whatever happens, calls are counted right, what is picked is ready, the least busy
// of its kind, and somebody is picked whenever somebody can be.
func TestRandomHistories(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		names := []string{"a", "b", "c", "d"}[:1+r.IntN(4)]
		s := replica.New(policy)
		s.Keep(names)
		now := start
		under := map[string]int{}
		for range 400 {
			now = now.Add(time.Duration(r.IntN(2000)) * time.Millisecond)
			name := names[r.IntN(len(names))]
			switch r.IntN(6) {
			case 0:
				s.Ready(now, name)
			case 1:
				if d, _ := s.Fail(now, name, replica.Down, errBoom); d < policy.Retry || d > policy.MaxRetry {
					t.Fatalf("seed %d: try again in %v", seed, d)
				}
			case 2:
				s.Eject(now, name)
			case 3:
				if under[name] > 0 {
					under[name]--
					s.Done(now, name, time.Duration(r.IntN(1000)-100)*time.Millisecond)
				}
			default:
				before := s.Status(now)
				a, ok := s.Pick(now, none)
				if ok != s.Usable() {
					t.Fatalf("seed %d: picked %v, usable %v", seed, ok, s.Usable())
				}
				if !ok {
					continue
				}
				under[a]++
				at := slices.IndexFunc(before, func(x replica.Status) bool { return x.Address == a })
				for _, o := range before {
					if o.Condition != replica.Ready {
						continue
					}
					if before[at].Condition != replica.Ready || before[at].Ejected && !o.Ejected || before[at].Ejected == o.Ejected && o.Calls < before[at].Calls {
						t.Fatalf("seed %d: %s is picked of %v", seed, a, before)
					}
				}
			}
			for _, st := range s.Status(now) {
				if st.Calls != under[st.Address] {
					t.Fatalf("seed %d: %s has %d calls, counted are %d", seed, st.Address, under[st.Address], st.Calls)
				}
				if (st.Err == nil) != (st.Condition == replica.Ready || st.Condition == replica.Unknown) {
					t.Fatalf("seed %d: %+v", seed, st)
				}
			}
		}
	}
}

func TestConditionsHaveNames(t *testing.T) {
	t.Parallel()
	if got := fmt.Sprint(replica.Unknown, replica.Ready, replica.Down, replica.Wrong); got != "unknown ready down wrong" {
		t.Errorf("got %q", got)
	}
}
