package ort

import (
	"errors"
	"fmt"
	"os"

	binding "github.com/yalue/onnxruntime_go"

	"github.com/distinfer/distinfer/runtime/tensor"
)

// Types reports the element type and the dimensions of the graph outputs of
// the model at path, as ONNX Runtime infers them. Constants are folded first:
// shapes that are computed from shapes are known only then.
// A dimension that it cannot tell is unknown. Outputs that are not tensors have
// DType Undefined. Outputs of unknown rank cannot be distinguished from scalars: both
// have no dimensions.
func (l *Library) Types(path string) ([]tensor.Spec, error) {
	options, err := binding.NewSessionOptions()
	if err != nil {
		return nil, fmt.Errorf("make session options: %w", clean(err))
	}
	defer func() { _ = options.Destroy() }()
	err = errors.Join(
		options.SetGraphOptimizationLevel(binding.GraphOptimizationLevelEnableBasic),
		options.SetLogSeverityLevel(binding.LoggingLevelFatal), // errors are returned
		options.SetIntraOpNumThreads(1),
		// What a model computes from constants alone can be of any size; that of
		// shapes is small.
		options.AddSessionConfigEntry("optimization.constant_folding_max_output_size_in_bytes", "16777216"),
	)
	if err != nil {
		return nil, fmt.Errorf("set session options: %w", clean(err))
	}
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	_, outputs, err := binding.GetInputOutputInfoWithOptions(path, options)
	if err != nil {
		return nil, clean(err)
	}
	specs := make([]tensor.Spec, len(outputs))
	for i, o := range outputs {
		specs[i] = tensor.Spec{Name: o.Name}
		if o.OrtValueType != binding.ONNXTypeTensor {
			continue
		}
		specs[i].DType = dtypeOf(int(o.DataType))
		specs[i].Dims = make([]tensor.Dim, len(o.Dimensions))
		for j, n := range o.Dimensions {
			if n >= 0 {
				specs[i].Dims[j] = tensor.Fixed(n)
			}
		}
	}
	return specs, nil
}
