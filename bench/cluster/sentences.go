package cluster

import (
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"strings"
)

// SST2 is the folder of the sentences and labels of SST-2.
const SST2 = "models/testdata/sst2"

// Sentences are those of SST-2 dev, read from the folder of the project.
func Sentences() ([]string, error) {
	return Column(SST2+"/dev.tsv", 1)
}

// Column is a column, from 0 on, of a table with tabs, without the header and empty cells. The
// table may be compressed (.gz).
func Column(file string, column int) ([]string, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	var r io.Reader = f
	if strings.HasSuffix(file, ".gz") {
		if r, err = gzip.NewReader(f); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	table, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	var cells []string
	for i, line := range strings.Split(strings.TrimSuffix(string(table), "\n"), "\n") {
		if fields := strings.Split(line, "\t"); i > 0 && column < len(fields) && fields[column] != "" {
			cells = append(cells, fields[column])
		}
	}
	if len(cells) == 0 {
		return nil, fmt.Errorf("%s has no cell in column %d", file, column)
	}
	return cells, nil
}
