package main_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	splitter "github.com/distinfer/distinfer/split"

	"github.com/distinfer/distinfer/runtime/testkit"
)

// repository lays out one of models/testdata/tasks as repositories are, with the model in onnx/,
// without some files.
func repository(t *testing.T, name string, without ...string) string {
	t.Helper()
	from, dir := filepath.Join(testkit.Root(t), "models", "testdata", "tasks"), filepath.Join(t.TempDir(), "org-name")
	for to, path := range map[string]string{"tokenizer.json": "tokenizer.json", "onnx/model.onnx": name + "/model.onnx", "config.json": name + "/config.json"} {
		data, err := os.ReadFile(filepath.Join(from, path))
		if err != nil {
			t.Fatal(err)
		}
		lay(t, dir, to, string(data))
	}
	for _, f := range without {
		if err := os.Remove(filepath.Join(dir, f)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func lay(t *testing.T, dir, name, content string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestSplitTakesARepository(t *testing.T) {
	t.Parallel()
	dir, work := repository(t, "three"), t.TempDir()
	whole, err := os.ReadFile(filepath.Join(dir, "onnx", "model.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	lay(t, dir, "onnx/model_int8.onnx", string(whole))
	for _, args := range [][]string{{dir}, {filepath.Join(dir, "onnx", "model.onnx")}, {filepath.Join(dir, "onnx")}} {
		out := ok(t, work, "", append([]string{"split", "--dry-run"}, args...)...)
		for _, want := range []string{"org-name (", "model: " + filepath.Join(dir, "onnx", "model.onnx"), "texts: text-classification (", "text files: config.json, tokenizer.json in " + dir} {
			if !strings.Contains(out, want) {
				t.Errorf("%v: no %q in %s", args, want, out)
			}
		}
	}
	var r splitter.Report
	out := ok(t, work, "", "split", dir, "--file", "model_int8.onnx", "--name", "other", "-o", "json")
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	if r.Model != filepath.Join(dir, "onnx", "model_int8.onnx") || len(r.Others) != 1 || r.Manifest.Model.Name != "other" || r.Texts.Task != "text-classification" || r.Texts.MaxTokens == 0 {
		t.Errorf("%+v, texts %+v", r, r.Texts)
	}
	ok(t, work, "", "verify", "--model", dir, "--file", "onnx/model_int8.onnx")
	ok(t, work, "", "verify", "--model", dir) // it is known which file that was
	if out := ok(t, work, "a lovely film\n", "predict"); out == "" {
		t.Error("no text is answered")
	}
}

func TestTextsThatCannotBeAnsweredAreRefusedBySplit(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		task    string
		without []string
		change  map[string]string
		says    []string
	}{
		"no tokenizer": {"three", []string{"tokenizer.json"}, nil, []string{"no tokenizer.json in ", "from_pretrained('ORIGINAL')"}},
		"an older tokenizer": {"three", []string{"tokenizer.json"}, map[string]string{"vocab.txt": "a"},
			[]string{"older form (vocab.txt)", `python -c "from transformers import AutoTokenizer; AutoTokenizer.from_pretrained('.').save_pretrained('.')"`}},
		"no fast tokenizer": {"three", []string{"tokenizer.json"}, map[string]string{"config.json": `{"model_type": "perceiver"}`}, []string{"PerceiverTokenizer has no fast form"}},
		"no config":         {"three", []string{"config.json"}, nil, []string{"no config.json in ", "put there the config.json"}},
		"an unread tokenizer": {"three", nil, map[string]string{"tokenizer.json": `{"version": "1.0", "model": {"type": "Telepathy"}}`},
			[]string{"tokenizer.json", "Telepathy"}},
		"another task": {"three", nil, map[string]string{"config.json": `{"architectures": ["BertForMaskedLM"]}`},
			[]string{"fills in masked tokens", "optimum-cli export onnx --model ORIGINAL --task feature-extraction"}},
	} {
		dir := repository(t, c.task, c.without...)
		for name, content := range c.change {
			lay(t, dir, name, content)
		}
		work := t.TempDir()
		for _, args := range [][]string{{"split", dir}, {"split", dir, "--dry-run"}, {"up", dir}} {
			r := run(t, work, "", args...)
			for _, want := range append(c.says, "--no-text splits it to answer tensors only") {
				if r.code != 1 || !strings.Contains(r.stderr, want) {
					t.Errorf("%s: %v: no %q in %+v", what, args, want, r)
				}
			}
			if left, _ := os.ReadDir(work); len(left) > 0 {
				t.Errorf("%s: %v left %v", what, args, left)
			}
		}
		if out := ok(t, work, "", "split", dir, "--no-text"); !strings.Contains(out, "texts: none, only tensors are answered") {
			t.Errorf("%s: %s", what, out)
		}
	}
}

func TestAModelOfNothingElseAnswersTensors(t *testing.T) {
	t.Parallel()
	dir := repository(t, "three", "config.json", "tokenizer.json")
	if out := ok(t, t.TempDir(), "", "split", dir); !strings.Contains(out, "texts: none, only tensors are answered: no tokenizer.json in "+filepath.Join(dir, "onnx")+" or "+dir) {
		t.Error(out)
	}
}

func TestWhatNamesNoModelIsRefused(t *testing.T) {
	t.Parallel()
	dir, work := repository(t, "three"), t.TempDir()
	ok(t, work, "", "split", dir)
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"split", dir, "--file", "model_O2.onnx"}, 1, `no "model_O2.onnx"; there is onnx/model.onnx; choose one with --file`},
		{[]string{"split", filepath.Join(dir, "onnx", "model.onnx"), "--file", "model.onnx"}, 2, "leave it out"},
		{[]string{"split", dir, "--name", "a/b"}, 2, "choose another with --name"},
		{[]string{"split", "stages"}, 1, "`distinfer up --bundle stages`"},
		{[]string{"split", work + "/none"}, 1, "there is no file"},
		{[]string{"up", "--file", "model.onnx"}, 2, "--file says how to split a MODEL"},
		{[]string{"verify", "--file", "model.onnx"}, 2, "name that with --model"},
	} {
		if r := run(t, work, "", c.args...); r.code != c.code || !strings.Contains(r.stderr, c.says) {
			t.Errorf("%v: %+v", c.args, r)
		}
	}
}
