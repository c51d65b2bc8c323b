// Command memory measures what runs of the stages of bundles take, beside what they are
// estimated to take.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/distinfer/distinfer/runtime/ort"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "memory:", err)
		os.Exit(1)
	}
}

func run() error {
	library := flag.String("onnxruntime", filepath.Join(ort.SetupDir, "libonnxruntime.so"), "the library's file")
	sizes := flag.String("shapes", "1x16,1x128,8x128,1x512,8x512,64x64,128x16", "rows and the size of all other dimensions, such as 8x128")
	flag.Parse()
	var shapes []shape
	for text := range strings.SplitSeq(*sizes, ",") {
		var s shape
		if _, err := fmt.Sscanf(text, "%dx%d", &s.rows, &s.others); err != nil {
			return fmt.Errorf("--shapes: %q: %w", text, err)
		}
		shapes = append(shapes, s)
	}
	l, err := ort.Load(*library)
	if err != nil {
		return err
	}
	defer func() { _ = l.Close() }()
	for _, dir := range flag.Args() {
		list, err := measure(context.Background(), l, dir, shapes)
		if err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
		printMeasurements(os.Stdout, filepath.Base(dir), list)
	}
	return nil
}
