package main

import (
	"fmt"
	"log/slog"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/distinfer/distinfer/cmd/settings"
	"github.com/distinfer/distinfer/runtime/host"
	"github.com/distinfer/distinfer/runtime/ort"
	"github.com/distinfer/distinfer/runtime/textmodel"
	"github.com/distinfer/distinfer/server/cluster"
	"github.com/distinfer/distinfer/server/hostcheck"
	"github.com/distinfer/distinfer/server/stage"
	"github.com/distinfer/distinfer/server/tracing"
)

// The options that several commands have. Each command embeds those that it uses in its own.

type bundleOptions struct{ Bundle string }

func (o *bundleOptions) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&o.Bundle, "bundle", "stages", "`folder` of the split model")
}

type outputOptions struct{ Output string }

// AddFlags adds --output, which can be text, json or one of the formats that only this command has.
func (o *outputOptions) AddFlags(f *pflag.FlagSet, more ...string) {
	settings.Choice(f, &o.Output, "output", "o", "text", "what to print: `text or json`", append([]string{"text", "json"}, more...)...)
	settings.PerProcess(f, "output")
}

type libraryOptions struct{ ONNXRuntime string }

func (o *libraryOptions) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&o.ONNXRuntime, "onnxruntime", "", "`file` of the ONNX Runtime library (default: searched, see `distinfer version`)")
}

// library loads ONNX Runtime.
func (o *libraryOptions) library() (*ort.Library, error) { return ort.Load(o.ONNXRuntime) }

type threadsOptions struct{ Threads int }

func (o *threadsOptions) AddFlags(f *pflag.FlagSet) {
	settings.Number(f, &o.Threads, "threads", 0, 0, math.MaxInt, "`number` of threads to compute with (default one a processor)")
}

// threads are how many threads to compute with.
func (o *threadsOptions) threads() int {
	if o.Threads > 0 {
		return o.Threads
	}
	return host.Here.Processors().Count
}

type logOptions struct {
	LogLevel  slog.Level
	LogFormat string
}

func (o *logOptions) AddFlags(f *pflag.FlagSet) {
	settings.Level(f, &o.LogLevel, "log-level", "least `level` to log: debug, info, warn or error")
	settings.Choice(f, &o.LogFormat, "log-format", "", "text", "`format` of the log: text or json", "text", "json")
}

// logger is the process's log, on standard error.
func (o *logOptions) logger() *slog.Logger {
	options := &slog.HandlerOptions{Level: o.LogLevel}
	var handler slog.Handler = slog.NewTextHandler(os.Stderr, options)
	if o.LogFormat == "json" {
		handler = slog.NewJSONHandler(os.Stderr, options)
	}
	if tracing.Wanted() {
		handler = tracing.Log(handler)
	}
	return slog.New(handler)
}

// textOptions are those of every command that has texts answered.
type textOptions struct {
	MaxTokens  int
	Truncation string
}

// What --truncation can be: what becomes of texts that are longer than the model reads.
const (
	truncationCut    = "cut"
	truncationRefuse = "refuse"
)

func (o *textOptions) AddFlags(f *pflag.FlagSet) {
	settings.Number(f, &o.MaxTokens, "max-tokens", 0, 0, 1<<20, fmt.Sprintf("most `tokens` of a text, special ones included, also where the model reads more (default what the model reads, or %d where none of its files says)", textmodel.DefaultMaxTokens))
	settings.Choice(f, &o.Truncation, "truncation", "", truncationCut, "what becomes of texts that are too long: `cut or refuse`", truncationCut, truncationRefuse)
}

// limits are what the operator says of long texts.
func (o *textOptions) limits() textmodel.Limits {
	return textmodel.Limits{MaxTokens: o.MaxTokens, Refuse: o.Truncation == truncationRefuse}
}

type stagesOptions struct{ Stages cluster.Addresses }

func (o *stagesOptions) AddFlags(f *pflag.FlagSet) {
	addressesVar(f, &o.Stages, "stages", "`addresses` of the stages in rank order, host:port,host:port; replicas of a rank are joined by |; or lws:port for those of a LeaderWorkerSet (default localhost:2222, localhost:2223, …)")
}

// addressesVar adds a flag for the addresses of stages.
func addressesVar(f *pflag.FlagSet, to *cluster.Addresses, name, usage string) {
	f.Var(&settings.Value[cluster.Addresses]{To: to, Parse: parseAddresses, Format: cluster.Addresses.String, Kind: "addresses", Separators: []string{",", "|"}}, name, usage)
}

// parseAddresses reads the addresses of stages. lws:PORT are the pods of the group of a Kubernetes
// LeaderWorkerSet that this pod is of, in the order of their numbers.
func parseAddresses(s string) (cluster.Addresses, error) {
	port, ok := strings.CutPrefix(strings.TrimSpace(s), "lws:")
	if !ok {
		return cluster.Parse(s)
	}
	leader, size := os.Getenv("LWS_LEADER_ADDRESS"), os.Getenv("LWS_GROUP_SIZE")
	n, err := strconv.Atoi(size)
	if leader == "" || err != nil {
		return nil, fmt.Errorf("lws: is for the pods of a LeaderWorkerSet, where LWS_LEADER_ADDRESS and LWS_GROUP_SIZE are set; here they are %q and %q", leader, size)
	}
	return cluster.Group(leader, n, port)
}

type messageOptions struct{ MaxMessage int }

func (o *messageOptions) AddFlags(f *pflag.FlagSet) {
	settings.Number(f, &o.MaxMessage, "max-message", 64<<20, 1<<10, 1<<30, "largest message between stages, in `bytes`")
}

// callOptions are those of everything that calls stages and serves.
type callOptions struct {
	messageOptions
	insecureOptions
	DeadAfter time.Duration
}

func (o *callOptions) AddFlags(f *pflag.FlagSet) {
	o.messageOptions.AddFlags(f)
	o.insecureOptions.AddFlags(f)
	settings.Time(f, &o.DeadAfter, "dead-after", stage.DefaultDeadAfter, 100*time.Millisecond, time.Hour, "`time` without a sign of life after which a stage is taken for dead")
}

// fetchOptions say from where what is missing in the bundle is fetched.
type fetchOptions struct {
	Fetch    []string
	BundleID string
}

// beginOfID is enough of a bundle's ID to mean one bundle.
var beginOfID = regexp.MustCompile(`^([0-9a-f]{12,64})?$`)

func (o *fetchOptions) AddFlags(f *pflag.FlagSet) {
	settings.List(f, &o.Fetch, "fetch", "`addresses` of machines to fetch what is missing in --bundle from, host:port,host:port", cluster.CheckAddress)
	settings.String(f, &o.BundleID, "bundle-id", "", "", "`hash` that the bundle's ID has to begin with, of 12 digits or more", func(s string) error {
		if beginOfID.MatchString(s) {
			return nil
		}
		return fmt.Errorf("it can be 12 to 64 hexadecimal digits, such as `distinfer split` prints them")
	})
}

// memoryOptions are those of stages that share a machine with others.
type memoryOptions struct {
	Nice      int
	MaxMemory int64
}

func (o *memoryOptions) AddFlags(f *pflag.FlagSet) {
	settings.Number(f, &o.Nice, "nice", -1, -1, 19, "`value` from 0 to 19, as in nice(1): how far what computes steps back behind what sends and receives, and behind other programs (default 10 on a loopback address, else 0)")
	settings.Number(f, &o.MaxMemory, "max-memory", 0, 0, math.MaxInt64, "most memory that a stage may use, in `bytes`; runs that need more are refused (default its part of what the machine or the control group has)")
}

// healthOptions say where probes are answered.
type healthOptions struct{ Health string }

func (o *healthOptions) AddFlags(f *pflag.FlagSet) {
	settings.Listen(f, &o.Health, "health", "`host:port` to answer probes on, /livez, /startupz, /readyz and the gRPC health protocol, without TLS, and nothing else (default: nowhere)")
	settings.PerProcess(f, "health")
}

type adminOptions struct {
	Admin string
	Hosts []string
}

func (o *adminOptions) AddFlags(f *pflag.FlagSet) {
	settings.Listen(f, &o.Admin, "admin", "`host:port` to give metrics, and on this machine profiles, on (default: neither)")
	settings.PerProcess(f, "admin")
	settings.List(f, &o.Hosts, "allowed-hosts", "`names` besides localhost and addresses of this machine under which what is for this machine only is asked, such as front.example.org when a proxy here passes requests on", checkHost)
}

func checkHost(h string) error {
	_, err := hostcheck.ParseHost(h)
	return err
}
