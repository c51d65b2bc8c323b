package main

import (
	"fmt"
	"os"
	"runtime/pprof"

	"github.com/spf13/pflag"

	"github.com/distinfer/distinfer/cmd/settings"
)

type profileOptions struct{ CPUProfile string }

func (o *profileOptions) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&o.CPUProfile, "cpu-profile", "", "`file` to write a profile of the processor's time to, for go tool pprof")
	settings.PerProcess(f, "cpu-profile")
}

// profile writes a profile of the processor's time until it is ended, if one is wanted.
func (o *profileOptions) profile() (end func(), err error) {
	if o.CPUProfile == "" {
		return func() {}, nil
	}
	file, err := os.Create(o.CPUProfile)
	if err != nil {
		return nil, fmt.Errorf("write the profile of --cpu-profile: %w", err)
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("begin the profile of --cpu-profile: %w", err)
	}
	return func() {
		pprof.StopCPUProfile()
		_ = file.Close()
	}, nil
}
