package main

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// uses are the flags of all commands that each uses: what it reads or writes with them can be
// found in its file. A new command, or a new flag of all commands, has to be written down here.
var uses = map[string][]string{
	"split":       {"config", "onnxruntime", "output"},
	"verify":      {"bundle", "config", "log-format", "log-level", "onnxruntime", "output"},
	"serve-stage": {"bundle", "config", "log-format", "log-level", "onnxruntime"},
	"front":       {"bundle", "config", "log-format", "log-level"},
	"up":          {"bundle", "config", "log-format", "log-level", "onnxruntime"},
	"check":       {"bundle", "config", "log-format", "log-level", "output"},
	"predict":     {"bundle", "config", "log-format", "log-level", "onnxruntime", "output"},
	"bench":       {"config", "log-format", "log-level", "output"},
	"tokenize":    {"bundle", "config", "output"},
	"certs":       {"config", "output"},
	"version":     {"config", "onnxruntime", "output"},
}

// parsed is a command whose own work is nothing, after a command line.
func parsed(t *testing.T, args ...string) (string, error) {
	t.Helper()
	root := newRoot()
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(args)
	for _, c := range root.Commands() {
		c.Args, c.RunE = cobra.ArbitraryArgs, func(*cobra.Command, []string) error { return nil }
	}
	err := root.Execute()
	return out.String(), err
}

func TestEveryCommandRefusesWhatItDoesNotUse(t *testing.T) {
	t.Parallel()
	var commands []string
	for _, c := range newRoot().Commands() {
		if c.Name() != "help" && c.Name() != "completion" {
			commands = append(commands, c.Name())
		}
	}
	var all []string
	newRoot().PersistentFlags().VisitAll(func(f *pflag.Flag) { all = append(all, f.Name) })
	for name := range uses {
		if !slices.Contains(commands, name) {
			t.Errorf("there is no command %s", name)
		}
	}
	for _, name := range commands {
		help, err := parsed(t, name, "--help")
		if err != nil {
			t.Fatal(err)
		}
		for _, flag := range all {
			used := slices.Contains(uses[name], flag)
			if listed := strings.Contains(help, "--"+flag+" "); listed != used {
				t.Errorf("%s --help lists --%s: %v, and it uses it: %v", name, flag, listed, used)
			}
			for _, args := range [][]string{{name, "--" + flag, "x"}, {name, "--" + flag + "=x", "y"}, {"--" + flag, "x", name}} {
				_, err := parsed(t, args...)
				var usage usageError
				if used && err != nil || !used && (!errors.As(err, &usage) || !strings.Contains(err.Error(), "--"+flag+" has no effect")) {
					t.Errorf("%v: %v, and it uses the flag: %v", args, err, used)
				}
			}
		}
	}
}
