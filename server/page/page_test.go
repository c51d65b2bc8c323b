package page_test

import (
	"bufio"
	"encoding/json"
	"math"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/server/batch"
	"github.com/distinfer/distinfer/server/page"
)

func get(t *testing.T, h http.Handler, method, path string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestEveryFileOfThePageIsServedAndKeptUntilItChanges(t *testing.T) {
	t.Parallel()
	h := page.Handler()
	whole := get(t, h, "GET", "/").Body.String()
	paths := []string{"/"}
	for _, found := range regexp.MustCompile(`(?:src|href)="(/[^"]*)"`).FindAllStringSubmatch(whole, -1) {
		paths = append(paths, found[1])
	}
	if len(paths) < 4 {
		t.Fatalf("the page names only %v", paths)
	}
	for _, path := range paths {
		plain := get(t, h, "GET", path)
		if header := plain.Header(); plain.Code != http.StatusOK || plain.Body.Len() == 0 || header.Get("Content-Type") == "" || !strings.Contains(header.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Fatalf("%s: %d, %v", path, plain.Code, header)
		}
		if again := get(t, h, "GET", path, "If-None-Match", plain.Header().Get("ETag")); again.Code != http.StatusNotModified {
			t.Errorf("%s, which has not changed: %d", path, again.Code)
		}
	}
	if r := get(t, h, "GET", "/page/none.js"); r.Code != http.StatusNotFound {
		t.Errorf("a file that is not there: %d", r.Code)
	}
	if r := get(t, h, "POST", "/page/app.js"); r.Code != http.StatusMethodNotAllowed || r.Header().Get("Allow") != "GET, HEAD, OPTIONS" {
		t.Errorf("POST: %d", r.Code)
	}
}

func TestAMeterTellsWhereTheTimeWent(t *testing.T) {
	t.Parallel()
	m := page.NewMeter()
	snapshot := func() page.Snapshot {
		s := page.Snapshot{Stages: []page.Stage{{Replicas: []page.Replica{{Condition: "ready"}, {Condition: "down"}}}, {Rank: 1}}}
		m.Fill(&s)
		return s
	}
	if s := snapshot(); s.Last != nil || s.Rates != (page.Rates{}) || s.Stages[0].Busy != 0 {
		t.Errorf("before anything was computed: %+v", s)
	}
	const ms = time.Millisecond
	b := batch.Batch{Texts: 3, Took: 100 * ms, Stages: []pipeline.Timing{
		{Rank: 0, Waited: 5 * ms, Computed: 30 * ms, Next: 50 * ms, Total: 90 * ms, AtOnce: 2},
		{Rank: 1, Waited: 1 * ms, Computed: 40 * ms, Total: 45 * ms, AtOnce: 2},
	}}
	m.Batches().BatchEnded(b)
	m.Batches().Answered(3, batch.Timing{Encoding: ms, Waiting: 2 * ms, Batch: b.Took, Texts: b.Texts, Stages: b.Stages})
	s := snapshot()
	want := []page.LastStage{{Rank: 0, Transfer: 15, Waited: 5, Computed: 30}, {Rank: 1, Transfer: 9, Waited: 1, Computed: 40}}
	if s.Last == nil || s.Last.Texts != 3 || s.Last.Took != 100 || len(s.Last.Stages) != 2 || s.Last.Stages[0] != want[0] || s.Last.Stages[1] != want[1] {
		t.Fatalf("the last batch is %+v", s.Last)
	}
	if s.Rates.Texts != 3*s.Rates.Batches || s.Rates.Batches <= 0 || s.Rates.Waited != 2 || s.Rates.Took != 100 {
		t.Errorf("the rates are %+v", s.Rates)
	}
	// 30 ms computed for a batch, of the two runs that one replica computes at a time.
	if busy := s.Stages[0].Busy; math.Abs(busy-s.Rates.Batches*0.03/2) > 1e-9 {
		t.Errorf("at %g batches a second stage 0 is busy for %g of its time", s.Rates.Batches, busy)
	}
}

func TestAStreamOutlastsTheLimitsOfRequestsAndEndsWhenItIsDone(t *testing.T) {
	t.Parallel()
	done := make(chan struct{})
	l := page.NewLive(done, func() page.Snapshot { return page.Snapshot{Model: page.Model{Name: "m"}} })
	server := httptest.NewUnstartedServer(http.HandlerFunc(l.Events))
	server.Config.ReadTimeout, server.Config.WriteTimeout = 500*time.Millisecond, 500*time.Millisecond
	server.Start()
	defer server.Close()
	r, err := server.Client().Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Body.Close() }()
	lines := bufio.NewScanner(r.Body)
	for events := 0; events < 3 && lines.Scan(); {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var s page.Snapshot
		if err := json.Unmarshal([]byte(data), &s); err != nil || s.Model.Name != "m" {
			t.Fatalf("%s: %v", data, err)
		}
		if events++; events == 3 {
			close(done)
		}
	}
	for lines.Scan() {
	}
	select {
	case <-done:
	default:
		t.Error("the stream ended after fewer than 3 events")
	}
	if err := lines.Err(); err != nil {
		t.Errorf("the stream did not end as one does: %v", err)
	}
}
