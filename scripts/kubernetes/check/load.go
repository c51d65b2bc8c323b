package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// counts are what became of the requests of a while.
type counts struct {
	requests, wrong, lost int
	again                 int // tries of requests whose connection failed
	p99                   time.Duration
}

// A load asks the front texts whose answers it knows.
type load struct {
	url     string
	texts   []string
	answers map[string][]answer // by bundle, in the order of texts

	mu      sync.Mutex
	allowed []string // bundles that may answer
	took    []time.Duration
	wrong   int
	again   int
	lost    []string // since the start
	lostNow int
	busy    int // workers that do not pause
	stop    chan struct{}
	workers sync.WaitGroup
}

type answer struct {
	Label string  `json:"label"`
	Score float64 `json:"score"`
}

// The texts are few, but of several lengths, so that batches differ.
var texts = []string{
	"a lovely film", "a waste of time", "dull , and much too long", "it is a moving film , full of quiet humour",
	"the plot makes no sense at all , and nobody in the audience seemed to care", "great", "not bad", "one of the best of the year",
}

func newLoad(o options) (*load, error) {
	l := &load{texts: texts, answers: map[string][]answer{}, allowed: []string{"a"}, stop: make(chan struct{})}
	for _, b := range []string{"a", "b"} {
		cmd := exec.Command(o.program, "predict", "--bundle", o.models+"/"+b, "-o", "json", "--format", "lines")
		cmd.Stdin = strings.NewReader(strings.Join(texts, "\n") + "\n")
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("compute the right answers: %w", err)
		}
		lines := json.NewDecoder(bytes.NewReader(out))
		for range texts {
			var a answer
			if err := lines.Decode(&a); err != nil {
				return nil, fmt.Errorf("read the right answers: %w", err)
			}
			l.answers[b] = append(l.answers[b], a)
		}
	}
	return l, nil
}

// firstAnswer waits for a right answer.
func (l *load) firstAnswer() error {
	client := &http.Client{Timeout: 5 * time.Second}
	var err error
	for range 200 {
		var right bool
		if right, err = l.ask(client, 0); right {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return fmt.Errorf("no right answer: %w", err)
}

// start has workers ask, each over a connection of its own, ten times a second at most.
func (l *load) start(workers int) {
	for i := range workers {
		l.workers.Go(func() {
			client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 1}}
			defer client.CloseIdleConnections()
			for n := i; ; n++ {
				began := time.Now()
				right, err := l.ask(client, n%len(l.texts))
				l.note(time.Since(began), right, err)
				pause := 100 * time.Millisecond
				l.mu.Lock()
				if i < l.busy {
					pause = 0
				}
				l.mu.Unlock()
				select {
				case <-l.stop:
					return
				case <-time.After(pause):
				}
			}
		})
	}
}

// ask asks one text. The header tells proxies and Go's client that it may be sent again on another
// connection if the one it was sent on breaks.
func (l *load) ask(client *http.Client, n int) (right bool, err error) {
	body, err := json.Marshal(map[string]any{"inputs": l.texts[n]})
	if err != nil {
		return false, err
	}
	request, err := http.NewRequest(http.MethodPost, l.url+"/predict", bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	request.Header.Set("Idempotency-Key", strconv.Itoa(n))
	response, err := l.do(client, request)
	if err != nil {
		return false, err
	}
	defer func() { _ = response.Body.Close() }()
	got, err := io.ReadAll(response.Body)
	if err != nil {
		return false, err
	}
	if response.StatusCode != http.StatusOK {
		return false, fmt.Errorf("%s: %.200s", response.Status, got)
	}
	var answers [][]answer
	if err := json.Unmarshal(got, &answers); err != nil || len(answers) != 1 || len(answers[0]) == 0 {
		return false, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.allowed, func(b string) bool {
		want := l.answers[b][n]
		return answers[0][0].Label == want.Label && math.Abs(answers[0][0].Score-want.Score) < 1e-4
	}), nil
}

// do tries a request again whose connection is refused or breaks, as proxies do, for four seconds at
// most. An answer, whatever its status, is not asked for again.
func (l *load) do(client *http.Client, request *http.Request) (*http.Response, error) {
	response, err := client.Do(request)
	for range 20 {
		if err == nil {
			break
		}
		l.mu.Lock()
		l.again++
		l.mu.Unlock()
		time.Sleep(200 * time.Millisecond)
		if request.Body, err = request.GetBody(); err != nil {
			return nil, err
		}
		response, err = client.Do(request)
	}
	return response, err
}

func (l *load) note(took time.Duration, right bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.took = append(l.took, took)
	switch {
	case err != nil:
		l.lostNow++
		l.lost = append(l.lost, time.Now().Format(time.TimeOnly)+" "+err.Error())
	case !right:
		l.wrong++
	}
}

// allow says which bundles may answer from now on.
func (l *load) allow(bundles ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.allowed = bundles
}

// press has workers ask without a pause.
func (l *load) press(workers int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.busy = workers
}

// take returns what became of the requests since the last call.
func (l *load) take() counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := counts{requests: len(l.took), wrong: l.wrong, lost: l.lostNow, again: l.again}
	if len(l.took) > 0 {
		slices.Sort(l.took)
		c.p99 = l.took[len(l.took)*99/100]
	}
	l.took, l.wrong, l.lostNow, l.again = nil, 0, 0, 0
	return c
}

// losses are the first requests that were lost.
func (l *load) losses() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost[:min(len(l.lost), 10)]
}
