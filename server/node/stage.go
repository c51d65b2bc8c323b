package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"slices"
	"time"

	"github.com/dustin/go-humanize"
	"google.golang.org/grpc"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/host"
	"github.com/distinfer/distinfer/runtime/ort"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/selftest"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/server/cluster"
	"github.com/distinfer/distinfer/server/health"
	"github.com/distinfer/distinfer/server/stage"
	"github.com/distinfer/distinfer/server/transfer"
	"github.com/distinfer/distinfer/split/onnxfile"
)

// A Stage is one stage of a model behind gRPC, on a listener of its own.
type Stage struct {
	server   *stage.Server
	listener net.Listener
	watch    *stageWatch
	health   *health.Server // nil when probes are not answered
	log      *slog.Logger
	closers  []func()
}

// OpenStage loads a stage and listens. Close ends what it opened, Serve answers. A process can
// have one stage. From then on Go uses a part of the processors only, since the model is computed
// on them.
func OpenStage(ctx context.Context, o StageOptions) (_ *Stage, err error) {
	started := time.Now()
	o.preset()
	preset(&o.MaxQueue, DefaultMaxQueue)
	preset(&o.Instance, rand.Text())
	o.Log = o.Log.With("rank", o.Rank)
	s := &Stage{log: o.Log}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if s.health, err = o.listenForProbes(ctx); err != nil {
		return nil, err
	}
	if s.health != nil {
		s.onClose(s.health.Close)
	}
	var b *bundle.Bundle
	if !o.NoModel {
		if b, err = o.openForRank(ctx); err != nil {
			return nil, err
		}
	} else if len(o.Stages) > 0 && o.Rank >= len(o.Stages) {
		return nil, &cluster.RankError{Rank: o.Rank, Named: len(o.Stages)}
	}
	if o.Listen == "" {
		if o.Listen, err = o.Stages.ListenAddress(ctx, o.Rank); err != nil {
			return nil, err
		}
	}
	config, library, err := s.prepare(ctx, &o)
	if err != nil {
		return nil, err
	}
	holds := []any{"model", "none"}
	var load time.Duration
	if b != nil {
		opening := time.Now()
		memory, err := s.load(ctx, &o, b, library, &config)
		if err != nil {
			return nil, err
		}
		load = time.Since(opening)
		holds = append([]any{"model", b.Model.Name, "bundle", b.ID.Short(), "stages", len(b.Stages), "weights", size(b.Stages[o.Rank].ParameterBytes)}, memory...)
	}
	tester, err := library.OpenBytes("the self-test", selftest.Model, selftest.Inputs(), selftest.Outputs(), ort.Options{Threads: 1})
	if err != nil {
		return nil, err
	}
	s.onClose(tester.Close)
	config.SelfTest = selftest.Share(tester)
	debug.FreeOSMemory() // what was needed to load is not needed to serve

	if s.listener, err = listen(ctx, o.Log, o.Listen, Runs); err != nil {
		return nil, err
	}
	s.onClose(s.listener.Close)
	o.Log.With(holds...).Info("stage ready", "listen", s.listener.Addr().String(), "tls", config.TLS != nil, "took", time.Since(started).Round(time.Millisecond))
	host.LimitScheduler(4)
	s.server = stage.NewServer(config)
	s.watch.metrics.Watch(s.server, b, load)
	return s, nil
}

// prepare opens what a stage has whether or not there is a model.
func (s *Stage) prepare(ctx context.Context, o *StageOptions) (c stage.Config, library *ort.Library, err error) {
	if err := o.permit("listening on", o.Listen, Machines, o.TLS != ""); err != nil {
		return c, nil, err
	}
	// A stage calls those behind it.
	if err := PermitStages(o.Log, o.Insecure, o.Stages, o.Rank+1, o.TLS != ""); err != nil {
		return c, nil, err
	}
	machine, err := MachineTLS(o.TLS, o.Log)
	if err != nil {
		return c, nil, err
	}
	warnOfName(ctx, o.Log, machine, o.Listen)
	if library, err = ort.Load(o.ONNXRuntime); err != nil {
		return c, nil, err
	}
	s.onClose(library.Close)
	if s.watch, err = o.watchStage(ctx); err != nil {
		return c, nil, err
	}
	s.closers = append(s.closers, s.watch.close)
	own := host.Here.Processors()
	threads := o.threads()
	c = stage.Config{
		Rank:  o.Rank,
		Peers: o.Stages, Next: o.calls(machine), MaxMessage: o.MaxMessage, MaxQueue: max(o.MaxQueue, 0),
		Instance: o.Instance,
		Machine:  own.Machine, Processors: own.Count, Runs: threads, Threads: threads,
		Version: o.Version, ONNXRuntime: library.Version(),
		Memory:  host.Here.MemoryNow(),
		Damaged: library.Damaged,
		Log:     o.Log,
	}
	s.watch.observe(&c)
	if machine != nil {
		c.TLS = machine.Server()
	}
	if c.Hostname, err = os.Hostname(); err != nil {
		o.Log.Warn("this machine does not tell its name", "error", err)
	}
	return c, library, nil
}

// load loads the model, and returns what the log is to say of the memory.
func (s *Stage) load(ctx context.Context, o *StageOptions, b *bundle.Bundle, library *ort.Library, c *stage.Config) (says []any, err error) {
	threads := o.threads()
	pool, err := library.NewPool(threads - 1)
	if err != nil {
		return nil, err
	}
	s.onClose(pool.Close)
	if has := (ort.Options{Pool: pool}).Size(); has < threads {
		o.Log.Warn("there are fewer processors than threads", "threads", threads, "used", has)
		c.Threads, c.Runs = has, has
	}
	limit, err := o.newStageBudget(ctx, library, b, o.Listen)
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, limit.close)
	session, link, err := openStage(library, b, o.Rank, limit.options(ort.Options{Pool: pool, Nice: o.niceAt(o.Listen)}, o.MaxMessage))
	if err != nil {
		return nil, limit.explain(err)
	}
	s.onClose(session.Close)
	if says, err = limit.apply(c, b.Stages[o.Rank], o.Log); err != nil {
		return nil, err
	}
	c.ShareThreads = o.shareThreads(ctx, pool, threads, len(b.Stages), o.Listen)
	c.Stage, c.Bundle, c.Stages, c.Model = link, b.ID, len(b.Stages), b.Model.Name
	c.Services = []func(grpc.ServiceRegistrar){transfer.NewServer(b, o.MaxMessage).Register}
	return says, nil
}

func (s *Stage) onClose(f func() error) { s.closers = append(s.closers, func() { _ = f() }) }

// Addr is where the stage listens.
func (s *Stage) Addr() net.Addr { return s.listener.Addr() }

// Serve answers until the context ends, and then finishes what runs.
func (s *Stage) Serve(ctx context.Context) error {
	if s.health != nil {
		s.health.Started()
		s.health.Ready()
		defer context.AfterFunc(ctx, s.health.Leave)()
	}
	err := s.watch.serveBeside(ctx, func(ctx context.Context) error { return s.server.Serve(ctx, s.listener) })
	if err == nil {
		s.log.Info("stage stopped")
	}
	return err
}

// Close frees what OpenStage opened, after Serve has returned.
func (s *Stage) Close() {
	for _, f := range slices.Backward(s.closers) {
		f()
	}
	s.closers = nil
}

// threads are how many threads to compute with.
func (o *StageOptions) threads() int {
	if o.Threads > 0 {
		return o.Threads
	}
	return host.Here.Processors().Count
}

// size is a number of bytes for a person.
func size(bytes int64) string { return humanize.Bytes(uint64(max(bytes, 0))) }

// openForRank opens the bundle and checks that it has the rank, and as many stages
// as are configured.
func (o *StageOptions) openForRank(ctx context.Context) (*bundle.Bundle, error) {
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

// openStage checks the files of a stage and loads them. The bundle may come from anybody: its
// model file must not have ONNX Runtime open files without a hash in the manifest, and no file
// may have changed between the check and the loading.
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
	return session, pipeline.Stage{Runner: session, Inputs: tensor.Names(entry.Inputs), Forward: entry.Forward, Spare: b.Spare(rank)}, nil
}

// OpenChain loads every stage of a bundle into this process, to compute with one thread each.
func OpenChain(library *ort.Library, b *bundle.Bundle) (chain pipeline.Chain, done func(), err error) {
	var sessions []*ort.Session
	done = func() {
		for _, session := range sessions {
			_ = session.Close()
		}
	}
	for rank := range b.Stages {
		session, link, err := openStage(library, b, rank, ort.Options{Threads: 1})
		if err != nil {
			done()
			return nil, nil, err
		}
		sessions, chain = append(sessions, session), append(chain, link)
	}
	return chain, done, nil
}

// sharedNice is how far a stage steps back that is on one machine with its callers.
const sharedNice = 10

// niceAt is the nice value of a stage at an address. Where callers are on the same
// machine, as they are on a loopback address, what computes stands in their way. A machine that
// a stage has for itself has nobody to be nice to, and computes more undisturbed.
func (o *StageOptions) niceAt(address string) int {
	switch {
	case o.Nice >= 0:
		return o.Nice
	case stage.IsLoopback(address):
		return sharedNice
	}
	return 0
}

// shareThreads shares the threads of a stage among its runs. One that is alone in the
// pipeline has all. Under load a run has only a thread, for which it need not wait, and
// what is left helps; of the processors that stages share each takes a part.
func (o *StageOptions) shareThreads(ctx context.Context, pool *ort.Pool, threads, stages int, listen string) func(runs int, alone bool) {
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
