package task

import (
	"fmt"
	"strings"
	"testing"
)

// BenchmarkParseBody reads a body of 64 texts.
func BenchmarkParseBody(b *testing.B) {
	text := `"it 's a charming and often affecting journey , told with wit , warmth and an unerring eye for the absurd . \u00e9"`
	body := []byte(`{"inputs": [` + strings.Repeat(text+", ", 63) + text + `], "parameters": {"top_k": 2}}`)
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if q, err := (Classification{}).read(body, "the body", false); err != nil || len(q.Inputs) != 64 {
			b.Fatal(err)
		}
	}
}

// BenchmarkParseLine reads a line of a stream.
func BenchmarkParseLine(b *testing.B) {
	line := fmt.Appendf(nil, `{"text": %q}`, strings.Repeat("good ", 20))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := (Classification{}).read(line, "line 1", true); err != nil {
			b.Fatal(err)
		}
	}
}
