package main

import (
	"context"
	"encoding/json"

	"github.com/distinfer/distinfer/runtime/classify"
	"github.com/distinfer/distinfer/runtime/textmodel"
	"github.com/distinfer/distinfer/server/batch"
	"github.com/distinfer/distinfer/server/front"
)

// A reply is what a model answers to a text: labels, or what else its task gives.
type reply struct {
	classify.Answer
	other any // as a line of a front's stream; nil when there are labels or an error
}

// An asker answers texts, one reply each.
type asker func(ctx context.Context, texts []string) ([]reply, error)

func (l labeller) replies(ctx context.Context, texts []string) ([]reply, error) {
	answers, err := l.classify(ctx, texts)
	if err != nil {
		return nil, err
	}
	replies := make([]reply, len(answers))
	for i, a := range answers {
		replies[i].Answer = a
	}
	return replies, nil
}

// taskAsker answers texts as a front's stream answers lines that are only a text.
func taskAsker(batcher *batch.Batcher, t front.Task) asker {
	read := t.Routes()["/predict"].Line
	return func(ctx context.Context, texts []string) ([]reply, error) {
		questions := make([]front.Question, len(texts))
		inputs := make([]string, len(texts))
		for i, s := range texts {
			line, err := json.Marshal(s)
			if err != nil {
				return nil, err
			}
			if questions[i], err = read(line); err != nil {
				return nil, err
			}
			inputs[i] = questions[i].Texts[0]
		}
		answers, _, err := batcher.Answer(ctx, textmodel.Inputs(inputs))
		if err != nil {
			return nil, err
		}
		replies := make([]reply, len(texts))
		for i, a := range answers {
			replies[i].Truncated = a.Tokens.Truncated
			if replies[i].Err = a.Err; a.Err == nil {
				replies[i].other, replies[i].Err = questions[i].Answer([]textmodel.Answer{a})
			}
		}
		return replies, nil
	}
}
