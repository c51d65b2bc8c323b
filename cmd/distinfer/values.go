package main

import (
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/distinfer/distinfer/server/cluster"
	"github.com/distinfer/distinfer/server/hostcheck"
)

// A value is a pflag.Value that checks what it is given, whether that comes from the command
// line, the environment or the config file. The errors of parse say what the value can be; who
// reports them names the flag.
type value[T any] struct {
	to     *T
	parse  func(string) (T, error)
	format func(T) string
	kind   string
	seps   []string // by which lists of the config file are joined, from outside in
}

func (v *value[T]) Set(s string) error {
	t, err := v.parse(s)
	if err == nil {
		*v.to = t
	}
	return err
}

func (v *value[T]) String() string {
	if v.to == nil { // pflag makes one to compare defaults with
		return ""
	}
	return v.format(*v.to)
}

func (v *value[T]) Type() string         { return v.kind }
func (v *value[T]) separators() []string { return v.seps }

// numberVar adds a flag for a whole number in a range.
func numberVar[T int | int64](f *pflag.FlagSet, to *T, name string, preset, least, most T, usage string) {
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
	f.Var(&value[T]{to: to, parse: parse, format: func(n T) string { return strconv.FormatInt(int64(n), 10) }, kind: "int"}, name, usage)
}

// timeVar adds a flag for a time in a range.
func timeVar(f *pflag.FlagSet, to *time.Duration, name string, preset, least, most time.Duration, usage string) {
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
	f.Var(&value[time.Duration]{to: to, parse: parse, format: format, kind: "duration"}, name, usage)
}

// choiceVar adds a flag that can be one of a few words. It is a flag with a shorthand if that
// is not empty.
func choiceVar(f *pflag.FlagSet, to *string, name, shorthand, preset, usage string, choices ...string) {
	stringVar(f, to, name, shorthand, preset, usage, func(s string) error {
		if slices.Contains(choices, s) {
			return nil
		}
		last := len(choices) - 1
		return fmt.Errorf("it can be %s or %s", strings.Join(choices[:last], ", "), choices[last])
	})
}

func stringVar(f *pflag.FlagSet, to *string, name, shorthand, preset, usage string, check func(string) error) {
	*to = preset
	parse := func(s string) (string, error) { return s, check(s) }
	f.VarP(&value[string]{to: to, parse: parse, format: func(s string) string { return s }, kind: "string"}, name, shorthand, usage)
}

// fileVar adds a flag for a file that a process must not do without when it is asked for: a
// script whose variable is empty must not turn off what it asks for.
func fileVar(f *pflag.FlagSet, to *string, name, usage string) {
	parse := func(s string) (string, error) {
		if s == "" {
			return "", errEmpty
		}
		return s, nil
	}
	f.Var(&value[string]{to: to, parse: parse, format: func(s string) string { return s }, kind: kindFile}, name, usage)
}

// kindFile is the type of a value that an empty key of the config file does not leave as it is.
const kindFile = "file"

var errEmpty = fmt.Errorf("name a file, or leave it out")

// listenVar adds a flag for an address to listen on, of which the host may be empty and the
// port 0.
func listenVar(f *pflag.FlagSet, to *string, name, usage string) {
	stringVar(f, to, name, "", "", usage, func(s string) error {
		_, port, err := net.SplitHostPort(s)
		if n, errPort := strconv.Atoi(port); s == "" || err == nil && errPort == nil && n >= 0 && n <= 65535 {
			return nil
		}
		return fmt.Errorf("it can be such as localhost:8008 or 192.168.0.101:8008")
	})
}

// listVar adds a flag for a list with commas, each part of which is checked.
func listVar(f *pflag.FlagSet, to *[]string, name, usage string, check func(string) error) {
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
	f.Var(&value[[]string]{to: to, parse: parse, format: format, kind: "list", seps: []string{","}}, name, usage)
}

// addressesVar adds a flag for the addresses of stages.
func addressesVar(f *pflag.FlagSet, to *cluster.Addresses, name, usage string) {
	f.Var(&value[cluster.Addresses]{to: to, parse: cluster.Parse, format: cluster.Addresses.String, kind: "addresses", seps: []string{",", "|"}}, name, usage)
}

// levelVar adds a flag for the least level to log.
func levelVar(f *pflag.FlagSet, to *slog.Level, name, usage string) {
	parse := func(s string) (level slog.Level, err error) {
		if err = level.UnmarshalText([]byte(s)); err != nil {
			err = fmt.Errorf("it can be debug, info, warn or error")
		}
		return level, err
	}
	f.Var(&value[slog.Level]{to: to, parse: parse, format: func(l slog.Level) string { return strings.ToLower(l.String()) }, kind: "string"}, name, usage)
}

// checkOrigin checks for what a browser sends as Origin: scheme://host or
// scheme://host:port.
func checkOrigin(o string) error {
	u, err := url.Parse(o)
	if o != "*" && (err != nil || u.Host == "" || o != u.Scheme+"://"+u.Host) {
		return fmt.Errorf("%q is not an origin; it can be such as https://example.org, without a path, or *", o)
	}
	return nil
}

func checkHost(h string) error {
	_, err := hostcheck.ParseHost(h)
	return err
}
