package main

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/pflag"

	"github.com/distinfer/distinfer/split/plan"
)

// machines are those that a model could be spread over.
type machines []machine

// A machine is described in the config file.
type machine struct {
	Name      string        `mapstructure:"name"`
	Speed     float64       `mapstructure:"speed"`     // times the reference machine's
	Memory    string        `mapstructure:"memory"`    // such as 4GB
	Bandwidth string        `mapstructure:"bandwidth"` // of its link, such as 1Gbit/s
	Latency   time.Duration `mapstructure:"latency"`   // of its link, one way
}

// machinesVar adds the setting that describes machines, which is in the config file only.
func machinesVar(f *pflag.FlagSet, to *machines) {
	f.Var(&machinesValue{to}, "machines", "machines that a model could be spread over")
	f.Lookup("machines").Hidden = true
}

type machinesValue struct{ to *machines }

func (*machinesValue) String() string { return "" }
func (*machinesValue) Type() string   { return "machines" }
func (*machinesValue) Set(string) error {
	return errors.New("machines are described in the config file")
}

func (v *machinesValue) setAny(data any) error {
	decoder, err := mapstructure.NewDecoder(&mapstructure.DecoderConfig{
		Result: v.to, ErrorUnused: true, WeaklyTypedInput: true,
		DecodeHook: mapstructure.ComposeDecodeHookFunc(refuseLossy, mapstructure.StringToTimeDurationHookFunc()),
	})
	if err == nil {
		err = decoder.Decode(data)
	}
	return err
}

// refuseLossy refuses numbers that would lose a part or get a unit that nobody wrote.
func refuseLossy(from, to reflect.Type, data any) (any, error) {
	number := from.Kind() >= reflect.Int && from.Kind() <= reflect.Float64
	switch {
	case to == reflect.TypeFor[time.Duration]() && from != to && number:
		return nil, fmt.Errorf("%v is a time without a unit; write such as %vs", data, data)
	case from.Kind() == reflect.Float64 && to.Kind() != reflect.Float64:
		return nil, fmt.Errorf("%v is not a whole number", data)
	}
	return data, nil
}

// plan checks the description. What is left out is an ordinary machine's: the
// reference speed, any memory, 1 Gbit/s, 0.1 ms.
func (list machines) plan() ([]plan.Machine, error) {
	var out []plan.Machine
	seen := map[string]bool{}
	for i, m := range list {
		bad := func(format string, args ...any) error {
			return fmt.Errorf("configuration: machine %d %q: %w", i, m.Name, fmt.Errorf(format, args...))
		}
		p := plan.Machine{Name: m.Name, Speed: 1000, Bandwidth: 1_000_000_000, Latency: 100 * time.Microsecond}
		switch {
		case m.Name == "":
			return nil, bad("it needs a name")
		case seen[m.Name]:
			return nil, bad("another one has that name")
		case m.Speed < 0 || m.Speed > 1e6 || m.Speed != 0 && m.Speed < 0.001:
			return nil, bad("speed is %v; it can be 0.001 to 1000000, where 1 is a machine of 50 GFLOP/s or, with --profile, this one", m.Speed)
		case m.Latency < 0 || m.Latency > time.Minute:
			return nil, bad("latency is %v; it can be such as 200us or 1ms", m.Latency)
		}
		seen[m.Name] = true
		if m.Speed != 0 {
			p.Speed = int64(math.Round(m.Speed * 1000))
		}
		if m.Latency != 0 {
			p.Latency = m.Latency
		}
		var err error
		if m.Memory != "" {
			if p.Memory, err = parseSize(m.Memory); err != nil || p.Memory < 1 {
				return nil, bad("memory is %q; it can be such as 4GB or 4GiB", m.Memory)
			}
		}
		if m.Bandwidth != "" {
			if p.Bandwidth, err = parseBandwidth(m.Bandwidth); err != nil {
				return nil, bad("bandwidth is %q; it can be such as 100Mbit/s or 1Gbit/s", m.Bandwidth)
			}
		}
		out = append(out, p)
	}
	return out, nil
}

// parseBandwidth reads bits a second, such as 1Gbit/s.
func parseBandwidth(s string) (int64, error) {
	number, ok := strings.CutSuffix(strings.TrimSpace(s), "bit/s")
	if !ok {
		return 0, fmt.Errorf("%q has no unit", s)
	}
	n, err := parseSize(number)
	if err == nil && n < 1 {
		err = fmt.Errorf("%q is nothing", s)
	}
	return n, err
}
