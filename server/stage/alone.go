package stage

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/distinfer/distinfer/runtime/fault"
)

// aloneKey is the key of the headers which say that nothing else is computed from now on.
const aloneKey = "distinfer-alone"

// goTime is how long a stage that computes nothing else waits for the caller to have noted
// that. It need not be long: a network that takes longer costs the caller another try.
const goTime = 2 * time.Second

// runAlone is the handler of RunAlone.
func runAlone(srv any, stream grpc.ServerStream) error {
	s := srv.(*Server)
	in := new(request)
	if err := stream.RecvMsg(in); err != nil {
		return err
	}
	in.acquire = func(ctx context.Context) (release func(), err error) {
		if release, err = s.allSlots(ctx); err != nil {
			return nil, err
		}
		if err = s.begun(ctx, stream); err != nil {
			release()
			return nil, err
		}
		return release, nil
	}
	out, err := s.observed(stream.Context(), in)
	if err != nil {
		return toStatus(err)
	}
	return stream.SendMsg(out)
}

// begun tells the caller that its run is alone, and waits until it knows.
func (s *Server) begun(ctx context.Context, stream grpc.ServerStream) error {
	if err := stream.SendHeader(metadata.Pairs(aloneKey, "1")); err != nil {
		return err
	}
	closed := make(chan error, 1)
	go func() { closed <- stream.RecvMsg(new(request)) }() // until the stream ends at the latest
	late := time.NewTimer(goTime)
	defer late.Stop()
	select {
	case err := <-closed:
		if !errors.Is(err, io.EOF) {
			return fault.Errorf(fault.Invalid, "stage %d: more than one message for a run", s.Rank)
		}
		return nil
	case <-late.C:
		return &refusal{fault.Errorf(fault.Overloaded, "stage %d: the caller did not take its turn within %s", s.Rank, goTime)}
	case <-ctx.Done():
		return ctx.Err()
	}
}

// allSlots waits until nothing is computed, and has that stay so.
func (s *Server) allSlots(ctx context.Context) (release func(), err error) {
	select {
	case s.turn <- struct{}{}: // two that each hold some of the slots would wait for ever
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	var held []func()
	release = func() {
		for _, r := range held {
			r()
		}
	}
	for range s.Runs {
		one, err := s.slot(ctx)
		if err != nil {
			release()
			return nil, err
		}
		held = append(held, one)
	}
	return release, nil
}
