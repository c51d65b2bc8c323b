package main

import (
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/pflag"

	"github.com/distinfer/distinfer/split/machines"
)

// machinesVar adds the setting that describes machines, which is in the config file only.
func machinesVar(f *pflag.FlagSet, to *[]machines.Description) {
	f.Var(&machinesValue{to}, "machines", "machines that a model could be spread over")
	f.Lookup("machines").Hidden = true
}

type machinesValue struct{ to *[]machines.Description }

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
