package bulk_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/distinfer/distinfer/runtime/errcode"
	"github.com/distinfer/distinfer/runtime/text"
	"github.com/distinfer/distinfer/runtime/textfile"
	"github.com/distinfer/distinfer/runtime/textmodel"
	"github.com/distinfer/distinfer/server/bulk"
	"github.com/distinfer/distinfer/server/front"
)

// upper answers with capitals, and fails for all when one is "bad".
func upper(_ context.Context, texts []textmodel.Input) ([]front.Reply, error) {
	if slices.ContainsFunc(texts, func(in textmodel.Input) bool { return in.Text == "bad" }) {
		return nil, errcode.Errorf(errcode.Invalid, "bad")
	}
	replies := make([]front.Reply, len(texts))
	for i, s := range texts {
		replies[i].Answer = strings.ToUpper(s.Text)
	}
	return replies, nil
}

func answered(t *testing.T, format textfile.Format, file string, answer bulk.Answerer) (lines []string, err error) {
	t.Helper()
	in, err := textfile.Open(strings.NewReader(file), textfile.Options{Format: format})
	if err != nil {
		t.Fatal(err)
	}
	err = bulk.Answer(t.Context(), in, answer, func(chunk []bulk.Line) error {
		for _, l := range chunk {
			line := fmt.Sprint(l.Line, " ", l.Answer)
			if l.Reply.Err != nil {
				line = fmt.Sprint(l.Line, " - ", l.Reply.Err)
			}
			lines = append(lines, line)
		}
		return nil
	})
	return lines, err
}

func TestABadTextFailsAlone(t *testing.T) {
	t.Parallel()
	got, err := answered(t, textfile.JSONL, "\"a\"\n\"bad\"\n\"\"\n[]\n\"b\"\n\"c\"\n", upper)
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
	got, err := answered(t, textfile.Lines, file.String(), func(ctx context.Context, texts []textmodel.Input) ([]front.Reply, error) {
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
		got, err := answered(t, textfile.Lines, "a\nb\n", func(context.Context, []textmodel.Input) ([]front.Reply, error) {
			asked++
			return nil, failure
		})
		if !errors.Is(err, failure) || asked != 1 || got != nil {
			t.Errorf("%v after %d requests, %q", err, asked, got)
		}
	}
}

// What a pipe has sent is answered while it is silent.
func TestAPipeIsAnsweredAsItComes(t *testing.T) {
	t.Parallel()
	r, w := io.Pipe()
	answers := make(chan []bulk.Line)
	go func() {
		in, err := textfile.Open(r, textfile.Options{})
		if err == nil {
			err = bulk.Answer(t.Context(), in, upper, func(lines []bulk.Line) error {
				answers <- lines
				return nil
			})
		}
		if err != nil {
			t.Error(err)
		}
		close(answers)
	}()
	for _, text := range []string{"a", "b"} {
		if _, err := io.WriteString(w, text+"\n"); err != nil {
			t.Fatal(err)
		}
		if lines := <-answers; len(lines) != 1 || lines[0].Answer != strings.ToUpper(text) {
			t.Errorf("after %q: %+v", text, lines)
		}
	}
	_ = w.Close()
	if lines, more := <-answers; more {
		t.Errorf("at the end: %+v", lines)
	}
}

func labels(_ context.Context, texts []textmodel.Input) ([]front.Reply, error) {
	replies := make([]front.Reply, len(texts))
	for i := range texts {
		replies[i].Answer = []text.Result{{Label: "good", Score: 0.5}}
	}
	return replies, nil
}

func TestTablesKeepTheColumnsOfTheInput(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, file string
		out        bulk.Output
		want       string
	}{
		{"a.csv", "id;text\r\n7;\"a; \"\"b\"\"\"\r\n8;\"c\nd\"\r\n9\r\n", bulk.Output{Form: bulk.CSV}, "id;text;label;score;error\n7;\"a; \"\"b\"\"\";good;0.500000;\n8;\"c\nd\";good;0.500000;\n9;;;;there are 1 columns, and the text should be in column 2\n"},
		{"a.csv", "\ufefftext,label\na,1\n", bulk.Output{Form: bulk.TSV}, "\ufefftext\tlabel\tpredicted_label\tscore\terror\na\t1\tgood\t0.500000\t\n"},
		{"a.txt", "a\n", bulk.Output{Form: bulk.CSV}, "text,label,score,error\na,good,0.500000,\n"},
		{"a.jsonl", "{\"id\": 1, \"text\": \"a\"}\n", bulk.Output{Form: bulk.CSV}, "id,text,label,score,error\n1,a,good,0.500000,\n"},
		{"a.txt", "a\n", bulk.Output{Form: bulk.CSV, Answer: "entities"}, "text,entities,error\na,\"[{\"\"label\"\":\"\"good\"\",\"\"score\"\":0.5}]\",\n"},
		{"a.jsonl", "{\"id\":1,\"text\":\"a\"}\n", bulk.Output{Form: bulk.JSON, Keep: true}, "{\"line\":1,\"label\":\"good\",\"score\":0.5,\"scores\":{\"good\":0.5},\"input\":{\"id\":1,\"text\":\"a\"}}\n"},
	} {
		in, err := textfile.Open(strings.NewReader(c.file), textfile.Options{Name: c.name})
		if err != nil {
			t.Fatal(err)
		}
		c.out.About = in.About
		var out, errs strings.Builder
		w := bulk.NewWriter(c.out, &out, &errs)
		_ = w.Finish(bulk.Answer(t.Context(), in, labels, w.Write))
		if out.String() != c.want {
			t.Errorf("%s as %s:\n%q, want\n%q", c.name, c.out.Form, out.String(), c.want)
		}
	}
}
