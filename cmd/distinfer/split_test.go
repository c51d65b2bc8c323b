package main_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/distinfer/distinfer/split/onnxfile/onnxtest"
)

// stageWeights are the bytes of the weights of a plan's stages.
func stageWeights(t *testing.T, dir string, args ...string) []int64 {
	t.Helper()
	var report struct {
		Manifest struct {
			Stages []struct {
				ParameterBytes int64 `json:"parameter_bytes"`
			} `json:"stages"`
		} `json:"manifest"`
	}
	out := ok(t, dir, "", append([]string{"split", modelFile(t, "sst2-minilm"), "--dry-run", "-o", "json"}, args...)...)
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatal(err)
	}
	var weights []int64
	for _, s := range report.Manifest.Stages {
		weights = append(weights, s.ParameterBytes)
	}
	return weights
}

func TestSplitCutsWhereItIsTold(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if got := stageWeights(t, dir); len(got) != 2 {
		t.Errorf("by default there are %d stages", len(got))
	}
	if got := stageWeights(t, dir, "--layers"); len(got) != 40 {
		t.Errorf("--layers: %d stages", len(got))
	}
	if got := stageWeights(t, dir, "--at", "/embeddings/LayerNormalization_output_0,/encoder/layer.2/LayerNormalization"); len(got) != 3 || got[0] < 23e6 || got[0] > 24e6 {
		t.Errorf("--at a value and a node: stages of %v bytes", got)
	}
	free, bound := stageWeights(t, dir, "--stages", "3"), stageWeights(t, dir, "--stages", "3", "--max-stage-bytes", "26MB")
	if free[0] <= 26e6 || bound[0] > 26e6 || bound[1] > 26e6 || bound[2] > 26e6 {
		t.Errorf("--max-stage-bytes: %v, without it %v", bound, free)
	}
	if got := stageWeights(t, dir, "--stages", "2", "--profile"); len(got) != 2 {
		t.Errorf("--profile: %d stages", len(got))
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("a plan left files: %v", left)
	}
}

func TestSplitDrawsThePlan(t *testing.T) {
	t.Parallel()
	out := ok(t, t.TempDir(), "", "split", modelFile(t, "seed-rnn"), "--stages", "2", "--dry-run", "-o", "dot")
	for _, part := range []string{`digraph "seed-rnn" {`, "subgraph cluster_0 {", "subgraph cluster_1 {", "penwidth=3", `"output logits"`} {
		if !strings.Contains(out, part) {
			t.Errorf("%q is missing in\n%s", part, out)
		}
	}
	if strings.Count(out, "{") != strings.Count(out, "}") {
		t.Errorf("braces do not match in\n%s", out)
	}
}

// A model whose scales are taken of the whole batch is split, with a warning that
// says what to do instead.
func TestSplitWarnsOfAModelThatDependsOnItsBatch(t *testing.T) {
	t.Parallel()
	const f32, u8, i32 = 1, 2, 6
	var g onnxtest.Graph
	g.Input("x", f32, "batch", 2)
	g.Floats("w", []int64{2, 2}, []float32{1, 2, 3, 4})
	g.Node("Cast", []string{"w"}, []string{"w_integers"}, onnxtest.IntAttr("to", u8))
	g.Node("DynamicQuantizeLinear", []string{"x"}, []string{"x_integers", "scale", "zero"})
	g.Node("MatMulInteger", []string{"x_integers", "w_integers", "zero"}, []string{"y"})
	g.Output("y", i32, "batch", 2)
	dir := t.TempDir()
	path := filepath.Join(dir, "dynamic.onnx")
	if err := os.WriteFile(path, g.Model(), 0o600); err != nil {
		t.Fatal(err)
	}
	const warning = "warning: each text is computed alone: scales are computed over all of the batch"
	out := ok(t, dir, "", "split", path, "--stages", "1")
	if !strings.Contains(out, warning) || !strings.Contains(out, "(1 × DynamicQuantizeLinear)") || !strings.Contains(out, "static scales") {
		t.Errorf("no warning:\n%s", out)
	}
	if out := ok(t, dir, "", "split", modelFile(t, "seed-rnn"), "--dry-run"); strings.Contains(out, "warning:") {
		t.Errorf("a warning:\n%s", out)
	}
}

// One machine that is fast enough, several that are needed, and none that can.
func TestSplitAutoComparesWhatTheMachinesCanDo(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what, machines string
		says           []string
	}{
		{"a slow network", "[{name: a, bandwidth: 1Mbit/s}, {name: b, speed: 0.1, bandwidth: 1Mbit/s}]", []string{"* replicas", "into 1 stage,"}},
		{"one machine", "[{name: a}]", []string{"* whole", "into 1 stage,"}},
		{"too little memory for the whole", "[{name: a, memory: 140MB}, {name: b, memory: 140MB}]", []string{"* pipeline", "into 2 stages", "whole     -"}},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "distinfer.yaml"), []byte("machines: "+c.machines+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		out := ok(t, dir, "", "split", modelFile(t, "sst2-minilm"), "--stages", "auto", "--dry-run")
		for _, says := range c.says {
			if !strings.Contains(strings.ReplaceAll(out, "be cut into", "into"), says) {
				t.Errorf("%s: does not say %q:\n%s", c.what, says, out)
			}
		}
	}
}
