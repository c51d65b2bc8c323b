package main

import (
	"github.com/spf13/pflag"

	"github.com/distinfer/distinfer/cmd/settings"
	"github.com/distinfer/distinfer/server/node"
)

// nodeOptions are those of a process that serves: of a front or of a stage.
type nodeOptions struct {
	bundleOptions
	logOptions
	stagesOptions
	tlsOptions
	callOptions
	fetchOptions
	healthOptions
	adminOptions
	profileOptions
}

func (o *nodeOptions) AddFlags(f *pflag.FlagSet) {
	for _, group := range []settings.Options{&o.bundleOptions, &o.logOptions, &o.stagesOptions, &o.tlsOptions, &o.callOptions, &o.fetchOptions, &o.healthOptions, &o.adminOptions, &o.profileOptions} {
		group.AddFlags(f)
	}
}

func (o *nodeOptions) node() node.Options {
	return node.Options{
		Bundle: o.Bundle, BundleID: o.BundleID, Fetch: o.Fetch, Stages: o.Stages,
		TLS: o.TLS, Insecure: o.Insecure, MaxMessage: o.MaxMessage, DeadAfter: o.DeadAfter,
		Health: o.Health, Admin: o.Admin, AllowedHosts: o.Hosts, Version: buildVersion(), Log: o.logger(), Progress: showing("fetching"),
	}
}
