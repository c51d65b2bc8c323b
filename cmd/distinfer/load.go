package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/spf13/viper"
)

// defaultConfig is read when it is there and --config does not name another.
const defaultConfig = "distinfer.yaml"

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

// readConfig reads the config file that is named by the flag or the environment, else the
// default one if it is there, and returns its name.
func readConfig(v *viper.Viper, file string) (string, error) {
	if file == "" {
		file = os.Getenv(variable("config"))
	}
	asked := file != ""
	if !asked {
		file = defaultConfig
	}
	v.SetConfigFile(file)
	v.SetConfigType("yaml")
	err := v.ReadInConfig()
	var path *fs.PathError
	switch {
	case err == nil || errors.Is(err, fs.ErrNotExist) && !asked:
		return file, nil
	case errors.As(err, &path):
		err = path.Err // the message names the path
	}
	return "", usageError{fmt.Errorf("config file %s: %w", file, err)}
}

// variable is the environment's name of a setting.
func variable(name string) string {
	return "DISTINFER_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// mistake says whose value is wrong, and nothing when err is nil.
func mistake(name string, value any, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errEmpty):
		return usageError{fmt.Errorf("%s is empty; %w", name, err)}
	}
	if s, ok := value.(string); ok {
		value = strconv.Quote(s)
	}
	if number := (*strconv.NumError)(nil); errors.As(err, &number) {
		err = fmt.Errorf("it is no number")
		if number.Func == "ParseBool" {
			err = fmt.Errorf("it can be true or false")
		}
	}
	return usageError{fmt.Errorf("%s is %v; %w", name, value, err)}
}

// flagMistake words the errors that pflag has about a command line.
func flagMistake(cmd *cobra.Command, err error) error {
	var wrong *pflag.InvalidValueError
	var unknown *pflag.NotExistError
	switch {
	case errors.As(err, &wrong):
		return mistake("--"+wrong.GetFlag().Name, wrong.GetValue(), wrong.Unwrap())
	case errors.As(err, &unknown):
		for _, other := range cmd.Root().Commands() {
			f := other.Flags().Lookup(unknown.GetSpecifiedName())
			if f == nil && unknown.GetSpecifiedShortnames() != "" {
				f = other.Flags().ShorthandLookup(unknown.GetSpecifiedName())
			}
			if f != nil {
				return noEffect(cmd, f.Name, "")
			}
		}
	}
	return usageError{err}
}

// refuse refuses those of the flags that are given and have no effect on this run, such as
// "with --front".
func refuse(cmd *cobra.Command, when string, flags ...string) error {
	if i := slices.IndexFunc(flags, cmd.Flags().Changed); i >= 0 {
		return noEffect(cmd, flags[i], " "+when)
	}
	return nil
}

func noEffect(cmd *cobra.Command, flag, when string) error {
	return usageError{fmt.Errorf("--%s has no effect on `%s`%s; leave it out", flag, cmd.CommandPath(), when)}
}

// setAny sets a value to what stands in a config file.
func setAny(v pflag.Value, data any) error {
	if s, ok := v.(interface{ setAny(any) error }); ok {
		return s.setAny(data)
	}
	if data == nil && v.Type() != kindFile {
		return nil // a key without a value
	}
	var separators []string
	if l, ok := v.(interface{ separators() []string }); ok {
		separators = l.separators()
	}
	s, err := written(data, separators)
	if err != nil {
		return err
	}
	return v.Set(s)
}

// written is a value of a config file as it would be given on the command line. Nothing is
// rounded.
func written(data any, separators []string) (string, error) {
	switch d := data.(type) {
	case nil:
		return "", nil
	case string:
		return d, nil
	case bool, int, int64, uint64:
		return fmt.Sprint(d), nil
	case float64:
		return "", errors.New("it is not a whole number")
	case []any:
		if len(separators) == 0 {
			break
		}
		parts := make([]string, len(d))
		for i, one := range d {
			var err error
			if parts[i], err = written(one, separators[1:]); err != nil {
				return "", err
			}
		}
		return strings.Join(parts, separators[0]), nil
	}
	return "", errors.New("it cannot be written like that")
}
