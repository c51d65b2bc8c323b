package graph

import (
	"slices"

	"github.com/distinfer/distinfer/split/onnxfile"
)

// A Role is how a node takes part in a cut.
type Role uint8

// The roles.
const (
	// Anchored nodes compute: each is in exactly one stage.
	Anchored Role = iota
	// Constant nodes depend on weights only (such as the dequantisation of a
	// weight): they go along with every stage that needs them.
	Constant
	// Cheap nodes are chains of shape arithmetic and element-wise operators that
	// start at model inputs or at the shape of a value, such as the expansion of
	// an attention mask. A stage may repeat them when that costs the network
	// less than sending their result.
	Cheap
)

// quantization reports whether a node's operator is the given one of quantisation,
// which ONNX Runtime has in a domain of its own, too.
func quantization(n onnxfile.Node, op string) bool {
	return n.OpType == op && (n.Standard() || n.Domain == "com.microsoft") && len(n.Inputs) > 0
}

// Quantizes reports whether node i turns a computed value into integers.
func (g *Graph) Quantizes(i int) bool {
	n := g.Nodes[i]
	return quantization(n, "QuantizeLinear") && g.Producer[n.Inputs[0]] >= 0
}

// classify gives every node its role.
func (g *Graph) classify() {
	g.Roles = make([]Role, len(g.Nodes))
	g.weights = make([]int64, len(g.Nodes))
	for i, n := range g.Nodes {
		g.Roles[i] = g.roleOf(i, n)
	}
	if !slices.Contains(g.Roles, Anchored) {
		// Nothing else is there to be divided.
		for i, r := range g.Roles {
			if r == Cheap {
				g.Roles[i] = Anchored
			}
		}
	}
	for i, r := range g.Roles {
		if r == Anchored {
			g.Anchors = append(g.Anchors, i)
		}
	}
}

func (g *Graph) roleOf(i int, n onnxfile.Node) Role {
	// A value is dequantised again where it is needed: what crosses a cut is the
	// integers, a quarter of the bytes.
	dequantizes := quantization(n, "DequantizeLinear")
	if !dequantizes && (!n.Standard() || randomOps[n.OpType] || n.Bodies > 0) {
		return Anchored // not known to give the same result when it runs twice
	}
	free, repeatable := true, cheapOps[n.OpType] || dequantizes
	var weight int64
	for k, name := range g.Deps[i] {
		if g.IsConstant(name) {
			weight = min(weight+g.constantBytes(name), maxCheapWeight+1)
			continue
		}
		free = false
		p := g.Producer[name]
		fromAnywhere := shapeOps[n.OpType] || dequantizes && k == 0
		if p != FromInput && !fromAnywhere && (g.Roles[p] != Cheap || quantization(g.Nodes[p], "DequantizeLinear")) {
			repeatable = false
		}
	}
	switch {
	case free:
		g.weights[i] = weight
		for _, a := range n.Attributes {
			g.weights[i] += int64(len(a.Tensor))
		}
		return Constant
	case repeatable && weight <= maxCheapWeight:
		return Cheap
	}
	return Anchored
}

// maxCheapWeight bounds the weights a cheap node may read, in bytes, so that
// tables are not copied into every stage.
const maxCheapWeight = 4 << 10

// constantBytes is the size of the weights that a constant is made of.
func (g *Graph) constantBytes(name string) int64 {
	if p := g.Producer[name]; p >= 0 {
		return g.weights[p]
	}
	return g.Model.Graph.Initializers[g.Initializer[name]].Bytes()
}

// IsConstant reports whether a value depends on weights only.
func (g *Graph) IsConstant(name string) bool {
	p := g.Producer[name]
	return p == FromInitializer || p >= 0 && g.Roles[p] == Constant
}

// ConstantNode is the value that node i makes of nothing but its attributes, or "".
func (g *Graph) ConstantNode(i int) string {
	if g.Roles[i] == Constant && len(g.Deps[i]) == 0 && len(g.Nodes[i].Outputs) > 0 {
		return g.Nodes[i].Outputs[0]
	}
	return ""
}

// IsCheap reports whether a stage may compute the value again.
func (g *Graph) IsCheap(name string) bool {
	p := g.Producer[name]
	return p >= 0 && g.Roles[p] == Cheap
}

// Operators whose result depends on the shape of their input only.
var shapeOps = map[string]bool{"Shape": true, "Size": true}

// Operators that may be repeated: they cost next to nothing beside the layers
// of a model, and give the same result every time.
var cheapOps = map[string]bool{
	"Shape": true, "Size": true, "Gather": true, "Slice": true, "Squeeze": true, "Unsqueeze": true,
	"Concat": true, "Reshape": true, "Expand": true, "Tile": true, "Range": true, "ConstantOfShape": true,
	"Cast": true, "Identity": true, "Transpose": true, "Flatten": true, "Split": true, "Trilu": true,
	"Add": true, "Sub": true, "Mul": true, "Div": true, "Mod": true, "Neg": true, "Abs": true, "Sign": true,
	"Min": true, "Max": true, "Floor": true, "Ceil": true, "Pow": true, "Sqrt": true, "Reciprocal": true,
	"Equal": true, "Greater": true, "GreaterOrEqual": true, "Less": true, "LessOrEqual": true,
	"And": true, "Or": true, "Not": true, "Xor": true, "Where": true,
	"ReduceSum": true, "ReduceMax": true, "ReduceMin": true, "ReduceProd": true, "CumSum": true,
}

// Operators that may give another result every time.
var randomOps = map[string]bool{
	"RandomNormal": true, "RandomNormalLike": true, "RandomUniform": true, "RandomUniformLike": true,
	"Multinomial": true, "Bernoulli": true, "Dropout": true,
}

// Random reports whether an operator may give another result every time.
func Random(op string) bool { return randomOps[op] }

// ShapeOnly reports whether an operator depends on the shape of its input only.
func ShapeOnly(op string) bool { return shapeOps[op] }

// CheapOp reports whether an operator may be repeated.
func CheapOp(op string) bool { return cheapOps[op] }
