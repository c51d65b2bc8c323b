package generate

import (
	"math"
	"strings"

	"github.com/distinfer/distinfer/split/onnxfile"
)

// A sense is what an operator takes the values of one of its inputs for.
type sense uint8

const (
	placeOnAxis  sense = iota + 1 // places along the axis of the data (of any axis, without an attribute axis)
	lengthOnAxis                  // at least 1 and at most as long as the axis of the data
	smallCount                    // 1, 2 or 3
	zero                          // 0
	one                           // 1
	beyondAxes                    // more than any axis is long, or as much as a signal needs
	axisNumbers                   // 0, 1, 2, …
	unitAxes                      // axes of the data that are 1
	anyShape                      // -1, 1, 1, …, which any data can be given
	sameDims                      // the dimensions of the data, and 1 behind them
	lastDim                       // the last dimension of the data, and 1 behind it
	partsOfAxis                   // as many numbers that add up to the axis of the data
	aboveZero                     // above 0
)

// A use is one input of an operator: its sense, which other input of the operator
// is the data that bounds it, and the axis when there is no attribute axis.
type use struct {
	sense
	data int
	axis int64
}

// anyAxis is the axis of an operator that has none: the values have to suit all.
const anyAxis = math.MinInt64

// uses are the inputs, by operator and position, that do not take just any value.
var uses = map[string]map[int]use{
	"Gather":                    {1: {placeOnAxis, 0, 0}},
	"GatherElements":            {1: {placeOnAxis, 0, 0}},
	"GatherND":                  {1: {placeOnAxis, 0, anyAxis}},
	"Scatter":                   {1: {placeOnAxis, 0, 0}},
	"ScatterElements":           {1: {placeOnAxis, 0, 0}},
	"ScatterND":                 {1: {placeOnAxis, 0, anyAxis}},
	"TensorScatter":             {2: {zero, 0, 0}},
	"RoiAlign":                  {2: {placeOnAxis, 0, 0}},
	"MaxUnpool":                 {1: {placeOnAxis, 0, anyAxis}, 2: {sameDims, 0, 0}},
	"Attention":                 {6: {lengthOnAxis, 1, -2}},
	"RotaryEmbedding":           {3: {placeOnAxis, 1, 0}},
	"NegativeLogLikelihoodLoss": {1: {placeOnAxis, 0, 1}},
	"SoftmaxCrossEntropyLoss":   {1: {placeOnAxis, 0, 1}},
	"Reshape":                   {1: {anyShape, 0, 0}},
	"Expand":                    {1: {one, 0, 0}},
	"Tile":                      {1: {smallCount, 0, 0}},
	"ConstantOfShape":           {0: {smallCount, 0, 0}},
	"AffineGrid":                {1: {sameDims, 0, 0}},
	"CenterCropPad":             {1: {smallCount, 0, 0}},
	"Col2Im":                    {1: {lastDim, 0, 0}, 2: {one, 0, 0}},
	"Slice":                     {1: {zero, 0, 0}, 2: {beyondAxes, 0, 0}, 3: {axisNumbers, 0, 0}, 4: {one, 0, 0}},
	"Pad":                       {1: {zero, 0, 0}, 3: {axisNumbers, 0, 0}},
	"Resize":                    {1: {zero, 0, 0}, 2: {one, 0, 0}, 3: {sameDims, 0, 0}},
	"Upsample":                  {1: {one, 0, 0}},
	"Unsqueeze":                 {1: {axisNumbers, 0, 0}},
	"Squeeze":                   {1: {unitAxes, 0, 0}},
	"Split":                     {1: {partsOfAxis, 0, 0}},
	"SplitToSequence":           {1: {partsOfAxis, 0, 0}},
	"SequenceAt":                {1: {zero, 0, 0}},
	"TopK":                      {1: {one, 0, 0}},
	"OneHot":                    {1: {smallCount, 0, 0}},
	"Range":                     {0: {zero, 0, 0}, 1: {smallCount, 0, 0}, 2: {one, 0, 0}},
	"Trilu":                     {1: {zero, 0, 0}},
	"CumSum":                    {1: {zero, 0, 0}},
	"CumProd":                   {1: {zero, 0, 0}},
	"Loop":                      {0: {smallCount, 0, 0}},
	"RNN":                       {4: {lengthOnAxis, 0, 0}},
	"GRU":                       {4: {lengthOnAxis, 0, 0}},
	"LSTM":                      {4: {lengthOnAxis, 0, 0}},
	"ReverseSequence":           {1: {one, 0, 0}},
	"NonMaxSuppression":         {2: {smallCount, 0, 0}, 3: {aboveZero, 0, 0}, 4: {aboveZero, 0, 0}},
	"Dropout":                   {1: {aboveZero, 0, 0}},
	"BatchNormalization":        {4: {aboveZero, 0, 0}},
	"Bernoulli":                 {0: {aboveZero, 0, 0}},
	"Clip":                      {1: {zero, 0, 0}, 2: {smallCount, 0, 0}},
	"Div":                       {1: {aboveZero, 0, 0}}, // integers cannot be divided by 0
	"Mod":                       {1: {aboveZero, 0, 0}},
	"QuantizeLinear":            {1: {aboveZero, 0, 0}},
	"DequantizeLinear":          {1: {aboveZero, 0, 0}, 2: {zero, 0, 0}},
	"QLinearMatMul":             {1: {aboveZero, 0, 0}, 4: {aboveZero, 0, 0}, 6: {aboveZero, 0, 0}},
	"QLinearConv":               {1: {aboveZero, 0, 0}, 4: {aboveZero, 0, 0}, 6: {aboveZero, 0, 0}},
	"DFT":                       {1: {smallCount, 0, 0}, 2: {one, 0, 0}},
	"STFT":                      {1: {smallCount, 0, 0}, 3: {smallCount, 0, 0}},
	"HannWindow":                {0: {smallCount, 0, 0}},
	"HammingWindow":             {0: {smallCount, 0, 0}},
	"BlackmanWindow":            {0: {smallCount, 0, 0}},
	"MelWeightMatrix":           {0: {smallCount, 0, 0}, 1: {beyondAxes, 0, 0}, 2: {beyondAxes, 0, 0}, 3: {zero, 0, 0}, 4: {smallCount, 0, 0}},

	"com.microsoft.RotaryEmbedding":         {1: {placeOnAxis, 2, 0}},
	"com.microsoft.EmbedLayerNormalization": {0: {placeOnAxis, 2, 0}, 1: {placeOnAxis, 4, 0}, 8: {placeOnAxis, 3, 0}},
	"com.microsoft.GatherBlockQuantized":    {1: {placeOnAxis, 0, 0}},
}

// useOf looks up the k-th input of a node.
func useOf(n onnxfile.Node, k int) (use, bool) {
	op := n.OpType
	if n.Domain != "" && n.Domain != "ai.onnx" {
		op = n.Domain + "." + op
	} else if strings.HasPrefix(op, "Reduce") && k == 1 {
		return use{axisNumbers, 0, 0}, true
	}
	u, ok := uses[op][k]
	return u, ok
}

// PlacesIn reports whether a node takes the values of its k-th input for places along an axis of
// another input, the data.
func PlacesIn(n onnxfile.Node, k int) (data int, axis int64, ok bool) {
	u, ok := useOf(n, k)
	if !ok || u.sense != placeOnAxis {
		return 0, 0, false
	}
	return u.data, n.Int("axis", u.axis), true
}

// Operators whose result has the values of their first input, and those whose
// result has the values of any.
var (
	keepFirst = map[string]bool{
		"Cast": true, "CastLike": true, "Identity": true, "Reshape": true, "Unsqueeze": true, "Squeeze": true, "Flatten": true,
		"Transpose": true, "Slice": true, "Gather": true, "Expand": true, "Tile": true, "Split": true, "Pad": true, "Clip": true,
	}
	keepAll = map[string]bool{"Concat": true, "Where": true, "Max": true, "Min": true}
)
