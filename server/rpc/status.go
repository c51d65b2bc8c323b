package rpc

import (
	"errors"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/distinfer/distinfer/runtime/errcode"
)

// table maps error codes to gRPC codes.
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

// domain marks statuses that Status made, as against the transport's.
const domain = "distinfer"

// Status is an error as a gRPC status. Its error code's own name goes along with the
// metadata, so that Coded loses nothing. Nil stays nil, and a status stays itself.
func Status(err error, metadata map[string]string) error {
	if _, is := status.FromError(err); is {
		return err // also nil
	}
	code := errcode.Of(err)
	s := status.New(table[code], message(err))
	detailed, errDetail := s.WithDetails(&errdetails.ErrorInfo{Domain: domain, Reason: code.String(), Metadata: metadata})
	if errDetail != nil {
		return s.Err()
	}
	return detailed.Err()
}

// WithCode is an error as a gRPC status of a code that no error code stands for, such as
// NOT_FOUND. Nil stays nil.
func WithCode(code codes.Code, err error) error {
	if err == nil {
		return nil
	}
	return status.Error(code, message(err))
}

// message is an error's. A status travels as protobuf, whose strings are UTF-8; a message
// may quote bytes or paths that are not.
func message(err error) string { return strings.ToValidUTF8(err.Error(), "\ufffd") }

// Coded is the error that Status made a status of, with its metadata. It is nil for the
// transport's own statuses, and for those of others.
func Coded(s *status.Status) (metadata map[string]string, err error) {
	for _, d := range s.Details() {
		info, is := d.(*errdetails.ErrorInfo)
		if !is || info.GetDomain() != domain {
			continue
		}
		for code := range table {
			if code.String() == info.GetReason() {
				return info.GetMetadata(), errcode.Wrap(code, errors.New(s.Message()))
			}
		}
	}
	return nil, nil
}

// Cause is the innermost reason in the transport's message about a connection.
func Cause(msg string) string {
	for _, before := range []string{"Error while dialing: ", `desc = "`} {
		if i := strings.LastIndex(msg, before); i >= 0 {
			return strings.TrimSuffix(msg[i+len(before):], `"`)
		}
	}
	return msg
}
