// Package grpcfault is the one table from faults to gRPC codes. It knows nothing else.
package grpcfault

import (
	"google.golang.org/grpc/codes"

	"github.com/distinfer/distinfer/runtime/errcode"
)

var table = map[errcode.Code]codes.Code{
	errcode.Internal:    codes.Internal,
	errcode.Invalid:     codes.InvalidArgument,
	errcode.TooLarge:    codes.InvalidArgument,
	errcode.Overloaded:  codes.ResourceExhausted,
	errcode.Unavailable: codes.Unavailable,
	errcode.Mismatch:    codes.FailedPrecondition,
	errcode.Deadline:    codes.DeadlineExceeded,
	errcode.Canceled:    codes.Canceled,
	// Clients try UNAVAILABLE again by themselves, and here each try costs a process.
	errcode.Fatal:       codes.Internal,
	errcode.Quarantined: codes.InvalidArgument,
}

// Code is the gRPC code of a fault.
func Code(c errcode.Code) codes.Code { return table[c] }

// Parse finds a fault by its name.
func Parse(name string) (errcode.Code, bool) {
	for c := range table {
		if c.String() == name {
			return c, true
		}
	}
	return errcode.Internal, false
}
