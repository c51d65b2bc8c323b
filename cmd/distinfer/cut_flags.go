package main

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/distinfer/distinfer/split"
)

// cutFlags are the flags that say where to cut a model.
type cutFlags struct {
	stages        string
	at            []string
	layers        bool
	maxStageBytes string
	profile       bool
	dims          map[string]int64
	runTime       time.Duration
	machines      machines
}

// defaultStages is the number of stages when no flag says where to cut.
const defaultStages = 2

func (c *cutFlags) add(f *pflag.FlagSet) {
	f.StringVar(&c.stages, "stages", strconv.Itoa(defaultStages), "`number` of stages; auto is what suits the machines in the config file best")
	f.StringSliceVar(&c.at, "at", nil, "`names` of values or nodes to cut behind, instead of --stages")
	f.BoolVar(&c.layers, "layers", false, "one stage a layer, instead of --stages")
	f.StringVar(&c.maxStageBytes, "max-stage-bytes", "", "largest `size` of a stage's weights as they are stored, such as 500MB; without --stages there are as many as it needs")
	f.BoolVar(&c.profile, "profile", false, "measure what the layers cost on this machine, instead of reckoning it")
	f.StringToInt64Var(&c.dims, "dim", nil, "`name=size` of a dimension at which costs are reckoned (default 1 for a batch, 128 for others)")
	addRunTimeFlag(f, &c.runTime)
	new(threadsOptions).AddFlags(f)
	machinesVar(f, &c.machines)
	onlyFlags(f, "stages", "at", "layers", "max-stage-bytes", "profile", "dim", "verify-timeout")
}

// given is the first of the flags that was set, or "".
func (c *cutFlags) given(cmd *cobra.Command) string {
	for _, name := range []string{"stages", "at", "layers", "max-stage-bytes", "profile", "dim", "verify-timeout"} {
		if cmd.Flags().Changed(name) {
			return name
		}
	}
	return ""
}

// apply writes what the flags say into the options.
func (c *cutFlags) apply(cmd *cobra.Command, _ *settings, o *split.Options) error {
	ways := 0
	for _, name := range []string{"stages", "at", "layers"} {
		if cmd.Flags().Changed(name) {
			ways++
		}
	}
	if ways > 1 {
		return usageError{errors.New("--stages, --at and --layers say where to cut in different ways; give one of them")}
	}
	if err := checkRunTime(c.runTime); err != nil {
		return err
	}
	o.At, o.Layers, o.Profile, o.Dims, o.RunTime = c.at, c.layers, c.profile, c.dims, c.runTime
	switch {
	case len(o.At) > 0 || o.Layers:
	case c.stages == "auto":
		if len(c.machines) == 0 {
			return usageError{errors.New("--stages auto needs to know the machines; describe them under machines: in the config file, each with a name, speed, memory, bandwidth and latency")}
		}
		machines, err := c.machines.plan()
		if err != nil {
			return usageError{err}
		}
		o.Machines = machines
	default:
		n, err := strconv.Atoi(c.stages)
		if err != nil || n < 1 {
			return usageError{fmt.Errorf("--stages is %q; it can be a number, 1 or more, or auto", c.stages)}
		}
		o.Stages = n
	}
	if c.maxStageBytes != "" {
		n, err := parseSize(c.maxStageBytes)
		if err != nil || n < 1 {
			return usageError{fmt.Errorf("--max-stage-bytes is %q; it can be such as 500MB or 2GiB", c.maxStageBytes)}
		}
		o.MaxStageBytes, o.More = n, !cmd.Flags().Changed("stages")
	}
	return nil
}

// parseSize reads a number of bytes with a unit, such as 500MB (powers of 1000) or
// 2GiB (powers of 1024).
func parseSize(s string) (int64, error) {
	n, err := humanize.ParseBytes(strings.TrimSpace(s))
	if err == nil && n > math.MaxInt64 {
		err = errors.New("too large")
	}
	return int64(n), err
}
