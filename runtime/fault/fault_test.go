package fault_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/distinfer/distinfer/runtime/fault"
)

var all = []fault.Code{
	fault.Internal, fault.Invalid, fault.TooLarge, fault.Overloaded,
	fault.Unavailable, fault.Mismatch, fault.Deadline, fault.Canceled,
	fault.Fatal, fault.Quarantined,
}

func TestCodeSurvivesWrapping(t *testing.T) {
	t.Parallel()
	for _, c := range all {
		for name, err := range map[string]error{
			"made":          fault.Errorf(c, "boom"),
			"given":         fault.Wrap(c, errors.New("boom")),
			"wrapped":       fmt.Errorf("stage 1: %w", fault.Errorf(c, "boom")),
			"wrapped twice": fmt.Errorf("front: %w", fmt.Errorf("stage 1: %w", fault.Errorf(c, "boom"))),
			"joined":        errors.Join(errors.New("other"), fault.Errorf(c, "boom")),
			"outermost":     fault.Wrap(c, fmt.Errorf("stage 1: %w", fault.Errorf((c+1)%fault.Code(len(all)), "boom"))),
			"over context":  fault.Wrap(c, context.DeadlineExceeded),
		} {
			if got := fault.CodeOf(err); got != c {
				t.Errorf("%s: %q has code %q, want %q", name, err, got, c)
			}
		}
	}
}

func TestCodeOfErrorsWithoutOne(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err  error
		want fault.Code
	}{
		"plain":            {errors.New("boom"), fault.Internal},
		"deadline":         {context.DeadlineExceeded, fault.Deadline},
		"wrapped deadline": {fmt.Errorf("run: %w", context.DeadlineExceeded), fault.Deadline},
		"canceled":         {context.Canceled, fault.Canceled},
		"wrapped canceled": {fmt.Errorf("run: %w", context.Canceled), fault.Canceled},
	} {
		if got := fault.CodeOf(c.err); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestWrappingKeepsMessageAndCause(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"Wrap":   fault.Wrap(fault.Invalid, fmt.Errorf("read: %w", io.ErrUnexpectedEOF)),
		"Errorf": fault.Errorf(fault.Invalid, "read: %w", io.ErrUnexpectedEOF),
	} {
		if want := "read: unexpected EOF"; err.Error() != want {
			t.Errorf("%s: %q, want %q", name, err, want)
		}
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s hides its cause", name)
		}
	}
	if err := fault.Wrap(fault.Invalid, nil); err != nil {
		t.Errorf("Wrap makes an error of nil: %v", err)
	}
}

// The names go over the network: two codes of one name would be one code.
func TestCodesHaveNamesOfTheirOwn(t *testing.T) {
	t.Parallel()
	seen := map[string]fault.Code{}
	for _, c := range all {
		name := c.String()
		if other, twice := seen[name]; twice {
			t.Errorf("codes %d and %d are both %q", other, c, name)
		}
		seen[name] = c
	}
	if got := fault.Code(-1).String(); got != "code(-1)" {
		t.Errorf("code -1 is %q", got)
	}
	if next := fault.Code(len(all)); next.String() != fmt.Sprintf("code(%d)", len(all)) {
		t.Errorf("a code was added: %q; add it to these tests", next)
	}
}

func TestDeadlyAreInputsThatEndProcesses(t *testing.T) {
	t.Parallel()
	for _, c := range all {
		if got, want := fault.Deadly(fmt.Errorf("stage 1: %w", fault.Errorf(c, "boom"))), c == fault.Fatal || c == fault.Quarantined; got != want {
			t.Errorf("%s: %v", c, got)
		}
	}
	if fault.Deadly(nil) {
		t.Error("no error is deadly")
	}
}
