// Package stage puts one stage of a model behind gRPC: the server that runs it,
// and the client that is a pipeline.Runner like any other.
//
// Server and client are mirror images of one protocol, described in
// stagepb/stage.proto. A stage pushes what it computed straight to the next one
// and answers what that one answered, so that tensors never take the way back
// through the front. A stage keeps its output until the next one has answered.
//
// The package knows tensors and Runners. It must not know ONNX Runtime, bundles
// on disk, text or HTTP. Every byte from the network is untrusted: sizes are
// checked before anything is allocated for them.
package stage
