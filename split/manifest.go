package split

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/activations"
	"github.com/distinfer/distinfer/split/onnxfile"
)

// modelName is the name of the folder that a model.onnx lies in, or the file's
// own name without its ending.
func modelName(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	base := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
	if dir := filepath.Base(filepath.Dir(path)); base == "model" && dir != string(filepath.Separator) {
		return dir
	}
	return base
}

func (p *planner) manifest(path string, file *onnxfile.File, reference tensor.Sizes, parts []part) *bundle.Manifest {
	g, v := p.g, p.v
	m := &bundle.Manifest{
		Format: bundle.Format,
		Model: bundle.Model{
			Name:      modelName(path),
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

// copyTextFiles copies the text files that are beside the model.
func copyTextFiles(w *bundle.Writer, dir string) ([]bundle.File, error) {
	modules, err := fs.Glob(os.DirFS(dir), moduleConfigs)
	if err != nil {
		return nil, err
	}
	var files []bundle.File
	for _, name := range slices.Concat(textFiles, modules) {
		from, err := os.Open(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		as := name
		if folder, _, inside := strings.Cut(name, "/"); inside {
			as = bundle.ModuleConfigName(folder)
		}
		f, err := w.WriteFile(as, func(to io.Writer) error {
			_, err := io.Copy(to, from)
			return err
		})
		if err = errors.Join(err, from.Close()); err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

var textFiles = []string{
	bundle.TokenizerName, bundle.ConfigName, bundle.TokenizerConfigName, bundle.SpecialTokensName,
	bundle.ModulesName, bundle.SentenceConfigName, bundle.PromptsName,
}

// moduleConfigs are the config.json of the modules of sentence-transformers, such as
// 1_Pooling/config.json.
const moduleConfigs = "[0-9]*_[A-Z]*/config.json"
