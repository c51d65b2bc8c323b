package main_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	neturl "net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/distinfer/distinfer/runtime/ort"
	"github.com/distinfer/distinfer/runtime/ort/orttest"
	"github.com/distinfer/distinfer/runtime/testkit"
	"github.com/distinfer/distinfer/server/client"
)

// upURL waits for `up` and returns the URL it names.
func upURL(t *testing.T, s *server) string {
	t.Helper()
	return s.entry(t, "front listening", 1)["url"].(string)
}

func TestUpServesAModelRestartsADeadStageAndLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	temp := t.TempDir()
	cmd := command(t, temp, "up", modelFile(t, "seed-rnn"), "--stages", "2", "--port", "0", "--ask", "a good film", "--log-format", "json")
	cmd.Env = append(cmd.Env, "TMPDIR="+temp)
	s := startCommand(t, cmd)
	url := upURL(t, s)
	s.until(t, "the example's answer", func() bool {
		return strings.Contains(s.out.String(), `"a good film" is `) && strings.Contains(s.out.String(), "curl '"+url+"/?text=a%20good%20film'")
	})
	if status, body := fetch(t, "GET", url+"/?text=good", ""); status != 200 || body != "positive\n" && body != "negative\n" {
		t.Errorf("%d %q", status, body)
	}
	before := children(t, cmd.Process.Pid)
	if len(before) != 2 {
		t.Fatalf("%d child processes: %v", len(before), before)
	}
	for _, pid := range before {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	s.entry(t, "started again", 2)
	testkit.Eventually(t, "the front answers again", func() bool { status, _ := fetch(t, "GET", url+"/?text=good", ""); return status == 200 })
	after := children(t, cmd.Process.Pid)
	if len(after) != 2 || after[0] == before[0] || after[1] == before[1] {
		t.Errorf("child processes %v, before %v", after, before)
	}
	if code := s.stop(t, syscall.SIGINT); code != 0 {
		t.Errorf("exit code %d", code)
	}
	for _, pid := range after {
		if runs(pid) {
			t.Errorf("process %d is left behind", pid)
		}
	}
	if left, _ := os.ReadDir(temp); len(left) != 0 {
		t.Errorf("files left behind: %v", left)
	}
}

func TestStagesEndWithAnUpThatIsKilled(t *testing.T) {
	t.Parallel()
	bundle := split(t, "seed-rnn", 2)
	s := start(t, bundle, "up", "--bundle", bundle, "--port", "0")
	upURL(t, s)
	pids := children(t, s.cmd.Process.Pid)
	if len(pids) != 2 {
		t.Fatalf("child processes: %v", pids)
	}
	s.stop(t, syscall.SIGKILL)
	for _, pid := range pids {
		testkit.Eventually(t, "the stage ends", func() bool { return !runs(pid) })
	}
}

func TestUpSaysWhyAStageDoesNotStart(t *testing.T) {
	t.Parallel()
	bundle := split(t, "seed-rnn", 2)
	if err := os.WriteFile(filepath.Join(bundle, "stage-1.onnx"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := run(t, bundle, "", "up", "--bundle", bundle, "--port", "0")
	if r.code != 1 || !strings.Contains(r.stderr, "mixed files") || !strings.Contains(r.stderr, "stage 1 at") {
		t.Errorf("%+v", r)
	}
}

// What bad input gets: one line that says what, where and what to do, the right
// exit code, and nothing half-written.
func TestMistakesAreExplainedInOneLine(t *testing.T) {
	t.Parallel()
	good := split(t, "seed-rnn", 2)
	model := modelFile(t, "seed-rnn")
	data, err := os.ReadFile(model)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data, 0o600)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	mixed := split(t, "seed-rnn", 2)
	other, err := os.ReadFile(filepath.Join(split(t, "seed-rnn", 3), "stage-1.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(mixed, "stage-1.onnx"), other, 0o600); err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	port := fmt.Sprint(taken.Addr().(*net.TCPAddr).Port)
	readOnly := filepath.Join(dir, "file-not-folder")
	file("file-not-folder", nil)

	for _, c := range []struct {
		what string
		args []string
		code int
		says []string
	}{
		{"no model", []string{"split", filepath.Join(dir, "none.onnx")}, 1, []string{"there is no file", "none.onnx"}},
		{"not a model", []string{"split", file("text.onnx", []byte("hello, this is text\n"))}, 1, []string{"text.onnx is not a valid ONNX model"}},
		{"truncated", []string{"split", file("cut.onnx", data[:len(data)/2])}, 1, []string{"cut.onnx is not a valid ONNX model"}},
		{"a folder", []string{"split", t.TempDir()}, 1, []string{"holds no .onnx file", "nor do the folders in it"}},
		{"more stages than layers", []string{"split", model, "--stages", "40"}, 1, []string{"40 stages are more than the model has layers (3)", "ask for 3 or fewer"}},
		{"a number of stages that is none", []string{"split", model, "--stages", "two"}, 2, []string{`"two"`, "auto"}},
		{"two ways to cut", []string{"split", model, "--stages", "2", "--layers"}, 2, []string{"different ways"}},
		{"auto without machines", []string{"split", model, "--stages", "auto"}, 2, []string{"machines:", "config file"}},
		{"a machine without a name", []string{"split", model, "--stages", "auto", "--config", file("nameless.yaml", []byte("machines: [{speed: 2}]\n"))}, 2, []string{"machine 0", "name"}},
		{"a bandwidth without a unit", []string{"split", model, "--stages", "auto", "--config", file("unit.yaml", []byte("machines: [{name: a, bandwidth: 100}]\n"))}, 2, []string{`"a"`, "bandwidth", "Mbit/s"}},
		{"a machine's key that is not known", []string{"split", model, "--stages", "auto", "--config", file("ram.yaml", []byte("machines: [{name: a, ram: 4GB}]\n"))}, 2, []string{"ram"}},
		{"machines without memory", []string{"split", model, "--stages", "auto", "--config", file("small.yaml", []byte("machines: [{name: a, memory: 80MiB}]\n"))}, 1, []string{"does not fit", "needs"}},
		{"a place that is not there", []string{"split", model, "--at", "nowhere"}, 1, []string{"behind nowhere", "no value and no node"}},
		{"a place at the end", []string{"split", model, "--at", "logits"}, 1, []string{"behind logits", "nothing is behind it"}},
		{"too small stages", []string{"split", model, "--max-stage-bytes", "1kB"}, 1, []string{"limit is 1000 bytes", "raise"}},
		{"a size that is none", []string{"split", model, "--max-stage-bytes", "much"}, 2, []string{`"much"`, "500MB"}},
		{"a picture of no plan", []string{"version", "-o", "dot"}, 2, []string{"text or json"}},
		{"an unwritable folder", []string{"split", model, "--out", filepath.Join(readOnly, "stages")}, 1, []string{"file-not-folder", "not a directory"}},
		{"an existing bundle", []string{"split", model, "--out", good}, 1, []string{"holds a bundle already", "--force"}},
		{"a folder of something else", []string{"split", model, "--out", dir, "--force"}, 1, []string{"are not a bundle", "another folder"}},
		{"no MODEL", []string{"split"}, 2, []string{"MODEL"}},
		{"an unknown flag", []string{"split", model, "--stage", "2"}, 2, []string{"--stage"}},
		{"an unknown command", []string{"serve"}, 2, []string{`no command "serve"`}},
		{"no bundle", []string{"serve-stage", "--rank", "0", "--bundle", filepath.Join(dir, "none")}, 1, []string{"there is no such folder", "distinfer split"}},
		{"no rank", []string{"serve-stage", "--bundle", good}, 2, []string{"--rank is missing"}},
		{"a rank there is not", []string{"serve-stage", "--rank", "2", "--bundle", good}, 1, []string{"there is no rank 2", "0 to 1"}},
		{"mixed files", []string{"serve-stage", "--rank", "1", "--bundle", mixed}, 1, []string{"stage-1.onnx", "mixed files", "split the model again"}},
		{"mixed files, to predict", []string{"predict", "--bundle", mixed}, 1, []string{"mixed files"}},
		{"a stage's port in use", []string{"serve-stage", "--rank", "0", "--bundle", good, "--listen", "localhost:" + port}, 1, []string{port + " is in use", "--listen"}},
		{"the front's port in use", []string{"front", "--bundle", good, "--port", port}, 1, []string{port + " is in use", "--port"}},
		{"too few addresses", []string{"front", "--bundle", good, "--stages", "localhost:1"}, 1, []string{"has 2 stages", "names 1"}},
		{"not an address", []string{"front", "--bundle", good, "--stages", "localhost,localhost:2"}, 2, []string{`"localhost" is not host:port`}},
		{"no such library", []string{"version", "--onnxruntime", filepath.Join(dir, "libonnxruntime.so")}, 1, []string{"no such file", "name another", "DISTINFER_ONNXRUNTIME"}},
		{"not a library", []string{"version", "--onnxruntime", file("libtext.so", []byte("text"))}, 1, []string{"libtext.so", "name another"}},
		{"an unknown output", []string{"version", "-o", "xml"}, 2, []string{"text or json"}},
		{"an unknown key", []string{"version", "--config", file("typo.yaml", []byte("bundel: x\n"))}, 2, []string{`unknown key "bundel"`, "bundle"}},
		{"a key that is not for all", []string{"version", "--config", file("rank.yaml", []byte("rank: 1\n"))}, 2, []string{`"rank" differs`, "--rank"}},
		{"a value of another kind", []string{"version", "--config", file("kind.yaml", []byte("threads: many\n"))}, 2, []string{"threads"}},
		{"bad YAML", []string{"version", "--config", file("bad.yaml", []byte("a: [\n"))}, 2, []string{"bad.yaml"}},
		{"no config file", []string{"version", "--config", filepath.Join(dir, "none.yaml")}, 2, []string{"none.yaml", "no such file"}},
		{"no such column", []string{"predict", "--bundle", good, "--column", "nope", file("two.csv", []byte("a,b\n1,2\n"))}, 2, []string{`no column "nope"`, "a, b"}},
		{"which column", []string{"predict", "--bundle", good, file("two.tsv", []byte("a\tb\n1\t2\n"))}, 2, []string{"--column", "a, b"}},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			work := t.TempDir()
			r := run(t, work, "", c.args...)
			message, hint, _ := strings.Cut(strings.TrimSuffix(r.stderr, "\n"), "\n")
			if r.code != c.code {
				t.Errorf("exit code %d, want %d: %s", r.code, c.code, r.stderr)
			}
			for _, s := range c.says {
				if !strings.Contains(message, s) {
					t.Errorf("does not say %q: %s", s, r.stderr)
				}
			}
			if c.code == 1 && hint != "" || c.code == 2 && !strings.HasPrefix(hint, "See `distinfer") {
				t.Errorf("more than one line: %s", r.stderr)
			}
			if left, _ := os.ReadDir(work); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestSettingsComeFromFlagThenEnvironmentThenFileThenDefault(t *testing.T) {
	t.Parallel()
	bundle := split(t, "seed-rnn", 2)
	dir := t.TempDir()
	config := "bundle: " + bundle + "\nlog-format: text\nstages:\n  - [localhost:1, localhost:2]\n  - localhost:3\n"
	if err := os.WriteFile(filepath.Join(dir, "distinfer.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	// The bundle comes from the file; the format from the environment, which the
	// flag overrules.
	tokenize := func(env string, args ...string) string {
		cmd := command(t, dir, append([]string{"tokenize"}, args...)...)
		cmd.Env = append(cmd.Env, env)
		r := finish(t, cmd, "good\n")
		if r.code != 0 {
			t.Fatalf("%+v", r)
		}
		return r.stdout
	}
	if out := tokenize("X=1"); !strings.HasPrefix(out, "GO GO") && !strings.Contains(out, "\t0 0 0") {
		t.Errorf("file: %q", out)
	}
	if out := tokenize("DISTINFER_OUTPUT=json"); !strings.HasPrefix(out, `{"ids":[0,0`) {
		t.Errorf("environment: %q", out)
	}
	if out := tokenize("DISTINFER_OUTPUT=json", "-o", "text"); strings.HasPrefix(out, "{") {
		t.Errorf("flag: %q", out)
	}
	// The file's stages, with replicas, are what the front calls; one of two
	// replicas is there.
	_, second := stage(t, bundle, 1)
	_, first := stage(t, bundle, 0)
	config = fmt.Sprintf("bundle: %s\nstages:\n  - [%s]\n  - [localhost:1, '%s']\n", bundle, first, second)
	if err := os.WriteFile(filepath.Join(dir, "distinfer.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	url := start(t, dir, "front", "--port", "0").entry(t, "front listening", 1)["url"].(string)
	testkit.Eventually(t, "the front answers", func() bool { status, _ := fetch(t, "GET", url+"/?text=good", ""); return status == 200 })
}

func TestAStageListensWhereTheConfigFileHasItsRank(t *testing.T) {
	t.Parallel()
	bundle := split(t, "seed-rnn", 2)
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	own := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	// 203.0.113.0/24 is for documentation: never an address of this machine.
	config := fmt.Sprintf("bundle: %s\nstages: ['203.0.113.1:2222', ['203.0.113.2:2222', '%s']]\n", bundle, own)
	if err := os.WriteFile(filepath.Join(dir, "distinfer.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, dir, "serve-stage", "--rank", "1")
	if got := s.entry(t, "stage ready", 1)["listen"]; got != own {
		t.Errorf("listens at %v, want %v", got, own)
	}
	if r := run(t, dir, "", "serve-stage", "--rank", "0"); r.code != 1 || !strings.Contains(r.stderr, "is this machine's") || !strings.Contains(r.stderr, "--listen") {
		t.Errorf("%+v", r)
	}
}

func TestANameThatStandsForManyReplicasIsResolved(t *testing.T) {
	t.Parallel()
	bundle := split(t, "seed-rnn", 2)
	_, first := stage(t, bundle, 0)
	_, second := stage(t, bundle, 1)
	_, port, err := net.SplitHostPort(second)
	if err != nil {
		t.Fatal(err)
	}
	name := "dns:///localhost:" + port
	_, url := front(t, bundle, []string{first, name})
	if status, body := fetch(t, "GET", url+"/?text=good", ""); status != 200 {
		t.Errorf("%d %s", status, body)
	}
	// Whoever has it in his list listens at the address, not at the name.
	if r := run(t, bundle, "", "serve-stage", "--bundle", bundle, "--rank", "1", "--stages", first+","+name); r.code != 1 || !strings.Contains(r.stderr, "127.0.0.1:"+port+" is in use") {
		t.Errorf("%+v", r)
	}
}

func TestPredictReadsEveryFormatAndKeepsTheOrder(t *testing.T) {
	t.Parallel()
	bundle := split(t, "seed-rnn", 2)
	dir := t.TempDir()
	texts := []string{"a lovely film", "a waste of time", `he said "no", twice`, "déjà vu"}
	want := make([]string, len(texts))
	lines := strings.Split(strings.TrimSpace(ok(t, dir, strings.Join(texts, "\n"), "predict", "--bundle", bundle)), "\n")
	for i, line := range lines {
		want[i], _, _ = strings.Cut(line, "\t")
	}
	if len(lines) != 4 || want[0] != "positive" || want[1] != "negative" {
		t.Fatalf("%q", lines)
	}
	first, second := stageAddresses(t, bundle)
	_, url := front(t, bundle, []string{first, second})
	for name, content := range map[string]string{
		"lines.txt":  strings.Join(texts, "\r\n") + "\r\n",
		"a.csv":      "id,review\n1,a lovely film\n2,a waste of time\n3,\"he said \"\"no\"\", twice\"\n4,déjà vu\n",
		"a.tsv":      "review\tid\na lovely film\t1\na waste of time\t2\nhe said \"no\", twice\t3\ndéjà vu\t4\n",
		"a.jsonl":    "{\"review\":\"a lovely film\"}\n\"a waste of time\"\n{\"id\":3,\"review\":\"he said \\\"no\\\", twice\"}\n{\"review\":\"d\\u00e9j\\u00e0 vu\"}\n",
		"single.csv": "text\na lovely film\na waste of time\n\"he said \"\"no\"\", twice\"\ndéjà vu\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		args := []string{"predict", path}
		if strings.HasPrefix(name, "a.") {
			args = append(args, "--column", "review")
		}
		for _, via := range [][]string{{"--bundle", bundle}, {"--front", url}} {
			out := strings.Split(strings.TrimSpace(ok(t, dir, "", append(args, via...)...)), "\n")
			for i := range want {
				if len(out) != len(want) || !strings.HasPrefix(out[i], want[i]+"\t") {
					t.Errorf("%s %v: %q", name, via, out)
					break
				}
			}
		}
	}
}

func TestPredictSaysWhichTextsWereCut(t *testing.T) {
	t.Parallel()
	bundle := split(t, "sst2-minilm", 2)
	first, second := stageAddresses(t, bundle)
	_, cutting := front(t, bundle, []string{first, second}, "--max-tokens", "5")
	_, refusing := front(t, bundle, []string{first, second}, "--max-tokens", "5", "--truncation", "refuse")
	const input = "a lovely film\na waste of my time and money\ngood\n"
	for name, args := range map[string][]string{"here": {"--bundle", bundle, "--max-tokens", "5"}, "through a front": {"--front", cutting}} {
		r := run(t, t.TempDir(), input, append([]string{"predict", "-o", "json"}, args...)...)
		lines := strings.Split(strings.TrimSpace(r.stdout), "\n")
		if r.code != 0 || len(lines) != 3 || strings.Contains(lines[0]+lines[2], "truncated") || !strings.Contains(lines[1], `"truncated":true`) || !strings.Contains(r.stderr, "1 of 3 texts were cut") {
			t.Errorf("%s: %+v", name, r)
		}
	}
	c, err := client.New(client.Config{URL: refusing})
	if err != nil {
		t.Fatal(err)
	}
	var streamed []client.Answer
	keep := func(a client.Answer) error { streamed = append(streamed, a); return nil }
	if cut, err := c.Stream(t.Context(), strings.Lines(input), keep); len(cut) > 0 || err != nil || len(streamed) != 3 || streamed[1].Err == nil || streamed[2].Err != nil {
		t.Errorf("a stream that is refused: %v, %v, %+v", cut, err, streamed)
	}
	if c, err = client.New(client.Config{URL: cutting}); err != nil {
		t.Fatal(err)
	}
	if cut, err := c.Stream(t.Context(), strings.Lines(input), keep); !slices.Equal(cut, []int{1}) || err != nil || len(streamed) != 6 {
		t.Errorf("a stream that is cut: %v, %v, %+v", cut, err, streamed)
	}
	for name, args := range map[string][]string{"here": {"--bundle", bundle, "--max-tokens", "5", "--truncation", "refuse"}, "through a front": {"--front", refusing}} {
		r := run(t, t.TempDir(), input, append([]string{"predict"}, args...)...)
		lines := strings.Split(strings.TrimSpace(r.stdout), "\n")
		if r.code != 1 || len(lines) != 3 || lines[1] != "-\t-" || !strings.Contains(r.stderr, "line 2: ") || !strings.Contains(r.stderr, "the text has 9 tokens, more than the 5 that are read") {
			t.Errorf("%s, refusing: %+v", name, r)
		}
	}
	for _, c := range [][]string{{"--truncation", "maybe"}, {"--max-tokens", "-1"}, {"--max-tokens", "5", "--front", cutting}} {
		if r := run(t, t.TempDir(), input, append([]string{"predict"}, c...)...); r.code != 2 || !strings.Contains(r.stderr, c[0]) {
			t.Errorf("%v: %+v", c, r)
		}
	}
}

func stageAddresses(t *testing.T, bundle string) (first, second string) {
	t.Helper()
	_, first = stage(t, bundle, 0)
	_, second = stage(t, bundle, 1)
	return first, second
}

func TestABadLineIsReportedAndDoesNotStopTheRun(t *testing.T) {
	t.Parallel()
	bundle := split(t, "seed-rnn", 2)
	input := "{\"text\":\"good\"}\nnot json\n{\"text\":\"\"}\n{\"other\":1}\n\"bad\"\n"
	r := run(t, t.TempDir(), input, "predict", "--bundle", bundle, "--format", "jsonl", "-o", "json")
	lines := strings.Split(strings.TrimSpace(r.stdout), "\n")
	if r.code != 1 || len(lines) != 5 {
		t.Fatalf("%+v", r)
	}
	for i, line := range lines {
		var o struct {
			Line         int
			Label, Error string
		}
		if err := json.Unmarshal([]byte(line), &o); err != nil || o.Line != i+1 {
			t.Fatalf("%s: %v", line, err)
		}
		if bad := i >= 1 && i <= 3; bad != (o.Error != "") || bad == (o.Label != "") {
			t.Errorf("%s", line)
		}
	}
	for _, s := range []string{"line 2: not a JSON", "line 3: the text is empty", `line 4: the object has no string in field "text"`, "3 of 5 lines"} {
		if !strings.Contains(r.stderr, s) {
			t.Errorf("does not say %q: %s", s, r.stderr)
		}
	}
	if strings.ContainsRune(r.stderr, '\r') {
		t.Error("a progress bar in a pipe")
	}
}

func TestPredictThroughAFrontNamesWhatTheFrontSays(t *testing.T) {
	t.Parallel()
	r := run(t, t.TempDir(), "good\n", "predict", "--front", "http://127.0.0.1:1")
	if r.code != 1 || !strings.Contains(r.stderr, "ask the front") || !strings.Contains(r.stderr, "127.0.0.1:1") {
		t.Errorf("%+v", r)
	}
}

func TestPredictAsksWhatTheFrontAnswers(t *testing.T) {
	t.Parallel()
	for body, says := range map[string]string{
		`{"no_text": "there is no tokenizer.json"}`: "answers no texts: there is no tokenizer.json",
		`{}`:                              "does not tell a task",
		`<p>`:                             "does not tell a task",
		`{"task": "text-classification"}`: "there is no label",
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/predict" {
				body = "[[]]"
			}
			_, _ = io.WriteString(w, body)
		}))
		t.Cleanup(s.Close)
		if r := run(t, t.TempDir(), "good\n", "predict", "--front", s.URL); r.code != 1 || !strings.Contains(r.stderr, says) || r.stdout != "" {
			t.Errorf("%s: %+v", body, r)
		}
	}
}

func TestTokenizeShowsIdsAndTokens(t *testing.T) {
	t.Parallel()
	tokenizer := filepath.Join(testkit.Root(t), "models", "sst2-minilm", "tokenizer.json")
	out := ok(t, t.TempDir(), "A lovely film\n\nunaffable \U0001F600\n", "tokenize", "--tokenizer", tokenizer, "-o", "json")
	want := `{"ids":[101,1037,8403,2143,102],"tokens":["[CLS]","a","lovely","film","[SEP]"]}
{"ids":[101,102],"tokens":["[CLS]","[SEP]"]}
{"ids":[101,14477,20961,3468,100,102],"tokens":["[CLS]","una","##ffa","##ble","[UNK]","[SEP]"]}
`
	if out != want {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
	if out := ok(t, t.TempDir(), "A film", "tokenize", "--tokenizer", tokenizer); out != "[CLS] a film [SEP]\t101 1037 2143 102\n" {
		t.Errorf("%q", out)
	}
}

func TestSplitAndVersionSpeakJSON(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var report struct {
		Out, Bundle  string
		Manifest     struct{ Stages []struct{ Nodes int } }
		Verification struct{ Runs int }
	}
	if err := json.Unmarshal([]byte(ok(t, dir, "", "split", modelFile(t, "seed-rnn"), "--stages", "3", "-o", "json")), &report); err != nil {
		t.Fatal(err)
	}
	if report.Out != "stages" || len(report.Bundle) != 64 || len(report.Manifest.Stages) != 3 || report.Verification.Runs == 0 {
		t.Errorf("%+v", report)
	}
	var version struct{ Distinfer, ONNXRuntime, Library string }
	if err := json.Unmarshal([]byte(ok(t, dir, "", "version", "-o", "json")), &version); err != nil {
		t.Fatal(err)
	}
	if version.Distinfer == "" || version.ONNXRuntime == "" || version.Library == "" {
		t.Errorf("%+v", version)
	}
}

func TestEveryCommandsHelpHasExamples(t *testing.T) {
	t.Parallel()
	for _, c := range []string{"split", "verify", "serve-stage", "front", "up", "check", "predict", "bench", "tokenize", "certs", "version"} {
		out := ok(t, t.TempDir(), "", c, "--help")
		if !strings.Contains(out, "Examples:") || strings.Count(out, "distinfer "+c) < 2 {
			t.Errorf("%s: %s", c, out)
		}
	}
}

func TestTextsOfEveryKindReachTheModelUnharmed(t *testing.T) {
	t.Parallel()
	bundle := split(t, "sst2-minilm", 2)
	first, second := stageAddresses(t, bundle)
	_, url := front(t, bundle, []string{first, second})
	w := wholeModel(t, "sst2-minilm")
	for _, s := range []string{"ünïcödé", "日本の映画", "🎬👍🏽", "a+b&c=d#e%41", "new\nline\ttab", strings.Repeat("long ", 2000), "[SEP] [CLS]", "\u202eabc", " "} {
		status, body := fetch(t, "GET", url+"/?text="+neturl.QueryEscape(s), "")
		if want := w.results(t, s)[0].Label + "\n"; status != 200 || body != want {
			t.Errorf("%.40q: %d %q, want %q", s, status, body, want)
		}
	}
	// Not UTF-8: replaced, as docs say, not refused.
	status, body := fetch(t, "GET", url+"/?text=%ff%fe", "")
	if want := w.results(t, "\ufffd\ufffd")[0].Label + "\n"; status != 200 || body != want {
		t.Errorf("%d %q, want %q", status, body, want)
	}
}

// However the program was installed, it finds its library, and says how to bring back one that
// is missing.
func TestONNXRuntimeIsFoundInEveryInstallation(t *testing.T) {
	t.Parallel()
	program, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, program, sign, library, bill, remedy string }{
		{"archive", "distinfer", "lib/", "lib/libonnxruntime.so", "distinfer.cdx.json", "unpack the whole archive"},
		{"package", "usr/bin/distinfer", "usr/lib/distinfer/", "usr/lib/distinfer/libonnxruntime.so", "usr/share/doc/distinfer/distinfer.cdx.json", "install the package"},
		{"image", "usr/bin/distinfer", "usr/share/distinfer/image.cdx.json", "usr/lib/distinfer/libonnxruntime.so", "usr/share/distinfer/image.cdx.json", "pull the image"},
		{"wheel", "site-packages/distinfer/bin/distinfer", "site-packages/distinfer/__init__.py", "site-packages/onnxruntime/capi/libonnxruntime.so.1.32.0", "site-packages/distinfer-1.0.0.dist-info/sboms/distinfer.cdx.json", "pip install --force-reinstall 'onnxruntime"},
		{"checkout", "bin/distinfer", "go.mod", ort.SetupDir + "/libonnxruntime.so", "", "make setup"},
		{"unknown", "bin/distinfer", "bin/", "bin/lib/libonnxruntime.so", "", "copy the folder lib/"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir, err := filepath.EvalSymlinks(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			place := func(name string, content []byte) {
				path := filepath.Join(dir, name)
				err := os.MkdirAll(filepath.Dir(path), 0o755)
				if strings.HasSuffix(name, "/") {
					err = os.MkdirAll(path, 0o755)
				} else if err == nil {
					err = os.WriteFile(path, content, 0o755)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			place(c.program, program)
			place(c.sign, nil)
			link := filepath.Join(dir, "link")
			if err := os.Symlink(filepath.Join(dir, c.program), link); err != nil {
				t.Fatal(err)
			}
			version := func(args ...string) result {
				cmd := command(t, t.TempDir(), append([]string{"version"}, args...)...)
				cmd.Path = link
				cmd.Env = slices.DeleteFunc(cmd.Env, func(e string) bool { return strings.HasPrefix(e, "DISTINFER_") })
				return finish(t, cmd, "")
			}
			if r := version(); r.code == 0 {
				t.Log("ONNX Runtime is installed on this system, so that nothing is missing")
			} else {
				for _, s := range []string{filepath.Dir(filepath.Join(dir, c.library)), "libonnxruntime.so (not found", "libonnxruntime.so.1 (not found", c.remedy, "--onnxruntime"} {
					if !strings.Contains(r.stderr, s) {
						t.Errorf("does not say %q: %s", s, r.stderr)
					}
				}
			}
			library := filepath.Join(dir, c.library)
			if err := errors.Join(os.MkdirAll(filepath.Dir(library), 0o755), os.Symlink(orttest.Path(t), library)); err != nil {
				t.Fatal(err)
			}
			if r := version(); r.code != 0 || !strings.Contains(r.stdout, "("+library+")") {
				t.Errorf("with its library: %+v", r)
			}
			if c.bill != "" {
				place(c.bill, nil)
			}
			var v struct{ Installation, SBOM string }
			if r := version("-o", "json"); json.Unmarshal([]byte(r.stdout), &v) != nil || c.bill != "" && v.SBOM != filepath.Join(dir, c.bill) || c.bill == "" && v.SBOM != "" {
				t.Errorf("with its bill: %+v", r)
			}
			if want := strings.Replace(c.name, "unknown", "archive", 1); v.Installation != want { // it has lib/ by now
				t.Errorf("is %s, not %s", v.Installation, want)
			}
		})
	}
}

// A text that a front refuses is reported as its line is, among others that are
// labelled.
func TestATextThatTheFrontRefusesDoesNotStopTheRun(t *testing.T) {
	t.Parallel()
	bundle := split(t, "sst2-minilm", 2)
	first, second := stageAddresses(t, bundle)
	_, url := front(t, bundle, []string{first, second}, "--max-body", "2048", "--max-texts", "3")
	input := "a lovely film\n" + strings.Repeat("long ", 1000) + "\na waste of time\n" + strings.Repeat("good\n", 5)
	r := run(t, t.TempDir(), input, "predict", "--front", url)
	lines := strings.Split(strings.TrimSpace(r.stdout), "\n")
	if r.code != 1 || len(lines) != 8 || !strings.HasPrefix(lines[0], "positive") || lines[1] != "-\t-" || !strings.HasPrefix(lines[2], "negative") || !strings.HasPrefix(lines[7], "positive") {
		t.Errorf("%+v", r)
	}
	if !strings.Contains(r.stderr, "line 2: ") || !strings.Contains(r.stderr, "1 of 8 lines") {
		t.Errorf("%s", r.stderr)
	}
}

func TestSettingsOutOfRangeAreRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, c := range []struct{ flag, file, says string }{
		{"--timeout=-5s", "", `--timeout is "-5s"; it can be 1ms to 24h`},
		{"--timeout=0", "", `--timeout is "0"; it can be 1ms to 24h`},
		{"--timeout=5", "", `--timeout is "5"; a time needs a unit, such as 5s`},
		{"--max-body=0", "", `--max-body is "0"; it can be 1024 to 1073741824`},
		{"--max-texts=0", "", `--max-texts is "0"; it can be 1 to`},
		{"--max-message=-1", "", `--max-message is "-1"; it can be`},
		{"", "timeout: 5", "timeout is 5; a time needs a unit, such as 5s"},
		{"", "port: 9210.7", "port is 9210.7; it is not a whole number"},
		{"", "max-texts: 0", "max-texts is 0; it can be 1 to"},
	} {
		args := []string{"front"}
		if c.flag != "" {
			args = append(args, c.flag)
		}
		if c.file != "" {
			path := filepath.Join(dir, "config.yaml")
			if err := os.WriteFile(path, []byte(c.file+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			args = append(args, "--config", path)
		}
		if r := run(t, dir, "", args...); r.code != 2 || !strings.Contains(r.stderr, c.says) {
			t.Errorf("%s%s: %+v", c.flag, c.file, r)
		}
	}
}
