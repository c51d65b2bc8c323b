// Package large measures a model that is larger than the memory that its stages may use: in
// stages that run in control groups of their own, beside the whole without a limit. It prints
// whether the answers are equal, tokens a second, start-up, and memory beside its limit.
package large

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/distinfer/distinfer/bench/cluster"
	"github.com/distinfer/distinfer/split/onnxfile/decodertest"
)

var shapes = map[string]decodertest.Shape{"0.6B": decodertest.Embedding600M, "8B": decodertest.Embedding8B, "tiny": decodertest.Tiny}

// options are what the flags say.
type options struct {
	programs   cluster.Programs
	shape      decodertest.Shape
	precisions []decodertest.Precision
	stages     []int
	lengths    []int
	dir        string
	runs       int
}

// Run measures and prints, or generates a model.
func Run(ctx context.Context, args []string) (err error) {
	var o options
	var model decodertest.Options
	f := flag.NewFlagSet("large", flag.ExitOnError)
	o.programs.AddFlags(f)
	out := f.String("generate", "", "write a model of the first precision into this folder, and measure nothing")
	shape := f.String("shape", "0.6B", "of the model: 0.6B, 8B or tiny")
	layers := f.Int("layers", 0, "layers of the model; 0 is as many as its shape has")
	precisions := f.String("precisions", "float32,float16,int4", "of the weights")
	f.BoolVar(&model.Fused, "fused", false, "with -generate: use ONNX Runtime's own operators, as -precisions int4 always does")
	f.BoolVar(&model.PositionIDs, "position-ids", false, "with -generate: make position_ids an input")
	f.BoolVar(&model.Sparse, "sparse", false, "with -generate: leave the weights out of their file, which so takes no room on the disk")
	stages := f.String("stages", "2,4", "numbers of stages")
	lengths := f.String("lengths", "128,512,2048,4096", "tokens of the texts, as far as the model has positions")
	f.IntVar(&o.runs, "runs", 3, "of each length up to 512; of longer ones there is one")
	f.StringVar(&o.dir, "dir", "", "folder for models and bundles, 7 GB; a temporary one when empty")
	_ = f.Parse(args)

	var known bool
	if o.shape, known = shapes[*shape]; !known {
		return fmt.Errorf("-shape: %q is none of %q", *shape, slices.Sorted(maps.Keys(shapes)))
	}
	if *layers > 0 {
		o.shape.Layers = *layers
	}
	for p := range strings.SplitSeq(*precisions, ",") {
		if !slices.Contains(decodertest.Precisions, decodertest.Precision(p)) {
			return fmt.Errorf("-precisions: %q is none of %q", p, decodertest.Precisions)
		}
		o.precisions = append(o.precisions, decodertest.Precision(p))
	}
	if o.stages, err = numbers("-stages", *stages); err != nil {
		return err
	}
	if o.lengths, err = numbers("-lengths", *lengths); err != nil {
		return err
	}
	o.lengths = slices.DeleteFunc(o.lengths, func(n int) bool { return n > o.shape.Positions })
	if *out != "" {
		model.Precision = o.precisions[0]
		model.Fused = model.Fused || model.Precision == decodertest.Int4
		return decodertest.Write(*out, o.shape, model)
	}
	if o.dir == "" {
		if o.dir, err = os.MkdirTemp("", "distinfer-large-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(o.dir)) }()
	}
	return o.measure(ctx)
}

func numbers(name, list string) ([]int, error) {
	var found []int
	for text := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%s: %q is no number above 0", name, text)
		}
		found = append(found, n)
	}
	return found, nil
}

// model writes the model of a precision, unless it is there.
func (o *options) model(p decodertest.Precision) (path string, err error) {
	dir := filepath.Join(o.dir, "model-"+string(p))
	path = filepath.Join(dir, "model.onnx")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	return path, decodertest.Write(dir, o.shape, decodertest.Options{Precision: p, Fused: p == decodertest.Int4})
}
