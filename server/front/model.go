package front

import (
	"context"
	"errors"
	"net/http"
	"sync"

	"github.com/distinfer/distinfer/runtime/bundle"
	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/server/httpx"
	"github.com/distinfer/distinfer/server/replica"
)

// A Model is what a Front answers with.
type Model struct {
	// Bundle says what the model is, Runner computes it on tensors, and Replicas returns the
	// state of the replicas by rank.
	Bundle   *bundle.Bundle
	Runner   pipeline.Runner
	Replicas func() [][]replica.Status

	// Texts answers texts. It is nil for a model that reads none, and NoTexts says why.
	Texts   *Texts
	NoTexts error

	// Ready fails while some stage cannot be used.
	Ready func(context.Context) error

	// Close is called when the model is used no more; it may be nil.
	Close func()
}

// texts returns what answers texts, or why nothing does.
func (m Model) texts() (*Texts, error) {
	if m.Texts != nil {
		return m.Texts, nil
	}
	why := m.NoTexts
	if why == nil {
		why = errors.New("the model reads no texts")
	}
	return nil, httpx.Errorf(http.StatusNotFound, "%s", why)
}

// models are the model that answers new requests, and earlier ones that still answer some.
type models struct {
	mu      sync.Mutex
	current *used
}

type used struct {
	Model
	requests int
	left     bool // for another model
}

// follow makes a model the current one.
func (m *models) follow(next Model) {
	m.mu.Lock()
	old := m.current
	m.current = &used{Model: next}
	idle := old != nil && old.requests == 0
	if old != nil {
		old.left = true
	}
	m.mu.Unlock()
	if idle {
		old.close()
	}
}

// Use returns the current model, which is not closed before done is called.
func (f *Front) Use() (_ Model, done func()) { return f.models.use() }

// use returns the current model, which is not closed before done is called.
func (m *models) use() (_ Model, done func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	u := m.current
	u.requests++
	return u.Model, func() {
		m.mu.Lock()
		u.requests--
		last := u.left && u.requests == 0
		m.mu.Unlock()
		if last {
			u.close()
		}
	}
}

func (u *used) close() {
	if u.Close != nil {
		u.Close()
	}
}
