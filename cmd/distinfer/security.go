package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/distinfer/distinfer/server/front"
	"github.com/distinfer/distinfer/server/mtls"
	"github.com/distinfer/distinfer/server/stage"
)

// tlsOptions are this machine's part in the TLS between front and stages.
type tlsOptions struct{ TLS string }

func (o *tlsOptions) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&o.TLS, "tls", "", "`folder` with ca.pem, cert.pem and key.pem, for TLS between front and stages and among these")
}

type insecureOptions struct{ Insecure bool }

func (o *insecureOptions) AddFlags(f *pflag.FlagSet) {
	f.BoolVar(&o.Insecure, "insecure", false, "let traffic to and from other machines go unencrypted")
}

// httpsOptions say how clients reach the front, and who may.
type httpsOptions struct{ HTTPSCert, HTTPSKey, Tokens string }

func (o *httpsOptions) AddFlags(f *pflag.FlagSet) {
	fileVar(f, &o.HTTPSCert, "https-cert", "`file` of the certificate to answer HTTPS with, instead of plain HTTP")
	fileVar(f, &o.HTTPSKey, "https-key", "`file` of the certificate's key")
	fileVar(f, &o.Tokens, "tokens", "`file` of bearer tokens, one a line; requests need one of them")
}

// Traffic is what this process sends or takes at an address.
type traffic struct {
	doing   string // such as "calling stage 1 at"
	address string // host:port
	secure  bool   // whether it is encrypted
	remedy  string // what would make it so
}

const stageRemedy = "give each machine a folder of `distinfer certs` with --tls"

func stageListener(address string, secure bool) traffic {
	return traffic{"listening on", address, secure, stageRemedy}
}

func frontListener(address string, secure bool) traffic {
	return traffic{"listening on", address, secure, "give a certificate with --https-cert and --https-key"}
}

// permit refuses traffic with other machines that is not encrypted, unless
// --insecure allows it; then it is logged.
func (o *insecureOptions) permit(log *slog.Logger, t traffic) error {
	switch {
	case t.secure || stage.IsLoopback(t.address):
		return nil
	case o.Insecure:
		log.Warn(t.doing+" an address beyond this machine without encryption: whoever is on the network can read it, change it and use it", "address", t.address)
		return nil
	}
	return usageError{fmt.Errorf("%s %s without encryption: others on the network could read it, change it and use it; %s, or say --insecure if the network is as good as this machine", t.doing, t.address, t.remedy)}
}

// permitStages is permit for calls of the stages from the given rank on.
func (o *insecureOptions) permitStages(log *slog.Logger, stages [][]string, from int, secure bool) error {
	for rank := from; rank < len(stages); rank++ {
		for _, address := range stages[rank] {
			if err := o.permit(log, traffic{fmt.Sprintf("calling stage %d at", rank), strings.TrimPrefix(address, stage.ManyReplicas), secure, stageRemedy}); err != nil {
				return err
			}
		}
	}
	return nil
}

// stageTLS is this machine's part in the TLS between front and stages, or nil
// without --tls.
func (o *tlsOptions) stageTLS(log *slog.Logger) (*mtls.Credentials, error) {
	if o.TLS == "" {
		return nil, nil
	}
	c, err := mtls.Load(o.TLS, log)
	if err != nil {
		return nil, fmt.Errorf("--tls: %w", err)
	}
	logIdentity(log, "TLS between front and stages", c.Identity())
	return c, nil
}

// httpsTLS is the TLS of the front, or nil for plain HTTP.
func (o *httpsOptions) httpsTLS(log *slog.Logger) (*tls.Config, error) {
	if (o.HTTPSCert == "") != (o.HTTPSKey == "") {
		return nil, usageError{errors.New("--https-cert and --https-key belong together; give both, or neither for plain HTTP")}
	}
	if o.HTTPSCert == "" {
		return nil, nil
	}
	c, err := mtls.LoadCertificate(o.HTTPSCert, o.HTTPSKey, log)
	if err != nil {
		return nil, fmt.Errorf("HTTPS: %w", err)
	}
	logIdentity(log, "HTTPS", c.Identity())
	return c.Server(), nil
}

func logIdentity(log *slog.Logger, what string, i mtls.Identity) {
	log.Info(what, "names", strings.Join(i.Names, ","), "until", i.NotAfter.UTC().Format(time.RFC3339))
}

// tokens are those that the front asks for, or nil when it answers anybody.
func (o *httpsOptions) tokens(log *slog.Logger) (*front.Tokens, error) {
	if o.Tokens == "" {
		return nil, nil
	}
	t, err := front.LoadTokens(o.Tokens, log)
	if err != nil {
		return nil, fmt.Errorf("--tokens: %w", err)
	}
	return t, nil
}
