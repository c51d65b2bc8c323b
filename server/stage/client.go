package stage

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/encoding"
	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/server/quarantine"
	"github.com/distinfer/distinfer/server/replica"
)

// Options say how stages are called.
type Options struct {
	MaxMessage int // bytes, in both directions

	// TLS secures connections, and is called anew for each; nil is plain text, which
	// goes to other machines only with Insecure.
	TLS      func() *tls.Config
	Insecure bool

	// Encoding is how the stages are to send float32 tensors to one another; empty is
	// float32. A replica that cannot is not used.
	Encoding encoding.Encoding
	narrow   bool // whether what is sent is narrowed so: whether the caller is a stage

	// routed says that the addresses are a caller's route and not this process's own: none
	// is watched that has never answered as a stage. trusted says that the caller may know why.
	routed, trusted bool

	// DeadAfter is how long a replica may leave a request for its state
	// unanswered before it is taken for dead.
	DeadAfter time.Duration

	// Lookup resolves the host of an address that names several replicas.
	Lookup func(ctx context.Context, host string) ([]string, error)

	// Stats is notified of what the transport does; it may be nil.
	Stats stats.Handler

	Log *slog.Logger

	bad *quarantine.List // the inputs that ended a stage; nil is a list of the client's own
}

// DefaultDeadAfter is far longer than a stage needs to answer, however busy it is.
const DefaultDeadAfter = 2 * time.Second

const (
	// lookupEvery is how often names that stand for several replicas are resolved.
	lookupEvery = 5 * time.Second
	// longestWait bounds the wait for a replica when the caller sets no deadline.
	longestWait = 30 * time.Second
)

// ManyReplicas prefixes an address whose name stands for several replicas; it is
// how gRPC writes names to be resolved.
const ManyReplicas = "dns:///"

// A Client calls the replicas of one rank of a bundle. It watches all of them:
// each is asked for its state several times in DeadAfter, and one that does not
// answer is not used, and calls in flight to it are retried on another.
type Client struct {
	options Options
	bundle  bundle.ID
	rank    int
	names   []string // the addresses as given

	mu      sync.Mutex
	set     *replica.Set
	links   map[string]*link
	waiting int
	changed chan struct{} // closed when a replica can be used, or none ever will

	ctx    context.Context //nolint:containedctx // its lifetime is the client's
	cancel context.CancelFunc
	work   sync.WaitGroup
}

// Dial makes a client of the stage of the given rank of a bundle. An address is
// host:port, one replica, or dns:///host:port, one replica for each IP address
// that the name stands for. Dial itself connects to nothing: it fails only when an
// address must not be used.
func Dial(id bundle.ID, rank int, addresses []string, o Options) (*Client, error) {
	if o.DeadAfter == 0 {
		o.DeadAfter = DefaultDeadAfter
	}
	if o.Lookup == nil {
		o.Lookup = net.DefaultResolver.LookupHost
	}
	if o.bad == nil {
		o.bad = quarantine.New(quarantine.DefaultPolicy)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &Client{
		options: o, bundle: id, rank: rank, names: addresses,
		set: replica.New(replica.DefaultPolicy), links: map[string]*link{}, changed: make(chan struct{}),
		ctx: ctx, cancel: cancel,
	}
	var single, several []string
	for _, a := range addresses {
		host := a
		if name, many := strings.CutPrefix(a, ManyReplicas); many {
			host = name
			several = append(several, name)
		} else {
			single = append(single, a)
		}
		if err := c.allowed(host); err != nil {
			cancel()
			return nil, err
		}
	}
	c.keep(targets(single, nil))
	if len(several) > 0 {
		c.work.Go(func() { c.resolve(single, several) })
	}
	return c, nil
}

// allowed refuses what would go to another machine in plain text.
func (c *Client) allowed(address string) error {
	if c.options.TLS != nil || c.options.Insecure || IsLoopback(address) {
		return nil
	}
	return errcode.Errorf(errcode.Invalid, "stage %d at %s is on another machine, and what is sent there would not be encrypted: give certificates, or allow it", c.rank, address)
}

// IsLoopback reports whether host:port is on this machine by its form: localhost
// or a loopback address. Other names are not resolved.
func IsLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// A target is an address to connect to, and the name that its certificate must
// have.
type target struct{ address, name string }

func targets(single []string, resolved []target) []target {
	list := make([]target, 0, len(single)+len(resolved))
	for _, a := range single {
		list = append(list, target{a, a})
	}
	return append(list, resolved...)
}

// keep has a link for each target, and for no other.
func (c *Client) keep(list []target) {
	c.mu.Lock()
	defer c.mu.Unlock()
	addresses := make([]string, len(list))
	for i, t := range list {
		addresses[i] = t.address
	}
	added, gone := c.set.Keep(addresses)
	for _, a := range added {
		l := newLink(c, list[slices.IndexFunc(list, func(t target) bool { return t.address == a })])
		c.links[a] = l
		c.work.Go(l.watch)
	}
	for _, a := range gone {
		c.links[a].leave()
		delete(c.links, a)
	}
}

// resolve keeps the replicas of names that stand for several.
func (c *Client) resolve(single, several []string) {
	known := map[string][]target{}
	tick := time.NewTicker(lookupEvery)
	defer tick.Stop()
	for {
		var all []target
		for _, name := range several {
			host, port, _ := net.SplitHostPort(name)
			ctx, cancel := context.WithTimeout(c.ctx, lookupEvery)
			ips, err := c.options.Lookup(ctx, host)
			cancel()
			switch {
			case c.ctx.Err() != nil:
				return
			case err != nil: // what was known may still be right
				c.options.Log.Warn("cannot resolve the replicas of a stage", "stage", c.rank, "name", name, "error", err)
			default:
				known[name] = nil
				for _, ip := range ips {
					known[name] = append(known[name], target{net.JoinHostPort(ip, port), name})
				}
				if c.options.routed && len(known[name]) > maxHop {
					known[name] = known[name][:maxHop]
				}
			}
			all = append(all, known[name]...)
		}
		c.keep(targets(single, all))
		select {
		case <-tick.C:
		case <-c.ctx.Done():
			return
		}
	}
}

// Close closes the client's connections; calls in flight fail.
func (c *Client) Close() error {
	c.cancel()
	c.mu.Lock()
	for _, l := range c.links {
		l.leave()
	}
	c.mu.Unlock()
	c.work.Wait()
	return nil
}

// String names the stage and its addresses.
func (c *Client) String() string {
	return fmt.Sprintf("stage %d at %s", c.rank, strings.Join(c.names, " | "))
}

// Ready fails while no replica can be used, and says why.
func (c *Client) Ready() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.unusable()
}

// unusable is the fault that calls get while no replica can be used; c.mu is held.
func (c *Client) unusable() error {
	err := c.set.Err()
	switch {
	case err == nil:
		return nil
	case c.set.Hopeless():
		return errcode.Wrap(errcode.Mismatch, err)
	case len(c.links) == 0:
		return errcode.Errorf(errcode.Unavailable, "%s has no address: its name cannot be resolved", c)
	}
	return errcode.Wrap(errcode.Unavailable, err)
}

// Replicas is the state of each replica.
func (c *Client) Replicas() []replica.Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.set.Status(time.Now())
}

// starved reports whether calls wait for a replica in vain. When none has answered yet,
// which takes a moment on a busy machine, it is not known to be in vain.
func (c *Client) starved() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.waiting > 0 && c.set.Failed()
}

// lookAgain has replicas looked at that are not, but now and then; c.mu is held.
func (c *Client) lookAgain() {
	if !c.options.routed || c.waiting > 1 {
		return
	}
	for _, l := range c.links {
		select {
		case l.look <- struct{}{}:
		default:
		}
	}
}

// replicas is how many there are.
func (c *Client) replicas() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.links)
}

// wanted reports whether calls wait for a replica.
func (c *Client) wanted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.waiting > 0
}

// news wakes calls that wait for a replica; c.mu is held.
func (c *Client) news() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// run has a replica compute on the tensors and push the result along the route.
// When the replica dies or is taken for dead, the call is retried on another.
// While there is none, it waits for one for as long as the caller waits. inFlight is
// how many runs the pipeline's caller has in flight.
//
// A call that a replica ended with is retried by itself, on one that computes nothing else; when that ends too the call fails with a errcode.Fatal. Its input is then refused for a
// while, and so is one that a stage behind said that of.
func (c *Client) run(ctx context.Context, route [][]string, inFlight int, in tensor.Bag) (*response, error) {
	started := time.Now()
	refused := map[string]error{}
	trial := replica.Trial{Suspect: pipeline.Suspect(ctx)}
	if c.options.bad.Len() > 0 {
		suspect, err := c.options.bad.Find(started, c.options.bad.Tensors(in))
		if err != nil {
			return nil, err
		}
		trial.Suspect = trial.Suspect || suspect
	}
	var retries uint32
	for {
		l, err := c.pick(ctx, started, refused, trial.Suspect)
		if err != nil {
			return nil, err
		}
		call := l.run
		if trial.Suspect {
			call = l.runAlone
		}
		out, err := call(ctx, route, inFlight, in)
		if err == nil {
			out.retries = retries
			return out, nil
		}
		var hop hopError
		if !errors.As(err, &hop) {
			return nil, c.remember(in, err)
		}
		switch trial.Lost(l.address, hop.loss) {
		case replica.Guilty:
			return nil, c.remember(in, c.guilty(&trial))
		case replica.GiveUp:
			return nil, fmt.Errorf("%w (not tried again: its connection broke each time)", err)
		}
		c.mu.Lock()
		may := c.set.TakeRetry()
		c.mu.Unlock()
		if !may {
			return nil, fmt.Errorf("%w (not tried again: too many calls fail)", err)
		}
		if hop.refused {
			refused[l.address] = err
		}
		retries++
	}
}

// guilty is the error of a call that was the only one with a replica when that ended.
func (c *Client) guilty(t *replica.Trial) error {
	err := errcode.Errorf(errcode.Fatal, "stage %d died with this input, at %s; it computed nothing else the last time, so it is not tried again",
		c.rank, strings.Join(t.Died, ", then at "))
	c.options.Log.Error("an input ends the stage that computes it", "stage", c.rank, "error", err)
	return err
}

// remember has the same input refused for a while if err says that it ends stages.
func (c *Client) remember(in tensor.Bag, err error) error {
	if errcode.Deadly(err) {
		c.options.bad.Add(time.Now(), c.options.bad.Tensors(in), err)
	}
	return err
}

// pick chooses a replica, for a suspect one that it has to itself, and waits for one that
// can be used when there is none. It fails when there is none in time, when waiting is of
// no use, and when all that can be used have refused.
func (c *Client) pick(ctx context.Context, started time.Time, refused map[string]error, suspect bool) (*link, error) {
	// The reason should reach the caller before its time is up.
	last := started.Add(longestWait)
	if deadline, ok := ctx.Deadline(); ok {
		last = deadline.Add(-min(max(deadline.Sub(started)/10, 10*time.Millisecond), time.Second))
	}
	timeout := time.NewTimer(time.Until(last))
	defer timeout.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	choose := c.set.Pick
	if suspect {
		choose = c.set.PickAlone
	}
	for {
		address, ok := choose(time.Now(), func(a string) bool { return refused[a] != nil })
		if ok {
			return c.links[address], nil
		}
		if c.set.Usable() && !c.set.Held() {
			for _, err := range refused {
				return nil, err
			}
		}
		if c.set.Hopeless() {
			return nil, c.unusable()
		}
		if !c.set.Held() {
			clear(refused) // whoever comes back may have room
		}
		changed := c.changed
		c.waiting++
		c.lookAgain()
		c.mu.Unlock()
		var err error
		late := false
		select {
		case <-changed:
		case <-ctx.Done():
			err = ctx.Err()
		case <-timeout.C:
			late = true
		case <-c.ctx.Done():
			err = errcode.Errorf(errcode.Unavailable, "%s is no longer called", c)
		}
		c.mu.Lock()
		c.waiting--
		switch why := c.unusable(); {
		case err != nil:
			return nil, err
		case late && why != nil:
			return nil, why
		case late && c.set.Held():
			return nil, errcode.Errorf(errcode.Deadline, "%s computes calls one by one that it may have died with, and this one did not get its turn in time", c)
		}
	}
}

// A hopError is a call that failed between this process and the replica: another
// replica may do better.
type hopError struct {
	error
	refused bool // by the replica, which is well
	loss    replica.Loss
}

func (e hopError) Unwrap() error { return e.error }

// A Pipeline is all the stages of a bundle, as a pipeline.Runner: it calls the
// first stage, and the stages push from one to the next. It watches the replicas
// of all ranks.
type Pipeline struct {
	stages   []*Client
	route    [][]string
	inFlight atomic.Int32 // runs
}

// NewPipeline makes a pipeline over the addresses of every rank of the bundle
// with the given ID.
func NewPipeline(id bundle.ID, addresses [][]string, o Options) (*Pipeline, error) {
	p := &Pipeline{route: addresses[1:]}
	for rank, replicas := range addresses {
		c, err := Dial(id, rank, replicas, o)
		if err != nil {
			return nil, errors.Join(err, p.Close())
		}
		p.stages = append(p.stages, c)
	}
	return p, nil
}

// Run implements pipeline.Tracer.
func (p *Pipeline) Run(ctx context.Context, in tensor.Bag) (tensor.Bag, error) {
	out, _, err := p.Trace(ctx, in)
	return out, err
}

// Trace runs the pipeline, and returns where the time went, in rank order.
func (p *Pipeline) Trace(ctx context.Context, in tensor.Bag) (tensor.Bag, []pipeline.Timing, error) {
	if err := check(in); err != nil {
		return nil, nil, err
	}
	n := p.inFlight.Add(1)
	defer p.inFlight.Add(-1)
	out, err := p.stages[0].run(ctx, p.route, int(n), in)
	if err != nil {
		return nil, nil, err
	}
	return out.tensors, out.timings, nil
}

// Ready fails while some rank has no replica that can be used, and says why.
func (p *Pipeline) Ready() error {
	var all []error
	for _, c := range p.stages {
		all = append(all, c.Ready())
	}
	return errors.Join(all...)
}

// Budgets are, of each rank, the bytes that all runs of a replica together may take for
// what they compute: those of the replica with the least, since a run may come to any. 0 is
// without a bound.
func (p *Pipeline) Budgets() []int64 {
	list := make([]int64, len(p.stages))
	for rank, c := range p.stages {
		c.mu.Lock()
		for _, l := range c.links {
			if l.budget > 0 && (list[rank] == 0 || l.budget < list[rank]) {
				list[rank] = l.budget
			}
		}
		c.mu.Unlock()
	}
	return list
}

// Replicas is the state of each replica of each rank.
func (p *Pipeline) Replicas() [][]replica.Status {
	list := make([][]replica.Status, len(p.stages))
	for rank, c := range p.stages {
		list[rank] = c.Replicas()
	}
	return list
}

// Close closes the connections to all stages.
func (p *Pipeline) Close() error {
	for _, c := range p.stages {
		_ = c.Close()
	}
	return nil
}

// isHop reports whether a call failed on its way to a stage or back, and not in
// one. ctx is the call's.
func isHop(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	switch status.Code(err) {
	case codes.Unavailable, codes.Canceled, codes.Internal, codes.Unknown, codes.DataLoss:
		return true
	}
	return false
}
