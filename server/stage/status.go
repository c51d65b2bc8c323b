package stage

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/server/rpc"
)

// refusedKey is the key of the metadata of a refusal.
const refusedKey = "refused"

// A refusal is an error of a stage that computed nothing for the call: another
// replica may take it.
type refusal struct{ error }

func (e *refusal) Unwrap() error { return e.error }

// An answered error is one that a stage answered, as against one of the way there.
type answered struct {
	error
	refused bool // by the stage that was called, not by one behind it
}

func (e *answered) Unwrap() error { return e.error }

// toStatus makes a gRPC status of an error.
func toStatus(err error) error {
	if errors.As(err, new(*refusal)) {
		return rpc.Status(err, map[string]string{refusedKey: "true"})
	}
	return rpc.Status(err, nil)
}

// fromStatus is the inverse of toStatus. peer names the stage that was called;
// it is put into errors that are the transport's, since a stage's own errors
// name the stage they come from.
func fromStatus(ctx context.Context, err error, peer string) error {
	if err == nil {
		return nil
	}
	s, ok := status.FromError(err)
	if !ok {
		return fmt.Errorf("%s: %w", peer, err)
	}
	if metadata, coded := rpc.Coded(s); coded != nil {
		return &answered{coded, metadata[refusedKey] != ""}
	}
	switch s.Code() {
	case codes.Unavailable:
		return errcode.Errorf(errcode.Unavailable, "%s is unreachable: %s%s", peer, rpc.Cause(s.Message()), remedy(s.Message()))
	case codes.ResourceExhausted: // the transport's word for a message over its limit
		return errcode.Errorf(errcode.TooLarge, "%s: %s; raise the largest message on both sides, or send fewer or shorter texts at a time", peer, s.Message())
	case codes.DeadlineExceeded:
		return errcode.Errorf(errcode.Deadline, "%s did not answer in the time allowed", peer)
	case codes.Canceled:
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return errcode.Errorf(errcode.Unavailable, "%s broke off the call", peer)
	case codes.Unimplemented:
		return errcode.Errorf(errcode.Mismatch, "%s is not a stage of distinfer, or of another version: %s", peer, s.Message())
	}
	return fmt.Errorf("%s: %s", peer, s.Message())
}

// remedies say what to do about what the transport reports, by a part of its message.
var remedies = []struct{ part, remedy string }{
	{"error reading server preface: EOF", "it ends connections without TLS: give certificates here as well"},
	{"first record does not look like a TLS handshake", "it has no TLS: start it with certificates, or use none here"},
	{"signed by unknown authority", "make the folders of all machines with one `distinfer certs`"},
	{"tls: certificate required", "it wants a certificate: give a folder of `distinfer certs`"},
	{"tls: unknown certificate authority", "make the folders of all machines with one `distinfer certs`"},
	{"certificate has expired", "renew it with `distinfer certs`, and compare the clocks"},
}

// remedy is what to do about a transport's error, put behind it, or nothing.
func remedy(msg string) string {
	for _, r := range remedies {
		if strings.Contains(msg, r.part) {
			return "; " + r.remedy
		}
	}
	return ""
}
