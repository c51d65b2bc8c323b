package tracing

import (
	"go.opentelemetry.io/otel/attribute"
	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// New is the Tracer of a stage, whose spans go where the test wants them.
func New(p *sdk.TracerProvider, rank int) *Tracer {
	return &Tracer{provider: p, tracer: p.Tracer("test"), rank: []attribute.KeyValue{rankKey.Int(rank)}}
}
