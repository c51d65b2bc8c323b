package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/server/cluster"
	"github.com/distinfer/distinfer/server/supervisor"
)

// LocalOptions are those of a pipeline whose front is in this process and whose stages are child
// processes on this machine, without TLS.
type LocalOptions struct {
	FrontOptions
	// Command is the command line, program first, of the child process that serves a stage.
	Command func(LocalStage) ([]string, error)
}

// A LocalStage is a stage to be served by a child process. It has to take its
// StageOptions.Instance from the environment's variable InstanceVariable.
type LocalStage struct {
	Number    int // from 0, over all ranks and replicas
	Rank      int
	Address   string
	Addresses cluster.Addresses // of all stages
}

// InstanceVariable has a front know the stages that it starts by their answers.
const InstanceVariable = "DISTINFER_INSTANCE"

// childTimes are how long a stage may take: to end, somewhat more than the calls in flight may;
// without an answer, far more than a busy machine needs.
var childTimes = supervisor.Times{Stop: 35 * time.Second, Hang: 15 * time.Second}

// ServeLocal starts the stages and a front, calls up once the front answers, and serves until the
// context ends or up fails. A stage that dies or hangs is started again.
func ServeLocal(ctx context.Context, o LocalOptions, up func(context.Context, *Front) error) (err error) {
	b, err := bundle.Open(o.Bundle)
	if err != nil {
		return err
	}
	o.TLS, o.Fetch, o.BundleID = "", nil, "" // stages and bundle are on this machine
	f, err := listenFront(ctx, o.FrontOptions)
	var ends sync.WaitGroup
	release := func() {}
	defer func() { // at once: a collector of traces that does not answer makes Close wait
		ends.Go(f.Close)
		ends.Wait()
		release()
	}()
	if err != nil {
		return err
	}
	addresses, free, err := localStages(ctx, o.Stages, len(b.Stages))
	if err != nil {
		return err
	}
	release = free
	f.options.Stages = addresses
	if err := PermitStages(f.options.Log, o.Insecure, addresses, 0, false); err != nil {
		return err
	}
	children, err := o.children(f, addresses)
	if err != nil {
		return err
	}
	stages, err := supervisor.Start(ctx, f.options.Log, childTimes, children)
	if err != nil {
		return err
	}
	defer ends.Go(stages.Stop)
	if err := f.connect(); err != nil {
		return err
	}
	serving, stop := context.WithCancel(ctx)
	defer stop()
	served := make(chan error, 1)
	go func() { served <- f.Serve(serving) }()
	if err := up(serving, f); err != nil {
		stop()
		return errors.Join(err, <-served)
	}
	return <-served
}

func (o *LocalOptions) children(f *Front, addresses cluster.Addresses) ([]supervisor.Child, error) {
	var children []supervisor.Child
	calls := f.options.calls(nil)
	calls.Log = slog.New(slog.DiscardHandler)
	for rank, replicas := range addresses {
		for _, address := range replicas {
			args, err := o.Command(LocalStage{len(children), rank, address, addresses})
			if err != nil {
				return nil, err
			}
			p := &stageProcess{rank: rank, address: address, args: args, options: calls}
			children = append(children, supervisor.Child{Name: fmt.Sprintf("stage %d at %s", rank, address), Command: p.command, Ready: p.ready})
		}
	}
	return children, nil
}

// localStages are the addresses of the stages on this machine: those configured, else the usual
// ports, else, where these are taken, any that are free. The latter two are kept from other
// pipelines until release.
func localStages(ctx context.Context, configured cluster.Addresses, n int) (addresses cluster.Addresses, release func(), err error) {
	var kept []io.Closer
	release = func() {
		for _, k := range kept {
			_ = k.Close()
		}
	}
	if len(configured) > 0 {
		addresses, err = configured.ForStages(n)
		return addresses, release, err
	}
	for rank := range n {
		port, reservation, err := reserve(ctx, cluster.DefaultAddress(rank))
		for range reserveTries {
			if err == nil {
				break
			}
			port, reservation, err = reserve(ctx, "localhost:0")
		}
		if err != nil {
			release()
			return nil, nil, err
		}
		kept = append(kept, reservation)
		addresses = append(addresses, []string{net.JoinHostPort("localhost", strconv.Itoa(port))})
	}
	return addresses, release, nil
}

// reserveTries is how many free ports are tried: TCP's may be free and UDP's not.
const reserveTries = 16

// reserve finds a free port, and keeps other pipelines from it until the reservation is closed. A
// stage listens on it only later, and no longer once it dies, and whoever took its place would be
// called instead. So UDP's port of the same number is taken, which nothing else here uses, and
// which goes with this process however that ends.
func reserve(ctx context.Context, address string) (port int, reservation io.Closer, err error) {
	l, err := listen(ctx, slog.New(slog.DiscardHandler), address, Runs)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = l.Close() }()
	port = l.Addr().(*net.TCPAddr).Port
	var config net.ListenConfig
	reservation, err = config.ListenPacket(ctx, "udp", net.JoinHostPort("localhost", strconv.Itoa(port)))
	if err != nil {
		return 0, nil, fmt.Errorf("keep port %d for a stage: %w", port, err)
	}
	return port, reservation, nil
}
