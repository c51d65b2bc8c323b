package share

import (
	"os"
	"path/filepath"
	"testing"
)

// BenchmarkFetch fetches a file of 200 MB over the loopback, and for comparison
// writes the same bytes to a file.
func BenchmarkFetch(b *testing.B) {
	const size = 200 << 20
	made := newBundle(b, 1, size)
	b.Run("fetch", func(b *testing.B) {
		address := shared(b, made)
		b.SetBytes(size)
		for b.Loop() {
			dir := filepath.Join(b.TempDir(), "stages")
			if _, err := Fetch(b.Context(), dir, slice(0), options(address)); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			if err := os.RemoveAll(dir); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	})
	b.Run("write", func(b *testing.B) {
		data := noise(1, size)
		path := filepath.Join(b.TempDir(), "file")
		b.SetBytes(size)
		for b.Loop() {
			if err := os.WriteFile(path, data, 0o600); err != nil {
				b.Fatal(err)
			}
		}
	})
}
