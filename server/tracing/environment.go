package tracing

import (
	"fmt"
	"os"
)

// Wanted reports whether the environment asks for traces, by the names that OpenTelemetry gives.
func Wanted() bool {
	switch os.Getenv("OTEL_TRACES_EXPORTER") {
	case "none":
		return false
	case "":
		return os.Getenv("OTEL_SDK_DISABLED") != "true" &&
			(os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != "")
	}
	return os.Getenv("OTEL_SDK_DISABLED") != "true"
}

// An EnvironmentError says that a variable of the environment asks for what there is not.
type EnvironmentError struct {
	Variable string
	Err      error
}

func (e *EnvironmentError) Error() string { return e.Variable + " is " + e.Err.Error() }

func (e *EnvironmentError) Unwrap() error { return e.Err }

// EnvironmentProtocol is the protocol that the environment asks for. The error is an
// *EnvironmentError.
func EnvironmentProtocol() (Protocol, error) {
	if e := os.Getenv("OTEL_TRACES_EXPORTER"); e != "" && e != "otlp" {
		return "", &EnvironmentError{"OTEL_TRACES_EXPORTER", fmt.Errorf("%q; it can be otlp or none", e)}
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		if p := os.Getenv(name); p != "" {
			protocol, err := ParseProtocol(p)
			if err != nil {
				return "", &EnvironmentError{name, err}
			}
			return protocol, nil
		}
	}
	return HTTP, nil
}
