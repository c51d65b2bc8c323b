package stage

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/server/limiter"
	"github.com/distinfer/distinfer/server/replica"
)

// aloneKey is the key of the headers which say that nothing else is computed from now on.
const aloneKey = "distinfer-alone"

// goTime is how long a stage that computes nothing else waits for the caller to have noted
// that, or to have the answer.
const goTime = 2 * time.Second

// flushTime is how long an error, which ends the stream, has to leave before another run
// begins that may end the process: else the caller would take it for the one that did.
const flushTime = 10 * time.Millisecond

// runAlone is the handler of RunAlone.
func runAlone(srv any, stream grpc.ServerStream) error {
	s := srv.(*Server)
	in := new(request)
	s.receive(in)
	defer in.leave()
	if err := stream.RecvMsg(in); err != nil {
		return err
	}
	release := func() {}
	// If it ends a stage behind this one, it is to be known there as well.
	ctx := pipeline.WithSuspect(stream.Context())
	in.acquire = func(ctx context.Context) (err error) {
		if release, err = s.allSlots(ctx); err != nil {
			return err
		}
		if err := stream.SendHeader(metadata.Pairs(aloneKey, "1")); err != nil {
			return err
		}
		return s.hears(ctx, stream, nil)
	}
	out, err := s.observed(ctx, in)
	if err != nil {
		time.AfterFunc(flushTime, release)
		return toStatus(err)
	}
	defer release()
	if err := stream.SendMsg(out); err != nil {
		return err
	}
	return toStatus(s.hears(ctx, stream, io.EOF))
}

// hears waits until the caller has heard that its run is alone, or has the answer: until it
// sends another message, or closes its side.
func (s *Server) hears(ctx context.Context, stream grpc.ServerStream, want error) error {
	heard := make(chan error, 1)
	empty := &request{admission: &admission{bytes: limiter.New(0, 0)}} // not to be decoded
	go func() { heard <- stream.RecvMsg(empty) }()                     // until the stream ends at the latest
	late := time.NewTimer(goTime)
	defer late.Stop()
	select {
	case err := <-heard:
		if !errors.Is(err, want) {
			return errcode.Errorf(errcode.Invalid, "stage %d: the caller of a run did not send what it should (%w)", s.config.Rank, err)
		}
		return nil
	case <-late.C:
		return &refusal{errcode.Errorf(errcode.Overloaded, "stage %d: the caller did not take its turn within %s", s.config.Rank, goTime)}
	case <-ctx.Done():
		return ctx.Err()
	}
}

// runAlone makes one call of the replica that was picked, which is to compute nothing else
// meanwhile.
func (l *link) runAlone(ctx context.Context, route [][]string, inFlight int, in tensor.Bag) (*response, error) {
	c := l.client
	defer func() {
		c.mu.Lock()
		c.set.DoneAlone()
		c.news()
		c.mu.Unlock()
	}()
	l.mu.Lock()
	instance := l.instance
	l.mu.Unlock()
	started := time.Now()
	conn, _, err := l.connections()
	var out *response
	begun := false
	if err == nil {
		out, begun, err = invokeAlone(ctx, conn, l.request(ctx, route, inFlight, in))
	}
	if status.Code(err) == codes.Unimplemented {
		return l.run(ctx, route, inFlight, in) // a stage of an older version
	}
	l.done(started, out, err)
	if err == nil {
		return out, nil
	}
	err = l.explain(ctx, conn, err, out != nil)
	var hop hopError
	if begun && errors.As(err, &hop) && hop.loss != replica.Unsent {
		hop.loss = replica.AloneCut
		if l.died(instance) {
			hop.loss = replica.AloneDied
		}
		return nil, hop
	}
	return nil, err
}

// invokeAlone makes a call by RunAlone. begun says that from some time on the stage computed
// nothing but this call, if it computed.
func invokeAlone(ctx context.Context, conn *grpc.ClientConn, in *request) (out *response, begun bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out = &response{}
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, aloneMethod)
	if err != nil {
		return nil, false, err
	}
	if err := stream.SendMsg(in); err != nil && !errors.Is(err, io.EOF) { // RecvMsg has the reason
		return nil, false, err
	}
	if headers, err := stream.Header(); err == nil && len(headers.Get(aloneKey)) > 0 {
		begun = true
		_ = stream.SendMsg(&request{}) // RecvMsg says when it fails
	}
	if err := stream.RecvMsg(out); err != nil {
		return out, begun, err
	}
	_ = stream.CloseSend() // the stage may compute others
	return out, begun, nil
}

// lookEvery is how often a replica is looked at that may have died.
const lookEvery = 20 * time.Millisecond

// died reports whether the process that had an instance ended, as far as can be told within
// DeadAfter: nothing listens there any more, or another process answers.
func (l *link) died(instance string) bool {
	ctx, cancel := context.WithTimeout(l.gone, l.client.options.DeadAfter)
	defer cancel()
	for {
		_, conn, err := l.connections()
		if err != nil {
			return false
		}
		d, err := describe(ctx, conn)
		switch {
		case err == nil:
			return d.GetInstance() != instance
		case strings.Contains(err.Error(), "connection refused"):
			return true
		}
		select {
		case <-time.After(lookEvery):
		case <-ctx.Done():
			return false
		}
	}
}
