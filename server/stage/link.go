package stage

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/encoding"
	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/server/replica"
	"github.com/distinfer/distinfer/server/rpc"
	"github.com/distinfer/distinfer/server/stage/stagepb"
)

// beats is how often the state of a replica is requested in the time after which
// it is taken for dead.
const beats = 8

// A link is what connects a client to one replica: a connection for calls, and one
// for probes, which would else wait behind the tensors of calls on a slow network.
type link struct {
	client  *Client
	address string
	name    string // that its certificate must have
	peer    string // for errors
	look    chan struct{}
	gone    context.Context //nolint:containedctx // its lifetime is the link's
	leave   context.CancelFunc

	isStage bool          // whether it has ever answered as one; for beat only
	rare    time.Duration // until one that has not is looked at again
	budget  int64         // what runs may take there, in bytes; 0 is without a bound. client.mu guards it

	mu       sync.Mutex
	calls    *grpc.ClientConn
	probes   *grpc.ClientConn
	instance string           // of the process that answered last
	drained  *grpc.ClientConn // whose calls were broken off to be retried elsewhere
}

func newLink(c *Client, t target) *link {
	l := &link{client: c, address: t.address, name: t.name, look: make(chan struct{}, 1)}
	l.peer = (&Client{rank: c.rank, names: []string{t.address}}).String()
	l.gone, l.leave = context.WithCancel(c.ctx)
	return l
}

// dial makes a connection to a stage, which connects when it is first used.
func dial(address, name string, o Options) (*grpc.ClientConn, error) {
	// The link decides when to try again; the connection is to follow at once.
	soon := backoff.Config{BaseDelay: 10 * time.Millisecond, Multiplier: 1, MaxDelay: 10 * time.Millisecond}
	return rpc.Dial("dns:///"+address, rpc.Client{TLS: o.TLS, Backoff: soon, Stats: o.Stats},
		grpc.WithAuthority(name),
		grpc.WithDefaultCallOptions(
			grpc.ForceCodecV2(newCodec(o.MaxMessage)),
			grpc.MaxCallRecvMsgSize(o.MaxMessage),
			grpc.MaxCallSendMsgSize(o.MaxMessage),
		),
	)
}

// connections are those to use now.
func (l *link) connections() (calls, probes *grpc.ClientConn, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.gone.Err(); err != nil {
		return nil, nil, err
	}
	for _, c := range []**grpc.ClientConn{&l.calls, &l.probes} {
		if *c != nil {
			continue
		}
		if *c, err = dial(l.address, l.name, l.client.options); err != nil {
			return nil, nil, errcode.Errorf(errcode.Invalid, "%s: %w", l.peer, err)
		}
	}
	return l.calls, l.probes, nil
}

// breakOff ends the calls in flight; the next one gets a new connection. well says that
// it is not for anything that they did.
func (l *link) breakOff(well bool) {
	l.mu.Lock()
	if well {
		l.drained = l.calls
	}
	old := []*grpc.ClientConn{l.calls, l.probes}
	l.calls, l.probes = nil, nil
	l.mu.Unlock()
	for _, c := range old {
		if c != nil {
			_ = c.Close()
		}
	}
}

// watch requests the state of the replica until the link is left.
func (l *link) watch() {
	defer l.breakOff(true)
	for {
		wait := time.NewTimer(l.beat())
		select {
		case <-wait.C:
		case <-l.look:
			wait.Stop()
		case <-l.gone.Done():
			wait.Stop()
			return
		}
	}
}

// beat requests the state of the replica once, and returns when to do so again.
func (l *link) beat() time.Duration {
	c := l.client
	_, conn, err := l.connections()
	if err != nil {
		return l.failed(replica.Down, err)
	}
	ctx, cancel := context.WithTimeout(l.gone, c.options.DeadAfter)
	defer cancel()
	d, err := describe(ctx, conn)
	switch {
	case l.gone.Err() != nil:
		return c.options.DeadAfter
	case ctx.Err() != nil:
		wait := l.failed(replica.Down, errcode.Errorf(errcode.Unavailable, "%s has not answered for %s", l.peer, c.options.DeadAfter))
		l.breakOff(false)
		return wait
	case err != nil:
		err = fromStatus(ctx, err, l.peer)
		if errcode.Of(err) == errcode.Mismatch {
			return l.failed(replica.Wrong, err)
		}
		return l.failed(replica.Down, err)
	}
	l.isStage = true
	if err := c.identify(l.peer, d); err != nil {
		return l.failed(replica.Wrong, err)
	}
	l.mu.Lock()
	l.instance = d.GetInstance()
	l.mu.Unlock()
	c.mu.Lock()
	l.budget = int64(min(d.GetMemoryBudget(), math.MaxInt64))
	c.mu.Unlock()
	l.well(d.GetStarved())
	return c.options.DeadAfter / beats
}

// identify fails when a stage is not the one that the client calls.
func (c *Client) identify(peer string, d *stagepb.DescribeResponse) error {
	switch {
	case d.GetProtocol() != Protocol:
		return errcode.Errorf(errcode.Mismatch, "%s speaks version %d of the stage protocol (distinfer %s), this is version %d; run the same version of distinfer on both sides",
			peer, d.GetProtocol(), d.GetVersion(), Protocol)
	case d.GetBundle() == "" && c.bundle != SelfTest:
		return errcode.Errorf(errcode.Mismatch, "%s has no model, it was started without one; start it with the bundle", peer)
	case int(d.GetRank()) != c.rank || bundle.ID(d.GetBundle()) != c.bundle && c.bundle != SelfTest:
		return errcode.Errorf(errcode.Mismatch, "%s holds rank %d of bundle %s (%s), and rank %d of bundle %s is wanted; give both sides the same bundle, and the stages in rank order",
			peer, d.GetRank(), bundle.ID(d.GetBundle()).Short(), d.GetModel(), c.rank, c.bundle.Short())
	case c.options.Encoding != "" && c.options.Encoding != encoding.Float32 && !slices.Contains(d.GetEncodings(), string(c.options.Encoding)):
		return errcode.Errorf(errcode.Mismatch, "%s (distinfer %s) does not send and read tensors as %s, which the caller wants; run a version there that does, or choose another encoding",
			peer, d.GetVersion(), c.options.Encoding)
	}
	return nil
}

// well notes that the replica answers. One that cannot reach the stage behind it
// is ejected when another can be used, and the calls that wait there are retried.
func (l *link) well(starved bool) {
	c := l.client
	now := time.Now()
	c.mu.Lock()
	news := c.set.Ready(now, l.address)
	ejected := starved && c.set.Eject(now, l.address)
	if news {
		c.news()
	}
	c.mu.Unlock()
	if news {
		c.options.Log.Info("stage can be used", "stage", l.peer)
	}
	if ejected {
		c.options.Log.Warn("stage is ejected for a while: it cannot reach the one behind it", "stage", l.peer)
		l.breakOff(true)
	}
}

// failed notes that the replica that was looked at cannot be used, and says when to
// look again.
func (l *link) failed(condition replica.Condition, why error) time.Duration {
	c := l.client
	stranger := c.options.routed && !l.isStage
	shown := why
	if stranger && !c.options.trusted { // a route must not be a means to find out what listens where
		condition, shown = replica.Down, errcode.Errorf(errcode.Unavailable, "%s, an address of the caller's route, cannot be reached as a stage; the log of the stage before it says why", l.peer)
	}
	c.mu.Lock()
	retry, news := c.set.Fail(time.Now(), l.address, condition, shown)
	c.mu.Unlock()
	l.report(news, why)
	if stranger && !c.wanted() {
		l.breakOff(false)
		l.rare = min(max(retry, 2*l.rare), rarest)
		return l.rare
	}
	return retry
}

// rarest is the longest time between looks at an address that no call waits for and that
// has never answered as a stage.
const rarest = 30 * time.Second

// report logs that the replica cannot be used, and wakes calls that wait for one when
// waiting is of no use any more.
func (l *link) report(news bool, why error) {
	c := l.client
	c.mu.Lock()
	if c.set.Hopeless() {
		c.news()
	}
	c.mu.Unlock()
	if news && l.gone.Err() == nil {
		c.options.Log.Warn("stage cannot be used", "error", why)
	}
}

// request is the message of a call.
func (l *link) request(ctx context.Context, route [][]string, inFlight int, in tensor.Bag) *request {
	c := l.client
	return &request{protocol: Protocol, bundle: c.bundle, rank: c.rank, route: route, inFlight: inFlight, outputs: pipeline.Outputs(ctx), tensors: in, encoding: c.options.Encoding, narrow: c.options.narrow}
}

// run makes one call of the replica that was picked.
func (l *link) run(ctx context.Context, route [][]string, inFlight int, in tensor.Bag) (*response, error) {
	out := &response{}
	started := time.Now()
	var there peer.Peer
	conn, _, err := l.connections()
	if err == nil {
		err = conn.Invoke(ctx, RunMethod, l.request(ctx, route, inFlight, in), out, grpc.Peer(&there))
	}
	l.done(started, out, err)
	if err == nil {
		return out, nil
	}
	return nil, l.explain(ctx, conn, err, there.Addr != nil)
}

// done notes that a call is over.
func (l *link) done(started time.Time, out *response, err error) {
	took := time.Duration(-1)
	if err == nil {
		if took = time.Since(started); len(out.timings) > 0 {
			took = max(0, took-out.timings[0].Next)
		}
	}
	c := l.client
	c.mu.Lock()
	c.set.Done(time.Now(), l.address, took)
	c.mu.Unlock()
}

// explain makes of what the transport says an error, which is a hopError if
// another replica may do better. sent says that the replica may have had the call.
func (l *link) explain(ctx context.Context, conn *grpc.ClientConn, err error, sent bool) error {
	coded := fromStatus(ctx, err, l.peer)
	var answer *answered
	if errors.As(coded, &answer) {
		switch {
		case !answer.refused: // by the replica; errors from behind it were dealt with there
		case errcode.Of(coded) == errcode.Overloaded:
			return hopError{error: coded, refused: true}
		case errcode.Of(coded) == errcode.Mismatch:
			l.broke(conn, replica.Wrong, coded)
			return hopError{error: coded}
		case errcode.Of(coded) == errcode.Unavailable: // it ends
			l.broke(conn, replica.Down, coded)
			return hopError{error: coded}
		}
		return coded
	}
	switch {
	case status.Code(err) == codes.Unimplemented:
		l.broke(conn, replica.Wrong, coded)
		return hopError{error: coded}
	case isHop(ctx, err):
		l.broke(conn, replica.Down, coded)
		loss := replica.Unsent
		l.mu.Lock()
		if sent && conn != l.drained {
			loss = replica.Together
		}
		l.mu.Unlock()
		return hopError{error: errcode.Wrap(errcode.Unavailable, coded), loss: loss}
	}
	return coded
}

// broke notes that a call over a connection failed, unless the connection is not
// the one in use any more: then that was dealt with. The replica is looked at
// again at once.
func (l *link) broke(conn *grpc.ClientConn, condition replica.Condition, why error) {
	l.mu.Lock()
	current := conn != nil && l.calls == conn
	l.mu.Unlock()
	if !current {
		return
	}
	c := l.client
	c.mu.Lock()
	news := c.set.Lost(time.Now(), l.address, condition, why)
	c.mu.Unlock()
	l.report(news, why)
	if news {
		select {
		case l.look <- struct{}{}:
		default:
		}
	}
}

func describe(ctx context.Context, conn *grpc.ClientConn) (*stagepb.DescribeResponse, error) {
	out := &stagepb.DescribeResponse{}
	err := conn.Invoke(ctx, describeMethod, &stagepb.DescribeRequest{}, out)
	return out, err
}

// Describe asks the stage at an address what it holds.
func Describe(ctx context.Context, rank int, address string, o Options) (*stagepb.DescribeResponse, error) {
	p, err := Connect(rank, address, address, o)
	if err != nil {
		return nil, err
	}
	defer func() { _ = p.Close() }()
	return p.Describe(ctx)
}
