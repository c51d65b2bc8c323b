package oip

import (
	"fmt"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/strictjson"
	"github.com/distinfer/distinfer/runtime/tensor"
)

// headerLength is the header that says how many bytes of a body are JSON. Binary tensors follow.
const headerLength = "Inference-Header-Content-Length"

// readBody reads a request's body: JSON, and the binary data that follows. release gives its memory
// back.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request) (header, tail []byte, release func(), err error) {
	data, release, err := s.config.Host.Body(w, r)
	if err != nil {
		return nil, nil, nil, err
	}
	value := r.Header.Get(headerLength)
	if value == "" {
		return data, nil, release, nil
	}
	n, err := strconv.ParseUint(value, 10, 63)
	if err != nil || n > uint64(len(data)) {
		release()
		return nil, nil, nil, errcode.Errorf(errcode.Invalid, "the header %s is %.40q, the body has %d bytes", headerLength, value, len(data))
	}
	return data[:n], data[n:], release, nil
}

// A request is one that was read, over HTTP or gRPC.
type request struct {
	id      string
	allowed time.Duration
	inputs  tensor.Bag
	outputs []tensor.Spec
	binary  []bool // whether each output is sent as binary data
}

// readRequest reads a request, and gives the memory of its body back.
func (s *Server) readRequest(w http.ResponseWriter, r *http.Request, e *entry, allowed time.Duration) (*request, error) {
	header, tail, release, err := s.readBody(w, r)
	if err != nil {
		return nil, err
	}
	defer release()
	return parseRequest(e, header, tail, allowed)
}

// parseRequest reads a request of JSON and the binary data behind it.
func parseRequest(e *entry, header, tail []byte, allowed time.Duration) (*request, error) {
	if !utf8.Valid(header) {
		return nil, errcode.Errorf(errcode.Invalid, "the JSON is not UTF-8; send bytes that are no text as binary data")
	}
	if err := countable(header); err != nil {
		return nil, err
	}
	in, err := parseJSON(header)
	if err != nil {
		return nil, err
	}
	q := &request{id: valueOf(in.id), inputs: tensor.Bag{}}
	params := in.parameters
	if err := params.check("the request"); err != nil {
		return nil, err
	}
	if q.allowed, err = params.timeout(allowed); err != nil {
		return nil, err
	}
	for _, input := range in.inputs {
		d := declaration{valueOf(input.name), valueOf(input.datatype), input.shape, input.parameters}
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
		spec, err := e.output(valueOf(output.name), params, q.outputs)
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

// readInput reads an input, from its JSON or from the beginning of the binary data, and returns the
// rest of that.
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
