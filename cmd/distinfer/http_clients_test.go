package main_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/distinfer/distinfer/runtime/ort/orttest"
	"github.com/distinfer/distinfer/runtime/text"
)

// clients runs a program of .setup/clients with more in its environment, and returns what
// it prints.
func clients(t *testing.T, more []string, program string, args ...string) []byte {
	t.Helper()
	path := filepath.Join(orttest.Root(t), ".setup", "clients", "bin", program)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("no HTTP clients: %v; run `make setup`", err)
	}
	limit := 3 * patience
	if os.Getenv("DISTINFER_OPENAPI_EXAMPLES") != "" { // it may take as long as they take
		limit = time.Hour
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = t.TempDir()
	cmd.Env = append(append(os.Environ(), more...), "HF_HOME="+t.TempDir(), "HF_HUB_DISABLE_TELEMETRY=1",
		"PYTHONPATH="+filepath.Join(orttest.Root(t), "scripts", "clients"), "PYTHONDONTWRITEBYTECODE=1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", program, err, out, stderr.String())
	}
	return out
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
	var texts []string
	for _, s := range dataset(t, "dev.tsv")[:4] {
		texts = append(texts, s.text)
	}
	var got struct {
		Version                string
		All, Top, Raw, Sigmoid [][][2]any
	}
	program := filepath.Join(orttest.Root(t), "scripts", "clients", "huggingface.py")
	if err := json.Unmarshal(clients(t, nil, "python", append([]string{program, url}, texts...)...), &got); err != nil {
		t.Fatal(err)
	}
	check := func(texted string, answer [][2]any, by text.Function, most int) float64 {
		want, err := w.config.Results(w.logits(t, texted), by)
		if err != nil {
			t.Fatal(err)
		}
		var results []text.Result
		for _, r := range answer {
			results = append(results, text.Result{Label: r[0].(string), Score: r[1].(float64)})
		}
		return sameResults(t, texted, want[:most], results)
	}
	largest := 0.0
	for i, s := range texts {
		largest = max(largest, check(s, got.All[i], text.ByConfig, 2), check(s, got.Top[i], text.ByConfig, 1),
			check(s, got.Raw[i], text.None, 2), check(s, got.Sigmoid[i], text.Sigmoid, 2))
	}
	measured(t, "huggingface_hub %s gets scores within %.1e of the unsplit model's", got.Version, largest)
}

// Everything that /openapi.json says is true of what is answered, and what it forbids
// is refused.
func TestTheOpenAPIDocumentIsTrue(t *testing.T) {
	t.Parallel()
	examples := os.Getenv("DISTINFER_OPENAPI_EXAMPLES") // of each operation
	if examples == "" {
		examples = "5"
	}
	for task, serve := range map[string]func(*testing.T) string{
		"labels":     func(t *testing.T) string { _, url := sst2Front(t); return url },
		"entities":   func(t *testing.T) string { _, url := serveTask(t, taskModel(t, "tokens", nil)); return url },
		"embeddings": func(t *testing.T) string { _, url := serveTask(t, taskModel(t, "embed", nil)); return url },
	} {
		t.Run(task, func(t *testing.T) {
			t.Parallel()
			url := serve(t)
			var status struct{ Model struct{ Name string } }
			if _, body := fetch(t, http.MethodGet, url+"/status", ""); json.Unmarshal([]byte(body), &status) != nil {
				t.Fatal(body)
			}
			config := filepath.Join(orttest.Root(t), "scripts", "clients", "openapi.toml")
			clients(t, []string{"DISTINFER_MODEL=" + status.Model.Name}, "schemathesis", "--config-file", config, "run", url+"/openapi.json", "--no-color", "--generation-deterministic",
				"--phases", "examples,coverage,fuzzing", "--max-examples", examples)
		})
	}
}

// No path is in the document that leads nowhere; that none is missing holds front.Serve.
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
