package main

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/pflag"

	"github.com/distinfer/distinfer/cmd/settings"
	"github.com/distinfer/distinfer/runtime/encoding"
	"github.com/distinfer/distinfer/server/node"
)

// noPort is the --grpc-port for no gRPC. 0 is any port that is free, as for --port.
const noPort = -1

// serveOptions are those of everything that answers HTTP.
type serveOptions struct {
	textOptions
	httpsOptions
	Port            int
	Listen          string
	GRPCPort        int
	Timeout         time.Duration
	MaxBody         int64
	MaxTexts        int
	MaxConns        int
	Origins         []string
	ActivationDtype string
	MaxWait         time.Duration
	ShutdownDelay   time.Duration
}

func (o *serveOptions) AddFlags(f *pflag.FlagSet) {
	o.textOptions.AddFlags(f)
	o.httpsOptions.AddFlags(f)
	settings.Number(f, &o.Port, "port", 8008, 0, 65535, "`port` on localhost to answer HTTP on; 0 is any that is free")
	settings.Listen(f, &o.Listen, "listen", "`host:port` to answer HTTP on, instead of --port")
	settings.PerProcess(f, "listen")
	settings.Number(f, &o.GRPCPort, "grpc-port", noPort, noPort, 65535, "`port` to answer the Open Inference Protocol over gRPC on, at the host that HTTP is answered at; 0 is any that is free, -1 none")
	settings.Time(f, &o.Timeout, "timeout", node.DefaultTimeout, time.Millisecond, 24*time.Hour, "longest `time` a request may take")
	settings.Number(f, &o.MaxBody, "max-body", node.DefaultMaxBody, 1<<10, 1<<30, "largest body of a request, in `bytes`")
	settings.Number(f, &o.MaxTexts, "max-texts", node.DefaultMaxTexts, 1, 1<<20, "`number` of texts that may wait or be computed; more are refused")
	settings.Number(f, &o.MaxConns, "max-connections", node.DefaultMaxConnections, node.LeastConnections, 1<<20, "`number` of connections of clients at once; those that are idle for longest give way to new ones")
	settings.List(f, &o.Origins, "cors-origins", "`origins` of web pages whose scripts may read the answers, such as https://example.org,https://example.net; * is any (default: none but the front's own)", checkOrigin)
	settings.Time(f, &o.ShutdownDelay, "shutdown-delay", 0, 0, time.Hour, "`time` to go on answering after a signal to end, without being ready, so that load balancers learn of it")
	var encodings []string
	for _, e := range encoding.Encodings() {
		encodings = append(encodings, string(e))
	}
	settings.Choice(f, &o.ActivationDtype, "activation-dtype", "", string(encoding.Float32), "`encoding` of float32 tensors from stage to stage, for slow links: "+encoding.Names(encoding.Encodings())+"; `distinfer verify --texts` says what it changes", encodings...)
	settings.Time(f, &o.MaxWait, "max-wait", 0, 0, 24*time.Hour, "longest `time` that texts may have to wait for their turn; those that come then are refused (default 2s, or as long as 4 batches take)")
}

// front are the options of the front that is served by a node.
func (o *serveOptions) front(n node.Options) node.FrontOptions {
	host, listen := "localhost", o.Listen
	if listen == "" {
		listen = net.JoinHostPort(host, strconv.Itoa(o.Port))
	} else if h, _, err := net.SplitHostPort(listen); err == nil {
		host = h
	}
	grpc := ""
	if o.GRPCPort != noPort {
		grpc = net.JoinHostPort(host, strconv.Itoa(o.GRPCPort))
	}
	return node.FrontOptions{
		Options: n, Listen: listen, GRPCListen: grpc,
		HTTPSCert: o.HTTPSCert, HTTPSKey: o.HTTPSKey, Tokens: o.Tokens,
		ShutdownDelay: o.ShutdownDelay, Timeout: o.Timeout, MaxBody: o.MaxBody, MaxTexts: o.MaxTexts, MaxConnections: o.MaxConns, MaxWait: o.MaxWait,
		Origins: o.Origins, Encoding: encoding.Encoding(o.ActivationDtype), Limits: o.limits(),
	}
}

// checkOrigin checks for what a browser sends as Origin: scheme://host or
// scheme://host:port.
func checkOrigin(o string) error {
	u, err := url.Parse(o)
	if o != "*" && (err != nil || u.Host == "" || o != u.Scheme+"://"+u.Host) {
		return fmt.Errorf("%q is not an origin; it can be such as https://example.org, without a path, or *", o)
	}
	return nil
}
