package stage

import (
	"context"
	"math"
	"runtime/debug"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/server/limiter"
)

// maxInFlight is how many messages of the largest size the runs in flight may hold.
const maxInFlight = 4

// An admission limits runs: their bytes before they are decoded, then their number, and then
// how many are computed at once.
type admission struct {
	bytes    *limiter.Limiter // of messages, and once they are decoded of their tensors
	inFlight *limiter.Limiter // runs
	slots    *limiter.Limiter // runs that are computed

	large atomic.Bool // whether a large run ended since memory was given back
}

func newAdmission(c *Config) admission {
	bytes := c.MaxInFlightBytes
	if bytes == 0 {
		bytes = maxInFlight * int64(c.MaxMessage)
	}
	return admission{
		bytes:    limiter.New(bytes, 0),
		inFlight: limiter.New(int64(c.Runs+c.MaxQueue), 0),
		slots:    limiter.New(int64(c.Runs), math.MaxInt64), // inFlight bounds how many wait
	}
}

// receive prepares a request to be decoded, whose message is admitted by its length before
// that. The caller has it leave in the end.
func (a *admission) receive(into *request) { into.admission = a }

// take admits a message of n bytes, which is not to be decoded when it is not taken.
func (r *request) take(n int64) bool {
	if r.admission == nil {
		return true
	}
	if !r.admission.bytes.TryAcquire(n) {
		r.untaken = true
		return false
	}
	r.weight = n
	return true
}

// leave gives back what the request holds.
func (r *request) leave() {
	a := r.admission
	if a == nil {
		return
	}
	a.bytes.Release(r.weight)
	if r.weight >= largeWeight {
		a.large.Store(true)
	}
	r.weight = 0
	a.giveBack()
}

// holds notes what a run holds from now on. What is more than the capacity is not counted.
func (r *request) holds(bag tensor.Bag) (n int64) {
	n = bytesOf(bag)
	if r.admission == nil {
		return n
	}
	held := r.admission.bytes
	switch {
	case n < r.weight:
		held.Release(r.weight - n)
		r.weight = n
	case held.TryAcquire(n - r.weight):
		r.weight = n
	}
	return n
}

func bytesOf(bag tensor.Bag) (n int64) {
	for _, t := range bag {
		n += t.Bytes()
	}
	return n
}

// admit counts a run in, or refuses it when there are too many or they hold too much.
func (s *Server) admit(in *request) (leave func(), err error) {
	if in.untaken {
		return nil, s.full()
	}
	if !s.inFlight.TryAcquire(1) {
		return nil, errcode.Errorf(errcode.Overloaded, "stage %d has %d runs already; send fewer at a time, or raise its limit of runs that wait", s.config.Rank, s.config.Runs+s.config.MaxQueue)
	}
	if n := in.holds(in.tensors); in.admission != nil && n > in.weight {
		s.inFlight.Release(1)
		return nil, s.full()
	}
	return func() { s.inFlight.Release(1) }, nil
}

func (s *Server) full() error {
	return errcode.Errorf(errcode.Overloaded, "stage %d holds %d bytes for other runs already; send fewer at a time, or raise its largest message", s.config.Rank, s.bytes.InUse())
}

// slot waits until a run may be computed.
func (s *Server) slot(ctx context.Context) (release func(), err error) { return s.acquire(ctx, 1) }

// allSlots waits until nothing is computed, and has that stay so until release.
func (s *Server) allSlots(ctx context.Context) (release func(), err error) {
	return s.acquire(ctx, s.slots.Capacity())
}

func (s *Server) acquire(ctx context.Context, n int64) (release func(), err error) {
	if err := s.slots.Acquire(ctx, n); err != nil {
		return func() {}, err
	}
	return func() { s.slots.Release(n) }, nil
}

const (
	// largeWeight is how many bytes of a run are worth giving back to the system, and
	// giveBackAfter how long nothing may be in flight before that.
	largeWeight   = 16 << 20
	giveBackAfter = 5 * time.Second
)

// giveBack gives memory back to the system when nothing is in flight after large runs, which the
// runtime would do after minutes.
func (a *admission) giveBack() {
	if a.bytes.InUse() > 0 || !a.large.CompareAndSwap(true, false) {
		return
	}
	time.AfterFunc(giveBackAfter, func() {
		if a.bytes.InUse() == 0 {
			debug.FreeOSMemory()
		}
	})
}

// isPeer reports whether a caller has shown a certificate of the cluster, so that it may
// know what there is at the addresses of its route.
func isPeer(ctx context.Context) bool {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return false
	}
	secure, ok := p.AuthInfo.(credentials.TLSInfo)
	return ok && len(secure.State.VerifiedChains) > 0
}
