// Package oip speaks the Open Inference Protocol, version 2, over HTTP and gRPC: tensors
// by name in, tensors by name out, for any model, and texts for those that read them.
// The protocol is that of https://github.com/kserve/open-inference-protocol, with the
// binary tensors of https://github.com/triton-inference-server/server
// (docs/protocol/extension_binary_data.md).
//
// It has models computed by Runners. It does not know what these are, nor the stages
// behind them, nor the HTTP server that it is part of but as a Host. Clients are
// untrusted: what they send is bounded before memory is taken for it.
package oip
