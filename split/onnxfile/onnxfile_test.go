package onnxfile_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/onnxfile"
	"github.com/distinfer/distinfer/split/onnxfile/onnxtest"
)

// small is a model with a bit of everything that the reader knows.
func small() []byte {
	var body, g onnxtest.Graph
	body.Node("Add", []string{"outer", "w"}, []string{"sum"})
	body.Output("sum", 1)
	g.Input("x", 1, "batch", 2)
	g.Input("cond", 9)
	g.Output("y", 1, "batch", nil)
	g.Floats("w", []int64{2}, []float32{1, 2})
	g.Ints("axis", []int64{1}, 0)
	g.Node("Mul", []string{"x", "w", ""}, []string{"outer"})
	g.Node("If", []string{"cond"}, []string{"y"}, onnxtest.GraphAttr("then_branch", &body), onnxtest.GraphAttr("else_branch", &body))
	g.Raw(13, onnxtest.Value("outer", 1, "batch", 2))
	// A field of a later version of the format.
	g.Raw(99, onnxtest.Message{}.Text(1, "from the future"))
	return append(g.Model().Embed(98, onnxtest.Message{}.Int(1, 7)), onnxtest.Message{}.Embed(14, onnxtest.Message{}.Text(1, "key").Text(2, "value"))...)
}

func TestParseReadsTheGraph(t *testing.T) {
	t.Parallel()
	m, err := onnxfile.Parse(small())
	if err != nil {
		t.Fatal(err)
	}
	if m.IRVersion != 8 || m.ProducerName != "onnxtest" || !slices.Equal(m.Opsets, []onnxfile.Opset{{Version: 17}}) {
		t.Errorf("model: %d %q %v", m.IRVersion, m.ProducerName, m.Opsets)
	}
	g := m.Graph
	if got := g.Inputs[0].Spec.String(); got != "x float32[batch,2]" {
		t.Errorf("input: %s", got)
	}
	if got := g.Outputs[0].Spec.String(); got != "y float32[batch,?]" {
		t.Errorf("output: %s", got)
	}
	if w := g.Initializers[0]; w.Name != "w" || w.DType != tensor.Float32 || w.Bytes() != 8 {
		t.Errorf("initializer: %+v", w)
	}
	if got := g.Nodes[1].Captures; !slices.Equal(got, []string{"outer", "w"}) {
		t.Errorf("the branches use %v from outside", got)
	}
	if got := g.Nodes[0].Inputs; !slices.Equal(got, []string{"x", "w", ""}) {
		t.Errorf("inputs of a node: %q", got)
	}
}

func write(m *onnxfile.Model, to *bytes.Buffer, s onnxfile.Subgraph) error {
	part, err := m.Part(s)
	if err != nil {
		return err
	}
	return part.WriteModel(to)
}

func TestWriteKeepsWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	data := small()
	m, err := onnxfile.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	sub := onnxfile.Subgraph{
		Nodes: []int{0}, Initializers: []int{0}, Inputs: m.Graph.Inputs[:1],
		Outputs: []onnxfile.ValueInfo{onnxfile.Declare(tensor.Spec{Name: "outer", DType: tensor.Float32, Dims: []tensor.Dim{tensor.Named("batch"), tensor.Fixed(2), {}}})},
	}
	if err := write(m, &out, sub); err != nil {
		t.Fatal(err)
	}
	for _, kept := range []string{"from the future", "key", "value", "\x92\x06\x02\x08\x07"} {
		if !bytes.Contains(out.Bytes(), []byte(kept)) {
			t.Errorf("%q was lost", kept)
		}
	}
	part, err := onnxfile.Parse(out.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if n := len(part.Graph.Nodes); n != 1 {
		t.Errorf("%d nodes", n)
	}
	if got := part.Graph.Outputs[0].Spec.String(); got != "outer float32[batch,2,?]" {
		t.Errorf("output: %s", got)
	}
	if len(part.Graph.Values) != 0 {
		t.Error("an output has a value_info as well")
	}
	if part.IRVersion != m.IRVersion || !slices.Equal(part.Opsets, m.Opsets) {
		t.Error("the model's own fields changed")
	}
}

// What protobuf does not take gets external data by itself: here with a limit that
// is smaller than that of 2 GiB.
func TestAPartThatIsTooLargeGetsExternalData(t *testing.T) {
	t.Parallel()
	var g onnxtest.Graph
	weights := make([]float32, 3*2000)
	for i := range weights {
		weights[i] = float32(i)
	}
	g.Input("x", 1, 2000)
	g.Floats("large", []int64{2000}, weights[:2000])
	g.Floats("small", []int64{2}, weights[:2])
	g.Raw(5, packedFloats("packed", weights[2000:4000]))
	g.Node("Sum", []string{"x", "large", "packed"}, []string{"y"})
	g.Output("y", 1, 2000)
	m, err := onnxfile.Parse(g.Model())
	if err != nil {
		t.Fatal(err)
	}
	s := onnxfile.Subgraph{Nodes: []int{0}, Initializers: []int{0, 1, 2}, Inputs: m.Graph.Inputs, Outputs: m.Graph.Outputs, Data: "part.data", Limit: 4000}
	part, err := m.Part(s)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var file, data bytes.Buffer
	folder, err := onnxfile.OpenDataFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(part.WriteModel(&file), part.WriteData(&data, folder), folder.Close()); err != nil {
		t.Fatal(err)
	}
	if file.Len() > 4000 || !part.HasData() {
		t.Errorf("the model has %d bytes", file.Len())
	}
	if err := os.WriteFile(filepath.Join(dir, "part.data"), data.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := onnxfile.Parse(file.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if folder, err = onnxfile.OpenDataFolder(dir); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = folder.Close() }()
	for i, want := range [][]float32{weights[:2000], nil, weights[2000:4000]} {
		w := again.Graph.Initializers[i]
		if (w.External != nil) != (want != nil) {
			t.Fatalf("%s: external data %v", w.Name, w.External)
		}
		if want == nil {
			continue
		}
		r, err := folder.Data(w)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]float32, len(want))
		if err := binary.Read(r, binary.LittleEndian, got); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s is other data: %v", w.Name, err)
		}
	}
	s.Limit = 100
	if _, err := m.Part(s); err == nil || !strings.Contains(err.Error(), "a model file can have 100") {
		t.Errorf("a limit that cannot be kept: %v", err)
	}
}

// packedFloats is a tensor whose data is in float_data.
func packedFloats(name string, values []float32) onnxtest.Message {
	var data bytes.Buffer
	_ = binary.Write(&data, binary.LittleEndian, values) // to memory
	return onnxtest.Message{}.Int(1, int64(len(values))).Int(2, 1).Embed(4, data.Bytes()).Text(8, name)
}

func TestOpenRefusesWhatIsNoModel(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	whole := small()
	for name, data := range map[string][]byte{
		"empty":         nil,
		"text":          []byte("this is not a model\n"),
		"html":          []byte("<!DOCTYPE html><html></html>"),
		"truncated":     whole[:len(whole)/2],
		"no graph":      onnxtest.Message{}.Int(1, 8),
		"no ir_version": onnxtest.Message{}.Embed(7, onnxtest.Message{}.Embed(1, onnxtest.Message{}.Text(4, "Relu"))),
		"zip":           []byte("PK\x03\x04\x14\x00\x00\x00"),
	} {
		f, err := onnxfile.Open(write(name, data))
		if err == nil {
			_ = f.Close()
			t.Errorf("%s was accepted", name)
		} else if !strings.Contains(err.Error(), name) {
			t.Errorf("%s: the error does not name the file: %v", name, err)
		}
	}
	if _, err := onnxfile.Open(dir); err == nil {
		t.Error("a folder was accepted")
	}
}

func TestTruncationAnywhereIsAnErrorOrASmallerModel(t *testing.T) {
	t.Parallel()
	whole := small()
	for n := range len(whole) {
		m, err := onnxfile.Parse(whole[:n])
		if err == nil && len(m.Graph.Nodes) != 2 {
			t.Errorf("cut at byte %d: a graph with %d nodes was accepted", n, len(m.Graph.Nodes))
		}
	}
}

func TestGraphsNestedWithoutEndAreRefused(t *testing.T) {
	t.Parallel()
	g := &onnxtest.Graph{}
	g.Node("Identity", []string{"x"}, []string{"y"})
	for range 200 {
		outer := &onnxtest.Graph{}
		outer.Node("If", []string{"c"}, []string{"y"}, onnxtest.GraphAttr("then_branch", g))
		g = outer
	}
	if _, err := onnxfile.Parse(g.Model()); err == nil || !strings.Contains(err.Error(), "nested") {
		t.Errorf("200 levels: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(small())
	var g onnxtest.Graph
	g.External("w", 1, []int64{2}, "w.bin", 8, 8)
	g.Node("Relu", []string{"w"}, []string{"y"})
	f.Add([]byte(g.Model()))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := onnxfile.Parse(data)
		if err != nil {
			return
		}
		// All of it, written out, is a model of the same size.
		s := onnxfile.Subgraph{Inputs: m.Graph.Inputs, Outputs: m.Graph.Outputs, Data: "weights.data"}
		for i := range m.Graph.Nodes {
			s.Nodes = append(s.Nodes, i)
		}
		for i := range m.Graph.Initializers {
			s.Initializers = append(s.Initializers, i)
		}
		var out bytes.Buffer
		if err := write(m, &out, s); err != nil {
			t.Fatal(err)
		}
		again, err := onnxfile.Parse(out.Bytes())
		if err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		if len(again.Graph.Nodes) != len(m.Graph.Nodes) || len(again.Graph.Initializers) != len(m.Graph.Initializers) ||
			len(again.Graph.Inputs) != len(m.Graph.Inputs) || again.IRVersion != m.IRVersion {
			t.Fatal("something was lost")
		}
	})
}
