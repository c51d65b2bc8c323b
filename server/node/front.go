package node

import (
	"context"
	"fmt"
	"net"
	"reflect"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/host"
	"github.com/distinfer/distinfer/runtime/text"
	"github.com/distinfer/distinfer/server/front"
	"github.com/distinfer/distinfer/server/health"
	"github.com/distinfer/distinfer/server/httpx"
	"github.com/distinfer/distinfer/server/metrics"
	"github.com/distinfer/distinfer/server/oip"
	"github.com/distinfer/distinfer/server/page"
	"github.com/distinfer/distinfer/server/transfer"
)

// A Front chains the stages of a model and answers over HTTP, and over gRPC if so configured.
type Front struct {
	options            FrontOptions
	config             front.Config
	bundle             *bundle.Bundle // of the start
	watch              *frontWatch
	http, grpc, shared net.Listener
	health             *health.Server // nil when probes are not answered

	// After connect.
	server *front.Front
	oip    *oip.Server
	share  *transfer.Server      // nil when the bundle is not shared
	model  atomic.Pointer[model] // that the front follows
}

// OpenFront opens the bundle and connects to its stages, which need not be there yet, and
// listens. Close ends what it opened, Serve answers.
func OpenFront(ctx context.Context, o FrontOptions) (*Front, error) {
	f, err := listenFront(ctx, o)
	if err == nil {
		err = f.connect()
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// listenFront does what needs no stages. The front has to be closed also after an error.
func listenFront(ctx context.Context, o FrontOptions) (*Front, error) {
	o.preset()
	f := &Front{options: o, config: front.Config{
		MaxBody: o.MaxBody, Timeout: o.Timeout, Origins: httpx.Origins(o.Origins), AllowedHosts: o.AllowedHosts, Page: page.Handler(), Log: o.Log,
	}}
	var err error
	if f.health, err = o.listenForProbes(ctx); err != nil {
		return f, err
	}
	if f.config.MaxConnections, err = o.connections(); err != nil {
		return f, err
	}
	if f.config.TLS, err = o.httpsTLS(); err != nil {
		return f, err
	}
	if f.config.Tokens, err = o.tokens(); err != nil {
		return f, err
	}
	for _, l := range []struct {
		to      *net.Listener
		address string
		what    Service
		with    Party
		secure  bool
	}{
		{&f.shared, o.Share, Sharing, Machines, o.TLS != ""},
		{&f.http, o.Listen, HTTP, Clients, f.config.TLS != nil},
		{&f.grpc, o.GRPCListen, GRPC, Clients, f.config.TLS != nil},
	} {
		if l.address == "" {
			continue
		}
		if l.what != GRPC || !sameHost(o.Listen, o.GRPCListen) { // or it would be warned of twice
			if err := o.permit("listening on", l.address, l.with, l.secure); err != nil {
				return f, err
			}
		}
		if *l.to, err = listen(ctx, o.Log, l.address, l.what); err != nil {
			return f, err
		}
	}
	if f.watch, err = o.watchFront(ctx); err != nil {
		return f, err
	}
	f.config.Wrap = f.watch.requests
	f.bundle, err = o.openBundle(ctx, textFiles)
	return f, err
}

func sameHost(a, b string) bool {
	hostA, _, errA := net.SplitHostPort(a)
	hostB, _, errB := net.SplitHostPort(b)
	return errA == nil && errB == nil && hostA == hostB
}

// connect connects to the stages, and assembles what is served.
func (f *Front) connect() error {
	m, err := f.options.connect(f.bundle, f.watch)
	if err != nil {
		return err
	}
	f.model.Store(m)
	f.server = front.New(f.config, m.Model)
	f.oip = openInference(f.server, f.options.Version, f.watch)
	f.server.Handle("/v2", f.oip)
	f.server.Handle("/v2/", f.oip)
	for _, path := range oip.HealthPaths() {
		f.server.HandleOpenly(path, f.oip)
	}
	f.server.HandleQuietly("/metrics", httpx.Get(f.watch.metrics.Handler(f.config.Log).ServeHTTP))
	f.server.Describe(oip.Description)
	f.server.Describe(metrics.Description)
	f.watch.metrics.Watch(f.server.Use)
	if f.shared != nil {
		f.options.Log.Info("sharing the bundle", "listen", f.shared.Addr().String(), "tls", m.machine != nil, "bundle", m.Bundle.ID.Short())
		f.share = transfer.NewServer(m.Bundle, f.options.MaxMessage)
	}
	return nil
}

// Close ends what OpenFront opened, after Serve has returned.
func (f *Front) Close() {
	if f.server != nil {
		f.server.Close()
	}
	if f.watch != nil {
		f.watch.close()
	}
	for _, l := range []net.Listener{f.http, f.grpc, f.shared} {
		if l != nil {
			_ = l.Close()
		}
	}
	if f.health != nil {
		_ = f.health.Close()
	}
}

// Bundle is what the front answers with.
func (f *Front) Bundle() *bundle.Bundle { return f.model.Load().Bundle }

// Serve answers until the context ends and ShutdownDelay is over, and then finishes what runs.
// When one of the services fails, all end.
func (f *Front) Serve(ctx context.Context) error {
	ctx, end := f.leaveFirst(ctx)
	defer end()
	m := f.model.Load()
	log := f.options.Log
	work, ctx := errgroup.WithContext(ctx)
	if f.shared != nil {
		work.Go(func() error { return f.share.Serve(ctx, f.shared, m.serverTLS()) })
	}
	if f.grpc != nil {
		log.Info("gRPC listening", "listen", f.grpc.Addr().String(), "tls", f.config.TLS != nil, "tokens", f.config.Tokens != nil)
		work.Go(func() error { return f.oip.Serve(ctx, f.grpc) })
	}
	log.Info("front listening", "url", f.URL(), "tokens", f.config.Tokens != nil, "model", m.Bundle.Model.Name, "task", m.task(), "bundle", m.Bundle.ID.Short(), "stages", len(m.addresses), "encoding", m.encoding)
	if m.addresses.Here(ctx) > 0 {
		host.LimitScheduler(2)
	}
	f.live(ctx)
	f.tellReadiness(ctx, m)
	work.Go(func() error {
		err := f.watch.serveBeside(ctx, func(ctx context.Context) error { return f.server.Serve(ctx, f.http) })
		if err == nil {
			log.Info("front stopped")
		}
		return err
	})
	return work.Wait()
}

// Follow opens the model that the options name by now, waits until all its stages can be used,
// and has the front answer with it; each request is answered wholly by one of the two models. Of
// the options, those of listeners and of clients have no effect. When the context ends first, the
// front goes on with what it has.
func (f *Front) Follow(ctx context.Context, o FrontOptions) error {
	o.preset()
	current := f.model.Load()
	b, err := o.openBundle(ctx, textFiles)
	if err != nil {
		return err
	}
	next, err := o.connect(b, f.watch)
	if err != nil {
		return err
	}
	log := f.options.Log
	if b.ID == current.Bundle.ID && next.encoding == current.encoding && reflect.DeepEqual(next.addresses, current.addresses) {
		log.Info("neither bundle nor stages have changed", "bundle", b.ID.Short())
		next.Close()
		return nil
	}
	log.Info("waiting for the stages of another bundle", "bundle", b.ID.Short(), "stages", len(next.addresses))
	if err := next.wait(ctx); err != nil {
		next.Close()
		return fmt.Errorf("the stages of bundle %s were not ready in time: %w", b.ID.Short(), err)
	}
	f.server.Follow(next.Model)
	f.model.Store(next)
	if f.share != nil {
		f.share.Follow(b)
	}
	log.Info("front follows", "model", b.Model.Name, "bundle", b.ID.Short(), "before", current.Bundle.ID.Short(), "stages", len(next.addresses))
	return nil
}

// wait waits until all stages can be used. The error says why they cannot.
func (m *model) wait(ctx context.Context) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := m.pipeline.Ready()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return err
		}
	}
}

// URL is where to reach the front from this machine.
func (f *Front) URL() string {
	tcp, ok := f.http.Addr().(*net.TCPAddr)
	if !ok {
		return f.http.Addr().String()
	}
	scheme := "http"
	if f.config.TLS != nil {
		scheme = "https"
	}
	host := tcp.IP.String()
	if tcp.IP.IsLoopback() || tcp.IP.IsUnspecified() {
		host = "localhost"
	}
	return scheme + "://" + net.JoinHostPort(host, strconv.Itoa(tcp.Port))
}

// Labels reports whether the model gives texts labels.
func (f *Front) Labels() bool {
	m := f.model.Load()
	if m.Texts == nil {
		return false
	}
	_, ok := m.Texts.Task.(front.Labeller)
	return ok
}

// A TaskError says that the model does not label texts.
type TaskError struct{ Task string }

func (e *TaskError) Error() string { return "the model gives no labels, its task is " + e.Task }

// Label is the model's label of one text.
func (f *Front) Label(ctx context.Context, s string) (string, error) {
	m := f.model.Load()
	switch {
	case m.Texts == nil:
		return "", m.NoTexts
	case !f.Labels():
		return "", &TaskError{m.Texts.Task.Name()}
	}
	replies, err := m.Texts.Answer(ctx, []string{s})
	if err == nil {
		err = replies[0].Err
	}
	if err != nil {
		return "", err
	}
	return replies[0].Answer.([]text.Result)[0].Label, nil
}
