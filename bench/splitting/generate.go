package splitting

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/distinfer/distinfer/split/onnxfile/onnxtest"
)

// A made model is one that is generated. The same kind gives the same bytes.
type made struct {
	name  string
	about string
	write func(dir string) error // model.onnx, and weights.bin where there is one
}

const (
	float32Type = 1
	width       = 4800 // of the large models: a matrix is 92 MB
	small       = 8    // of the chains
)

var mades = []made{
	{"external-2gb", "24 layers of 4800×4800, weights in a file of their own", func(dir string) error { return writeLarge(dir, 24, true) }},
	{"inline-2gb", "21 such layers, all in one file", func(dir string) error { return writeLarge(dir, 21, false) }},
	{"chain-25k", "25,000 small nodes one after the other", func(dir string) error { return writeChain(dir, 25_000, 0) }},
	{"chain-50k", "50,000", func(dir string) error { return writeChain(dir, 50_000, 0) }},
	{"chain-100k", "100,000", func(dir string) error { return writeChain(dir, 100_000, 0) }},
	{"alive-25k", "25,000, and 1,000 early values are used at the end", func(dir string) error { return writeChain(dir, 25_000, 1000) }},
	{"alive-50k", "50,000, and the same", func(dir string) error { return writeChain(dir, 50_000, 1000) }},
	{"alive-100k", "100,000, and the same", func(dir string) error { return writeChain(dir, 100_000, 1000) }},
}

// writeLarge writes layers of a matrix, a bias, an activation and a residual. The
// weights are never in memory.
func writeLarge(dir string, layers int, external bool) (err error) {
	var g onnxtest.Graph
	g.Input("x", float32Type, "batch", width)
	last := "x"
	const matrix, bias = 4 * width * width, 4 * width
	for i := range layers {
		n := func(part string) string { return fmt.Sprintf("layer.%d.%s", i, part) }
		g.Node("MatMul", []string{last, n("weight")}, []string{n("product")})
		g.Node("Add", []string{n("product"), n("bias")}, []string{n("sum")})
		g.Node("Relu", []string{n("sum")}, []string{n("active")})
		g.Node("Add", []string{last, n("active")}, []string{n("output")})
		last = n("output")
		if external {
			at := int64(i) * (matrix + bias)
			g.External(n("weight"), float32Type, []int64{width, width}, "weights.bin", at, matrix)
			g.External(n("bias"), float32Type, []int64{width}, "weights.bin", at+matrix, bias)
		}
	}
	g.Output(last, float32Type, "batch", width)

	random := rand.NewPCG(uint64(layers), 2018)
	if external {
		if err := writeFile(filepath.Join(dir, "model.onnx"), func(w io.Writer) error {
			_, err := w.Write(g.Model())
			return err
		}); err != nil {
			return err
		}
		return writeFile(filepath.Join(dir, "weights.bin"), func(w io.Writer) error {
			return writeFloats(w, random, int64(layers)*(width*width+width))
		})
	}

	// The fields of a message may come in any order: the initializers come last.
	header := func(name string, dims []int64, bytes int64) []byte {
		var m onnxtest.Message
		for _, d := range dims {
			m = m.Int(1, d)
		}
		m = m.Int(2, float32Type).Text(8, name)
		m = protowire.AppendVarint(protowire.AppendTag(m, 9, protowire.BytesType), uint64(bytes))
		field := protowire.AppendTag(nil, 5, protowire.BytesType)
		return append(protowire.AppendVarint(field, uint64(len(m))+uint64(bytes)), m...)
	}
	type weight struct {
		header []byte
		floats int64
	}
	var weights []weight
	body := g.Bytes("graph")
	length := int64(len(body))
	for i := range layers {
		weights = append(weights,
			weight{header(fmt.Sprintf("layer.%d.weight", i), []int64{width, width}, matrix), width * width},
			weight{header(fmt.Sprintf("layer.%d.bias", i), []int64{width}, bias), width})
	}
	for _, x := range weights {
		length += int64(len(x.header)) + 4*x.floats
	}
	return writeFile(filepath.Join(dir, "model.onnx"), func(w io.Writer) error {
		start := onnxtest.Message{}.Int(1, 8).Embed(8, onnxtest.Message{}.Text(1, "").Int(2, 17))
		start = protowire.AppendVarint(protowire.AppendTag(start, 7, protowire.BytesType), uint64(length))
		if _, err := w.Write(append(start, body...)); err != nil {
			return err
		}
		for _, x := range weights {
			if _, err := w.Write(x.header); err != nil {
				return err
			}
			if err := writeFloats(w, random, x.floats); err != nil {
				return err
			}
		}
		return nil
	})
}

// writeChain writes nodes one after the other, one in ten with a matrix of its own.
// The values of the first alive nodes are used again by the last ones.
func writeChain(dir string, nodes, alive int) error {
	var g onnxtest.Graph
	g.Input("x", float32Type, "batch", small)
	random := rand.New(rand.NewPCG(uint64(nodes), 2018))
	weights := func(name string, dims ...int64) {
		n := int64(1)
		for _, d := range dims {
			n *= d
		}
		values := make([]float32, n)
		for i := range values {
			values[i] = random.Float32() - 0.5
		}
		g.Floats(name, dims, values)
	}
	weights("one.bias", small)
	value := func(i int) string { return fmt.Sprintf("/block.%d/node.%d/output_0", i/10, i) }
	last, before := "x", "x"
	for i := range nodes {
		out := value(i)
		switch {
		case i >= nodes-alive:
			g.Node("Add", []string{last, value(i - (nodes - alive))}, []string{out})
		case i%10 == 0:
			name := fmt.Sprintf("block.%d.weight", i/10)
			weights(name, small, small)
			g.Node("MatMul", []string{last, name}, []string{out})
			before = last
		case i%10 == 1:
			g.Node("Add", []string{last, "one.bias"}, []string{out})
		case i%10 == 4:
			g.Node("Add", []string{last, before}, []string{out}) // a residual
		case i%10 == 7:
			g.Node("Mul", []string{last, last}, []string{out})
		default:
			g.Node([]string{"Relu", "Tanh", "Sigmoid", "Neg", "Softsign"}[i%5], []string{last}, []string{out})
		}
		last = out
	}
	g.Output(last, float32Type, "batch", small)
	return os.WriteFile(filepath.Join(dir, "model.onnx"), g.Model(), 0o600)
}

func writeFile(path string, write func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	return errors.Join(write(w), w.Flush(), f.Close())
}

// writeFloats writes n numbers that keep a layer's output about as large as its
// input.
func writeFloats(w io.Writer, random *rand.PCG, n int64) error {
	const scale = 1.0 / 64
	buffer := make([]byte, 0, 1<<16)
	for i := int64(0); i < n; i += 2 {
		bits := random.Uint64()
		for _, half := range []uint32{uint32(bits), uint32(bits >> 32)} {
			// 1 to 2, from the upper bits
			f := (math.Float32frombits(half>>9|0x3f800000) - 1.5) * scale
			buffer = binary.LittleEndian.AppendUint32(buffer, math.Float32bits(f))
		}
		if len(buffer) == cap(buffer) || i+2 >= n {
			if i+2 > n {
				buffer = buffer[:len(buffer)-4]
			}
			if _, err := w.Write(buffer); err != nil {
				return err
			}
			buffer = buffer[:0]
		}
	}
	return nil
}
