package batch

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/distinfer/distinfer/runtime/classify"
	"github.com/distinfer/distinfer/runtime/classify/classifytest"
	"github.com/distinfer/distinfer/runtime/textmodel"
)

func TestBytesThatAreTokenisedAtOnceAreBounded(t *testing.T) {
	t.Parallel()
	c, err := classify.Open(classifytest.Usual.Bundle(t), &classifytest.Sums{})
	if err != nil {
		t.Fatal(err)
	}
	b := New(Config{Model: c.Model, MaxTexts: 2, Begin: 2, Log: slog.New(slog.DiscardHandler)})
	large := strings.Repeat("w1 ", smallText)
	if err := b.encoders.large.Acquire(t.Context(), largeAtOnce); err != nil { // by somebody else's text
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() {
		answers, _, err := b.Answer(t.Context(), textmodel.Inputs([]string{large}))
		if err == nil {
			err = answers[0].Err
		}
		answered <- err
	}()
	for b.encoders.large.Waiting() == 0 {
		time.Sleep(time.Millisecond)
	}
	// A small one does not wait for it.
	if answers, _, err := b.Answer(t.Context(), textmodel.Inputs([]string{"w1"})); err != nil || answers[0].Err != nil {
		t.Errorf("a small text: %v", err)
	}
	// Nor does one for ever whose time is up, and it leaves nothing behind.
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, _, err := b.Answer(ctx, textmodel.Inputs([]string{large})); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("without time: %v", err)
	}
	select {
	case err := <-answered:
		t.Fatalf("answered beside as many bytes as may be: %v", err)
	default:
	}
	b.encoders.large.Release(largeAtOnce)
	if err := <-answered; err != nil {
		t.Error(err)
	}
	if s := b.Stats(); s.Busy != 0 || b.encoders.large.InUse() != 0 || b.encoders.small.InUse() != 0 {
		t.Errorf("left behind: %+v, %d and %d bytes", s, b.encoders.large.InUse(), b.encoders.small.InUse())
	}
	// One that is larger than all that may be is tokenised alone.
	if answers, _, err := b.Answer(t.Context(), textmodel.Inputs([]string{strings.Repeat("w1 ", largeAtOnce/2)})); err != nil || answers[0].Err != nil || !answers[0].Tokens.Truncated {
		t.Errorf("a very large text: %v", err)
	}
}
