package embed

import (
	"errors"
	"fmt"
	"math"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/strictjson"
	"github.com/distinfer/distinfer/runtime/text"
)

// A layer makes another vector of a vector. It may write to what it is given.
type layer struct {
	in, out int // numbers of the vectors; 0 is any number, and as many
	apply   func(v []float32) ([]float32, error)
}

// normalize is sentence-transformers' module Normalize.
var normalize = layer{apply: func(v []float32) ([]float32, error) {
	Normalize(v)
	return v, nil
}}

// through passes a vector through layers.
func through(layers []layer, v []float32) ([]float32, error) {
	var err error
	for _, l := range layers {
		if l.in != 0 && l.in != len(v) {
			return nil, fmt.Errorf("a module takes vectors of %d numbers, and gets %d", l.in, len(v))
		}
		if v, err = l.apply(v); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// weights reads the weights of the module in a folder.
func (read reader) weights(folder string) (map[string]weights, error) {
	data, err := read(bundle.ModuleFileName(folder, bundle.WeightsName))
	if errors.Is(err, bundle.ErrNoFile) {
		why := "is missing; put it beside the model"
		if _, err := read(bundle.ModuleFileName(folder, bundle.OldWeightsName)); err == nil {
			why = fmt.Sprintf("is missing, and %s is a pickle, which is not read; convert it: python -c \"import torch, safetensors.torch as s; s.save_file(torch.load('%s/%s', weights_only=True), '%s/%s')\"",
				bundle.OldWeightsName, folder, bundle.OldWeightsName, folder, bundle.WeightsName)
		}
		return nil, fmt.Errorf("%s/%s %s, and split it again", folder, bundle.WeightsName, why)
	}
	tensors, err := readWeights(data)
	if err != nil {
		return nil, fmt.Errorf("%s/%s: %w", folder, bundle.WeightsName, err)
	}
	return tensors, nil
}

// take finds a tensor of a shape.
func take(folder string, tensors map[string]weights, name string, shape ...int) ([]float32, error) {
	t, ok := tensors[name]
	if !ok {
		return nil, fmt.Errorf("%s/%s has no tensor %s", folder, bundle.WeightsName, name)
	}
	if fmt.Sprint(t.shape) != fmt.Sprint(shape) {
		return nil, fmt.Errorf("%s/%s: tensor %s has shape %v, and config.json says %v", folder, bundle.WeightsName, name, t.shape, shape)
	}
	return t.values, nil
}

// dense reads the module Dense in a folder: a linear layer, and a function of what it gives.
func (read reader) dense(folder string, config *strictjson.Object) (layer, error) {
	in, out := config.Uint32("in_features"), config.Uint32("out_features")
	residual, biased := config.Flag("use_residual", false), config.Flag("bias", true)
	class := "torch.nn.modules.activation.Tanh"
	if config.Has("activation_function") {
		class = config.Text("activation_function")
	}
	if err := config.Err(); err != nil {
		return layer{}, err
	}
	activate, err := text.ParseActivation(class)
	if err != nil {
		return layer{}, fmt.Errorf("activation_function: %w", err)
	}
	tensors, err := read.weights(folder)
	if err != nil {
		return layer{}, err
	}
	d := linear{int(in), int(out), nil, nil}
	if d.weight, err = take(folder, tensors, "linear.weight", d.out, d.in); err != nil {
		return layer{}, err
	}
	if biased {
		if d.bias, err = take(folder, tensors, "linear.bias", d.out); err != nil {
			return layer{}, err
		}
	}
	beside := linear{in: d.in, out: d.out}
	if residual && d.in != d.out {
		if beside.weight, err = take(folder, tensors, "residual.weight", d.out, d.in); err != nil {
			return layer{}, err
		}
	}
	return layer{d.in, d.out, func(v []float32) ([]float32, error) {
		sums := d.apply(v)
		if err := activate(sums); err != nil {
			return nil, err
		}
		if residual {
			for i, x := range beside.apply(v) {
				sums[i] += x
			}
		}
		return narrow(sums), nil
	}}, nil
}

// linear multiplies vectors with a matrix; without weight it leaves them as they are.
type linear struct {
	in, out      int
	weight, bias []float32
}

func (l linear) apply(v []float32) []float64 {
	sums := make([]float64, l.out)
	for i := range sums {
		if l.weight == nil {
			sums[i] = float64(v[i])
			continue
		}
		if l.bias != nil {
			sums[i] = float64(l.bias[i])
		}
		for k, w := range l.weight[i*l.in : (i+1)*l.in] {
			sums[i] += float64(w) * float64(v[k])
		}
	}
	return sums
}

// layerNorm reads the module LayerNorm in a folder.
func (read reader) layerNorm(folder string, config *strictjson.Object) (layer, error) {
	size := int(config.Uint32("dimension"))
	if err := config.Err(); err != nil {
		return layer{}, err
	}
	tensors, err := read.weights(folder)
	if err != nil {
		return layer{}, err
	}
	scale, err := take(folder, tensors, "norm.weight", size)
	if err != nil {
		return layer{}, err
	}
	shift, err := take(folder, tensors, "norm.bias", size)
	if err != nil {
		return layer{}, err
	}
	return layer{size, size, func(v []float32) ([]float32, error) {
		mean, variance := 0.0, 0.0
		for _, x := range v {
			mean += float64(x) / float64(size)
		}
		for _, x := range v {
			variance += (float64(x) - mean) * (float64(x) - mean) / float64(size)
		}
		by := math.Sqrt(variance + 1e-5) // the epsilon of torch.nn.LayerNorm
		for i, x := range v {
			v[i] = float32((float64(x)-mean)/by*float64(scale[i]) + float64(shift[i]))
		}
		return v, nil
	}}, nil
}

func narrow(wide []float64) []float32 {
	v := make([]float32, len(wide))
	for i, x := range wide {
		v[i] = float32(x)
	}
	return v
}
