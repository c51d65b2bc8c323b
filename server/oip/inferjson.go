package oip

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/strictjson"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/server/httpx"
)

// An inferRequest is the JSON of a request. Other fields are ignored: clients send some.
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

// inferForm is the form that errors show.
const inferForm = `{"inputs": [{"name": …, "shape": […], "datatype": …, "data": […]}]}`

// parseJSON reads the JSON of a request.
func parseJSON(data []byte) (in inferRequest, err error) {
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

func valueOf(s *string) string {
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

// encode returns the answer: JSON, and binary data.
func (q *request) encode(e *entry, answer []tensor.Tensor, truncated string) (header []byte, tail [][]byte, err error) {
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

// maxObjects is how many JSON objects a request may have. The two bytes of an empty one become
// hundreds in memory.
const maxObjects = 1 << 14

// countable fails when JSON has more objects than that. Those in strings are not counted.
func countable(b []byte) error {
	if bytes.Count(b, []byte("{")) <= maxObjects {
		return nil // with those in strings
	}
	if objects := strictjson.Measure(b).Objects; objects > maxObjects {
		return errcode.Errorf(errcode.Invalid, "the JSON has %d objects, more than %d", objects, maxObjects)
	}
	return nil
}
