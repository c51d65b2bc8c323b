package task

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"math"
	"net/http"

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
	Embedding any    `json:"embedding"` // []float32, or as base64 their little-endian bytes
}

type openAIUsage struct {
	PromptTokens int `json:"prompt_tokens"`
	TotalTokens  int `json:"total_tokens"`
}

// openAI reads what OpenAI's /v1/embeddings takes. The vectors have length 1, as
// OpenAI's have.
func (e Embeddings) openAI(body []byte) (front.Question, error) {
	var b struct {
		Input      json.RawMessage `json:"input"`
		Model      string          `json:"model"`
		Format     *string         `json:"encoding_format"`
		Dimensions *float64        `json:"dimensions"` // 32.0 is a whole number in JSON
		User       string          `json:"user"`       // asks for nothing here
	}
	if err := decode(body, &b, `{"input": "…", "model": "…", "encoding_format": "float"}`); err != nil {
		return front.Question{}, err
	}
	if err := oneOf("encoding_format", b.Format, "float", "base64"); err != nil {
		return front.Question{}, err
	}
	texts, _, err := textsOf("input", b.Input)
	if err != nil {
		return front.Question{}, err
	}
	prompt, err := e.Embedder.Prompt("")
	if err != nil {
		return front.Question{}, err
	}
	for i := range texts {
		texts[i] = prompt + texts[i]
	}
	return front.Question{Texts: texts, Answer: func(answers []textmodel.Answer) (any, error) {
		vectors, err := e.vectors(answers, true, nil, b.Dimensions)
		if err != nil {
			return nil, err
		}
		list := openAIList{Object: "list", Model: e.Model}
		for i, v := range vectors {
			list.Usage.PromptTokens += len(answers[i].Tokens.IDs)
			one := openAIEmbedding{Object: "embedding", Index: i, Embedding: v}
			if b.Format != nil && *b.Format == "base64" {
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
