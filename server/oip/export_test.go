package oip

import (
	"context"

	"google.golang.org/grpc/mem"

	"github.com/distinfer/distinfer/server/oip/oippb"
)

// InferMessage answers a ModelInfer with the given bytes, as they come from the network.
func InferMessage(s *Server, data []byte) error {
	in := &oippb.ModelInferRequest{}
	if newCodec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(data)}, in) != nil {
		return nil
	}
	_, err := s.grpcModelInfer(context.Background(), in)
	return toStatus(err)
}
