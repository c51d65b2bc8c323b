// Package memory measures what runs of the stages of bundles take, beside what they are
// estimated to take.
package memory

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/distinfer/distinfer/bench/cluster"
	"github.com/distinfer/distinfer/runtime/ort"
)

// Run measures the bundles that its arguments name, and prints.
func Run(ctx context.Context, args []string) error {
	var programs cluster.Programs
	f := flag.NewFlagSet("memory", flag.ExitOnError)
	programs.AddFlags(f)
	sizes := f.String("shapes", "1x16,1x128,8x128,1x512,8x512,64x64,128x16", "rows and the size of all other dimensions, such as 8x128")
	_ = f.Parse(args)
	var shapes []shape
	for text := range strings.SplitSeq(*sizes, ",") {
		var s shape
		if _, err := fmt.Sscanf(text, "%dx%d", &s.rows, &s.others); err != nil {
			return fmt.Errorf("-shapes: %q: %w", text, err)
		}
		shapes = append(shapes, s)
	}
	l, err := ort.Load(programs.Library)
	if err != nil {
		return err
	}
	defer func() { _ = l.Close() }()
	for _, dir := range f.Args() {
		list, err := measure(ctx, l, dir, shapes)
		if err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
		printMeasurements(os.Stdout, filepath.Base(dir), list)
	}
	return nil
}
