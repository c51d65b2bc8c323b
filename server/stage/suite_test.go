package stage

import (
	"testing"

	"github.com/distinfer/distinfer/runtime/encoding"
	"github.com/distinfer/distinfer/runtime/pipeline/pipelinetest"
)

func TestAPipelineIsARunner(t *testing.T) {
	t.Parallel()
	for _, stages := range []int{1, 3} {
		for _, e := range encoding.Encodings() {
			links, suite := pipelinetest.Chain(stages)
			_, addresses := chain(t, stages, func(c *Config) { c.Stage = links[c.Rank] })
			o := options()
			o.Encoding = e
			p, err := NewPipeline(thisBundle, addresses, o)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = p.Close() })
			suite.Runner = p
			pipelinetest.Run(t, suite)
		}
	}
}
