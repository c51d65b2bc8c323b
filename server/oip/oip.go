package oip

import (
	"context"
	"crypto/tls"
	"log/slog"
	"math"
	"net"
	"net/http"
	"slices"
	"time"

	"google.golang.org/grpc/stats"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/server/httpx"
	"github.com/distinfer/distinfer/server/limiter"
)

// A Model answers requests.
type Model struct {
	Name            string
	Inputs, Outputs []tensor.Spec
	Limits          *tensor.Limits // of the inputs; nil when none are known
	Runner          pipeline.Runner

	// Text answers texts. When it is nil, NoText says why.
	Text   *Text
	NoText string

	// Ready fails while the model cannot be computed.
	Ready func(context.Context) error
}

// A Host is the HTTP server that the protocol's routes are part of.
type Host interface {
	// TimeAllowed is how long a request may take.
	TimeAllowed(http.ResponseWriter, *http.Request) (time.Duration, error)
	// Body reads a request's body without its content coding, within the bounds of the server.
	// release gives its memory back.
	Body(http.ResponseWriter, *http.Request) (body []byte, release func(), err error)
	// ServeMessages serves gRPC by a handler, within the bounds of the server, until ctx ends.
	// Calls to paths for which unary is true have one message, which Received waits for.
	ServeMessages(ctx context.Context, l net.Listener, h http.Handler, unary func(path string) bool) error
	Received(ctx context.Context) (release func(), err error)
}

// Config says how a Server serves.
type Config struct {
	// Use returns the current model, which is not closed before done is called.
	Use func() (_ Model, done func())

	Host Host

	// Version is the program's, which the server's metadata names.
	Version string

	// MaxBody bounds a request, in bytes: the body over HTTP, also once it is
	// decompressed, and the message over gRPC.
	MaxBody int64

	// Timeout is the longest time for one request; a client may allow less.
	Timeout time.Duration

	// Allow reports whether a gRPC call that has these values of the metadata
	// "authorization" may be answered; nil is for anybody. Over HTTP the Host decides.
	Allow func(authorization []string) bool

	// Began is called when a gRPC call begins, and the function it returns when the call ends,
	// with the name of a gRPC code. It may be nil. The Host observes HTTP.
	Began func(method string) (ended func(code string))

	// Stats observes gRPC calls; it may be nil.
	Stats stats.Handler

	// TLS secures the gRPC listener; nil is plain text.
	TLS *tls.Config

	Log *slog.Logger
}

// A Server answers the protocol: over HTTP as an http.Handler, over gRPC with Serve.
type Server struct {
	config   Config
	mux      *http.ServeMux
	runs     *limiter.Limiter
	decoding *limiter.Limiter
}

// New makes a server.
func New(c Config) *Server {
	s := &Server{config: c, mux: http.NewServeMux(), runs: limiter.New(runsAtOnce, runsQueued), decoding: limiter.New(decodedAtOnce, math.MaxInt64)}
	for pattern, h := range s.routes() {
		s.mux.HandleFunc(pattern, h)
	}
	s.mux.HandleFunc("/v2/", nothing)
	return s
}

// serverName is what the metadata calls the server.
const serverName = "distinfer"

// extensions are those of the protocol that the server has.
var extensions = []string{"binary_tensor_data"}

// The only version of a model that there is.
const version = "1"

// An entry is a model as clients see it.
type entry struct {
	name, platform  string
	inputs, outputs []tensor.Spec
	limits          *tensor.Limits
	runner          pipeline.Runner
	maxBytes        int64 // of memory that the strings of an input take besides their own
}

// entry finds the model that a client names. An empty version is any.
func (s *Server) entry(m Model, name, wanted string) (*entry, error) {
	e := &entry{name: name, maxBytes: s.config.MaxBody}
	switch name {
	case m.Name:
		e.platform, e.inputs, e.outputs, e.limits, e.runner = "onnx_onnxv1", m.Inputs, m.Outputs, m.Limits, limited{s.runs, m.Runner}
	case m.Name + textSuffix:
		if m.Text == nil {
			return nil, notFound("there is no model " + quote(name) + ": " + m.NoText)
		}
		e.platform, e.inputs, e.outputs, e.runner = "distinfer_text", m.Text.inputs(), m.Text.outputs(), m.Text
	default:
		also := ""
		if m.Text != nil {
			also = " and " + quote(m.Name+textSuffix)
		}
		return nil, notFound("there is no model " + quote(name) + "; there is " + quote(m.Name) + also)
	}
	if wanted != "" && wanted != version {
		return nil, notFound("there is no version " + quote(wanted) + " of " + quote(name) + "; there is " + version)
	}
	return e, nil
}

// notFound says that there is no such model.
func notFound(why string) error { return &httpx.Error{Status: http.StatusNotFound, Message: why} }

func isNotFound(err error) bool { return httpx.Status(err) == http.StatusNotFound }

// A tensorMetadata describes an input or output.
type tensorMetadata struct {
	Name     string  `json:"name"`
	Datatype string  `json:"datatype"`
	Shape    []int64 `json:"shape"` // -1 where it is not fixed
}

// A modelMetadata describes a model.
type modelMetadata struct {
	Name     string           `json:"name"`
	Versions []string         `json:"versions"`
	Platform string           `json:"platform"`
	Inputs   []tensorMetadata `json:"inputs"`
	Outputs  []tensorMetadata `json:"outputs"`
}

// describe fails when the protocol has no datatype for an input or output.
func (e *entry) describe() (m modelMetadata, err error) {
	m = modelMetadata{Name: e.name, Versions: []string{version}, Platform: e.platform}
	if m.Inputs, err = describeAll(e.inputs); err != nil {
		return m, err
	}
	m.Outputs, err = describeAll(e.outputs)
	return m, err
}

func describeAll(specs []tensor.Spec) ([]tensorMetadata, error) {
	list := make([]tensorMetadata, len(specs))
	for i, spec := range specs {
		datatype, err := datatypeOf(spec)
		if err != nil {
			return nil, err
		}
		list[i] = tensorMetadata{spec.Name, datatype, make([]int64, len(spec.Dims))}
		for j, d := range spec.Dims {
			list[i].Shape[j] = -1
			if d.IsFixed() {
				list[i].Shape[j] = d.Size
			}
		}
		if spec.AnyRank {
			list[i].Shape = []int64{-1} // the protocol has no word for it
		}
	}
	return list, nil
}

// stringBytes is the memory of a string besides its bytes. An empty one takes four bytes of a body.
const stringBytes = 16

// A declaration describes a tensor that a client sends.
type declaration struct {
	name, datatype string
	shape          []int64
	params         parameters
}

// accept checks an input against the model and the inputs before it. It returns how many elements
// the data must have.
func (e *entry) accept(d declaration, before tensor.Bag) (spec tensor.Spec, n int64, err error) {
	spec, known := tensor.Find(e.inputs, d.name)
	if !known {
		return spec, 0, errcode.Errorf(errcode.Invalid, "the model has no input %s; it has %q", quote(d.name), tensor.Names(e.inputs))
	}
	if _, twice := before[d.name]; twice {
		return spec, 0, errcode.Errorf(errcode.Invalid, "the input %q is given twice", d.name)
	}
	wants, err := datatypeOf(spec)
	if err != nil {
		return spec, 0, err
	}
	got, err := parseDatatype(d.datatype)
	if err != nil {
		return spec, 0, errcode.Errorf(errcode.Invalid, "the input %q: %w", d.name, err)
	}
	if got != spec.DType {
		return spec, 0, errcode.Errorf(errcode.Invalid, "the input %q is %s, the model wants %s", d.name, d.datatype, wants)
	}
	if d.shape == nil {
		return spec, 0, errcode.Errorf(errcode.Invalid, "the input %q has no shape", d.name)
	}
	if n, err = tensor.Elements(d.shape); err != nil {
		return spec, 0, errcode.Errorf(errcode.Invalid, "the input %q: %w", d.name, err)
	}
	if spec.DType == tensor.String && n > e.maxBytes/stringBytes {
		return spec, 0, errcode.Errorf(errcode.TooLarge, "the input %q has %d elements, and a request can have %d; send fewer at a time", d.name, n, e.maxBytes/stringBytes)
	}
	return spec, n, d.params.check("the input " + quote(d.name))
}

// output finds an output that a client names, other than those before it.
func (e *entry) output(name string, params parameters, before []tensor.Spec) (tensor.Spec, error) {
	spec, known := tensor.Find(e.outputs, name)
	if !known {
		return spec, errcode.Errorf(errcode.Invalid, "the model has no output %s; it has %q", quote(name), tensor.Names(e.outputs))
	}
	if slices.Contains(tensor.Names(before), name) {
		return spec, errcode.Errorf(errcode.Invalid, "the output %q is asked for twice", name)
	}
	return spec, params.check("the output " + quote(name))
}

// run computes outputs, in their order, from checked inputs, within the allowed time.
func (e *entry) run(ctx context.Context, allowed time.Duration, in tensor.Bag, outputs []tensor.Spec) (answer []tensor.Tensor, truncated string, err error) {
	for _, spec := range outputs {
		if _, err := datatypeOf(spec); err != nil {
			return nil, "", err
		}
	}
	sizes, err := tensor.MatchAll(e.inputs, in)
	if err == nil {
		err = e.limits.Check(in, sizes)
	}
	if err != nil {
		return nil, "", errcode.Wrap(errcode.Invalid, err)
	}
	within, cancel := context.WithTimeout(ctx, allowed)
	defer cancel()
	computed, err := e.runner.Run(within, in)
	if err != nil {
		// A stage may end by the same deadline, a moment before.
		if ctx.Err() == nil && (within.Err() != nil || errcode.Of(err) == errcode.Deadline) {
			return nil, "", errcode.Errorf(errcode.Deadline, "there was no answer within %s", allowed)
		}
		return nil, "", err
	}
	answer = make([]tensor.Tensor, len(outputs))
	for i, spec := range outputs {
		t, ok := computed[spec.Name]
		if !ok || t.DType != spec.DType {
			return nil, "", errcode.Errorf(errcode.Internal, "the model did not answer its output %s", spec)
		}
		if err := t.Check(); err != nil {
			return nil, "", errcode.Errorf(errcode.Internal, "the output %q of the model: %w", spec.Name, err)
		}
		answer[i] = t
	}
	if _, is := e.runner.(*Text); is {
		if t, ok := computed[truncatedParameter]; ok {
			truncated = t.Strs[0]
		}
	}
	return answer, truncated, nil
}
