package node

import (
	"context"

	"github.com/distinfer/distinfer/server/front"
	"github.com/distinfer/distinfer/server/httpx"
	"github.com/distinfer/distinfer/server/page"
)

// live mounts what the page at / is drawn from, until ctx ends.
func (f *Front) live(ctx context.Context) {
	l := page.NewLive(ctx.Done(), f.snapshot)
	f.server.HandleQuietly("/status", httpx.Get(l.Status))
	f.server.HandleQuietly("/events", httpx.Get(f.server.Lasting(l.Events)))
	f.server.Describe(page.Description)
}

// snapshot is what the front and its stages do at the moment.
func (f *Front) snapshot() page.Snapshot {
	m := f.model.Load()
	s := page.Snapshot{
		Model:   page.Model{Name: m.Bundle.Model.Name, Bundle: m.Bundle.ID.Short(), Bytes: m.Bundle.Model.Bytes},
		MaxBody: f.config.MaxBody, MaxFile: f.server.Config().MaxFile(),
	}
	if m.Texts == nil {
		s.NoText = m.NoTexts.Error()
	} else {
		s.Task, s.MaxTexts = m.Texts.Task.Name(), m.Texts.Batcher.MaxTexts()
		if l, ok := m.Texts.Task.(front.Labeller); ok {
			s.Labels = l.Labels()
		}
		stats := m.Texts.Batcher.Stats()
		s.Queue = page.Queue{Waiting: stats.Waiting, TextsInFlight: stats.Busy, BatchesInFlight: stats.InFlight, BatchesTarget: stats.Target}
	}
	if err := m.pipeline.Ready(); err != nil {
		s.NotReady = err.Error()
	}
	s.Ready = s.NotReady == ""
	for rank, replicas := range m.Replicas() {
		part := m.Bundle.Stages[rank]
		stage := page.Stage{
			Rank: rank, Nodes: part.Nodes, Parameters: part.Parameters, ParameterBytes: part.ParameterBytes,
			Cost: part.Cost, BytesOut: part.BytesOut,
		}
		for _, r := range replicas {
			one := page.Replica{Address: r.Address, Condition: r.Condition.String(), Ejected: r.Ejected, Calls: r.Calls}
			if r.Err != nil {
				one.Error = r.Err.Error()
			}
			stage.Replicas = append(stage.Replicas, one)
		}
		s.Stages = append(s.Stages, stage)
	}
	m.meter.Fill(&s)
	return s
}
