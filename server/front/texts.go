package front

import (
	"context"

	"github.com/distinfer/distinfer/runtime/textmodel"
	"github.com/distinfer/distinfer/server/batch"
)

// Texts answers texts: the Task says what requests and answers are, the Batcher computes.
type Texts struct {
	Task    Task
	Batcher *batch.Batcher
}

// A Reply is the answer to one text.
type Reply struct {
	Answer    any // as the Task gives it
	Truncated bool
	Err       error // why there is no Answer
}

// Answer answers texts with the Task's defaults, in order. An error is about all of them.
func (t Texts) Answer(ctx context.Context, texts []string) ([]Reply, error) {
	return t.AnswerInputs(ctx, textmodel.Inputs(texts))
}

// AnswerInputs is Answer for texts of which some are pairs.
func (t Texts) AnswerInputs(ctx context.Context, texts []textmodel.Input) ([]Reply, error) {
	requests := make([]Request, len(texts))
	inputs := make([]textmodel.Input, len(texts))
	for i, s := range texts {
		requests[i] = t.Task.Request(s.Text)
		inputs[i] = requests[i].Inputs[0]
		inputs[i].Pair = s.Pair
	}
	answers, _, err := t.Batcher.Answer(ctx, inputs)
	if err != nil {
		return nil, err
	}
	replies := make([]Reply, len(texts))
	for i, a := range answers {
		replies[i].Truncated = a.Tokens.Truncated
		replies[i].Answer, replies[i].Err = requests[i].one(0, a)
	}
	return replies, nil
}
