package main_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/distinfer/distinfer/runtime/testkit"
	"github.com/distinfer/distinfer/runtime/text"
)

// clients runs a program of .setup/clients with more in its environment, and returns what
// it prints.
func clients(t *testing.T, more []string, program string, args ...string) []byte {
	t.Helper()
	path := filepath.Join(testkit.Root(t), ".setup", "clients", "bin", program)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("no HTTP clients: %v; run `make setup`", err)
	}
	limit := 3 * testkit.Patience
	if os.Getenv("DISTINFER_OPENAPI_EXAMPLES") != "" { // it may take as long as they take
		limit = time.Hour
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = t.TempDir()
	cmd.Env = append(append(os.Environ(), more...), "HF_HOME="+t.TempDir(), "HF_HUB_DISABLE_TELEMETRY=1",
		"PYTHONPATH="+filepath.Join(testkit.Root(t), "scripts", "clients"), "PYTHONDONTWRITEBYTECODE=1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", program, err, out, stderr.String())
	}
	return out
}

// called has a program of scripts/clients make calls, told by their named arguments, and
// returns the answers and the version of the client.
func called[Answer any](t *testing.T, calls []map[string]any, program string, args ...string) ([]Answer, string) {
	t.Helper()
	told, err := json.Marshal(calls)
	if err != nil {
		t.Fatal(err)
	}
	args = append(append([]string{filepath.Join(testkit.Root(t), "scripts", "clients", program)}, args...), string(told))
	var got struct {
		Version string
		Answers []Answer
	}
	if err := json.Unmarshal(clients(t, nil, "python", args...), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Answers) != len(calls) {
		t.Fatalf("%s: %d answers to %d calls", program, len(got.Answers), len(calls))
	}
	return got.Answers, got.Version
}

// sst2Front serves a model in two stages.
func sst2Front(t *testing.T, args ...string) (*server, string) {
	t.Helper()
	dir := split(t, "sst2-minilm", 2)
	_, first := stage(t, dir, 0)
	_, second := stage(t, dir, 1)
	return front(t, dir, []string{first, second}, args...)
}

func TestHuggingFacesClientGetsWhatTheUnsplitModelComputes(t *testing.T) {
	t.Parallel()
	_, url := sst2Front(t)
	w := wholeModel(t, "sst2-minilm")
	var calls []map[string]any
	for _, s := range dataset(t, "dev.tsv")[:4] {
		calls = append(calls, map[string]any{"text": s.text}, map[string]any{"text": s.text, "top_k": 1},
			map[string]any{"text": s.text, "function_to_apply": "none"}, map[string]any{"text": s.text, "function_to_apply": "sigmoid"})
	}
	answers, version := called[[]text.Result](t, calls, "huggingface.py", url, "text_classification")
	largest := 0.0
	for i, call := range calls {
		by, most := text.ByConfig, 2
		if name, told := call["function_to_apply"]; told {
			by = map[any]text.Function{"none": text.None, "sigmoid": text.Sigmoid}[name]
		}
		if call["top_k"] != nil {
			most = 1
		}
		asked := call["text"].(string)
		want, err := w.config.Results(w.logits(t, asked), by)
		if err != nil {
			t.Fatal(err)
		}
		largest = max(largest, sameResults(t, asked, want[:most], answers[i]))
	}
	measured(t, "huggingface_hub %s gets scores within %.1e of the unsplit model's", version, largest)
}

func TestHuggingFacesClientGetsTheEntitiesOfTransformers(t *testing.T) {
	t.Parallel()
	want, _ := tasksExpected(t)
	_, url := serveTask(t, taskModel(t, "tokens", nil))
	var calls []map[string]any
	var rows [][]expectedEntity
	for strategy, all := range want.Entities {
		name, label, ignoring := strings.Cut(strategy, ", ignoring ")
		for _, s := range want.Awkward { // the last texts
			call := map[string]any{"text": s, "aggregation_strategy": name}
			if ignoring {
				call["ignore_labels"] = []string{label}
			}
			calls = append(calls, call)
		}
		rows = append(rows, all[len(all)-len(want.Awkward):]...)
	}
	answers, version := called[[]entity](t, calls, "huggingface.py", url, "token_classification")
	largest, compared := 0.0, 0
	for i, row := range rows {
		largest = max(largest, sameEntities(t, fmt.Sprint(calls[i]), answers[i], row))
		compared += len(row)
	}
	measured(t, "huggingface_hub %s gets %d entities, with scores within %.1e of those of transformers", version, compared, largest)
}

// lastVectors returns the last 25 texts that there are expectations of, their vectors, and
// those of length 1.
func lastVectors(t *testing.T) (texts []string, raw, unit [][]float32) {
	t.Helper()
	const count, width = 25, 32
	want, texts := tasksExpected(t)
	numbers := want.Embeddings["mean"]
	for v := range slices.Chunk(numbers[len(numbers)-count*width:], width) {
		raw, unit = append(raw, v), append(unit, unitOf(v))
	}
	return texts[len(texts)-count:], raw, unit
}

func TestHuggingFacesClientGetsTheEmbeddingsOfSentenceTransformers(t *testing.T) {
	t.Parallel()
	texts, raw, unit := lastVectors(t)
	_, url := serveTask(t, taskModel(t, "embed", nil)) // without modules.json, which says of what length
	for at, wants := range map[string][][][]float32{url: {raw, unit, raw, raw[:1]}, url + "/embed": {unit, unit, raw, unit[:1]}} {
		calls := []map[string]any{
			{"text": texts},
			{"text": texts, "normalize": true, "truncate": true},
			{"text": texts, "normalize": false, "truncation_direction": "right"},
			{"text": texts[0]},
		}
		answers, version := called[[][]float32](t, calls, "huggingface.py", at, "feature_extraction")
		largest := 0.0
		for i, want := range wants {
			d := apart(t, answers[i], want)
			if !(d <= tolerance) {
				t.Errorf("%s: %v: the vectors differ by %g", at, calls[i], d)
			}
			largest = max(largest, d)
		}
		measured(t, "huggingface_hub %s gets vectors within %.1e of sentence-transformers'", version, largest)
	}
}

func TestOpenAIsClientGetsTheEmbeddingsOfSentenceTransformers(t *testing.T) {
	t.Parallel()
	texts, _, unit := lastVectors(t)
	_, url := serveTask(t, taskModel(t, "embed", nil))
	calls := []map[string]any{
		{"model": "any", "input": texts}, // as base64, which is the client's own choice
		{"model": "any", "input": texts, "encoding_format": "float", "dimensions": 32, "user": "someone"},
		{"model": "any", "input": texts[0]},
		{"model": "any", "input": ""},
		{"model": "any", "input": "a", "dimensions": 7},
		{"model": "any", "input": []int{1, 2}},
	}
	type answer struct {
		Base64 bool
		List   struct {
			Object, Model string
			Data          []struct {
				Object    string
				Index     int
				Embedding []float32
			}
			Usage struct {
				Prompt int `json:"prompt_tokens"`
				Total  int `json:"total_tokens"`
			}
		}
		Refused struct{ Message, Type string }
	}
	answers, version := called[answer](t, calls, "openai_embeddings.py", url)
	largest := 0.0
	for i, want := range []struct {
		base64 bool
		texts  int
	}{{true, len(texts)}, {false, len(texts)}, {true, 1}} {
		got := answers[i].List
		if answers[i].Base64 != want.base64 || got.Object != "list" || got.Model == "any" || got.Usage.Prompt < 3*want.texts || got.Usage.Total != got.Usage.Prompt {
			t.Errorf("%v: %+v", calls[i], answers[i])
		}
		var vectors [][]float32
		for k, one := range got.Data {
			if one.Object != "embedding" || one.Index != k {
				t.Errorf("%v: the vector %d is %+v", calls[i], k, one)
			}
			vectors = append(vectors, one.Embedding)
		}
		d := apart(t, vectors, unit[:want.texts])
		if !(d <= tolerance) {
			t.Errorf("%v: the vectors differ by %g", calls[i], d)
		}
		largest = max(largest, d)
	}
	for i, part := range map[int]string{3: "is empty", 4: "dimensions is 7", 5: "token ids are not taken"} {
		if got := answers[i].Refused; got.Type != "invalid_request_error" || !strings.Contains(got.Message, part) {
			t.Errorf("%v: %+v", calls[i], answers[i])
		}
	}
	measured(t, "openai %s gets vectors within %.1e of sentence-transformers'", version, largest)
}

// Everything that /openapi.json says is true of what is answered, and what it forbids
// is refused. How much is tried depends on DISTINFER_OPENAPI_EXAMPLES, as many of each
// operation; without it, only what is systematic, and what all tasks share is tried once.
func TestTheOpenAPIDocumentIsTrue(t *testing.T) {
	t.Parallel()
	examples := os.Getenv("DISTINFER_OPENAPI_EXAMPLES")
	for task, serve := range map[string]func(*testing.T) string{
		"labels":     func(t *testing.T) string { _, url := serveTask(t, split(t, "seed-rnn", 2)); return url },
		"entities":   func(t *testing.T) string { _, url := serveTask(t, taskModel(t, "tokens", nil)); return url },
		"embeddings": func(t *testing.T) string { _, url := serveTask(t, taskModel(t, "embed", nil)); return url },
	} {
		t.Run(task, func(t *testing.T) {
			t.Parallel()
			url := serve(t)
			args := []string{"--config-file", filepath.Join(testkit.Root(t), "scripts", "clients", "openapi.toml"), "run", url + "/openapi.json", "--no-color", "--generation-deterministic"}
			if examples != "" {
				args = append(args, "--phases", "examples,coverage,fuzzing", "--max-examples", examples)
			} else {
				args = append(args, "--phases", "examples,coverage")
				if task != "labels" {
					args = append(args, "--exclude-path-regex", "^/(v2|rows|events|metrics|status|healthz|readyz|page|openapi)")
				}
			}
			clients(t, []string{"DISTINFER_MODELS=" + servedModels(t, url)}, "schemathesis", args...)
		})
	}
}

// servedModels is a list of the metadata of the models that a front serves, in JSON.
func servedModels(t *testing.T, url string) string {
	t.Helper()
	var status struct{ Model struct{ Name string } }
	if _, body := fetch(t, http.MethodGet, url+"/status", ""); json.Unmarshal([]byte(body), &status) != nil {
		t.Fatal(body)
	}
	var models []json.RawMessage
	for _, name := range []string{status.Model.Name, status.Model.Name + "-text"} {
		if code, body := fetch(t, http.MethodGet, url+"/v2/models/"+name, ""); code == http.StatusOK {
			models = append(models, json.RawMessage(body))
		}
	}
	list, err := json.Marshal(models)
	if err != nil {
		t.Fatal(err)
	}
	return string(list)
}

// No path is in the document that leads nowhere, and the usual ones are in it.
func TestTheOpenAPIDocumentNamesOnlyWhatIsAnswered(t *testing.T) {
	t.Parallel()
	_, url := serveTask(t, taskModel(t, "embed", nil))
	_, body := fetch(t, http.MethodGet, url+"/openapi.json", "")
	var d struct{ Paths map[string]map[string]any }
	if err := json.Unmarshal([]byte(body), &d); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/", "/predict", "/embed", "/v1/embeddings", "/healthz", "/readyz", "/metrics", "/status", "/events", "/page/{file}", "/openapi.json", "/v2", "/v2/models/{model}/infer"} {
		if d.Paths[path] == nil {
			t.Errorf("%s is not described", path)
		}
	}
	of := strings.NewReplacer("{file}", "app.js", "{model}", "model", "{version}", "1")
	for path := range d.Paths {
		// DELETE is nowhere: where there is something, the answer tells what is possible.
		if status, got := fetch(t, http.MethodDelete, url+of.Replace(path), ""); status != http.StatusMethodNotAllowed {
			t.Errorf("%s: %d %s", path, status, got)
		}
	}
}

// An attack is what a hostile client does, over and over, on connections of its own.
type attack struct {
	what string
	do   func(t *testing.T, c net.Conn)
}

// head is a POST of which the body is sent by the attack.
func head(headers ...string) string {
	return "POST /predict HTTP/1.1\r\nHost: localhost\r\n" + strings.Join(headers, "\r\n") + "\r\n\r\n"
}

// sendAll sends a request and reads what comes.
func sendAll(request string) func(*testing.T, net.Conn) {
	return func(_ *testing.T, c net.Conn) {
		_, _ = io.WriteString(c, request)
		_, _ = io.CopyN(io.Discard, c, 1<<10)
	}
}

func attacks(t *testing.T) []attack {
	t.Helper()
	body := func(content string, headers ...string) func(*testing.T, net.Conn) {
		return sendAll(head(append(headers, "Transfer-Encoding: chunked")...) + strings.Join([]string{strconv.FormatInt(int64(len(content)), 16), content, "0", "", ""}, "\r\n"))
	}
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	if _, err := z.Write(bytes.Repeat([]byte(" "), 64<<20)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	hold := func(begin string) func(*testing.T, net.Conn) {
		return func(t *testing.T, c net.Conn) {
			_, _ = io.WriteString(c, begin)
			for range 40 { // a byte now and then
				if _, err := io.WriteString(c, "x"); err != nil {
					return
				}
				select {
				case <-t.Context().Done():
					return
				case <-time.After(50 * time.Millisecond):
				}
			}
		}
	}
	return []attack{
		{"headers that come slowly", hold("GET / HTTP/1.1\r\nX: ")},
		{"a body that comes slowly", hold(head("Content-Length: 4000000"))},
		{"a line that comes slowly", hold(head("Content-Type: application/x-ndjson", "Transfer-Encoding: chunked") + "ffff\r\n")},
		{"a body that is announced and never sent", hold(head("Content-Length: 4000000", "Expect: 100-continue"))},
		{"huge headers", sendAll("GET / HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n")},
		{"deep JSON", body(`{"inputs": ` + strings.Repeat("[", 1<<20))},
		{"deep options", body(`{"options": ` + strings.Repeat("[", 1<<20))},
		{"no numbers", body(`{"inputs": "a", "parameters": {"top_k": NaN}}`)},
		{"a key twice", body(`{"inputs": "a", "inputs": ["b"]}`)},
		{"no UTF-8", body("{\"inputs\": \"\xff\xfe\xed\xa0\x80\"}")},
		{"a list of 100,000", body(`{"inputs": [` + strings.Repeat(`"a",`, 99999) + `"a"]}`)},
		{"a bomb", body(bomb.String(), "Content-Encoding: gzip")},
		{"a body without an end", func(_ *testing.T, c net.Conn) {
			_, _ = io.WriteString(c, head("Transfer-Encoding: chunked"))
			for range 1000 {
				if _, err := io.WriteString(c, "10000\r\n"+strings.Repeat(" ", 1<<16)+"\r\n"); err != nil {
					return
				}
			}
		}},
		{"lengths that contradict each other", sendAll(head("Content-Length: 5", "Transfer-Encoding: chunked") + "0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n")},
		{"two lengths", sendAll(head("Content-Length: 5", "Content-Length: 6") + "123456")},
		{"pipelined requests", sendAll(strings.Repeat("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 50))},
		{"half of a connection", func(_ *testing.T, c net.Conn) {
			_, _ = io.WriteString(c, head("Content-Length: 100")+`{"inputs"`)
			_ = c.(*net.TCPConn).CloseWrite()
			_, _ = io.CopyN(io.Discard, c, 1<<10)
		}},
		{"no HTTP", sendAll("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")},
		{"frames of HTTP/2 that are reset", func(_ *testing.T, c net.Conn) {
			_, _ = io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
			for id := byte(1); id < 200; id += 2 { // HEADERS of GET /, then RST_STREAM
				_, err := io.WriteString(c, "\x00\x00\x03\x01\x05\x00\x00\x00"+string([]byte{id})+"\x82\x86\x84"+"\x00\x00\x04\x03\x00\x00\x00\x00"+string([]byte{id})+"\x00\x00\x00\x08")
				if err != nil {
					return
				}
			}
			_, _ = io.CopyN(io.Discard, c, 1<<10)
		}},
	}
}

func TestHostileClientsDoNoHarmToOthers(t *testing.T) {
	t.Parallel()
	s, url := sst2Front(t, "--max-connections", "200")
	address := strings.TrimPrefix(url, "http://")
	ctx, end := context.WithTimeout(t.Context(), 4*time.Second)
	defer end()
	var hostile sync.WaitGroup
	for _, a := range attacks(t) {
		for range 3 {
			hostile.Go(func() {
				for ctx.Err() == nil {
					c, err := net.Dial("tcp", address)
					if err != nil {
						t.Errorf("%s: %v", a.what, err)
						return
					}
					_ = c.SetDeadline(time.Now().Add(2 * time.Second))
					a.do(t, c)
					_ = c.Close()
					time.Sleep(50 * time.Millisecond)
				}
			})
		}
	}
	for range 300 { // more than may be at once, which do nothing
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
	}
	answered := 0
	for ; ctx.Err() == nil || answered < 10; answered++ {
		status, body := fetch(t, http.MethodPost, url+"/predict", `{"inputs": "a lovely film", "parameters": {"top_k": 1}}`)
		switch {
		case status == http.StatusTooManyRequests: // large bodies are bounded together
		case status != http.StatusOK || !strings.HasPrefix(body, `[[{"label":"positive"`):
			t.Fatalf("%d, %s", status, body)
		}
	}
	hostile.Wait()
	memory := residentMemory(t, s.cmd.Process.Pid)
	if memory > 600<<20 {
		t.Errorf("the front takes %d MB", memory>>20)
	}
	measured(t, "a front under %d attacks answers %d requests of one client, and takes at most %d MB", len(attacks(t)), answered, memory>>20)
}

// residentMemory is the most that a process ever took, in bytes.
func residentMemory(t *testing.T, pid int) int64 {
	t.Helper()
	status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	var kB int64
	for _, c := range strings.Fields(after)[0] {
		kB = kB*10 + int64(c-'0')
	}
	return kB << 10
}
