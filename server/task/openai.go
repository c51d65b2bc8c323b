package task

import (
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"math"
	"net/http"

	"github.com/distinfer/distinfer/runtime/strictjson"
	"github.com/distinfer/distinfer/runtime/textmodel"
	"github.com/distinfer/distinfer/server/front"
)

// An openAIList is what OpenAI answers to a request for embeddings.
type openAIList struct {
	Object string      `json:"object"`
	Data   []any       `json:"data"` // openAIEmbedding
	Model  string      `json:"model"`
	Usage  openAIUsage `json:"usage"`
}

type openAIEmbedding struct {
	Object    string `json:"object"`
	Index     int    `json:"index"`
	Embedding any    `json:"embedding"`           // []float32, or as base64 their little-endian bytes
	Truncated bool   `json:"truncated,omitempty"` // which OpenAI has not: it refuses such texts
	tokens    int    // of the text
}

type openAIUsage struct {
	PromptTokens int `json:"prompt_tokens"`
	TotalTokens  int `json:"total_tokens"`
}

var openAIForm = form{example: `{"input": "…", "model": "…", "encoding_format": "float"}`, field: "input", others: []string{"model", "encoding_format", "dimensions", "user"}}

// readOpenAI reads what OpenAI's /v1/embeddings takes, and as that does refuses what it does
// not know. The vectors have length 1, as OpenAI's have.
func (e Embeddings) readOpenAI(data []byte, name string) (front.Request, error) {
	in, request, err := openAIForm.read(data, name, false)
	if err != nil {
		return front.Request{}, err
	}
	format := strictjson.ReadOptional(request, "encoding_format", strictjson.Value.Text)
	o := vectorOptions{unit: true, dimensions: strictjson.ReadOptional(request, "dimensions", strictjson.Value.Number)}
	for _, unused := range []string{"model", "user"} {
		request.OptionalText(unused)
	}
	err = cmp.Or(request.Err(), oneOf("encoding_format", format, "float", "base64"), e.prompt(in, nil, nil))
	pack := format != nil && *format == "base64"
	return front.Request{
		Inputs: in.inputs,
		Answer: func(i int, a textmodel.Answer) (any, error) {
			v, err := e.vector(a, o)
			one := openAIEmbedding{Object: "embedding", Index: i, Embedding: v, Truncated: a.Tokens.Truncated, tokens: len(a.Tokens.IDs)}
			if pack {
				one.Embedding = packed(v)
			}
			return one, err
		},
		Whole: func(answers []any) any { return openAIList{"list", answers, e.ModelName, usage(answers)} },
	}, err
}

// usage counts the tokens of answers.
func usage(answers []any) openAIUsage {
	n := 0
	for _, a := range answers {
		n += a.(openAIEmbedding).tokens
	}
	return openAIUsage{n, n}
}

func packed(v []float32) string {
	data := make([]byte, 0, 4*len(v))
	for _, x := range v {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(x))
	}
	return base64.StdEncoding.EncodeToString(data)
}

// openAIProblem is an error in OpenAI's form.
func openAIProblem(status int, message string) any {
	kind := "server_error"
	switch {
	case status == http.StatusTooManyRequests:
		kind = "rate_limit_error"
	case status < http.StatusInternalServerError:
		kind = "invalid_request_error"
	}
	type detail struct {
		Message string  `json:"message"`
		Type    string  `json:"type"`
		Param   *string `json:"param"`
		Code    *string `json:"code"`
	}
	return struct {
		Error detail `json:"error"`
	}{detail{Message: message, Type: kind}}
}
