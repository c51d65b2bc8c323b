package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"os"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/grpc"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/host"
	"github.com/distinfer/distinfer/runtime/ort"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/selftest"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/server/cluster"
	"github.com/distinfer/distinfer/server/listener"
	"github.com/distinfer/distinfer/server/mtls"
	"github.com/distinfer/distinfer/server/stage"
	"github.com/distinfer/distinfer/server/transfer"
	"github.com/distinfer/distinfer/split/onnxfile"
)

type stageOptions struct {
	nodeOptions
	libraryOptions
	threadsOptions
	memoryOptions
	Rank     int
	Listen   string
	MaxQueue int
	NoModel  bool
}

func (o *stageOptions) AddFlags(f *pflag.FlagSet) {
	for _, group := range []optionSet{&o.nodeOptions, &o.libraryOptions, &o.threadsOptions, &o.memoryOptions} {
		group.AddFlags(f)
	}
	numberVar(f, &o.Rank, "rank", -1, -1, math.MaxInt, "the stage's place in the model, from 0")
	listenVar(f, &o.Listen, "listen", "`host:port` to listen on (default localhost:2222 plus rank)")
	numberVar(f, &o.MaxQueue, "max-queue", 256, 0, 1<<20, "`number` of runs that may wait, here or for the stages behind; more are refused")
	f.BoolVar(&o.NoModel, "no-model", false, "serve no model, only the self-test of distinfer check")
	onlyFlags(f, "no-model")
}

func newServeStage() *cobra.Command {
	var o stageOptions
	cmd := &cobra.Command{
		Use:   "serve-stage --rank R",
		Short: "Run one stage of the model behind gRPC",
		Long: `Run the stage of the given rank with ONNX Runtime, and serve it by gRPC until
interrupted. The first signal (Ctrl-C or SIGTERM) finishes what runs and exits
with 0, a second one ends at once.

The stage listens on localhost only, unless --listen or the configured stages
name another address of this machine. To be reached from other machines it needs
--tls, a folder that ` + "`distinfer certs`" + ` makes: then only machines with a
certificate of the same authority can use it. The stage also serves the standard
gRPC health service and server reflection, and gives the files of the bundle that it
has to machines that fetch them.

With --fetch no copy of the model is needed: what this stage needs and --bundle
does not hold is fetched from a machine that has it, by hash. Any stage gives what
it has, and so does a front with --share. A transfer that broke off goes on where
it was, also at the next start.

With --no-model it needs no bundle and computes nothing but the self-test of
` + "`distinfer check`" + `, so that machines and network can be tried before there is a
model.`,
		Example: `  distinfer serve-stage --rank 0                         # localhost:2222
  distinfer serve-stage --rank 1 --listen 192.168.0.104:2222 --tls tls
  distinfer serve-stage --rank 1 --stages 192.168.0.101:2222,192.168.0.104:2222 --tls tls
  distinfer serve-stage --rank 1 --fetch 192.168.0.101:2221 --tls tls
  DISTINFER_RANK=1 distinfer serve-stage --bundle /srv/sentiment
  distinfer serve-stage --rank 1 --no-model              # for distinfer check only`,
		Args: arguments(false),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := configure(cmd); err != nil {
				return err
			}
			if o.NoModel {
				if err := refuse(cmd, "with --no-model", "bundle", "bundle-id", "fetch"); err != nil {
					return err
				}
			}
			outliveReaders()
			return o.serveStage(cmd.Context())
		},
	}
	o.AddFlags(cmd.Flags())
	return cmd
}

// calls say how stages are called, by the machine with the given credentials, which may be nil.
func (o *callOptions) calls(log *slog.Logger, machine *mtls.Credentials) stage.Options {
	options := stage.Options{MaxMessage: o.MaxMessage, DeadAfter: o.DeadAfter, Insecure: o.Insecure, Log: log}
	if machine != nil {
		options.TLS = machine.Client
	}
	return options
}

func (o *stageOptions) serveStage(ctx context.Context) error {
	started := time.Now()
	if o.Rank < 0 {
		return usageError{errors.New("--rank is missing; it says which stage this machine runs, from 0")}
	}
	endProfile, err := o.profile()
	if err != nil {
		return err
	}
	defer endProfile()
	var b *bundle.Bundle
	if !o.NoModel {
		if b, err = o.openForRank(ctx); err != nil {
			return err
		}
	} else if len(o.Stages) > 0 && o.Rank >= len(o.Stages) {
		return &cluster.RankError{Rank: o.Rank, Named: len(o.Stages)}
	}
	address := o.Listen
	if address == "" {
		if address, err = o.Stages.ListenAddress(ctx, o.Rank); err != nil {
			return err
		}
	}
	log := o.logger().With("rank", o.Rank)
	if err := o.permit(log, stageListener(address, o.TLS != "")); err != nil {
		return err
	}
	// A stage calls those behind it.
	if err := o.permitStages(log, o.Stages, o.Rank+1, o.TLS != ""); err != nil {
		return err
	}
	machine, err := o.stageTLS(log)
	if err != nil {
		return err
	}
	library, err := o.library()
	if err != nil {
		return err
	}
	defer func() { _ = library.Close() }()
	w, err := o.watchStage(ctx, log)
	if err != nil {
		return err
	}
	defer w.close()
	own, threads := host.Here.Processors(), o.threads()
	config := stage.Config{
		Rank:  o.Rank,
		Peers: o.Stages, Next: o.calls(log, machine), MaxMessage: o.MaxMessage, MaxQueue: o.MaxQueue,
		Instance: instance(),
		Machine:  own.Machine, Processors: own.Count, Runs: threads, Threads: threads,
		Version: buildVersion(), ONNXRuntime: library.Version(),
		Memory:  host.Here.MemoryNow(),
		Damaged: library.Damaged,
		Log:     log,
	}
	w.observe(&config)
	if machine != nil {
		config.TLS = machine.Server()
	}
	holds := []any{"model", "none"}
	var load time.Duration
	if b != nil {
		pool, err := library.NewPool(threads - 1)
		if err != nil {
			return err
		}
		defer func() { _ = pool.Close() }()
		if has := (ort.Options{Pool: pool}).Size(); has < threads {
			log.Warn("there are fewer processors than --threads", "threads", threads, "used", has)
			config.Threads, config.Runs = has, has
		}
		limit, err := o.newStageBudget(ctx, library, b, address)
		if err != nil {
			return err
		}
		defer limit.close()
		opening := time.Now()
		session, link, err := openStage(library, b, o.Rank, limit.options(ort.Options{Pool: pool, Nice: o.niceAt(address)}, o.MaxMessage))
		if err != nil {
			return limit.explain(err)
		}
		defer func() { _ = session.Close() }()
		memory, err := limit.apply(&config, b.Stages[o.Rank], log)
		if err != nil {
			return err
		}
		load = time.Since(opening)
		config.Help = o.helpers(ctx, pool, threads, len(b.Stages), address)
		config.Stage, config.Bundle, config.Stages, config.Model = link, b.ID, len(b.Stages), b.Model.Name
		config.Services = []func(grpc.ServiceRegistrar){transfer.NewServer(b, o.MaxMessage).Register}
		holds = append([]any{"model", b.Model.Name, "bundle", b.ID.Short(), "stages", len(b.Stages), "weights", size(b.Stages[o.Rank].ParameterBytes)}, memory...)
	}
	tester, err := library.OpenBytes("the self-test", selftest.Model, selftest.Inputs(), selftest.Outputs(), ort.Options{Threads: 1})
	if err != nil {
		return err
	}
	defer func() { _ = tester.Close() }()
	config.SelfTest = selftest.Share(tester)
	debug.FreeOSMemory() // what was needed to load is not needed to serve

	l, err := listen(ctx, log, address, "--listen")
	if err != nil {
		return err
	}
	if config.Hostname, err = os.Hostname(); err != nil {
		log.Warn("this machine does not tell its name", "error", err)
	}
	log.With(holds...).Info("stage ready", "listen", l.Addr().String(), "tls", machine != nil, "took", time.Since(started).Round(time.Millisecond))
	host.LimitScheduler(4)
	server := stage.NewServer(config)
	w.metrics.Watch(server, b, load)
	err = w.serveBeside(ctx, func(ctx context.Context) error { return server.Serve(ctx, l) })
	if err == nil {
		log.Info("stage stopped")
	}
	return err
}

// instanceVariable has `up` name the stages that it starts, to know them by their answers.
const instanceVariable = "DISTINFER_INSTANCE"

// instance tells this process from others at the same address.
func instance() string {
	if name := os.Getenv(instanceVariable); name != "" {
		return name
	}
	return rand.Text()
}

// openForRank opens the bundle and checks that it has the rank, and as many stages
// as are configured.
func (o *stageOptions) openForRank(ctx context.Context) (*bundle.Bundle, error) {
	b, err := o.openBundle(ctx, sliceOf(o.Rank))
	if err != nil {
		return nil, err
	}
	if err := b.CheckRank(o.Rank); err != nil {
		return nil, err
	}
	if len(o.Stages) > 0 {
		if _, err := o.Stages.ForStages(len(b.Stages)); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// openStage checks the files of a stage and loads them. The bundle may be anybody's:
// its model file must not have ONNX Runtime open files that the manifest has no hash
// of, and all must still be those that were checked when it has.
func openStage(library *ort.Library, b *bundle.Bundle, rank int, o ort.Options) (*ort.Session, pipeline.Stage, error) {
	files, err := b.CheckStage(rank)
	if err != nil {
		return nil, pipeline.Stage{}, err
	}
	entry := b.Stages[rank]
	if err := onnxfile.CheckExternal(files.Model, files.Data); err != nil {
		return nil, pipeline.Stage{}, fmt.Errorf("stage %d of bundle %s: %w; take a bundle of somebody you trust, or split the model again", rank, b.Dir, err)
	}
	session, err := library.Open(files.Model, entry.Inputs, entry.Outputs, o)
	if err != nil {
		return nil, pipeline.Stage{}, fmt.Errorf("stage %d of bundle %s: %w", rank, b.Dir, err)
	}
	if err := files.Unchanged(); err != nil {
		return nil, pipeline.Stage{}, errors.Join(err, session.Close())
	}
	return session, pipeline.Stage{Runner: session, Inputs: tensor.Names(entry.Inputs), Forward: entry.Forward}, nil
}

// sharedNice is how far a stage steps back that is on one machine with its callers.
const sharedNice = 10

// niceAt is the nice value of a stage at an address. Where callers are on the same
// machine, as they are on a loopback address, what computes stands in their way. A machine that
// a stage has for itself has nobody to be nice to, and computes more undisturbed.
func (o *stageOptions) niceAt(address string) int {
	switch {
	case o.Nice >= 0:
		return o.Nice
	case stage.IsLoopback(address):
		return sharedNice
	}
	return 0
}

// helpers shares out the threads of a stage among its runs. One that is alone in the
// pipeline has all. Under load a run has only a thread, for which it need not wait, and
// what is left helps; of the processors that stages share each takes a part.
func (o *stageOptions) helpers(ctx context.Context, pool *ort.Pool, threads, stages int, listen string) func(runs int, alone bool) {
	part := threads
	if o.Threads == 0 {
		part = max(1, threads/o.Stages.RanksHere(ctx, stages, listen))
	}
	return func(runs int, alone bool) {
		if alone {
			pool.Allow(threads - 1)
			return
		}
		pool.Allow(max(0, part-runs))
	}
}

// listen listens on a TCP address; flag is the one to choose another with.
func listen(ctx context.Context, log *slog.Logger, address, flag string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%s is in use by another process; choose another address with %s", address, flag)
	case err != nil:
		return nil, fmt.Errorf("cannot listen on %s: %w; choose another address with %s", address, err, flag)
	}
	return listener.Logged(l, log), nil
}
