package scale

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/distinfer/distinfer/bench/cluster"
	"github.com/distinfer/distinfer/bench/cluster/cgroup"
	"github.com/distinfer/distinfer/runtime/text"
)

// readTexts makes the requests, and finds how large they are on an average: that
// is what the planner receives.
func (b *bench) readTexts() error {
	sentences, err := cluster.Column(b.texts, 1)
	if err != nil {
		return err
	}
	if len(sentences) < b.sentences {
		return fmt.Errorf("%s has %d sentences, fewer than a request", b.texts, len(sentences))
	}
	file, err := os.Open(filepath.Join(filepath.Dir(b.model), "tokenizer.json"))
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	tokenizer, err := text.LoadTokenizer(file)
	if err != nil {
		return err
	}
	b.singles = sentences
	longest := 0
	for group := range slices.Chunk(sentences, b.sentences) {
		if len(group) < b.sentences {
			break
		}
		tokens := 0
		for _, s := range group {
			e, err := tokenizer.Encode(s)
			if err != nil {
				return fmt.Errorf("tokenise %q: %w", s, err)
			}
			tokens = max(tokens, len(e.IDs))
		}
		longest += tokens
		body, err := json.Marshal(map[string][]string{"inputs": group})
		if err != nil {
			return err
		}
		b.requests = append(b.requests, string(body))
	}
	mean := (longest + len(b.requests)/2) / len(b.requests)
	b.dims = dims{b.sentences, mean}
	return nil
}

// bundle is the folder of a model that was cut into stages by what its layers take,
// at the size of the requests. It is cut once.
func (b *bench) bundle(ctx context.Context, model string, stages int) (string, error) {
	out := filepath.Join(b.dir, fmt.Sprintf("%s-in-%d", filepath.Base(filepath.Dir(model)), stages))
	if _, err := os.Stat(out); err == nil {
		return out, nil
	}
	_, err := b.distinfer(ctx, append([]string{"split", model, "--stages", strconv.Itoa(stages), "--out", out, "--no-verify"}, costs(b.dims)...)...)
	return out, err
}

// costs are the flags that have the costs measured, as a machine computes.
func costs(d dims) []string {
	return []string{"--profile", "--threads", "1", "--dim", fmt.Sprintf("batch=%d", d.Batch), "--dim", fmt.Sprintf("sequence=%d", d.Sequence)}
}

// dims are the size of what is computed at a time.
type dims struct {
	Batch    int `json:"batch"`
	Sequence int `json:"sequence"`
}

// batches reads the front's log, which tells of every batch, from a place on: the mean
// number of texts, and the dims of such a batch, with its positions.
func batches(log *os.File, from int64) (texts float64, d dims, err error) {
	if _, err := log.Seek(from, io.SeekStart); err != nil {
		return 0, dims{}, err
	}
	n, rows, positions := 0, 0, 0
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		_, of, isBatch := strings.Cut(lines.Text(), " msg=batch ")
		var r, p int
		if !isBatch {
			continue
		}
		if _, err := fmt.Sscanf(of, "texts=%d positions=%d", &r, &p); err != nil {
			return 0, dims{}, fmt.Errorf("the front's log says of a batch %q: %w", of, err)
		}
		n, rows, positions = n+1, rows+r, positions+p
	}
	if err := lines.Err(); err != nil {
		return 0, dims{}, err
	}
	if rows == 0 {
		return 0, dims{}, errors.New("the front's log tells of no batch")
	}
	texts = float64(rows) / float64(n)
	d.Batch = max(1, int(math.Round(texts)))
	return texts, dims{d.Batch, max(1, int(math.Round(float64(positions)/float64(n)/float64(d.Batch))))}, nil
}

// distinfer runs a command that measures costs. It is in a group as the machines
// are, but with whole processors.
func (b *bench) distinfer(ctx context.Context, args ...string) (_ []byte, err error) {
	g, err := b.group(cgroup.Limits{CPU: float64(runtime.GOMAXPROCS(0)), Period: b.period})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, g.Remove()) }()
	line := g.Command(append([]string{b.Distinfer}, args...)...)
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.Env = b.Environment()
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s", filepath.Base(b.Distinfer), args[0], err, bytes.TrimSpace(said.Bytes()))
	}
	return out, nil
}

// predict asks the planner about a setup and batches of some size. The machines are
// described to it as their user would: with the speed that one of them proved to have.
func (b *bench) predict(ctx context.Context, s setup, d dims) (alternative, error) {
	config := filepath.Join(b.dir, "machines.yaml")
	if err := os.WriteFile(config, []byte(b.describe(s)), 0o600); err != nil {
		return alternative{}, err
	}
	out, err := b.distinfer(ctx, append([]string{"split", b.model, "--stages", "auto", "--dry-run", "-o", "json", "--config", config}, costs(d)...)...)
	if err != nil {
		return alternative{}, err
	}
	var plan struct{ Alternatives []alternative }
	if err := json.Unmarshal(out, &plan); err != nil {
		return alternative{}, fmt.Errorf("read the plan: %w", err)
	}
	i := slices.IndexFunc(plan.Alternatives, func(a alternative) bool {
		return a.Arrangement == s.arrangement() && len(a.Machines) == s.Machines
	})
	if i < 0 {
		return alternative{}, fmt.Errorf("the planner says nothing of %s on %d machines", s.arrangement(), s.Machines)
	}
	return plan.Alternatives[i], nil
}

// An alternative is one way that the planner compared.
type alternative struct {
	Arrangement string   `json:"arrangement"`
	Machines    []string `json:"machines"`
	Throughput  float64  `json:"throughput"`
	Best        bool     `json:"best"`
}

// describe is the part of a config file about a setup's machines.
func (b *bench) describe(s setup) string {
	bandwidth, latency := "100Gbit/s", "0.05ms" // about what the loopback interface has
	if s.Mbit > 0 {
		bandwidth, latency = fmt.Sprintf("%dMbit/s", s.Mbit), (b.rtt / 4).String() // each of two machines adds its own, twice
	}
	text := "machines:\n"
	for i := range s.Machines {
		text += fmt.Sprintf("  - {name: m%d, speed: %g, bandwidth: %s, latency: %s}\n", i, b.speed, bandwidth, latency)
	}
	return text
}
