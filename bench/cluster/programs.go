package cluster

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Programs are what a cluster is started with.
type Programs struct {
	Distinfer string
	Library   string // file of ONNX Runtime
	Toxiproxy string // its server
}

// AddFlags has flags name the programs; the defaults are where make puts them.
func (p *Programs) AddFlags(f *flag.FlagSet) {
	f.StringVar(&p.Distinfer, "binary", "bin/distinfer", "the program to measure")
	f.StringVar(&p.Library, "onnxruntime", ".setup/onnxruntime/libonnxruntime.so", "file of the ONNX Runtime library")
	f.StringVar(&p.Toxiproxy, "toxiproxy", ".setup/bin/toxiproxy-server", "toxiproxy's server")
}

// Environment is this process's without what would configure distinfer, but for where the
// library is.
func (p *Programs) Environment() []string {
	env := slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, "DISTINFER_") })
	if library, err := filepath.Abs(p.Library); err == nil && p.Library != "" {
		env = append(env, "DISTINFER_ONNXRUNTIME="+library)
	}
	return env
}

// Command is distinfer with arguments, which ends with the context.
func (p *Programs) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, p.Distinfer, args...)
	cmd.Env = p.Environment()
	return cmd
}

// Split splits a model into stages, with further flags.
func (p *Programs) Split(ctx context.Context, model string, stages int, out string, flags ...string) error {
	args := append([]string{"split", model, "--stages", strconv.Itoa(stages), "--out", out}, flags...)
	if output, err := p.Command(ctx, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("split %s: %w: %s", model, err, output)
	}
	return nil
}
