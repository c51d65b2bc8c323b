package transfer

import (
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
)

// BenchmarkFetch fetches a file of 200 MB over the loopback, and for comparison
// copies it, and has it sent by the standard library's HTTP server, with and without
// a hash.
func BenchmarkFetch(b *testing.B) {
	const size = 200_000_000
	made := newBundle(b, 1, size)
	source := filepath.Join(made.Dir, "stage-0.onnx")
	copied := func(b *testing.B, open func() (io.ReadCloser, error), hash io.Writer) {
		path := filepath.Join(b.TempDir(), "file")
		b.SetBytes(size)
		for b.Loop() {
			from, err := open()
			if err != nil {
				b.Fatal(err)
			}
			to, err := os.Create(path)
			if err != nil {
				b.Fatal(err)
			}
			var into io.Writer = to
			if hash != nil {
				into = io.MultiWriter(to, hash)
			}
			_, err = io.Copy(into, from)
			if err := errors.Join(err, from.Close(), to.Close(), os.Remove(path)); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("fetch", func(b *testing.B) {
		address := shared(b, made)
		dir := filepath.Join(b.TempDir(), "stages")
		b.SetBytes(size)
		for b.Loop() {
			if _, err := Fetch(b.Context(), dir, slice(0), options(address)); err != nil {
				b.Fatal(err)
			}
			if err := os.RemoveAll(dir); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("cp", func(b *testing.B) {
		copied(b, func() (io.ReadCloser, error) { return os.Open(source) }, nil)
	})
	server := httptest.NewServer(http.FileServer(http.Dir(made.Dir)))
	defer server.Close()
	get := func() (io.ReadCloser, error) {
		r, err := http.Get(server.URL + "/stage-0.onnx")
		if err != nil {
			return nil, err
		}
		return r.Body, nil
	}
	b.Run("http", func(b *testing.B) { copied(b, get, nil) })
	b.Run("http-sha256", func(b *testing.B) { copied(b, get, sha256.New()) })
}
