package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/distinfer/distinfer/cmd/settings"
	"github.com/distinfer/distinfer/runtime/host"
	"github.com/distinfer/distinfer/server/node"
	"github.com/distinfer/distinfer/split"
	"github.com/distinfer/distinfer/split/report"
)

type upOptions struct {
	frontOptions
	libraryOptions
	memoryOptions
	Cut cutOptions
	Ask string
}

func (o *upOptions) AddFlags(f *pflag.FlagSet) {
	for _, group := range []settings.Options{&o.bundleOptions, &o.logOptions, &o.callOptions, &o.healthOptions, &o.adminOptions, &o.serveOptions, &o.libraryOptions, &o.memoryOptions} {
		group.AddFlags(f)
	}
	addressesVar(f, &o.Stages, "addresses", "addresses of the stages")
	settings.OnlySetting(f, "addresses", "stages") // --stages is how many there are to be
	f.StringVar(&o.Ask, "ask", "", "`text` to send to the front once it is up, as an example")
	settings.OnlyFlags(f, "ask")
	o.Cut.AddFlags(f)
}

func newUp() *cobra.Command {
	var o upOptions
	return settings.Command(&o, &cobra.Command{
		Use:   "up [MODEL]",
		Short: "Run the whole pipeline on this machine",
		Long: `Start every stage as a process of its own, and the front, on this machine. With a
MODEL, an ONNX file or a folder, it is split first, into a temporary folder;
without one the bundle is served.

A stage that dies or hangs is started again. Ctrl-C stops everything and leaves no
process behind. The stages are on localhost, without TLS; the front can have HTTPS and
tokens. With --admin HOST:PORT the front gives metrics there, and the stages at the
ports that follow.`,
		Example: `  distinfer up model.onnx --stages 2
  distinfer up my-model --file onnx/model_int8.onnx
  distinfer up --bundle stages --port 8008
  distinfer up models/sst2-minilm/model.onnx --ask 'a lovely film'`,
		Args: arguments(true, "MODEL"),
	}, func(cmd *cobra.Command, args []string) error {
		outliveReaders()
		if given := o.Cut.given(cmd); len(args) == 0 && given != "" {
			return usageError{fmt.Errorf("--%s says how to split a MODEL, and none is given", given)}
		}
		if len(args) == 1 {
			remove, err := o.split(cmd, args[0])
			if err != nil {
				return err
			}
			defer remove()
		}
		config, err := cmd.Flags().GetString("config")
		if err != nil {
			return err
		}
		err = o.run(cmd.Context(), cmd.OutOrStdout(), config)
		if cmd.Context().Err() != nil && errors.Is(err, context.Canceled) {
			return nil // it was asked to stop, and has
		}
		return err
	})
}

// split splits a model into a temporary folder.
func (o *upOptions) split(cmd *cobra.Command, model string) (remove func(), err error) {
	if err := settings.Refuse(cmd, "with a MODEL, which is split into a folder of its own", "bundle"); err != nil {
		return nil, err
	}
	var how split.Options
	if err := o.Cut.apply(cmd, &how); err != nil {
		return nil, err
	}
	temp, remove, err := node.TempFolder(o.logger())
	if err != nil {
		return nil, err
	}
	how.Out, how.Verify, how.Memory = filepath.Join(temp, "stages"), true, host.Here.AvailableMemory()
	found, err := splitModel(cmd.Context(), &o.libraryOptions, o.Cut.Threads, model, how)
	if err == nil {
		err = report.Split(cmd.ErrOrStderr(), found, how)
	}
	if err != nil {
		remove()
		return nil, err
	}
	o.Bundle = how.Out
	return remove, nil
}

func (o *upOptions) run(ctx context.Context, out io.Writer, config string) error {
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program's file: %w", err)
	}
	local := node.LocalOptions{FrontOptions: o.front(), Command: func(s node.LocalStage) ([]string, error) {
		admin, err := o.stageAdmin(s.Number)
		if err != nil {
			return nil, err
		}
		return append([]string{program, "serve-stage"}, o.stageArgs(s, admin, config)...), nil
	}}
	return node.ServeLocal(ctx, local, func(ctx context.Context, f *node.Front) error { return f.Greet(ctx, out, o.Ask) })
}

// stageAdmin is where the stage process with the given number, from 0, gives metrics: that
// many ports behind the one after the front's, or on any that is free if the front does.
func (o *upOptions) stageAdmin(number int) (string, error) {
	if o.Admin == "" {
		return "", nil
	}
	host, text, err := net.SplitHostPort(o.Admin)
	port, errPort := strconv.Atoi(text)
	switch err := errors.Join(err, errPort); {
	case err != nil:
		return "", err
	case port == 0:
		return o.Admin, nil
	}
	if port += 1 + number; port > 65535 {
		return "", usageError{fmt.Errorf("--admin is %q, and the stages give metrics at the ports that follow, which are too few; choose a lower port", o.Admin)}
	}
	return net.JoinHostPort(host, strconv.Itoa(port)), nil
}

func (o *upOptions) stageArgs(s node.LocalStage, admin, config string) []string {
	args := []string{
		"--rank", strconv.Itoa(s.Rank), "--listen", s.Address, "--bundle", o.Bundle,
		"--stages", s.Addresses.String(), "--threads", strconv.Itoa(o.Cut.Threads), "--nice", strconv.Itoa(o.Nice), "--max-memory", strconv.FormatInt(o.MaxMemory, 10),
		"--max-message", strconv.Itoa(o.MaxMessage), "--dead-after", o.DeadAfter.String(), "--log-level", o.LogLevel.String(), "--log-format", o.LogFormat,
		"--fetch", "", "--bundle-id", "", // the bundle is here, whatever the config file says
		"--health", "", "--admin", admin, "--allowed-hosts", strings.Join(o.Hosts, ","),
		"--tls", "", "--insecure=" + strconv.FormatBool(o.Insecure),
	}
	if config != "" {
		args = append(args, "--config", config)
	}
	if o.ONNXRuntime != "" {
		args = append(args, "--onnxruntime", o.ONNXRuntime)
	}
	return args
}
