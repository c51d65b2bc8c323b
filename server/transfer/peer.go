package transfer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/distinfer/distinfer/server/rpc"
	"github.com/distinfer/distinfer/server/transfer/transferpb"
)

// A peer is a machine to fetch from.
type peer struct {
	address string
	conn    *grpc.ClientConn
	err     error // of the last try
}

func dial(address string, secure func() *tls.Config) (*peer, error) {
	// A peer that was restarted should be found soon.
	soon := backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 500 * time.Millisecond}
	conn, err := rpc.Dial("passthrough:///"+address, rpc.Client{TLS: secure, Backoff: soon},
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxChunk+framing)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", address, err)
	}
	return &peer{address: address, conn: conn}, nil
}

// errStalled ends a stream on which nothing comes.
var errStalled = errors.New("it sent nothing for too long")

// receive calls a method of a peer and hands over what it sends, piece by piece.
// It gives up when nothing comes for the given time.
func (p *peer) receive(ctx context.Context, method string, in proto.Message, stall time.Duration, take func([]byte) error) error {
	streaming, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(stall, func() { cancel(errStalled) })
	defer timer.Stop()
	stream, err := p.conn.NewStream(streaming, &grpc.StreamDesc{ServerStreams: true}, method)
	if err == nil {
		if err = stream.SendMsg(in); errors.Is(err, io.EOF) {
			err = nil // RecvMsg tells why
		}
	}
	if err == nil {
		err = stream.CloseSend()
	}
	chunk := &transferpb.Chunk{}
	for err == nil {
		chunk.Reset()
		if err = stream.RecvMsg(chunk); err != nil {
			break
		}
		timer.Stop() // the time that a disk takes is not the peer's
		if err := take(chunk.GetData()); err != nil {
			return err
		}
		timer.Reset(stall)
	}
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case context.Cause(ctx) != nil:
		return context.Cause(ctx)
	case context.Cause(streaming) != nil:
		return context.Cause(streaming)
	}
	return explain(err)
}

// A lastingError is one that the same call would meet again.
type lastingError struct{ error }

func (e lastingError) Unwrap() error { return e.error }

func lasting(err error) bool {
	var l lastingError
	return errors.As(err, &l)
}

// explain is what a peer's or the transport's status means.
func explain(err error) error {
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	switch s.Code() {
	case codes.Unavailable:
		return fmt.Errorf("unreachable: %s", rpc.Cause(s.Message()))
	case codes.Unimplemented:
		return lastingError{fmt.Errorf("it shares no bundle, or is of another version: %s", s.Message())}
	case codes.NotFound, codes.OutOfRange, codes.DataLoss, codes.InvalidArgument, codes.PermissionDenied, codes.Unauthenticated:
		return lastingError{errors.New(s.Message())}
	}
	return errors.New(s.Message())
}
