package chaos

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/distinfer/distinfer/split/onnxfile/onnxtest"
)

// The quotient is a model of two nodes, z = (0 - a) / b in 64-bit integers. For the least
// of them divided by -1 the processor has no result but a trap, which ends a process that
// does not know better.
const (
	quotientName = "quotient"
	quotientPath = "/v2/models/" + quotientName + "/infer"

	quotientNodes = 2 // each of which is a stage
)

// writeQuotient writes the model into a folder.
func writeQuotient(dir string) (file string, err error) {
	const int64Type = 7
	var g onnxtest.Graph
	g.Input("a", int64Type, "n")
	g.Input("b", int64Type, "n")
	g.Ints("zero", nil, 0)
	g.Node("Sub", []string{"zero", "a"}, []string{"x"})
	g.Node("Div", []string{"x", "b"}, []string{"z"})
	g.Output("z", int64Type, "n")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	file = filepath.Join(dir, quotientName+".onnx")
	return file, os.WriteFile(file, g.Model(), 0o600)
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
