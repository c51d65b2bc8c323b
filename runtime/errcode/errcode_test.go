package errcode_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/distinfer/distinfer/runtime/errcode"
)

var all = []errcode.Code{
	errcode.Internal, errcode.Invalid, errcode.TooLarge, errcode.Overloaded,
	errcode.Unavailable, errcode.Mismatch, errcode.Deadline, errcode.Canceled,
	errcode.Fatal, errcode.Quarantined,
}

func TestCodeSurvivesWrapping(t *testing.T) {
	t.Parallel()
	for _, c := range all {
		for name, err := range map[string]error{
			"made":          errcode.Errorf(c, "boom"),
			"given":         errcode.Wrap(c, errors.New("boom")),
			"wrapped":       fmt.Errorf("stage 1: %w", errcode.Errorf(c, "boom")),
			"wrapped twice": fmt.Errorf("front: %w", fmt.Errorf("stage 1: %w", errcode.Errorf(c, "boom"))),
			"joined":        errors.Join(errors.New("other"), errcode.Errorf(c, "boom")),
			"outermost":     errcode.Wrap(c, fmt.Errorf("stage 1: %w", errcode.Errorf((c+1)%errcode.Code(len(all)), "boom"))),
			"over context":  errcode.Wrap(c, context.DeadlineExceeded),
		} {
			if got := errcode.Of(err); got != c {
				t.Errorf("%s: %q has code %q, want %q", name, err, got, c)
			}
		}
	}
}

func TestCodeOfErrorsWithoutOne(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err  error
		want errcode.Code
	}{
		"plain":            {errors.New("boom"), errcode.Internal},
		"deadline":         {context.DeadlineExceeded, errcode.Deadline},
		"wrapped deadline": {fmt.Errorf("run: %w", context.DeadlineExceeded), errcode.Deadline},
		"canceled":         {context.Canceled, errcode.Canceled},
		"wrapped canceled": {fmt.Errorf("run: %w", context.Canceled), errcode.Canceled},
	} {
		if got := errcode.Of(c.err); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestWrappingKeepsMessageAndCause(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"Wrap":   errcode.Wrap(errcode.Invalid, fmt.Errorf("read: %w", io.ErrUnexpectedEOF)),
		"Errorf": errcode.Errorf(errcode.Invalid, "read: %w", io.ErrUnexpectedEOF),
	} {
		if want := "read: unexpected EOF"; err.Error() != want {
			t.Errorf("%s: %q, want %q", name, err, want)
		}
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s hides its cause", name)
		}
	}
	if err := errcode.Wrap(errcode.Invalid, nil); err != nil {
		t.Errorf("Wrap makes an error of nil: %v", err)
	}
}

// The names go over the network: two codes of one name would be one code.
func TestCodesHaveNamesOfTheirOwn(t *testing.T) {
	t.Parallel()
	seen := map[string]errcode.Code{}
	for _, c := range all {
		name := c.String()
		if other, twice := seen[name]; twice {
			t.Errorf("codes %d and %d are both %q", other, c, name)
		}
		seen[name] = c
	}
	if got := errcode.Code(-1).String(); got != "code(-1)" {
		t.Errorf("code -1 is %q", got)
	}
	if next := errcode.Code(len(all)); next.String() != fmt.Sprintf("code(%d)", len(all)) {
		t.Errorf("a code was added: %q; add it to these tests", next)
	}
}

func TestDeadlyAreInputsThatEndProcesses(t *testing.T) {
	t.Parallel()
	for _, c := range all {
		if got, want := errcode.Deadly(fmt.Errorf("stage 1: %w", errcode.Errorf(c, "boom"))), c == errcode.Fatal || c == errcode.Quarantined; got != want {
			t.Errorf("%s: %v", c, got)
		}
	}
	if errcode.Deadly(nil) {
		t.Error("no error is deadly")
	}
}
