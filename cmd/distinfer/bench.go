package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/distinfer/distinfer/cmd/settings"
	"github.com/distinfer/distinfer/server/client"
	"github.com/distinfer/distinfer/server/load"
)

// defaultFront is where a front answers unless it was told otherwise.
const defaultFront = "http://localhost:8008"

// Most requests in flight, unless --concurrency says otherwise.
const (
	closedClients = 16
	openRequests  = 512
)

type benchOptions struct {
	outputOptions
	logOptions
	inputOptions
	accessOptions
	Texts string // file; "" for the sentences built in
	Load  load.Options
}

func (o *benchOptions) AddFlags(f *pflag.FlagSet) {
	o.outputOptions.AddFlags(f)
	for _, group := range []settings.Options{&o.logOptions, &o.inputOptions, &o.accessOptions} {
		group.AddFlags(f)
	}
	l := &o.Load
	settings.Number(f, &l.Concurrency, "concurrency", 0, 1, 1<<16, fmt.Sprintf("`number` of clients, or with --rate of requests that are in flight at most (default %d, with --rate %d)", closedClients, openRequests))
	f.Float64Var(&l.Rate, "rate", 0, "`number` of requests a second, whether or not earlier ones are answered; 0 asks as fast as there are answers")
	settings.Time(f, &l.Duration, "duration", 10*time.Second, time.Nanosecond, math.MaxInt64, "`time` to ask for (with --requests: for as long as it takes)")
	settings.Time(f, &l.Warmup, "warmup", 2*time.Second, 0, math.MaxInt64, "`time` to ask for before, which is not counted")
	settings.Number(f, &l.Requests, "requests", 0, 1, math.MaxInt, "`number` of requests to end after")
	settings.Time(f, &l.Timeout, "timeout", 10*time.Second, time.Millisecond, time.Hour, "longest `time` to wait for each answer")
	f.StringVar(&o.Texts, "texts", "", "`file` of texts to ask about, in order, over and over; - is standard input (default: some sentences)")
	settings.OnlyFlags(f, "concurrency", "rate", "duration", "warmup", "requests", "timeout", "texts")
}

func newBench() *cobra.Command {
	var o benchOptions
	return settings.Command(&o, &cobra.Command{
		Use:   "bench [URL]",
		Short: "Send a front many requests and say how fast it answers",
		Long: `Send a running front (default ` + defaultFront + `) many requests, and say how
many it answers a second, and how long that takes.

Without --rate each of a number of clients sends its next request once it has an
answer (a closed loop): this finds how much the front can do. With --rate requests
are sent at that rate, whether or not earlier ones are answered (an open loop):
this finds how long users wait. A latency counts from when its request was due, so
that a front which stalls is charged for all requests that it delayed.

Only right answers count. Refused, wrong and missing ones are counted apart, with
an example of each. Ctrl-C ends early and prints what there is.

The exit code is 1 when no answer was right.`,
		Example: `  distinfer bench
  distinfer bench --concurrency 128 --duration 30s
  distinfer bench http://192.168.0.100:8008 --rate 200
  distinfer bench --texts dev.tsv --column sentence --requests 1000
  distinfer bench https://front.example.org --token-file token.txt --ca ca.pem
  distinfer bench -o json | jq .latency_ms.p99`,
		Args: arguments(true, "URL"),
	}, func(cmd *cobra.Command, args []string) error {
		return o.run(cmd, append(args, defaultFront)[0])
	})
}

func (o *benchOptions) run(cmd *cobra.Command, url string) error {
	front, err := o.accessOptions.open(o.logger(), client.Config{URL: url})
	if err != nil {
		return err
	}
	if err := o.settle(cmd.Flags().Changed("duration")); err != nil {
		return err
	}
	texts, err := o.read(cmd.InOrStdin())
	if err != nil {
		return err
	}
	ctx, w := cmd.Context(), cmd.OutOrStdout()
	if err := load.Knock(ctx, front, texts[0], o.Load.Timeout); err != nil {
		return err
	}
	if o.Output != "json" {
		fmt.Fprintf(w, "%s: %s\n\n", front.URL(), o.Load)
	}
	r, err := load.Run(ctx, o.Load, load.Predictions(front), texts)
	if err != nil && ctx.Err() == nil {
		return err
	}
	if o.Output == "json" {
		err = r.WriteJSON(w, front.URL(), o.Load)
	} else if err = r.WriteText(w); r.Refused > 0 {
		fmt.Fprint(w, "\nRefusals mean that the front was asked more than it can do, or cannot reach a\nstage; its answer above says which. `distinfer check` looks at the stages, and\ndocs/howto/load-test.md says what to do.\n")
	}
	if err == nil && r.Right == 0 {
		err = errors.New("no answer was right")
	}
	return err
}

// settle checks what no flag checks by itself, and fills in what depends on others.
func (o *benchOptions) settle(duration bool) error {
	l := &o.Load
	switch {
	case !(l.Rate >= 0 && l.Rate <= 1e6):
		return usageError{fmt.Errorf("--rate is %v; it can be 0 to 1000000 requests a second", l.Rate)}
	case o.Texts == "" && o.isSet():
		return withoutFile()
	}
	if l.Concurrency == 0 && l.Rate > 0 {
		l.Concurrency = openRequests
	}
	l.Concurrency = cmp.Or(l.Concurrency, closedClients)
	if l.Requests > 0 && !duration {
		l.Duration = 0
	}
	return nil
}

// read returns the texts to ask about, but for empty ones.
func (o *benchOptions) read(stdin io.Reader) ([]string, error) {
	if o.Texts == "" {
		return load.Sentences(), nil
	}
	in, err := o.inputOptions.open([]string{o.Texts}, stdin)
	if err != nil {
		return nil, fmt.Errorf("--texts: %w", err)
	}
	defer in.Close()
	texts, err := in.All()
	if err != nil {
		err = fmt.Errorf("--texts: %w", in.failed(err))
	}
	return texts, err
}
