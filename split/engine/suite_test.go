package engine_test

import (
	"testing"
	"time"

	"github.com/distinfer/distinfer/runtime/pipeline"
	"github.com/distinfer/distinfer/runtime/pipeline/pipelinetest"
	"github.com/distinfer/distinfer/runtime/tensor"
	"github.com/distinfer/distinfer/split/engine"
)

// made opens one session, whatever file it is asked for.
type made struct{ pipeline.Runner }

func (made) Types(string) ([]tensor.Spec, error)                                      { return nil, nil }
func (m made) Open(string, []tensor.Spec, []tensor.Spec) (engine.Session, error)      { return m, nil }
func (m made) OpenPlain(string, []tensor.Spec, []tensor.Spec) (engine.Session, error) { return m, nil }
func (made) Close() error                                                             { return nil }

func TestATimedSessionIsARunner(t *testing.T) {
	t.Parallel()
	_, suite := pipelinetest.Chain(2)
	session, err := engine.WithRunTime(made{suite.Runner}, time.Minute).Open("", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	suite.Runner = session
	pipelinetest.Run(t, suite)
}
