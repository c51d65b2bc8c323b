package settings

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"
)

// defaultFile is read when it is there and --config does not name another.
const defaultFile = "distinfer.yaml"

// readFile reads the config file that is named by the flag or the environment, else the
// default one if it is there, and returns its name.
func readFile(v *viper.Viper, file string) (string, error) {
	if file == "" {
		file = os.Getenv(Variable("config"))
	}
	asked := file != ""
	if !asked {
		file = defaultFile
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
	return "", &Error{fmt.Errorf("config file %s: %w", file, err)}
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
