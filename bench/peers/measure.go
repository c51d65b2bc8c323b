package peers

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/distinfer/distinfer/bench/cluster"
	"github.com/distinfer/distinfer/server/load"
)

const (
	// requestTime is how long one request may take.
	requestTime = 60 * time.Second
	// warmup is how long a server is asked before it counts, as a share of the
	// time that counts.
	warmup = 0.25
)

// A figure is what was measured at one concurrency.
type figure struct {
	Rate      float64 `json:"requests_per_second"` // of right answers
	P50       float64 `json:"p50_ms"`              // 0: not measured
	P99       float64 `json:"p99_ms"`
	Right     float64 `json:"right"`             // share of the answers
	ClientCPU float64 `json:"client_cpu_us"`     // a request
	Trouble   string  `json:"trouble,omitempty"` // the most frequent answer that was not right
}

// A round is one contestant's turn: its figures by concurrency, and what its
// processes cost.
type round struct {
	Repeat  int            `json:"repeat"`
	Figures map[int]figure `json:"figures"`
	Startup float64        `json:"startup_s,omitempty"`
	Memory  int64          `json:"memory_bytes,omitempty"`
}

// A contestant takes a turn in every repeat.
type contestant struct {
	Name   string  `json:"name"`
	About  string  `json:"about"`
	Ours   bool    `json:"ours"`
	Alone  bool    `json:"in_process"` // it is the ceiling
	Rounds []round `json:"rounds"`
	Failed string  `json:"failed,omitempty"`

	turn func(context.Context) (round, error)
}

// A plan is how contestants are measured.
type plan struct {
	texts         []string
	concurrencies []int
	seconds       float64
	patience      time.Duration // until a server answers
}

// duration is a share of the length of a measurement.
func (p plan) duration(share float64) time.Duration {
	return time.Duration(share * p.seconds * float64(time.Second))
}

// serving is a contestant that serves by HTTP.
func (p plan) serving(s server, right map[string]string) *contestant {
	return &contestant{Name: s.name, About: s.about, Ours: s.ours, turn: func(ctx context.Context) (turn round, err error) {
		r, target, err := start(ctx, p.patience, s.commands, func(port int) load.Target { return s.asked.target(port, right) }, p.texts[0])
		if err != nil {
			return round{}, err
		}
		defer func() { err = errors.Join(err, r.stop()) }()
		turn = round{Figures: map[int]figure{}, Startup: r.took.Seconds()}
		for _, concurrency := range p.concurrencies {
			if turn.Figures[concurrency], err = p.ask(ctx, target, concurrency); err != nil {
				return round{}, err
			}
		}
		turn.Memory, err = r.memory()
		return turn, err
	}}
}

// ask sends load to a server, and counts what the load generator takes from it.
func (p plan) ask(ctx context.Context, target load.Target, concurrency int) (figure, error) {
	runtime.GC() // not in the middle of it, for what came before
	before, err := cluster.Own()
	if err != nil {
		return figure{}, err
	}
	// What asks takes no more of the processors than it needs.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	result, err := load.Run(ctx, load.Options{
		Concurrency: concurrency, Warmup: p.duration(warmup), Duration: p.duration(1), Timeout: requestTime,
	}, target, p.texts)
	if err != nil {
		return figure{}, err
	}
	after, err := cluster.Own()
	if err != nil {
		return figure{}, err
	}
	all := result.Requests()
	if all == 0 {
		return figure{Trouble: "no request was both made and answered in the time"}, nil
	}
	f := figure{
		Rate: result.Throughput(), P50: result.Quantile(0.5).Seconds() * 1e3, P99: result.Quantile(0.99).Seconds() * 1e3,
		Right: float64(result.Right) / float64(all),
		// The warm-up's requests took their share.
		ClientCPU: (after - before).Seconds() * 1e6 / float64(all) / (1 + warmup),
	}
	for _, k := range result.Kinds() {
		if k.Verdict != load.Right {
			f.Trouble = fmt.Sprintf("%s, status %d: %s", k.Verdict, k.Status, k.Example)
			break
		}
	}
	return f, nil
}

// alone is the ceiling, in the best form for each concurrency.
func (p plan) alone(ctx context.Context, name string, c *ceiling) (*contestant, error) {
	forms := map[int]form{}
	var about []string
	for _, concurrency := range p.concurrencies {
		f, err := c.best(ctx, concurrency)
		if err != nil {
			return nil, err
		}
		forms[concurrency] = f
		about = append(about, fmt.Sprintf("at %d %s", concurrency, f))
	}
	return &contestant{Name: name, About: "ONNX Runtime in process: " + strings.Join(about, "; "), Alone: true, turn: func(ctx context.Context) (round, error) {
		turn := round{Figures: map[int]figure{}}
		for _, concurrency := range p.concurrencies {
			f, err := c.measure(ctx, concurrency, forms[concurrency], p.duration(1))
			if err != nil {
				return round{}, err
			}
			turn.Figures[concurrency] = f
		}
		return turn, nil
	}}, nil
}

// rotated is the order of n contestants in one of the repeats: each begins further
// on, so that no contestant always follows the same one from the same start, and
// the drift of the machine is spread.
func rotated(n, repeat, repeats int) []int {
	order := make([]int, n)
	shift := repeat * max(1, n/repeats)
	for i := range order {
		order[i] = (i + shift) % n
	}
	return order
}

// run gives every contestant its turn in every repeat. One that fails gets no further turn.
func run(ctx context.Context, contestants []*contestant, repeats int, tell func(format string, args ...any)) error {
	for repeat := range repeats {
		for _, i := range rotated(len(contestants), repeat, repeats) {
			c := contestants[i]
			if c.Failed != "" {
				continue
			}
			tell("%d/%d %s", repeat+1, repeats, c.Name)
			turn, err := c.turn(ctx)
			if ctx.Err() != nil {
				return errors.Join(errors.New("interrupted"), err)
			}
			if err != nil {
				c.Failed = err.Error()
				tell("%s failed: %s", c.Name, c.Failed)
				continue
			}
			turn.Repeat = repeat
			c.Rounds = append(c.Rounds, turn)
		}
	}
	return nil
}
