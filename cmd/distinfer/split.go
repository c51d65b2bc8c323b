package main

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/distinfer/distinfer/cmd/settings"
	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/server/task"
	"github.com/distinfer/distinfer/split"
	"github.com/distinfer/distinfer/split/report"
)

type splitOptions struct {
	libraryOptions
	outputOptions
	cutOptions
	verifyOptions
	Out                     string
	Force, NoVerify, DryRun bool
}

func (o *splitOptions) AddFlags(f *pflag.FlagSet) {
	o.libraryOptions.AddFlags(f)
	o.outputOptions.AddFlags(f, "dot")
	o.cutOptions.AddFlags(f)
	o.verifyOptions.AddFlags(f)
	f.StringVar(&o.Out, "out", "stages", "`folder` to write the bundle to")
	f.BoolVar(&o.Force, "force", false, "replace a bundle that is there already")
	f.BoolVar(&o.NoVerify, "no-verify", false, "do not run the stages against the whole model")
	f.BoolVar(&o.DryRun, "dry-run", false, "show the plan and write nothing")
	settings.OnlyFlags(f, "out", "force", "no-verify", "dry-run")
}

func newSplit() *cobra.Command {
	var o splitOptions
	return settings.Command(&o, &cobra.Command{
		Use:   "split MODEL",
		Short: "Cut a model into stages",
		Long: `Cut an ONNX model into stages of about equal cost, write them as a bundle, and
check that the stages, one after the other, give what the whole model gives.

MODEL is an ONNX file, or a folder: what an export or a download left behind. The
bundle holds one plain ONNX file a stage, a manifest, and the tokenizer.json,
config.json and files of sentence-transformers from beside the model, or of the
folder above onnx/. A model that reads texts and could not answer them is refused,
unless --no-text is given. The same model and flags give the same bytes. Nothing is
left behind when anything fails.`,
		Example: `  distinfer split model.onnx --stages 2
  distinfer split my-model --file onnx/model_int8.onnx --name my-model-int8
  distinfer split models/sst2-minilm/model.onnx --stages 3 --out /srv/sentiment
  distinfer split model.onnx --stages 4 --dry-run      # the plan only
  distinfer split model.onnx --stages 4 --dry-run -o dot | dot -Tsvg > plan.svg
  distinfer split model.onnx --stages auto             # for the machines in distinfer.yaml
  distinfer split model.onnx --at /encoder/layer.2/output/LayerNorm/Add_1_output_0
  distinfer split model.onnx --stages 2 --dim batch=8 --dim sequence=64`,
		Args: arguments(false, "MODEL, an ONNX file or the folder of one,"),
	}, func(cmd *cobra.Command, args []string) error {
		how := split.Options{Out: o.Out, Force: o.Force, DryRun: o.DryRun, Verify: !o.NoVerify, Inputs: o.Inputs, Memory: o.memory()}
		if o.NoVerify && len(o.Inputs) > 0 {
			return usageError{errors.New("--inputs are what to verify with, and --no-verify asks not to")}
		}
		if err := o.apply(cmd, &how); err != nil {
			return err
		}
		found, err := splitModel(cmd.Context(), &o.libraryOptions, o.Threads, args[0], how)
		if err != nil {
			return err
		}
		switch out := cmd.OutOrStdout(); o.Output {
		case "json":
			return json.NewEncoder(out).Encode(found)
		case "dot":
			return found.Dot(out)
		default:
			return report.Split(out, found, how)
		}
	})
}

// splitModel loads ONNX Runtime and splits the model at path.
func splitModel(ctx context.Context, l *libraryOptions, threads int, path string, o split.Options) (*split.Report, error) {
	library, err := l.library()
	if err != nil {
		return nil, err
	}
	defer func() { _ = library.Close() }()
	o.Texts, o.Progress = task.Answered, showing("writing")
	o.Inspect = func(b *bundle.Bundle) (split.Served, error) {
		s, err := task.Inspect(b)
		return split.Served(s), err
	}
	return split.Split(ctx, path, ortEngine{library, threads}, o)
}
