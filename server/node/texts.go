package node

import (
	"log/slog"
	"time"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/ort"
	"github.com/distinfer/distinfer/runtime/textmodel"
	"github.com/distinfer/distinfer/server/batch"
	"github.com/distinfer/distinfer/server/bulk"
	"github.com/distinfer/distinfer/server/front"
	"github.com/distinfer/distinfer/server/task"
)

// OpenTexts loads every stage of a bundle into this process, to answer texts in bulk until done.
// It computes as many batches at a time as there are threads, since threads that work on one
// batch wait for each other.
func OpenTexts(library *ort.Library, b *bundle.Bundle, limits textmodel.Limits, threads int, log *slog.Logger) (texts *front.Texts, done func(), err error) {
	chain, done, err := OpenChain(library, b)
	if err != nil {
		return nil, nil, err
	}
	t, err := task.Open(b, chain, limits)
	if err != nil {
		done()
		return nil, nil, err
	}
	return Texts(b, t, log, batch.Config{MaxTexts: bulk.Chunk, MaxWait: time.Hour, Begin: threads}), done, nil
}
