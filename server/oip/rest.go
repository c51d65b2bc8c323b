package oip

import (
	"bytes"
	"context"
	_ "embed" // the description
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/distinfer/distinfer/runtime/fault"
	"github.com/distinfer/distinfer/runtime/tensor"
)

// Description is the part of an OpenAPI document for what a Server answers over HTTP.
//
//go:embed openapi.json
var Description []byte

const (
	livePath  = "/v2/health/live"
	readyPath = "/v2/health/ready"
)

// HealthPaths are those that load balancers ask, which have no token.
func HealthPaths() []string { return []string{livePath, readyPath} }

// ServeHTTP implements http.Handler, for /v2 and all that is below it.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// routes are what is answered, by pattern.
func (s *Server) routes() map[string]http.HandlerFunc {
	all := map[string]http.HandlerFunc{
		"/v2":     only(http.MethodGet, s.serverMetadata),
		livePath:  only(http.MethodGet, s.serverLive),
		readyPath: only(http.MethodGet, s.serverReady),
	}
	for _, model := range []string{"/v2/models/{model}", "/v2/models/{model}/versions/{version}"} {
		all[model] = only(http.MethodGet, s.modelMetadata)
		all[model+"/ready"] = only(http.MethodGet, s.modelReady)
		all[model+"/infer"] = only(http.MethodPost, s.infer)
	}
	return all
}

func nothing(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, r, http.StatusNotFound, problem{fmt.Sprintf("there is nothing at %.200s; of the Open Inference Protocol there are health, metadata and infer", r.URL.Path)})
}

// only refuses all methods but one, and tells OPTIONS which there are.
func only(method string, h http.HandlerFunc) http.HandlerFunc {
	allow := method + ", OPTIONS"
	if method == http.MethodGet {
		allow = "GET, HEAD, OPTIONS"
	}
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method == method || method == http.MethodGet && r.Method == http.MethodHead {
			h(w, r)
			return
		}
		w.Header().Set("Allow", allow)
		if r.Method == http.MethodOptions {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		writeJSON(w, r, http.StatusMethodNotAllowed, problem{fmt.Sprintf("%s is not possible at %.200s; use %s", r.Method, r.URL.Path, allow)})
	}
}

type problem struct {
	Error string `json:"error"`
}

func writeJSON(w http.ResponseWriter, r *http.Request, status int, v any) {
	data, err := marshal(v)
	if err != nil {
		status, data = http.StatusInternalServerError, []byte(`{"error":"the answer cannot be said in JSON"}`)
	}
	write(w, r, status, data)
}

func marshal(v any) ([]byte, error) {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// status takes note of an error, and gives the status for it.
func (s *Server) status(w http.ResponseWriter, err error) int {
	status := s.Host.Failed(w, err)
	switch {
	case errors.As(err, &notFoundError{}):
		return http.StatusNotFound
	}
	return status
}

func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	writeJSON(w, r, s.status(w, err), problem{err.Error()})
}

func (s *Server) serverLive(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, r, http.StatusOK, map[string]bool{"live": true})
}

func (s *Server) serverMetadata(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, r, http.StatusOK, map[string]any{"name": serverName, "version": s.Version, "extensions": extensions})
}

// A readiness is also an error, when it is none.
type readiness struct {
	Name  string `json:"name,omitempty"`
	Ready bool   `json:"ready"`
	Error string `json:"error,omitempty"`
}

func (s *Server) serverReady(w http.ResponseWriter, r *http.Request) {
	m, done := s.Use()
	defer done()
	s.ready(w, r, m, "")
}

func (s *Server) modelReady(w http.ResponseWriter, r *http.Request) {
	m, done := s.Use()
	defer done()
	e, err := s.entry(m, r.PathValue("model"), r.PathValue("version"))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.ready(w, r, m, e.name)
}

func (s *Server) ready(w http.ResponseWriter, r *http.Request, m Model, name string) {
	if err := isReady(r.Context(), m); err != nil {
		s.Host.Failed(w, err)
		writeJSON(w, r, http.StatusServiceUnavailable, readiness{name, false, err.Error()})
		return
	}
	writeJSON(w, r, http.StatusOK, readiness{name, true, ""})
}

func isReady(ctx context.Context, m Model) error {
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	return m.Ready(ctx)
}

func (s *Server) modelMetadata(w http.ResponseWriter, r *http.Request) {
	m, done := s.Use()
	defer done()
	e, err := s.entry(m, r.PathValue("model"), r.PathValue("version"))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	d, err := e.describe()
	if err != nil {
		s.fail(w, r, err)
		return
	}
	writeJSON(w, r, http.StatusOK, d)
}

// An inferRequest is the JSON of a request. Fields that it has beside these are left
// alone: clients send some.
type inferRequest struct {
	ID         string                     `json:"id"`
	Parameters map[string]json.RawMessage `json:"parameters"`
	Inputs     []struct {
		Name       string                     `json:"name"`
		Datatype   string                     `json:"datatype"`
		Shape      []whole                    `json:"shape"`
		Parameters map[string]json.RawMessage `json:"parameters"`
		Data       json.RawMessage            `json:"data"`
	} `json:"inputs"`
	Outputs []struct {
		Name       string                     `json:"name"`
		Parameters map[string]json.RawMessage `json:"parameters"`
	} `json:"outputs"`
}

// A whole number, of which 3.0 is one.
type whole int64

// UnmarshalJSON implements json.Unmarshaler.
func (w *whole) UnmarshalJSON(text []byte) error {
	n, err := strconv.ParseInt(integral(string(text)), 10, 64)
	if err != nil {
		return &json.UnmarshalTypeError{Value: "value " + string(text), Type: reflect.TypeFor[whole]()}
	}
	*w = whole(n)
	return nil
}

func shapeOf(dims []whole) []int64 {
	if dims == nil {
		return nil // it is missing
	}
	shape := make([]int64, len(dims))
	for i, d := range dims {
		shape[i] = int64(d)
	}
	return shape
}

// An inferResponse is the JSON of an answer.
type inferResponse struct {
	ModelName    string           `json:"model_name"`
	ModelVersion string           `json:"model_version"`
	ID           string           `json:"id,omitempty"`
	Outputs      []responseOutput `json:"outputs"`
}

type responseOutput struct {
	tensorMetadata
	Parameters map[string]int  `json:"parameters,omitempty"`
	Data       json.RawMessage `json:"data,omitempty"`
}

func (s *Server) infer(w http.ResponseWriter, r *http.Request) {
	header, tail, err := s.inferred(w, r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	write(w, r, http.StatusOK, header, tail...)
}

// inferred is the answer to a request: JSON, and binary data.
func (s *Server) inferred(w http.ResponseWriter, r *http.Request) (header []byte, tail [][]byte, err error) {
	m, done := s.Use()
	defer done()
	e, err := s.entry(m, r.PathValue("model"), r.PathValue("version"))
	if err != nil {
		return nil, nil, err
	}
	allowed, err := s.Host.TimeAllowed(w, r)
	if err != nil {
		return nil, nil, err
	}
	q, err := s.readQuestion(w, r, e, allowed)
	if err != nil {
		return nil, nil, err
	}
	answer, err := e.run(r.Context(), q.allowed, q.inputs, q.outputs)
	if err != nil {
		return nil, nil, err
	}
	return q.encode(e, answer)
}

// A question is a request that was read.
type question struct {
	id      string
	allowed time.Duration
	inputs  tensor.Bag
	outputs []tensor.Spec
	binary  []bool // how they are to be sent
}

// readQuestion reads a request. Its body is held no longer.
func (s *Server) readQuestion(w http.ResponseWriter, r *http.Request, e *entry, allowed time.Duration) (*question, error) {
	header, tail, release, err := s.readBody(w, r)
	if err != nil {
		return nil, err
	}
	defer release()
	return parseQuestion(e, header, tail, allowed)
}

// parseQuestion reads a request of JSON and the binary data behind it.
func parseQuestion(e *entry, header, tail []byte, allowed time.Duration) (*question, error) {
	if !utf8.Valid(header) {
		return nil, fault.Errorf(fault.Invalid, "the JSON is not UTF-8; send bytes that are no text as binary data")
	}
	if err := countable(header); err != nil {
		return nil, err
	}
	in := inferRequest{}
	if err := json.Unmarshal(header, &in); err != nil {
		return nil, notARequest(err)
	}
	q := &question{id: in.ID, inputs: tensor.Bag{}}
	params := fromRawParameters(in.Parameters)
	err := params.check("the request")
	if err != nil {
		return nil, err
	}
	if q.allowed, err = params.timeout(allowed); err != nil {
		return nil, err
	}
	for _, input := range in.Inputs {
		d := declaration{input.Name, input.Datatype, shapeOf(input.Shape), fromRawParameters(input.Parameters)}
		if q.inputs[d.name], tail, err = readInput(e, d, q.inputs, input.Data, tail); err != nil {
			return nil, err
		}
	}
	if len(tail) > 0 {
		return nil, fault.Errorf(fault.Invalid, "%d bytes follow the binary data that binary_data_size of the inputs says", len(tail))
	}
	all, err := params.flag("binary_data_output", false)
	if err != nil {
		return nil, err
	}
	for _, output := range in.Outputs {
		params := fromRawParameters(output.Parameters)
		spec, err := e.output(output.Name, params, q.outputs)
		if err != nil {
			return nil, err
		}
		binary, err := params.flag("binary_data", all)
		if err != nil {
			return nil, err
		}
		q.outputs, q.binary = append(q.outputs, spec), append(q.binary, binary)
	}
	if len(in.Outputs) == 0 {
		q.outputs = e.outputs
		for range e.outputs {
			q.binary = append(q.binary, all)
		}
	}
	for i, spec := range q.outputs {
		if onlyBinary(spec.DType) && !q.binary[i] {
			return nil, fault.Errorf(fault.Invalid, "the output %q is %s, which has no form in JSON; %s", spec.Name, datatypes[spec.DType], askForBinary)
		}
	}
	return q, nil
}

// readInput reads an input, of JSON or of the beginning of the binary data, and gives what
// is left of that.
func readInput(e *entry, d declaration, before tensor.Bag, data json.RawMessage, tail []byte) (tensor.Tensor, []byte, error) {
	spec, n, err := e.accept(d, before)
	if err != nil {
		return tensor.Tensor{}, nil, err
	}
	size, binary, err := d.params.number("binary_data_size")
	if err != nil {
		return tensor.Tensor{}, nil, fault.Errorf(fault.Invalid, "the input %q: %w", d.name, err)
	}
	given := len(data) > 0 && string(data) != "null"
	var t tensor.Tensor
	switch {
	case binary && given:
		return t, nil, fault.Errorf(fault.Invalid, "the input %q has both data and binary_data_size; leave one out", d.name)
	case !binary && !given:
		return t, nil, fault.Errorf(fault.Invalid, "the input %q has no data; send it as the field data, or as binary data with the parameter binary_data_size", d.name)
	case given:
		t, err = fromJSON(spec.DType, d.shape, n, data)
	case size > int64(len(tail)):
		return t, nil, fault.Errorf(fault.Invalid, "the input %q has a binary_data_size of %d, and %d bytes of binary data are left; the header %s says where these begin", d.name, size, len(tail), headerLength)
	default:
		t, err = fromRaw(spec.DType, d.shape, n, tail[:size])
		tail = tail[size:]
	}
	if err != nil {
		return t, nil, fmt.Errorf("the input %q: %w", d.name, err)
	}
	return t, tail, nil
}

// notARequest says what is wrong with JSON that cannot be read.
func notARequest(err error) error {
	var kind *json.UnmarshalTypeError
	if errors.As(err, &kind) {
		place := kind.Field
		if place == "" {
			place = "the body"
		}
		return fault.Errorf(fault.Invalid, "%.200s must not be a JSON %.40s", place, kind.Value)
	}
	return fault.Errorf(fault.Invalid, `the body is not JSON of the form {"inputs": [{"name": …, "shape": […], "datatype": …, "data": […]}]}: %s`, strings.TrimPrefix(err.Error(), "json: "))
}

// fromRawParameters reads parameters that are in JSON. Lists and objects mean nothing
// here, and are nil.
func fromRawParameters(raw map[string]json.RawMessage) parameters {
	p := make(parameters, len(raw))
	for name, text := range raw {
		p[name] = fromRawParameter(text)
	}
	return p
}

func fromRawParameter(text json.RawMessage) any {
	if n, err := strconv.ParseInt(string(text), 10, 64); err == nil {
		return n
	}
	if n, err := strconv.ParseUint(string(text), 10, 64); err == nil {
		return n
	}
	var v any
	if len(text) > 0 && text[0] != '[' && text[0] != '{' {
		_ = json.Unmarshal(text, &v) // it was read once, so it is valid
	}
	return v
}

// encode writes an answer: JSON, and binary data.
func (q *question) encode(e *entry, answer []tensor.Tensor) (header []byte, tail [][]byte, err error) {
	response := inferResponse{e.name, version, q.id, make([]responseOutput, len(answer))}
	for i, t := range answer {
		name := q.outputs[i].Name
		out := responseOutput{tensorMetadata: tensorMetadata{name, datatypes[t.DType], append([]int64{}, t.Shape...)}}
		if q.binary[i] {
			raw, err := toRaw(t)
			if err != nil {
				return nil, nil, fmt.Errorf("the output %q: %w", name, err)
			}
			out.Parameters = map[string]int{"binary_data_size": len(raw)}
			tail = append(tail, raw)
		} else if out.Data, err = toJSON(t); err != nil {
			return nil, nil, fmt.Errorf("the output %q: %w", name, err)
		}
		response.Outputs[i] = out
	}
	header, err = marshal(response)
	return header, tail, err
}
