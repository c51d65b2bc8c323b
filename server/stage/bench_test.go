package stage

import (
	"context"
	"fmt"
	"testing"

	"google.golang.org/grpc"

	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/server/rpc"
	"github.com/distinfer/distinfer/server/stage/stagepb"
)

// BenchmarkHop sends a tensor to a stage and back over a loopback connection,
// with this package's codec and, to compare, with messages as protoc-gen-go
// makes them. bench/hop alternates the two and compares them.
func BenchmarkHop(b *testing.B) {
	const limit = 64 << 20
	for _, size := range []int64{1 << 10, 64 << 10, 1 << 20, 8 << 20, 32 << 20} {
		in := tensor.Bag{"x": tensor.Of([]int64{size / 4}, make([]float32, size/4))}
		name := fmt.Sprintf("%dKB", size>>10)
		b.Run(name+"/own", func(b *testing.B) {
			c := config(0, 1)
			c.MaxMessage = limit
			c.Stage = pipeline.Stage{Inputs: []string{"x"}, Runner: runnerFunc(func(_ context.Context, in tensor.Bag) (tensor.Bag, error) { return in, nil })}
			p, err := NewPipeline(thisBundle, [][]string{{start(b, c).address}}, Options{MaxMessage: limit, Log: discard})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = p.Close() })
			b.SetBytes(2 * size)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Run(b.Context(), in); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/generated", func(b *testing.B) {
			conn := generatedServer(b, limit)
			x := in["x"]
			b.SetBytes(2 * size)
			b.ReportAllocs()
			for b.Loop() {
				request := &stagepb.RunRequest{Protocol: Protocol, Bundle: thisBundle, Tensors: []*stagepb.Tensor{{Name: "x", Dtype: int32(x.DType), Dims: x.Shape, Data: x.Data}}}
				if err := conn.Invoke(b.Context(), RunMethod, request, &stagepb.RunResponse{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// generatedServer serves Run with generated messages only.
func generatedServer(b *testing.B, limit int) *grpc.ClientConn {
	b.Helper()
	server := rpc.NewServer(nil, nil, grpc.MaxRecvMsgSize(limit), grpc.MaxSendMsgSize(limit))
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: serviceName, HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Run", Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			in := &stagepb.RunRequest{}
			if err := decode(in); err != nil {
				return nil, err
			}
			return &stagepb.RunResponse{Tensors: in.GetTensors()}, nil
		}}},
	}, nil)
	l := listenAt(b, "localhost:0")
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	b.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			b.Error(err)
		}
	})
	conn, err := rpc.Dial(l.Addr().String(), rpc.Client{},
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(limit), grpc.MaxCallSendMsgSize(limit)))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close() })
	return conn
}

// BenchmarkProbe is a request for the state of a stage, as callers make all the time; both sides
// are in it.
func BenchmarkProbe(b *testing.B) {
	conn, err := dial(start(b, config(0, 1)).address, "localhost", Options{MaxMessage: 1 << 20, Log: discard})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close() })
	b.ReportAllocs()
	for b.Loop() {
		if _, err := describe(b.Context(), conn); err != nil {
			b.Fatal(err)
		}
	}
}
