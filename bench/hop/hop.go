// Package hop measures what one hop to a stage and back costs over a loopback
// connection, with the codec of server/stage and with generated protobuf messages.
// It runs BenchmarkHop of that package, the two alternating, and prints their ratios.
package hop

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/distinfer/distinfer/bench/stats"
)

// The two sides of the comparison, as BenchmarkHop names them.
var sides = [2]string{"own", "generated"}

// A sample is what one run of a benchmark says of one hop.
type sample struct{ nanoseconds, megabytes, allocated float64 }

// Run measures and prints.
func Run(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("hop", flag.ExitOnError)
	repeats := f.Int("repeats", 5, "runs of each")
	length := f.Duration("time", 500*time.Millisecond, "how long one run is to take")
	_ = f.Parse(args)
	return compare(ctx, *repeats, *length)
}

func compare(ctx context.Context, repeats int, length time.Duration) error {
	if repeats < 1 {
		return errors.New("-repeats must be 1 or more")
	}
	dir, err := os.MkdirTemp("", "distinfer-hop-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary := filepath.Join(dir, "stage.test")
	if output, err := exec.CommandContext(ctx, "go", "test", "-c", "-o", binary, "./server/stage").CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, output)
	}
	sizes, err := list(ctx, binary)
	if err != nil {
		return err
	}
	fmt.Printf("One hop over loopback and back: own codec and generated protobuf alternating, %d runs of %v each; medians, and the ratio own/generated of each pair (least to most)\n", repeats, length)
	t := stats.Table(os.Stdout)
	fmt.Fprintln(t, "size\town µs\tgenerated µs\town MB/s\tgenerated MB/s\town B allocated\tgenerated B allocated\ttime ratio\tallocation ratio\t")
	for _, size := range sizes {
		var samples [2][]sample
		for i := range repeats {
			for k := range sides {
				side := (i + k) % 2 // each is first every other time
				s, err := measure(ctx, binary, size+"/"+sides[side], length)
				if err != nil {
					return err
				}
				samples[side] = append(samples[side], s)
			}
		}
		var own, generated, ratio [3][]float64
		for i := range repeats {
			a, b := samples[0][i].values(), samples[1][i].values()
			for k := range a {
				own[k], generated[k] = append(own[k], a[k]), append(generated[k], b[k])
				ratio[k] = append(ratio[k], a[k]/b[k])
			}
		}
		fmt.Fprintf(t, "%s\t%.1f\t%.1f\t%.0f\t%.0f\t%.0f\t%.0f\t%s\t%s\t\n", size,
			stats.Median(own[0])/1e3, stats.Median(generated[0])/1e3, stats.Median(own[1]), stats.Median(generated[1]),
			stats.Median(own[2]), stats.Median(generated[2]), stats.SpreadOf(ratio[0]), stats.SpreadOf(ratio[2]))
	}
	return t.Flush()
}

func (s sample) values() [3]float64 {
	return [3]float64{s.nanoseconds, s.megabytes, s.allocated}
}

// hopName is a benchmark's name, with its size and its side.
var hopName = regexp.MustCompile(`^BenchmarkHop/(\w+)/(\w+?)(-\d+)?\s`)

// list returns the sizes that BenchmarkHop knows, in its order.
func list(ctx context.Context, binary string) ([]string, error) {
	output, err := bench(ctx, binary, "Hop", "1x")
	if err != nil {
		return nil, err
	}
	var sizes []string
	for _, line := range strings.Split(output, "\n") {
		if m := hopName.FindStringSubmatch(line); m != nil && m[2] == sides[0] {
			sizes = append(sizes, m[1])
		}
	}
	if len(sizes) == 0 {
		return nil, fmt.Errorf("BenchmarkHop names no sizes: %s", output)
	}
	return sizes, nil
}

func bench(ctx context.Context, binary, pattern, length string) (string, error) {
	cmd := exec.CommandContext(ctx, binary, "-test.run", "^$", "-test.bench", pattern, "-test.benchtime", length)
	output, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, output)
	}
	return string(output), nil
}

// measure runs one benchmark and reads its line of figures.
func measure(ctx context.Context, binary, name string, length time.Duration) (s sample, err error) {
	output, err := bench(ctx, binary, "^BenchmarkHop$/^"+strings.ReplaceAll(name, "/", "$/^")+"$", length.String())
	if err != nil {
		return s, err
	}
	for _, line := range strings.Split(output, "\n") {
		if !hopName.MatchString(line) {
			continue
		}
		fields := strings.Fields(line)
		found := 0
		for i, unit := range fields[1:] {
			to, known := map[string]*float64{"ns/op": &s.nanoseconds, "MB/s": &s.megabytes, "B/op": &s.allocated}[unit]
			if !known {
				continue
			}
			if *to, err = strconv.ParseFloat(fields[i], 64); err != nil {
				return s, err
			}
			found++
		}
		if found != 3 {
			return s, fmt.Errorf("%s: not the figures of a benchmark: %s", name, line)
		}
		return s, nil
	}
	return s, fmt.Errorf("%s was not run: %s", name, output)
}
