// Package accuracy counts right labels on SST-2's dev and test sentences, of the
// whole model and of the same model in two stages, and the labels that differ.
package accuracy

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/distinfer/distinfer/bench/cluster"
	"github.com/distinfer/distinfer/bench/stats"
)

// Run measures and prints.
func Run(ctx context.Context, args []string) error {
	var programs cluster.Programs
	f := flag.NewFlagSet("accuracy", flag.ExitOnError)
	programs.AddFlags(f)
	_ = f.Parse(args)
	dir, err := os.MkdirTemp("", "distinfer-accuracy-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	fmt.Println("Accuracy on SST-2, whole (one stage) and split (two stages), computed in one process")
	t := stats.Table(os.Stdout)
	fmt.Fprintln(t, "model\tset\tsentences\twhole\tsplit\tlabels that differ\tsentences/s whole\tsplit\t")
	for _, model := range []string{"sst2-minilm", "sst2-minilm-int8", "seed-rnn"} {
		for stages := 1; stages <= 2; stages++ {
			if err := programs.Split(ctx, filepath.Join("models", model, "model.onnx"), stages, filepath.Join(dir, model+strconv.Itoa(stages))); err != nil {
				return err
			}
		}
		for _, set := range []string{"dev", "test"} {
			file := filepath.Join(cluster.SST2, set+".tsv")
			want, err := cluster.Column(file, 0)
			if err != nil {
				return err
			}
			whole, wholeRate, err := predict(ctx, programs, file, filepath.Join(dir, model+"1"))
			if err != nil {
				return err
			}
			split, splitRate, err := predict(ctx, programs, file, filepath.Join(dir, model+"2"))
			if err != nil {
				return err
			}
			if len(whole) != len(want) || len(split) != len(want) {
				return fmt.Errorf("%d and %d labels for %d sentences", len(whole), len(split), len(want))
			}
			var rightWhole, rightSplit, differ int
			for i, digit := range want {
				label := map[string]string{"0": "negative", "1": "positive"}[digit]
				if whole[i] == label {
					rightWhole++
				}
				if split[i] == label {
					rightSplit++
				}
				if whole[i] != split[i] {
					differ++
				}
			}
			n := float64(len(want))
			fmt.Fprintf(t, "%s\t%s\t%d\t%.4f\t%.4f\t%d\t%.0f\t%.0f\t\n", model, set, len(want),
				float64(rightWhole)/n, float64(rightSplit)/n, differ, wholeRate, splitRate)
		}
	}
	return t.Flush()
}

// predict labels a file, and tells how many sentences a second that was, loading
// included.
func predict(ctx context.Context, programs cluster.Programs, file, bundle string) (labels []string, rate float64, err error) {
	started := time.Now()
	cmd := programs.Command(ctx, "predict", file, "--column", "content", "--bundle", bundle)
	cmd.Stderr = os.Stderr
	output, err := cmd.Output()
	for line := range strings.Lines(string(output)) {
		label, _, _ := strings.Cut(line, "\t")
		labels = append(labels, label)
	}
	return labels, float64(len(labels)) / time.Since(started).Seconds(), err
}
