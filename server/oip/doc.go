// Package oip serves the Open Inference Protocol, version 2, over HTTP and gRPC: named tensors in,
// named tensors out, for any model, and texts for models that read them.
// The protocol is that of https://github.com/kserve/open-inference-protocol, with the
// binary tensors of https://github.com/triton-inference-server/server
// (docs/protocol/extension_binary_data.md).
//
// Runners compute the models. The package must not know what these are, nor the stages behind them,
// and knows the HTTP server around it only as a Host. Clients are untrusted: what they send is
// bounded before memory is taken for it.
package oip
