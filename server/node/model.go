package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/encoding"
	"github.com/distinfer/distinfer/server/batch"
	"github.com/distinfer/distinfer/server/budget"
	"github.com/distinfer/distinfer/server/cluster"
	"github.com/distinfer/distinfer/server/front"
	"github.com/distinfer/distinfer/server/mtls"
	"github.com/distinfer/distinfer/server/page"
	"github.com/distinfer/distinfer/server/stage"
	"github.com/distinfer/distinfer/server/task"
)

// A model is a bundle with the stages that compute it.
type model struct {
	front.Model
	addresses cluster.Addresses
	encoding  encoding.Encoding // of activations between stages
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

// connect connects to the stages of a bundle.
func (o *FrontOptions) connect(b *bundle.Bundle, w *frontWatch) (*model, error) {
	addresses, err := o.Stages.ForStages(len(b.Stages))
	if err != nil {
		return nil, err
	}
	if err := PermitStages(o.Log, o.Insecure, addresses, 0, o.TLS != ""); err != nil {
		return nil, err
	}
	machine, err := MachineTLS(o.TLS, o.Log)
	if err != nil {
		return nil, err
	}
	options := o.calls(machine)
	options.Encoding, options.Stats = o.Encoding, w.calls()
	pipeline, err := stage.NewPipeline(b.ID, addresses, options)
	if err != nil {
		return nil, err
	}
	m := &model{addresses: addresses, encoding: o.Encoding, machine: machine, pipeline: pipeline, meter: page.NewMeter()}
	guard := &budget.Guard{Tracer: pipeline, Inputs: b.Inputs, Budgets: pipeline.Budgets}
	for _, entry := range b.Stages {
		guard.Estimates = append(guard.Estimates, entry.Activations)
	}
	m.Bundle, m.Runner, m.Replicas = b, guard, pipeline.Replicas
	m.Ready = func(context.Context) error { return pipeline.Ready() }
	m.Close = func() { _ = pipeline.Close() }
	t, err := task.Open(b, guard, o.Limits)
	switch {
	case err == nil:
		m.Texts = Texts(b, t, o.Log, batch.Config{
			MaxTexts: o.MaxTexts, MaxWait: o.MaxWait, Memory: guard, Begin: 1 + len(slices.Concat(addresses...)),
			Listener: batch.Tee(w.batches(), m.meter.Batches()),
		})
		if rows := t.Model().Beside(); rows.Independent {
			o.Log.Info("texts are computed together", "model", b.Model.Name, "which", rows.Together(), "why", rows.Reason)
		}
	case errors.Is(err, bundle.ErrNoFile):
		m.NoTexts = fmt.Errorf("%w; without it no text can be answered: put tokenizer.json and config.json beside the model and split it again", err)
		o.Log.Warn("no text route: " + m.NoTexts.Error())
	default:
		m.Close()
		return nil, err
	}
	return m, nil
}

// Texts answers texts with a bundle's task, in batches. It logs what is unusual.
func Texts(b *bundle.Bundle, t task.Task, log *slog.Logger, c batch.Config) *front.Texts {
	c.Model, c.Log = t.Model(), log
	if rows := c.Model.Beside(); !rows.Independent {
		log.Warn("every text is computed by itself", "model", b.Model.Name, "reason", rows.Reason)
	}
	if why := t.Warning(); why != "" {
		log.Warn(why, "model", b.Model.Name)
	}
	return &front.Texts{Task: t, Batcher: batch.New(c)}
}
