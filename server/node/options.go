// Package node assembles what one process of a cluster serves: a Front, a Stage, or on one machine
// a whole pipeline of them. It knows no flags: options are plain structs, whose zero values are
// the defaults.
package node

import (
	"log/slog"
	"time"

	"github.com/distinfer/distinfer/runtime/encoding"
	"github.com/distinfer/distinfer/runtime/textmodel"
	"github.com/distinfer/distinfer/server/cluster"
	"github.com/distinfer/distinfer/server/mtls"
	"github.com/distinfer/distinfer/server/stage"
)

// Defaults of options that are zero.
const (
	DefaultMaxMessage     = 64 << 20
	DefaultListen         = "localhost:8008"
	DefaultTimeout        = 30 * time.Second
	DefaultMaxBody        = 4 << 20
	DefaultMaxTexts       = 1024
	DefaultMaxConnections = 4096
	DefaultMaxQueue       = 256
)

// LeastConnections is the least that FrontOptions.MaxConnections can be.
const LeastConnections = 16

// Options are those of a front and of a stage.
type Options struct {
	Bundle   string            // folder of the split model
	BundleID string            // what its ID has to begin with; "" is any
	Fetch    []string          // host:port of machines to fetch missing files of the bundle from
	Stages   cluster.Addresses // none are localhost:2222 and the ports that follow

	TLS      string // folder with ca.pem, cert.pem and key.pem, for TLS between machines; "" is none
	Insecure bool   // allow traffic with other machines without encryption

	MaxMessage int           // largest message between stages, in bytes
	DeadAfter  time.Duration // without a sign of life a stage is taken for dead
	Subset     int           // the most replicas of a rank to connect to; 0 is all

	Health       string   // host:port to answer probes on, in plain text; "" is none
	Admin        string   // host:port of metrics and profiles; "" is none
	AllowedHosts []string // names under which what is for this machine only may be requested

	Version  string                  // of the program
	Log      *slog.Logger            // nil is slog's default
	Progress func(done, total int64) // receives how much has been fetched, in bytes; may be nil
}

// FrontOptions are those of a Front.
type FrontOptions struct {
	Options
	Listen     string // host:port for HTTP
	GRPCListen string // host:port for the Open Inference Protocol over gRPC; "" is none
	Share      string // host:port to give the bundle's files on; "" gives none

	HTTPSCert, HTTPSKey string // files; without them the front answers plain HTTP
	Tokens              string // file of bearer tokens, one a line; without it anybody is answered

	ShutdownDelay  time.Duration // between the end of readiness and that of listening
	Timeout        time.Duration // of a request
	MaxBody        int64         // of a request, in bytes
	MaxTexts       int           // that wait or are computed
	MaxConnections int           // of clients
	MaxWait        time.Duration // of texts before they are computed; 0 is 2 s, or as long as 4 batches
	Origins        []string      // of web pages whose scripts may read the answers
	Encoding       encoding.Encoding
	Limits         textmodel.Limits
}

// StageOptions are those of a Stage.
type StageOptions struct {
	Options
	Rank        int
	NoModel     bool   // serve only the self-test
	Listen      string // host:port; "" is the address in Stages that is this machine's
	Instance    string // tells this process from others at the address; "" is random
	ONNXRuntime string // file of the library; "" searches for it
	Threads     int    // to compute with; 0 is one a processor
	Nice        int    // 0 to 19 as in nice(1); negative is 10 on a loopback address, else 0
	MaxMemory   int64  // in bytes; 0 is a part of what the machine has
	MaxQueue    int    // runs that may wait; negative is none
}

func preset[T comparable](to *T, value T) {
	var zero T
	if *to == zero {
		*to = value
	}
}

func (o *Options) preset() {
	preset(&o.MaxMessage, DefaultMaxMessage)
	preset(&o.DeadAfter, stage.DefaultDeadAfter)
	preset(&o.Log, slog.Default())
}

func (o *FrontOptions) preset() {
	o.Options.preset()
	preset(&o.Listen, DefaultListen)
	preset(&o.Timeout, DefaultTimeout)
	preset(&o.MaxBody, DefaultMaxBody)
	preset(&o.MaxTexts, DefaultMaxTexts)
	preset(&o.MaxConnections, DefaultMaxConnections)
	preset(&o.Encoding, encoding.Float32)
}

// calls say how stages are called, by the machine with the given credentials, which may be nil.
func (o *Options) calls(machine *mtls.Credentials) stage.Options {
	options := stage.Options{MaxMessage: o.MaxMessage, DeadAfter: o.DeadAfter, Subset: o.Subset, Insecure: o.Insecure, Log: o.Log}
	if machine != nil {
		options.TLS = machine.Client
	}
	return options
}
