package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/distinfer/distinfer/cmd/settings"
	"github.com/distinfer/distinfer/server/node"
)

type frontOptions struct {
	nodeOptions
	serveOptions
	Share string
}

func (o *frontOptions) AddFlags(f *pflag.FlagSet) {
	o.nodeOptions.AddFlags(f)
	o.serveOptions.AddFlags(f)
	settings.Listen(f, &o.Share, "share", "`host:port` to give the bundle's files to other machines on (default: they are not given)")
	settings.PerProcess(f, "share")
}

func (o *frontOptions) front() node.FrontOptions {
	front := o.serveOptions.front(o.node())
	front.Share = o.Share
	return front
}

func newFront() *cobra.Command {
	var o frontOptions
	return settings.Command(&o, &cobra.Command{
		Use:   "front",
		Short: "Chain the stages and answer over HTTP",
		Long: `Answer texts over HTTP with the stages of the model, which may be on other
machines. Only the front needs to know where the stages are.

  GET  /?text=…   the label, as plain text
  POST /predict   (or /) labels and scores as JSON, for {"inputs": "…"} or a list
                  (for other models: entities, or embeddings, which are also at
                  /embed and /v1/embeddings)
  GET  /healthz   whether the front runs
  GET  /readyz    whether every stage can be used
  /v2/…           the Open Inference Protocol: tensors and texts, for any model
  GET  /metrics   for Prometheus
  GET  /          in a browser: a page to try the model and watch the stages
  GET  /status    what the stages do, as JSON; /events is the same once a second

The front listens on localhost only, unless --listen names another address, which
needs --https-cert and --https-key. --grpc-port adds the Open Inference Protocol over
gRPC, at the same host, with the same certificate and tokens. Stages on other machines need --tls, a folder
that ` + "`distinfer certs`" + ` makes. With --tokens, only those who send one of the tokens
in the file are answered.

With --share it also gives the bundle's files, by gRPC on an address of its own, to
machines that fetch them; the bundle then has to be on this machine only. With
--fetch it is the other way round: what the front needs (the manifest, the
tokenizer and its configuration) is fetched from a machine that has it.

On SIGHUP it reads its configuration and the bundle again. When they are others it
goes on answering with what it has until every stage of the new bundle can be
used, and then follows; each request is answered wholly by one of the two.`,
		Example: `  distinfer front --port 8008
  distinfer front --stages 192.168.0.101:2222,192.168.0.104:2222 --tls tls
  distinfer front --listen 0.0.0.0:443 --https-cert cert.pem --https-key key.pem --tokens tokens.txt
  distinfer front --share 192.168.0.101:2221 --tls tls
  distinfer front --fetch 192.168.0.101:2222 --tls tls
  curl 'http://localhost:8008/?text=a+lovely+film'
  curl localhost:8008/predict -d '{"inputs": ["a lovely film", "a waste of time"]}'`,
		Args: arguments(false),
	}, func(cmd *cobra.Command, _ []string) error {
		outliveReaders()
		return o.run(cmd)
	})
}

func (o *frontOptions) run(cmd *cobra.Command) error {
	endProfile, err := o.profile()
	if err != nil {
		return err
	}
	defer endProfile()
	f, err := node.OpenFront(cmd.Context(), o.front())
	if err != nil {
		return err
	}
	defer f.Close()
	unfollow := o.followOnHangup(cmd, f)
	defer unfollow()
	return f.Serve(cmd.Context())
}

// followOnHangup reads configuration and bundle again on every SIGHUP, and has the front follow
// what they say. On a terminal the signal ends the front, since it says that the terminal is gone.
func (o *frontOptions) followOnHangup(cmd *cobra.Command, f *node.Front) (end func()) {
	if term.IsTerminal(int(os.Stdin.Fd())) {
		return func() {}
	}
	hangup := make(chan os.Signal, 1)
	signal.Ignore(syscall.SIGHUP) // or it would end the process
	signal.Notify(hangup, syscall.SIGHUP)
	ctx, cancel := context.WithCancel(cmd.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		stop := func() {}
		for {
			select {
			case <-ctx.Done():
			case <-hangup:
			}
			stop()
			if ctx.Err() != nil {
				return
			}
			stop = o.follow(ctx, cmd, f)
		}
	}()
	return func() {
		cancel()
		<-ended
		signal.Stop(hangup)
	}
}

// follow has the front follow what configuration and bundle say by now, until stop.
func (o *frontOptions) follow(ctx context.Context, cmd *cobra.Command, f *node.Front) (stop func()) {
	following, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		var next frontOptions
		err := settings.Reconfigure(cmd, &next)
		if err == nil {
			err = f.Follow(following, next.front())
		}
		if err != nil && ctx.Err() == nil {
			o.logger().Error("the front goes on with what it has", "bundle", f.Bundle().ID.Short(), "error", err)
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}
