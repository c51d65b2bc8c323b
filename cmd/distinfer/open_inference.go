package main

import (
	"context"
	"fmt"
	"net"
	"strconv"

	"github.com/distinfer/distinfer/runtime/textmodel"
	"github.com/distinfer/distinfer/server/front"
	"github.com/distinfer/distinfer/server/oip"
)

// noPort is the --grpc-port for no gRPC. 0 is any port that is free, as for --port.
const noPort = -1

// openInference answers the Open Inference Protocol with the model that the front follows.
func openInference(f *front.Front, w *frontWatch) *oip.Server {
	c := oip.Config{
		Host: f, Version: buildVersion(), MaxBody: f.Config().MaxBody, Timeout: f.Config().Timeout, TLS: f.Config().TLS, Log: f.Config().Log,
		Began: w.metrics.Began, Stats: w.inferences(),
		Use: func() (oip.Model, func()) {
			m, done := f.Use()
			return openInferenceModel(m), done
		},
	}
	if f.Config().Tokens != nil {
		c.Allow = f.Config().Tokens.Allow
	}
	return oip.New(c)
}

func openInferenceModel(m front.Model) oip.Model {
	o := oip.Model{
		Name: m.Bundle.Model.Name, Inputs: m.Bundle.Inputs, Outputs: m.Bundle.Outputs, Limits: m.Bundle.Limits,
		Runner: m.Runner, Ready: m.Ready,
	}
	if m.Texts == nil {
		o.NoText = m.NoTexts.Error()
		return o
	}
	if l, ok := m.Texts.Task.(front.Labeller); ok {
		o.Text = &oip.Text{Labels: l.Labels(), Results: l.Results, Answer: func(ctx context.Context, inputs []textmodel.Input) ([]textmodel.Answer, error) {
			answers, _, err := m.Texts.Batcher.Answer(ctx, inputs)
			return answers, err
		}}
	} else {
		o.NoText = fmt.Sprintf("the model's task is %s, which gives texts no labels; send tensors, or texts to POST /predict", m.Texts.Task.Name())
	}
	return o
}

// listenGRPC listens at the host of the front, which was permitted for that; without
// --grpc-port it gives none.
func (o *frontOptions) listenGRPC(ctx context.Context) (net.Listener, error) {
	if o.GRPCPort == noPort {
		return nil, nil
	}
	host := "localhost"
	if o.Listen != "" {
		var err error
		if host, _, err = net.SplitHostPort(o.Listen); err != nil {
			return nil, err // not so: it was checked
		}
	}
	return listen(ctx, o.logger(), net.JoinHostPort(host, strconv.Itoa(o.GRPCPort)), "--grpc-port")
}

// serveGRPC says where, and serves.
func (f *frontProcess) serveGRPC(ctx context.Context, l net.Listener) error {
	f.log.Info("gRPC listening", "listen", l.Addr().String(), "tls", f.Config().TLS != nil, "tokens", f.Config().Tokens != nil)
	return f.oip.Serve(ctx, l)
}
