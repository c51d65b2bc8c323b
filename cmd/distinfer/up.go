package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	neturl "net/url"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/host"
	"github.com/distinfer/distinfer/runtime/text"
	"github.com/distinfer/distinfer/server/cluster"
	"github.com/distinfer/distinfer/server/front"
	"github.com/distinfer/distinfer/server/supervisor"
	"github.com/distinfer/distinfer/split"
)

// stageTimes are how long a stage may take: to end, somewhat more than the calls
// under way may; without an answer, far more than a busy machine needs.
var stageTimes = supervisor.Times{Stop: 35 * time.Second, Hang: 15 * time.Second}

type upOptions struct {
	frontOptions
	libraryOptions
	memoryOptions
	Threads  int
	Machines machines
	Ask      string
}

func (o *upOptions) AddFlags(f *pflag.FlagSet) {
	for _, group := range []optionSet{&o.bundleOptions, &o.logOptions, &o.callOptions, &o.adminOptions, &o.serveOptions, &o.libraryOptions, &o.memoryOptions} {
		group.AddFlags(f)
	}
	addressesVar(f, &o.Stages, "addresses", "addresses of the stages")
	onlySetting(f, "addresses", "stages") // --stages is how many there are to be
	f.StringVar(&o.Ask, "ask", "", "`text` to send to the front once it is up, as an example")
	onlyFlags(f, "ask")
}

func newUp() *cobra.Command {
	var o upOptions
	var cut cutFlags
	cmd := &cobra.Command{
		Use:   "up [MODEL]",
		Short: "Run the whole pipeline on this machine",
		Long: `Start every stage as a process of its own, and the front, on this machine. With a
MODEL it is split first, into a temporary folder; without one the bundle is
served.

A stage that dies or hangs is started again. Ctrl-C stops everything and leaves no
process behind. The stages are on localhost, without TLS; the front can have HTTPS and
tokens. With --admin HOST:PORT the front gives metrics there, and the stages at the
ports that follow.`,
		Example: `  distinfer up model.onnx --stages 2
  distinfer up --bundle stages --port 8008
  distinfer up models/sst2-minilm/model.onnx --ask 'a lovely film'`,
		Args: arguments(true, "MODEL"),
	}
	o.AddFlags(cmd.Flags())
	cut.add(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		outliveReaders()
		s, err := load(cmd)
		if err != nil {
			return err
		}
		o.Threads = s.Threads
		if given := cut.given(cmd); len(args) == 0 && given != "" {
			return usageError{fmt.Errorf("--%s says how to split a MODEL, and none is given", given)}
		}
		if len(args) == 1 {
			if err := refuse(cmd, "with a MODEL, which is split into a folder of its own", "bundle"); err != nil {
				return err
			}
			var how split.Options
			if err := cut.apply(cmd, s, &how); err != nil {
				return err
			}
			temp, remove, err := heldFolder(o.logger())
			if err != nil {
				return err
			}
			defer remove()
			how.Out, how.Verify, how.Memory = filepath.Join(temp, "stages"), true, host.Here.AvailableMemory()
			report, err := s.split(cmd.Context(), args[0], how)
			if err != nil {
				return err
			}
			if err := printReport(cmd.ErrOrStderr(), "text", report, how); err != nil {
				return err
			}
			o.Bundle = how.Out
		}
		config, err := cmd.Flags().GetString("config")
		if err != nil {
			return err
		}
		err = o.up(cmd.Context(), cmd.OutOrStdout(), config)
		if cmd.Context().Err() != nil && errors.Is(err, context.Canceled) {
			return nil // it was asked to stop, and has
		}
		return err
	}
	return cmd
}

func (o *upOptions) up(ctx context.Context, out io.Writer, config string) error {
	b, err := bundle.Open(o.Bundle)
	if err != nil {
		return err
	}
	c, err := o.frontConfig()
	if err != nil {
		return err
	}
	l, err := o.listenHTTP(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = l.Close() }()
	grpcListener, err := o.listenGRPC(ctx)
	if err != nil {
		return err
	}
	addresses, release, err := o.localStages(ctx, len(b.Stages))
	if err != nil {
		return err
	}
	defer release()
	if err := o.permitStages(o.logger(), addresses, 0, false); err != nil {
		return err
	}
	children, err := o.stageProcesses(addresses, config)
	if err != nil {
		return err
	}
	log := o.logger()
	w, err := o.watchFront(ctx, log)
	if err != nil {
		return err
	}
	stages, err := supervisor.Start(ctx, log, stageTimes, children)
	if err != nil {
		w.close()
		return err
	}
	defer func() { // at once: a collector of traces that does not answer has all wait for it
		var ends sync.WaitGroup
		ends.Go(stages.Stop)
		ends.Go(w.close)
		ends.Wait()
	}()
	m, err := o.connect(b, addresses, w)
	if err != nil {
		return err
	}
	f := newFrontProcess(c, m, w)
	defer f.Close()

	served, serving := errgroup.WithContext(ctx)
	serving, stop := context.WithCancel(serving)
	defer stop()
	served.Go(func() error { return f.serve(serving, l, m) })
	if grpcListener != nil {
		served.Go(func() error { return f.serveGRPC(serving, grpcListener) })
	}
	if err := f.greet(ctx, out, f.url(l), o.Ask, m); err != nil {
		stop()
		return errors.Join(err, served.Wait())
	}
	return served.Wait()
}

// localStages are the addresses of the stages on this machine: those configured,
// else the usual ports, else, where these are taken, any that are free. The latter two
// are kept from other pipelines until release.
func (o *upOptions) localStages(ctx context.Context, n int) (addresses cluster.Addresses, release func(), err error) {
	var kept []io.Closer
	release = func() {
		for _, k := range kept {
			_ = k.Close()
		}
	}
	if len(o.Stages) > 0 {
		addresses, err = o.Stages.ForStages(n)
		return addresses, release, err
	}
	for rank := range n {
		port, reservation, err := reserve(ctx, cluster.DefaultAddress(rank))
		for range reserveTries {
			if err == nil {
				break
			}
			port, reservation, err = reserve(ctx, "localhost:0")
		}
		if err != nil {
			release()
			return nil, nil, err
		}
		kept = append(kept, reservation)
		addresses = append(addresses, []string{net.JoinHostPort("localhost", strconv.Itoa(port))})
	}
	return addresses, release, nil
}

// reserveTries is how many ports that any are tried: TCP's may be free and UDP's not.
const reserveTries = 16

// reserve finds a port free, and keeps other pipelines from it until the reservation
// is closed. A stage listens on it only later, and stops when it dies, and whoever took
// its place would be asked instead. So UDP's port of the same number is taken, which
// nothing else here uses, and which goes with this process however that ends.
func reserve(ctx context.Context, address string) (port int, reservation io.Closer, err error) {
	l, err := listen(ctx, slog.New(slog.DiscardHandler), address, "--stages")
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = l.Close() }()
	port = l.Addr().(*net.TCPAddr).Port
	var config net.ListenConfig
	reservation, err = config.ListenPacket(ctx, "udp", net.JoinHostPort("localhost", strconv.Itoa(port)))
	if err != nil {
		return 0, nil, fmt.Errorf("keep port %d for a stage: %w", port, err)
	}
	return port, reservation, nil
}

// stageAdmin is where the stage process with the given number, from 0, gives metrics: that
// many ports behind the one after the front's, or on any that is free if the front does.
func (o *upOptions) stageAdmin(number int) (string, error) {
	if o.Admin == "" {
		return "", nil
	}
	host, text, err := net.SplitHostPort(o.Admin)
	if err != nil {
		return "", usageError{fmt.Errorf("--admin: %w", err)}
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return "", usageError{fmt.Errorf("--admin: %w", err)}
	}
	if port == 0 {
		return o.Admin, nil
	}
	if port += 1 + number; port > 65535 {
		return "", usageError{fmt.Errorf("--admin is %q, and the stages give metrics at the ports that follow, of which there are too few; choose a lower port", o.Admin)}
	}
	return net.JoinHostPort(host, strconv.Itoa(port)), nil
}

// stageProcesses are the stages as processes that run this same program.
func (o *upOptions) stageProcesses(addresses cluster.Addresses, config string) ([]supervisor.Child, error) {
	var children []supervisor.Child
	for rank, replicas := range addresses {
		for _, address := range replicas {
			admin, err := o.stageAdmin(len(children))
			if err != nil {
				return nil, err
			}
			args := []string{
				"serve-stage", "--rank", strconv.Itoa(rank), "--listen", address, "--bundle", o.Bundle,
				"--stages", addresses.String(), "--threads", strconv.Itoa(o.Threads), "--nice", strconv.Itoa(o.Nice), "--max-memory", strconv.FormatInt(o.MaxMemory, 10),
				"--max-message", strconv.Itoa(o.MaxMessage), "--dead-after", o.DeadAfter.String(), "--log-level", o.LogLevel.String(), "--log-format", o.LogFormat,
				"--fetch", "", "--bundle-id", "", // the bundle is here, whatever the config file says
				"--admin", admin, "--allowed-hosts", strings.Join(o.Hosts, ","),
				"--tls", "", "--insecure=" + strconv.FormatBool(o.Insecure),
			}
			if config != "" {
				args = append(args, "--config", config)
			}
			if o.ONNXRuntime != "" {
				args = append(args, "--onnxruntime", o.ONNXRuntime)
			}
			p := &stageProcess{rank: rank, address: address, args: args, options: o.calls(slog.New(slog.DiscardHandler), nil)}
			children = append(children, supervisor.Child{Name: fmt.Sprintf("stage %d at %s", rank, address), Command: p.command, Ready: p.ready})
		}
	}
	return children, nil
}

// greet tells how to use what is up now, with an answered example. That one is
// asked past HTTP, for which this process may have neither a token nor the
// authority of the certificate.
func (f *frontProcess) greet(ctx context.Context, out io.Writer, base, ask string, m *model) error {
	example := ask
	if example == "" {
		example = "a lovely film"
	} else {
		ctx, cancel := context.WithTimeout(ctx, f.Config().Timeout)
		defer cancel()
		label, err := m.label(ctx, ask)
		if err != nil {
			return fmt.Errorf("answer the example: %w", err)
		}
		fmt.Fprintf(out, "\n  %q is %s\n", ask, label)
	}
	token := ""
	if f.Config().Tokens != nil {
		token = ` -H "Authorization: Bearer $TOKEN"`
	}
	if m.Texts != nil && !m.labels() {
		fmt.Fprintf(out, "\nup at %s, Ctrl-C stops it. Try:\n\n  curl%s %s/predict -d '{\"inputs\": \"%s\"}'\n\n", base, token, base, example)
		return nil
	}
	fmt.Fprintf(out, "\nup at %s, Ctrl-C stops it. Try:\n\n  curl%s '%s/?text=%s'\n\n", base, token, base, neturl.PathEscape(example))
	return nil // that nobody reads it is no reason to stop
}

// labels reports whether the model gives texts labels.
func (m *model) labels() bool {
	if m.Texts == nil {
		return false
	}
	_, ok := m.Texts.Task.(front.Labeller)
	return ok
}

// label is the model's answer to one text.
func (m *model) label(ctx context.Context, s string) (string, error) {
	switch {
	case m.Texts == nil:
		return "", m.NoTexts
	case !m.labels():
		return "", fmt.Errorf("--ask wants a label, and the model's task is %s", m.Texts.Task.Name())
	}
	replies, err := m.Texts.Ask(ctx, []string{s})
	if err == nil {
		err = replies[0].Err
	}
	if err != nil {
		return "", err
	}
	return replies[0].Answer.([]text.Result)[0].Label, nil
}
