package served

import (
	"os"
	"strings"
)

// Sentences are those of SST-2 dev, read from the folder of the project.
func Sentences() ([]string, error) {
	table, err := os.ReadFile("models/testdata/sst2/dev.tsv")
	if err != nil {
		return nil, err
	}
	var texts []string
	for _, line := range strings.Split(strings.TrimSuffix(string(table), "\n"), "\n")[1:] { // the first is the header
		_, sentence, _ := strings.Cut(line, "\t")
		texts = append(texts, sentence)
	}
	return texts, nil
}
