package bundle

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// What a model leaves out of its weights takes no room in the bundle either.
func TestZerosBecomeHoles(t *testing.T) {
	t.Parallel()
	const hole = 8 << 20
	data := make([]byte, 3*hole)
	for i := hole + 100; i < 2*hole-77; i++ {
		data[i] = byte(i*i>>7 | 1)
	}
	out := filepath.Join(t.TempDir(), "bundle")
	w, err := Create(out, false)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Abort() }()
	for what, from := range map[string]io.Reader{"read": struct{ io.Reader }{bytes.NewReader(data)}, "written": bytes.NewReader(data)} {
		f, err := w.WriteFile(what, func(to io.Writer) error {
			_, err := io.Copy(to, from)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(data)
		if f.SHA256 != hex.EncodeToString(sum[:]) || f.Bytes != int64(len(data)) {
			t.Errorf("%s: %+v", what, f)
		}
		path := filepath.Join(w.Dir(), what)
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: %d bytes, or others: %v", what, len(got), err)
		}
		var stat syscall.Stat_t
		if err := syscall.Stat(path, &stat); err != nil || stat.Blocks*512 > hole*3/2 {
			t.Errorf("%s: takes %d bytes of the disk: %v", what, stat.Blocks*512, err)
		}
	}
}
