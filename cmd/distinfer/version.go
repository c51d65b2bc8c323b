package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/distinfer/distinfer/cmd/settings"
	"github.com/distinfer/distinfer/runtime/ort"
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
listed and the exit code is 1.

As JSON also how the program was installed (archive, package, wheel, image, checkout
or unknown), the file with its bill of materials, and where the checksums of the
release are.`,
		Example: `  distinfer version
  distinfer version -o json`,
		Args: arguments(false),
	}, func(cmd *cobra.Command, _ []string) error {
		return o.version(cmd.OutOrStdout())
	})
}

func (o *versionOptions) version(out io.Writer) error {
	v := versions{
		Distinfer: buildVersion(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
		Installation: ort.InstalledAs(), Bill: ort.BillOfMaterials(),
	}
	v.Checksums = checksums(v.Distinfer)
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
	Distinfer    string           `json:"distinfer"`
	Go           string           `json:"go"`
	Platform     string           `json:"platform"`
	ONNXRuntime  string           `json:"onnxruntime,omitempty"`
	Library      string           `json:"library,omitempty"`
	Installation ort.Installation `json:"installation"`
	Bill         string           `json:"sbom,omitempty"`
	Checksums    string           `json:"checksums,omitempty"`
}

var released = regexp.MustCompile(`^v\d+\.\d+\.\d+(-(alpha|beta|rc)\.\d+)?$`)

// checksums is the address of the hashes of a release's files; empty for what is between releases.
func checksums(version string) string {
	if !released.MatchString(version) {
		return ""
	}
	return "https://github.com/distinfer/distinfer/releases/download/" + version + "/SHA256SUMS"
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
