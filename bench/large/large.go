// Package large measures models that are larger than a machine.
package large

import (
	"context"
	"flag"
	"fmt"

	"github.com/distinfer/distinfer/split/onnxfile/decodertest"
)

// Run measures and prints.
func Run(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("large", flag.ExitOnError)
	out := f.String("generate", "", "write a model into this folder, and measure nothing")
	shape := f.String("shape", "0.6B", "of the model: 0.6B, 8B or tiny")
	precision := f.String("precision", "float32", "of the model: float32, float16 or int4")
	fused := f.Bool("fused", false, "")
	positions := f.Bool("position-ids", false, "")
	layers := f.Int("layers", 0, "")
	vocabulary := f.Int("vocabulary", 0, "")
	sparse := f.Bool("sparse", false, "")
	_ = f.Parse(args)
	shapes := map[string]decodertest.Shape{"0.6B": decodertest.Embedding600M, "8B": decodertest.Embedding8B, "tiny": decodertest.Tiny}
	s, ok := shapes[*shape]
	if !ok {
		return fmt.Errorf("no shape")
	}
	if *layers > 0 {
		s.Layers = *layers
	}
	if *vocabulary > 0 {
		s.Vocabulary = *vocabulary
	}
	return decodertest.Write(*out, s, decodertest.Options{Precision: decodertest.Precision(*precision), Fused: *fused, PositionIDs: *positions, Sparse: *sparse})
}
