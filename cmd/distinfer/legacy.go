package main

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// settings are what commands read that have no options of their own yet.
type settings struct {
	bundleOptions
	outputOptions
	libraryOptions
	threadsOptions
	logOptions
	textOptions
	stagesOptions
	messageOptions
	insecureOptions
	tlsOptions
	Machines machines
}

func load(cmd *cobra.Command) (*settings, error) {
	if err := configure(cmd); err != nil {
		return nil, err
	}
	s, all := &settings{}, pflag.NewFlagSet("", pflag.ContinueOnError)
	s.AddFlags(all)
	var failed error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		to := all.Lookup(f.Name)
		switch {
		case to == nil || setting(f) != f.Name:
		case f.Name == "machines":
			s.Machines = *f.Value.(*machinesValue).to
		case failed == nil:
			failed = to.Value.Set(f.Value.String())
		}
	})
	return s, failed
}

func (s *settings) AddFlags(all *pflag.FlagSet) {
	s.outputOptions.AddFlags(all, "dot")
	for _, o := range []optionSet{&s.bundleOptions, &s.libraryOptions, &s.threadsOptions, &s.logOptions, &s.textOptions, &s.stagesOptions, &s.messageOptions, &s.insecureOptions, &s.tlsOptions} {
		o.AddFlags(all)
	}
	machinesVar(all, &s.Machines)
}

// legacyFlags adds flags to commands that have no options of their own yet.
func legacyFlags(cmd *cobra.Command, groups ...optionSet) *cobra.Command {
	all := pflag.NewFlagSet("", pflag.ContinueOnError)
	new(settings).AddFlags(all)
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if all.Lookup(f.Name) == nil {
			onlyFlags(cmd.Flags(), f.Name)
		}
	})
	for _, o := range groups {
		o.AddFlags(cmd.Flags())
	}
	return cmd
}

type legacyOutput struct {
	outputOptions
	more []string
}

func (o *legacyOutput) AddFlags(f *pflag.FlagSet) { o.outputOptions.AddFlags(f, o.more...) }
