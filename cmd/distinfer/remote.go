package main

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/pflag"

	"github.com/distinfer/distinfer/cmd/settings"
	"github.com/distinfer/distinfer/server/client"
	"github.com/distinfer/distinfer/server/node"
)

// retries is how often predict sends a request again that a front cannot answer now.
const retries = 5

// remoteOptions name a front, and say how to reach it.
type remoteOptions struct {
	Front string
	accessOptions
}

func (o *remoteOptions) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&o.Front, "front", "", "`URL` of a front to ask, instead of computing here")
	settings.OnlyFlags(f, "front")
	o.accessOptions.AddFlags(f)
}

// open makes the client that the options name, or none.
func (o *remoteOptions) open(log *slog.Logger) (*client.Client, error) {
	if o.Front == "" {
		if o.TokenFile != "" || o.CA != "" {
			return nil, usageError{errors.New("--token-file and --ca are for a front; name it with --front")}
		}
		return nil, nil
	}
	return o.accessOptions.open(log, client.Config{URL: o.Front, Retries: retries})
}

// accessOptions say how to be let in by a front.
type accessOptions struct {
	insecureOptions
	TokenFile, CA string
}

func (a *accessOptions) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&a.TokenFile, "token-file", "", "`file` with the token that the front asks for")
	f.StringVar(&a.CA, "ca", "", "`file` of the authorities, one of which signed the front's certificate (default those of the system)")
	settings.OnlyFlags(f, "token-file", "ca")
	a.insecureOptions.AddFlags(f)
}

// open makes a client of a front with the token and the authorities of the files.
func (a *accessOptions) open(log *slog.Logger, c client.Config) (*client.Client, error) {
	url, err := client.ParseURL(c.URL)
	if err != nil {
		return nil, usageError{err}
	}
	if a.TokenFile != "" {
		if c.Token, err = node.ReadToken(a.TokenFile); err != nil {
			return nil, fmt.Errorf("--token-file: %w", err)
		}
		if err := node.PermitToken(log, a.Insecure, url); err != nil {
			return nil, err
		}
	}
	if a.CA != "" {
		if c.TLS, err = node.ReadAuthorities(a.CA); err != nil {
			return nil, fmt.Errorf("--ca: %w", err)
		}
	}
	return client.New(c)
}
