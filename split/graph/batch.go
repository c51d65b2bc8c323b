package graph

import (
	"fmt"
	"strings"

	"github.com/distinfer/distinfer/split/onnxfile"
)

// Operators that take a scale from all of their input, and so from every row of a
// batch. In a domain other than ONNX's own they are named with it.
var batchOps = map[string]bool{
	"DynamicQuantizeLinear":               true,
	"com.microsoft.DynamicQuantizeMatMul": true,
	"com.microsoft.DynamicQuantizeLSTM":   true,
}

// BatchDependent names the operators whose result depends on what else is in the batch, and how
// many there are of each, or is empty. Operators that take only weights do not count.
func (g *Graph) BatchDependent() string {
	var computing []onnxfile.Node
	for i, n := range g.Nodes {
		if g.Roles[i] != Constant {
			computing = append(computing, n)
		}
	}
	var found []string // in order of first use
	count := map[string]int{}
	for domain, name := range g.Model.Calls(computing) {
		if domain != "" {
			name = domain + "." + name
		}
		if !batchOps[name] {
			continue
		}
		if count[name]++; count[name] == 1 {
			found = append(found, name)
		}
	}
	for i, name := range found {
		found[i] = fmt.Sprintf("%d × %s", count[name], name)
	}
	return strings.Join(found, ", ")
}
