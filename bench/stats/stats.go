// Package stats sums up what benchmarks measure, and prints it.
package stats

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"
)

// Median is the middle of values, or the mean of the two in the middle. There must be
// one value at least.
func Median[T ~int64 | ~float64](values []T) T {
	v := slices.Sorted(slices.Values(values))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// Quantile is the smallest of sorted values that the given share of all is not above,
// and zero of none.
func Quantile[T any](sorted []T, share float64) (value T) {
	if len(sorted) == 0 {
		return value
	}
	i := int(math.Ceil(share * float64(len(sorted))))
	return sorted[min(max(i, 1), len(sorted))-1]
}

// A Spread is the median and the ends of values. Those of none are not numbers.
type Spread struct {
	Median float64 `json:"median"`
	Least  float64 `json:"least"`
	Most   float64 `json:"most"`
}

// SpreadOf sums up values.
func SpreadOf(values []float64) Spread {
	if len(values) == 0 {
		return Spread{math.NaN(), math.NaN(), math.NaN()}
	}
	return Spread{Median(values), slices.Min(values), slices.Max(values)}
}

func (s Spread) String() string { return s.Text("%.2f") }

// Text is such as "1.00 (0.90–1.10)", with a format for each number.
func (s Spread) Text(format string) string {
	if math.IsNaN(s.Median) {
		return "–"
	}
	return fmt.Sprintf(format+" ("+format+"–"+format+")", s.Median, s.Least, s.Most)
}

// Millis is a time in milliseconds.
func Millis(d time.Duration) float64 { return d.Seconds() * 1e3 }

// Verdict says whether a goal is met.
func Verdict(met bool) string {
	if met {
		return "met"
	}
	return "MISSED"
}

// Table aligns columns, each ended by a tab, to the right. Flush writes them.
func Table(w io.Writer) *tabwriter.Writer {
	return tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
}

// List aligns columns, each ended by a tab, to the left. Flush writes them.
func List(w io.Writer) *tabwriter.Writer { return tabwriter.NewWriter(w, 0, 0, 2, ' ', 0) }

// WriteJSON writes a value into a file, which is there as a whole or not at all. It does
// nothing without a path.
func WriteJSON(path string, value any) error {
	if path == "" {
		return nil
	}
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	return WriteFile(path, append(data, '\n'))
}

// WriteFile writes a file, which is there as a whole or not at all.
func WriteFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	return err
}
