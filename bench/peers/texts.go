package peers

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"github.com/distinfer/distinfer/bench/cluster"
)

// readTexts reads a text a line, or the second column of a table with tabs, and
// shuffles them, always alike.
func readTexts(path string) (texts []string, err error) {
	if filepath.Ext(path) == ".tsv" {
		texts, err = cluster.Column(path, 1)
	} else {
		var data []byte
		data, err = os.ReadFile(path)
		for line := range strings.Lines(string(data)) {
			if text := strings.TrimRight(line, "\r\n"); strings.TrimSpace(text) != "" {
				texts = append(texts, text)
			}
		}
	}
	if err == nil && len(texts) == 0 {
		err = errors.New(path + ": there are no texts")
	}
	if err != nil {
		return nil, err
	}
	random := rand.New(rand.NewPCG(1, 2))
	random.Shuffle(len(texts), func(i, j int) { texts[i], texts[j] = texts[j], texts[i] })
	return texts, nil
}
