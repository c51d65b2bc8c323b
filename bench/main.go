// Command bench measures distinfer, one benchmark at a time: let nothing else run on the
// machine meanwhile.
//
//	make bench                                     the main figures
//	make bench NAME=overload ARGS='-factor 5'      one benchmark
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"github.com/distinfer/distinfer/bench/accuracy"
	"github.com/distinfer/distinfer/bench/chaos"
	"github.com/distinfer/distinfer/bench/encodings"
	"github.com/distinfer/distinfer/bench/footprint"
	"github.com/distinfer/distinfer/bench/hop"
	"github.com/distinfer/distinfer/bench/large"
	"github.com/distinfer/distinfer/bench/memory"
	"github.com/distinfer/distinfer/bench/overhead"
	"github.com/distinfer/distinfer/bench/overload"
	"github.com/distinfer/distinfer/bench/peers"
	"github.com/distinfer/distinfer/bench/profile"
	"github.com/distinfer/distinfer/bench/rewriting"
	"github.com/distinfer/distinfer/bench/scale"
	"github.com/distinfer/distinfer/bench/simulate"
	"github.com/distinfer/distinfer/bench/splitting"
)

// A benchmark measures and prints, as its flags say.
type benchmark struct {
	name, about string
	main        bool // it is run when none is named
	run         func(ctx context.Context, args []string) error
}

var benchmarks = []benchmark{
	{"accuracy", "right labels of the whole model and of the same in two stages", true, accuracy.Run},
	{"footprint", "start-up and memory of a stage", true, footprint.Run},
	{"overhead", "two stages beside ONNX Runtime itself", true, overhead.Run},
	{"profile", "processor time outside of ONNX Runtime", true, profile.Run},
	{"hop", "a hop to a stage beside generated protobuf", true, hop.Run},
	{"text", "reading texts: the benchmarks of package text", true, text},
	{"chaos", "requests that are lost while replicas fail", false, chaos.Run},
	{"encodings", "the link speed at which narrow activations pay", false, encodings.Run},
	{"large", "a model in control groups that are too small for the whole", false, large.Run},
	{"memory", "memory that runs of the given bundles' stages take, beside the estimate", false, memory.Run},
	{"overload", "a front that gets ten times the requests it can answer", false, overload.Run},
	{"peers", "serving beside FastAPI, BentoML, Ray Serve and MLServer", false, peers.Run},
	{"rewriting", "a model beside itself without what nobody reads", false, rewriting.Run},
	{"scale", "1 to 6 emulated machines", false, scale.Run},
	{"simulate", "2 to 1,000 replicas in virtual time, with failures", false, simulate.Run},
	{"splitting", "splitting beside cp and other tools", false, splitting.Run},
}

func main() {
	signal.Ignore(syscall.SIGPIPE) // a reader that ends, as head does, must not leave processes behind
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx, os.Args[1:])
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	for i, b := range benchmarks {
		switch {
		case len(args) > 0 && args[0] == b.name:
			return b.run(ctx, args[1:])
		case len(args) == 0 && b.main:
			if i > 0 {
				fmt.Println()
			}
			if err := b.run(ctx, nil); err != nil {
				return fmt.Errorf("%s: %w", b.name, err)
			}
		}
	}
	if len(args) == 0 {
		return nil
	}
	fmt.Println("usage: bench [NAME [flags]]; bench NAME -help lists the flags")
	for _, b := range benchmarks {
		fmt.Printf("  %-10s %s\n", b.name, b.about)
	}
	if args[0] != "list" {
		return fmt.Errorf("%q names no benchmark", args[0])
	}
	return nil
}

// text runs the benchmarks of package text.
func text(ctx context.Context, args []string) error {
	args = append([]string{"test", "-run", "^$", "-bench", ".", "-benchtime", "1s", "./runtime/text"}, args...)
	output, err := exec.CommandContext(ctx, "go", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, output)
	}
	fmt.Println("Parts of a request")
	for line := range strings.Lines(string(output)) {
		if strings.HasPrefix(line, "Benchmark") || strings.HasPrefix(line, "cpu") {
			fmt.Print(line)
		}
	}
	return nil
}
