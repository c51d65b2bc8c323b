package onnxfile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/distinfer/distinfer/split/onnxfile/onnxtest"
)

// reference is a TensorProto "t" with external_data as given: keys and values.
func reference(pairs ...string) onnxtest.Message {
	m := onnxtest.Message{}.Int(1, 2).Int(2, 1).Text(8, "t")
	for i := 0; i < len(pairs); i += 2 {
		m = m.Embed(13, onnxtest.Message{}.Text(1, pairs[i]).Text(2, pairs[i+1]))
	}
	return m
}

// places puts a tensor wherever a model can hold one.
func places(tensor onnxtest.Message) map[string]onnxtest.Message {
	none := onnxtest.Message{}
	sparse := none.Embed(1, tensor)
	attribute := func(num protowire.Number, m onnxtest.Message) onnxtest.Message {
		return none.Text(1, "a").Embed(num, m)
	}
	node := func(attr onnxtest.Message) onnxtest.Message { return none.Text(4, "Op").Embed(5, attr) }
	in := func(num protowire.Number, m onnxtest.Message) onnxtest.Message {
		return none.Int(1, 8).Embed(7, none.Embed(num, m))
	}
	deep := none.Embed(5, tensor)
	for range maxDepth {
		deep = none.Embed(1, node(attribute(6, deep)))
	}
	return map[string]onnxtest.Message{
		"an initializer":                   in(5, tensor),
		"the values of a sparse one":       in(15, sparse),
		"the places of a sparse one":       in(15, none.Embed(2, tensor)),
		"an attribute":                     in(1, node(attribute(5, tensor))),
		"one of an attribute's tensors":    in(1, node(attribute(10, tensor))),
		"a sparse attribute":               in(1, node(attribute(22, sparse))),
		"one of sparse attributes":         in(1, node(attribute(23, sparse))),
		"a body":                           in(1, node(attribute(6, none.Embed(5, tensor)))),
		"one of bodies":                    in(1, node(attribute(11, none.Embed(5, tensor)))),
		"a body in bodies":                 none.Embed(7, deep),
		"a function's node":                none.Embed(25, none.Embed(7, node(attribute(5, tensor)))),
		"a function's default":             none.Embed(25, none.Embed(11, attribute(5, tensor))),
		"what training starts with":        none.Embed(20, none.Embed(1, none.Embed(5, tensor))),
		"training":                         none.Embed(20, none.Embed(2, none.Embed(5, tensor))),
		"a second graph, which is merged":  append(in(5, none), in(5, tensor)...),
		"a second tensor, which is merged": in(1, node(attribute(5, none).Embed(5, tensor))),
	}
}

func TestCheckExternalFindsEveryReference(t *testing.T) {
	t.Parallel()
	for place, model := range places(reference("location", "stage-0.data", "offset", "8", "length", "8")) {
		if err := checkExternal(model, "stage-0.data"); err != nil {
			t.Errorf("%s: %v", place, err)
		}
		if err := checkExternal(model, "stage-1.data"); err == nil || !strings.Contains(err.Error(), `tensor "t"`) || !strings.Contains(err.Error(), `"stage-0.data"`) {
			t.Errorf("%s, another file: %v", place, err)
		}
		if err := checkExternal(model, ""); err == nil || !strings.Contains(err.Error(), "no other file") {
			t.Errorf("%s, no file: %v", place, err)
		}
	}
	for what, tensor := range map[string]onnxtest.Message{
		"two locations":              reference("location", "stage-0.data", "location", "/etc/passwd"),
		"the right one last":         reference("location", "/etc/passwd", "location", "stage-0.data"),
		"a way around":               reference("location", "./stage-0.data"),
		"a way up":                   reference("location", "../stages/stage-0.data"),
		"an address in memory":       reference("location", "*/_ORT_MEM_ADDR_/*", "offset", "4096"),
		"an empty one":               reference("location", ""),
		"no value":                   reference().Embed(13, onnxtest.Message{}.Text(1, "location")),
		"two values":                 reference().Embed(13, onnxtest.Message{}.Text(1, "location").Text(2, "stage-0.data").Text(2, "/etc/passwd")),
		"two keys":                   reference().Embed(13, onnxtest.Message{}.Text(1, "offset").Text(2, "/etc/passwd").Text(1, "location")),
		"a key of another wire type": reference().Embed(13, onnxtest.Message{}.Int(1, 1).Text(2, "stage-0.data")),
		"cut off":                    append(reference(), 13<<3|2, 100),
	} {
		for place, model := range places(tensor) {
			if err := checkExternal(model, "stage-0.data"); err == nil {
				t.Errorf("%s in %s was accepted", what, place)
			}
		}
	}
}

func TestCheckExternalOfFiles(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "stage-0.onnx")
	if err := CheckExternal(path, ""); err == nil {
		t.Error("no file")
	}
	for _, c := range []struct {
		model []byte
		says  string
	}{
		{nil, "the file is empty"},
		{[]byte("hello, this is text\n"), "or is not protobuf"},
		{places(reference("location", "x"))["an initializer"], `"x"`},
	} {
		if err := os.WriteFile(path, c.model, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := CheckExternal(path, ""); err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: %v", c.says, err)
		}
	}
}

// Whatever Parse reads a location from, CheckExternal sees.
func FuzzCheckExternal(f *testing.F) {
	for _, model := range places(reference("location", "stage-0.data").Int(14, 1)) {
		f.Add([]byte(model))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		refused := checkExternal(data, "") != nil
		m, err := Parse(data)
		if err != nil || refused {
			return
		}
		for _, fn := range m.functions {
			if fn.external {
				t.Errorf("function %q has external data", fn.name)
			}
		}
		if m.Graph.external() {
			t.Error("the graph has external data")
		}
	})
}
