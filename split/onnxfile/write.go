package onnxfile

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/distinfer/distinfer/runtime/tensor"
)

// A Subgraph is a part of a model, to be written as a model of its own.
type Subgraph struct {
	Nodes        []int // indices into Graph.Nodes, ascending
	Initializers []int // indices into Graph.Initializers, ascending
	Inputs       []ValueInfo
	Outputs      []ValueInfo
	Added        []AddedNode // behind the others

	// Data is the name of the file for external data; that of initializers in
	// Inline is put into the model itself.
	Data   string
	Inline map[string][]byte

	// IRVersion is the version to write, 0 for the model's own.
	IRVersion int64
	// Limit is the largest size of the model in bytes, 0 for what protobuf
	// takes. Past it, weights become external data.
	Limit int64
}

// An AddedNode is a node that the model does not have.
type AddedNode struct {
	OpType          string
	Inputs, Outputs []string
}

func (n AddedNode) raw() []byte {
	var node []byte
	text := func(num protowire.Number, s string) {
		node = protowire.AppendString(protowire.AppendTag(node, num, protowire.BytesType), s)
	}
	for _, name := range n.Inputs {
		text(1, name)
	}
	for _, name := range n.Outputs {
		text(2, name)
	}
	text(4, n.OpType)
	return appendMessage(nil, 1, node)
}

// Declare makes the ValueInfo of a value from its Spec. A Spec without an
// element type declares a value without a type, which a runtime has to infer.
func Declare(s tensor.Spec) ValueInfo {
	var info []byte
	info = protowire.AppendTag(info, 1, protowire.BytesType)
	info = protowire.AppendString(info, s.Name)
	if s.DType != tensor.Undefined {
		var typ []byte
		typ = protowire.AppendTag(typ, 1, protowire.VarintType)
		typ = protowire.AppendVarint(typ, uint64(s.DType))
		if !s.AnyRank {
			var shape []byte
			for _, d := range s.Dims {
				var dim []byte
				switch {
				case d.IsFixed():
					dim = protowire.AppendTag(dim, 1, protowire.VarintType)
					dim = protowire.AppendVarint(dim, uint64(d.Size))
				case d.Name != "":
					dim = protowire.AppendTag(dim, 2, protowire.BytesType)
					dim = protowire.AppendString(dim, d.Name)
				}
				shape = appendMessage(shape, 1, dim)
			}
			typ = appendMessage(typ, 2, shape)
		}
		info = appendMessage(info, 2, appendMessage(nil, 1, typ))
	}
	// The field's number is its place's: input or output. It is put before the
	// payload when it is written.
	return ValueInfo{Spec: s, Tensor: s.DType != tensor.Undefined, raw: appendMessage(nil, 11, info)}
}

func appendMessage(b []byte, num protowire.Number, msg []byte) []byte {
	b = protowire.AppendTag(b, num, protowire.BytesType)
	return protowire.AppendBytes(b, msg)
}

// MaxModel is the largest size of a model file in bytes: protobuf takes no message
// of 2 GiB or more.
const MaxModel = 1<<31 - 1

// moved is the least size of a weight that is moved to external data when a model
// is too large.
const moved = 4 << 10

// A Part is a subgraph, laid out as a model of its own and a file of external
// data.
type Part struct {
	model   *Model
	content [][]byte
	data    layout
}

// Part lays out a subgraph: the model's own fields and those of its graph as they
// stand in the file, with fewer nodes, initializers, value infos and functions. The
// same model and subgraph give the same bytes.
func (m *Model) Part(s Subgraph) (*Part, error) {
	limit := s.Limit
	if limit == 0 {
		limit = MaxModel
	}
	p := m.part(s, 0)
	if size := p.size(); size > limit {
		p = m.part(s, moved)
		if size = p.size(); size > limit {
			return nil, fmt.Errorf("it would take %d bytes besides the weights that can be moved to external data, and a model file can have %d", size, limit)
		}
	}
	return p, nil
}

// HasData reports whether the part has external data.
func (p *Part) HasData() bool { return len(p.data.parts) > 0 }

func (p *Part) size() int64 {
	var n int64
	for _, b := range p.content {
		n += int64(len(b))
	}
	return n
}

// part lays out a subgraph; weights of at least `out` bytes become external data,
// unless that is 0.
func (m *Model) part(s Subgraph, out int64) *Part {
	p := &Part{model: m, data: layout{name: s.Data, at: map[External]int64{}}}
	graph := graphWriter{g: &m.Graph, data: &p.data, annotated: map[string]bool{}}
	called := graph.addNodes(s)
	graph.addInitializers(s, out)
	graph.addValues(s)

	p.content = append(p.content, m.before...)
	if s.IRVersion != 0 { // of a field that stands twice, the last counts
		p.content = append(p.content, protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(s.IRVersion)))
	}
	p.content = append(p.content, protowire.AppendVarint(protowire.AppendTag(nil, 7, protowire.BytesType), uint64(graph.size)))
	p.content = append(append(p.content, graph.content...), m.after...)
	for _, fn := range m.reachable(called) {
		if fn.external {
			p.content = append(p.content, edit(fn.raw, functionMessage, p.data.relocate))
		} else {
			p.content = append(p.content, fn.raw)
		}
	}
	return p
}

// A graphWriter collects the fields of a part's graph.
type graphWriter struct {
	g         *Graph // of the whole model
	data      *layout
	content   [][]byte
	size      int
	annotated map[string]bool // values whose quantization is written
}

func (w *graphWriter) add(raw []byte) {
	w.content = append(w.content, raw)
	w.size += len(raw)
}

// annotate adds the annotations of a value, once.
func (w *graphWriter) annotate(name string) {
	if w.annotated[name] {
		return
	}
	w.annotated[name] = true
	for _, raw := range w.g.quantization[name] {
		w.add(raw)
	}
}

// addNodes adds the nodes, and what is not known of the graph. It returns the operators that
// are called.
func (w *graphWriter) addNodes(s Subgraph) map[operator]bool {
	called := map[operator]bool{}
	for _, i := range s.Nodes {
		n := &w.g.Nodes[i]
		for _, op := range n.operators(nil) {
			called[op] = true
		}
		if n.external {
			w.add(edit(n.raw, nodeMessage, w.data.relocate))
		} else {
			w.add(n.raw)
		}
	}
	for _, n := range s.Added {
		w.add(n.raw())
	}
	for _, raw := range w.g.other {
		w.add(raw)
	}
	return called
}

// addInitializers adds the weights. Those of at least `out` bytes become external data, unless
// that is 0.
func (w *graphWriter) addInitializers(s Subgraph, out int64) {
	for _, i := range s.Initializers {
		t := w.g.Initializers[i]
		data, inline := s.Inline[t.Name]
		switch {
		case t.External != nil && inline:
			w.add(t.takeIn(data))
		case t.external && t.Sparse:
			w.add(edit(t.raw, sparseMessage, w.data.relocate))
		case t.external:
			w.add(edit(t.raw, tensorMessage, w.data.relocate))
		case out > 0 && int64(len(t.payload)) >= out:
			// The field is made without copying the data that it leaves out.
			w.add(edit(t.raw, tensorMessage, w.data.moveOut))
		default:
			w.add(t.raw)
		}
		w.annotate(t.Name)
	}
}

// addValues adds inputs, outputs, and what is known of the values between them.
func (w *graphWriter) addValues(s Subgraph) {
	// Values are declared once: a graph's input or output has no value_info as well.
	declared := map[string]bool{"": true}
	for _, v := range s.Inputs {
		declared[v.Spec.Name] = true
		w.add(v.as(11))
		w.annotate(v.Spec.Name)
	}
	for _, v := range s.Outputs {
		declared[v.Spec.Name] = true
		w.add(v.as(12))
	}
	for _, i := range s.Nodes {
		for _, name := range w.g.Nodes[i].Outputs {
			w.annotate(name)
			if declared[name] {
				continue
			}
			for _, k := range w.g.values[name] {
				w.add(w.g.Values[k].raw)
			}
		}
	}
}

// reachable are the functions that are called, directly or by one another. Those of
// one name and different overloads go together.
func (m *Model) reachable(called map[operator]bool) []function {
	of := map[operator][]int{}
	for i, fn := range m.functions {
		of[fn.operator] = append(of[fn.operator], i)
	}
	var todo []operator
	for op := range called {
		if of[op] != nil {
			todo = append(todo, op)
		}
	}
	for len(todo) > 0 {
		op := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, i := range of[op] {
			for _, next := range m.functions[i].calls {
				if !called[next] && of[next] != nil {
					called[next] = true
					todo = append(todo, next)
				}
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(m.functions), func(fn function) bool { return !called[fn.operator] })
}

// Calls yields the domain and the name of every operator that the nodes call, also in their bodies
// and in the model's functions that they use; a function counts once.
// The domain of ONNX's own is "".
func (m *Model) Calls(nodes []Node) iter.Seq2[string, string] {
	var calls []operator
	for _, n := range nodes {
		calls = n.operators(calls)
	}
	called := map[operator]bool{}
	for _, op := range calls {
		called[op] = true
	}
	for _, fn := range m.reachable(called) {
		calls = append(calls, fn.calls...)
	}
	return func(yield func(string, string) bool) {
		for _, op := range calls {
			if !yield(op.domain, op.name) {
				return
			}
		}
	}
}

// piece is how much is written at once.
const piece = 1 << 20

// copyTo writes bytes of the model's file without holding them in memory.
func (m *Model) copyTo(w io.Writer, b []byte) error {
	for len(b) > 0 {
		n := min(len(b), piece)
		if _, err := w.Write(b[:n]); err != nil {
			return err
		}
		if m.release != nil && n >= mapped {
			m.release(b[:n])
		}
		b = b[n:]
	}
	return nil
}

// WriteModel writes the model file.
func (p *Part) WriteModel(w io.Writer) error {
	to := bufio.NewWriterSize(w, 64<<10)
	for _, b := range p.content {
		if err := p.model.copyTo(to, b); err != nil {
			return fmt.Errorf("write model: %w", err)
		}
	}
	if err := to.Flush(); err != nil {
		return fmt.Errorf("write model: %w", err)
	}
	return nil
}

// WriteData writes the file of external data.
func (p *Part) WriteData(w io.Writer, from *DataFolder) error {
	var at int64
	for _, d := range p.data.parts {
		if _, err := w.Write(make([]byte, d.offset-at)); err != nil {
			return fmt.Errorf("write external data: %w", err)
		}
		at = d.offset + d.tensor.Bytes()
		if d.tensor.External == nil {
			if err := p.model.copyTo(w, d.tensor.payload); err != nil {
				return fmt.Errorf("write external data: %w", err)
			}
			continue
		}
		data, err := from.Data(d.tensor)
		if err != nil {
			return err
		}
		n, err := io.Copy(w, data)
		if err == nil && n < data.Size() {
			err = fmt.Errorf("%s became shorter meanwhile", d.tensor.External.Location)
		}
		if err != nil {
			return fmt.Errorf("copy external data: %w", err)
		}
	}
	return nil
}

// WriteTemp writes the model to a temporary file, and its external data beside it under the
// name that the part was laid out with.
func (p *Part) WriteTemp(path, dataName string, from *DataFolder) error {
	write := func(path string, write func(io.Writer) error) error {
		f, err := os.Create(path)
		if err == nil {
			err = errors.Join(write(f), f.Close())
		}
		if err != nil {
			return fmt.Errorf("write to the temporary folder: %w; choose another with TMPDIR", err)
		}
		return nil
	}
	if err := write(path, p.WriteModel); err != nil || !p.HasData() {
		return err
	}
	return write(filepath.Join(filepath.Dir(path), dataName), func(w io.Writer) error { return p.WriteData(w, from) })
}

// as is the value info as a field of the given number.
func (v ValueInfo) as(num protowire.Number) []byte {
	_, _, n := protowire.ConsumeTag(v.raw)
	return append(protowire.AppendTag(nil, num, protowire.BytesType), v.raw[n:]...)
}
