package main

import (
	"fmt"
	"os"
	"runtime/pprof"

	"github.com/spf13/pflag"
)

func addProfileFlag(f *pflag.FlagSet) {
	f.String("cpu-profile", "", "`file` to write a profile of the processor's time to, for go tool pprof")
}

// profile writes a profile of the processor's time until it is ended, if one is wanted.
func (s *settings) profile() (end func(), err error) {
	if s.CPUProfile == "" {
		return func() {}, nil
	}
	file, err := os.Create(s.CPUProfile)
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
