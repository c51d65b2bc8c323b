package main

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/spf13/viper"
)

// perProcess are flags that differ from process to process, so that a file which all of them
// share cannot hold them.
var perProcess = []string{"rank", "listen", "share", "admin", "output", "cpu-profile"}

// settingOf annotates a flag whose setting in environment and config file does not have the
// flag's name: it has the annotation's, or there is none.
const settingOf = "setting"

// onlyFlags has flags be given on the command line only: they say what one run of a command is
// to do, or have the name of another command's setting.
func onlyFlags(f *pflag.FlagSet, names ...string) {
	for _, name := range names {
		f.Lookup(name).Annotations = map[string][]string{settingOf: {""}}
	}
}

// onlySetting has a flag be given in the environment or the config file, by the name of the
// setting, since the command's flag of that name is another.
func onlySetting(f *pflag.FlagSet, name, setting string) {
	flag := f.Lookup(name)
	flag.Annotations, flag.Hidden = map[string][]string{settingOf: {setting}}, true
}

// setting is the name that environment and config file have for a flag, or "".
func setting(f *pflag.Flag) string {
	switch name, found := f.Annotations[settingOf]; {
	case found:
		return name[0]
	case f.Name == "help":
		return ""
	}
	return f.Name
}

// An optionSet is a struct that a command's flags are read into.
type optionSet interface{ AddFlags(*pflag.FlagSet) }

func addConfigFlag(f *pflag.FlagSet) {
	f.String("config", "", "config `file` (default "+defaultConfig+", if it is there)")
	onlyFlags(f, "config")
}

// configure sets the flags of a command that its command line did not: from the environment,
// else from the config file. So all three are read by the same pflag.Value.
func configure(cmd *cobra.Command) error { return fill(cmd.Flags(), settingsOf(cmd.Root())) }

// reconfigure fills options as the command's were, with what environment and config file say
// by now.
func reconfigure(cmd *cobra.Command, o optionSet) error {
	f := pflag.NewFlagSet(cmd.Name(), pflag.ContinueOnError)
	addConfigFlag(f)
	o.AddFlags(f)
	var failed error
	cmd.Flags().Visit(func(given *pflag.Flag) {
		failed = errors.Join(failed, f.Set(given.Name, given.Value.String()))
	})
	if failed != nil {
		return failed
	}
	return fill(f, settingsOf(cmd.Root()))
}

// settingsOf are the flags of all commands by the names of their settings, so that one config
// file serves every machine.
func settingsOf(root *cobra.Command) map[string]*pflag.Flag {
	settings := map[string]*pflag.Flag{}
	for _, c := range root.Commands() {
		maps.Copy(settings, settingsIn(c.Flags()))
	}
	return settings
}

func settingsIn(f *pflag.FlagSet) map[string]*pflag.Flag {
	settings := map[string]*pflag.Flag{}
	f.VisitAll(func(flag *pflag.Flag) {
		if name := setting(flag); name != "" {
			settings[name] = flag
		}
	})
	return settings
}

func fill(f *pflag.FlagSet, all map[string]*pflag.Flag) error {
	v := viper.NewWithOptions(viper.WithLogger(slog.New(slog.DiscardHandler)))
	file, err := readConfig(v, f.Lookup("config").Value.String())
	if err != nil {
		return err
	}
	own := settingsIn(f)
	for _, key := range slices.Sorted(slices.Values(v.AllKeys())) {
		flag, found := all[key]
		switch {
		case !found:
			known := slices.DeleteFunc(slices.Sorted(maps.Keys(all)), func(k string) bool { return slices.Contains(perProcess, k) })
			return usageError{fmt.Errorf("config file %s: unknown key %q; known are %s", file, key, strings.Join(known, ", "))}
		case slices.Contains(perProcess, key):
			return usageError{fmt.Errorf("config file %s: %q differs from process to process; give it as --%s or %s", file, key, key, variable(key))}
		}
		// What is another command's is checked all the same.
		if mine := own[key]; mine != nil {
			flag = mine
		}
		if flag.Changed {
			continue
		}
		if err := mistake("config file "+file+": "+key, v.Get(key), setAny(flag.Value, v.Get(key))); err != nil {
			return err
		}
	}
	for key, flag := range own {
		if s := os.Getenv(variable(key)); s != "" && !flag.Changed {
			if err := mistake(variable(key), s, flag.Value.Set(s)); err != nil {
				return err
			}
		}
	}
	return nil
}

// variable is the environment's name of a setting.
func variable(name string) string {
	return "DISTINFER_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}
