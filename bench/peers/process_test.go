package peers

import (
	"context"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/distinfer/distinfer/server/load"
	"github.com/distinfer/distinfer/server/supervisor"
)

// Not parallel: all that this process starts is taken for the server's.
func TestAServerIsStoppedWithAllThatItStarted(t *testing.T) {
	if err := adopt(); err != nil {
		t.Skip(err)
	}
	r := &running{dir: t.TempDir(), launcher: supervisor.NewLauncher()}
	// The one in the background has a session of its own, and no parent.
	if err := r.run(command{args: []string{"sh", "-c", "(setsid sleep 600 &); sleep 600"}}); err != nil {
		t.Fatal(err)
	}
	var pids []int
	for len(pids) < 3 { // the shell and both
		var err error
		if pids, err = below(); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := r.memory(); n == 0 || err != nil {
		t.Errorf("their memory is %d: %v", n, err)
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if left, err := below(); len(left) > 0 || err != nil {
		t.Errorf("%v are left: %v", left, err)
	}
	if _, err := os.Stat(r.dir); err == nil {
		t.Error("its folder is left")
	}
}

func TestAServerThatEndsIsToldWithItsLog(t *testing.T) {
	if err := adopt(); err != nil {
		t.Skip(err)
	}
	commands := func(string, []int) []command {
		return []command{{args: []string{"sh", "-c", "echo the model is missing >&2; exit 3"}}}
	}
	_, _, err := start(t.Context(), time.Minute, commands, func(port int) load.Target { return query.target(port, nil) }, "a text")
	if err == nil || !strings.Contains(err.Error(), "ended before it answered") || !strings.Contains(err.Error(), "the model is missing") {
		t.Errorf("%v", err)
	}
}

func TestAnAnswerIsRightWithTheRightLabelOnly(t *testing.T) {
	right := map[string]string{"good": "positive"}
	for _, c := range []struct {
		name     string
		protocol protocol
		status   int
		body     string
		want     load.Verdict
	}{
		{"ours", hugging, 200, `[[{"label":"positive","score":0.9},{"label":"negative","score":0.1}]]`, load.Right},
		{"ours", hugging, 200, `[[{"label":"negative","score":0.9},{"label":"positive","score":0.1}]]`, load.Wrong},
		{"ours", hugging, 200, `[]`, load.Wrong},
		{"ours", hugging, 429, `{"error":"…"}`, load.Refused},
		{"FastAPI", object, 200, `{"label":"positive"}`, load.Right},
		{"FastAPI", object, 500, `{"label":"positive"}`, load.Failed},
		{"BentoML", list, 200, `["positive"]`, load.Right},
		{"BentoML", list, 200, `["positive","positive"]`, load.Wrong},
		{"BentoML", list, 503, ``, load.Refused},
		{"MLServer", v2, 200, `{"outputs":[{"name":"x","data":["positive"]}]}`, load.Right},
		{"MLServer", v2, 200, `{"outputs":[]}`, load.Wrong},
		{"2018", query, 200, "positive", load.Right},
		{"2018", query, 200, "negative", load.Wrong},
	} {
		if got := c.protocol.target(1, right).Judge("good", c.status, []byte(c.body)); got != c.want {
			t.Errorf("%s, %d %s is %s, not %s", c.name, c.status, c.body, got, c.want)
		}
	}
}

func TestATextIsAskedAboutWhole(t *testing.T) {
	const text = "a \"moving\" film & more\t100 %"
	for name, p := range map[string]protocol{"ours": hugging, "FastAPI": object, "BentoML": list, "MLServer": v2, "2018": query} {
		r, err := p.target(80, nil).Request(context.Background(), text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		asked := r.URL.Query().Get("text")
		if r.Method == http.MethodPost {
			body := make([]byte, r.ContentLength)
			_, _ = r.Body.Read(body)
			asked = string(body)
			if !strings.Contains(asked, `a \"moving\" film \u0026 more\t100 %`) {
				t.Errorf("%s: %s", name, asked)
			}
		} else if asked != text {
			t.Errorf("%s: %s", name, asked)
		}
	}
}
