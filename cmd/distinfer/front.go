package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"
	"golang.org/x/term"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/encoding"
	"github.com/distinfer/distinfer/runtime/host"
	"github.com/distinfer/distinfer/server/batch"
	"github.com/distinfer/distinfer/server/budget"
	"github.com/distinfer/distinfer/server/cluster"
	"github.com/distinfer/distinfer/server/front"
	"github.com/distinfer/distinfer/server/httpx"
	"github.com/distinfer/distinfer/server/metrics"
	"github.com/distinfer/distinfer/server/mtls"
	"github.com/distinfer/distinfer/server/oip"
	"github.com/distinfer/distinfer/server/page"
	"github.com/distinfer/distinfer/server/stage"
	"github.com/distinfer/distinfer/server/task"
	"github.com/distinfer/distinfer/server/transfer"
)

// nodeOptions are those of a process that serves: of a front or of a stage.
type nodeOptions struct {
	bundleOptions
	logOptions
	stagesOptions
	tlsOptions
	callOptions
	fetchOptions
	adminOptions
	profileOptions
}

func (o *nodeOptions) AddFlags(f *pflag.FlagSet) {
	for _, group := range []optionSet{&o.bundleOptions, &o.logOptions, &o.stagesOptions, &o.tlsOptions, &o.callOptions, &o.fetchOptions, &o.adminOptions, &o.profileOptions} {
		group.AddFlags(f)
	}
}

type frontOptions struct {
	nodeOptions
	serveOptions
	Share string
}

func (o *frontOptions) AddFlags(f *pflag.FlagSet) {
	o.nodeOptions.AddFlags(f)
	o.serveOptions.AddFlags(f)
	listenVar(f, &o.Share, "share", "`host:port` to give the bundle's files to other machines on (default: they are not given)")
}

// serveOptions are those of everything that answers HTTP.
type serveOptions struct {
	textOptions
	httpsOptions
	Port            int
	Listen          string
	GRPCPort        int
	Timeout         time.Duration
	MaxBody         int64
	MaxTexts        int
	MaxConns        int
	Origins         []string
	ActivationDtype string
	MaxWait         time.Duration
}

// leastConnections is the least that --max-connections can be.
const leastConnections = 16

func (o *serveOptions) AddFlags(f *pflag.FlagSet) {
	o.textOptions.AddFlags(f)
	o.httpsOptions.AddFlags(f)
	numberVar(f, &o.Port, "port", 8008, 0, 65535, "`port` on localhost to answer HTTP on; 0 is any that is free")
	listenVar(f, &o.Listen, "listen", "`host:port` to answer HTTP on, instead of --port")
	numberVar(f, &o.GRPCPort, "grpc-port", noPort, noPort, 65535, "`port` to answer the Open Inference Protocol over gRPC on, at the host that HTTP is answered at; 0 is any that is free, -1 none")
	timeVar(f, &o.Timeout, "timeout", 30*time.Second, time.Millisecond, 24*time.Hour, "longest `time` a request may take")
	numberVar(f, &o.MaxBody, "max-body", 4<<20, 1<<10, 1<<30, "largest body of a request, in `bytes`")
	numberVar(f, &o.MaxTexts, "max-texts", 1024, 1, 1<<20, "`number` of texts that may wait or be computed; more are refused")
	numberVar(f, &o.MaxConns, "max-connections", 4096, leastConnections, 1<<20, "`number` of connections of clients at once; those that are idle for longest give way to new ones")
	listVar(f, &o.Origins, "cors-origins", "`origins` of web pages whose scripts may read the answers, such as https://example.org,https://example.net; * is any (default: none but the front's own)", checkOrigin)
	var encodings []string
	for _, e := range encoding.Encodings() {
		encodings = append(encodings, string(e))
	}
	choiceVar(f, &o.ActivationDtype, "activation-dtype", "", string(encoding.Float32), "`encoding` of float32 tensors from stage to stage, for slow links: "+encoding.Names(encoding.Encodings())+"; `distinfer verify --texts` says what it changes", encodings...)
	timeVar(f, &o.MaxWait, "max-wait", 0, 0, 24*time.Hour, "longest `time` that texts may have to wait for their turn; those that come then are refused (default 2s, or as long as 4 batches take)")
}

func newFront() *cobra.Command {
	var o frontOptions
	cmd := &cobra.Command{
		Use:   "front",
		Short: "Chain the stages and answer over HTTP",
		Long: `Answer texts over HTTP with the stages of the model, which may be on other
machines. Only the front needs to know where the stages are.

  GET  /?text=…   the label, as plain text
  POST /predict   (or /) labels and scores as JSON, for {"inputs": "…"} or a list
                  (for other models: entities, or embeddings, which are also at
                  /embed and /v1/embeddings)
  GET  /healthz   whether the front runs
  GET  /readyz    whether every stage can be used
  /v2/…           the Open Inference Protocol: tensors and texts, for any model
  GET  /metrics   for Prometheus
  GET  /          in a browser: a page to try the model and watch the stages
  GET  /status    what the stages do, as JSON; /events is the same once a second

The front listens on localhost only, unless --listen names another address, which
needs --https-cert and --https-key. --grpc-port adds the Open Inference Protocol over
gRPC, at the same host, with the same certificate and tokens. Stages on other machines need --tls, a folder
that ` + "`distinfer certs`" + ` makes. With --tokens, only those who send one of the tokens
in the file are answered.

With --share it also gives the bundle's files, by gRPC on an address of its own, to
machines that fetch them; the bundle then has to be on this machine only. With
--fetch it is the other way round: what the front needs (the manifest, the
tokenizer and its configuration) is fetched from a machine that has it.

On SIGHUP it reads its configuration and the bundle again. When they are others it
goes on answering with what it has until every stage of the new bundle can be
used, and then follows; each request is answered wholly by one of the two.`,
		Example: `  distinfer front --port 8008
  distinfer front --stages 192.168.0.101:2222,192.168.0.104:2222 --tls tls
  distinfer front --listen 0.0.0.0:443 --https-cert cert.pem --https-key key.pem --tokens tokens.txt
  distinfer front --share 192.168.0.101:2221 --tls tls
  distinfer front --fetch 192.168.0.101:2222 --tls tls
  curl 'http://localhost:8008/?text=a+lovely+film'
  curl localhost:8008/predict -d '{"inputs": ["a lovely film", "a waste of time"]}'`,
		Args: arguments(false),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := configure(cmd); err != nil {
				return err
			}
			outliveReaders()
			return o.front(cmd)
		},
	}
	o.AddFlags(cmd.Flags())
	return cmd
}

func (o *frontOptions) front(cmd *cobra.Command) error {
	config, err := o.frontConfig()
	if err != nil {
		return err
	}
	endProfile, err := o.profile()
	if err != nil {
		return err
	}
	defer endProfile()
	if o.Share != "" {
		if err := o.permit(config.Log, stageListener(o.Share, o.TLS != "")); err != nil {
			return err
		}
	}
	l, err := o.listenHTTP(cmd.Context())
	if err != nil {
		return err
	}
	w, err := o.watchFront(cmd.Context(), config.Log)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	defer w.close()
	m, err := o.openModel(cmd.Context(), w)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	f := newFrontProcess(config, m, w)
	defer f.Close()
	grpcListener, err := o.listenGRPC(cmd.Context())
	if err != nil {
		return errors.Join(err, l.Close())
	}
	// Whichever of the two ends takes the other with it.
	work, ctx := errgroup.WithContext(cmd.Context())
	if o.Share != "" {
		shared, err := listen(ctx, f.log, o.Share, "--share")
		if err != nil {
			return errors.Join(err, l.Close())
		}
		f.log.Info("sharing the bundle", "listen", shared.Addr().String(), "tls", m.machine != nil, "bundle", m.Bundle.ID.Short())
		f.share = transfer.NewServer(m.Bundle, o.MaxMessage)
		work.Go(func() error { return f.share.Serve(ctx, shared, m.serverTLS()) })
	}
	unfollow := f.followOnHangup(cmd, m)
	defer unfollow()
	if grpcListener != nil {
		work.Go(func() error { return f.serveGRPC(ctx, grpcListener) })
	}
	work.Go(func() error { return f.serve(ctx, l, m) })
	return work.Wait()
}

func (o *frontOptions) listenHTTP(ctx context.Context) (net.Listener, error) {
	if o.Listen != "" {
		if err := o.permit(o.logger(), frontListener(o.Listen, o.HTTPSCert != "")); err != nil {
			return nil, err
		}
		return listen(ctx, o.logger(), o.Listen, "--listen")
	}
	return listen(ctx, o.logger(), net.JoinHostPort("localhost", strconv.Itoa(o.Port)), "--port")
}

// A model is a bundle with the stages that compute it.
type model struct {
	front.Model
	addresses cluster.Addresses
	wire      string            // the encoding between stages
	machine   *mtls.Credentials // nil without TLS
	pipeline  *stage.Pipeline
	meter     *page.Meter
}

// serverTLS is for what listens to other machines of the cluster.
func (m *model) serverTLS() *tls.Config {
	if m.machine == nil {
		return nil
	}
	return m.machine.Server()
}

// task is what the model does with texts.
func (m *model) task() string {
	if m.Texts == nil {
		return "none"
	}
	return m.Texts.Task.Name()
}

// openModel opens the bundle, which it fetches if so configured, and connects to its stages.
func (o *frontOptions) openModel(ctx context.Context, w *frontWatch) (*model, error) {
	b, err := o.openBundle(ctx, textFiles)
	if err != nil {
		return nil, err
	}
	addresses, err := o.Stages.ForStages(len(b.Stages))
	if err != nil {
		return nil, err
	}
	if err := o.permitStages(o.logger(), addresses, 0, o.TLS != ""); err != nil {
		return nil, err
	}
	return o.connect(b, addresses, w)
}

func (o *frontOptions) connect(b *bundle.Bundle, addresses cluster.Addresses, w *frontWatch) (*model, error) {
	log := o.logger()
	machine, err := o.stageTLS(log)
	if err != nil {
		return nil, err
	}
	options := o.calls(log, machine)
	options.Wire = encoding.Encoding(o.ActivationDtype)
	options.Stats = w.calls()
	pipeline, err := stage.NewPipeline(b.ID, addresses, options)
	if err != nil {
		return nil, err
	}
	m := &model{addresses: addresses, wire: o.ActivationDtype, machine: machine, pipeline: pipeline, meter: page.NewMeter()}
	guard := &budget.Guard{Tracer: pipeline, Inputs: b.Inputs, Budgets: pipeline.Budgets}
	for _, entry := range b.Stages {
		guard.Estimates = append(guard.Estimates, entry.Activations)
	}
	m.Bundle, m.Runner, m.Replicas = b, guard, pipeline.Replicas
	m.Ready = func(context.Context) error { return pipeline.Ready() }
	m.Close = func() { _ = pipeline.Close() }
	t, err := task.Open(b, guard, o.limits())
	switch {
	case err == nil:
		m.Texts = o.texts(b, t, batch.Config{
			MaxTexts: o.MaxTexts, MaxWait: o.MaxWait, Begin: 1 + len(slices.Concat(addresses...)),
			Listener: batch.Tee(w.batches(), m.meter.Batches()),
		})
		if rows := t.Model().Beside(); rows.Independent {
			log.Info("texts are computed together", "model", b.Model.Name, "which", rows.Together(), "why", rows.Reason)
		}
	case errors.Is(err, bundle.ErrNoFile):
		m.NoTexts = fmt.Errorf("%w; without it no text can be answered: put tokenizer.json and config.json beside the model and split it again", err)
		log.Warn("no text route: " + m.NoTexts.Error())
	default:
		m.Close()
		return nil, err
	}
	return m, nil
}

// texts answers texts with a bundle's task, in batches. It logs what is unusual.
func (o *logOptions) texts(b *bundle.Bundle, t task.Task, c batch.Config) *front.Texts {
	c.Model, c.Log = t.Model(), o.logger()
	if rows := c.Model.Beside(); !rows.Independent {
		c.Log.Warn("every text is computed by itself", "model", b.Model.Name, "reason", rows.Reason)
	}
	if why := t.Warning(); why != "" {
		c.Log.Warn(why, "model", b.Model.Name)
	}
	return &front.Texts{Task: t, Batcher: batch.New(c)}
}

// A frontProcess is a front that tells what it does.
type frontProcess struct {
	*front.Front
	oip   *oip.Server
	watch *frontWatch
	model atomic.Pointer[model] // that the front follows
	share *transfer.Server      // nil when the bundle is not shared
	log   *slog.Logger
}

// frontConfig says how the front serves, whichever model.
func (o *frontOptions) frontConfig() (front.Config, error) {
	c := front.Config{MaxBody: o.MaxBody, Timeout: o.Timeout, Origins: httpx.Origins(o.Origins), AllowedHosts: o.Hosts, Page: page.Handler(), Log: o.logger()}
	var err error
	if c.MaxConnections, err = o.connections(c.Log); err != nil {
		return c, err
	}
	if c.TLS, err = o.httpsTLS(c.Log); err == nil {
		c.Tokens, err = o.tokens(c.Log)
	}
	return c, err
}

func newFrontProcess(c front.Config, m *model, w *frontWatch) *frontProcess {
	c.Wrap = w.requests
	f := &frontProcess{Front: front.New(c, m.Model), watch: w, log: c.Log}
	f.oip = openInference(f.Front, w)
	f.Handle("/v2", f.oip)
	f.Handle("/v2/", f.oip)
	for _, path := range oip.HealthPaths() {
		f.HandleOpenly(path, f.oip)
	}
	f.HandleQuietly("/metrics", httpx.Get(w.metrics.Handler(c.Log).ServeHTTP))
	f.Describe(oip.Description)
	f.Describe(metrics.Description)
	w.metrics.Watch(f.Use)
	f.model.Store(m)
	return f
}

// serve says where, and serves.
func (f *frontProcess) serve(ctx context.Context, l net.Listener, m *model) error {
	f.log.Info("front listening", "url", f.url(l), "tokens", f.Config().Tokens != nil, "model", m.Bundle.Model.Name, "task", m.task(), "bundle", m.Bundle.ID.Short(), "stages", len(m.addresses), "wire", m.wire)
	if m.addresses.Here(ctx) > 0 {
		host.LimitScheduler(2)
	}
	f.live(ctx)
	err := f.watch.serveBeside(ctx, func(ctx context.Context) error { return f.Serve(ctx, l) })
	if err == nil {
		f.log.Info("front stopped")
	}
	return err
}

// followOnHangup reads configuration and bundle again on every SIGHUP, and has the
// front answer with what they say once all stages of it can be used. On a terminal
// the signal ends the front, since it says that the terminal is gone.
func (f *frontProcess) followOnHangup(cmd *cobra.Command, current *model) (end func()) {
	if term.IsTerminal(int(os.Stdin.Fd())) {
		return func() {}
	}
	hangup := make(chan os.Signal, 1)
	signal.Ignore(syscall.SIGHUP) // or it would end the process
	signal.Notify(hangup, syscall.SIGHUP)
	ctx, cancel := context.WithCancel(cmd.Context())
	var work sync.WaitGroup
	work.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-hangup:
			}
			next, err := f.next(ctx, cmd, current, hangup)
			switch {
			case ctx.Err() != nil:
			case err != nil:
				f.log.Error("the front goes on with what it has", "bundle", current.Bundle.ID.Short(), "error", err)
			case next != nil:
				f.Follow(next.Model)
				f.model.Store(next)
				if f.share != nil {
					f.share.Follow(next.Bundle)
				}
				f.log.Info("front follows", "model", next.Bundle.Model.Name, "bundle", next.Bundle.ID.Short(), "before", current.Bundle.ID.Short(), "stages", len(next.addresses))
				current = next
			}
		}
	})
	return func() {
		cancel()
		work.Wait()
		signal.Stop(hangup)
	}
}

// next opens the model that the configuration names by now, and waits until all
// its stages can be used or it is asked to look again.
func (f *frontProcess) next(ctx context.Context, cmd *cobra.Command, current *model, hangup chan os.Signal) (*model, error) {
	var o frontOptions
	if err := reconfigure(cmd, &o); err != nil {
		return nil, err
	}
	m, err := o.openModel(ctx, f.watch)
	if err != nil {
		return nil, err
	}
	if m.Bundle.ID == current.Bundle.ID && m.wire == current.wire && reflect.DeepEqual(m.addresses, current.addresses) {
		f.log.Info("neither bundle nor stages have changed", "bundle", m.Bundle.ID.Short())
		m.Close()
		return nil, nil
	}
	f.log.Info("waiting for the stages of another bundle", "bundle", m.Bundle.ID.Short(), "stages", len(m.addresses))
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := m.pipeline.Ready()
		if err == nil {
			return m, nil
		}
		select {
		case <-tick.C:
			continue
		case again := <-hangup:
			hangup <- again
		case <-ctx.Done():
		}
		m.Close()
		return nil, fmt.Errorf("the stages of bundle %s were not ready before the front was asked again: %w", m.Bundle.ID.Short(), err)
	}
}

// url is the address to reach the front at from this machine.
func (f *frontProcess) url(l net.Listener) string {
	tcp, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return l.Addr().String()
	}
	scheme := "http"
	if f.Config().TLS != nil {
		scheme = "https"
	}
	host := tcp.IP.String()
	if tcp.IP.IsLoopback() || tcp.IP.IsUnspecified() {
		host = "localhost"
	}
	return scheme + "://" + net.JoinHostPort(host, strconv.Itoa(tcp.Port))
}
