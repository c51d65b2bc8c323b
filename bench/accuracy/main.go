// Command accuracy counts right labels on SST-2's dev and test sentences, of the
// whole model and of the same model in two stages, and the labels that differ.
//
//	go run ./bench/accuracy [-binary bin/distinfer]
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"
)

func main() {
	binary := flag.String("binary", "bin/distinfer", "the program to measure")
	flag.Parse()
	if err := run(context.Background(), *binary); err != nil {
		fmt.Fprintln(os.Stderr, "accuracy:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, binary string) error {
	dir, err := os.MkdirTemp("", "distinfer-accuracy-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	fmt.Println("Accuracy on SST-2, whole (one stage) and split (two stages), computed in one process")
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "model\tset\tsentences\twhole\tsplit\tlabels that differ\tsentences/s whole\tsplit\t")
	for _, model := range []string{"sst2-minilm", "sst2-minilm-int8", "seed-rnn"} {
		for _, stages := range []string{"1", "2"} {
			out := filepath.Join(dir, model+stages)
			if output, err := exec.CommandContext(ctx, binary, "split", filepath.Join("models", model, "model.onnx"), "--stages", stages, "--out", out).CombinedOutput(); err != nil {
				return fmt.Errorf("%w: %s", err, output)
			}
		}
		for _, set := range []string{"dev", "test"} {
			file := filepath.Join("models", "testdata", "sst2", set+".tsv")
			want, err := column(os.ReadFile(file))
			if err != nil {
				return err
			}
			want = want[1:] // the header
			whole, wholeRate, err := predict(ctx, binary, file, filepath.Join(dir, model+"1"))
			if err != nil {
				return err
			}
			split, splitRate, err := predict(ctx, binary, file, filepath.Join(dir, model+"2"))
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
func predict(ctx context.Context, binary, file, bundle string) (labels []string, rate float64, err error) {
	started := time.Now()
	cmd := exec.CommandContext(ctx, binary, "predict", file, "--column", "content", "--bundle", bundle)
	cmd.Stderr = os.Stderr
	labels, err = column(cmd.Output())
	return labels, float64(len(labels)) / time.Since(started).Seconds(), err
}

// column is the first of the tab-separated columns.
func column(table []byte, err error) ([]string, error) {
	if err != nil {
		return nil, err
	}
	var cells []string
	for _, line := range bytes.Split(bytes.TrimSuffix(table, []byte("\n")), []byte("\n")) {
		cell, _, _ := strings.Cut(string(line), "\t")
		cells = append(cells, cell)
	}
	return cells, nil
}
