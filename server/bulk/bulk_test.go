package bulk_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/textfile"
	"github.com/distinfer/distinfer/server/bulk"
	"github.com/distinfer/distinfer/server/front"
)

// upper answers with capitals, and fails for all when one is "bad".
func upper(_ context.Context, texts []string) ([]front.Reply, error) {
	if slices.Contains(texts, "bad") {
		return nil, errcode.Errorf(errcode.Invalid, "bad")
	}
	replies := make([]front.Reply, len(texts))
	for i, s := range texts {
		replies[i].Answer = strings.ToUpper(s)
	}
	return replies, nil
}

func answered(t *testing.T, in textfile.Reader, file string, answer bulk.Answerer) (lines []string, err error) {
	t.Helper()
	err = bulk.Answer(t.Context(), in, strings.NewReader(file), answer, func(chunk []bulk.Line) error {
		for _, l := range chunk {
			line := fmt.Sprint(l.Number, " ", l.Answer)
			if l.Err != nil {
				line = fmt.Sprint(l.Number, " - ", l.Err)
			}
			lines = append(lines, line)
		}
		return nil
	})
	return lines, err
}

func TestABadTextFailsAlone(t *testing.T) {
	t.Parallel()
	got, err := answered(t, textfile.Reader{Format: textfile.JSONL}, "\"a\"\n\"bad\"\n\"\"\n[]\n\"b\"\n\"c\"\n", upper)
	want := []string{"1 A", "2 - bad", "3 - the text is empty", "4 - not a JSON string or object", "5 B", "6 C"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
}

func TestManyTextsKeepTheirOrder(t *testing.T) {
	t.Parallel()
	var file strings.Builder
	for i := range 3*bulk.Chunk + 1 {
		fmt.Fprintf(&file, "x%d\n", i)
	}
	most := 0
	got, err := answered(t, textfile.Reader{Format: textfile.Lines}, file.String(), func(ctx context.Context, texts []string) ([]front.Reply, error) {
		most = max(most, len(texts))
		return upper(ctx, texts)
	})
	if err != nil || len(got) != 3*bulk.Chunk+1 || most != bulk.Chunk {
		t.Fatalf("%d answers, %d at a time: %v", len(got), most, err)
	}
	for i, line := range got {
		if want := fmt.Sprintf("%d X%d", i+1, i); line != want {
			t.Fatalf("line %q, want %q", line, want)
		}
	}
}

func TestAFailureOfWhatAnswersEndsIt(t *testing.T) {
	t.Parallel()
	for _, failure := range []error{errcode.Errorf(errcode.Unavailable, "gone"), errors.Join(errcode.Errorf(errcode.Overloaded, "full"))} {
		asked := 0
		got, err := answered(t, textfile.Reader{Format: textfile.Lines}, "a\nb\n", func(context.Context, []string) ([]front.Reply, error) {
			asked++
			return nil, failure
		})
		if !errors.Is(err, failure) || asked != 1 || got != nil {
			t.Errorf("%v after %d requests, %q", err, asked, got)
		}
	}
}
