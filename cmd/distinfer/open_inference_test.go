package main_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/testkit"
)

// A clientTask is what a program of scripts/oip is told to ask, and what must be answered.
type clientTask struct {
	HTTP   string               `json:"http"`
	GRPC   string               `json:"grpc"`
	Model  string               `json:"model"`
	Parts  []string             `json:"parts"`
	Inputs map[string][][]int64 `json:"inputs"`
	Logits [][]float32          `json:"logits"`
	Texts  []string             `json:"texts"`
	Labels []string             `json:"labels"`
	Types  []string             `json:"types"`
}

// frontWithGRPC runs a front with gRPC, and gives the addresses of both.
func frontWithGRPC(t *testing.T, dir string, stages []string, args ...string) (s *server, http, grpc string) {
	t.Helper()
	s, url := front(t, dir, stages, append([]string{"--grpc-port", "0"}, args...)...)
	return s, strings.TrimPrefix(url, "http://"), s.entry(t, "gRPC listening", 1)["listen"].(string)
}

// ask has a client that is not ours ask, with the Python that has it.
func (c clientTask) ask(t *testing.T, client, program string) {
	t.Helper()
	root := testkit.Root(t)
	python := filepath.Join(root, ".setup", "oip", client, "bin", "python")
	if _, err := os.Stat(python); err != nil {
		if client == "kserve" {
			t.Skip("KServe's SDK is not here; `make conformance WITH=clients` fetches it")
		}
		t.Fatalf("no Python with %s: %v; run `make setup`", client, err)
	}
	task, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, filepath.Join(root, "scripts", "oip", program))
	cmd.Stdin = bytes.NewReader(task)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer time.AfterFunc(2*testkit.Patience, func() { _ = cmd.Process.Kill() }).Stop()
	err = cmd.Wait()
	t.Logf("%s", output.String())
	if err != nil {
		t.Fatalf("%s: %v", program, err)
	}
}

// serveForClients serves a default model in two stages, and says what is to be asked.
func serveForClients(t *testing.T, model string) clientTask {
	t.Helper()
	dir := split(t, model, 2)
	_, first := stage(t, dir, 0)
	_, second := stage(t, dir, 1)
	_, http, grpc := frontWithGRPC(t, dir, []string{first, second})
	testkit.Eventually(t, "the stages are ready", func() bool { status, _ := fetch(t, "GET", "http://"+http+"/v2/health/ready", ""); return status == 200 })
	w := wholeModel(t, model)
	c := clientTask{HTTP: http, GRPC: grpc, Model: model, Inputs: map[string][][]int64{}}
	for _, s := range dataset(t, "dev.tsv")[:8] {
		c.Texts = append(c.Texts, s.text)
		c.Labels = append(c.Labels, w.results(t, s.text)[0].Label)
	}
	e, err := w.tokenizer.Encode(c.Texts[0])
	if err != nil {
		t.Fatal(err)
	}
	c.Inputs["input_ids"] = [][]int64{e.IDs}
	if slices.Contains(w.inputs, "attention_mask") {
		c.Inputs["attention_mask"] = [][]int64{e.AttentionMask}
	}
	c.Logits = [][]float32{w.logits(t, c.Texts[0])}
	return c
}

func TestTritonsClientsGetWhatTheUnsplitModelComputes(t *testing.T) {
	t.Parallel()
	for _, model := range []string{"sst2-minilm", "seed-rnn"} {
		c := serveForClients(t, model)
		c.Parts = []string{"state", "tensors", "texts", "refusals"}
		c.ask(t, "tritonclient", "triton_client.py")
	}
}

func TestKServesClientsGetWhatTheUnsplitModelComputes(t *testing.T) {
	t.Parallel()
	for _, model := range []string{"sst2-minilm", "seed-rnn"} {
		serveForClients(t, model).ask(t, "kserve", "kserve_client.py")
	}
}

func TestTritonsClientsGetTensorsOfEveryTypeBackAsTheyWere(t *testing.T) {
	t.Parallel()
	types := []tensor.DType{
		tensor.Bool, tensor.Int8, tensor.Int16, tensor.Int32, tensor.Int64, tensor.Uint8, tensor.Uint16, tensor.Uint32, tensor.Uint64,
		tensor.Float16, tensor.BFloat16, tensor.Float32, tensor.Float64, tensor.String,
	}
	dir := t.TempDir()
	model, cut := sameModel(types)
	if err := os.WriteFile(filepath.Join(dir, "same.onnx"), model, 0o600); err != nil {
		t.Fatal(err)
	}
	ok(t, dir, "", "split", "same.onnx", "--at", cut, "--no-verify", "--out", "stages")
	dir = filepath.Join(dir, "stages")
	_, first := stage(t, dir, 0)
	_, second := stage(t, dir, 1)
	_, http, grpc := frontWithGRPC(t, dir, []string{first, second})
	testkit.Eventually(t, "the stages are ready", func() bool { status, _ := fetch(t, "GET", "http://"+http+"/v2/health/ready", ""); return status == 200 })
	c := clientTask{HTTP: http, GRPC: grpc, Model: "same", Parts: []string{"every_type"}}
	for _, d := range types {
		c.Types = append(c.Types, d.String())
	}
	c.ask(t, "tritonclient", "triton_client.py")
}
