package pipeline_test

import (
	"testing"

	"github.com/distinfer/distinfer/runtime/pipeline/pipelinetest"
)

func TestAChainIsARunner(t *testing.T) {
	t.Parallel()
	for _, stages := range []int{1, 3} {
		_, suite := pipelinetest.Chain(stages)
		pipelinetest.Run(t, suite)
	}
}
