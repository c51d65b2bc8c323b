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
	Subset int
}

func (o *nodeOptions) AddFlags(f *pflag.FlagSet) {
	for _, group := range []settings.Options{&o.bundleOptions, &o.logOptions, &o.stagesOptions, &o.tlsOptions, &o.callOptions, &o.fetchOptions, &o.healthOptions, &o.adminOptions, &o.profileOptions} {
		group.AddFlags(f)
	}
	settings.Number(f, &o.Subset, "subset", 0, 0, 1<<16, "most replicas of a rank to connect to, a `number` chosen at random; 0 is all (64 of a later rank)")
}

func (o *nodeOptions) node() node.Options {
	return node.Options{
		Bundle: o.Bundle, BundleID: o.BundleID, Fetch: o.Fetch, Stages: o.Stages,
		TLS: o.TLS, Insecure: o.Insecure, MaxMessage: o.MaxMessage, DeadAfter: o.DeadAfter, Subset: o.Subset,
		Health: o.Health, Admin: o.Admin, AllowedHosts: o.Hosts, Version: buildVersion(), Log: o.logger(), Progress: showing("fetching"),
	}
}
