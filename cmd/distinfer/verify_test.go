package main_test

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// ids writes an .npz of inputs, each of int64 and shape [1,n].
func ids(t *testing.T, path string, inputs map[string][]int64) string {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for name, values := range inputs {
		f, err := w.Create(name + ".npy")
		if err != nil {
			t.Fatal(err)
		}
		head := "{'descr': '<i8', 'fortran_order': False, 'shape': (1, " + string('0'+rune(len(values))) + "), }\n"
		data := append([]byte("\x93NUMPY\x01\x00"), byte(len(head)), 0)
		data = append(data, head...)
		for _, v := range values {
			data = append(data, byte(v), byte(v>>8), 0, 0, 0, 0, 0, 0)
		}
		if _, err := f.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestVerifySaysWhatWasAndWhatWasNotVerified(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	model := modelFile(t, "sst2-minilm")
	npz := ids(t, filepath.Join(dir, "inputs.npz"), map[string][]int64{"input_ids": {101, 2204, 102}, "attention_mask": {1, 1, 1}})
	if out := ok(t, dir, "", "split", model, "--inputs", npz, "--out", "stages"); !strings.Contains(out, "; 4 generated sizes; 1 given input (") || strings.Contains(out, "not verified") {
		t.Errorf("%s", out)
	}
	if err := os.WriteFile(filepath.Join(dir, "stages", "notes.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		says []string
	}{
		{nil, []string{"every file is the one", "not part of the bundle: notes.txt", "verified: 2 stages, loaded and run", "not verified: The results were not compared with the whole model, since no model was given."}},
		{[]string{"--model", model, "--inputs", npz}, []string{"verified: chain equals whole on ", " texts of up to ", "4 generated sizes; 1 given input ("}},
		{[]string{"--bundle", "stages", "--model", model, "--memory", "130"}, []string{"verified: 1 stage, loaded and run", "not verified: Stage 0 was not loaded"}},
	} {
		out := ok(t, dir, "", append([]string{"verify"}, c.args...)...)
		for _, s := range c.says {
			if !strings.Contains(out, s) {
				t.Errorf("%v: does not say %q: %s", c.args, s, out)
			}
		}
	}
	var report struct {
		Bundle       string
		Verification struct {
			Runs    int
			Against string
			Extra   []string
			Given   []string
			Outputs []struct {
				Name     string
				Compared bool
			}
		}
	}
	if err := json.Unmarshal([]byte(ok(t, dir, "", "verify", "stages", "--model", model, "--inputs", npz, "-o", "json")), &report); err != nil {
		t.Fatal(err)
	}
	if v := report.Verification; len(report.Bundle) != 64 || v.Runs != 5 || v.Against != "whole model" || len(v.Extra) != 1 || len(v.Given) != 1 || len(v.Outputs) != 1 || !v.Outputs[0].Compared {
		t.Errorf("%+v", report)
	}
	// When nothing could be run, that is a failure.
	if r := run(t, dir, "", "verify", "--memory", "1"); r.code != 1 || !strings.Contains(r.stderr, "nothing was verified by running") || !strings.Contains(r.stdout, "not verified: Stage 1 was not loaded") {
		t.Errorf("%+v", r)
	}
}

func TestVerifyFailsOnWhatIsWrong(t *testing.T) {
	t.Parallel()
	good := split(t, "seed-rnn", 2)
	changed := split(t, "seed-rnn", 2)
	stage := filepath.Join(changed, "stage-1.onnx")
	data, err := os.ReadFile(stage)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-1] ^= 1
	if err := os.WriteFile(stage, data, 0o600); err != nil {
		t.Fatal(err)
	}
	gone := split(t, "seed-rnn", 2)
	if err := os.Remove(filepath.Join(gone, "tokenizer.json")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what string
		args []string
		code int
		says string
	}{
		{"a changed file", []string{changed}, 1, "mixed files"},
		{"a missing file", []string{gone}, 1, "tokenizer.json is missing"},
		{"no bundle", []string{filepath.Join(good, "none")}, 1, "there is no such folder"},
		{"another model", []string{good, "--model", modelFile(t, "sst2-minilm")}, 1, "was not made from"},
		{"no model", []string{good, "--model", filepath.Join(good, "none.onnx")}, 1, "there is no file"},
		{"no inputs", []string{good, "--inputs", filepath.Join(good, "none.npz")}, 1, "there is no file"},
		{"inputs of another model", []string{good, "--inputs", ids(t, filepath.Join(t.TempDir(), "x.npz"), map[string][]int64{"x": {1}})}, 1, `no input "x"`},
		{"a tolerance below 0", []string{good, "--tolerance", "-1"}, 2, `--tolerance is "-1"`},
		{"memory below 0", []string{good, "--memory", "-1"}, 2, `--memory is "-1"`},
		{"two bundles", []string{good, good}, 2, "unexpected argument"},
	} {
		r := run(t, t.TempDir(), "", append([]string{"verify"}, c.args...)...)
		if r.code != c.code || !strings.Contains(r.stderr, c.says) {
			t.Errorf("%s: %+v", c.what, r)
		}
	}
	if r := run(t, t.TempDir(), "", "split", modelFile(t, "seed-rnn"), "--no-verify", "--inputs", "x.npz"); r.code != 2 || !strings.Contains(r.stderr, "--no-verify") {
		t.Errorf("%+v", r)
	}
}
