package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/classify"
	"github.com/distinfer/distinfer/runtime/fault"
	"github.com/distinfer/distinfer/server/front"
	"github.com/distinfer/distinfer/server/share"
	"github.com/distinfer/distinfer/server/stage"
)

func newFront() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "front",
		Short: "Chain the stages and answer over HTTP",
		Long: `Answer texts over HTTP with the stages of the model, which may be on other
machines. Only the front needs to know where the stages are.

  GET  /?text=…   the label, as plain text
  POST /predict   (or /) labels and scores as JSON, for {"inputs": "…"} or a list
  GET  /healthz   whether the front runs
  GET  /readyz    whether every stage can be used

The front listens on localhost only, unless --listen names another address.

With --share it also gives the bundle's files, by gRPC on an address of its own, to
machines that fetch them; the bundle then has to be on this machine only. With
--fetch it is the other way round: what the front needs (the manifest, the
tokenizer and its configuration) is fetched from a machine that has it.`,
		Example: `  distinfer front --port 8008
  distinfer front --stages 192.168.0.101:2222,192.168.0.104:2222
  distinfer front --listen 0.0.0.0:80 --bundle /srv/sentiment
  distinfer front --share 192.168.0.101:2221
  distinfer front --fetch 192.168.0.101:2222
  curl 'http://localhost:8008/?text=a+lovely+film'
  curl localhost:8008/predict -d '{"inputs": ["a lovely film", "a waste of time"]}'`,
		Args: arguments(false),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := load(cmd)
			if err != nil {
				return err
			}
			return s.front(cmd.Context())
		},
	}
	addFrontFlags(cmd.Flags())
	addStagesFlag(cmd.Flags())
	addFetchFlags(cmd.Flags())
	cmd.Flags().String("share", "", "`host:port` to give the bundle's files to other machines on (default: they are not given)")
	return cmd
}

func (s *settings) front(ctx context.Context) error {
	b, err := s.openBundle(ctx, textFiles)
	if err != nil {
		return err
	}
	addresses, err := s.Stages.forStages(len(b.Stages))
	if err != nil {
		return err
	}
	l, err := s.listenHTTP(ctx)
	if err != nil {
		return err
	}
	f, err := s.newFront(b, addresses)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	defer f.close()
	// Whichever of the two ends takes the other with it.
	work, ctx := errgroup.WithContext(ctx)
	if s.Share != "" {
		shared, err := listen(ctx, s.Share, "--share")
		if err != nil {
			return errors.Join(err, l.Close())
		}
		warnIfOpen(f.log, shared.Addr())
		f.log.Info("sharing the bundle", "listen", shared.Addr().String(), "bundle", short(b.ID))
		work.Go(func() error { return share.NewServer(b, s.MaxMessage).Serve(ctx, shared, nil) })
	}
	go f.watch(ctx)
	work.Go(func() error { return f.Serve(ctx, l) })
	return work.Wait()
}

// addFrontFlags adds the flags of everything that has a front.
func addFrontFlags(f *pflag.FlagSet) {
	f.Int("port", 8008, "`port` on localhost to answer HTTP on; 0 is any that is free")
	f.String("listen", "", "`host:port` to answer HTTP on, instead of --port")
	f.Duration("timeout", 30*time.Second, "longest `time` a request may take")
	f.Int64("max-body", 4<<20, "largest body of a request, in `bytes`")
	f.Int("max-texts", 1024, "`number` of texts that may wait or be computed; more are refused")
	addMessageFlag(f)
}

func (s *settings) listenHTTP(ctx context.Context) (net.Listener, error) {
	if s.Listen != "" {
		return listen(ctx, s.Listen, "--listen")
	}
	return listen(ctx, net.JoinHostPort("localhost", strconv.Itoa(s.Port)), "--port")
}

// A frontProcess is a front with its connections to the stages.
type frontProcess struct {
	*front.Front
	pipeline *stage.Pipeline
	stages   []*stage.Client
	bundle   *bundle.Bundle
	log      *slog.Logger
}

func (s *settings) newFront(b *bundle.Bundle, addresses [][]string) (*frontProcess, error) {
	log := s.logger()
	p := &frontProcess{bundle: b, log: log}
	var err error
	if p.pipeline, err = stage.NewPipeline(b.ID, addresses, s.MaxMessage); err != nil {
		return nil, err
	}
	for rank, replicas := range addresses {
		client, err := stage.Dial(rank, replicas, s.MaxMessage)
		if err != nil {
			return nil, err
		}
		p.stages = append(p.stages, client)
	}
	config := front.Config{MaxBody: s.MaxBody, MaxTexts: s.MaxTexts, Timeout: s.Timeout, Ready: p.ready, Log: log}
	config.Classifier, err = classify.New(b, p.pipeline, 2*len(addresses))
	switch {
	case errors.Is(err, bundle.ErrNoFile):
		config.Classifier = nil
		config.NoText = fmt.Sprintf("%v; without it no text can be answered: put tokenizer.json and config.json beside the model and split it again", err)
		log.Warn("no text route: " + config.NoText)
	case err != nil:
		return nil, err
	}
	p.Front = front.New(config)
	return p, nil
}

func (p *frontProcess) close() {
	_ = p.pipeline.Close()
	for _, c := range p.stages {
		_ = c.Close()
	}
}

// Serve says where, and serves.
func (p *frontProcess) Serve(ctx context.Context, l net.Listener) error {
	warnIfOpen(p.log, l.Addr())
	p.log.Info("front listening", "url", url(l.Addr()), "model", p.bundle.Model.Name, "bundle", short(p.bundle.ID), "stages", len(p.stages))
	err := p.Front.Serve(ctx, l)
	if err == nil {
		p.log.Info("front stopped")
	}
	return err
}

// url is the address to reach a listener at from this machine.
func url(a net.Addr) string {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return a.String()
	}
	host := tcp.IP.String()
	if tcp.IP.IsLoopback() || tcp.IP.IsUnspecified() {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, strconv.Itoa(tcp.Port))
}

// ready fails unless every stage can be reached and holds what it should.
func (p *frontProcess) ready(ctx context.Context) error {
	for rank := range p.stages {
		if err := p.stageReady(ctx, rank); err != nil {
			return err
		}
	}
	return nil
}

func (p *frontProcess) stageReady(ctx context.Context, rank int) error {
	d, err := p.stages[rank].Describe(ctx)
	if err != nil {
		return err
	}
	if d.GetBundle() != p.bundle.ID || int(d.GetRank()) != rank {
		return fault.Errorf(fault.Mismatch, "%s holds rank %d of bundle %s (%s), the front has bundle %s (%s); give both the same bundle, and the stages in rank order",
			p.stages[rank], d.GetRank(), short(d.GetBundle()), d.GetModel(), short(p.bundle.ID), p.bundle.Model.Name)
	}
	return nil
}

// watch logs when each stage can first be used, and until then what is wrong
// with it, once for every new reason.
func (p *frontProcess) watch(ctx context.Context) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	said := make([]string, len(p.stages))
	for left := len(p.stages); left > 0; {
		for rank, c := range p.stages {
			if said[rank] == "ready" {
				continue
			}
			try, cancel := context.WithTimeout(ctx, 2*time.Second)
			err := p.stageReady(try, rank)
			cancel()
			switch {
			case ctx.Err() != nil:
				return
			case err == nil:
				p.log.Info("stage can be used", "stage", c.String())
				said[rank] = "ready"
				left--
			case said[rank] != err.Error():
				p.log.Warn("stage cannot be used yet", "error", err)
				said[rank] = err.Error()
			}
		}
		if left == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
