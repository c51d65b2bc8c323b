package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	"google.golang.org/protobuf/encoding/protowire"
)

// The quotient is a model of two nodes, z = (0 - a) / b in 64-bit integers. For the least
// of them divided by -1 the processor has no result but a trap, which ends a process that
// does not know better.
const (
	quotientName = "quotient"
	quotientPath = "/v2/models/" + quotientName + "/infer"

	quotientNodes = 2 // each of which is a stage
)

type message []byte

func (m message) text(n protowire.Number, s string) message {
	return protowire.AppendString(protowire.AppendTag(m, n, protowire.BytesType), s)
}

func (m message) number(n protowire.Number, v uint64) message {
	return protowire.AppendVarint(protowire.AppendTag(m, n, protowire.VarintType), v)
}

func (m message) message(n protowire.Number, sub message) message { return m.text(n, string(sub)) }

// writeQuotient writes the model into a folder.
func writeQuotient(dir string) (file string, err error) {
	const int64Type = 7
	value := func(name string) message { // a vector
		shape := message{}.message(1, message{}.text(2, "n"))
		return message{}.text(1, name).message(2, message{}.message(1, message{}.number(1, int64Type).message(2, shape)))
	}
	node := func(op, a, b, out string) message { return message{}.text(1, a).text(1, b).text(2, out).text(4, op) }
	zero := message{}.number(2, int64Type).text(8, "zero").text(9, string(make([]byte, 8)))
	graph := message{}.message(1, node("Sub", "zero", "a", "x")).message(1, node("Div", "x", "b", "z")).text(2, quotientName).
		message(5, zero).message(11, value("a")).message(11, value("b")).message(12, value("z"))
	model := message{}.number(1, 8).message(7, graph).message(8, message{}.text(1, "").number(2, 17))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	file = filepath.Join(dir, quotientName+".onnx")
	return file, os.WriteFile(file, model, 0o600)
}

// quotientBody is a request for z of two vectors.
func quotientBody(a, b []int64) ([]byte, error) {
	type input struct {
		Name     string  `json:"name"`
		Datatype string  `json:"datatype"`
		Shape    []int   `json:"shape"`
		Data     []int64 `json:"data"`
	}
	return json.Marshal(map[string]any{"inputs": []input{{"a", "INT64", []int{len(a)}, a}, {"b", "INT64", []int{len(b)}, b}}})
}

// quotients are questions of which no two have one answer.
func quotients(n int, random *rand.Rand) ([]question, error) {
	questions := make([]question, n)
	for i := range questions {
		a, b, z := make([]int64, 4), make([]int64, 4), make([]int64, 4)
		for k := range z {
			b[k] = 1 + random.Int64N(1000)
			a[k] = (random.Int64N(1e6) - 5e5) * b[k]
			z[k] = -a[k] / b[k]
		}
		z[0] = int64(i)
		a[0] = -z[0] * b[0]
		body, err := quotientBody(a, b)
		if err != nil {
			return nil, err
		}
		questions[i] = question{path: quotientPath, body: body, numbers: z}
	}
	return questions, nil
}

// differsInNumbers says in what the answer of the Open Inference Protocol is not the right one.
func differsInNumbers(body []byte, q *question) string {
	var answer struct {
		Outputs []struct{ Data []int64 }
	}
	if err := json.Unmarshal(body, &answer); err != nil || len(answer.Outputs) != 1 {
		return "not JSON of the right form"
	}
	if got := answer.Outputs[0].Data; fmt.Sprint(got) != fmt.Sprint(q.numbers) {
		return "other numbers"
	}
	return ""
}
