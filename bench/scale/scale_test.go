package scale

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/distinfer/distinfer/bench/stats"
	"github.com/distinfer/distinfer/server/load"
)

func TestShareLeavesRoomForFrontAndLoad(t *testing.T) {
	for _, c := range []struct {
		processors, machines int
		want                 float64
	}{{2, 6, 0.2}, {2, 4, 0.25}, {2, 8, 0.15}, {1, 6, 0.1}, {64, 6, 0.25}} {
		if got := share(c.processors, c.machines); got != c.want {
			t.Errorf("%d machines of %d processors: %v, not %v", c.machines, c.processors, got, c.want)
		}
	}
}

func TestFewMachinesAreMeasuredForLonger(t *testing.T) {
	for machines, want := range map[int]time.Duration{1: 24 * time.Second, 2: 12 * time.Second, 3: 8 * time.Second, 6: 8 * time.Second} {
		if got := long(8*time.Second, machines); got != want {
			t.Errorf("%d: %s", machines, got)
		}
	}
}

func TestNumbers(t *testing.T) {
	var n numbers
	if err := n.Set("6,1,2,2"); err != nil || !slices.Equal(n, numbers{1, 2, 6}) || n.String() != "1,2,6" {
		t.Errorf("%v, %v", n, err)
	}
	if err := n.Set(""); err != nil || len(n) != 0 {
		t.Errorf("%v, %v", n, err)
	}
	for _, bad := range []string{"0", "1,", "two", "-1"} {
		if n.Set(bad) == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestOptionsThatMakeNoSense(t *testing.T) {
	good := options{machines: numbers{1, 2}, sentences: 1, clients: 1, time: time.Second, repeats: 1, period: 20 * time.Millisecond}
	if err := good.check(); err != nil || good.quota == 0 {
		t.Error(err, good.quota)
	}
	for name, change := range map[string]func(*options){
		"no one machine":   func(o *options) { o.machines = numbers{2, 4} },
		"no machines":      func(o *options) { o.machines = nil },
		"no time":          func(o *options) { o.time = 0 },
		"no repeats":       func(o *options) { o.repeats = 0 },
		"half a ms":        func(o *options) { o.rtt = time.Millisecond / 2 },
		"too short a turn": func(o *options) { o.period = time.Millisecond },
	} {
		o := good
		change(&o)
		if o.check() == nil {
			t.Error(name)
		}
	}
}

// samples are of throughputs, of six machines at most, and of one prediction.
func samples(predicted float64, throughputs ...float64) []sample {
	var list []sample
	for _, t := range throughputs {
		list = append(list, sample{Throughput: t, Predicted: predicted, Busy: []float64{0.98, 0.5, 0, 0, 0, 0}})
	}
	return list
}

func TestEfficiencyIsComputedRoundByRound(t *testing.T) {
	one := &row{setup: setup{Machines: 1}, Samples: samples(11, 10, 20, 10)}
	two := &row{setup: setup{Machines: 2}, Preferred: true, Samples: samples(18, 18, 36, 20)}
	three := &row{setup: setup{Machines: 3, Pipeline: true}, Samples: samples(30, 24, 48, 24)}
	six := &row{setup: setup{Machines: 6}, Preferred: true, Samples: samples(30, 30, 60, 30)}
	b := &bench{options: options{model: "models/a/model.onnx"}}
	r := b.report([]*row{one, two, three, six})
	if one.Efficiency != (stats.Spread{Median: 1, Least: 1, Most: 1}) || two.Efficiency != (stats.Spread{Median: 0.9, Least: 0.9, Most: 1}) || three.Efficiency.Median != 0.8 {
		t.Errorf("%+v, %+v, %+v", one.Efficiency, two.Efficiency, three.Efficiency)
	}
	if math.Abs(one.Off.Median-1.1) > 1e-9 || three.Off.Median != 1.25 {
		t.Errorf("%+v, %+v", one.Off, three.Off)
	}
	said := strings.Join(r.verdicts(), "\n")
	for _, want := range []string{"as the planner prefers: met (least 0.90)", "in pipelines: MISSED (least 0.80)", "within 10%: MISSED (farthest 25%)"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not said:\n%s", want, said)
		}
	}
	if strings.Contains(said, "something else") {
		t.Error(said)
	}
	two.Samples[1].Others = 0.5
	if said := strings.Join(r.verdicts(), "\n"); !strings.Contains(said, "something else used up to 0.50 processors") {
		t.Error(said)
	}
	var table strings.Builder
	if err := r.print(&table); err != nil || !strings.Contains(table.String(), "* replicas") || !strings.Contains(table.String(), "  98 50\n") {
		t.Errorf("%v:\n%s", err, table.String())
	}
	if data, err := json.Marshal(r); err != nil || !strings.Contains(string(data), `"arrangement":"replicas"`) {
		t.Errorf("%s, %v", data, err)
	}
}

func TestSampleIsOfWhatWasAnswered(t *testing.T) {
	used := times{machines: []time.Duration{time.Second, 2 * time.Second}, front: 100 * time.Millisecond, load: 10 * time.Millisecond, all: 4110 * time.Millisecond}
	result := &load.Result{Right: 50, Arrived: 40, Elapsed: 10 * time.Second, Latency: quick(t)}
	s := newSample(result, 2, used, 10*time.Second, 0.25, 7*time.Millisecond)
	want := sample{Throughput: 8, P50: s.P50, Alone: 7, Machines: 30, Front: 1, Load: 0.1, Busy: []float64{0.4, 0.8}, Others: 0.1}
	if !reflect.DeepEqual(s, want) {
		t.Errorf("%+v, not %+v", s, want)
	}
}

// quick is the latencies of a run that asked nobody anything.
func quick(t *testing.T) *load.Latencies {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r, _ := load.Run(ctx, load.Options{Concurrency: 1, Requests: 1, Timeout: time.Second}, load.Target{}, []string{"a"})
	return r.Latency
}

func TestProcessorTimesAreThoseSince(t *testing.T) {
	before := times{machines: []time.Duration{1, 2}, front: 1, all: 10}
	now := times{machines: []time.Duration{2, 4}, front: 2, load: 1, all: 20}
	if d := now.less(before); d.machines[1] != 2 || d.front != 1 || d.others() != 10-1-2-1-1 {
		t.Errorf("%+v: %d", d, d.others())
	}
}

func TestLimitIsBetweenHalvesAndWhole(t *testing.T) {
	if limit, err := between(90, 120); err != nil || limit != 100e6 {
		t.Error(limit, err)
	}
	if _, err := between(119, 120); err == nil {
		t.Error("there is no room")
	}
}

func TestMachinesAreDescribedAsSharesOfThisOne(t *testing.T) {
	b := &bench{options: options{rtt: 2 * time.Millisecond}, speed: 0.2}
	if got := b.describe(setup{Machines: 2, Mbit: 100}); got != "machines:\n  - {name: m0, speed: 0.2, bandwidth: 100Mbit/s, latency: 500µs}\n  - {name: m1, speed: 0.2, bandwidth: 100Mbit/s, latency: 500µs}\n" {
		t.Error(got)
	}
}

// The planner is asked about the batches that the front's log tells of.
func TestBatchesAreReadFromTheLog(t *testing.T) {
	file := filepath.Join(t.TempDir(), "front.log")
	before := "time=x level=DEBUG msg=batch texts=90 positions=9000 took=1ms\n"
	log := before + "time=x level=DEBUG msg=batch texts=4 positions=100 took=1ms\ntime=x level=INFO msg=request texts=5\ntime=x level=DEBUG msg=batch texts=7 positions=200 took=1ms\n"
	if err := os.WriteFile(file, []byte(log), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	// 5.5 texts and 150 positions, which 6 rows of 25 are.
	if texts, d, err := batches(f, int64(len(before))); err != nil || texts != 5.5 || d != (dims{6, 25}) {
		t.Errorf("%v, %v, %v", texts, d, err)
	}
	if _, _, err := batches(f, int64(len(log))); err == nil {
		t.Error("there is no batch")
	}
}

// Requests and their mean size come of the sentences.
func TestRequestsHaveTheMeanSizeThatThePlannerIsTold(t *testing.T) {
	table := filepath.Join(t.TempDir(), "t.tsv")
	if err := os.WriteFile(table, []byte("l\ttext\n0\tfilm\n0\ta film\n0\ta good film\n0\tfilm\n1\tleft over\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := &bench{options: options{texts: table, model: "../../models/sst2-minilm/model.onnx", sentences: 2}}
	if err := b.readTexts(); err != nil {
		t.Fatal(err)
	}
	// Two more tokens begin and end a text: 4 and 5 at the most, 4.5 on an average.
	if want := []string{`{"inputs":["film","a film"]}`, `{"inputs":["a good film","film"]}`}; !slices.Equal(b.requests, want) {
		t.Errorf("%q", b.requests)
	}
	if want := (dims{2, 5}); b.dims != want {
		t.Errorf("%v", b.dims)
	}
}
