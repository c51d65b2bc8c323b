package settings

import (
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/pflag"
)

// Described adds the setting of what only a config file can describe: to points at what its key
// is decoded into.
func Described(f *pflag.FlagSet, to any, name, usage string) {
	f.Var(&described{to, name}, name, usage)
	f.Lookup(name).Hidden = true
}

type described struct {
	to   any
	name string
}

func (*described) String() string { return "" }
func (v *described) Type() string { return v.name }
func (v *described) Set(string) error {
	return errors.New(v.name + " are described in the config file")
}

func (v *described) setAny(data any) error {
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
