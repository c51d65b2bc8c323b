package front_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	neturl "net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/distinfer/distinfer/runtime/classify"
	"github.com/distinfer/distinfer/runtime/classify/classifytest"
	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/testkit"
	"github.com/distinfer/distinfer/server/batch"
	"github.com/distinfer/distinfer/server/front"
	"github.com/distinfer/distinfer/server/task"
)

const tokenizerJSON = `{"version": "1.0", "pre_tokenizer": {"type": "WhitespaceSplit"}, "model": {"type": "WordLevel", "unk_token": "[UNK]",
"vocab": {"[PAD]": 0, "[UNK]": 1, "good": 2, "bad": 3, "größte": 4, "日本": 5, "100%": 6, "a+b": 7, "nan": 8, "�": 9, "block": 10}}}`

const configJSON = `{"problem_type": "regression", "id2label": {"0": "negative", "1": "positive", "2": "neutral"}}`

// Ids of words that mean something to judge.
const (
	bad   = 3
	nan   = 8
	block = 10
)

// judge answers, for a text of one word with the given id, the logits
// negative -id, positive id, and neutral 0.5; bad turns them round.
type judge struct {
	err     error                // answered instead, when it is set
	running chan context.Context // told of runs with the word "block", which
	release chan struct{}        // then wait for this
}

func (j *judge) Run(ctx context.Context, in tensor.Bag) (tensor.Bag, error) {
	if j.err != nil {
		return nil, j.err
	}
	ids, err := tensor.As[int64](in["input_ids"])
	if err != nil {
		return nil, err
	}
	shape := in["input_ids"].Shape
	var logits []float32
	for row := range shape[0] {
		id := ids[row*shape[1]]
		if id == block {
			j.running <- ctx
			select {
			case <-j.release:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		l := float32(id)
		switch id {
		case bad:
			l = -l
		case nan:
			l = float32(math.NaN())
		}
		logits = append(logits, -l, l, 0.5)
	}
	return tensor.Bag{"logits": tensor.Of([]int64{shape[0], 3}, logits)}, nil
}

func newJudge() *judge {
	return &judge{running: make(chan context.Context, 100), release: make(chan struct{})}
}

// most is how many texts a front of these tests takes.
const most = 8

// judged is a model whose answers are those of j.
func judged(t testing.TB, j *judge) front.Model {
	t.Helper()
	m := classifytest.Model{
		Tokenizer: tokenizerJSON, Config: configJSON,
		Inputs:  classifytest.Usual.Inputs[:2],
		Outputs: []tensor.Spec{classifytest.Spec("logits", tensor.Float32, classifytest.Batch, tensor.Fixed(3))},
	}
	c, err := classify.Open(m.Bundle(t), j)
	if err != nil {
		t.Fatal(err)
	}
	return front.Model{Texts: texts(c, most), Ready: func(context.Context) error { return nil }}
}

// texts answers texts with a classifier, at most as many at a time.
func texts(c *classify.Classifier, most int) *front.Texts {
	return &front.Texts{
		Task:    task.Classification{Classifier: c},
		Batcher: batch.New(batch.Config{Model: c.Model, MaxTexts: most, Begin: 4, Log: slog.New(slog.DiscardHandler)}),
	}
}

// takes makes the model take at most as many texts at a time.
func takes(m *front.Model, most int) {
	m.Texts = texts(m.Texts.Task.(task.Classification).Classifier, most)
}

// logBuffer is a log whose lines about requests are found.
type logBuffer struct{ testkit.Log }

// lines are the lines logged of requests, once there are as many as wanted: a
// line is written after the response.
func (b *logBuffer) lines(t testing.TB, want int) []string {
	t.Helper()
	for end := time.Now().Add(testkit.Patience); ; time.Sleep(5 * time.Millisecond) {
		lines := strings.Split(strings.TrimSpace(b.String()), "\n")
		lines = slices.DeleteFunc(lines, func(l string) bool { return !strings.Contains(l, "msg=request") })
		if len(lines) >= want {
			return lines
		}
		if time.Now().After(end) {
			t.Fatalf("%d lines are logged, want %d: %q", len(lines), want, lines)
		}
	}
}

// A site is a front that is being served.
type site struct {
	front  *front.Front
	url    string
	judge  *judge
	log    *logBuffer
	client *http.Client
	stop   context.CancelFunc
	served chan error
	once   sync.Once
}

func (s *site) wait(t testing.TB) {
	t.Helper()
	s.once.Do(func() {
		select {
		case err := <-s.served:
			if err != nil {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(testkit.Patience):
			t.Error("Serve does not return")
		}
	})
}

// A setup is all that a front is made of.
type setup struct {
	front.Config
	front.Model
}

func usualSetup(t testing.TB, j *judge) (setup, *logBuffer) {
	log := &logBuffer{}
	return setup{
		front.Config{MaxBody: 4096, Timeout: testkit.Patience, Log: slog.New(slog.NewTextHandler(log, nil))},
		judged(t, j),
	}, log
}

// serve serves a front, changed by change, until the test ends.
func serve(t testing.TB, change func(*setup, *judge)) *site {
	t.Helper()
	j := newJudge()
	c, log := usualSetup(t, j)
	if change != nil {
		change(&c, j)
	}
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	transport := &http.Transport{}
	s := &site{
		front: front.New(c.Config, c.Model),
		url:   "http://" + l.Addr().String(), judge: j, log: log, stop: cancel, served: make(chan error, 1),
		client: &http.Client{Transport: transport, Timeout: testkit.Patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
	go func() { s.served <- s.front.Serve(ctx, l) }()
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		cancel()
		s.wait(t)
	})
	return s
}

// An answer is a response that was read.
type answer struct {
	status int
	header http.Header
	body   string
}

func (s *site) do(t testing.TB, method, path, body string) answer {
	t.Helper()
	r, err := http.NewRequest(method, s.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return s.send(t, r)
}

func (s *site) send(t testing.TB, r *http.Request) answer {
	t.Helper()
	response, err := s.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(b)}
}

func (s *site) ask(t testing.TB, text string) answer {
	t.Helper()
	return s.do(t, http.MethodGet, "/?text="+neturl.QueryEscape(text), "")
}

const (
	plain = "text/plain; charset=utf-8"
	jsonl = "application/json"
)

// wantProblem checks for an error in JSON that says part.
func (a answer) wantProblem(t testing.TB, status int, part string) {
	t.Helper()
	var problem map[string]string
	if err := json.Unmarshal([]byte(a.body), &problem); err != nil || len(problem) != 1 || problem["error"] == "" {
		t.Errorf("the body is %q", a.body)
	}
	if a.status != status || !strings.Contains(problem["error"], part) || a.header.Get("Content-Type") != jsonl {
		t.Errorf("%d, %s, %q; want %d and %q", a.status, a.header.Get("Content-Type"), problem["error"], status, part)
	}
	a.wantHeaders(t)
}

// wantPlain checks for one line of plain text that says part.
func (a answer) wantPlain(t testing.TB, status int, part string) {
	t.Helper()
	if a.status != status || !strings.Contains(a.body, part) || !strings.HasSuffix(a.body, "\n") || a.header.Get("Content-Type") != plain {
		t.Errorf("%d, %s, %q; want %d and %q", a.status, a.header.Get("Content-Type"), a.body, status, part)
	}
	a.wantHeaders(t)
}

func (a answer) wantHeaders(t testing.TB) {
	t.Helper()
	if a.header.Get("X-Content-Type-Options") != "nosniff" || a.header.Get("Cache-Control") != "no-store" || a.header.Get("Content-Length") != fmt.Sprint(len(a.body)) {
		t.Errorf("headers are %v", a.header)
	}
}

func TestLabelIsPlainText(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	for query, want := range map[string]string{
		"text=good":                "positive\n",
		"text=bad":                 "negative\n",
		"text=unknown+words":       "positive\n", // id 1: logits -1, 1, 0.5
		"text=good&other=ignored":  "positive\n",
		"text=gr%C3%B6%C3%9Fte":    "positive\n",
		"text=%E6%97%A5%E6%9C%AC":  "positive\n",
		"text=%20good%20":          "positive\n",
		"te%78t=bad":               "negative\n",
		"text=%F0%9F%98%80+emoji":  "positive\n",
		"text=bad%00%01%0A%0D%7F+": "positive\n", // is another word than bad
	} {
		a := s.do(t, http.MethodGet, "/?"+query, "")
		if a.status != http.StatusOK || a.body != want || a.header.Get("Content-Type") != plain {
			t.Errorf("%s: %d, %q, %v; want %q", query, a.status, a.body, a.header, want)
		}
		a.wantHeaders(t)
	}
}

// score asks for the score of "positive", which is the id of the text's word.
func score(t testing.TB, a answer) float64 {
	t.Helper()
	var results [][]struct {
		Label string
		Score float64
	}
	if err := json.Unmarshal([]byte(a.body), &results); err != nil || a.status != http.StatusOK || len(results) != 1 {
		t.Fatalf("%d, %q", a.status, a.body)
	}
	for _, r := range results[0] {
		if r.Label == "positive" {
			return r.Score
		}
	}
	t.Fatalf("no label positive in %q", a.body)
	return 0
}

// The text that arrives must be the text that was sent.
func TestTextsArriveAsSent(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	for body, want := range map[string]float64{
		`{"inputs": "größte"}`:            4,
		`{"inputs": "日本"}`:                5,
		`{"inputs": "\u65e5\u672c"}`:      5,
		`{"inputs": "100%"}`:              6,
		`{"inputs": "a+b"}`:               7,
		`{"inputs": ["good"]}`:            2,
		`{"inputs": "\ud83d\ude00"}`:      1,
		"{\"inputs\": \"\xff\"}":          9, // not UTF-8: read as the replacement character
		`{"inputs": "\ud800"}`:            9,
		` {"inputs" : "good" } ` + "\n\t": 2,
	} {
		if got := score(t, s.do(t, http.MethodPost, "/predict", body)); got != want {
			t.Errorf("%s: the word's id is %v, want %v", body, got, want)
		}
	}
}

func TestPredictAnswersLikeHuggingFace(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	const positive = `[{"label":"positive","score":2},{"label":"neutral","score":0.5},{"label":"negative","score":-2}]`
	const negative = `[{"label":"negative","score":3},{"label":"neutral","score":0.5},{"label":"positive","score":-3}]`
	for body, want := range map[string]string{
		`{"inputs": "good"}`:                                                             "[" + positive + "]\n",
		`{"inputs": ["good"]}`:                                                           "[" + positive + "]\n",
		`{"inputs": ["good", "bad", "good"]}`:                                            "[" + positive + "," + negative + "," + positive + "]\n",
		`{"inputs": "good", "parameters": {"top_k": 1}}`:                                 `[[{"label":"positive","score":2}]]` + "\n",
		`{"inputs": ["bad"], "parameters": {"top_k": 2}}`:                                `[[{"label":"negative","score":3},{"label":"neutral","score":0.5}]]` + "\n",
		`{"inputs": "good", "parameters": {"top_k": 3}}`:                                 "[" + positive + "]\n",
		`{"inputs": "good", "parameters": {"top_k": 3.0}}`:                               "[" + positive + "]\n",
		`{"inputs": "good", "parameters": {"top_k": 999}}`:                               "[" + positive + "]\n",
		`{"inputs": "good", "parameters": {"top_k": null}}`:                              "[" + positive + "]\n",
		`{"inputs": {"text": "good"}}`:                                                   "[" + positive + "]\n",
		`{"inputs": [{"text": "good"}, "bad"]}`:                                          "[" + positive + "," + negative + "]\n",
		`{"inputs": {"text": "good", "text_pair": "bad"}}`:                               "[" + positive + "]\n",
		`{"inputs": {"text": "good", "text_pair": null}}`:                                "[" + positive + "]\n",
		`{"inputs": "good", "parameters": {"function_to_apply": "none"}}`:                "[" + positive + "]\n",
		`{"inputs": "good", "parameters": {"function_to_apply": "default"}}`:             "[" + positive + "]\n",
		`{"inputs": "good", "parameters": {"function_to_apply": "sigmoid", "top_k": 1}}`: `[[{"label":"positive","score":0.8807970779778823}]]` + "\n",
		`{"inputs": "good", "parameters": {"function_to_apply": "softmax", "top_k": 1}}`: `[[{"label":"positive","score":0.8055124120405226}]]` + "\n",
		`{"inputs": "good", "parameters": {"truncation": true}}`:                         "[" + positive + "]\n",
		`{"inputs": "good", "parameters": {"truncation": "longest_first"}}`:              "[" + positive + "]\n",
		`{"inputs": "good", "parameters": null, "options": null}`:                        "[" + positive + "]\n",
		`{"inputs": "good", "parameters": {}}`:                                           "[" + positive + "]\n",
		`{"inputs": "good", "options": {"use_cache": false, "wait_for_model":1}}`:        "[" + positive + "]\n",
	} {
		for _, path := range []string{"/", "/predict"} {
			a := s.do(t, http.MethodPost, path, body)
			if a.status != http.StatusOK || a.body != want || a.header.Get("Content-Type") != jsonl {
				t.Errorf("%s %s: %d, %q, %v; want %q", path, body, a.status, a.body, a.header, want)
			}
			a.wantHeaders(t)
		}
	}
}

func TestWrongQueriesAreRefused(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	for path, want := range map[string]string{
		"/":                        "text is missing",
		"/?":                       "text is missing",
		"/?other=good":             "text is missing",
		"/?Text=good":              "text is missing",
		"/?text":                   "text is empty",
		"/?text=":                  "text is empty",
		"/?text=good&text=bad":     "text is given 2 times",
		"/?text=+%09":              "no tokens",
		"/?text=good&text=":        "text is given 2 times",
		"/?text=%zz":               "URL-encoded",
		"/?text=100%":              "URL-encoded",
		"/?text=good;text=bad":     "URL-encoded",
		"/?text=good&other=%zz":    "URL-encoded",
		"/?text=good&text=100%25%": "URL-encoded",
	} {
		// http.NewRequest would refuse or mend some of these.
		a := s.raw(t, "GET "+path+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
		if a.status != http.StatusBadRequest {
			t.Errorf("%s: status %d", path, a.status)
		}
		a.wantPlain(t, http.StatusBadRequest, want)
	}
}

// raw sends bytes and reads a response.
func (s *site) raw(t testing.TB, request string) answer {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(testkit.Patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, b)
}

func TestTextThatIsNotUTF8IsAnswered(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	for _, query := range []string{"text=%ff%fe", "text=good%80"} {
		s.do(t, http.MethodGet, "/?"+query, "").wantPlain(t, http.StatusOK, "positive")
	}
}

func TestWrongBodiesAreRefused(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	for body, want := range map[string]string{
		``:                           "the body is not JSON",
		`good`:                       "the body is not JSON",
		`text=good`:                  "the body is not JSON",
		`{"inputs": "good"`:          "the body is not JSON",
		`"good"`:                     "the body is not JSON of the form",
		`["good"]`:                   "the body is not JSON of the form",
		`{"inputs": "good"} {}`:      "something follows",
		`{"inputs": "good"} x`:       "something follows",
		`{"inputs": "good"}]`:        "something follows",
		`{"input": "good"}`:          `"input"`,
		`{"inputs": "good", "x": 1}`: `"x"`,
		`{"inputs": "good", "parameters": {"return_all_scores": true}}`: `"return_all_scores"`,
		`{}`:                            `"inputs" is missing`,
		`null`:                          `must not be null`,
		`{"inputs": null}`:              `"inputs" is missing`,
		`{"inputs": ""}`:                `"inputs" is empty`,
		`{"inputs": []}`:                `"inputs" is an empty list`,
		`{"inputs": ["good", ""]}`:      `"inputs"[1] is empty`,
		`{"inputs": [null, "good"]}`:    `"inputs"[0] must be a text, not null`,
		`{"inputs": 1}`:                 `"inputs" must be a text; token ids are not taken`,
		`{"inputs": {}}`:                `"inputs" has no text`,
		`{"inputs": ["good", 1]}`:       `"inputs"[1] must be a text; token ids are not taken`,
		`{"inputs": [["good", "bad"]]}`: `"inputs"[0] is a list; it must be a text`,
		`{"inputs": ["good", " "]}`:     "text 1: tokenise: the text has no tokens",
		`{"inputs": true}`:              `"inputs" must be a text, not true or false`,
		`{"inputs": "good", "parameters": {"top_k": 0}}`:                  "top_k is 0",
		`{"inputs": "good", "parameters": {"top_k": -1}}`:                 "top_k is -1",
		`{"inputs": "good", "parameters": {"top_k": 1.5}}`:                "top_k",
		`{"inputs": "good", "parameters": {"top_k": "1"}}`:                "top_k",
		`{"inputs": "good", "parameters": []}`:                            "parameters",
		`{"inputs": "good", "inputs": "bad"}`:                             `"inputs" is given twice`,
		`{"INPUTS": "good"}`:                                              `"INPUTS"`,
		`{"inputs": NaN}`:                                                 "the body is not JSON",
		`{"inputs": "good", "options": {"x": [1, NaN]}}`:                  "the body is not JSON",
		`{"inputs": ` + strings.Repeat("[", 4000):                         "the body is not JSON",
		`{"options": ` + strings.Repeat("[", 4000):                        "the body is not JSON",
		`{"inputs": {"text": "good", "text_pair": ""}}`:                   `"inputs" has an empty "text_pair"`,
		`{"inputs": [{"text_pair": "bad"}]}`:                              `"inputs"[0] has no text`,
		`{"inputs": {"text": "good", "texts": "bad"}}`:                    `"texts"`,
		`{"inputs": {"text": 1}}`:                                         `"text" must be a string`,
		`{"inputs": "good", "parameters": {"function_to_apply": "relu"}}`: `"relu" is not a function`,
		`{"inputs": "good", "parameters": {"function_to_apply": 1}}`:      `must be a string`,
		`{"inputs": "good", "parameters": {"truncation": false}}`:         "truncation is false",
		`{"inputs": "good", "parameters": {"truncation": "only_second"}}`: `truncation is "only_second"`,
		`{"inputs": "good", "parameters": {"top_k": 1e400}}`:              "top_k",
		`{"inputs": "good", "parameters": {"top_k": 1, "top_k": 2}}`:      `"top_k" is given twice`,
	} {
		for _, path := range []string{"/", "/predict"} {
			a := s.do(t, http.MethodPost, path, body)
			a.wantProblem(t, http.StatusBadRequest, want)
			if t.Failed() {
				t.Fatalf("body %s", body)
			}
		}
	}
}

func TestTooMuchIsRefused(t *testing.T) {
	t.Parallel()
	s := serve(t, nil) // takes 4096 bytes and 8 texts
	long := `{"inputs": "` + strings.Repeat("good ", 1000) + `"}`
	s.do(t, http.MethodPost, "/predict", long).wantProblem(t, http.StatusRequestEntityTooLarge, "larger than 4096 bytes")
	exact := `{"inputs": "` + strings.Repeat("x", 4096-14) + `"}`
	if a := s.do(t, http.MethodPost, "/predict", exact); a.status != http.StatusOK || len(exact) != 4096 {
		t.Errorf("a body of %d bytes: %d, %s", len(exact), a.status, a.body)
	}
	s.do(t, http.MethodPost, "/predict", exact+" ").wantProblem(t, http.StatusRequestEntityTooLarge, "larger than 4096 bytes")
	// Without Content-Length the size is known only at the end.
	r, err := http.NewRequest(http.MethodPost, s.url+"/predict", io.MultiReader(strings.NewReader(long)))
	if err != nil {
		t.Fatal(err)
	}
	s.send(t, r).wantProblem(t, http.StatusRequestEntityTooLarge, "larger than 4096 bytes")
}

// numbered are n texts, alternately good and bad, as a body.
func numbered(t testing.TB, n int) string {
	t.Helper()
	texts := make([]string, n)
	for i := range texts {
		texts[i] = []string{"good", "bad", "bad"}[i%3]
	}
	b, err := json.Marshal(map[string]any{"inputs": texts})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestAListIsAnsweredInOrderHoweverLong(t *testing.T) {
	t.Parallel()
	s := serve(t, func(c *setup, _ *judge) { c.MaxBody = 1 << 20 }) // takes 8 texts at a time
	for _, n := range []int{1, 2, 7, 8, 9, 16, 17, 1000} {
		a := s.do(t, http.MethodPost, "/predict", numbered(t, n))
		var results [][]struct{ Label string }
		if err := json.Unmarshal([]byte(a.body), &results); err != nil || a.status != http.StatusOK || len(results) != n {
			t.Fatalf("%d texts: %d, %.200q", n, a.status, a.body)
		}
		for i, r := range results {
			if want := []string{"positive", "negative", "negative"}[i%3]; r[0].Label != want {
				t.Fatalf("text %d of %d is %s, want %s", i, n, r[0].Label, want)
			}
		}
	}
}

// A long list leaves room for those who come while it is answered.
func TestALongListDoesNotHoldUpOthers(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	long := s.inBackground(t.Context(), t, http.MethodPost, "/predict", `{"inputs": [`+strings.Repeat(`"block", "good", "good", "good", `, 2)+strings.Repeat(`"good", `, 23)+`"good"]}`)
	testkit.Receive(t, "the run", s.judge.running)
	other := s.inBackground(t.Context(), t, http.MethodPost, "/predict", `{"inputs": ["good", "good", "good", "good"]}`)
	close(s.judge.release)
	if a := testkit.Receive(t, "the other answer", other); a.status != http.StatusOK {
		t.Errorf("the other is answered with %d, %s", a.status, a.body)
	}
	if a := testkit.Receive(t, "the long answer", long); a.status != http.StatusOK || strings.Count(a.body, "neutral") != 32 {
		t.Errorf("%d, %.200q", a.status, a.body)
	}
}

// inBackground asks without waiting for the answer.
func (s *site) inBackground(ctx context.Context, t testing.TB, method, path, body string) <-chan answer {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, s.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan answer, 1)
	go func() {
		defer close(answered)
		response, err := s.client.Do(r)
		if err != nil {
			return
		}
		defer func() { _ = response.Body.Close() }()
		b, _ := io.ReadAll(response.Body)
		answered <- answer{response.StatusCode, response.Header, string(b)}
	}()
	return answered
}

func TestFullFrontRefusesUntilThereIsRoom(t *testing.T) {
	t.Parallel()
	s := serve(t, func(c *setup, _ *judge) { takes(&c.Model, 2) })
	first := s.inBackground(t.Context(), t, http.MethodGet, "/?text=block", "")
	testkit.Receive(t, "the run", s.judge.running)
	for range 2 { // a request that was refused leaves nothing behind
		a := s.do(t, http.MethodPost, "/predict", `{"inputs": ["good", "bad"]}`)
		a.wantProblem(t, http.StatusTooManyRequests, "too many texts")
		if a.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	s.ask(t, "good").wantPlain(t, http.StatusOK, "positive") // for one there is room
	s.judge.release <- struct{}{}
	testkit.Receive(t, "the first answer", first).wantPlain(t, http.StatusOK, "positive")
	if a := s.do(t, http.MethodPost, "/predict", `{"inputs": ["good", "bad"]}`); a.status != http.StatusOK {
		t.Errorf("with room again: %d, %s", a.status, a.body)
	}
}

func TestEveryFaultHasItsStatus(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err    error
		status int
		retry  bool
	}{
		{errors.New("boom"), 500, false},
		{errcode.Errorf(errcode.Internal, "boom"), 500, false},
		{errcode.Errorf(errcode.Invalid, "boom"), 400, false},
		{errcode.Errorf(errcode.TooLarge, "boom"), 413, false},
		{errcode.Errorf(errcode.Overloaded, "boom"), 429, true},
		{errcode.Errorf(errcode.Unavailable, "boom"), 503, true},
		{errcode.Errorf(errcode.Mismatch, "boom"), 503, true},
		{errcode.Errorf(errcode.Deadline, "boom"), 504, false},
		{fmt.Errorf("stage 1: %w", errcode.Errorf(errcode.Unavailable, "boom <&>")), 503, true},
	} {
		t.Run(c.err.Error()+" "+errcode.Of(c.err).String(), func(t *testing.T) {
			t.Parallel()
			s := serve(t, func(_ *setup, j *judge) { j.err = c.err })
			a := s.ask(t, "good")
			a.wantPlain(t, c.status, c.err.Error())
			if got := a.header.Get("Retry-After") != ""; got != c.retry {
				t.Errorf("Retry-After is %q", a.header.Get("Retry-After"))
			}
			a = s.do(t, http.MethodPost, "/predict", `{"inputs": "good"}`)
			a.wantProblem(t, c.status, c.err.Error())
			if got := a.header.Get("Retry-After") != ""; got != c.retry {
				t.Errorf("Retry-After is %q", a.header.Get("Retry-After"))
			}
			if c.status == http.StatusTooManyRequests {
				return // of these there is a test of its own
			}
			lines := s.log.lines(t, 2)
			for _, l := range lines {
				if want := "level=ERROR"; strings.Contains(l, want) != (c.status >= 500) || !strings.Contains(l, "boom") {
					t.Errorf("logged is %s", l)
				}
			}
		})
	}
}

func TestTextThatCannotBeScoredFailsItsRequest(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	s.do(t, http.MethodPost, "/predict", `{"inputs": ["good", "nan"]}`).wantProblem(t, http.StatusInternalServerError, "text 1")
	s.ask(t, "nan").wantPlain(t, http.StatusInternalServerError, "not a number")
	s.ask(t, "good").wantPlain(t, http.StatusOK, "positive")
}

func TestSlowAnswerIsATimeout(t *testing.T) {
	t.Parallel()
	s := serve(t, func(c *setup, _ *judge) { c.Timeout = 50 * time.Millisecond })
	s.ask(t, "block").wantPlain(t, http.StatusGatewayTimeout, "no answer within 50ms")
	s.do(t, http.MethodPost, "/predict", `{"inputs": "block"}`).wantProblem(t, http.StatusGatewayTimeout, "no answer within 50ms")
}

func TestClientThatLeavesEndsItsRun(t *testing.T) {
	t.Parallel()
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			s := serve(t, nil)
			ctx, leave := context.WithCancel(t.Context())
			path, body := "/?text=block", ""
			if method == http.MethodPost {
				path, body = "/predict", `{"inputs": "block"}`
			}
			answered := s.inBackground(ctx, t, method, path, body)
			run := testkit.Receive(t, "the run", s.judge.running)
			leave()
			testkit.Receive(t, "the end of the run's ctx", run.Done())
			if err := run.Err(); !errors.Is(err, context.Canceled) {
				t.Errorf("the run's ctx ended with %v", err)
			}
			testkit.Receive(t, "the end of the request", answered)
			if l := s.log.lines(t, 1)[0]; !strings.Contains(l, "status=499") || strings.Contains(l, "level=ERROR") {
				t.Errorf("logged is %s", l)
			}
		})
	}
}

func TestWrongMethodsAreRefused(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	for _, c := range []struct{ method, path, allow string }{
		{"PUT", "/", "GET, HEAD, POST, OPTIONS"},
		{"DELETE", "/?text=good", "GET, HEAD, POST, OPTIONS"},
		{"GET", "/predict", "POST, OPTIONS"},
		{"GET", "/predict?text=good", "POST, OPTIONS"},
		{"PATCH", "/predict", "POST, OPTIONS"},
		{"POST", "/healthz", "GET, HEAD, OPTIONS"},
		{"POST", "/readyz", "GET, HEAD, OPTIONS"},
		{"get", "/", "GET, HEAD, POST, OPTIONS"},
	} {
		a := s.do(t, c.method, c.path, "")
		a.wantProblem(t, http.StatusMethodNotAllowed, c.method+" is not possible at ")
		if got := a.header.Get("Allow"); got != c.allow {
			t.Errorf("%s %s: Allow is %q, want %q", c.method, c.path, got, c.allow)
		}
	}
	a := s.do(t, http.MethodHead, "/predict", "")
	if a.status != http.StatusMethodNotAllowed || a.header.Get("Allow") != "POST, OPTIONS" || a.body != "" {
		t.Errorf("HEAD /predict: %d, %v", a.status, a.header)
	}
}

func TestHeadIsGetWithoutBody(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	for path, status := range map[string]int{
		"/?text=good": http.StatusOK,
		"/":           http.StatusBadRequest,
		"/healthz":    http.StatusOK,
		"/readyz":     http.StatusOK,
		"/nowhere":    http.StatusNotFound,
	} {
		get, head := s.do(t, http.MethodGet, path, ""), s.do(t, http.MethodHead, path, "")
		if head.status != status || get.status != status || head.body != "" || get.body == "" {
			t.Errorf("%s: GET %d %q, HEAD %d %q; want %d", path, get.status, get.body, head.status, head.body, status)
		}
		for _, h := range []string{"Content-Type", "Content-Length"} {
			if head.header.Get(h) != get.header.Get(h) {
				t.Errorf("%s: %s is %q for GET and %q for HEAD", path, h, get.header.Get(h), head.header.Get(h))
			}
		}
	}
}

func TestUnknownPathsAreNotFound(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	for _, path := range []string{"/nowhere", "/predict/", "/healthz/x", "/index.html?text=good", "/%3Cscript%3E"} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			s.do(t, method, path, "").wantProblem(t, http.StatusNotFound, "there is nothing at ")
		}
	}
}

func TestWithoutTokenizerTextsAreNotFound(t *testing.T) {
	t.Parallel()
	const why = "bundle stages: tokenizer.json: the bundle has no such file"
	s := serve(t, func(c *setup, _ *judge) { c.Texts, c.NoTexts = nil, errors.New(why) })
	s.ask(t, "good").wantPlain(t, http.StatusNotFound, why)
	for _, path := range []string{"/", "/predict"} {
		s.do(t, http.MethodPost, path, `{"inputs": "good"}`).wantProblem(t, http.StatusNotFound, why)
	}
	s.do(t, http.MethodGet, "/healthz", "").wantPlain(t, http.StatusOK, "ok")
	s.do(t, http.MethodGet, "/readyz", "").wantPlain(t, http.StatusOK, "ready")
}

// A request is answered wholly by the model that it began with.
func TestFrontFollowsAnotherModel(t *testing.T) {
	t.Parallel()
	closed := make(chan string, 2)
	s := serve(t, func(c *setup, _ *judge) { c.Close = func() { closed <- "first" } })
	before := s.inBackground(t.Context(), t, http.MethodGet, "/?text=block", "")
	testkit.Receive(t, "the run", s.judge.running)
	other := newJudge()
	other.err = errcode.Errorf(errcode.Unavailable, "the other model")
	second := judged(t, other)
	second.Close = func() { closed <- "second" }
	s.front.Follow(second)
	s.ask(t, "good").wantPlain(t, http.StatusServiceUnavailable, "the other model")
	select {
	case <-closed:
		t.Error("the model was closed under a request")
	default:
	}
	s.judge.release <- struct{}{}
	testkit.Receive(t, "the answer", before).wantPlain(t, http.StatusOK, "positive")
	if got := testkit.Receive(t, "the end of the first model", closed); got != "first" {
		t.Errorf("the %s model was closed", got)
	}
	s.front.Close()
	if got := testkit.Receive(t, "the end of the second model", closed); got != "second" {
		t.Errorf("the %s model was closed", got)
	}
}

func TestHealthAndReadiness(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var state error
	s := serve(t, func(c *setup, _ *judge) {
		c.Ready = func(ctx context.Context) error {
			if _, limited := ctx.Deadline(); !limited {
				return errors.New("there is no deadline")
			}
			mu.Lock()
			defer mu.Unlock()
			return state
		}
	})
	for _, err := range []error{nil, errors.New("stage 1 at b:2 is unreachable"), nil} {
		mu.Lock()
		state = err
		mu.Unlock()
		a := s.do(t, http.MethodGet, "/readyz", "")
		if err == nil {
			a.wantPlain(t, http.StatusOK, "ready\n")
		} else {
			a.wantPlain(t, http.StatusServiceUnavailable, err.Error()+"\n")
		}
		s.do(t, http.MethodGet, "/healthz", "").wantPlain(t, http.StatusOK, "ok\n")
	}
}

func TestEveryRequestIsLogged(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	s.ask(t, "good")
	s.do(t, http.MethodPost, "/predict", `{"inputs": ["good", "bad"]}`)
	s.do(t, http.MethodPost, "/predict", `{}`)
	s.do(t, http.MethodGet, "/nowhere", "")
	s.do(t, http.MethodGet, "/healthz", "")
	lines := s.log.lines(t, 5)
	if len(lines) != 5 {
		t.Errorf("%d lines: %q", len(lines), lines)
	}
	all := strings.Join(lines, "\n")
	for _, want := range [][]string{
		{"method=GET", "path=/ ", "status=200", "texts=1", "took="},
		{"method=POST", "path=/predict", "status=200", "texts=2", "took="},
		{"method=POST", "path=/predict", "status=400", `\"inputs\" is missing`},
		{"method=GET", "path=/nowhere", "status=404"},
		{"method=GET", "path=/healthz", "status=200"},
	} {
		if !slices.ContainsFunc(lines, func(l string) bool {
			return strings.Contains(l, "level=INFO") && !slices.ContainsFunc(want, func(part string) bool { return !strings.Contains(l, part) })
		}) {
			t.Errorf("no line has %q:\n%s", want, all)
		}
	}
	// Texts are people's, and are not for the log.
	if strings.Contains(all, "good") {
		t.Errorf("a text is logged:\n%s", all)
	}
}

func TestStopFinishesRequestsInFlight(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	answered := s.inBackground(t.Context(), t, http.MethodGet, "/?text=block", "")
	testkit.Receive(t, "the run", s.judge.running)
	s.stop()
	address := strings.TrimPrefix(s.url, "http://")
	for end := time.Now().Add(testkit.Patience); ; time.Sleep(5 * time.Millisecond) {
		c, err := net.Dial("tcp", address)
		if err != nil {
			break
		}
		_ = c.Close()
		if time.Now().After(end) {
			t.Fatal("the front still listens")
		}
	}
	select {
	case err := <-s.served:
		t.Fatalf("Serve returned %v with a request in flight", err)
	default:
	}
	s.judge.release <- struct{}{}
	testkit.Receive(t, "the answer", answered).wantPlain(t, http.StatusOK, "positive")
	s.wait(t)
}

func TestServeFailsWithItsListener(t *testing.T) {
	t.Parallel()
	c, _ := usualSetup(t, newJudge())
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	if err := front.New(c.Config, c.Model).Serve(t.Context(), l); err == nil || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("got %v", err)
	}
}

func TestConcurrentRequestsGetTheirOwnAnswers(t *testing.T) {
	t.Parallel()
	s := serve(t, func(c *setup, _ *judge) { takes(&c.Model, 64) })
	want := map[string]string{"good": "positive\n", "bad": "negative\n"}
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			word := []string{"good", "bad"}[i%2]
			for range 5 {
				r, err := s.client.Get(s.url + "/?text=" + word)
				if err != nil {
					t.Error(err)
					return
				}
				b, err := io.ReadAll(r.Body)
				_ = r.Body.Close()
				if err != nil || string(b) != want[word] {
					t.Errorf("%s is %q, %v", word, b, err)
				}
			}
		})
	}
	wg.Wait()
}

func FuzzPost(f *testing.F) {
	for _, s := range []string{
		``, `{}`, `null`, `[]`, `"good"`, `{"inputs": "good"}`, `{"inputs": ["good", "bad"]}`, `{"inputs": ["good", null]}`,
		`{"inputs": "good", "parameters": {"top_k": 1}}`, `{"inputs": "good", "parameters": null}`, `{"inputs": "\ud800"}`, "{\"inputs\": \"\xff\"}",
		`{"inputs": ["1","2","3","4","5","6","7","8","9"]}`, `{"inputs": " "}`, `{"inputs": "good"}{`, strings.Repeat("[", 5000), `{"INPUTS": "good", "inputs": 1}`,
		`{"inputs": "good", "options": {"x": [1e999]}}`, `{"inputs": "good", "parameters": {"top_k": 99999999999999999999}}`,
	} {
		f.Add([]byte(s))
	}
	c, _ := usualSetup(f, &judge{})
	c.Log = slog.New(slog.DiscardHandler)
	handler := front.New(c.Config, c.Model)
	f.Fuzz(func(t *testing.T, body []byte) {
		if bytes.Contains(body, []byte("nan")) || bytes.Contains(body, []byte("block")) || bytes.Contains(body, []byte(`\u`)) {
			t.Skip("may spell one of the words for which the judge does not answer")
		}
		r := httptest.NewRequest(http.MethodPost, "/predict", bytes.NewReader(body))
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		var v any
		if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
			t.Errorf("%q is answered with %q: %v", body, w.Body, err)
		}
		switch w.Code {
		case http.StatusOK:
			if results, ok := v.([]any); !ok || len(results) == 0 || !json.Valid(body) {
				t.Errorf("%q is answered with %q", body, w.Body)
			}
		case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
			if problem, ok := v.(map[string]any); !ok || problem["error"] == "" {
				t.Errorf("%q is answered with %q", body, w.Body)
			}
		default:
			t.Errorf("%q is answered with status %d, %q", body, w.Code, w.Body)
		}
	})
}

func parse(t testing.TB, b []byte) answer {
	t.Helper()
	response, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(b)), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(body)}
}

// Browsers get the page, and everybody else what they always got.
func TestOnlyBrowsersGetThePage(t *testing.T) {
	t.Parallel()
	shown := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	f := front.New(front.Config{MaxBody: 1 << 10, Timeout: testkit.Patience, Page: shown, Log: slog.New(slog.DiscardHandler)}, front.Model{})
	const chromium = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
	for _, c := range []struct {
		path, accept string
		page         bool
	}{
		{"/", chromium, true},
		{"/page/app.js", "*/*", true},
		{"/", "text/plain;q=0.5, text/html", true},
		{"/", "*/*", false},
		{"/", "", false},
		{"/", "application/json, text/html;q=0.9", false},
		{"/", "text/html;q=0", false},
		{"/?text=a", chromium, false},
		{"/readyz2", chromium, false},
	} {
		r := httptest.NewRequest(http.MethodGet, c.path, nil)
		r.Header.Set("Accept", c.accept)
		w := httptest.NewRecorder()
		f.ServeHTTP(w, r)
		if got := w.Code == http.StatusTeapot; got != c.page {
			t.Errorf("GET %s of one who accepts %q: page %v", c.path, c.accept, got)
		}
	}
}

// A counted task answers nothing, and counts how often it describes itself.
type countedTask struct {
	path  string
	asked atomic.Int64
}

func (*countedTask) Name() string                     { return "counted" }
func (*countedTask) Request(string) front.Request     { return front.Request{} }
func (c *countedTask) Routes() map[string]front.Route { return map[string]front.Route{c.path: {}} }

func (c *countedTask) Describe() []byte {
	c.asked.Add(1)
	return []byte(`{"paths": {"` + c.path + `": {"post": {}}, "/predict": {"post": {}}}}`)
}

func TestTheDocumentIsMadeOnceAModel(t *testing.T) {
	t.Parallel()
	before, after := &countedTask{path: "/one"}, &countedTask{path: "/two"}
	s := serve(t, func(c *setup, _ *judge) { c.Texts.Task = before })
	var tags []string
	get := func(header, value string) answer {
		t.Helper()
		r, err := http.NewRequest(http.MethodGet, s.url+"/openapi.json", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set(header, value)
		return s.send(t, r)
	}
	for _, c := range []*countedTask{before, after} {
		for range 3 {
			a := get("Accept", "*/*")
			tags = append(tags, a.header.Get("ETag"))
			if a.status != http.StatusOK || a.header.Get("Content-Type") != jsonl || a.header.Get("Cache-Control") != "no-cache" || !strings.Contains(a.body, `"`+c.path+`"`) {
				t.Errorf("%d, %v, %s", a.status, a.header, a.body)
			}
		}
		if a := get("If-None-Match", `"other", `+tags[len(tags)-1]); a.status != http.StatusNotModified || a.body != "" {
			t.Errorf("%d, %s", a.status, a.body)
		}
		if n := c.asked.Load(); n != 1 {
			t.Errorf("it is made %d times", n)
		}
		next := judged(t, newJudge())
		next.Texts.Task = after
		s.front.Follow(next)
	}
	if slices.Sort(tags); len(slices.Compact(tags)) != 2 || tags[0] == "" {
		t.Errorf("the tags are %q", tags)
	}
	if a := get("If-None-Match", tags[0]+"x"); a.status != http.StatusOK {
		t.Errorf("%d, %s", a.status, a.body)
	}
}

// What Describe was given that cannot be part of the document is a bug, which the coverage of the
// document finds.
func TestWrongPartsOfTheDocumentAreNotServed(t *testing.T) {
	t.Parallel()
	for _, part := range []string{`{`, `[]`, `{"openapi": "2"}`, `{"paths": {"/healthz": {"get": {"operationId": "other"}}}}`, `{"paths": []}`} {
		c, _ := usualSetup(t, newJudge())
		f := front.New(c.Config, c.Model)
		f.Describe([]byte(part))
		w := httptest.NewRecorder()
		f.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/openapi.json", nil))
		if w.Code != http.StatusInternalServerError || !strings.Contains(w.Body.String(), "a part of the OpenAPI document") {
			t.Errorf("%s: %d %s", part, w.Code, w.Body)
		}
		f.Close()
	}
}
