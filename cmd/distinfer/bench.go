package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/distinfer/distinfer/runtime/textfile"
	"github.com/distinfer/distinfer/server/client"
	loader "github.com/distinfer/distinfer/server/load"
)

// sentences are asked about when there is no file of texts. They are as long as
// those that people write: a few words to a paragraph.
//
//go:embed bench.txt
var sentences string

// defaultFront is where a front answers unless it was told otherwise.
const defaultFront = "http://localhost:8008"

func newBench() *cobra.Command {
	var b benchmark
	cmd := &cobra.Command{
		Use:   "bench [URL]",
		Short: "Ask a front many questions and say how fast it answers",
		Long: `Ask a running front (default ` + defaultFront + `) many questions, and say how
many it answers a second, and how long that takes.

Without --rate a number of clients ask, each of them the next question when it
has its answer (a closed loop): this finds how much the front can do. With --rate
questions are asked at that rate, whether or not earlier ones are answered (an
open loop): this finds how long users wait. A latency counts from when its
question was due, so that a front which stalls is charged for all who came
meanwhile.

Only right answers count. Those that were refused, wrong or missing are counted
apart, with an example of each. Ctrl-C ends early and prints what there is.

The exit code is 1 when no answer was right.`,
		Example: `  distinfer bench
  distinfer bench --concurrency 128 --duration 30s
  distinfer bench http://192.168.0.100:8008 --rate 200
  distinfer bench --texts dev.tsv --column sentence --requests 1000
  distinfer bench https://front.example.org --token-file token.txt --ca ca.pem
  distinfer bench -o json | jq .latency_ms.p99`,
		Args: arguments(true, "URL"),
	}
	b.addFlags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := load(cmd)
		if err != nil {
			return err
		}
		front := defaultFront
		if len(args) > 0 {
			front = args[0]
		}
		b.front, err = b.flags.open(s.logger(), client.Config{URL: front})
		if err != nil {
			return err
		}
		b.options, err = b.settle(cmd.Flags())
		if err != nil {
			return err
		}
		texts, err := b.read(cmd.InOrStdin())
		if err != nil {
			return err
		}
		return b.run(cmd.Context(), cmd.OutOrStdout(), texts, s.Output == "json")
	}
	return cmd
}

// Most requests under way, unless --concurrency says otherwise.
const (
	closedClients = 16
	openRequests  = 512
)

// A benchmark asks a front, as the flags say.
type benchmark struct {
	flags   accessOptions
	input   inputOptions
	file    string // of texts; "" for those built in
	options loader.Options
	front   *client.Client
}

func (b *benchmark) addFlags(f *pflag.FlagSet) {
	o := &b.options
	f.IntVar(&o.Concurrency, "concurrency", 0, fmt.Sprintf("`number` of clients, or with --rate of requests that are under way at most (default %d, with --rate %d)", closedClients, openRequests))
	f.Float64Var(&o.Rate, "rate", 0, "`number` of requests a second, whether or not earlier ones are answered; 0 asks as fast as there are answers")
	f.DurationVar(&o.Duration, "duration", 10*time.Second, "`time` to ask for (with --requests: for as long as it takes)")
	f.DurationVar(&o.Warmup, "warmup", 2*time.Second, "`time` to ask for before, which is not counted")
	f.IntVar(&o.Requests, "requests", 0, "`number` of requests to end after")
	f.DurationVar(&o.Timeout, "timeout", 10*time.Second, "longest `time` to wait for each answer")
	f.StringVar(&b.file, "texts", "", "`file` of texts to ask about, in order, over and over; - is standard input (default: some sentences)")
	b.input.AddFlags(f)
	b.flags.AddFlags(f)
}

// settle checks the numbers, and fills in those that depend on others.
func (b *benchmark) settle(f *pflag.FlagSet) (loader.Options, error) {
	o := b.options
	bad := func(format string, args ...any) (loader.Options, error) {
		return o, usageError{fmt.Errorf(format, args...)}
	}
	switch {
	case o.Concurrency < 0 || o.Concurrency == 0 && f.Changed("concurrency") || o.Concurrency > 1<<16:
		return bad("--concurrency is %d; it can be 1 to %d", o.Concurrency, 1<<16)
	case !(o.Rate >= 0 && o.Rate <= 1e6):
		return bad("--rate is %v; it can be 0 to 1000000 requests a second", o.Rate)
	case o.Requests < 0 || o.Requests == 0 && f.Changed("requests"):
		return bad("--requests is %d; it must be at least 1", o.Requests)
	case o.Duration <= 0:
		return bad("--duration is %s; it must be above 0, such as 10s", o.Duration)
	case o.Warmup < 0:
		return bad("--warmup is %s; it must not be below 0", o.Warmup)
	case o.Timeout < time.Millisecond || o.Timeout > time.Hour:
		return bad("--timeout is %s; it can be 1ms to 1h, such as 5s", o.Timeout)
	case b.file == "" && (b.input.Format != "" || b.input.Column != ""):
		return bad("--format and --column are for a file; name it with --texts")
	}
	switch {
	case o.Concurrency > 0:
	case o.Rate > 0:
		o.Concurrency = openRequests
	default:
		o.Concurrency = closedClients
	}
	if o.Requests > 0 && !f.Changed("duration") {
		o.Duration = 0
	}
	return o, nil
}

// read returns the texts to ask about, but for empty ones.
func (b *benchmark) read(stdin io.Reader) ([]string, error) {
	if b.file == "" {
		return strings.Split(strings.TrimSpace(sentences), "\n"), nil
	}
	file, reader, err := b.input.open([]string{b.file}, stdin)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	var texts []string
	err = reader.Read(file, func(l textfile.Line) error {
		if l.Err != nil {
			return fmt.Errorf("line %d: %w", l.Number, l.Err)
		}
		if l.Text != "" {
			texts = append(texts, l.Text)
		}
		return nil
	})
	if err == nil && len(texts) == 0 {
		err = errors.New("there is no text")
	}
	if err != nil {
		return nil, fmt.Errorf("--texts %s: %w", b.file, err)
	}
	return texts, nil
}

func (b *benchmark) run(ctx context.Context, w io.Writer, texts []string, asJSON bool) error {
	if err := b.knock(ctx, texts[0]); err != nil {
		return err
	}
	o, front := b.options, b.front.URL()
	if !asJSON {
		fmt.Fprintf(w, "%s: %s\n\n", front, described(o))
	}
	r, err := loader.Run(ctx, o, loader.Predictions(b.front), texts)
	if err != nil && ctx.Err() == nil {
		return err
	}
	write := writeBenchText
	if asJSON {
		write = writeBenchJSON
	}
	if err := write(w, front, o, r); err != nil {
		return err
	}
	if r.Right == 0 {
		return errors.New("no answer was right")
	}
	return nil
}

// knock asks once, so that it is known before the run whether there is anybody
// who lets us in. What else the front answers, the run counts.
func (b *benchmark) knock(ctx context.Context, text string) error {
	ctx, cancel := context.WithTimeout(ctx, b.options.Timeout)
	defer cancel()
	_, err := b.front.Predict(ctx, text)
	var refused *client.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("nothing listens at %s; start a front, such as with `distinfer up`, or name the URL of one", b.front.URL())
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s did not answer within %s", b.front.URL(), b.options.Timeout)
	case errors.As(err, &refused) && refused.Status == http.StatusUnauthorized:
		return unauthorized(err)
	case errors.As(err, new(*url.Error)): // no answer at all
		return err
	}
	return nil
}
