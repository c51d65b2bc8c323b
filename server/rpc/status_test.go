package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/server/rpc"
)

func TestAnErrorArrivesWithItsCodeAndMetadata(t *testing.T) {
	t.Parallel()
	for _, code := range []errcode.Code{
		errcode.Internal, errcode.Invalid, errcode.TooLarge, errcode.Overloaded, errcode.Unavailable, errcode.Mismatch,
		errcode.Deadline, errcode.Canceled, errcode.Fatal, errcode.Quarantined,
	} {
		sent := rpc.Status(fmt.Errorf("rank 1: %w", errcode.Errorf(code, "no \xff")), map[string]string{"refused": "true"})
		s := status.Convert(sent)
		metadata, got := rpc.Coded(s)
		if got == nil || errcode.Of(got) != code || metadata["refused"] != "true" {
			t.Errorf("%s arrives as %v with %v", code, got, metadata)
		}
		if s.Code() == codes.OK || s.Code() == codes.Unknown || !utf8.ValidString(s.Message()) {
			t.Errorf("%s is the status %s: %q", code, s.Code(), s.Message())
		}
		if again := rpc.Status(sent, nil); again != sent { //nolint:errorlint // the very same
			t.Errorf("a status became another: %v", again)
		}
	}
	if s := status.Convert(rpc.Status(context.DeadlineExceeded, nil)); s.Code() != codes.DeadlineExceeded {
		t.Errorf("a deadline is %s", s.Code())
	}
}

func TestAStatusOfOthersIsNotCoded(t *testing.T) {
	t.Parallel()
	if _, err := rpc.Coded(status.New(codes.Unavailable, "connection refused")); err != nil {
		t.Errorf("the transport's status is %v", err)
	}
	if s := status.Convert(rpc.WithCode(codes.NotFound, errors.New("no \xff"))); s.Code() != codes.NotFound || !utf8.ValidString(s.Message()) {
		t.Errorf("%s: %q", s.Code(), s.Message())
	}
	if rpc.Status(nil, nil) != nil || rpc.WithCode(codes.NotFound, nil) != nil {
		t.Error("nil became an error")
	}
}

func TestTheCauseOfAConnectionsErrorIsTheInnermost(t *testing.T) {
	t.Parallel()
	for msg, want := range map[string]string{
		`connection error: desc = "transport: Error while dialing: dial tcp 127.0.0.1:1: connect: connection refused"`: "dial tcp 127.0.0.1:1: connect: connection refused",
		`connection error: desc = "error reading server preface: EOF"`:                                                 "error reading server preface: EOF",
		"the stage ends": "the stage ends",
	} {
		if got := rpc.Cause(msg); got != want {
			t.Errorf("the cause of %s is %s", msg, got)
		}
	}
}
