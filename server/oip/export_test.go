package oip

import (
	"context"
	"maps"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	"github.com/distinfer/distinfer/server/oip/oippb"
)

// Routes are the patterns of what a Server answers over HTTP.
func Routes(s *Server) []string { return slices.Sorted(maps.Keys(s.routes())) }

// InferMessage answers a ModelInfer with the given bytes, as they come from the network.
func InferMessage(s *Server, data []byte) error {
	in := &oippb.ModelInferRequest{}
	if err := newCodec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(data)}, in); err != nil {
		return status.Error(codes.Internal, err.Error()) // as the transport answers it
	}
	_, err := s.grpcModelInfer(context.Background(), in)
	return toStatus(err)
}
