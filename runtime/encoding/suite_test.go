package encoding_test

import (
	"testing"

	"github.com/distinfer/distinfer/runtime/encoding"
	"github.com/distinfer/distinfer/runtime/pipeline/pipelinetest"
)

func TestAChainIsARunner(t *testing.T) {
	t.Parallel()
	for _, e := range encoding.Encodings() {
		t.Run(string(e), func(t *testing.T) {
			t.Parallel()
			chain, suite := pipelinetest.Chain(3)
			suite.Runner = encoding.NewChain(chain, e)
			pipelinetest.Run(t, suite)
		})
	}
}
