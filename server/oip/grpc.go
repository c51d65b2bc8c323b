package oip

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	_ "google.golang.org/grpc/encoding/gzip" // clients may compress
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/server/oip/oippb"
	"github.com/distinfer/distinfer/server/rpc"
)

const serviceName = "inference.GRPCInferenceService"

// InferMethod is the gRPC method that has a model computed.
const InferMethod = "/" + serviceName + "/ModelInfer"

const (
	// decodedAtOnce is how many messages that are here may be decompressed and decoded at
	// a time. Others wait.
	decodedAtOnce = 16

	readyTime = 2 * time.Second
)

// description is what protoc-gen-go-grpc would write, but that a message is received only
// once its caller may send it and there is room.
var description = grpc.ServiceDesc{
	ServiceName: serviceName,
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{
		unary("ServerLive", (*Server).grpcServerLive),
		unary("ServerReady", (*Server).grpcServerReady),
		unary("ModelReady", (*Server).grpcModelReady),
		unary("ServerMetadata", (*Server).grpcServerMetadata),
		unary("ModelMetadata", (*Server).grpcModelMetadata),
		unary("ModelInfer", (*Server).grpcModelInfer),
	},
	Metadata: "open_inference.proto",
}

func unary[In, Out any](name string, call func(*Server, context.Context, *In) (*Out, error)) grpc.MethodDesc {
	return grpc.MethodDesc{MethodName: name, Handler: func(srv any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		s, in, started := srv.(*Server), new(In), time.Now()
		ended := func(string) {}
		if s.config.Began != nil {
			ended = s.config.Began(name)
		}
		var out *Out
		err := s.allow(ctx)
		if err == nil {
			err = s.receive(ctx, func() error { return decode(in) })
		}
		if err == nil {
			out, err = call(s, ctx, in)
		}
		err = toStatus(err)
		ended(status.Code(err).String())
		s.log(ctx, name, time.Since(started), err)
		if err != nil {
			return nil, err
		}
		return out, nil
	}}
}

// receive decodes a message once all of it is here. Only then it needs a slot.
func (s *Server) receive(ctx context.Context, decode func() error) error {
	release, err := s.config.Host.Received(ctx)
	if err != nil {
		return notReceived(err)
	}
	defer release()
	if err := s.decoding.Acquire(ctx, 1); err != nil {
		return err
	}
	defer s.decoding.Release(1)
	return decode()
}

func notReceived(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errcode.Errorf(errcode.Deadline, "the request did not arrive in time")
	case errcode.Of(err) == errcode.Internal: // the connection's
		return errcode.Errorf(errcode.Canceled, "the request was broken off: %w", err)
	}
	return err
}

// allow fails unless the call has a token, if one is needed.
func (s *Server) allow(ctx context.Context) error {
	values := metadata.ValueFromIncomingContext(ctx, "authorization")
	switch {
	case s.config.Allow == nil || s.config.Allow(values):
		return nil
	case len(values) == 0:
		return status.Error(codes.Unauthenticated, "a token is needed; send it as the metadata authorization: Bearer TOKEN")
	}
	return status.Error(codes.Unauthenticated, "the token is not accepted; send another as the metadata authorization: Bearer TOKEN")
}

// toStatus makes a gRPC status of an error, unless it is one.
func toStatus(err error) error {
	if isNotFound(err) {
		return rpc.WithCode(codes.NotFound, err)
	}
	return rpc.Status(err, nil)
}

// log logs one line a call.
func (s *Server) log(ctx context.Context, method string, took time.Duration, err error) {
	level := slog.LevelInfo
	attrs := []slog.Attr{slog.String("method", method), slog.String("code", status.Code(err).String()), slog.Duration("took", took.Round(time.Microsecond))}
	if err != nil {
		attrs = append(attrs, slog.String("error", status.Convert(err).Message()))
	}
	switch status.Code(err) {
	case codes.Internal, codes.Unavailable, codes.DeadlineExceeded, codes.FailedPrecondition:
		level = slog.LevelError
	}
	s.config.Log.LogAttrs(ctx, level, "gRPC request", attrs...)
}

// Serve serves the protocol over gRPC on a listener, with the standard health service and
// reflection, until ctx ends. Then it finishes the calls in flight and returns nil. It closes
// the listener.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	server := s.grpcServer(ctx)
	defer server.Stop()
	defer context.AfterFunc(ctx, rpc.Describe(server, serviceName).Shutdown)()
	unary := map[string]bool{"/" + grpc_health_v1.Health_ServiceDesc.ServiceName + "/Check": true}
	for _, m := range description.Methods {
		unary["/"+serviceName+"/"+m.MethodName] = true
	}
	return s.config.Host.ServeMessages(ctx, l, server, func(path string) bool { return unary[path] })
}

func (s *Server) grpcServer(ctx context.Context) *grpc.Server {
	options := []grpc.ServerOption{
		grpc.ForceServerCodecV2(newCodec()),
		grpc.StreamInterceptor(s.stream(ctx)),
		grpc.MaxRecvMsgSize(int(s.config.MaxBody)),
	}
	if s.config.Stats != nil {
		options = append(options, grpc.StatsHandler(s.config.Stats))
	}
	server := grpc.NewServer(options...)
	server.RegisterService(&description, s)
	return server
}

// stream runs the handler of a stream, which ends when the server stops: health watches and
// reflection have no end of their own.
func (s *Server) stream(stopping context.Context) grpc.StreamServerInterceptor {
	return func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
		if err := s.allow(stream.Context()); err != nil {
			return err
		}
		return rpc.RunStream(stopping.Done(), status.Error(codes.Unavailable, "the server stops"), srv, stream, handle)
	}
}

func (s *Server) grpcServerLive(context.Context, *oippb.ServerLiveRequest) (*oippb.ServerLiveResponse, error) {
	return &oippb.ServerLiveResponse{Live: true}, nil
}

func (s *Server) grpcServerReady(ctx context.Context, _ *oippb.ServerReadyRequest) (*oippb.ServerReadyResponse, error) {
	m, done := s.config.Use()
	defer done()
	return &oippb.ServerReadyResponse{Ready: isReady(ctx, m) == nil}, nil
}

func (s *Server) grpcModelReady(ctx context.Context, in *oippb.ModelReadyRequest) (*oippb.ModelReadyResponse, error) {
	m, done := s.config.Use()
	defer done()
	if _, err := s.entry(m, in.GetName(), in.GetVersion()); err != nil {
		return nil, err
	}
	return &oippb.ModelReadyResponse{Ready: isReady(ctx, m) == nil}, nil
}

func (s *Server) grpcServerMetadata(context.Context, *oippb.ServerMetadataRequest) (*oippb.ServerMetadataResponse, error) {
	return &oippb.ServerMetadataResponse{Name: serverName, Version: s.config.Version, Extensions: extensions}, nil
}

func (s *Server) grpcModelMetadata(_ context.Context, in *oippb.ModelMetadataRequest) (*oippb.ModelMetadataResponse, error) {
	m, done := s.config.Use()
	defer done()
	e, err := s.entry(m, in.GetName(), in.GetVersion())
	if err != nil {
		return nil, err
	}
	d, err := e.describe()
	if err != nil {
		return nil, err
	}
	out := &oippb.ModelMetadataResponse{Name: d.Name, Versions: d.Versions, Platform: d.Platform}
	for _, t := range d.Inputs {
		out.Inputs = append(out.Inputs, &oippb.ModelMetadataResponse_TensorMetadata{Name: t.Name, Datatype: t.Datatype, Shape: t.Shape})
	}
	for _, t := range d.Outputs {
		out.Outputs = append(out.Outputs, &oippb.ModelMetadataResponse_TensorMetadata{Name: t.Name, Datatype: t.Datatype, Shape: t.Shape})
	}
	return out, nil
}

func (s *Server) grpcModelInfer(ctx context.Context, in *oippb.ModelInferRequest) (*oippb.ModelInferResponse, error) {
	m, done := s.config.Use()
	defer done()
	e, err := s.entry(m, in.GetModelName(), in.GetModelVersion())
	if err != nil {
		return nil, err
	}
	q, err := fromMessage(e, in, s.config.Timeout)
	if err != nil {
		return nil, err
	}
	id, typed := in.GetId(), len(in.GetInputs()) > 0 && len(in.GetRawInputContents()) == 0
	proto.Reset(in) // the run may be long, and the tensors hold what it needs
	answer, truncated, err := e.run(ctx, q.allowed, q.inputs, q.outputs)
	if err != nil {
		return nil, err
	}
	out, err := toMessage(e, id, typed, q.outputs, answer)
	if err == nil && truncated != "" {
		out.Parameters = map[string]*oippb.InferParameter{truncatedParameter: {ParameterChoice: &oippb.InferParameter_StringParam{StringParam: truncated}}}
	}
	return out, err
}
