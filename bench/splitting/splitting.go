// Package splitting measures how long cutting a model in two takes, and how much
// memory, side by side with copying the same files and with other tools: on
// sst2-minilm, on generated models of 2 GB, and on chains of up to 100,000 nodes.
package splitting

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/distinfer/distinfer/bench/cluster"
	"github.com/distinfer/distinfer/bench/stats"
)

// The goals; docs/performance.md names them as well.
const (
	mostOfCopy = 2.0   // times the time of cp, for 2 GB
	mostMemory = 200e6 // bytes, for 2 GB
	mostMiniLM = 300 * time.Millisecond
)

// needed is the free space that the largest model and its stages take, with room
// for a tool that writes everything twice.
const needed = 10e9

type options struct {
	cluster.Programs
	tmp   string
	runs  int
	limit time.Duration // of one run
	only  *regexp.Regexp
	peers bool
}

// Run measures and prints.
func Run(ctx context.Context, args []string) error {
	var o options
	f := flag.NewFlagSet("splitting", flag.ExitOnError)
	o.AddFlags(f)
	only := f.String("only", "", "regular expression that a model's name must match")
	generate := f.String("generate", "", "write the model of this name into -tmp, and nothing else")
	f.StringVar(&o.tmp, "tmp", ".setup/bench-splitting/tmp", "folder for models and stages, on the disk to measure")
	f.IntVar(&o.runs, "runs", 5, "runs of every tool")
	f.DurationVar(&o.limit, "limit", 2*time.Minute, "time after which a run is given up")
	f.BoolVar(&o.peers, "peers", true, "measure other tools too")
	_ = f.Parse(args)
	if *generate != "" {
		return write(*generate, o.tmp)
	}
	var err error
	if o.only, err = regexp.Compile(*only); err != nil {
		return err
	}
	return run(ctx, o)
}

func write(name, dir string) error {
	i := slices.IndexFunc(mades, func(m made) bool { return m.name == name })
	if i < 0 {
		return fmt.Errorf("there is no model %q", name)
	}
	return mades[i].write(dir)
}

func run(ctx context.Context, o options) (err error) {
	if err := os.MkdirAll(o.tmp, 0o755); err != nil {
		return err
	}
	var disk syscall.Statfs_t
	if err := syscall.Statfs(o.tmp, &disk); err != nil {
		return err
	}
	if free := float64(disk.Bavail) * float64(disk.Bsize); free < needed {
		return fmt.Errorf("%s has %.1f GB free and %.0f GB are needed; name a folder on another disk with -tmp", o.tmp, free/1e9, needed/1e9)
	}
	tmp, err := os.MkdirTemp(o.tmp, "run-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	if tmp, err = filepath.Abs(tmp); err != nil {
		return err
	}
	b := bench{options: o, tmp: tmp, gaveUp: map[string]string{}, medians: map[string]time.Duration{}}

	fmt.Printf("Cutting a model in two, not verified; %d runs of each tool, in turn (MB = 10^6 bytes)\n", o.runs)
	if err := b.model(ctx, "sst2-minilm", "the default model", "models/sst2-minilm/model.onnx"); err != nil {
		return err
	}
	for _, m := range mades {
		if !o.only.MatchString(m.name) {
			continue
		}
		dir := filepath.Join(tmp, m.name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		// In a process of its own: what it needs of memory would else count as the
		// least that those started here need.
		self, err := os.Executable()
		if err != nil {
			return err
		}
		if output, err := exec.CommandContext(ctx, self, "splitting", "-generate", m.name, "-tmp", dir).CombinedOutput(); err != nil {
			return fmt.Errorf("generating %s: %w: %s", m.name, err, output)
		}
		syscall.Sync() // what is not yet written would slow down whoever comes first
		if err := b.model(ctx, m.name, m.about, filepath.Join(dir, "model.onnx")); err != nil {
			return err
		}
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	b.growth()
	return nil
}

type bench struct {
	options
	tmp     string
	gaveUp  map[string]string        // why a tool is not tried on longer chains
	medians map[string]time.Duration // of distinfer, by model
}

// A tool cuts, or copies, the model into the folder out.
type tool struct {
	name    string
	command []string // the folder is appended
}

// A result is what the runs of one tool took.
type result struct {
	wall, cpu []time.Duration
	memory    int64 // the most of all runs
	output    int64
	failed    string
}

func (b *bench) model(ctx context.Context, name, about, path string) error {
	if !b.only.MatchString(name) {
		return nil
	}
	files, total, err := inputs(path)
	if err != nil {
		return err
	}
	plan, err := b.Command(ctx, "split", path, "--stages", "2", "--dry-run", "-o", "json").Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%s: %s", name, bytes.TrimSpace(exit.Stderr))
		}
		return err
	}
	planFile := filepath.Join(b.tmp, name+".json")
	if err := os.WriteFile(planFile, plan, 0o600); err != nil {
		return err
	}
	tools := []tool{
		{"cp", append([]string{"cp"}, files...)},
		{"distinfer", []string{b.Distinfer, "split", path, "--stages", "2", "--no-verify", "--force", "--out"}},
	}
	if b.peers {
		for _, peer := range []struct{ name, venv string }{{"extract_model", "onnx"}, {"sne4onnx", "tools"}, {"ssp4onnx", "tools"}} {
			python := filepath.Join(".setup/bench-splitting", peer.venv, "bin/python")
			tools = append(tools, tool{peer.name, []string{python, "scripts/bench-splitting/peer.py", peer.name, path, planFile}})
		}
	}

	results := make([]result, len(tools))
	kind, _, _ := strings.Cut(name, "-")
	for turn := range b.runs {
		for i, t := range tools {
			r := &results[i]
			if r.failed == "" {
				r.failed = b.gaveUp[kind+" "+t.name]
			}
			// One run of what takes so long says enough.
			if r.failed != "" || turn > 0 && r.wall[0] > 20*time.Second {
				continue
			}
			if err := b.once(ctx, t, r); err != nil {
				return err
			}
			if r.failed != "" {
				b.gaveUp[kind+" "+t.name] = fmt.Sprintf("not tried, since it failed on %s", name)
			}
		}
	}

	fmt.Printf("\n%s: %s (%.1f MB)\n", name, about, float64(total)/1e6)
	table := stats.Table(os.Stdout)
	fmt.Fprintln(table, "tool\twall\tleast\tmost\tCPU\tresident\twritten\ttimes cp\ttimes distinfer\truns\t")
	copied, ours := results[0], results[1]
	for i, t := range tools {
		r := results[i]
		if r.failed != "" {
			continue
		}
		wall := stats.Median(r.wall)
		fmt.Fprintf(table, "%s\t%.3f s\t%.3f\t%.3f\t%.2f s\t%.1f MB\t%.1f MB\t%.2f\t%s\t%d\t\n", t.name, wall.Seconds(),
			slices.Min(r.wall).Seconds(), slices.Max(r.wall).Seconds(), stats.Median(r.cpu).Seconds(), float64(r.memory)/1e6,
			float64(r.output)/1e6, ratio(wall, copied), ratioText(wall, ours), len(r.wall))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for i, t := range tools {
		if r := results[i]; r.failed != "" {
			fmt.Printf("  %s: %s\n", t.name, r.failed)
		}
	}
	if ours.failed != "" {
		return nil
	}
	b.medians[name] = stats.Median(ours.wall)
	switch kind {
	case "external", "inline":
		goal("at most %.0f times cp", mostOfCopy, ratio(stats.Median(ours.wall), copied))
		goal("at most %.0f MB resident", mostMemory/1e6, float64(ours.memory)/1e6)
	case "sst2":
		goal("at most %.1f s", mostMiniLM.Seconds(), stats.Median(ours.wall).Seconds())
	}
	return nil
}

func goal(text string, most, got float64) {
	fmt.Printf("  goal of "+text+": %s (%.2f)\n", most, stats.Verdict(got <= most), got)
}

// growth says whether the time of a chain is linear in its nodes.
func (b *bench) growth() {
	for _, kind := range []string{"chain", "alive"} {
		short, long := b.medians[kind+"-25k"], b.medians[kind+"-100k"]
		if short > 0 && long > 0 {
			fmt.Printf("\n%s: four times the nodes take %.2f times the time (goal: about 4, and a few seconds for 100,000; they take %.1f)\n",
				kind, long.Seconds()/short.Seconds(), long.Seconds())
		}
	}
}

// once runs a tool and measures it.
func (b *bench) once(ctx context.Context, t tool, r *result) error {
	out := filepath.Join(b.tmp, "out")
	if err := os.Mkdir(out, 0o755); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(out) }()
	limited, cancel := context.WithTimeout(ctx, b.limit)
	defer cancel()
	command := append(slices.Clone(t.command), out)
	var stderr bytes.Buffer
	cmd := exec.CommandContext(limited, command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = &stderr, &stderr
	started := time.Now()
	err := cmd.Run()
	wall := time.Since(started)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case limited.Err() != nil:
		r.failed = fmt.Sprintf("not done after %s", b.limit)
		return nil
	case cmd.ProcessState == nil:
		return err // it could not even be started
	case err != nil:
		r.failed = fmt.Sprintf("%s after %.1f s: %s", err, wall.Seconds(), lastLine(stderr.Bytes()))
		return nil
	}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return errors.New("the system does not tell what a process used")
	}
	r.wall = append(r.wall, wall)
	r.cpu = append(r.cpu, cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
	r.memory = max(r.memory, usage.Maxrss*1024)
	r.output, err = written(out)
	return err
}

// inputs are the files of a model. They are read once, so that nobody who comes
// first has to fetch them from the disk.
func inputs(path string) (files []string, total int64, err error) {
	for _, name := range []string{path, filepath.Join(filepath.Dir(path), "weights.bin")} {
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) && name != path {
			continue
		}
		if err != nil {
			return nil, 0, err
		}
		n, err := io.Copy(io.Discard, f)
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, 0, err
		}
		files, total = append(files, name), total+n
	}
	return files, total, nil
}

func written(dir string) (total int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	return total, err
}

func lastLine(b []byte) string {
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	line := strings.TrimSpace(lines[len(lines)-1])
	if len(line) > 200 {
		line = line[:200] + "…"
	}
	return line
}

func ratio(wall time.Duration, of result) float64 {
	if len(of.wall) == 0 {
		return 0
	}
	return wall.Seconds() / stats.Median(of.wall).Seconds()
}

func ratioText(wall time.Duration, of result) string {
	if of.failed != "" {
		return "-"
	}
	return fmt.Sprintf("%.2f", ratio(wall, of))
}
