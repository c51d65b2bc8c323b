// Package split cuts an ONNX model into stages that give, run one after the
// other, exactly what the whole model gives.
//
// The work goes graph → plan → extract → verify: the graph is read at the level
// of the wire format (package onnxfile), priced with the shapes that ONNX
// Runtime infers from a weightless skeleton, divided by dynamic programming,
// copied out range by range, and run against the whole model.
//
// The package knows ONNX Runtime only by the Engine it is given, and knows
// nothing of gRPC or HTTP.
package split

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/onnxfile"
	"github.com/distinfer/distinfer/split/plan"
	"github.com/distinfer/distinfer/split/rows"
)

// An Engine is what splitting needs of a runtime.
type Engine interface {
	// Types infers the element types and dimensions of the graph outputs of the
	// model at path. A value that is no dense tensor has DType Undefined. One of
	// unknown rank may be reported like a scalar.
	Types(path string) ([]tensor.Spec, error)
	// Open loads the model at path.
	Open(path string, inputs, outputs []tensor.Spec) (Session, error)
}

// A Session is a loaded model.
type Session interface {
	pipeline.Runner
	io.Closer
}

// Options say how to split.
type Options struct {
	// Stages is the number of stages. It is left 0 with one of At, Layers and
	// Machines, which say where to cut in other ways.
	Stages int
	// At are names of values or nodes to cut behind.
	At []string
	// Layers asks for one stage a layer.
	Layers bool
	// Machines asks for what is best on these machines.
	Machines []plan.Machine
	// Profile measures what layers cost on this machine, instead of reckoning it.
	Profile bool
	// MaxStageBytes bounds the weights of a stage as they are stored, in bytes,
	// unless it is 0. With More, there are more than Stages when it needs them.
	MaxStageBytes int64
	More          bool

	Out    string // the bundle's folder
	Force  bool   // replace a bundle that stands there
	Verify bool   // run the stages against the whole model
	// Inputs and Memory are those of VerifyOptions.
	Inputs []string
	Memory int64
	// RunTime is how long a run of the model or of a part may take; 0 is DefaultRunTime.
	RunTime time.Duration
	// Texts opens the model's texts, to find out which may be computed together, also
	// without Verify; nil leaves that out, so that none will be.
	Texts  rows.Open
	DryRun bool // plan only, write nothing
	// Dims are sizes of named dimensions at which costs are reckoned, instead of
	// 1 for a batch and 128 for others.
	Dims map[string]int64
}

// A Report says what a split did.
type Report struct {
	Out          string           `json:"out,omitempty"`    // empty for a plan only
	Bundle       bundle.ID        `json:"bundle,omitempty"` // its ID
	Manifest     *bundle.Manifest `json:"manifest"`
	Alternatives []Alternative    `json:"alternatives,omitempty"` // that were compared for given machines
	Verification *Verification    `json:"verification,omitempty"` // nil when not asked for
	// Rows is what was found out about texts in one batch; nil for a model that reads none,
	// and for one whose operators tell.
	Rows *rows.Finding `json:"rows,omitempty"`

	drawing drawing
}

func (o Options) check() error {
	ways := 0
	for _, given := range []bool{o.Stages != 0, len(o.At) > 0, o.Layers, o.Machines != nil} {
		if given {
			ways++
		}
	}
	switch {
	case o.Stages < 0 || ways == 0:
		return fmt.Errorf("%d stages cannot be; ask for --stages 1 or more", o.Stages)
	case ways > 1:
		return errors.New("--stages, --at and --layers say where to cut in different ways; give one of them")
	case o.MaxStageBytes < 0:
		return fmt.Errorf("--max-stage-bytes is %d; it can be 1 or more", o.MaxStageBytes)
	}
	return nil
}

// Split cuts the model file at path and writes a bundle.
func Split(ctx context.Context, path string, e Engine, o Options) (report *Report, err error) {
	e = withRunTime(e, o.RunTime)
	if err := o.check(); err != nil {
		return nil, err
	}
	file, err := openModel(path)
	if err != nil {
		return nil, err
	}
	hash := startHashing(file)
	defer func() {
		<-hash.done // it reads the file
		err = errors.Join(err, file.Close())
	}()

	data, err := onnxfile.OpenDataFolder(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, data.Close()) }()
	g, err := newGraph(&file.Model)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	references, err := g.references(o.Dims)
	if err != nil {
		return nil, err
	}
	v, reference, err := g.infer(e, data, references)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	planner := newPlanner(g, v)
	cuts := planner.cuts()
	if o.Profile {
		if cuts, err = planner.measure(ctx, e, data, reference, cuts); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	parts, alternatives, err := planner.choose(cuts, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	manifest := planner.manifest(path, file, reference, parts)
	if manifest.Limits, err = planner.limits(ctx, e, data, reference); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	report = &Report{Manifest: manifest, Alternatives: alternatives, drawing: drawing{planner, parts}}
	if o.DryRun {
		manifest.Model.SHA256 = hash.sum()
		return report, nil
	}

	w, err := bundle.Create(o.Out, o.Force)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.Abort()) }()
	for rank, part := range parts {
		s := &manifest.Stages[rank]
		part.sub.Data = fmt.Sprintf("stage-%d.data", rank)
		laid, err := file.Part(part.sub)
		if err != nil {
			return nil, fmt.Errorf("%s: stage %d: %w", path, rank, err)
		}
		if laid.HasData() {
			f, err := w.WriteFile(part.sub.Data, func(to io.Writer) error { return laid.WriteData(to, data) })
			if err != nil {
				return nil, err
			}
			s.Data = &f
		}
		s.File, err = w.WriteFile(s.Name, laid.WriteModel)
		if err != nil {
			return nil, err
		}
	}
	if manifest.Files, err = copyTextFiles(w, filepath.Dir(path)); err != nil {
		return nil, err
	}
	manifest.Model.SHA256 = hash.sum()
	if err := w.WriteManifest(manifest); err != nil {
		return nil, err
	}
	written, err := bundle.Open(w.Dir())
	if err != nil {
		return nil, err
	}
	if err := report.try(ctx, e, written, path, o); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if report.Rows != nil {
		manifest.Rows = &report.Rows.Rows
		if err := w.WriteManifest(manifest); err != nil {
			return nil, err
		}
		if written, err = bundle.Open(w.Dir()); err != nil {
			return nil, err
		}
	}
	report.Out, report.Bundle = o.Out, written.ID
	if err := w.Commit(); err != nil {
		return nil, err
	}
	return report, nil
}

// try runs the stages of a bundle that was just written: to verify them, and to find out which
// texts may be computed together.
func (r *Report) try(ctx context.Context, e Engine, b *bundle.Bundle, model string, o Options) error {
	paths, err := stagePaths(b)
	if err != nil {
		return err
	}
	var test *rows.Test
	if b.Rows == nil && o.Texts != nil {
		// One that cannot be made is of a model that reads no texts.
		test, _ = rowsTest(b, paths, o.Texts)
	}
	if test == nil && !o.Verify {
		return nil
	}
	if o.Verify {
		if r.Verification, err = verify(ctx, e, b, paths, VerifyOptions{Model: model, Inputs: o.Inputs, Memory: o.Memory}, test); err != nil {
			return err
		}
		r.Rows, r.Verification.Rows = r.Verification.Rows, nil
		return nil
	}
	if err := findRows(ctx, e, b, paths, o.Memory, test); err != nil {
		return err
	}
	found := test.Found()
	r.Rows = &found
	return nil
}

// A hashing computes the sha256 of a model file while other work goes on.
type hashing struct {
	hash hash.Hash
	done chan struct{}
}

func startHashing(f *onnxfile.File) *hashing {
	h := &hashing{hash: sha256.New(), done: make(chan struct{})}
	go func() {
		defer close(h.done)
		_, _ = f.WriteTo(h.hash) // a hash never fails
	}()
	return h
}

func (h *hashing) sum() string {
	<-h.done
	return hex.EncodeToString(h.hash.Sum(nil))
}

func openModel(path string) (*onnxfile.File, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no file %s", path)
	case err == nil && info.IsDir():
		return nil, fmt.Errorf("%s is a folder; give the model file in it, such as %s", path, filepath.Join(path, "model.onnx"))
	}
	if err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	return onnxfile.Open(path)
}

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
		Inputs:    g.inputs,
		Outputs:   v.list(g.outputs),
		Reference: reference,
	}
	if found := g.batchDependent(); found != "" {
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
			Inputs:   v.list(part.inputs),
			Outputs:  v.list(part.outputs),
			Forward:  part.forward,
			Nodes:    len(part.sub.Nodes),
			Cost:     round4(float64(part.cost) / float64(max(total, 1))),
			BytesIn:  v.bytes(part.arriving),
			BytesOut: v.bytes(part.leaving),
		}
		s.Parameters, s.ParameterBytes = p.parameters(part)
		s.Activations = p.activations(part)
		m.Stages = append(m.Stages, s)
	}
	return m
}

// parameters are the weights of a part: how many, and their bytes as they are
// stored. Some exporters write weights as nodes.
func (p *planner) parameters(part part) (n, bytes int64) {
	for _, i := range part.sub.Initializers {
		t := p.g.model.Graph.Initializers[i]
		n += t.Elements()
		bytes += t.Bytes()
	}
	for _, i := range part.sub.Nodes {
		if name := p.g.constantNode(i); name != "" {
			n += elements(p.v.shape[name])
			bytes += p.v.sizes[name]
		}
	}
	return n, bytes
}

func round4(x float64) float64 { return math.Round(x*1e4) / 1e4 }

func (v *values) list(names []string) []tensor.Spec {
	specs := make([]tensor.Spec, len(names))
	for i, name := range names {
		specs[i] = v.specs[name]
	}
	return specs
}

func (v *values) bytes(names []string) int64 {
	var sum int64
	for _, name := range names {
		sum += v.sizes[name]
	}
	return sum
}

// copyTextFiles copies the text files from beside the model, those that are there.
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

// A part is what goes into one stage.
type part struct {
	sub  onnxfile.Subgraph
	cost int64

	arriving []string // values that are there before the stage
	leaving  []string // values that are there after it
	inputs   []string // those of arriving that its nodes use
	outputs  []string // those of leaving that its nodes make
	forward  []string // those of leaving that arrived
}

// extract divides the graph at the given borders.
func (p *planner) extract(borders []cut) ([]part, error) {
	crossing := make([][]string, len(borders))
	k := len(borders) - 1
	p.backwards(func(at int, used *live) {
		if at == borders[k].at && k > 0 {
			crossing[k] = p.crossing(at, used)
			k--
		}
	})
	crossing[0] = tensor.Names(p.g.inputs)
	crossing[len(crossing)-1] = p.g.outputs

	parts := make([]part, len(borders)-1)
	for k := range parts {
		from, to := borders[k], borders[k+1]
		var err error
		if parts[k], err = p.part(crossing[k], p.g.anchors[from.at:to.at], crossing[k+1]); err != nil {
			return nil, fmt.Errorf("stage %d: %w", k, err)
		}
		parts[k].cost = to.cost - from.cost
	}
	p.keepUnusedInputs(&parts[0])
	return parts, nil
}

// part collects what the given anchored nodes, and the values that have to
// leave, are computed from.
func (p *planner) part(arriving []string, anchors []int, leaving []string) (part, error) {
	out := part{arriving: arriving, leaving: leaving}
	arrived := map[string]bool{}
	for _, name := range arriving {
		arrived[name] = true
	}
	nodes, weights, used := map[int]bool{}, map[int]bool{}, map[string]bool{}
	inside := map[int]bool{}
	for _, i := range anchors {
		inside[i] = true
	}
	var failed error
	var want func(name string)
	add := func(i int) {
		if nodes[i] {
			return
		}
		nodes[i] = true
		for _, dep := range p.g.deps[i] {
			want(dep)
		}
	}
	want = func(name string) {
		producer := p.g.producer[name]
		switch {
		case arrived[name]:
			used[name] = true
		case producer == fromInitializer:
			weights[p.g.initializer[name]] = true
		case producer >= 0 && (p.g.roles[producer] != anchored || inside[producer]):
			add(producer)
		case failed == nil:
			failed = fmt.Errorf("the plan leaves out %q, which is a bug in distinfer", name)
		}
	}
	for _, i := range anchors {
		add(i)
	}
	for _, name := range leaving {
		if arrived[name] {
			out.forward = append(out.forward, name)
			continue
		}
		out.outputs = append(out.outputs, name)
		want(name)
	}
	if failed != nil {
		return part{}, failed
	}
	for _, name := range arriving {
		if used[name] {
			out.inputs = append(out.inputs, name)
		}
	}
	out.sub = p.subgraph(sortedKeys(nodes), sortedKeys(weights), out.inputs, out.outputs)
	return out, nil
}

func sortedKeys(set map[int]bool) []int {
	keys := make([]int, 0, len(set))
	for i := range set {
		keys = append(keys, i)
	}
	slices.Sort(keys)
	return keys
}

func (p *planner) subgraph(nodes, weights []int, inputs, outputs []string) onnxfile.Subgraph {
	s := onnxfile.Subgraph{Nodes: nodes, Initializers: weights}
	for _, name := range inputs {
		s.Inputs = append(s.Inputs, p.valueInfo(name))
	}
	// Initializers that callers of the whole model may override stay so.
	for _, i := range weights {
		if v, ok := p.g.declared[p.g.model.Graph.Initializers[i].Name]; ok {
			s.Inputs = append(s.Inputs, v)
		}
	}
	for _, name := range outputs {
		s.Outputs = append(s.Outputs, p.valueInfo(name))
	}
	return s
}

// valueInfo is what the model itself declares of an input or output, or else what
// was inferred.
func (p *planner) valueInfo(name string) onnxfile.ValueInfo {
	if v, ok := p.g.declared[name]; ok {
		return v
	}
	return onnxfile.Declare(p.v.specs[name])
}

// keepUnusedInputs makes inputs that no node of the model uses inputs of the
// first stage, which like the whole model takes and ignores them.
func (p *planner) keepUnusedInputs(first *part) {
	for _, name := range first.arriving {
		if slices.Contains(first.inputs, name) || slices.Contains(first.forward, name) {
			continue
		}
		first.inputs = append(first.inputs, name)
		first.sub.Inputs = append(first.sub.Inputs, p.valueInfo(name))
	}
}
