package limiter_test

import (
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/server/limiter"
)

// holders are the holdings of clients in a test; some give way.
type holders struct {
	t      *testing.T
	shares *limiter.Shares
	held   map[string]int
	gone   []string // names of holdings, in the order in which they gave way
}

func newHolders(t *testing.T, capacity int64, patience time.Duration) *holders {
	return &holders{t: t, shares: limiter.NewShares(capacity, patience), held: map[string]int{}}
}

func (s *holders) acquire(client string) (*limiter.Holding, error) {
	name := client + strconv.Itoa(s.held[client])
	h, err := s.shares.Acquire(client, 1, func() { s.gone = append(s.gone, name) })
	if err == nil {
		s.held[client]++
	}
	return h, err
}

func (s *holders) must(client string) *limiter.Holding {
	s.t.Helper()
	h, err := s.acquire(client)
	if err != nil {
		s.t.Fatalf("%s: %v", client, err)
	}
	return h
}

func (s *holders) wantGone(want ...string) {
	s.t.Helper()
	if len(s.gone) != len(want) {
		s.t.Fatalf("%v gave way, want %v", s.gone, want)
	}
	for i := range want {
		if s.gone[i] != want[i] {
			s.t.Fatalf("%v gave way, want %v", s.gone, want)
		}
	}
}

// A client alone has all there is; others get as much as it keeps, and no more.
func TestSharesBindUnderContention(t *testing.T) {
	t.Parallel()
	s := newHolders(t, 8, time.Hour)
	for range 8 {
		s.must("a")
	}
	if _, err := s.acquire("a"); errcode.Of(err) != errcode.Overloaded {
		t.Fatalf("one more than there are: %v", err)
	}
	s.wantGone()
	for range 4 {
		s.must("b")
	}
	s.wantGone("a0", "a1", "a2", "a3")
	if _, err := s.acquire("b"); errcode.Of(err) != errcode.Overloaded {
		t.Fatalf("more than its share: %v", err)
	}
	s.must("c")
	if len(s.gone) != 5 {
		t.Fatalf("%v gave way, want one more", s.gone)
	}
}

// What waits for its client for too long gives way to anybody, also to the same client.
func TestWithoutProgressGivesWay(t *testing.T) {
	t.Parallel()
	s := newHolders(t, 3, 0)
	first := s.must("a")
	s.must("a")
	kept := s.must("a")
	first.Progress()
	kept.Keep(true)
	s.must("a")
	s.wantGone("a1")
	s.must("a")
	s.wantGone("a1", "a0")
	if err := first.Grow(1); errcode.Of(err) != errcode.Overloaded {
		t.Fatalf("grows after it gave way: %v", err)
	}
	first.Release()
	if n := s.shares.InUse(); n != 3 {
		t.Fatalf("%d are in use, want 3", n)
	}
}

// Whoever holds less than others is not closed for them.
func TestLighterClientsStay(t *testing.T) {
	t.Parallel()
	s := newHolders(t, 4, 0)
	s.must("bystander")
	for range 3 {
		s.must("attacker")
	}
	for range 100 {
		s.must("attacker")
	}
	for _, name := range s.gone {
		if name == "bystander0" {
			t.Fatal("a client that held less gave way")
		}
	}
}

// Whatever clients do at once, no more is held than may be, and nothing is lost.
func TestSharesOfManyClients(t *testing.T) {
	t.Parallel()
	const capacity = 64
	s := limiter.NewShares(capacity, 0)
	var work sync.WaitGroup
	for worker := range 8 {
		random := rand.New(rand.NewPCG(2, uint64(worker)))
		work.Go(func() {
			var mine []*limiter.Holding
			for range 3000 {
				if s.InUse() > capacity {
					t.Error("more is held than may be")
				}
				switch n := random.IntN(10); {
				case n < 4:
					if h, err := s.Acquire(strconv.Itoa(random.IntN(12)), random.Int64N(8), func() {}); err == nil {
						mine = append(mine, h)
					}
				case len(mine) == 0:
				case n < 6:
					_ = mine[random.IntN(len(mine))].Grow(random.Int64N(4))
				case n < 7:
					mine[random.IntN(len(mine))].Progress()
				case n < 8:
					mine[random.IntN(len(mine))].Keep(random.IntN(2) == 0)
				default:
					i := random.IntN(len(mine))
					mine[i].Release()
					mine = append(mine[:i], mine[i+1:]...)
				}
			}
			for _, h := range mine {
				h.Release()
			}
		})
	}
	work.Wait()
	if n := s.InUse(); n != 0 {
		t.Errorf("%d are in use when all are released", n)
	}
}
