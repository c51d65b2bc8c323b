package stage

import (
	"context"
	"crypto/tls"
	"log/slog"

	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/server/budget"
)

// Config says what a Server serves.
type Config struct {
	Stage pipeline.Stage

	// SelfTest computes its share of the self-test. left stages are yet to compute theirs,
	// this one among them. What it answers goes to the next one.
	SelfTest func(ctx context.Context, left int, in tensor.Bag) (tensor.Bag, error)

	// Bundle is the bundle's ID, Rank the stage's place in it, Stages how many
	// stages it has, and Model its name. A stage without a bundle has the rank
	// only; it runs nothing but the self-test.
	Bundle bundle.ID
	Rank   int
	Stages int
	Model  string

	// Peers are the addresses of every rank. When there are none, the next stage
	// is where the caller's route says.
	Peers [][]string

	// Next says how the next stage is called.
	Next Options

	// MaxMessage bounds messages, in bytes. Runs is how many runs are computed at
	// once, and MaxQueue how many more may be in flight: waiting for their
	// turn, or computed by a later stage.
	MaxMessage, Runs, MaxQueue int

	// MaxInFlightBytes bounds what all of them hold; 0 is four of the largest messages.
	MaxInFlightBytes int64

	// Budget is the memory for what runs compute; nil is without a bound.
	Budget *budget.Budget

	// Machine is the same for stages that share processors; Processors is their number.
	Machine    uint64
	Processors int

	// ShareThreads receives how many runs are computed from now on, so that intra-op
	// threads can be shared out. alone says that it is one which is alone in the whole
	// pipeline, as far as its caller knows, and long enough to be worth waking threads.
	// It may be nil.
	ShareThreads func(runs int, alone bool)

	// Instance tells this process from others at the same address. Empty is a random one.
	Instance string

	// Damaged is nil while what the stage computes can be trusted, and then why it cannot:
	// the stage answers nothing of it any more, and Serve returns it. It may be nil.
	Damaged func() error

	// Version, ONNXRuntime, Hostname and Threads are what Describe answers, as is the
	// memory that the process uses and could take, in bytes.
	Version, ONNXRuntime, Hostname string
	Threads                        int
	Memory                         func() (used, available int64)

	// TLS secures the listener; nil is plain text.
	TLS *tls.Config

	Listener Listener

	// Stats is notified of what the transport does; it may be nil.
	Stats stats.Handler

	// Services are more gRPC services for the same listener.
	Services []func(grpc.ServiceRegistrar)

	Log *slog.Logger
}
