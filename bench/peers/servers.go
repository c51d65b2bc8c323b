package peers

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	neturl "net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/distinfer/distinfer/server/load"
)

// Where the Makefile's target puts the servers to compare with, and their apps.
const (
	venvs = ".setup/bench-peers"
	apps  = "scripts/bench-peers"
)

// A server is one way to serve the model by HTTP.
type server struct {
	name, about string
	ours        bool
	venv        string // the server's virtual environment, unless it is ours
	// commands are its processes, the first to start first. It listens on the
	// first of the ports, and may use the others.
	commands func(dir string, ports []int) []command
	asked    protocol
}

// A protocol says how a server is asked about a text, and where in its answer
// the label is.
type protocol struct {
	request func(ctx context.Context, base, text string) (*http.Request, error)
	label   func(body []byte) (string, error)
}

// target is the server as the load generator knows it.
func (p protocol) target(port int, right map[string]string) load.Target {
	base := "http://127.0.0.1:" + strconv.Itoa(port)
	return load.Target{
		Request: func(ctx context.Context, text string) (*http.Request, error) { return p.request(ctx, base, text) },
		Judge: func(text string, status int, body []byte) load.Verdict {
			switch status {
			case http.StatusOK:
			case http.StatusTooManyRequests, http.StatusServiceUnavailable:
				return load.Refused
			default:
				return load.Failed
			}
			if label, err := p.label(body); err != nil || label != right[text] {
				return load.Wrong
			}
			return load.Right
		},
	}
}

// post asks by a body of JSON.
func post(path string, body func(text string) any) func(context.Context, string, string) (*http.Request, error) {
	return func(ctx context.Context, base, text string) (*http.Request, error) {
		b, err := json.Marshal(body(text))
		if err != nil {
			return nil, err
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, base+path, bytes.NewReader(b))
		if err == nil {
			r.Header.Set("Content-Type", "application/json")
		}
		return r, err
	}
}

// inJSON finds the label in an answer of the type T.
func inJSON[T any](label func(T) (string, bool)) func([]byte) (string, error) {
	return func(body []byte) (string, error) {
		var answer T
		if err := json.Unmarshal(body, &answer); err != nil {
			return "", err
		}
		found, ok := label(answer)
		if !ok {
			return "", fmt.Errorf("no label in %.200s", body)
		}
		return found, nil
	}
}

type labelled struct{ Label string }

var (
	hugging = protocol{
		post("/predict", func(text string) any { return map[string]string{"inputs": text} }),
		inJSON(func(texts [][]labelled) (string, bool) {
			if len(texts) != 1 || len(texts[0]) == 0 {
				return "", false
			}
			return texts[0][0].Label, true
		}),
	}
	object = protocol{
		post("/predict", func(text string) any { return map[string]string{"text": text} }),
		inJSON(func(l labelled) (string, bool) { return l.Label, l.Label != "" }),
	}
	list = protocol{
		post("/predict", func(text string) any { return map[string][]string{"texts": {text}} }),
		inJSON(func(labels []string) (string, bool) { return strings.Join(labels, ","), len(labels) == 1 }),
	}
	v2 = protocol{
		post("/v2/models/classifier/infer", func(text string) any {
			return map[string]any{"inputs": []any{map[string]any{"name": "text", "shape": []int{1}, "datatype": "BYTES", "data": []string{text}}}}
		}),
		inJSON(func(a struct{ Outputs []struct{ Data []string } }) (string, bool) {
			if len(a.Outputs) != 1 || len(a.Outputs[0].Data) != 1 {
				return "", false
			}
			return a.Outputs[0].Data[0], true
		}),
	}
	query = protocol{
		func(ctx context.Context, base, text string) (*http.Request, error) {
			return http.NewRequestWithContext(ctx, http.MethodGet, base+"/?text="+neturl.QueryEscape(text), nil)
		},
		func(body []byte) (string, error) { return strings.TrimSpace(string(body)), nil },
	}
)

// A place is where things are, as absolute paths.
type place struct {
	root, binary, library string
	model                 string // the model's file
	stages                string // folder of it, split in two
}

// distinfer serves a split model as anybody would: a process a stage, a front,
// and no setting but addresses and what is in the environment.
func distinfer(p place, name, about, stages string, ranks int, environment ...string) server {
	return server{name: name, about: about, ours: true, asked: hugging, commands: func(_ string, ports []int) []command {
		var addresses []string
		for rank := range ranks {
			addresses = append(addresses, "localhost:"+strconv.Itoa(ports[1+rank]))
		}
		var commands []command
		env := append([]string{"DISTINFER_ONNXRUNTIME=" + p.library}, environment...)
		for rank, address := range addresses {
			commands = append(commands, command{[]string{p.binary, "serve-stage", "--bundle", stages, "--rank", strconv.Itoa(rank), "--listen", address}, env})
		}
		return append(commands, command{[]string{p.binary, "front", "--bundle", stages, "--stages", strings.Join(addresses, ","), "--port", strconv.Itoa(ports[0])}, env})
	}}
}

// settings are those of a peer's app, which reads them as
// scripts/bench-peers/classifier.py says.
func (p place) settings(ports []int, workers, threads int) []string {
	return []string{
		"MODEL=" + p.model, "STAGES=" + p.stages, "PORT=" + strconv.Itoa(ports[0]),
		fmt.Sprintf("PORTS=%d,%d,%d", ports[0], ports[1], ports[2]),
		"WORKERS=" + strconv.Itoa(workers), "THREADS=" + strconv.Itoa(threads),
		"PYTHONPATH=" + filepath.Join(p.root, apps), "PYTHONDONTWRITEBYTECODE=1",
		"RAY_worker_niceness=0", // else the load generator would come first
		// They must not tell anybody that they are used.
		"BENTOML_DO_NOT_TRACK=True", "RAY_USAGE_STATS_ENABLED=0", "HF_HUB_OFFLINE=1",
	}
}

func (p place) program(venv, name string) string {
	return filepath.Join(p.root, venvs, venv, "bin", name)
}

// peers are the servers to compare with. Which form of one is its best depends on
// the machine and the model, so that there are several of most.
func (p place) peers(processors int) []server {
	each := fmt.Sprintf("%d threads", processors)
	workers := fmt.Sprintf("%d workers of one thread", processors)
	return []server{
		p.fastapi("fastapi", "FastAPI, a run a request, "+each, "fastapi_app", 1, processors),
		p.fastapi("fastapi-sorted", "FastAPI, batches made by hand, sorted and in pieces, "+workers, "fastapi_sorted_app", processors, 1),
		p.bentoml("bentoml", "BentoML, adaptive batching, "+each, 1, processors),
		p.bentoml("bentoml-workers", "BentoML, adaptive batching, "+workers, processors, 1),
		p.ray("ray", "Ray Serve, batching, one deployment, "+each, "one", processors),
		p.ray("ray-chained", "Ray Serve, batching, the two stages chained, "+each+" each", "chained", processors),
		p.mlserver("mlserver", "MLServer, adaptive batching, V2 over REST, in its process, "+each, 0, processors),
		p.mlserver("mlserver-workers", "MLServer, adaptive batching, V2 over REST, "+workers, processors, 1),
	}
}

func (p place) fastapi(name, about, app string, workers, threads int) server {
	return server{name: name, about: about, venv: "fastapi", asked: object, commands: func(_ string, ports []int) []command {
		return []command{{
			[]string{p.program("fastapi", "uvicorn"), app + ":app", "--host", "127.0.0.1", "--port", strconv.Itoa(ports[0]), "--workers", strconv.Itoa(workers), "--no-access-log"},
			p.settings(ports, workers, threads),
		}}
	}}
}

func (p place) bentoml(name, about string, workers, threads int) server {
	return server{name: name, about: about, venv: "bentoml", asked: list, commands: func(_ string, ports []int) []command {
		return []command{{
			[]string{p.program("bentoml", "bentoml"), "serve", "bentoml_app:Service", "--host", "127.0.0.1", "--port", strconv.Itoa(ports[0]), "--working-dir", filepath.Join(p.root, apps)},
			p.settings(ports, workers, threads),
		}}
	}}
}

func (p place) ray(name, about, form string, threads int) server {
	return server{name: name, about: about, venv: "ray", asked: object, commands: func(dir string, ports []int) []command {
		return []command{{
			[]string{p.program("ray", "python"), filepath.Join(p.root, apps, "ray_app.py"), form, filepath.Join(dir, "ray")},
			p.settings(ports, 1, threads),
		}}
	}}
}

func (p place) mlserver(name, about string, workers, threads int) server {
	return server{name: name, about: about, venv: "mlserver", asked: v2, commands: func(dir string, ports []int) []command {
		return []command{{
			[]string{p.program("mlserver", "python"), filepath.Join(p.root, apps, "mlserver_app.py"), dir},
			p.settings(ports, workers, threads),
		}}
	}}
}

// original is how seed-rnn was served in 2018: by two processes of a web server
// over two TensorFlow servers that hold a layer each.
func (p place) original() server {
	home := filepath.Join(p.root, apps, "seed_rnn_tensorflow")
	return server{
		name: originalName, about: "the 2018 system's Flask and TensorFlow, two processes over two TensorFlow servers",
		venv: "tensorflow", asked: query, commands: func(_ string, ports []int) []command {
			env := []string{
				fmt.Sprintf("BACKENDS=127.0.0.1:%d,127.0.0.1:%d", ports[1], ports[2]), "WEIGHTS=" + filepath.Join(p.root, "models/testdata/seed-rnn"),
				"PYTHONPATH=" + home, "PYTHONDONTWRITEBYTECODE=1",
			}
			backend := filepath.Join(home, "backend.py")
			return []command{
				{[]string{p.program("tensorflow", "python"), backend, "0"}, env},
				{[]string{p.program("tensorflow", "python"), backend, "1"}, env},
				{[]string{p.program("tensorflow", "gunicorn"), "--timeout", "120", "--workers", "2", "--worker-class", "eventlet", "--bind", "127.0.0.1:" + strconv.Itoa(ports[0]), "app:app"}, env},
			}
		},
	}
}

// missing says why a server cannot be run here, or nothing.
func (s server) missing(root string) string {
	if s.ours {
		return ""
	}
	home := filepath.Join(root, venvs, s.venv)
	if _, err := os.Stat(filepath.Join(home, "requirements.txt")); err == nil {
		return ""
	}
	log, err := os.ReadFile(home + ".failed")
	if err != nil || len(bytes.TrimSpace(log)) == 0 {
		return "not installed: run " + apps + "/setup.sh " + s.venv
	}
	lines := strings.Split(strings.TrimSpace(string(log)), "\n")
	return "not installable: " + lines[len(lines)-1]
}
