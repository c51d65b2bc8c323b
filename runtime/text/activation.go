package text

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// An Activation is a function of PyTorch that changes the numbers that a layer gives, in place.
type Activation func(x []float64) error

// ParseActivation finds a function by the name of its class, such as
// torch.nn.modules.activation.Tanh; the class has its default arguments.
func ParseActivation(class string) (Activation, error) {
	name := class[strings.LastIndexByte(class, '.')+1:]
	if a, ok := activations[name]; ok && strings.HasPrefix(class, torch) {
		return a, nil
	}
	return nil, fmt.Errorf("%.200q is not supported (supported, of torch.nn: %s)", class, strings.Join(slices.Sorted(maps.Keys(activations)), ", "))
}

// torch begins the names of PyTorch's classes. sentence-transformers makes no others.
const torch = "torch."

// activations are the classes of torch.nn by name.
var activations = map[string]Activation{
	"Identity":    func([]float64) error { return nil },
	"Softmax":     Probabilities,
	"Sigmoid":     byNumber(logistic),
	"LogSigmoid":  byNumber(func(x float64) float64 { return -softplus(-x) }),
	"Tanh":        byNumber(math.Tanh),
	"Tanhshrink":  byNumber(func(x float64) float64 { return x - math.Tanh(x) }),
	"ReLU":        byNumber(func(x float64) float64 { return max(x, 0) }),
	"ReLU6":       byNumber(func(x float64) float64 { return min(max(x, 0), 6) }),
	"LeakyReLU":   byNumber(func(x float64) float64 { return max(x, 0) + 0.01*min(x, 0) }),
	"ELU":         byNumber(func(x float64) float64 { return max(x, 0) + math.Expm1(min(x, 0)) }),
	"CELU":        byNumber(func(x float64) float64 { return max(x, 0) + math.Expm1(min(x, 0)) }),
	"SELU":        byNumber(func(x float64) float64 { return seluScale * (max(x, 0) + seluAlpha*math.Expm1(min(x, 0))) }),
	"GELU":        byNumber(func(x float64) float64 { return x * (1 + math.Erf(x/math.Sqrt2)) / 2 }),
	"SiLU":        byNumber(func(x float64) float64 { return x * logistic(x) }),
	"Mish":        byNumber(func(x float64) float64 { return x * math.Tanh(softplus(x)) }),
	"Softplus":    byNumber(softplus),
	"Softsign":    byNumber(func(x float64) float64 { return x / (1 + math.Abs(x)) }),
	"Hardtanh":    byNumber(func(x float64) float64 { return min(max(x, -1), 1) }),
	"Hardsigmoid": byNumber(hardsigmoid),
	"Hardswish":   byNumber(func(x float64) float64 { return x * hardsigmoid(x) }),
}

const seluAlpha, seluScale = 1.6732632423543772, 1.0507009873554805

// byNumber applies a function to each number.
func byNumber(f func(float64) float64) Activation {
	return func(x []float64) error {
		for i := range x {
			x[i] = f(x[i])
		}
		return nil
	}
}

// logistic is 1/(1+e^-x), without overflow for x far below 0.
func logistic(x float64) float64 {
	if x >= 0 {
		return 1 / (1 + math.Exp(-x))
	}
	e := math.Exp(x)
	return e / (1 + e)
}

// softplus is log(1+e^x), without overflow.
func softplus(x float64) float64 { return max(x, 0) + math.Log1p(math.Exp(-math.Abs(x))) }

func hardsigmoid(x float64) float64 { return min(max(x/6+0.5, 0), 1) }
