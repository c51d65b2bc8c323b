package transfer

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/server/limiter"
	"github.com/distinfer/distinfer/server/rpc"
	"github.com/distinfer/distinfer/server/transfer/transferpb"
)

// The names of transfer.proto.
const (
	serviceName    = "distinfer.transfer.v1.Transfer"
	manifestMethod = "/" + serviceName + "/Manifest"
	readMethod     = "/" + serviceName + "/Read"
)

// maxChunk is how much of a file a message holds at most, in bytes, and framing
// what a message takes besides, generously.
const (
	maxChunk = 1 << 20
	framing  = 64
)

// maxStreams is how many files may be read at a time. Each takes some megabytes
// of memory, and more would not make a disk or a network faster.
const maxStreams = 16

// stallTime is how long a stream may wait for its reader.
const stallTime = time.Minute

// A Server shares what its bundle's folder has: the manifest, and those of the
// files it names that are there.
type Server struct {
	bundle atomic.Pointer[bundle.Bundle]
	chunk  int
	stall  time.Duration
	reads  *limiter.Limiter
}

// NewServer makes a server of a bundle that sends no message of more than
// maxMessage bytes.
func NewServer(b *bundle.Bundle, maxMessage int) *Server {
	s := &Server{
		chunk: max(1, min(maxChunk, maxMessage-framing)),
		stall: stallTime,
		reads: limiter.New(maxStreams, 0),
	}
	s.Follow(b)
	return s
}

// Follow makes the server share another bundle from now on.
func (s *Server) Follow(b *bundle.Bundle) { s.bundle.Store(b) }

// Register adds the service to a gRPC server.
func (s *Server) Register(r grpc.ServiceRegistrar) { r.RegisterService(&description, s) }

// service is what a gRPC server has to find in what it is given.
type service interface {
	manifest(grpc.ServerStream) error
	read(*transferpb.ReadRequest, grpc.ServerStream) error
}

var description = grpc.ServiceDesc{
	ServiceName: serviceName,
	HandlerType: (*service)(nil),
	Streams: []grpc.StreamDesc{
		{StreamName: "Manifest", ServerStreams: true, Handler: func(srv any, stream grpc.ServerStream) error {
			if err := stream.RecvMsg(&transferpb.ManifestRequest{}); err != nil {
				return err
			}
			return srv.(service).manifest(stream)
		}},
		{StreamName: "Read", ServerStreams: true, Handler: func(srv any, stream grpc.ServerStream) error {
			in := &transferpb.ReadRequest{}
			if err := stream.RecvMsg(in); err != nil {
				return err
			}
			return srv.(service).read(in, stream)
		}},
	},
	Metadata: "transfer.proto",
}

func (s *Server) manifest(stream grpc.ServerStream) error {
	return s.limited(func(moved func()) error {
		data, err := s.bundle.Load().ReadManifest()
		if err != nil {
			return rpc.WithCode(codes.DataLoss, err)
		}
		return s.send(stream, bytes.NewReader(data), int64(len(data)), moved)
	})
}

func (s *Server) read(in *transferpb.ReadRequest, stream grpc.ServerStream) error {
	return s.limited(func(moved func()) error {
		f, entry, err := s.bundle.Load().OpenFile(in.GetSha256())
		switch {
		case errors.Is(err, bundle.ErrNoFile):
			return rpc.WithCode(codes.NotFound, err)
		case err != nil:
			return rpc.WithCode(codes.DataLoss, err)
		}
		defer func() { _ = f.Close() }()
		if in.GetOffset() < 0 || in.GetOffset() > entry.Bytes {
			return status.Errorf(codes.OutOfRange, "%s has %d bytes, it cannot be read from %d on", entry.Name, entry.Bytes, in.GetOffset())
		}
		before, err := f.Stat()
		if err != nil {
			return rpc.WithCode(codes.DataLoss, err)
		}
		left := entry.Bytes - in.GetOffset()
		if err := s.send(stream, io.NewSectionReader(f, in.GetOffset(), left), left, moved); err != nil {
			return err
		}
		return unchanged(f, before)
	})
}

// unchanged fails when a file is another than it was when it was opened.
func unchanged(f *os.File, before os.FileInfo) error {
	now, err := f.Stat()
	if err == nil && (now.Size() != before.Size() || !now.ModTime().Equal(before.ModTime())) {
		err = fmt.Errorf("%s was changed while it was read", before.Name())
	}
	return rpc.WithCode(codes.DataLoss, err)
}

// send sends exactly the given number of bytes.
func (s *Server) send(stream grpc.ServerStream, from io.Reader, left int64, moved func()) error {
	buffer := make([]byte, min(int64(s.chunk), left))
	for left > 0 {
		piece := buffer[:min(int64(len(buffer)), left)]
		if _, err := io.ReadFull(from, piece); err != nil {
			return rpc.WithCode(codes.DataLoss, fmt.Errorf("%d bytes before the end: %w", left, err))
		}
		if err := stream.SendMsg(&transferpb.Chunk{Data: piece}); err != nil {
			return err
		}
		left -= int64(len(piece))
		moved()
	}
	return nil
}

// limited serves a stream, unless enough are in flight. It
// ends the stream when its reader takes nothing for too long.
func (s *Server) limited(do func(moved func()) error) error {
	if !s.reads.TryAcquire(1) {
		return status.Errorf(codes.ResourceExhausted, "%d files are being read already; try again later", s.reads.Capacity())
	}
	stalled := make(chan struct{})
	timer := time.AfterFunc(s.stall, func() { close(stalled) })
	ended := make(chan error, 1)
	go func() {
		defer s.reads.Release(1)
		defer timer.Stop()
		ended <- do(func() {
			// Once it has fired, it must not fire again.
			if timer.Stop() {
				timer.Reset(s.stall)
			}
		})
	}()
	select {
	case err := <-ended:
		return err
	case <-stalled: // which ends the stream, and with it what is done for it
		return status.Errorf(codes.DeadlineExceeded, "the reader took nothing for %s", s.stall)
	}
}

// drainTime is how long streams may still take when the server is to stop. A file
// takes longer than anybody wants to wait; its reader goes on elsewhere, or later.
const drainTime = time.Second

// Serve serves on a listener of its own, with the standard health service and
// reflection, until ctx ends. It closes the listener.
func (s *Server) Serve(ctx context.Context, l net.Listener, secure *tls.Config) error {
	server := rpc.NewServer(secure, nil,
		grpc.MaxRecvMsgSize(1<<10), // requests are short
		grpc.MaxConcurrentStreams(2*maxStreams),
	)
	s.Register(server)
	if err := rpc.Serve(ctx, server, l, drainTime, rpc.Describe(server, serviceName).Shutdown); err != nil {
		return fmt.Errorf("share the bundle on %s: %w", l.Addr(), err)
	}
	return nil
}
