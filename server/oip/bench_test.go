package oip_test

import (
	"context"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/distinfer/distinfer/server/oip"
	"github.com/distinfer/distinfer/server/oip/oippb"
)

// BenchmarkInfer is what a run over gRPC costs besides the model.
func BenchmarkInfer(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- oip.New(config(model())).Serve(ctx, l) }()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		b.Fatal(err)
	}
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		in, out := message(), &oippb.ModelInferResponse{}
		for pb.Next() {
			if err := conn.Invoke(ctx, oip.InferMethod, in, out); err != nil {
				b.Error(err)
				return
			}
		}
	})
	_ = conn.Close()
	stop()
	if err := <-served; err != nil {
		b.Error(err)
	}
}
