package main

import (
	"context"
	"errors"
	"math"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/distinfer/distinfer/cmd/settings"
	"github.com/distinfer/distinfer/server/node"
)

type stageOptions struct {
	nodeOptions
	libraryOptions
	threadsOptions
	memoryOptions
	Rank     int
	Listen   string
	MaxQueue int
	NoModel  bool
}

func (o *stageOptions) AddFlags(f *pflag.FlagSet) {
	for _, group := range []settings.Options{&o.nodeOptions, &o.libraryOptions, &o.threadsOptions, &o.memoryOptions} {
		group.AddFlags(f)
	}
	settings.Number(f, &o.Rank, "rank", -1, -1, math.MaxInt, "the stage's place in the model, from 0")
	settings.Listen(f, &o.Listen, "listen", "`host:port` to listen on (default localhost:2222 plus rank)")
	settings.Number(f, &o.MaxQueue, "max-queue", node.DefaultMaxQueue, 0, 1<<20, "`number` of runs that may wait, here or for the stages behind; more are refused")
	f.BoolVar(&o.NoModel, "no-model", false, "serve no model, only the self-test of distinfer check")
	settings.PerProcess(f, "rank", "listen")
	settings.OnlyFlags(f, "no-model")
}

func newServeStage() *cobra.Command {
	var o stageOptions
	return settings.Command(&o, &cobra.Command{
		Use:   "serve-stage --rank R",
		Short: "Run one stage of the model behind gRPC",
		Long: `Run the stage of the given rank with ONNX Runtime, and serve it by gRPC until
interrupted. The first signal (Ctrl-C or SIGTERM) finishes what runs and exits
with 0, a second one ends at once.

The stage listens on localhost only, unless --listen or the configured stages
name another address of this machine. To be reached from other machines it needs
--tls, a folder that ` + "`distinfer certs`" + ` makes: then only machines with a
certificate of the same authority can use it. The stage also serves the standard
gRPC health service and server reflection, and gives the files of the bundle that it
has to machines that fetch them.

With --fetch no copy of the model is needed: what this stage needs and --bundle
does not hold is fetched from a machine that has it, by hash. Any stage gives what
it has, and so does a front with --share. A transfer that broke off goes on where
it was, also at the next start.

With --no-model it needs no bundle and computes nothing but the self-test of
` + "`distinfer check`" + `, so that machines and network can be tried before there is a
model.`,
		Example: `  distinfer serve-stage --rank 0                         # localhost:2222
  distinfer serve-stage --rank 1 --listen 192.168.0.104:2222 --tls tls
  distinfer serve-stage --rank 1 --stages 192.168.0.101:2222,192.168.0.104:2222 --tls tls
  distinfer serve-stage --rank 1 --fetch 192.168.0.101:2221 --tls tls
  DISTINFER_RANK=1 distinfer serve-stage --bundle /srv/sentiment
  distinfer serve-stage --rank 1 --no-model              # for distinfer check only`,
		Args: arguments(false),
	}, func(cmd *cobra.Command, _ []string) error {
		if o.NoModel {
			if err := settings.Refuse(cmd, "with --no-model", "bundle", "bundle-id", "fetch"); err != nil {
				return err
			}
		}
		outliveReaders()
		return o.run(cmd.Context())
	})
}

func (o *stageOptions) run(ctx context.Context) error {
	if o.Rank < 0 {
		return usageError{errors.New("--rank is missing; it says which stage this machine runs, from 0")}
	}
	endProfile, err := o.profile()
	if err != nil {
		return err
	}
	defer endProfile()
	options := node.StageOptions{
		Options: o.node(), Rank: o.Rank, NoModel: o.NoModel, Listen: o.Listen, Instance: os.Getenv(node.InstanceVariable),
		ONNXRuntime: o.ONNXRuntime, Threads: o.Threads, Nice: o.Nice, MaxMemory: o.MaxMemory, MaxQueue: o.MaxQueue,
	}
	if o.MaxQueue == 0 {
		options.MaxQueue = -1 // none may wait
	}
	s, err := node.OpenStage(ctx, options)
	if err != nil {
		return err
	}
	defer s.Close()
	return s.Serve(ctx)
}
