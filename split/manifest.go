package split

import (
	"fmt"
	"math"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/activations"
	"github.com/distinfer/distinfer/split/onnxfile"
)

func (p *planner) manifest(name string, file *onnxfile.File, reference tensor.Sizes, parts []part) *bundle.Manifest {
	g, v := p.g, p.v
	m := &bundle.Manifest{
		Format: bundle.Format,
		Model: bundle.Model{
			Name:      name,
			Bytes:     int64(len(file.Data)),
			IRVersion: file.IRVersion,
			Producer:  file.ProducerName,
		},
		Inputs:    g.Inputs,
		Outputs:   v.List(g.Outputs),
		Reference: reference,
	}
	if found := g.BatchDependent(); found != "" {
		m.Rows = &bundle.Rows{Reason: "scales are computed over all of the batch (" + found + "); quantise with static scales instead"}
	}
	for _, o := range file.Opsets {
		m.Model.Opsets = append(m.Model.Opsets, bundle.Opset(o))
	}
	var total int64
	for _, part := range parts {
		total += part.cost
	}
	for rank, part := range parts {
		s := bundle.Stage{
			// The hash is known once the file is written.
			File:     bundle.File{Name: fmt.Sprintf("stage-%d.onnx", rank)},
			Inputs:   v.List(part.inputs),
			Outputs:  v.List(part.outputs),
			Forward:  part.forward,
			Nodes:    len(part.sub.Nodes),
			Cost:     round4(float64(part.cost) / float64(max(total, 1))),
			BytesIn:  v.Bytes(part.arriving),
			BytesOut: v.Bytes(part.leaving),
		}
		s.Parameters, s.ParameterBytes = p.parameters(part)
		if loaded := p.loadedBytes(part); loaded > s.ParameterBytes+s.ParameterBytes/16 {
			s.LoadedBytes = loaded
		}
		s.Activations = activations.Estimate(g, v, part.sub.Nodes, part.leaving)
		m.Stages = append(m.Stages, s)
	}
	return m
}

// parameters are the weights of a part: how many, and their bytes as they are
// stored. Some exporters write weights as nodes.
func (p *planner) parameters(part part) (n, bytes int64) {
	for _, i := range part.sub.Initializers {
		t := p.g.Model.Graph.Initializers[i]
		n += t.Elements() * p.packed(t.Name)
		bytes += t.Bytes()
	}
	for _, i := range part.sub.Nodes {
		if name := p.g.ConstantNode(i); name != "" {
			n += elements(p.v.Shapes[name])
			bytes += p.v.Sizes[name]
		}
	}
	return n, bytes
}

func round4(x float64) float64 { return math.Round(x*1e4) / 1e4 }
