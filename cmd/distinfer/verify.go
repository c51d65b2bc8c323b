package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/host"
	"github.com/distinfer/distinfer/server/task"
	"github.com/distinfer/distinfer/split/engine"
	"github.com/distinfer/distinfer/split/verify"
)

func newVerify() *cobra.Command {
	var o verify.Options
	var memory int64
	var texts string
	var in inputOptions
	cmd := &cobra.Command{
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
	}
	cmd.Flags().StringVar(&o.Model, "model", "", "`file` of the whole model, to compare with")
	cmd.Flags().Float64Var(&o.Tolerance, "tolerance", 0, "largest `difference` of floats, as a share of the largest magnitude in the tensor (default 1e-4, more for floats of 16 bits and less)")
	new(threadsOptions).AddFlags(cmd.Flags())
	cmd.Flags().StringVar(&texts, "texts", "", "`file` of texts, as predict takes them, to compare the encodings of --activation-dtype on")
	in.AddFlags(cmd.Flags())
	addVerifyFlags(cmd.Flags(), &o.Inputs, &memory)
	addRunTimeFlag(cmd.Flags(), &o.RunTime)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := load(cmd)
		if err != nil {
			return err
		}
		if len(args) > 0 {
			s.Bundle = args[0]
		}
		if cmd.Flags().Changed("tolerance") {
			if !(o.Tolerance >= 0) || math.IsInf(o.Tolerance, 0) {
				return usageError{fmt.Errorf("--tolerance is %g; it can be 0 or more", o.Tolerance)}
			}
			o.Tolerance = max(o.Tolerance, math.SmallestNonzeroFloat64) // 0 asks for equality, not for the usual one
		}
		if o.Memory, err = memoryBound(memory); err != nil {
			return err
		}
		if err := checkRunTime(o.RunTime); err != nil {
			return err
		}
		if texts == "" && (in.Format != "" || in.Column != "") {
			return usageError{errors.New("--format and --column say how to read texts; name their file with --texts")}
		}
		b, err := bundle.Open(s.Bundle)
		if err != nil {
			return err
		}
		library, err := s.library()
		if err != nil {
			return err
		}
		defer func() { _ = library.Close() }()
		o.Texts = task.Answered
		v, err := verify.Verify(cmd.Context(), ortEngine{library, s.Threads}, b, o)
		if err != nil {
			return err
		}
		var wires *wireReport
		if texts != "" {
			if wires, err = s.compareWires(cmd.Context(), library, b, &in, texts, cmd.InOrStdin()); err != nil {
				return err
			}
		}
		if err := printVerified(cmd.OutOrStdout(), s.Output, b, v, wires); err != nil {
			return err
		}
		if v.StagesRun == 0 {
			return errors.New("the files are those of the manifest, but nothing was verified by running; see above why")
		}
		return nil
	}
	return cmd
}

// addVerifyFlags adds the flags of all commands that verify.
func addVerifyFlags(f *pflag.FlagSet, inputs *[]string, memory *int64) {
	f.StringArrayVar(inputs, "inputs", nil, "`file` of inputs to verify with besides generated ones: .npz, .pb, or a folder of ONNX test data; may be given several times")
	f.Int64Var(memory, "memory", 0, "`MB` of memory that verification may take (default what is available)")
}

// addRunTimeFlag adds the flag of all commands that run a model to look at it.
func addRunTimeFlag(f *pflag.FlagSet, limit *time.Duration) {
	f.DurationVar(limit, "verify-timeout", engine.DefaultRunTime, "longest `time` that a run of the model or of a stage may take to verify it; what does not end by then is said not to be verified")
}

func checkRunTime(limit time.Duration) error {
	if limit < time.Millisecond {
		return usageError{fmt.Errorf("--verify-timeout is %s; it can be 1ms or more, such as 10m", limit)}
	}
	return nil
}

// memoryBound is the bound in bytes for a --memory in MB.
func memoryBound(mb int64) (int64, error) {
	if mb < 0 || mb > math.MaxInt64>>20 {
		return 0, usageError{fmt.Errorf("--memory is %d; it can be 1 or more, or 0 for what is available", mb)}
	}
	if mb == 0 {
		return host.Here.AvailableMemory(), nil
	}
	return mb << 20, nil
}

func printVerified(w io.Writer, format string, b *bundle.Bundle, v *verify.Result, wires *wireReport) error {
	if format == "json" {
		return json.NewEncoder(w).Encode(struct {
			Dir          string         `json:"dir"`
			Bundle       bundle.ID      `json:"bundle"`
			Verification *verify.Result `json:"verification"`
			Wire         *wireReport    `json:"wire,omitempty"`
		}{b.Dir, b.ID, v, wires})
	}
	fmt.Fprintf(w, "%s: %s in %s (bundle %s); every file is the one the manifest speaks of\n", b.Dir, b.Model.Name, stages(len(b.Stages)), b.ID.Short())
	if len(v.Extra) > 0 {
		fmt.Fprintf(w, "not part of the bundle: %s\n", strings.Join(v.Extra, ", "))
	}
	printVerification(w, v)
	return wires.print(w)
}

// printVerification says what was verified, and what was not.
func printVerification(w io.Writer, v *verify.Result) {
	differences := fmt.Sprintf("(largest difference %.1e absolute, %.1e relative)", v.MaxAbsolute, v.MaxRelative)
	switch {
	case v.Against == verify.AgainstWhole:
		fmt.Fprintf(w, "verified: chain equals whole on %d inputs %s\n", v.Runs, differences)
	case v.Against == verify.AgainstExpected:
		fmt.Fprintf(w, "verified: the stages give the expected outputs, on %d inputs in all %s\n", v.Runs, differences)
	case v.StagesRun > 0:
		fmt.Fprintf(w, "verified: %s, loaded and run, with the declared types and shapes\n", stages(v.StagesRun))
	}
	for _, sentence := range v.Unverified {
		fmt.Fprintf(w, "not verified: %s\n", sentence)
	}
}
