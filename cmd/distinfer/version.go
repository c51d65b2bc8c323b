package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/distinfer/distinfer/runtime/ort"
)

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the versions of distinfer and of ONNX Runtime",
		Long: `Print the versions of distinfer, Go and ONNX Runtime, and the file that ONNX
Runtime was loaded from. When it does not load, every place that was searched is
listed and the exit code is 1.`,
		Example: `  distinfer version
  distinfer version -o json`,
		Args: arguments(false),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := load(cmd)
			if err != nil {
				return err
			}
			v := versions{Distinfer: buildVersion(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
			library, failed := ort.Load(s.ONNXRuntime)
			if failed == nil {
				v.ONNXRuntime, v.Library = library.Version(), library.Path()
				defer func() { _ = library.Close() }()
			}
			if s.Output == "json" {
				if err := json.NewEncoder(cmd.OutOrStdout()).Encode(v); err != nil {
					return err
				}
				return failed
			}
			fmt.Fprintf(cmd.OutOrStdout(), "distinfer %s (%s, %s)\n", v.Distinfer, v.Go, v.Platform)
			if failed == nil {
				fmt.Fprintf(cmd.OutOrStdout(), "ONNX Runtime %s (%s)\n", v.ONNXRuntime, v.Library)
			}
			return failed
		},
	}
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
