package main

import (
	"log/slog"

	"github.com/spf13/pflag"

	"github.com/distinfer/distinfer/cmd/settings"
	"github.com/distinfer/distinfer/server/mtls"
	"github.com/distinfer/distinfer/server/node"
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
	settings.File(f, &o.HTTPSCert, "https-cert", "`file` of the certificate to answer HTTPS with, instead of plain HTTP")
	settings.File(f, &o.HTTPSKey, "https-key", "`file` of the certificate's key")
	settings.File(f, &o.Tokens, "tokens", "`file` of bearer tokens, one a line; requests need one of them")
}

// permitStages refuses to call the stages from the given rank on without encryption, unless
// --insecure allows it.
func (o *insecureOptions) permitStages(log *slog.Logger, stages [][]string, from int, secure bool) error {
	return node.PermitStages(log, o.Insecure, stages, from, secure)
}

// stageTLS is this machine's part in the TLS between front and stages, or nil without --tls.
func (o *tlsOptions) stageTLS(log *slog.Logger) (*mtls.Credentials, error) {
	return node.MachineTLS(o.TLS, log)
}
