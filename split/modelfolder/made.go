package modelfolder

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"

	"github.com/distinfer/distinfer/runtime/bundle"
)

// Made is the path of the file that a bundle was made from, by its size and hash, or that of the
// model where none of the folder's files is it.
func (m *Model) Made(from bundle.Model) string {
	if len(m.Others) == 0 || is(m.Path, from) {
		return m.Path
	}
	for _, other := range m.Others {
		if path := filepath.Join(m.given, other); is(path, from) {
			return path
		}
	}
	return m.Path
}

// is reports whether a file is what a bundle was made from. Only files of its size are read.
func is(path string, from bundle.Model) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() != from.Bytes {
		return false
	}
	h := sha256.New()
	_, err = io.Copy(h, f)
	return err == nil && hex.EncodeToString(h.Sum(nil)) == from.SHA256
}
