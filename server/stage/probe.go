package stage

import (
	"context"

	"google.golang.org/grpc"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/server/stage/stagepb"
)

// A Probe is a connection to one replica, to look at it. Unlike a Client it neither
// watches the replica nor retries a call.
type Probe struct {
	conn *grpc.ClientConn
	rank int
	peer string
}

// Connect makes a probe of the stage at an address, which connects when it is first
// used. name is the host:port that its certificate must be for.
func Connect(rank int, address, name string, o Options) (*Probe, error) {
	c := &Client{options: o, rank: rank, names: []string{address}}
	if err := c.allowed(address); err != nil {
		return nil, err
	}
	conn, err := dial(address, name, o)
	if err != nil {
		return nil, errcode.Errorf(errcode.Invalid, "%s: %w", c, err)
	}
	return &Probe{conn: conn, rank: rank, peer: c.String()}, nil
}

// Describe requests what the stage holds.
func (p *Probe) Describe(ctx context.Context) (*stagepb.DescribeResponse, error) {
	d, err := describe(ctx, p.conn)
	if err != nil {
		return nil, fromStatus(ctx, err, p.peer)
	}
	return d, nil
}

// SelfTest has the stage compute its share of the self-test and push the rest along
// the route, which names one replica of each rank that follows and may end before
// the last one. It returns where the time went, in rank order.
func (p *Probe) SelfTest(ctx context.Context, route []string, in tensor.Bag) (tensor.Bag, []pipeline.Timing, error) {
	hops := make([][]string, len(route))
	for i, address := range route {
		hops[i] = []string{address}
	}
	out := &response{}
	err := p.conn.Invoke(ctx, RunMethod, &request{protocol: Protocol, bundle: SelfTest, rank: p.rank, route: hops, tensors: in}, out)
	if err != nil {
		return nil, nil, fromStatus(ctx, err, p.peer)
	}
	return out.tensors, out.timings, nil
}

// Close closes the connection.
func (p *Probe) Close() error { return p.conn.Close() }
