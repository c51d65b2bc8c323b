package text

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// The expectations are what models of transformers 4 and 5 read before they fail;
// scripts/task-oracle/positions.py makes the models.
func TestModelsReadAsManyTokensAsInTransformers(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(filepath.Join("..", "textmodel", "testdata", "positions.json"))
	if err != nil {
		t.Fatal(err)
	}
	var kinds map[string]map[string]struct {
		Config json.RawMessage
		Reads  *int // nil: any number
	}
	if err := json.Unmarshal(data, &kinds); err != nil {
		t.Fatal(err)
	}
	if len(kinds) < 60 {
		t.Errorf("only %d model types", len(kinds))
	}
	for kind, versions := range kinds {
		for version, want := range versions {
			c := loadConfigString(t, string(want.Config))
			n, ok := c.MaxPositions()
			switch {
			case want.Reads == nil && ok && !c.Relative():
				t.Errorf("%s of %s reads any number of tokens, and not only %d", kind, version, n)
			case want.Reads != nil && (n != *want.Reads || c.Relative()):
				t.Errorf("%s of %s reads %d tokens, not %d", kind, version, *want.Reads, n)
			}
		}
	}
}
