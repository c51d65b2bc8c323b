package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/ort"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/text"
	"github.com/distinfer/distinfer/runtime/textmodel"
	"github.com/distinfer/distinfer/server/batch"
	"github.com/distinfer/distinfer/server/bulk"
	"github.com/distinfer/distinfer/server/front"
	"github.com/distinfer/distinfer/server/node"
	"github.com/distinfer/distinfer/server/task"
	"github.com/distinfer/distinfer/split/verify"
)

// compareEncodings compares the encodings of activations on the texts of --texts.
func (o *verifyCommand) compareEncodings(ctx context.Context, library *ort.Library, b *bundle.Bundle, stdin io.Reader) (_ *verify.EncodingReport, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("--texts: %w", err)
		}
	}()
	if len(b.Stages) == 1 {
		return nil, errors.New("the bundle has one stage, so nothing goes from stage to stage; split the model into more to compare encodings")
	}
	in, err := o.open([]string{o.Texts}, stdin)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	stages, done, err := node.OpenChain(library, b)
	if err != nil {
		return nil, err
	}
	defer done()
	open := func(chain pipeline.Runner) (verify.Labeler, error) {
		t, err := task.Open(b, chain, textmodel.Limits{})
		if err != nil {
			return nil, err
		}
		if _, ok := t.(front.Labeller); !ok {
			return nil, fmt.Errorf("encodings are compared by the labels they give, and the model's task is %s", t.Name())
		}
		alone := batch.New(batch.Config{Model: t.Model(), MaxTexts: bulk.Chunk, MaxWait: time.Hour, Begin: o.threads(), Alone: true, Log: o.logger()})
		return labeler(front.Texts{Task: t, Batcher: alone}), nil
	}
	report, err := verify.CompareEncodings(ctx, stages, open, in.File)
	if err != nil {
		return nil, in.failed(err)
	}
	return report, nil
}

func labeler(t front.Texts) verify.Labeler {
	return func(ctx context.Context, texts []string) ([]verify.Labels, error) {
		replies, err := t.Answer(ctx, texts)
		labels := make([]verify.Labels, len(replies))
		for i, r := range replies {
			labels[i].Err = r.Err
			if r.Err == nil {
				labels[i].Results = r.Answer.([]text.Result)
			}
		}
		return labels, err
	}
}
