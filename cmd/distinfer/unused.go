package main

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"
)

// unused are the flags of all commands that one of them has no use for. Given on its command
// line they are refused, since who gives them expects something; environment and config file are
// for all commands.
var unused = map[string][]string{
	"split":       {"bundle", "log-level", "log-format"}, // --out is where to
	"verify":      {},
	"serve-stage": {"output"},
	"front":       {"output", "onnxruntime"},
	"up":          {"output"},
	"check":       {"onnxruntime"},
	"predict":     {},
	"bench":       {"bundle", "onnxruntime"},
	"tokenize":    {"onnxruntime", "log-level", "log-format"},
	"certs":       {"bundle", "onnxruntime", "log-level", "log-format"},
	"version":     {"bundle", "log-level", "log-format"},
}

// refuseUnused has the flags that a command has no use for be refused, and left out of its help.
func refuseUnused(root *cobra.Command) {
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		return refuse(cmd, "", unused[cmd.Name()]...)
	}
	help := root.HelpFunc()
	root.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		for _, name := range unused[cmd.Name()] {
			if f := cmd.InheritedFlags().Lookup(name); f != nil {
				f.Hidden = true
			}
		}
		help(cmd, args)
	})
}

// refuse refuses those of the flags that are given, which a command does not use, such as "with
// --front".
func refuse(cmd *cobra.Command, when string, flags ...string) error {
	i := slices.IndexFunc(flags, cmd.Flags().Changed)
	if i < 0 {
		return nil
	}
	if when != "" {
		when = " " + when
	}
	return usageError{fmt.Errorf("--%s has no effect on `%s`%s; leave it out", flags[i], cmd.CommandPath(), when)}
}
