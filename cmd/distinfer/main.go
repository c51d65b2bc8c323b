// Command distinfer serves an ONNX model across several machines, each holding
// only some of its layers.
//
// This folder has one file a command. Flags, environment and config file are
// read here and nowhere below.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
	exitSignal = 128 // and the number of the signal that forced the end
)

func main() {
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		<-signals // an orderly end
		cancel()
		os.Exit(exitSignal + int((<-signals).(syscall.Signal))) // once more: an end at once
	}()

	root := newRoot()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitDone
	}
	clearProgress()
	switch {
	case isUsage(err):
		fmt.Fprintf(os.Stderr, "distinfer: %s\nSee `%s --help`.\n", oneLine(err), cmd.CommandPath())
		return exitUsage
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "distinfer: interrupted")
	default:
		fmt.Fprintf(os.Stderr, "distinfer: %s\n", oneLine(err))
	}
	return exitFailed
}

// arguments checks positional arguments: the named ones, all of which must be
// given, or with optional set may be.
func arguments(optional bool, names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names) && !optional:
			return usageError{fmt.Errorf("%s is missing", names[len(args)])}
		case len(args) > len(names):
			return usageError{fmt.Errorf("unexpected argument %q", args[len(names)])}
		}
		return nil
	}
}
