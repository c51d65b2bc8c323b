package bundle

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

// failing writes a number of bytes and then fails.
type failing struct {
	bytes.Buffer
	left int
}

var errFull = errors.New("no space left")

func (f *failing) Write(p []byte) (int, error) {
	if len(p) > f.left {
		return 0, errFull
	}
	f.left -= len(p)
	return f.Buffer.Write(p)
}

func TestWhatIsWrittenIsHashedOnTheWay(t *testing.T) {
	t.Parallel()
	data := make([]byte, 3*pieces*pieceSize+37)
	for i := range data {
		data[i] = byte(i * i >> 7)
	}
	for what, write := range map[string]func(h *hashingWriter) error{
		"read from": func(h *hashingWriter) error {
			_, err := io.Copy(h, struct{ io.Reader }{bytes.NewReader(data)})
			return err
		},
		"read from in small parts": func(h *hashingWriter) error {
			_, err := h.ReadFrom(iotest.HalfReader(bytes.NewReader(data)))
			return err
		},
		"written": func(h *hashingWriter) error {
			for rest := data; len(rest) > 0; {
				n := min(len(rest), 1+len(rest)/3)
				if _, err := h.Write(rest[:n]); err != nil {
					return err
				}
				rest = rest[n:]
			}
			return nil
		},
	} {
		to := &failing{left: len(data)}
		h := &hashingWriter{to: to, hash: sha256.New()}
		if err := write(h); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if want := sha256.Sum256(data); !bytes.Equal(h.hash.Sum(nil), want[:]) || h.size != int64(len(data)) || !bytes.Equal(to.Bytes(), data) {
			t.Errorf("%s: %d of %d bytes, or others", what, h.size, len(data))
		}
		for _, left := range []int{0, pieceSize + 1, len(data) - 1} {
			h := &hashingWriter{to: &failing{left: left}, hash: sha256.New()}
			if err := write(h); !errors.Is(err, errFull) {
				t.Errorf("%s, with room for %d bytes: %v", what, left, err)
			}
		}
	}
	broken := errors.New("broken disk")
	h := &hashingWriter{to: io.Discard, hash: sha256.New()}
	if _, err := h.ReadFrom(io.MultiReader(bytes.NewReader(data), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("a reader that fails: %v", err)
	}
}
