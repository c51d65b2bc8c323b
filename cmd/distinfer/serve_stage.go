package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/grpc"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/encoding"
	"github.com/distinfer/distinfer/runtime/ort"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/selftest"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/server/listener"
	"github.com/distinfer/distinfer/server/mtls"
	"github.com/distinfer/distinfer/server/share"
	"github.com/distinfer/distinfer/server/stage"
	"github.com/distinfer/distinfer/split/onnxfile"
)

func newServeStage() *cobra.Command {
	var noModel bool
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
			s, err := load(cmd)
			if err != nil {
				return err
			}
			if noModel {
				if err := refuse(cmd, "with --no-model", "bundle", "bundle-id", "fetch"); err != nil {
					return err
				}
			}
			outliveReaders()
			return s.serveStage(cmd.Context(), noModel)
		},
	}
	f := cmd.Flags()
	f.Int("rank", -1, "the stage's place in the model, from 0")
	f.String("listen", "", "`host:port` to listen on (default localhost:2222 plus rank)")
	f.Int("threads", 0, "`number` of threads to compute with (default one a processor)")
	addNiceFlag(f)
	addMemoryFlag(f)
	f.BoolVar(&noModel, "no-model", false, "serve no model, only the self-test of distinfer check")
	addStagesFlag(f)
	addFetchFlags(f)
	addCallFlags(f)
	addTLSFlag(f)
	addAdminFlag(f)
	addProfileFlag(f)
	f.Int("max-queue", 256, "`number` of runs that may wait, here or for the stages behind; more are refused")
	return cmd
}

func addNiceFlag(f *pflag.FlagSet) {
	f.Int("nice", -1, "`value` from 0 to 19, as in nice(1): how far what computes steps back behind what sends and receives, and behind other programs (default 10 on a loopback address, else 0)")
}

// addCallFlags adds the flags of everything that calls stages.
func addCallFlags(f *pflag.FlagSet) {
	addMessageFlag(f)
	f.Duration("dead-after", stage.DefaultDeadAfter, "`time` without a sign of life after which a stage is taken for dead")
	addInsecureFlag(f)
}

func addMessageFlag(f *pflag.FlagSet) {
	f.Int("max-message", 64<<20, "largest message between stages, in `bytes`")
}

// stageOptions say how stages are called, by the machine with the given
// credentials, which may be nil.
func (s *settings) stageOptions(log *slog.Logger, machine *mtls.Credentials) stage.Options {
	o := stage.Options{MaxMessage: s.MaxMessage, DeadAfter: s.DeadAfter, Insecure: s.Insecure, Wire: encoding.Encoding(s.ActivationDtype), Log: log}
	if machine != nil {
		o.TLS = machine.Client
	}
	return o
}

func (s *settings) serveStage(ctx context.Context, noModel bool) error {
	started := time.Now()
	if s.Rank < 0 {
		return usageError{errors.New("--rank is missing; it says which stage this machine runs, from 0")}
	}
	endProfile, err := s.profile()
	if err != nil {
		return err
	}
	defer endProfile()
	var b *bundle.Bundle
	if !noModel {
		if b, err = s.openForRank(ctx); err != nil {
			return err
		}
	} else if len(s.Stages) > 0 && s.Rank >= len(s.Stages) {
		return fmt.Errorf("--stages names %d ranks, so there is no rank %d", len(s.Stages), s.Rank)
	}
	address := s.Listen
	if address == "" {
		if address, err = s.Stages.listenAddress(ctx, s.Rank); err != nil {
			return err
		}
	}
	log := s.logger().With("rank", s.Rank)
	if err := s.permit(log, stageListener(address, s.TLS != "")); err != nil {
		return err
	}
	// A stage calls those behind it.
	if err := s.permitStages(log, s.Stages, s.Rank+1); err != nil {
		return err
	}
	machine, err := s.stageTLS(log)
	if err != nil {
		return err
	}
	library, err := s.library()
	if err != nil {
		return err
	}
	defer func() { _ = library.Close() }()
	w, err := s.watchStage(ctx, log)
	if err != nil {
		return err
	}
	defer w.close()
	own, threads := ownProcessors("/"), s.threads()
	config := stage.Config{
		Rank:  s.Rank,
		Peers: s.Stages, Next: s.stageOptions(log, machine), MaxMessage: s.MaxMessage, MaxQueue: s.MaxQueue,
		Instance: instance(),
		Machine:  own.machine, Processors: own.count, Runs: threads, Threads: threads,
		Version: buildVersion(), ONNXRuntime: library.Version(),
		Memory:  memoryNow("/"),
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
		limit, err := s.newStageBudget(ctx, library, b, address)
		if err != nil {
			return err
		}
		defer limit.close()
		opening := time.Now()
		session, link, err := openStage(library, b, s.Rank, limit.options(ort.Options{Pool: pool, Nice: s.niceAt(address)}, s.MaxMessage))
		if err != nil {
			return limit.explain(err)
		}
		defer func() { _ = session.Close() }()
		memory, err := limit.apply(&config, b.Stages[s.Rank], log)
		if err != nil {
			return err
		}
		load = time.Since(opening)
		config.Help = s.helpers(ctx, pool, threads, len(b.Stages), address)
		config.Stage, config.Bundle, config.Stages, config.Model = link, b.ID, len(b.Stages), b.Model.Name
		config.Services = []func(grpc.ServiceRegistrar){share.NewServer(b, s.MaxMessage).Register}
		holds = append([]any{"model", b.Model.Name, "bundle", b.ID.Short(), "stages", len(b.Stages), "weights", size(b.Stages[s.Rank].ParameterBytes)}, memory...)
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
	leaveProcessors(4)
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
func (s *settings) openForRank(ctx context.Context) (*bundle.Bundle, error) {
	b, err := s.openBundle(ctx, sliceOf(s.Rank))
	if err != nil {
		return nil, err
	}
	if err := b.CheckRank(s.Rank); err != nil {
		return nil, err
	}
	if len(s.Stages) > 0 {
		if _, err := s.Stages.forStages(len(b.Stages)); err != nil {
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
func (s *settings) niceAt(address string) int {
	switch {
	case s.Nice >= 0:
		return s.Nice
	case stage.IsLoopback(address):
		return sharedNice
	}
	return 0
}

// helpers shares out the threads of a stage among its runs. One that is alone in the
// pipeline has all. Under load a run has only a thread, for which it need not wait, and
// what is left helps; of the processors that stages share each takes a part.
func (s *settings) helpers(ctx context.Context, pool *ort.Pool, threads, stages int, listen string) func(runs int, alone bool) {
	part := threads
	if s.Threads == 0 {
		part = max(1, threads/s.Stages.ranksHere(ctx, stages, listen))
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
