package oip

import (
	"context"
	_ "embed" // the description
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/strictjson"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/server/httpx"
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

// Patterns are those of http.ServeMux that are answered. Tests compare them with Description.
func (s *Server) Patterns() []string { return slices.Collect(maps.Keys(s.routes())) }

// routes are what is answered, by pattern.
func (s *Server) routes() map[string]http.HandlerFunc {
	all := map[string]http.HandlerFunc{
		"/v2":     httpx.Get(s.serverMetadata),
		livePath:  httpx.Get(s.serverLive),
		readyPath: httpx.Get(s.serverReady),
	}
	for _, model := range []string{"/v2/models/{model}", "/v2/models/{model}/versions/{version}"} {
		all[model] = httpx.Get(s.modelMetadata)
		all[model+"/ready"] = httpx.Get(s.modelReady)
		all[model+"/infer"] = httpx.Post(s.infer)
	}
	return all
}

func nothing(w http.ResponseWriter, r *http.Request) {
	httpx.NotFound(w, r, "of the Open Inference Protocol there are health, metadata and infer")
}

func (s *Server) serverLive(w http.ResponseWriter, _ *http.Request) {
	httpx.WriteJSON(w, http.StatusOK, map[string]bool{"live": true})
}

func (s *Server) serverMetadata(w http.ResponseWriter, _ *http.Request) {
	httpx.WriteJSON(w, http.StatusOK, map[string]any{"name": serverName, "version": s.config.Version, "extensions": extensions})
}

// A readiness is also an error, when it is none.
type readiness struct {
	Name  string `json:"name,omitempty"`
	Ready bool   `json:"ready"`
	Error string `json:"error,omitempty"`
}

func (s *Server) serverReady(w http.ResponseWriter, r *http.Request) {
	m, done := s.config.Use()
	defer done()
	s.ready(w, r, m, "")
}

func (s *Server) modelReady(w http.ResponseWriter, r *http.Request) {
	m, done := s.config.Use()
	defer done()
	e, err := s.entry(m, r.PathValue("model"), r.PathValue("version"))
	if err != nil {
		httpx.Fail(w, err)
		return
	}
	s.ready(w, r, m, e.name)
}

func (s *Server) ready(w http.ResponseWriter, r *http.Request, m Model, name string) {
	if err := isReady(r.Context(), m); err != nil {
		err := &httpx.Error{Status: http.StatusServiceUnavailable, Message: err.Error()}
		httpx.WriteJSON(w, httpx.PrepareError(w, err), readiness{name, false, err.Error()})
		return
	}
	httpx.WriteJSON(w, http.StatusOK, readiness{name, true, ""})
}

func isReady(ctx context.Context, m Model) error {
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	return m.Ready(ctx)
}

func (s *Server) modelMetadata(w http.ResponseWriter, r *http.Request) {
	m, done := s.config.Use()
	defer done()
	e, err := s.entry(m, r.PathValue("model"), r.PathValue("version"))
	if err != nil {
		httpx.Fail(w, err)
		return
	}
	d, err := e.describe()
	if err != nil {
		httpx.Fail(w, err)
		return
	}
	httpx.WriteJSON(w, http.StatusOK, d)
}

// An inferRequest is the JSON of a request. Fields that it has beside these are left
// alone: clients send some.
type inferRequest struct {
	id         *string
	parameters parameters
	inputs     []inferInput
	outputs    []inferOutput
}

type inferInput struct {
	name, datatype *string
	shape          []int64 // nil when it is missing
	parameters     parameters
	data           *strictjson.Value
}

type inferOutput struct {
	name       *string
	parameters parameters
}

// inferForm is what errors say that a request should be of.
const inferForm = `{"inputs": [{"name": …, "shape": […], "datatype": …, "data": […]}]}`

// parseRequest reads the JSON of a request.
func parseRequest(data []byte) (in inferRequest, err error) {
	body, err := strictjson.Body(data, "the body", inferForm)
	if err != nil {
		return in, err
	}
	o, err := body.Among("id", "parameters", "inputs", "outputs")
	if err != nil {
		return in, err
	}
	in.id = strictjson.ReadOptional(o, "id", strictjson.Value.Text)
	in.parameters = readParameters(o)
	readEach(o, "inputs", []string{"name", "datatype", "shape", "parameters", "data"}, func(o *strictjson.Object) {
		i := inferInput{
			name:       strictjson.ReadOptional(o, "name", strictjson.Value.Text),
			datatype:   strictjson.ReadOptional(o, "datatype", strictjson.Value.Text),
			parameters: readParameters(o),
			data:       strictjson.ReadOptional(o, "data", func(v strictjson.Value) (strictjson.Value, error) { return v, nil }),
		}
		if v, ok := o.Optional("shape"); ok {
			var err error
			i.shape, err = readShape(v)
			o.Fail(err)
		}
		in.inputs = append(in.inputs, i)
	})
	readEach(o, "outputs", []string{"name", "parameters"}, func(o *strictjson.Object) {
		in.outputs = append(in.outputs, inferOutput{strictjson.ReadOptional(o, "name", strictjson.Value.Text), readParameters(o)})
	})
	return in, o.Err()
}

// readEach reads a field that is a list of objects with the known fields, or null.
func readEach(o *strictjson.Object, name string, known []string, read func(*strictjson.Object)) {
	list, ok := o.Optional(name)
	if !ok {
		return
	}
	o.Fail(list.Each(func(_ int, v strictjson.Value) error {
		inner, err := v.Among(known...)
		if err != nil {
			return err
		}
		read(inner)
		return inner.Err()
	}))
}

// readParameters reads the field "parameters". Lists and objects mean nothing here, and are nil.
func readParameters(o *strictjson.Object) parameters {
	given := strictjson.ReadOptional(o, "parameters", strictjson.Value.Object)
	if given == nil || *given == nil {
		return nil
	}
	p := make(parameters, (*given).Len())
	for name, v := range (*given).Fields() {
		p[name] = readParameter(v)
	}
	return p
}

func readParameter(v strictjson.Value) any {
	switch v.Kind() {
	case '0':
		if n, err := strconv.ParseInt(v.String(), 10, 64); err == nil {
			return n
		}
		if n, err := strconv.ParseUint(v.String(), 10, 64); err == nil {
			return n
		}
		if f, err := strconv.ParseFloat(v.String(), 64); err == nil {
			return f
		}
	case '"':
		return strictjson.Unquote(v.Raw())
	case 't', 'f':
		return v.Kind() == 't'
	}
	return nil
}

// readShape reads whole numbers; 3.0 is one.
func readShape(list strictjson.Value) ([]int64, error) {
	shape := []int64{}
	err := list.EachOf("a list of whole numbers", func(i int, v strictjson.Value) error {
		if k := v.Kind(); k != '0' {
			return v.Want("a whole number")
		}
		n, err := strconv.ParseInt(strictjson.Whole(v.String()), 10, 64)
		switch {
		case err != nil:
			return v.Errorf("must be a whole number, not %.40s", v)
		case i == tensor.MaxRank:
			return v.Errorf("is too many: a tensor has %d dimensions at most", tensor.MaxRank)
		}
		shape = append(shape, n)
		return nil
	})
	return shape, err
}

func said(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// An inferResponse is the JSON of an answer.
type inferResponse struct {
	ModelName    string            `json:"model_name"`
	ModelVersion string            `json:"model_version"`
	ID           string            `json:"id,omitempty"`
	Parameters   map[string]string `json:"parameters,omitempty"`
	Outputs      []responseOutput  `json:"outputs"`
}

type responseOutput struct {
	tensorMetadata
	Parameters map[string]int  `json:"parameters,omitempty"`
	Data       json.RawMessage `json:"data,omitempty"`
}

func (s *Server) infer(w http.ResponseWriter, r *http.Request) {
	header, tail, err := s.inferred(w, r)
	if err != nil {
		httpx.Fail(w, err)
		return
	}
	kind := httpx.TypeJSON
	if len(tail) > 0 {
		kind = httpx.TypeBinary
		w.Header()[headerLength] = []string{strconv.Itoa(len(header))}
	}
	httpx.Write(w, http.StatusOK, kind, slices.Insert(tail, 0, header)...)
}

// inferred is the answer to a request: JSON, and binary data.
func (s *Server) inferred(w http.ResponseWriter, r *http.Request) (header []byte, tail [][]byte, err error) {
	m, done := s.config.Use()
	defer done()
	e, err := s.entry(m, r.PathValue("model"), r.PathValue("version"))
	if err != nil {
		return nil, nil, err
	}
	allowed, err := s.config.Host.TimeAllowed(w, r)
	if err != nil {
		return nil, nil, err
	}
	q, err := s.readQuestion(w, r, e, allowed)
	if err != nil {
		return nil, nil, err
	}
	answer, truncated, err := e.run(r.Context(), q.allowed, q.inputs, q.outputs)
	if err != nil {
		return nil, nil, err
	}
	return q.encode(e, answer, truncated)
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
		return nil, errcode.Errorf(errcode.Invalid, "the JSON is not UTF-8; send bytes that are no text as binary data")
	}
	if err := countable(header); err != nil {
		return nil, err
	}
	in, err := parseRequest(header)
	if err != nil {
		return nil, err
	}
	q := &question{id: said(in.id), inputs: tensor.Bag{}}
	params := in.parameters
	if err := params.check("the request"); err != nil {
		return nil, err
	}
	if q.allowed, err = params.timeout(allowed); err != nil {
		return nil, err
	}
	for _, input := range in.inputs {
		d := declaration{said(input.name), said(input.datatype), input.shape, input.parameters}
		if q.inputs[d.name], tail, err = readInput(e, d, q.inputs, input.data, tail); err != nil {
			return nil, err
		}
	}
	if len(tail) > 0 {
		return nil, errcode.Errorf(errcode.Invalid, "%d bytes follow the binary data that binary_data_size of the inputs says", len(tail))
	}
	all, err := params.flag("binary_data_output", false)
	if err != nil {
		return nil, err
	}
	for _, output := range in.outputs {
		params := output.parameters
		spec, err := e.output(said(output.name), params, q.outputs)
		if err != nil {
			return nil, err
		}
		binary, err := params.flag("binary_data", all)
		if err != nil {
			return nil, err
		}
		q.outputs, q.binary = append(q.outputs, spec), append(q.binary, binary)
	}
	if len(in.outputs) == 0 {
		q.outputs = e.outputs
		for range e.outputs {
			q.binary = append(q.binary, all)
		}
	}
	for i, spec := range q.outputs {
		if onlyBinary(spec.DType) && !q.binary[i] {
			return nil, errcode.Errorf(errcode.Invalid, "the output %q is %s, which has no form in JSON; %s", spec.Name, datatypes[spec.DType], askForBinary)
		}
	}
	return q, nil
}

// readInput reads an input, of JSON or of the beginning of the binary data, and gives what
// is left of that.
func readInput(e *entry, d declaration, before tensor.Bag, data *strictjson.Value, tail []byte) (tensor.Tensor, []byte, error) {
	spec, n, err := e.accept(d, before)
	if err != nil {
		return tensor.Tensor{}, nil, err
	}
	size, binary, err := d.params.number("binary_data_size")
	if err != nil {
		return tensor.Tensor{}, nil, errcode.Errorf(errcode.Invalid, "the input %q: %w", d.name, err)
	}
	given := data != nil
	var t tensor.Tensor
	switch {
	case binary && given:
		return t, nil, errcode.Errorf(errcode.Invalid, "the input %q has both data and binary_data_size; leave one out", d.name)
	case !binary && !given:
		return t, nil, errcode.Errorf(errcode.Invalid, "the input %q has no data; send it as the field data, or as binary data with the parameter binary_data_size", d.name)
	case given:
		t, err = fromJSON(spec.DType, d.shape, n, *data)
	case size > int64(len(tail)):
		return t, nil, errcode.Errorf(errcode.Invalid, "the input %q has a binary_data_size of %d, and %d bytes of binary data are left; the header %s says where these begin", d.name, size, len(tail), headerLength)
	default:
		t, err = fromRaw(spec.DType, d.shape, n, tail[:size])
		tail = tail[size:]
	}
	if err != nil {
		return t, nil, fmt.Errorf("the input %q: %w", d.name, err)
	}
	return t, tail, nil
}

// encode writes an answer: JSON, and binary data.
func (q *question) encode(e *entry, answer []tensor.Tensor, truncated string) (header []byte, tail [][]byte, err error) {
	response := inferResponse{ModelName: e.name, ModelVersion: version, ID: q.id, Outputs: make([]responseOutput, len(answer))}
	if truncated != "" {
		response.Parameters = map[string]string{truncatedParameter: truncated}
	}
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
	header, err = httpx.Marshal(response)
	return header, tail, err
}
