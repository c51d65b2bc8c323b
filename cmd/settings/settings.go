// Package settings reads the options of commands: each is a flag, an environment variable and a
// key of a config file, and the first of these that has it counts. All three are read by the same
// pflag.Value, and what is wrong with one is said in the same words.
//
// It knows no command and no option of distinfer.
package settings

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

const (
	// settingOf annotates a flag whose setting in environment and config file does not have the
	// flag's name: it has the annotation's, or there is none.
	settingOf = "setting"
	// perProcess annotates a flag that is no setting of the config file.
	perProcess = "per process"
)

// OnlyFlags has flags be given on the command line only: they say what one run of a command is
// to do, or have the name of another command's setting.
func OnlyFlags(f *pflag.FlagSet, names ...string) {
	for _, name := range names {
		annotate(f.Lookup(name), settingOf, "")
	}
}

// PerProcess keeps flags out of the config file: they differ from process to process, and all
// processes share the file.
func PerProcess(f *pflag.FlagSet, names ...string) {
	for _, name := range names {
		annotate(f.Lookup(name), perProcess, "")
	}
}

// OnlySetting has a flag be given in the environment or the config file, by the name of the
// setting, since the command's flag of that name is another.
func OnlySetting(f *pflag.FlagSet, name, setting string) {
	flag := f.Lookup(name)
	flag.Hidden = true
	annotate(flag, settingOf, setting)
}

func annotate(f *pflag.Flag, key, value string) {
	if f.Annotations == nil {
		f.Annotations = map[string][]string{}
	}
	f.Annotations[key] = []string{value}
}

func isPerProcess(f *pflag.Flag) bool { return f.Annotations[perProcess] != nil }

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

// Options are a struct that a command's flags are read into.
type Options interface{ AddFlags(*pflag.FlagSet) }

// AddConfigFlag adds the flag that names the config file.
func AddConfigFlag(f *pflag.FlagSet) {
	f.String("config", "", "config `file` (default "+defaultFile+", if it is there)")
	OnlyFlags(f, "config")
}

// Command adds the flags of options to a command, and has it run once they are filled in.
func Command(o Options, c *cobra.Command, run func(cmd *cobra.Command, args []string) error) *cobra.Command {
	o.AddFlags(c.Flags())
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if err := Configure(cmd); err != nil {
			return err
		}
		return run(cmd, args)
	}
	return c
}

// Configure sets the flags of a command that its command line did not: from the environment,
// else from the config file. So all three are read by the same pflag.Value.
func Configure(cmd *cobra.Command) error { return fill(cmd.Flags(), Of(cmd.Root())) }

// Reconfigure fills options as the command's were, with what environment and config file say
// by now.
func Reconfigure(cmd *cobra.Command, o Options) error {
	f := pflag.NewFlagSet(cmd.Name(), pflag.ContinueOnError)
	AddConfigFlag(f)
	o.AddFlags(f)
	var failed error
	cmd.Flags().Visit(func(given *pflag.Flag) {
		failed = errors.Join(failed, f.Set(given.Name, given.Value.String()))
	})
	if failed != nil {
		return failed
	}
	return fill(f, Of(cmd.Root()))
}

// Of are the flags of all commands by the names of their settings, so that one config
// file serves every machine.
func Of(root *cobra.Command) map[string]*pflag.Flag {
	settings := map[string]*pflag.Flag{}
	for _, c := range root.Commands() {
		maps.Copy(settings, in(c.Flags()))
	}
	return settings
}

func in(f *pflag.FlagSet) map[string]*pflag.Flag {
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
	file, err := readFile(v, f.Lookup("config").Value.String())
	if err != nil {
		return err
	}
	own := in(f)
	for _, key := range slices.Sorted(slices.Values(v.AllKeys())) {
		flag, found := all[key]
		switch {
		case !found:
			known := slices.DeleteFunc(slices.Sorted(maps.Keys(all)), func(k string) bool { return isPerProcess(all[k]) })
			return &Error{fmt.Errorf("config file %s: unknown key %q; known are %s", file, key, strings.Join(known, ", "))}
		case isPerProcess(flag):
			return &Error{fmt.Errorf("config file %s: %q differs from process to process; give it as --%s or %s", file, key, key, Variable(key))}
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
		if s := os.Getenv(Variable(key)); s != "" && !flag.Changed {
			if err := mistake(Variable(key), s, flag.Value.Set(s)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Variable is the environment's name of a setting.
func Variable(name string) string {
	return "DISTINFER_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}
