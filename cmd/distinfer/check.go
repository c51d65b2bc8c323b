package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/server/check"
	"github.com/distinfer/distinfer/server/stage"
)

// selfTestNumbers is how many random numbers the stages compute the mean of. The
// script that this command replaces used as many.
const selfTestNumbers = 100

func newCheck() *cobra.Command {
	var timeout time.Duration
	var ballast string
	cmd := &cobra.Command{
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
	}
	f := cmd.Flags()
	addStagesFlag(f)
	addMessageFlag(f)
	addTLSFlag(f)
	addInsecureFlag(f)
	f.DurationVar(&timeout, "timeout", 5*time.Second, "longest `time` to wait for each answer")
	f.StringVar(&ballast, "ballast", "8MB", "`size` of the tensor that bandwidth is measured with; 0 measures none")
	onlyFlags(f, "timeout", "ballast") // the setting timeout is that of a request to the front
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s, err := load(cmd)
		if err != nil {
			return err
		}
		if timeout < time.Millisecond || timeout > time.Hour {
			return usageError{fmt.Errorf("--timeout is %s; it can be 1ms to 1h, such as 5s", timeout)}
		}
		weight, err := parseSize(ballast)
		// A message holds the numbers and names besides.
		if most := int64(s.MaxMessage) - 4096; err != nil || weight < 0 || weight > most {
			return usageError{fmt.Errorf("--ballast is %q; it can be such as 8MB, or 0, and with this --max-message at most %d bytes", ballast, most)}
		}
		log := s.logger()
		stages, id, err := s.toCheck(cmd.Flags().Changed("bundle"))
		if err != nil {
			return err
		}
		if err := s.permitStages(log, stages, 0, s.TLS != ""); err != nil {
			return err
		}
		machine, err := s.stageTLS(log)
		if err != nil {
			return err
		}
		options := stage.Options{MaxMessage: s.MaxMessage, Insecure: s.Insecure, Log: log}
		if machine != nil {
			options.TLS = machine.Client
		}
		c := check.Config{
			Stages: stages, Bundle: id, Options: options, Timeout: timeout, Ballast: int(weight), Version: buildVersion(),
			Numbers: make([]float32, selfTestNumbers),
		}
		for i := range c.Numbers {
			c.Numbers[i] = rand.Float32()
		}
		observed, err := check.Observe(cmd.Context(), c)
		if err != nil {
			return err
		}
		report := check.Judge(observed)
		if s.Output == "json" {
			err = json.NewEncoder(cmd.OutOrStdout()).Encode(report)
		} else {
			err = check.WriteText(cmd.OutOrStdout(), report)
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
	return cmd
}

// toCheck are the addresses of all ranks, and the ID of the bundle that the stages
// should have: empty when there is none here, which is an error only when it was
// asked for.
func (s *settings) toCheck(asked bool) (stages [][]string, id bundle.ID, err error) {
	if _, err := os.Stat(s.Bundle); errors.Is(err, fs.ErrNotExist) && !asked {
		if len(s.Stages) == 0 {
			return nil, "", usageError{fmt.Errorf("--stages is missing: it says where the stages are, and there is no bundle in %s that would say how many", s.Bundle)}
		}
		return s.Stages, "", nil
	}
	b, err := bundle.Open(s.Bundle)
	if err != nil {
		return nil, "", err
	}
	stages, err = s.Stages.ForStages(len(b.Stages))
	return stages, b.ID, err
}
