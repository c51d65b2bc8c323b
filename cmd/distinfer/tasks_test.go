package main_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	endian "encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/distinfer/distinfer/runtime/testkit"
)

// expected is what Python's transformers and sentence-transformers answer with the
// models of models/testdata/tasks; scripts/task-oracle writes it.
type expected struct {
	Awkward    []string
	Entities   map[string][][]expectedEntity
	Embeddings map[string]packed
	Heads      []struct {
		Model  string
		Change map[string]string
		Scores packed
	}
}

// packed are float32 numbers, little-endian, as base64.
type packed []float32

func (p *packed) UnmarshalText(text []byte) error {
	data, err := base64.StdEncoding.DecodeString(string(text))
	if err != nil {
		return err
	}
	*p = make(packed, len(data)/4)
	_, err = endian.Decode(data, endian.LittleEndian, *p)
	return err
}

type expectedEntity struct {
	kind, word        string
	score             float64
	start, end, index int
}

func (e *expectedEntity) UnmarshalJSON(data []byte) error {
	return json.Unmarshal(data, &[]any{&e.kind, &e.score, &e.word, &e.start, &e.end, &e.index})
}

// An entity is one as it is answered.
type entity struct {
	Entity, Word string
	Group        string `json:"entity_group"`
	Score        float64
	Index        *int
	Start, End   int
}

// sameEntities compares what was answered with what was expected, and returns how far the
// scores are apart at most.
func sameEntities(t *testing.T, asked string, got []entity, want []expectedEntity) float64 {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d entities, want %d: %+v", asked, len(got), len(want), got)
		return 0
	}
	largest := 0.0
	for k, w := range want {
		g, index := got[k], -1
		if g.Index != nil {
			index = *g.Index
		}
		if (expectedEntity{g.Entity + g.Group, g.Word, w.score, g.Start, g.End, index}) != w || math.Abs(g.Score-w.score) > tolerance || (g.Group == "") != (index >= 0) {
			t.Errorf("%s: got %+v, want %+v", asked, g, w)
		}
		largest = max(largest, math.Abs(g.Score-w.score))
	}
	return largest
}

// unitOf is a vector of the same direction and of length 1.
func unitOf(v []float32) []float32 {
	length := 0.0
	for _, x := range v {
		length += float64(x) * float64(x)
	}
	length = math.Sqrt(length)
	unit := make([]float32, len(v))
	for k, x := range v {
		unit[k] = float32(float64(x) / length)
	}
	return unit
}

// apart is how far numbers are from those that are wanted, of those beyond 1 in
// proportion.
func apart(t *testing.T, got, want [][]float32) float64 {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d vectors, want %d", len(got), len(want))
	}
	largest := 0.0
	for i, w := range want {
		if len(got[i]) != len(w) {
			t.Fatalf("the vector %d has %d numbers, want %d", i, len(got[i]), len(w))
		}
		for k, x := range w {
			largest = max(largest, math.Abs(float64(got[i][k]-x))/max(1, math.Abs(float64(x))))
		}
	}
	return largest
}

// tasksExpected returns the expectations and the texts that they are about.
func tasksExpected(t *testing.T) (*expected, []string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(testkit.Root(t), "models", "testdata", "tasks", "expected.json.gz"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	e := &expected{}
	if err := json.NewDecoder(r).Decode(e); err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, s := range dataset(t, "dev.tsv") {
		texts = append(texts, s.text)
	}
	return e, append(texts, e.Awkward...)
}

// taskModel lays out one of models/testdata/tasks as an export does, with some files
// changed or more, and splits it in two.
func taskModel(t *testing.T, name string, files map[string]string) string {
	t.Helper()
	dir := taskFolder(t, name, files)
	ok(t, dir, "", "split", "model.onnx", "--stages", "2", "--out", "stages")
	return filepath.Join(dir, "stages")
}

// taskFolder lays out a model of the test data as an export does, with other files beside it.
func taskFolder(t *testing.T, name string, files map[string]string) string {
	t.Helper()
	from, dir := filepath.Join(testkit.Root(t), "models", "testdata", "tasks"), t.TempDir()
	for _, path := range []string{"tokenizer.json", name + "/model.onnx", name + "/config.json"} {
		data, err := os.ReadFile(filepath.Join(from, path))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(path)), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for path, content := range files {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// serveTask starts two stages and a front for a bundle.
func serveTask(t *testing.T, bundle string, args ...string) (*server, string) {
	t.Helper()
	_, first := stage(t, bundle, 0)
	_, second := stage(t, bundle, 1)
	return front(t, bundle, []string{first, second}, args...)
}

// predicted compares what predict prints, in this process and through the front, with
// the lines that the front's stream answers. The second text is empty.
func predicted(t *testing.T, bundle, url string, texts []string) {
	t.Helper()
	lines := streamed(t, url+"/predict", texts)
	var input bytes.Buffer
	for _, s := range slices.Insert(slices.Clone(texts), 1, "") {
		if err := json.NewEncoder(&input).Encode(s); err != nil {
			t.Fatal(err)
		}
	}
	args := []string{"predict", "--format", "jsonl"}
	for _, where := range [][]string{{"--bundle", bundle}, {"--front", url}} {
		r := run(t, t.TempDir(), input.String(), slices.Concat(args, where)...)
		got := strings.Split(strings.TrimSuffix(r.stdout, "\n"), "\n")
		if r.code != 1 || len(got) != len(texts)+1 || got[1] != `{"error":"the text is empty","line":2}` {
			t.Fatalf("%s: %d, %d lines for %d: %s", where, r.code, len(got), len(texts)+1, r.stderr)
		}
		for i, line := range slices.Delete(got, 1, 2) {
			var a, b any
			if err := errors.Join(json.Unmarshal([]byte(line), &a), json.Unmarshal([]byte(lines[i]), &b)); err != nil || !alike(a, b) {
				t.Errorf("%s: line %d: %.200s, want %.200s (%v)", where, i+1, line, lines[i], err)
			}
		}
		// The task is asked for, not told by answers, of which there may be none.
		if r := run(t, t.TempDir(), `""`, slices.Concat(args, where)...); r.code != 1 || r.stdout != `{"error":"the text is empty","line":1}`+"\n" {
			t.Errorf("%s: an empty text: %+v", where, r)
		}
		if r := run(t, t.TempDir(), "", slices.Concat(args, where, []string{"-o", "text"})...); r.code != 2 || !strings.Contains(r.stderr, "--output text is for labels") {
			t.Errorf("%s: -o text: %d %s", where, r.code, r.stderr)
		}
	}
}

// alike reports whether JSON values are the same, but for what batches do to numbers.
func alike(a, b any) bool {
	switch a := a.(type) {
	case float64:
		b, ok := b.(float64)
		return ok && math.Abs(a-b) <= tolerance
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, alike)
	case map[string]any:
		b, ok := b.(map[string]any)
		return ok && maps.EqualFunc(a, b, alike)
	}
	return a == b
}

func TestPredictAnswersTheOtherTasks(t *testing.T) {
	t.Parallel()
	_, texts := tasksExpected(t)
	for _, name := range []string{"tokens", "embed"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bundle := taskModel(t, name, nil)
			_, url := serveTask(t, bundle)
			predicted(t, bundle, url, texts[len(texts)-40:])
		})
	}
}

// post sends JSON and reads the JSON that is answered.
func post(t *testing.T, url string, body, answer any) {
	t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	status, got := fetch(t, http.MethodPost, url, string(data))
	if status != http.StatusOK {
		t.Fatalf("%s: %d %s", url, status, got)
	}
	if err := json.Unmarshal([]byte(got), answer); err != nil {
		t.Fatalf("%s: %v", got, err)
	}
}

// streamed sends texts as lines, and one with a list of two, and returns the answers.
func streamed(t *testing.T, url string, texts []string) []string {
	t.Helper()
	var body bytes.Buffer
	for i, s := range texts {
		var line any = s
		if i%2 == 1 {
			line = map[string]string{"inputs": s}
		}
		if err := json.NewEncoder(&body).Encode(line); err != nil {
			t.Fatal(err)
		}
	}
	body.WriteString(`{"inputs": ["a", "b"]}`)
	response, err := http.Post(url, "application/x-ndjson", &body)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	if response.StatusCode != http.StatusOK || len(lines) != len(texts)+1 {
		t.Fatalf("%s: %s, %d lines for %d", url, response.Status, len(lines), len(texts)+1)
	}
	return lines
}

const tolerance = 1e-4

func TestEntitiesOverTwoStagesAreThoseOfTransformers(t *testing.T) {
	t.Parallel()
	want, texts := tasksExpected(t)
	s, url := serveTask(t, taskModel(t, "tokens", nil))
	if got := s.entry(t, "front listening", 1)["task"]; got != "token-classification" {
		t.Errorf("the task is %v", got)
	}
	largest, compared := 0.0, 0
	for strategy, rows := range want.Entities {
		parameters := map[string]any{"aggregation_strategy": strategy}
		if name, label, ignoring := strings.Cut(strategy, ", ignoring "); ignoring {
			parameters = map[string]any{"aggregation_strategy": name, "ignore_labels": []string{label}}
		}
		texts := texts[len(texts)-len(rows):]
		var got [][]entity
		post(t, url+"/predict", map[string]any{"inputs": texts, "parameters": parameters}, &got)
		for i, row := range rows {
			largest = max(largest, sameEntities(t, fmt.Sprintf("%s: %q", strategy, texts[i]), got[i], row))
			compared += len(row)
		}
	}
	var one []entity
	post(t, url, map[string]any{"inputs": texts[0]}, &one)
	if len(one) != len(want.Entities["none"][0]) {
		t.Errorf("one text: %+v", one)
	}
	lines := streamed(t, url+"/predict", texts)
	for i, row := range want.Entities["none"] {
		var got []entity
		if err := json.Unmarshal([]byte(lines[i]), &got); err != nil || len(got) != len(row) {
			t.Errorf("line %d: %s, want %d entities (%v)", i+1, lines[i], len(row), err)
		}
	}
	if last := lines[len(lines)-1]; !strings.Contains(last, fmt.Sprintf(`{"error":"line %d: 2 texts; send a line for each"`, len(lines))) {
		t.Errorf("a line with a list: %s", last)
	}
	if status, got := fetch(t, http.MethodPost, url+"/predict", `{"inputs": "a", "parameters": {"stride": 3}}`); status != http.StatusBadRequest || !strings.Contains(got, "stride is not supported") {
		t.Errorf("stride: %d %s", status, got)
	}
	if status, got := fetch(t, http.MethodGet, url+"/?text=a", ""); status != http.StatusNotFound || !strings.Contains(got, "token-classification") {
		t.Errorf("a label: %d %s", status, got)
	}
	measured(t, "entities: %d compared, largest difference of a score %.1e", compared, largest)
}

func TestEmbeddingsOverTwoStagesAreThoseOfSentenceTransformers(t *testing.T) {
	t.Parallel()
	want, texts := tasksExpected(t)
	const modules = `[{"path": "", "type": "sentence_transformers.models.Transformer"}, {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}%s]`
	for pooling, numbers := range want.Embeddings {
		t.Run(pooling, func(t *testing.T) {
			t.Parallel()
			modes, err := json.Marshal(map[string]any{"pooling_mode": strings.Split(pooling, ",")})
			if err != nil {
				t.Fatal(err)
			}
			_, url := serveTask(t, taskModel(t, "embed", map[string]string{
				"modules.json":          fmt.Sprintf(modules, `, {"path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}`),
				"1_Pooling/config.json": string(modes),
			}))
			width := 32 * strings.Count(pooling+",", ",")
			texts := texts[len(texts)-len(numbers)/width:]
			var raw, unit, root [][]float32
			post(t, url+"/embed", map[string]any{"inputs": texts, "normalize": false}, &raw)
			post(t, url+"/embed", map[string]any{"inputs": texts}, &unit)
			post(t, url, map[string]any{"inputs": texts}, &root)
			var list struct {
				Data []struct {
					Index     int
					Embedding packed
				}
				Usage struct {
					Tokens int `json:"prompt_tokens"`
				}
			}
			post(t, url+"/v1/embeddings", map[string]any{"input": texts, "model": "any", "encoding_format": "base64"}, &list)
			if list.Usage.Tokens < 3*len(texts) {
				t.Errorf("%d texts have %d tokens", len(texts), list.Usage.Tokens)
			}
			for i, line := range streamed(t, url+"/embed", texts)[:len(texts)] {
				var got []float32
				if err := json.Unmarshal([]byte(line), &got); err != nil || len(got) != width || math.Abs(float64(got[0]-unit[i][0])) > tolerance {
					t.Fatalf("line %d: %.200s, want %g and so on (%v)", i+1, line, unit[i][0], err)
				}
			}
			pooled := slices.Collect(slices.Chunk([]float32(numbers), width))
			if d := apart(t, raw, pooled); !(d <= tolerance) {
				t.Errorf("vectors differ by %g", d)
			}
			for i, v := range pooled {
				pooled[i] = unitOf(v)
			}
			if d := apart(t, unit, pooled); !(d <= tolerance) {
				t.Errorf("vectors of length 1 differ by %g", d)
			}
			for i, v := range unit {
				if !slices.Equal(root[i], v) || !slices.Equal(list.Data[i].Embedding, v) {
					t.Errorf("%q: got %v, %v and %v", texts[i], v, root[i], list.Data[i].Embedding)
				}
			}
			for body, part := range map[string]string{
				`{"input": [[1, 2]]}`:                   "token ids are not taken",
				`{"input": "a", "dimensions": 7}`:       "dimensions is 7",
				`{"input": ""}`:                         `is empty`,
				`{"input": "a", "encoding_format": ""}`: `encoding_format is \"\"; it can be float or base64`,
			} {
				status, got := fetch(t, http.MethodPost, url+"/v1/embeddings", body)
				if status != http.StatusBadRequest || !strings.HasPrefix(got, `{"error":{"message":"`) || !strings.Contains(got, part) {
					t.Errorf("%s: %d %s", body, status, got)
				}
			}
			for body, part := range map[string]string{
				`{"inputs": "a", "truncation_direction": "left"}`:                         `truncation_direction is "left"; it can be right or Right`,
				`{"inputs": "a", "truncation_direction": "Right", "encoding_format": ""}`: `encoding_format is ""; it can be float`,
			} {
				if status, got := fetch(t, http.MethodPost, url+"/embed", body); status != http.StatusBadRequest || !strings.Contains(got, strings.ReplaceAll(part, `"`, `\"`)) {
					t.Errorf("%s: %d %s", body, status, got)
				}
			}
			var same [][]float32 // 32.0 is a whole number too
			post(t, url+"/embed", map[string]any{"inputs": texts[0], "dimensions": json.RawMessage(fmt.Sprintf("%d.0", width))}, &same)
			if !slices.Equal(same[0], unit[0]) {
				t.Errorf("with its own dimensions: %v", same)
			}
			if status, got := fetch(t, http.MethodPost, url+"/embed", `{"inputs": "`+strings.Repeat("a ", 100)+`", "truncate": false}`); status != http.StatusBadRequest || !strings.Contains(got, "longer than the model reads") {
				t.Errorf("a long text: %d %s", status, got)
			}
		})
	}
	t.Run("a module of one's own", func(t *testing.T) {
		t.Parallel()
		dir := taskFolder(t, "embed", map[string]string{
			"modules.json":          fmt.Sprintf(modules, `, {"path": "2_Gate", "type": "my_package.Gate"}`),
			"1_Pooling/config.json": `{"pooling_mode_mean_tokens": true}`,
		})
		r := run(t, dir, "", "split", "model.onnx", "--stages", "2")
		if r.code == 0 || !strings.Contains(r.stderr, "my_package.Gate") || !strings.Contains(r.stderr, "2_Gate") {
			t.Errorf("%d %s", r.code, r.stderr)
		}
	})
}

func TestScoresOfEveryKindOfClassifierAreThoseOfTransformers(t *testing.T) {
	t.Parallel()
	want, texts := tasksExpected(t)
	for i, head := range want.Heads {
		t.Run(fmt.Sprint(head.Model, head.Change), func(t *testing.T) {
			t.Parallel()
			config, err := os.ReadFile(filepath.Join(testkit.Root(t), "models", "testdata", "tasks", head.Model, "config.json"))
			if err != nil {
				t.Fatal(err)
			}
			var fields map[string]any
			if err := json.Unmarshal(config, &fields); err != nil {
				t.Fatal(err)
			}
			for key, value := range head.Change {
				fields[key] = value
			}
			changed, err := json.Marshal(fields)
			if err != nil {
				t.Fatal(err)
			}
			bundle := taskModel(t, head.Model, map[string]string{"config.json": string(changed)})
			labels := map[string]int{"three": 3, "one": 1}[head.Model]
			texts := texts[len(texts)-len(head.Scores)/labels:]
			var input bytes.Buffer
			for _, s := range texts {
				data, err := json.Marshal(map[string]string{"text": s})
				if err != nil {
					t.Fatal(err)
				}
				input.Write(append(data, '\n'))
			}
			file := filepath.Join(t.TempDir(), "texts.jsonl")
			if err := os.WriteFile(file, input.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			d := json.NewDecoder(strings.NewReader(ok(t, filepath.Dir(bundle), "", "predict", file, "--bundle", bundle, "-o", "json")))
			for k := range texts {
				var got struct{ Scores map[string]float64 }
				if err := d.Decode(&got); err != nil {
					t.Fatal(err)
				}
				for l := range labels {
					if w := float64(want.Heads[i].Scores[k*labels+l]); math.Abs(got.Scores[fmt.Sprint("LABEL_", l)]-w) > tolerance*max(1, math.Abs(w)) {
						t.Errorf("%q: got %v, want LABEL_%d %g", texts[k], got.Scores, l, w)
					}
				}
			}
			if err := d.Decode(&struct{}{}); err != io.EOF {
				t.Errorf("something follows: %v", err)
			}
		})
	}
}
