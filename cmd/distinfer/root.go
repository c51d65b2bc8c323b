package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/distinfer/distinfer/cmd/settings"
)

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "distinfer",
		Short: "Serve an ONNX model across several machines, each holding only some of its layers",
		Long: `distinfer cuts an ONNX model into stages, runs each stage on a machine of its
own behind gRPC, and answers over HTTP.

Every setting is taken from the first of these that has it: the flag, the
environment variable DISTINFER_<FLAG> (such as DISTINFER_LOG_LEVEL), the config
file (distinfer.yaml in this folder, or --config), the default.

Exit codes: 0 done, 1 failed, 2 the command line or the configuration is wrong,
128 and the signal's number when a second signal forced the end.`,
		Example: `  distinfer split model.onnx --stages 2     # cut the model into stages/
  distinfer serve-stage --rank 0            # on the first machine
  distinfer serve-stage --rank 1            # on the second
  distinfer front --port 8008               # chain them and answer over HTTP
  curl 'http://localhost:8008/?text=a+lovely+film'`,
		Version:       buildVersion(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			hint := ""
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				hint = fmt.Sprintf("; did you mean %s?", near[0])
			}
			return usageError{fmt.Errorf("there is no command %q%s", args[0], hint)}
		},
		SuggestionsMinimumDistance: 2,
	}
	root.SetFlagErrorFunc(settings.FlagError)
	root.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	root.AddCommand(
		newSplit(),
		newVerify(),
		newServeStage(),
		newFront(),
		newUp(),
		newCheck(),
		newPredict(),
		newBench(),
		newTokenize(),
		newCerts(),
		newVersion(),
	)
	for _, c := range root.Commands() {
		settings.AddConfigFlag(c.Flags())
	}
	root.AddCommand(newMan())
	return root
}
