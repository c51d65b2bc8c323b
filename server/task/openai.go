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
	Object string            `json:"object"`
	Data   []openAIEmbedding `json:"data"`
	Model  string            `json:"model"`
	Usage  openAIUsage       `json:"usage"`
}

type openAIEmbedding struct {
	Object    string `json:"object"`
	Index     int    `json:"index"`
	Embedding any    `json:"embedding"`           // []float32, or as base64 their little-endian bytes
	Truncated bool   `json:"truncated,omitempty"` // which OpenAI has not: it refuses such texts
}

type openAIUsage struct {
	PromptTokens int `json:"prompt_tokens"`
	TotalTokens  int `json:"total_tokens"`
}

// openAI reads what OpenAI's /v1/embeddings takes, and as that does refuses what it does not
// know. The vectors have length 1, as OpenAI's have.
func (e Embeddings) openAI(data []byte, whole string) (front.Question, error) {
	body, err := strictjson.Body(data, whole, `{"input": "…", "model": "…", "encoding_format": "float"}`)
	if err != nil {
		return front.Question{}, err
	}
	o, err := body.Only("input", "model", "encoding_format", "dimensions", "user")
	if err != nil {
		return front.Question{}, err
	}
	var in texts
	in.read(o, "input")
	format := strictjson.ReadOptional(o, "encoding_format", strictjson.Value.Text)
	dimensions := strictjson.ReadOptional(o, "dimensions", strictjson.Value.Number)
	for _, unused := range []string{"model", "user"} {
		o.OptionalText(unused)
	}
	if err := cmp.Or(o.Err(), in.given("input"), oneOf("encoding_format", format, "float", "base64")); err != nil {
		return front.Question{}, err
	}
	prompt, err := e.Embedder.Prompt("")
	if err != nil {
		return front.Question{}, err
	}
	for i := range in.list {
		in.list[i] = prompt + in.list[i]
	}
	return front.Question{Texts: in.list, Answer: func(answers []textmodel.Answer) (any, error) {
		vectors, err := e.vectors(answers, true, nil, dimensions)
		if err != nil {
			return nil, err
		}
		list := openAIList{Object: "list", Model: e.Model}
		for i, v := range vectors {
			list.Usage.PromptTokens += len(answers[i].Tokens.IDs)
			one := openAIEmbedding{Object: "embedding", Index: i, Embedding: v, Truncated: answers[i].Tokens.Truncated}
			if format != nil && *format == "base64" {
				one.Embedding = packed(v)
			}
			list.Data = append(list.Data, one)
		}
		list.Usage.TotalTokens = list.Usage.PromptTokens
		return list, nil
	}}, nil
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
