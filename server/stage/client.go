package stage

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health" // health checks of connections
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	"github.com/distinfer/distinfer/runtime/fault"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/server/stage/stagepb"
)

// Sizes of the transport. Both windows are set, since the smaller one binds.
const (
	streamWindow = 8 << 20
	connWindow   = 16 << 20
)

// keepaliveTime is how long a connection may be silent before it is probed.
const keepaliveTime = 20 * time.Second

// balancing spreads calls over the replicas of a rank that report to be healthy.
const balancing = `{"loadBalancingConfig":[{"round_robin":{}}],"healthCheckConfig":{"serviceName":"` + serviceName + `"}}`

// A Client calls the replicas of one rank.
type Client struct {
	conn *grpc.ClientConn
	rank int
	name string
}

// Dial makes a client of the stage of the given rank, which any of the addresses
// (host:port) serves. It connects when it is first used, and again whenever a
// connection is lost. maxMessage bounds messages in both directions, in bytes.
func Dial(rank int, addresses []string, maxMessage int) (*Client, error) {
	state := resolver.State{}
	for _, a := range addresses {
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: a}}})
	}
	replicas := manual.NewBuilderWithScheme("stage")
	replicas.InitialState(state)
	conn, err := grpc.NewClient("stage:///"+addresses[0],
		grpc.WithResolvers(replicas),
		grpc.WithDefaultServiceConfig(balancing),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDisableRetry(),
		grpc.WithNoProxy(), // a proxy for the Web is not the way to a stage
		grpc.WithInitialWindowSize(streamWindow),
		grpc.WithInitialConnWindowSize(connWindow),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime, Timeout: 5 * time.Second}),
		// A stage that was restarted should be found soon.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 500 * time.Millisecond},
			MinConnectTimeout: 5 * time.Second,
		}),
		grpc.WithDefaultCallOptions(
			grpc.ForceCodecV2(newCodec()),
			grpc.MaxCallRecvMsgSize(maxMessage),
			grpc.MaxCallSendMsgSize(maxMessage),
		),
	)
	name := fmt.Sprintf("stage %d at %s", rank, strings.Join(addresses, " | "))
	if err != nil {
		return nil, fault.Errorf(fault.Invalid, "%s: %w", name, err)
	}
	return &Client{conn: conn, rank: rank, name: name}, nil
}

// Close closes the client's connections; calls under way fail.
func (c *Client) Close() error { return c.conn.Close() }

// run has the stage compute on the tensors and push the result along the route.
func (c *Client) run(ctx context.Context, bundle string, route [][]string, in tensor.Bag) (tensor.Bag, error) {
	out := &response{}
	err := c.conn.Invoke(ctx, runMethod, &request{bundle: bundle, rank: c.rank, route: route, tensors: in}, out)
	if err != nil {
		return nil, fromStatus(ctx, err, c.name)
	}
	return out.tensors, nil
}

// Describe asks one replica what it holds.
func (c *Client) Describe(ctx context.Context) (*stagepb.DescribeResponse, error) {
	out := &stagepb.DescribeResponse{}
	if err := c.conn.Invoke(ctx, describeMethod, &stagepb.DescribeRequest{}, out); err != nil {
		return nil, fromStatus(ctx, err, c.name)
	}
	return out, nil
}

// A Pipeline is all the stages of a bundle, as a pipeline.Runner: it calls the
// first stage, and the stages push from one to the next.
type Pipeline struct {
	first  *Client
	bundle string
	route  [][]string
}

// NewPipeline makes a pipeline over the addresses of every rank of the bundle
// with the given ID. A client outlives the loss of its connections.
func NewPipeline(bundle string, addresses [][]string, maxMessage int) (*Pipeline, error) {
	first, err := Dial(0, addresses[0], maxMessage)
	if err != nil {
		return nil, err
	}
	return &Pipeline{first: first, bundle: bundle, route: addresses[1:]}, nil
}

// Run implements pipeline.Runner.
func (p *Pipeline) Run(ctx context.Context, in tensor.Bag) (tensor.Bag, error) {
	return p.first.run(ctx, p.bundle, p.route, in)
}

// Close closes the connection to the first stage.
func (p *Pipeline) Close() error { return p.first.Close() }

// String names the stage and its addresses.
func (c *Client) String() string { return c.name }
