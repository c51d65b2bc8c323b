package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
)

// readTexts reads a text a line, or the column "content" of a table with tabs,
// and shuffles them, always alike.
func readTexts(path string) ([]string, error) {
	file, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	lines := strings.Split(strings.TrimRight(string(file), "\r\n"), "\n")
	column := -1
	if header := strings.Split(strings.TrimRight(lines[0], "\r"), "\t"); len(header) > 1 {
		column = slices.Index(header, "content")
	}
	var texts []string
	for i, line := range lines {
		text := strings.TrimRight(line, "\r")
		if strings.TrimSpace(text) == "" || column >= 0 && i == 0 {
			continue
		}
		if column >= 0 {
			cells := strings.Split(text, "\t")
			if column >= len(cells) {
				return nil, fmt.Errorf("%s: line %d has no column \"content\"", path, i+1)
			}
			text = cells[column]
		}
		texts = append(texts, text)
	}
	if len(texts) == 0 {
		return nil, errors.New(path + ": there are no texts")
	}
	random := rand.New(rand.NewPCG(1, 2))
	random.Shuffle(len(texts), func(i, j int) { texts[i], texts[j] = texts[j], texts[i] })
	return texts, nil
}
