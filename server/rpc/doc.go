// Package rpc is what the gRPC services of this module have in common: stages, transfers
// of bundles, and the Open Inference Protocol.
//
// Status and Coded carry an error over the network and back. Dial and NewServer set what
// both ends have to agree on: TLS, flow-control windows and keepalive. Serve drains a
// server, and RunStream ends streams that have no end of their own.
//
// The package knows gRPC and error codes, and no service.
package rpc
