package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/spf13/viper"

	"github.com/distinfer/distinfer/runtime/encoding"
	"github.com/distinfer/distinfer/runtime/ort"
	"github.com/distinfer/distinfer/runtime/textmodel"
	"github.com/distinfer/distinfer/server/tracing"
)

// defaultConfig is read when it is there and --config does not name another.
const defaultConfig = "distinfer.yaml"

// firstStagePort is the port of rank 0 unless the stages are named; rank r has
// the r-th port after it. The system this one replaces used the same.
const firstStagePort = 2222

// settings are all settings of all commands, so that one config file serves
// every machine. The key of each is the name of its flag.
type settings struct {
	Bundle          string        `mapstructure:"bundle"`
	Stages          addresses     `mapstructure:"stages"`
	Machines        machines      `mapstructure:"machines"`
	Fetch           peers         `mapstructure:"fetch"`
	BundleID        string        `mapstructure:"bundle-id"`
	ONNXRuntime     string        `mapstructure:"onnxruntime"`
	Threads         int           `mapstructure:"threads"`
	Nice            int           `mapstructure:"nice"`
	MaxMemory       int64         `mapstructure:"max-memory"`
	Output          string        `mapstructure:"output"`
	LogLevel        string        `mapstructure:"log-level"`
	LogFormat       string        `mapstructure:"log-format"`
	Rank            int           `mapstructure:"rank"`
	Listen          string        `mapstructure:"listen"`
	Share           string        `mapstructure:"share"`
	Admin           string        `mapstructure:"admin"`
	Port            int           `mapstructure:"port"`
	GRPCPort        int           `mapstructure:"grpc-port"`
	Timeout         time.Duration `mapstructure:"timeout"`
	DeadAfter       time.Duration `mapstructure:"dead-after"`
	MaxBody         int64         `mapstructure:"max-body"`
	MaxMessage      int           `mapstructure:"max-message"`
	MaxQueue        int           `mapstructure:"max-queue"`
	CPUProfile      string        `mapstructure:"cpu-profile"`
	MaxTexts        int           `mapstructure:"max-texts"`
	MaxWait         time.Duration `mapstructure:"max-wait"`
	MaxTokens       int           `mapstructure:"max-tokens"`
	Truncation      string        `mapstructure:"truncation"`
	MaxConns        int           `mapstructure:"max-connections"`
	Origins         origins       `mapstructure:"cors-origins"`
	Hosts           hosts         `mapstructure:"allowed-hosts"`
	ActivationDtype string        `mapstructure:"activation-dtype"`
	TLS             string        `mapstructure:"tls"`
	Insecure        bool          `mapstructure:"insecure"`
	HTTPSCert       string        `mapstructure:"https-cert"`
	HTTPSKey        string        `mapstructure:"https-key"`
	Tokens          string        `mapstructure:"tokens"`

	file    string                // the config file, if one was read
	formats []string              // that --output may name
	given   func(key string) bool // whether a setting has a value from anywhere
}

// leastConnections is the least that --max-connections can be.
const leastConnections = 16

// Settings that differ from process to process, so that a file which all of
// them share cannot hold them.
var notInFile = []string{"rank", "listen", "share", "admin", "output", "cpu-profile"}

func addGlobalFlags(f *pflag.FlagSet) {
	f.String("config", "", "config `file` (default "+defaultConfig+", if it is there)")
	f.String("bundle", "stages", "`folder` of the split model")
	f.StringP("output", "o", "text", "what to print: `text or json`")
	f.String("log-level", "info", "least `level` to log: debug, info, warn or error")
	f.String("log-format", "text", "`format` of the log: text or json")
	f.String("onnxruntime", "", "`file` of the ONNX Runtime library (default: searched, see `distinfer version`)")
}

// What --truncation can be: what becomes of texts that are longer than the model reads.
const (
	truncationCut    = "cut"
	truncationRefuse = "refuse"
)

// addTextFlags adds what every command has that has texts answered.
func addTextFlags(f *pflag.FlagSet) {
	f.Int("max-tokens", 0, fmt.Sprintf("most `tokens` of a text, special ones included, also where the model reads more (default what the model reads, or %d where none of its files says)", textmodel.DefaultMaxTokens))
	f.String("truncation", truncationCut, "what becomes of texts that are too long: `cut or refuse`")
}

// limits are what the operator says of long texts.
func (s *settings) limits() textmodel.Limits {
	return textmodel.Limits{MaxTokens: s.MaxTokens, Refuse: s.Truncation == truncationRefuse}
}

func addStagesFlag(f *pflag.FlagSet) {
	f.String("stages", "", "`addresses` of the stages in rank order, host:port,host:port; replicas of a rank are joined by | (default localhost:2222, localhost:2223, …)")
}

// load reads the settings of a command: its flags, the environment, the config
// file, the defaults.
func load(cmd *cobra.Command) (*settings, error) {
	v := viper.NewWithOptions(viper.WithLogger(slog.New(slog.DiscardHandler)))
	file, _ := cmd.Flags().GetString("config")
	if file == "" {
		file = os.Getenv("DISTINFER_CONFIG")
	}
	asked := file != ""
	if !asked {
		file = defaultConfig
	}
	v.SetConfigFile(file)
	v.SetConfigType("yaml")
	switch err := v.ReadInConfig(); {
	case errors.Is(err, fs.ErrNotExist) && !asked:
		file = ""
	case err != nil:
		return nil, usageError{fmt.Errorf("config file %s: %w", file, reason(err))}
	}
	known, written := keys(), v.AllKeys()
	for _, key := range written {
		switch {
		case !slices.Contains(known, key):
			return nil, usageError{fmt.Errorf("config file %s: unknown key %q; known are %s", file, key, strings.Join(inFile(), ", "))}
		case slices.Contains(notInFile, key):
			return nil, usageError{fmt.Errorf("config file %s: %q differs from process to process; give it as --%s or DISTINFER_%s", file, key, key, envName(key))}
		}
	}
	for _, key := range known {
		v.SetDefault(key, nil)
		if err := v.BindEnv(key, "DISTINFER_"+envName(key)); err != nil {
			return nil, err
		}
	}
	var failed error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		// A flag of another kind may bear the name of a setting: the --stages of
		// `split` is a number.
		if slices.Contains(known, f.Name) && f.Annotations[notASetting] == nil {
			failed = errors.Join(failed, v.BindPFlag(f.Name, f))
		}
	})
	if failed != nil {
		return nil, failed
	}
	formats := []string{"text", "json"}
	if extra := cmd.Annotations[moreFormats]; extra != "" {
		formats = append(formats, extra)
	}
	s := &settings{file: file, formats: formats, given: func(key string) bool { return v.Get(key) != nil }}
	err := v.UnmarshalExact(s, viper.DecodeHook(mapstructure.ComposeDecodeHookFunc(
		decodeAddresses,
		decodePeers,
		decodeOrigins,
		decodeHosts,
		refuseLossy,
		mapstructure.StringToTimeDurationHookFunc(),
	)))
	if err != nil {
		return nil, usageError{fmt.Errorf("configuration: %w", plain(err))}
	}
	// A script whose variable is empty must not turn off what it asks for.
	for _, key := range []string{"tokens", "https-cert", "https-key"} {
		f := cmd.Flags().Lookup(key)
		if asked := f != nil && f.Changed || slices.Contains(written, key); asked && v.GetString(key) == "" {
			return nil, usageError{fmt.Errorf("--%s is empty; name a file, or leave it out", key)}
		}
	}
	return s, s.check()
}

// refuseLossy refuses numbers in a config file that would lose a part or get a
// unit that nobody wrote.
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

// moreFormats annotates a command with a format that only its --output may name.
const moreFormats = "more-formats"

// notASetting marks a flag that is not bound to the setting of its name.
const notASetting = "not-a-setting"

func envName(key string) string {
	return strings.ToUpper(strings.ReplaceAll(key, "-", "_"))
}

func keys() []string {
	var keys []string
	t := reflect.TypeFor[settings]()
	for i := range t.NumField() {
		if key := t.Field(i).Tag.Get("mapstructure"); key != "" {
			keys = append(keys, key)
		}
	}
	return keys
}

func inFile() []string {
	return slices.DeleteFunc(keys(), func(k string) bool { return slices.Contains(notInFile, k) })
}

// plain takes the library's frame off a decoding error.
func plain(err error) error {
	lines := strings.Split(err.Error(), "\n")
	var kept []string
	for _, l := range lines {
		l = strings.TrimSpace(l)
		if l == "" || strings.HasPrefix(l, "decoding failed") {
			continue
		}
		kept = append(kept, strings.TrimPrefix(l, "* "))
	}
	return errors.New(strings.Join(kept, "; "))
}

// reason is an error of the operating system without the path, which the
// message around it names.
func reason(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// beginOfID is enough of a bundle's ID to mean one bundle.
var beginOfID = regexp.MustCompile(`^[0-9a-f]{12,64}$`)

func (s *settings) check() error {
	bad := func(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }
	switch {
	case !slices.Contains(s.formats, s.Output):
		return bad("--output is %q; it can be %s", s.Output, strings.Join(s.formats, " or "))
	case s.LogFormat != "text" && s.LogFormat != "json":
		return bad("--log-format is %q; it can be text or json", s.LogFormat)
	case s.Threads < 0:
		return bad("--threads is %d; it can be 1 or more, or 0 for one a processor", s.Threads)
	case s.MaxMemory < 0:
		return bad("--max-memory is %d; it can be 1 or more bytes, or 0 for a part of what there is", s.MaxMemory)
	case s.Nice < -1 || s.Nice > 19:
		return bad("--nice is %d; it can be from 0 to 19, or -1 for 10 on a loopback address and 0 elsewhere", s.Nice)
	case s.Listen != "" && !isListenAddress(s.Listen):
		return bad("--listen is %q; it can be such as localhost:8008 or 0.0.0.0:8008", s.Listen)
	case s.Share != "" && !isListenAddress(s.Share):
		return bad("--share is %q; it can be such as 192.168.0.101:2221", s.Share)
	case s.Admin != "" && !isListenAddress(s.Admin):
		return bad("--admin is %q; it can be such as localhost:9090", s.Admin)
	case s.BundleID != "" && !beginOfID.MatchString(s.BundleID):
		return bad("--bundle-id is %q; it can be 12 to 64 hexadecimal digits, such as `distinfer split` prints them", s.BundleID)
	case s.Truncation != "" && s.Truncation != truncationCut && s.Truncation != truncationRefuse:
		return bad("--truncation is %q; it can be %s or %s", s.Truncation, truncationCut, truncationRefuse)
	case s.Port < 0 || s.Port > 65535:
		return bad("--port is %d; ports are 0 to 65535", s.Port)
	case s.GRPCPort < noPort || s.GRPCPort > 65535:
		return bad("--grpc-port is %d; ports are 0 to 65535, and -1 is none", s.GRPCPort)
	case (s.HTTPSCert == "") != (s.HTTPSKey == ""):
		return bad("--https-cert and --https-key belong together; give both, or neither for plain HTTP")
	}
	for _, l := range []struct {
		name        string
		value       int64
		least, most int64
	}{
		{"max-body", s.MaxBody, 1 << 10, 1 << 30},
		{"max-message", int64(s.MaxMessage), 1 << 10, 1 << 31 >> 1},
		{"max-texts", int64(s.MaxTexts), 1, 1 << 20},
		{"max-tokens", int64(s.MaxTokens), 0, 1 << 20},
		{"max-queue", int64(s.MaxQueue), 0, 1 << 20},
		{"max-connections", int64(s.MaxConns), leastConnections, 1 << 20},
		{"max-wait", int64(s.MaxWait), 0, int64(24 * time.Hour)},
		{"timeout", int64(s.Timeout), int64(time.Millisecond), int64(24 * time.Hour)},
		{"dead-after", int64(s.DeadAfter), int64(100 * time.Millisecond), int64(time.Hour)},
	} {
		// A command without the flag has the setting only if somebody set it.
		if l.value != 0 && (l.value < l.least || l.value > l.most) || l.value == 0 && s.given(l.name) && l.least > 0 {
			return bad("--%s is out of range: it can be %s", l.name, bounds(l.name, l.least, l.most))
		}
	}
	if _, err := encoding.Parse(s.ActivationDtype); err != nil {
		return bad("--activation-dtype is %q; it can be one of %s", s.ActivationDtype, encoding.Names(encoding.Encodings()))
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(s.LogLevel)); err != nil {
		return bad("--log-level is %q; it can be debug, info, warn or error", s.LogLevel)
	}
	return nil
}

// bounds names a range, in the unit of the setting.
func bounds(name string, least, most int64) string {
	switch name {
	case "timeout", "dead-after", "max-wait":
		return fmt.Sprintf("%s to %s, such as 3s", time.Duration(least), time.Duration(most))
	}
	return fmt.Sprintf("%d to %d", least, most)
}

// logger is the process's log, on standard error.
func (s *settings) logger() *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(s.LogLevel)) // checked
	options := &slog.HandlerOptions{Level: level}
	var handler slog.Handler = slog.NewTextHandler(os.Stderr, options)
	if s.LogFormat == "json" {
		handler = slog.NewJSONHandler(os.Stderr, options)
	}
	if tracesWanted() {
		handler = tracing.Log(handler)
	}
	return slog.New(handler)
}

// library loads ONNX Runtime.
func (s *settings) library() (*ort.Library, error) { return ort.Load(s.ONNXRuntime) }
