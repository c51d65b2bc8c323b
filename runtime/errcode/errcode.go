// Package errcode classifies failures by who has to act on them, so that one table maps errors to
// gRPC codes and one to HTTP statuses.
//
// It knows neither gRPC nor HTTP; the packages that speak them translate.
package errcode

import (
	"context"
	"errors"
	"fmt"
)

// A Code says who has to act on a failure.
type Code int

// The codes, from "nothing is known" to the most particular.
const (
	Internal    Code = iota // a bug or a broken machine: the operator must act
	Invalid                 // the request is wrong: the caller must act
	TooLarge                // the request is larger than a limit
	Overloaded              // no capacity now: try again later
	Unavailable             // a stage cannot be reached: try again, or start it
	Mismatch                // two sides hold different bundles, ranks or versions
	Deadline                // the time allowed ran out
	Canceled                // the caller gave up
	Fatal                   // the input ended the process that computed it: do not retry
	Quarantined             // the input did so a while ago, and is refused for a time
)

var names = [...]string{"internal", "invalid", "too large", "overloaded", "unavailable", "mismatch", "deadline", "canceled", "fatal", "quarantined"}

// String is the code's name, for logs.
func (c Code) String() string {
	if c < 0 || int(c) >= len(names) {
		return fmt.Sprintf("code(%d)", int(c))
	}
	return names[c]
}

type coded struct {
	code Code
	err  error
}

func (e *coded) Error() string { return e.err.Error() }
func (e *coded) Unwrap() error { return e.err }

// Errorf is fmt.Errorf with a code.
func Errorf(c Code, format string, args ...any) error {
	return &coded{c, fmt.Errorf(format, args...)}
}

// Wrap gives err a code; nil stays nil.
func Wrap(c Code, err error) error {
	if err == nil {
		return nil
	}
	return &coded{c, err}
}

// Of is the code of the outermost coded error in err's chain; a context's
// own errors have theirs, and everything else is Internal.
func Of(err error) Code {
	var e *coded
	switch {
	case errors.As(err, &e):
		return e.code
	case errors.Is(err, context.DeadlineExceeded):
		return Deadline
	case errors.Is(err, context.Canceled):
		return Canceled
	}
	return Internal
}

// Deadly reports whether err is about an input that ends processes. A caller that split a run of
// several inputs to find it computes each of them alone, and does not retry the whole.
func Deadly(err error) bool {
	c := Of(err)
	return err != nil && (c == Fatal || c == Quarantined)
}
