package settings

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/pflag"
)

// A Value is a pflag.Value that checks what it is given, whether that comes from the command
// line, the environment or the config file. The errors of Parse say what the value can be; who
// reports them names the flag.
type Value[T any] struct {
	To         *T
	Parse      func(string) (T, error)
	Format     func(T) string
	Kind       string
	Separators []string // by which lists of the config file are joined, from outside in
}

// Set implements pflag.Value.
func (v *Value[T]) Set(s string) error {
	t, err := v.Parse(s)
	if err == nil {
		*v.To = t
	}
	return err
}

// String implements pflag.Value.
func (v *Value[T]) String() string {
	if v.To == nil { // pflag makes one to compare defaults with
		return ""
	}
	return v.Format(*v.To)
}

// Type implements pflag.Value.
func (v *Value[T]) Type() string { return v.Kind }

func (v *Value[T]) separators() []string { return v.Separators }

// Number adds a flag for a whole number in a range.
func Number[T int | int64](f *pflag.FlagSet, to *T, name string, preset, least, most T, usage string) {
	*to = preset
	parse := func(s string) (T, error) {
		n, err := strconv.ParseInt(strings.TrimSpace(s), 0, 64)
		switch {
		case err == nil && n >= int64(least) && n <= int64(most):
			return T(n), nil
		case most == T(math.MaxInt):
			return 0, fmt.Errorf("it can be %d or more", least)
		}
		return 0, fmt.Errorf("it can be %d to %d", least, most)
	}
	f.Var(&Value[T]{To: to, Parse: parse, Format: func(n T) string { return strconv.FormatInt(int64(n), 10) }, Kind: "int"}, name, usage)
}

// Time adds a flag for a time in a range.
func Time(f *pflag.FlagSet, to *time.Duration, name string, preset, least, most time.Duration, usage string) {
	*to = preset
	parse := func(s string) (time.Duration, error) {
		d, err := time.ParseDuration(strings.TrimSpace(s))
		if err == nil && d >= least && d <= most {
			return d, nil
		}
		if _, number := strconv.ParseFloat(strings.TrimSpace(s), 64); number == nil && err != nil {
			return 0, fmt.Errorf("a time needs a unit, such as %ss", strings.TrimSpace(s))
		}
		return 0, fmt.Errorf("it can be %s to %s, such as 3s", least, most)
	}
	format := func(d time.Duration) string {
		if d == 0 {
			return "0" // which pflag takes for no default
		}
		return d.String()
	}
	f.Var(&Value[time.Duration]{To: to, Parse: parse, Format: format, Kind: "duration"}, name, usage)
}

// Choice adds a flag that can be one of a few words. It is a flag with a shorthand if that
// is not empty.
func Choice(f *pflag.FlagSet, to *string, name, shorthand, preset, usage string, choices ...string) {
	String(f, to, name, shorthand, preset, usage, func(s string) error {
		if slices.Contains(choices, s) {
			return nil
		}
		last := len(choices) - 1
		return fmt.Errorf("it can be %s or %s", strings.Join(choices[:last], ", "), choices[last])
	})
}

// String adds a flag for a text that is checked.
func String(f *pflag.FlagSet, to *string, name, shorthand, preset, usage string, check func(string) error) {
	*to = preset
	parse := func(s string) (string, error) { return s, check(s) }
	f.VarP(&Value[string]{To: to, Parse: parse, Format: func(s string) string { return s }, Kind: "string"}, name, shorthand, usage)
}

// File adds a flag for a file that a process must not do without when it is asked for: a
// script whose variable is empty must not turn off what it asks for.
func File(f *pflag.FlagSet, to *string, name, usage string) {
	parse := func(s string) (string, error) {
		if s == "" {
			return "", errEmpty
		}
		return s, nil
	}
	f.Var(&Value[string]{To: to, Parse: parse, Format: func(s string) string { return s }, Kind: kindFile}, name, usage)
}

// kindFile is the type of a value that an empty key of the config file does not leave as it is.
const kindFile = "file"

var errEmpty = fmt.Errorf("name a file, or leave it out")

// Listen adds a flag for an address to listen on, of which the host may be empty and the
// port 0.
func Listen(f *pflag.FlagSet, to *string, name, usage string) {
	String(f, to, name, "", "", usage, func(s string) error {
		_, port, err := net.SplitHostPort(s)
		if n, errPort := strconv.Atoi(port); s == "" || err == nil && errPort == nil && n >= 0 && n <= 65535 {
			return nil
		}
		return fmt.Errorf("it can be such as localhost:8008 or 192.168.0.101:8008")
	})
}

// List adds a flag for a list with commas, each part of which is checked.
func List(f *pflag.FlagSet, to *[]string, name, usage string, check func(string) error) {
	parse := func(s string) ([]string, error) {
		if strings.TrimSpace(s) == "" {
			return nil, nil
		}
		list := strings.Split(s, ",")
		for i, one := range list {
			list[i] = strings.TrimSpace(one)
			if err := check(list[i]); err != nil {
				return nil, err
			}
		}
		return list, nil
	}
	format := func(list []string) string { return strings.Join(list, ",") }
	f.Var(&Value[[]string]{To: to, Parse: parse, Format: format, Kind: "list", Separators: []string{","}}, name, usage)
}

// Level adds a flag for the least level to log.
func Level(f *pflag.FlagSet, to *slog.Level, name, usage string) {
	parse := func(s string) (level slog.Level, err error) {
		if err = level.UnmarshalText([]byte(s)); err != nil {
			err = fmt.Errorf("it can be debug, info, warn or error")
		}
		return level, err
	}
	f.Var(&Value[slog.Level]{To: to, Parse: parse, Format: func(l slog.Level) string { return strings.ToLower(l.String()) }, Kind: "string"}, name, usage)
}

// Size adds a flag for a number of bytes with a unit.
func Size(f *pflag.FlagSet, to *int64, name, usage string) {
	parse := func(s string) (int64, error) {
		n, err := ParseSize(s)
		if err != nil || n < 1 {
			return 0, errors.New("it can be such as 500MB or 2GiB")
		}
		return n, nil
	}
	format := func(n int64) string {
		if n == 0 {
			return ""
		}
		return strconv.FormatInt(n, 10)
	}
	f.Var(&Value[int64]{To: to, Parse: parse, Format: format, Kind: "size"}, name, usage)
}

// ParseSize reads a number of bytes with a unit, such as 500MB (powers of 1000) or
// 2GiB (powers of 1024).
func ParseSize(s string) (int64, error) {
	n, err := humanize.ParseBytes(strings.TrimSpace(s))
	if err == nil && n > math.MaxInt64 {
		err = errors.New("too large")
	}
	return int64(n), err
}
