package main

import (
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/distinfer/distinfer/cmd/settings"
	"github.com/distinfer/distinfer/split"
	"github.com/distinfer/distinfer/split/engine"
	"github.com/distinfer/distinfer/split/machines"
)

// cutOptions say which model to cut, and where.
type cutOptions struct {
	threadsOptions
	fileOptions
	Name          string
	NoText        bool
	NoOptimize    bool
	Stages        int // 0 is what suits the machines best
	At            []string
	Layers        bool
	MaxStageBytes int64
	Balance       string
	Profile       bool
	Dims          map[string]int64
	RunTime       time.Duration
	Machines      []machines.Description
}

// What stages may be alike in.
const (
	balanceTime   = "time"
	balanceMemory = "memory"
)

// defaultStages is the number of stages when no flag says where to cut.
const defaultStages = 2

// cutFlags are the names of the flags of cutOptions that are about one model.
var cutFlags = []string{"stages", "at", "layers", "max-stage-bytes", "balance", "profile", "dim", "verify-timeout", "file", "name", "no-text", "no-optimize"}

func (o *cutOptions) AddFlags(f *pflag.FlagSet) {
	stagesVar(f, &o.Stages, "stages", "`number` of stages; auto is what suits the machines in the config file best")
	f.StringSliceVar(&o.At, "at", nil, "`names` of values or nodes to cut behind, instead of --stages")
	f.BoolVar(&o.Layers, "layers", false, "one stage a layer, instead of --stages")
	settings.Size(f, &o.MaxStageBytes, "max-stage-bytes", "largest `size` of a stage's weights as they are stored, such as 500MB; without --stages there are as many as it needs")
	settings.Choice(f, &o.Balance, "balance", "", balanceTime, "what stages are to be alike in: `time or memory` of their weights", balanceTime, balanceMemory)
	f.BoolVar(&o.Profile, "profile", false, "measure what the layers cost on this machine, instead of estimating it")
	f.StringToInt64Var(&o.Dims, "dim", nil, "`name=size` of a dimension at which costs are estimated (default 1 for a batch, 128 for others)")
	runTimeVar(f, &o.RunTime)
	o.fileOptions.AddFlags(f)
	f.StringVar(&o.Name, "name", "", "`name` of the model (default that of its folder)")
	f.BoolVar(&o.NoText, "no-text", false, "make a bundle that answers tensors only, also of a model that reads texts")
	f.BoolVar(&o.NoOptimize, "no-optimize", false, "compute all that the model's file does, also positions that its answer does not read")
	o.threadsOptions.AddFlags(f)
	settings.Described(f, &o.Machines, "machines", "machines that a model could be spread over")
	settings.OnlyFlags(f, cutFlags...)
}

// fileOptions choose a file of a model's folder.
type fileOptions struct{ File string }

func (o *fileOptions) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&o.File, "file", "", "`file` of the model in a folder with several, such as onnx/model_int8.onnx")
	settings.OnlyFlags(f, "file")
}

// runTimeVar adds the flag of all commands that run a model to look at it.
func runTimeVar(f *pflag.FlagSet, to *time.Duration) {
	settings.Time(f, to, "verify-timeout", engine.DefaultRunTime, time.Millisecond, 24*time.Hour, "longest `time` that a run of the model or of a stage may take to verify it; what does not end by then is said not to be verified")
}

// stagesVar adds a flag for a number of stages, or 0 for auto.
func stagesVar(f *pflag.FlagSet, to *int, name, usage string) {
	*to = defaultStages
	parse := func(s string) (int, error) {
		if s == "auto" {
			return 0, nil
		}
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return 0, errors.New("it can be a number, 1 or more, or auto")
		}
		return n, nil
	}
	f.Var(&settings.Value[int]{To: to, Parse: parse, Format: strconv.Itoa, Kind: "int"}, name, usage)
}

// given is the first of the flags that was set, or "".
func (o *cutOptions) given(cmd *cobra.Command) string {
	if i := slices.IndexFunc(cutFlags, cmd.Flags().Changed); i >= 0 {
		return cutFlags[i]
	}
	return ""
}

// apply writes the options into those of package split.
func (o *cutOptions) apply(cmd *cobra.Command, to *split.Options) error {
	ways := slices.DeleteFunc([]string{"stages", "at", "layers"}, func(name string) bool { return !cmd.Flags().Changed(name) })
	if len(ways) > 1 {
		return usageError{errors.New("--stages, --at and --layers say where to cut in different ways; give one of them")}
	}
	to.File, to.Name, to.NoTexts, to.Optimize = o.File, o.Name, o.NoText, !o.NoOptimize
	to.At, to.Layers, to.Profile, to.Dims, to.RunTime = o.At, o.Layers, o.Profile, o.Dims, o.RunTime
	to.MaxStageBytes, to.More = o.MaxStageBytes, !cmd.Flags().Changed("stages")
	if to.Lightest = o.Balance == balanceMemory; to.Lightest && (len(o.At) > 0 || o.Layers || o.Stages == 0) {
		return usageError{errors.New("--balance memory is for --stages N; --at, --layers and --stages auto say where to cut in other ways")}
	}
	switch {
	case len(o.At) > 0 || o.Layers:
	case o.Stages > 0:
		to.Stages = o.Stages
	case len(o.Machines) == 0:
		return usageError{errors.New("--stages auto needs to know the machines; describe them under machines: in the config file, each with a name, speed, memory, bandwidth and latency")}
	default:
		var err error
		if to.Machines, err = machines.Plan(o.Machines); err != nil {
			return usageError{err}
		}
	}
	return nil
}
