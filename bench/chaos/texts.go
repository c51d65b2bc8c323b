package chaos

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/distinfer/distinfer/bench/cluster"
	"github.com/distinfer/distinfer/bench/stats"
)

// tolerance is how far a score may be from the one computed beforehand.
const tolerance = 1e-4

// A question is a text and the answer that the whole model gives to it.
type question struct {
	path    string // of the URL; empty is /predict
	body    []byte // of the request, with the text
	label   string
	scores  map[string]float64
	numbers []int64 // the answer where tensors are asked about; else nil
}

// sentences are the first n of SST-2's that differ: dev's, test's, then train's.
func sentences(dir string, n int) ([]string, error) {
	var all []string
	seen := map[string]bool{}
	for _, name := range []string{"dev.tsv", "test.tsv", "train.tsv.gz"} {
		column, err := cluster.Column(filepath.Join(dir, name), 1)
		if err != nil {
			return nil, err
		}
		for _, s := range column {
			if !seen[s] && len(all) < n {
				seen[s] = true
				all = append(all, s)
			}
		}
	}
	return all, nil
}

// answered is the questions of the sentences, with the answers of a bundle whose
// one stage is the whole model, computed in one process. They are kept in the
// folder cache for the next time.
func answered(ctx context.Context, programs cluster.Programs, whole, cache string, sentences []string) ([]question, error) {
	manifest, err := os.ReadFile(filepath.Join(whole, "manifest.json"))
	if err != nil {
		return nil, err
	}
	var input bytes.Buffer
	for _, s := range sentences {
		line, err := json.Marshal(s)
		if err != nil {
			return nil, err
		}
		input.Write(append(line, '\n'))
	}
	// The manifest has the hashes of all that the answers depend on.
	key := sha256.Sum256(append(manifest, input.Bytes()...))
	file := filepath.Join(cache, fmt.Sprintf("answers-%x.jsonl", key[:8]))
	output, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		cmd := programs.Command(ctx, "predict", "--format", "jsonl", "--bundle", whole, "-o", "json")
		cmd.Stdin, cmd.Stderr = &input, os.Stderr
		if output, err = cmd.Output(); err != nil {
			return nil, fmt.Errorf("compute the right answers: %w", err)
		}
		err = errors.Join(os.MkdirAll(cache, 0o755), stats.WriteFile(file, output))
	}
	if err != nil {
		return nil, err
	}
	questions, err := parseAnswers(output, sentences)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return questions, nil
}

// parseAnswers reads what `predict -o json` says of each sentence.
func parseAnswers(output []byte, sentences []string) ([]question, error) {
	lines := bytes.Split(bytes.TrimSuffix(output, []byte("\n")), []byte("\n"))
	if len(lines) != len(sentences) {
		return nil, fmt.Errorf("%d answers for %d sentences", len(lines), len(sentences))
	}
	questions := make([]question, len(lines))
	for i, line := range lines {
		var a struct {
			Label  string
			Scores map[string]float64
		}
		if err := json.Unmarshal(line, &a); err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		if _, ok := a.Scores[a.Label]; !ok {
			return nil, fmt.Errorf("line %d: no label with a score: %s", i+1, line)
		}
		body, err := json.Marshal(map[string]string{"inputs": sentences[i]})
		if err != nil {
			return nil, err
		}
		questions[i] = question{body: body, label: a.Label, scores: a.Scores}
	}
	return questions, nil
}

// distinct leaves out questions until the answers of any two are so far apart
// that no answer can be right for both, and those that two labels share the
// first place of.
func distinct(questions []question) []question {
	if len(questions) == 0 {
		return nil
	}
	// One label's score is enough: two answers that differ in it differ.
	label := questions[0].label
	sorted := slices.SortedStableFunc(slices.Values(questions), func(a, b question) int {
		return cmp.Compare(a.scores[label], b.scores[label])
	})
	last := math.Inf(-1)
	var kept []question
	for _, q := range sorted {
		if score := q.scores[label]; score-last > 2*tolerance && lead(q) > 2*tolerance {
			kept, last = append(kept, q), score
		}
	}
	return kept
}

// lead is how much higher the first score is than the second.
func lead(q question) float64 {
	lead := math.Inf(1)
	for label, score := range q.scores {
		if label != q.label {
			lead = min(lead, q.scores[q.label]-score)
		}
	}
	return lead
}
