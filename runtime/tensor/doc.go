// Package tensor holds the values that flow between the layers of a model:
// element types, shapes, tensors and bags of named tensors.
//
// It is at the bottom of the module: it knows nothing of ONNX files, of ONNX
// Runtime or of the network, and must import none of them.
package tensor
