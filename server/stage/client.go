package stage

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/stats"

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

	// Subset is the most replicas of a rank that a client connects to; 0 is all. Each client
	// chooses by the name of its process, which is random.
	Subset int
	name   string

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
	if o.name == "" {
		o.name = rand.Text()
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

// unusable is the error that calls get while no replica can be used; c.mu is held.
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
