package verify_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/classify"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/runtime/textmodel"
	"github.com/distinfer/distinfer/split"
	"github.com/distinfer/distinfer/split/enginetest"
	"github.com/distinfer/distinfer/split/onnxfile/onnxtest"
	"github.com/distinfer/distinfer/split/verify"
)

// labels opens the text model of a bundle of a classifier.
func labels(b *bundle.Bundle) (*textmodel.Model, error) {
	c, err := classify.Open(b, nil)
	if err != nil {
		return nil, err
	}
	return c.Answered(), nil
}

// textModel lays out a model as an export does.
func textModel(t *testing.T, model []byte, tokenizer string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"model.onnx": string(model), bundle.TokenizerName: tokenizer, bundle.ConfigName: onnxtest.TextConfig} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "model.onnx")
}

// What rows depend on is found out by running, whatever it is, in one stage and in
// several, with and without verification.
func TestWhichTextsMayBeComputedTogetherIsFoundOut(t *testing.T) {
	t.Parallel()
	e := enginetest.New(t)
	const none, right, left, any = "none", "right", "left", "right left"
	for kind, want := range map[string]struct{ sides, reason string }{
		"nothing":                           {any, ""},
		"a place":                           {right, "of texts padded on the left, some have another answer than alone"},
		"the last of the batch's tokens":    {left, "of texts padded on the right, some have another answer than alone"},
		"padding":                           {"", "of texts padded on the right, some have another answer than alone"},
		"padding that integers do not hold": {"", "of texts padded on the left, some have another answer than alone"},
		"rows by an id":                     {none, "of texts of equal length computed together, "},
		"the mean of the batch":             {none, "of texts of equal length computed together, some have another answer than alone"},
		"one id of many in the batch":       {none, "of texts of equal length computed together, some have another answer than alone"},
		"the largest of the batch":          {none, "of texts of equal length computed together, some have another answer than alone"},
	} {
		for _, verified := range []bool{true, false} {
			t.Run(kind, func(t *testing.T) {
				t.Parallel()
				path := textModel(t, onnxtest.TextModel(kind), onnxtest.TextTokenizer("null"))
				o := split.Options{Stages: 2, Out: filepath.Join(t.TempDir(), "stages"), Verify: verified, Texts: labels}
				report, err := split.Split(context.Background(), path, e, o)
				if err != nil {
					t.Fatal(err)
				}
				b, err := bundle.Open(o.Out)
				if err != nil {
					t.Fatal(err)
				}
				if b.ID != report.Bundle || b.Rows == nil || b.Rows.Independent != (want.sides != none) || !strings.Contains(b.Rows.Reason, want.reason) {
					t.Fatalf("the rows are %+v, want %+v", b.Rows, want)
				}
				if sides := strings.Join(b.Rows.Padding, " "); want.sides != none && sides != want.sides {
					t.Errorf("padded on the %q, want %q: %s", sides, want.sides, b.Rows.Reason)
				}
				if r := report.Rows; r.Texts < 20 || r.Batches < 15 {
					t.Errorf("of %d texts and %d batches", r.Texts, r.Batches)
				}
				if _, err := json.Marshal(report); err != nil {
					t.Error(err)
				}
				v, err := verify.Verify(context.Background(), e, b, verify.Options{Model: path, Texts: labels})
				if err != nil || want.sides != none && !slices.Equal(v.Rows.Padding, b.Rows.Padding) {
					t.Errorf("verified later: %+v, %v", v, err)
				}
			})
		}
	}
}

// Whole and stages are compared on texts, whatever the model makes of generated ids; also where
// a text that works alone fails beside others.
func TestStagesAreComparedOnTexts(t *testing.T) {
	t.Parallel()
	e := enginetest.New(t)
	for kind, batches := range map[string]bool{"nothing": true, "rows by an id": false} {
		path := textModel(t, onnxtest.TextModel(kind), onnxtest.TextTokenizer("null"))
		o := split.Options{Stages: 2, Out: filepath.Join(t.TempDir(), "stages"), Verify: true, Texts: labels}
		report, err := split.Split(t.Context(), path, e, o)
		if err != nil {
			t.Fatal(err)
		}
		v := report.Verification
		if x := v.Texts; x == nil || x.Alone < 20 || batches && x.Batches < 3 || x.Longest > x.Most || v.Against != verify.AgainstWhole || v.StagesRun != 2 || len(v.Unverified) > 0 {
			t.Errorf("%s: %+v of %+v", kind, v.Texts, v)
		}
		if len(v.Kinds) == 0 || v.Kinds[0].Kind != "texts" && v.Kinds[len(v.Kinds)-1].Kind != "batches" {
			t.Errorf("%s: %+v", kind, v.Kinds)
		}
		b, err := bundle.Open(o.Out)
		if err != nil {
			t.Fatal(err)
		}
		// Without the whole model they run all the same, also where the manifest tells that
		// nothing may be computed together.
		b.Rows = &bundle.Rows{Reason: "so it is"}
		alone, err := verify.Verify(t.Context(), e, b, verify.Options{Texts: labels})
		if err != nil || alone.Texts == nil || alone.Texts.Alone < 10 || alone.StagesRun != 2 || alone.Rows != nil {
			t.Errorf("%s: %+v, %v", kind, alone, err)
		}
		o.Force = true
		if _, err := split.Split(t.Context(), path, rounding{e, 1e-2, true}, o); err == nil || !strings.Contains(err.Error(), "the split is wrong: output \"logits\" on ") {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

// A model that computes one length only, which its inputs do not tell, is refused, since most of
// its texts could not be answered.
func TestAModelThatCannotComputeItsTextsIsRefused(t *testing.T) {
	t.Parallel()
	e := enginetest.New(t)
	var g onnxtest.Graph
	g.Input("input_ids", int64(tensor.Int64), "batch", "sequence")
	g.Ints("shape", []int64{2}, 1, 6)
	g.Floats("w", []int64{6, 2}, []float32{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12})
	g.Node("Reshape", []string{"input_ids", "shape"}, []string{"six"})
	g.Node("Cast", []string{"six"}, []string{"x"}, onnxtest.IntAttr("to", int64(tensor.Float32)))
	g.Node("MatMul", []string{"x", "w"}, []string{"logits"})
	g.Output("logits", int64(tensor.Float32), "batch", 2)
	path := textModel(t, g.Model(), onnxtest.TextTokenizer("null"))
	for _, verified := range []bool{true, false} {
		out := filepath.Join(t.TempDir(), "stages")
		_, err := split.Split(t.Context(), path, e, split.Options{Stages: 1, Out: out, Verify: verified, Texts: labels})
		var texts *split.TextsError
		if !errors.As(err, &texts) || !strings.Contains(err.Error(), " texts that were tried cannot be computed (") || !strings.Contains(err.Error(), "Reshape") {
			t.Errorf("%v", err)
		}
		if _, err := os.Stat(out); err == nil {
			t.Error("a bundle was left")
		}
	}
}

// A bundle that lets more be computed together than may be is refused by verify.
func TestVerifyHoldsABundleToWhatItSaysOfRows(t *testing.T) {
	t.Parallel()
	e := enginetest.New(t)
	for kind, claims := range map[string]bundle.Rows{
		"rows by an id": {Independent: true},
		"a place":       {Independent: true, Padding: []string{bundle.Right, bundle.Left}},
	} {
		path := textModel(t, onnxtest.TextModel(kind), onnxtest.TextTokenizer("null"))
		out := filepath.Join(t.TempDir(), "stages")
		if _, err := split.Split(context.Background(), path, e, split.Options{Stages: 1, Out: out, Texts: labels}); err != nil {
			t.Fatal(err)
		}
		b, err := bundle.Open(out)
		if err != nil {
			t.Fatal(err)
		}
		b.Rows = &claims
		if _, err := verify.Verify(context.Background(), e, b, verify.Options{Texts: labels}); err == nil || !strings.Contains(err.Error(), "the bundle lets be computed together texts of") {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

// What cannot be tried is not trusted, and the reason says why.
func TestWhatCannotBeTriedIsComputedAlone(t *testing.T) {
	t.Parallel()
	e := enginetest.New(t)
	path := textModel(t, onnxtest.TextModel("nothing"), onnxtest.TextTokenizer("null"))
	for name, c := range map[string]struct {
		change func(*split.Options)
		want   string
	}{
		"no memory":                       {func(o *split.Options) { o.Memory = 1 << 20 }, "not tested: loading stage 0 takes about"},
		"no memory, without verification": {func(o *split.Options) { o.Memory, o.Verify = 1<<20, false }, "not tested: loading stage 0 takes about"},
	} {
		o := split.Options{Stages: 1, Out: filepath.Join(t.TempDir(), "stages"), Verify: true, Texts: labels}
		c.change(&o)
		report, err := split.Split(context.Background(), path, e, o)
		if err != nil {
			t.Fatal(err)
		}
		if r := report.Manifest.Rows; r == nil || r.Independent || !strings.Contains(r.Reason, c.want) {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// Without a mask padding is part of what the model reads, and a length that the model fixes
// is that of every text: only other texts are another matter then.
func TestRowsWhosePaddingIsPartOfTheText(t *testing.T) {
	t.Parallel()
	e := enginetest.New(t)
	report, err := split.Split(context.Background(), enginetest.Model(t, "seed-rnn"), e, split.Options{Stages: 2, Out: filepath.Join(t.TempDir(), "stages"), Texts: labels})
	if err != nil {
		t.Fatal(err)
	}
	if r := report.Manifest.Rows; !r.Independent || len(r.Padding) != 0 || r.Reason != "padding is part of what the model reads" {
		t.Errorf("seed-rnn: %+v", r)
	}
}
