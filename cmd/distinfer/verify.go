package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/distinfer/distinfer/cmd/settings"
	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/host"
	"github.com/distinfer/distinfer/server/task"
	"github.com/distinfer/distinfer/split/modelfolder"
	"github.com/distinfer/distinfer/split/report"
	"github.com/distinfer/distinfer/split/verify"
)

// verifyOptions say what to verify with.
type verifyOptions struct {
	Inputs []string
	Memory int64 // in MB; 0 is what is available
}

func (o *verifyOptions) AddFlags(f *pflag.FlagSet) {
	f.StringArrayVar(&o.Inputs, "inputs", nil, "`file` of inputs to verify with besides generated ones: .npz, .pb, or a folder of ONNX test data; may be given several times")
	settings.Number(f, &o.Memory, "memory", 0, 0, math.MaxInt64, "`MB` of memory that verification may take (default what is available)")
	settings.OnlyFlags(f, "inputs", "memory")
}

// memory is the bound in bytes.
func (o *verifyOptions) memory() int64 {
	if o.Memory == 0 {
		return host.Here.AvailableMemory()
	}
	return min(o.Memory, math.MaxInt64>>20) << 20
}

type verifyCommand struct {
	bundleOptions
	logOptions
	libraryOptions
	outputOptions
	threadsOptions
	inputOptions
	verifyOptions
	fileOptions
	Model     string
	Tolerance float64
	RunTime   time.Duration
	Texts     string
}

func (o *verifyCommand) AddFlags(f *pflag.FlagSet) {
	o.outputOptions.AddFlags(f)
	for _, group := range []settings.Options{&o.bundleOptions, &o.logOptions, &o.libraryOptions, &o.threadsOptions, &o.inputOptions, &o.verifyOptions, &o.fileOptions} {
		group.AddFlags(f)
	}
	f.StringVar(&o.Model, "model", "", "`file` or folder of the whole model, to compare with")
	toleranceVar(f, &o.Tolerance, "tolerance", "largest `difference` of floats, as a share of the largest magnitude in the tensor (default 1e-4, more for floats of 16 bits and less)")
	runTimeVar(f, &o.RunTime)
	f.StringVar(&o.Texts, "texts", "", "`file` of texts, as predict takes them, to compare the encodings of --activation-dtype on")
	settings.OnlyFlags(f, "model", "tolerance", "verify-timeout", "texts")
}

// toleranceVar adds a flag for a number from 0 on. 0 asks for equality, which the smallest
// number stands for: 0 in the options is the usual tolerance.
func toleranceVar(f *pflag.FlagSet, to *float64, name, usage string) {
	parse := func(s string) (float64, error) {
		x, err := strconv.ParseFloat(s, 64)
		if err != nil || !(x >= 0) || math.IsInf(x, 0) {
			return 0, errors.New("it can be 0 or more")
		}
		return max(x, math.SmallestNonzeroFloat64), nil
	}
	format := func(x float64) string {
		if x == 0 {
			return ""
		}
		return strconv.FormatFloat(x, 'g', -1, 64)
	}
	f.Var(&settings.Value[float64]{To: to, Parse: parse, Format: format, Kind: "float"}, name, usage)
}

func newVerify() *cobra.Command {
	var o verifyCommand
	return settings.Command(&o, &cobra.Command{
		Use:   "verify [BUNDLE]",
		Short: "Check a bundle: its files, and what its stages give",
		Long: `Check that every file of a bundle is the one its manifest speaks of, that every
stage loads and runs, and with --model that the stages, one after the other, give
what the whole model gives.

The stages run on generated inputs, and on those of --inputs: an .npz with an array
for each input, .pb files of one TensorProto each, named as the inputs, or a folder
of ONNX test data (input_0.pb, …; what output_0.pb, … hold is what the stages have
to give). Whatever could not be verified is said. The exit code is 1 when something
is wrong, or when nothing could be run.

With --texts it also says what the encodings of a front's --activation-dtype would change: all
stages are loaded, the texts of a file are labelled with each encoding between the
stages, and compared with the labels and scores that float32 gives. That is no
verification: it changes nothing about the exit code.`,
		Example: `  distinfer verify
  distinfer verify /srv/sentiment --model models/sst2-minilm/model.onnx
  distinfer verify --model model.onnx --inputs batch.npz
  distinfer verify --inputs test_data_set_0 --tolerance 1e-3 -o json
  distinfer verify --texts dev.tsv --column sentence`,
		Args: arguments(true, "BUNDLE"),
	}, func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			o.Bundle = args[0]
		}
		if o.Texts == "" && o.isSet() {
			return withoutFile()
		}
		if o.Model == "" && o.File != "" {
			return usageError{errors.New("--file chooses a file in the folder of the whole model; name that with --model")}
		}
		return o.run(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout())
	})
}

// whole is the path of the whole model, "" when none was named. In a folder it is the file that
// the bundle was made from, if no other was asked for.
func (o *verifyCommand) whole(b *bundle.Bundle) (string, error) {
	if o.Model == "" {
		return "", nil
	}
	m, err := modelfolder.Find(o.Model, o.File)
	if err != nil {
		return "", err
	}
	if o.File == "" {
		return m.Made(b.Model), nil
	}
	return m.Path, nil
}

func (o *verifyCommand) run(ctx context.Context, in io.Reader, out io.Writer) error {
	b, err := bundle.Open(o.Bundle)
	if err != nil {
		return err
	}
	whole, err := o.whole(b)
	if err != nil {
		return err
	}
	library, err := o.library()
	if err != nil {
		return err
	}
	defer func() { _ = library.Close() }()
	v, err := verify.Verify(ctx, ortEngine{library, o.Threads}, b, verify.Options{
		Model: whole, Inputs: o.Inputs, Tolerance: o.Tolerance, Memory: o.memory(), RunTime: o.RunTime, Texts: task.Answered,
	})
	if err != nil {
		return err
	}
	var encodings *verify.EncodingReport
	if o.Texts != "" {
		if encodings, err = o.compareEncodings(ctx, library, b, in); err != nil {
			return err
		}
	}
	if err := printVerified(out, o.Output, b, v, encodings); err != nil {
		return err
	}
	if v.StagesRun == 0 {
		return errors.New("the files are those of the manifest, but nothing was verified by running; see above why, and give inputs with --inputs")
	}
	return nil
}

func printVerified(w io.Writer, format string, b *bundle.Bundle, v *verify.Result, encodings *verify.EncodingReport) error {
	if format == "json" {
		return json.NewEncoder(w).Encode(struct {
			Dir          string                 `json:"dir"`
			Bundle       bundle.ID              `json:"bundle"`
			Verification *verify.Result         `json:"verification"`
			Encodings    *verify.EncodingReport `json:"encodings,omitempty"`
		}{b.Dir, b.ID, v, encodings})
	}
	if err := report.Verified(w, b, v); err != nil || encodings == nil {
		return err
	}
	return report.Encodings(w, encodings)
}
