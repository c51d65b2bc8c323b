package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/distinfer/distinfer/cmd/settings"
)

type versionOptions struct {
	libraryOptions
	outputOptions
}

func (o *versionOptions) AddFlags(f *pflag.FlagSet) {
	o.libraryOptions.AddFlags(f)
	o.outputOptions.AddFlags(f)
}

func newVersion() *cobra.Command {
	var o versionOptions
	return settings.Command(&o, &cobra.Command{
		Use:   "version",
		Short: "Print the versions of distinfer and of ONNX Runtime",
		Long: `Print the versions of distinfer, Go and ONNX Runtime, and the file that ONNX
Runtime was loaded from. When it does not load, every place that was searched is
listed and the exit code is 1.`,
		Example: `  distinfer version
  distinfer version -o json`,
		Args: arguments(false),
	}, func(cmd *cobra.Command, _ []string) error {
		return o.version(cmd.OutOrStdout())
	})
}

func (o *versionOptions) version(out io.Writer) error {
	v := versions{Distinfer: buildVersion(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	library, failed := o.library()
	if failed == nil {
		v.ONNXRuntime, v.Library = library.Version(), library.Path()
		defer func() { _ = library.Close() }()
	}
	if o.Output == "json" {
		return errors.Join(json.NewEncoder(out).Encode(v), failed)
	}
	fmt.Fprintf(out, "distinfer %s (%s, %s)\n", v.Distinfer, v.Go, v.Platform)
	if failed == nil {
		fmt.Fprintf(out, "ONNX Runtime %s (%s)\n", v.ONNXRuntime, v.Library)
	}
	return failed
}

type versions struct {
	Distinfer   string `json:"distinfer"`
	Go          string `json:"go"`
	Platform    string `json:"platform"`
	ONNXRuntime string `json:"onnxruntime,omitempty"`
	Library     string `json:"library,omitempty"`
}

// buildVersion is the version that the Go toolchain recorded: of the module
// when it was installed by version, else of the commit it was built from.
func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	version := info.Main.Version
	if version == "" {
		version = "(devel)"
	}
	return version
}
