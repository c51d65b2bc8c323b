package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/distinfer/distinfer/cmd/settings"
	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/server/check"
	"github.com/distinfer/distinfer/server/stage"
)

// selfTestNumbers is how many random numbers the stages compute the mean of.
const selfTestNumbers = 100

type checkOptions struct {
	bundleOptions
	outputOptions
	stagesOptions
	messageOptions
	insecureOptions
	tlsOptions
	logOptions
	Timeout time.Duration
	Ballast string

	bundleGiven bool // so that it has to be there
}

func (o *checkOptions) AddFlags(f *pflag.FlagSet) {
	o.outputOptions.AddFlags(f)
	for _, group := range []settings.Options{&o.bundleOptions, &o.stagesOptions, &o.messageOptions, &o.insecureOptions, &o.tlsOptions, &o.logOptions} {
		group.AddFlags(f)
	}
	settings.Time(f, &o.Timeout, "timeout", 5*time.Second, time.Millisecond, time.Hour, "longest `time` to wait for each answer")
	settings.String(f, &o.Ballast, "ballast", "", "8MB", "`size` of the tensor that bandwidth is measured with; 0 measures none", func(s string) error {
		if n, err := settings.ParseSize(s); err != nil || n < 0 {
			return errors.New("it can be such as 8MB, or 0")
		}
		return nil
	})
	settings.OnlyFlags(f, "timeout", "ballast") // the setting timeout is that of a request to the front
}

func newCheck() *cobra.Command {
	var o checkOptions
	return settings.Command(&o, &cobra.Command{
		Use:   "check",
		Short: "Look at all stages, have them compute, and say what is wrong",
		Long: `Ask every replica of every rank what it is and holds, have all of them together
compute the mean of 100 random numbers with ONNX Runtime, and measure the way from
each stage to the next. What is wrong is said with a remedy.

The stages are those of --stages. When the bundle is on this machine it says how
many there have to be and which bundle they should have; otherwise they have to
agree. Stages that were started with --no-model are checked as far as they can be.

The exit code is 0 when all is well, and 1 when anything is wrong, also when the
model can still be served, which the last line says.`,
		Example: `  distinfer check
  distinfer check --stages 192.168.0.101:2222,192.168.0.104:2222 --tls tls
  distinfer check --ballast 0 --timeout 2s
  distinfer check -o json | jq .problems`,
		Args: arguments(false),
	}, func(cmd *cobra.Command, _ []string) error {
		o.bundleGiven = cmd.Flags().Changed("bundle")
		return o.run(cmd.Context(), cmd.OutOrStdout())
	})
}

func (o *checkOptions) run(ctx context.Context, out io.Writer) error {
	// A message holds the numbers and names besides.
	weight, err := settings.ParseSize(o.Ballast)
	if most := int64(o.MaxMessage) - 4096; err != nil || weight > most {
		return usageError{fmt.Errorf("--ballast is %s; with this --max-message it can be at most %d bytes", o.Ballast, most)}
	}
	log := o.logger()
	stages, id, err := o.toCheck()
	if err != nil {
		return err
	}
	if err := o.permitStages(log, stages, 0, o.TLS != ""); err != nil {
		return err
	}
	machine, err := o.stageTLS(log)
	if err != nil {
		return err
	}
	options := stage.Options{MaxMessage: o.MaxMessage, Insecure: o.Insecure, Log: log}
	if machine != nil {
		options.TLS = machine.Client
	}
	c := check.Config{
		Stages: stages, Bundle: id, Options: options, Timeout: o.Timeout, Ballast: int(weight),
		Version: buildVersion(), Numbers: make([]float32, selfTestNumbers),
	}
	for i := range c.Numbers {
		c.Numbers[i] = rand.Float32()
	}
	observed, err := check.Observe(ctx, c)
	if err != nil {
		return err
	}
	report := check.Judge(observed)
	if o.Output == "json" {
		err = json.NewEncoder(out).Encode(report)
	} else {
		err = check.WriteText(out, report)
	}
	if err != nil {
		return err
	}
	switch n := len(report.Problems); n {
	case 0:
		return nil
	case 1:
		return errors.New("1 problem was found")
	default:
		return fmt.Errorf("%d problems were found", n)
	}
}

// toCheck are the addresses of all ranks, and the ID of the bundle that the stages
// should have. It is empty when there is no bundle here, which is an error only when one
// was given.
func (o *checkOptions) toCheck() (stages [][]string, id bundle.ID, err error) {
	if _, err := os.Stat(o.Bundle); errors.Is(err, fs.ErrNotExist) && !o.bundleGiven {
		if len(o.Stages) == 0 {
			return nil, "", usageError{fmt.Errorf("--stages is missing: it says where the stages are, and there is no bundle in %s that would say how many", o.Bundle)}
		}
		return o.Stages, "", nil
	}
	b, err := bundle.Open(o.Bundle)
	if err != nil {
		return nil, "", err
	}
	stages, err = o.Stages.ForStages(len(b.Stages))
	return stages, b.ID, err
}
