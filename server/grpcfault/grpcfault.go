// Package grpcfault is the one table from faults to gRPC codes. It knows nothing else.
package grpcfault

import (
	"google.golang.org/grpc/codes"

	"github.com/distinfer/distinfer/runtime/fault"
)

var table = map[fault.Code]codes.Code{
	fault.Internal:    codes.Internal,
	fault.Invalid:     codes.InvalidArgument,
	fault.TooLarge:    codes.InvalidArgument,
	fault.Overloaded:  codes.ResourceExhausted,
	fault.Unavailable: codes.Unavailable,
	fault.Mismatch:    codes.FailedPrecondition,
	fault.Deadline:    codes.DeadlineExceeded,
	fault.Canceled:    codes.Canceled,
	// Clients try UNAVAILABLE again by themselves, and here each try costs a process.
	fault.Fatal:       codes.Internal,
	fault.Quarantined: codes.InvalidArgument,
}

// Code is the gRPC code of a fault.
func Code(c fault.Code) codes.Code { return table[c] }

// Parse finds a fault by its name.
func Parse(name string) (fault.Code, bool) {
	for c := range table {
		if c.String() == name {
			return c, true
		}
	}
	return fault.Internal, false
}
