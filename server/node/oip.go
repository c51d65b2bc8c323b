package node

import (
	"context"
	"fmt"

	"github.com/distinfer/distinfer/runtime/textmodel"
	"github.com/distinfer/distinfer/server/front"
	"github.com/distinfer/distinfer/server/oip"
)

// openInference answers the Open Inference Protocol with the model that the front follows.
func openInference(f *front.Front, version string, w *frontWatch) *oip.Server {
	config := f.Config()
	c := oip.Config{
		Host: f, Version: version, MaxBody: config.MaxBody, Timeout: config.Timeout, TLS: config.TLS, Log: config.Log,
		Began: w.metrics.Began, Stats: w.inferences(),
		Use: func() (oip.Model, func()) {
			m, done := f.Use()
			return openInferenceModel(m), done
		},
	}
	if config.Tokens != nil {
		c.Allow = config.Tokens.Allow
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
