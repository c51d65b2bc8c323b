package settings

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// An Error is a setting that cannot be understood, or has no effect.
type Error struct{ Err error }

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// mistake says whose value is wrong, and nothing when err is nil.
func mistake(name string, value any, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errEmpty):
		return &Error{fmt.Errorf("%s is empty; %w", name, err)}
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
	return &Error{fmt.Errorf("%s is %v; %w", name, value, err)}
}

// FlagError words the errors that pflag has about a command line.
func FlagError(cmd *cobra.Command, err error) error {
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
	return &Error{err}
}

// Refuse refuses those of the flags that are given and have no effect on this run, such as
// "with --front".
func Refuse(cmd *cobra.Command, when string, flags ...string) error {
	if i := slices.IndexFunc(flags, cmd.Flags().Changed); i >= 0 {
		return noEffect(cmd, flags[i], " "+when)
	}
	return nil
}

func noEffect(cmd *cobra.Command, flag, when string) error {
	return &Error{fmt.Errorf("--%s has no effect on `%s`%s; leave it out", flag, cmd.CommandPath(), when)}
}
